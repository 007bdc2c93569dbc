"""The canonical form picks the rows that the operator's own words pick: both run on DuckDB over the same odd values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.relational.expressions import Call, Case, Column, Expression, Literal
from sandbox.relational.nodes import Filter, find_release
from tests.sql_world import ask

SIGNS = {
    "equal": "=",
    "not_equal": "<>",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "like": "LIKE",
    "ilike": "ILIKE",
    "modulo": "%",
    "int_divide": "//",
    "power": "**",
}
JOINED = {"and": "AND", "or": "OR", "concat": "||"}
NAMES = {"day_of_week": "isodow", "day_of_year": "dayofyear"}


def written(expression: Expression) -> str:
    """The model as SQL again, in the plainest way."""
    match expression:
        case Column(name=name):
            return name.split(".")[1]
        case Literal(value=None):
            return "NULL"
        case Literal(value=str(text)):
            return "'" + text.replace("'", "''") + "'"
        case Literal(value=dt.date() as day):
            return f"DATE '{day}'"
        case Literal(value=value):
            return str(value) if isinstance(value, Decimal | int) else repr(value)
        case Case(branches=branches, otherwise=otherwise):
            whens = " ".join(f"WHEN {written(when)} THEN {written(then)}" for when, then in branches)
            return f"CASE {whens} ELSE {written(otherwise)} END"
        case Call(function=function, arguments=arguments):
            return _called(function, [written(argument) for argument in arguments])


def _called(function: str, parts: list[str]) -> str:
    if function in SIGNS:
        return f"({parts[0]} {SIGNS[function]} {parts[1]})"
    if function in JOINED:
        return "(" + f" {JOINED[function]} ".join(parts) + ")"
    match function:
        case "not":
            return f"(NOT {parts[0]})"
        case "in":
            return f"({parts[0]} IN ({', '.join(parts[1:])}))"
        case "is_null":
            return f"({parts[0]} IS NULL)"
        case "date_add":
            return f"({parts[0]} + INTERVAL ({parts[1]}) {parts[2][1:-1]})"
        case "to_integer":
            return f"TRY_CAST({parts[0]} AS BIGINT)"
    return f"{NAMES.get(function, function)}({', '.join(parts)})"


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(
            "CREATE TABLE people (sex VARCHAR, age INTEGER, weight DOUBLE, active BOOLEAN, birth_date DATE)"
        )
        connection.execute(
            """INSERT INTO people SELECT sex, age, weight, active, birth_date
            FROM unnest(['F', 'M', 'Fm', '', NULL]) AS a(sex), unnest([0, 1, 2, 3, NULL]) AS b(age),
            unnest([0.0, 1.5, 2.0, NULL]) AS c(weight), unnest([TRUE, FALSE, NULL]) AS d(active),
            unnest([DATE '1999-12-31', DATE '2000-01-01', NULL]) AS e(birth_date)"""
        ).fetchall()
        yield connection


NUMBERS = st.sampled_from(
    ["age", "weight", "1", "2.0", "1.5", "-1", "age + 1", "2 - age", "coalesce(age, 1)", "abs(age - 2)"]
)
TEXTS = st.sampled_from(
    ["sex", "'F'", "'M'", "coalesce(sex, 'F')", "CASE WHEN active THEN sex ELSE 'M' END", "nullif(sex, 'F')"]
)
SIGN = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="])
ATOMS = st.one_of(
    st.builds("{} {} {}".format, NUMBERS, SIGN, NUMBERS),
    st.builds("{} {} {}".format, TEXTS, SIGN, TEXTS),
    st.builds("age {}IN ({}, 2, 1, 2)".format, st.sampled_from(["", "NOT "]), st.integers(0, 3)),
    st.builds("sex {}IN ('F')".format, st.sampled_from(["", "NOT "])),
    st.builds("{} {}BETWEEN {} AND {}".format, NUMBERS, st.sampled_from(["", "NOT "]), NUMBERS, NUMBERS),
    st.builds(
        "{} IS {}NULL".format, st.sampled_from(["sex", "age", "weight", "active"]), st.sampled_from(["", "NOT "])
    ),
    st.builds("sex {}LIKE '{}'".format, st.sampled_from(["", "NOT "]), st.sampled_from(["F%", "%m", "_", ""])),
    st.builds("year(birth_date) {} {}".format, SIGN, st.integers(1999, 2001)),
    st.sampled_from(["active", "NOT active", "TRUE", "FALSE", "active = TRUE", "FALSE <> active"]),
    st.builds(
        "{} IS {}DISTINCT FROM {}".format,
        st.sampled_from(["sex", "'F'", "nullif(sex, 'M')"]),
        st.sampled_from(["", "NOT "]),
        st.sampled_from(["sex", "'F'", "NULL", "upper(sex)"]),
    ),
    st.builds("active IS {}{}".format, st.sampled_from(["", "NOT "]), st.sampled_from(["TRUE", "FALSE"])),
    st.builds("age {} 2 {} {}".format, st.sampled_from(["%", "//", "**"]), SIGN, st.integers(0, 4)),
    st.builds(
        "{} {} 'fx'".format,
        st.sampled_from(["lower(sex) || 'x'", "concat(lower(sex), 'x')", "concat('', left(sex, 1), 'x')"]),
        SIGN,
    ),
    st.sampled_from(
        [
            "starts_with(sex, 'F')",
            "NOT contains(sex, 'm')",
            "suffix(sex, 'm')",
            "sex ILIKE 'f%'",
            "length(substr(sex, 2)) = 1",
            "TRY_CAST(sex AS INTEGER) IS NULL",
        ]
    ),
    st.builds(
        "{} {} {}".format,
        st.sampled_from(
            [
                "birth_date",
                "birth_date + INTERVAL 1 MONTH",
                "birth_date - INTERVAL '2 weeks'",
                "birth_date + 1",
                "1 + birth_date",
                "date_add(birth_date, INTERVAL 1 QUARTER)",
            ]
        ),
        SIGN,
        st.sampled_from(
            [
                "DATE '2000-01-01'",
                "DATE '2000-03-31' - INTERVAL 1 MONTH",
                "DATE '2000-01-31' + INTERVAL 1 MONTH",
                "DATE '1999-12-31' + 1",
                "DATE '2000-02-29' - INTERVAL 4 YEAR",
            ]
        ),
    ),
    st.builds(
        "{} {} {}".format,
        st.sampled_from(
            [
                "birth_date - DATE '1999-12-30'",
                "date_diff('day', DATE '1999-12-30', birth_date)",
                "dayofweek(birth_date)",
                "isodow(birth_date)",
                "date_part('dow', birth_date)",
                "EXTRACT(doy FROM birth_date)",
            ]
        ),
        SIGN,
        st.integers(0, 6),
    ),
    st.builds("CASE sex WHEN 'F' THEN {} WHEN 'M' THEN 1 END > 1".format, NUMBERS),
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=250, deadline=None)
@given(CONDITIONS)
def test_the_canonical_form_keeps_exactly_the_same_rows(database: duckdb.DuckDBPyConnection, condition: str) -> None:
    source = find_release(ask(f"SELECT COUNT(*) FROM people WHERE {condition}").plan).source
    canonical = " AND ".join(map(written, source.conditions)) if isinstance(source, Filter) else "TRUE"
    differ = f"SELECT COUNT(*) FROM people WHERE (({condition}) IS TRUE) <> (({canonical}) IS TRUE)"
    assert database.execute(differ).fetchall() == [(0,)], canonical
