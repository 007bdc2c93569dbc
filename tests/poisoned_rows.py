"""A table in which every type has columns, and every column the values that break things."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import duckdb

from policies.load import load_text
from policies.types import BIGINT, BOOLEAN, DATE, TEXT, TIMESTAMP, Type
from sandbox.relational.expressions import Literal
from sandbox.relational.facts import Schema
from sandbox.relational.lower import scalars
from sandbox.relational.nodes import Scan
from tests.policy_head import head

POLICY = (
    head("odd", unit="rows.pid", epsilon=100, each="1", each_max=50)
    + """
[tables.rows]
rows_per_unit_max = 3
[tables.rows.columns]
pid = { type = "integer", role = "unit" }
"""
)
COLUMNS: dict[str, tuple[str, str]] = {
    "small": ("integer", 'range = [0, 9], role = "dimension"'),
    "open": ("integer", 'role = "dimension"'),
    "big": ("bigint", 'range = [-5, 1000000], role = "dimension", bins = [0, 10, 100]'),
    "real": ("double", 'range = [-1, 1.5], role = "measure", bins = [-1, 0, 1.5]'),
    "fixed": ("decimal(12,3)", 'range = [0, 99.5], role = "measure", bins = [0, 0.001, 99.5]'),
    "wide": ("decimal(38,0)", 'range = [0, 1000], role = "measure"'),
    "word": ("text", 'role = "dimension"'),
    "letter": ("text", 'role = "dimension", values = ["a", "b"], nullable = true'),
    "flag": ("boolean", 'role = "dimension", nullable = true'),
    "day": ("date", 'role = "dimension", range = [2000-01-01, 2001-12-31], nullable = true'),
    "any_day": ("date", 'role = "dimension"'),
    "moment": ("timestamp", 'role = "dimension", range = [2000-01-01T00:00:00, 2000-03-31T00:00:00]'),
    "any_moment": ("timestamp", 'role = "dimension"'),
}
TYPES = {name: Type.parse(kind) for name, (kind, _) in COLUMNS.items()}
POISON: dict[str, tuple[str | None, ...]] = {
    "integer": (None, "0", "-1", "3", "9", "10", "2147483647", "-2147483648"),
    "bigint": (None, "0", "1", "-9223372036854775808", "9223372036854775807", "9007199254740993"),
    "double": (None, "nan", "inf", "-inf", "0", "-0.0", "1e308", "-1e308", "5e-324", "0.5", "9.3e18", "1e19"),
    "decimal(12,3)": (None, "0", "-0.001", "999999999.999", "-999999999.999", "0.001", "50"),
    "decimal(38,0)": (None, "0", "9" * 38, "-" + "9" * 38, "500"),
    "text": (None, "", "a", "b", "%", "_", "\\", "a\\", "'", '"', "é" * 300, "x" * 20_000, "a\x00b", "\U0001f600"),
    "boolean": (None, "true", "false"),
    "date": (
        None, "0001-01-01", "9999-12-31", "2000-02-29", "2001-12-31", "infinity", "-infinity", "5881580-07-10",
        "10000-01-01", "0001-01-01 (BC)", "5877642-06-25 (BC)", "0005-06-07", "1582-10-10", "294247-01-11",
    ),
    "timestamp": (
        None, "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "2000-02-29 12:30:00.5", "infinity", "-infinity",
        "294247-01-10 04:00:54.775806", "10000-01-01 00:00:00", "290309-12-22 (BC) 00:00:00", "0005-06-07 01:02:03",
    ),
}  # fmt: skip
CONSTANTS: dict[str, tuple[Literal, ...]] = {
    "number": (
        Literal(0, BIGINT),
        Literal(-1, BIGINT),
        Literal(2**63 - 1, BIGINT),
        Literal(Decimal("0.5"), Type("decimal", 1, 1)),
        Literal(Decimal("9" * 38), Type("decimal", 38, 0)),
        Literal(Decimal("1e-38"), Type("decimal", 38, 38)),
    ),
    "text": (Literal("", TEXT), Literal("a", TEXT), Literal("'", TEXT), Literal("x" * 300, TEXT)),
    "boolean": (Literal(value=True, type=BOOLEAN), Literal(value=False, type=BOOLEAN)),
    "date": tuple(Literal(d, DATE) for d in (date(1, 1, 1), date(9999, 12, 31), date(2000, 2, 29))),
    "timestamp": tuple(Literal(d, TIMESTAMP) for d in (datetime.min, datetime.max, datetime(2000, 1, 1))),  # noqa: DTZ001, DTZ901  # timestamps of policies carry no zone
}
SCAN = Scan("rows", 0)


@dataclass(frozen=True, slots=True)
class Poisoned:
    schema: Schema
    engine: duckdb.DuckDBPyConnection
    units: int


def poisoned(dice: random.Random, rows: int = 90, *, strict: bool = True) -> Poisoned:
    """A table in which every poison of every column stands in some row; some units have too many rows.

    A strict engine raises where others make NaN; the worker's does not, but nothing here shall hang on that.
    """
    columns = "\n".join(f'{name} = {{ type = "{kind}", {more} }}' for name, (kind, more) in COLUMNS.items())
    engine = duckdb.connect(":memory:", config={"threads": "1"})
    engine.execute(f"SET ieee_floating_point_ops = {not strict}").fetchall()
    names = ", ".join(f"{name} {scalars.sql_type(TYPES[name])}" for name in COLUMNS)
    engine.execute(f"CREATE TABLE rows (__unit BIGINT, {names})").fetchall()
    stored = ", ".join(_as_ingested(TYPES[name], place) for place, name in enumerate(COLUMNS, start=1))
    for i in range(rows):
        cells = [
            POISON[kind][i] if i < len(POISON[kind]) else dice.choice(POISON[kind]) for kind, _ in COLUMNS.values()
        ]
        engine.execute(f"INSERT INTO rows VALUES ({i % (rows // 3)}, {stored})", cells).fetchall()
    return Poisoned(Schema(load_text(POLICY + columns, "policy.toml"), {}), engine, rows // 3)


def _as_ingested(type_: Type, place: int) -> str:
    """Ingest stores no day beyond the years 1 to 9999, and no double that is not finite; here such doubles stay in."""
    cast = f"CAST(${place} AS {scalars.sql_type(type_)})"
    if not type_.temporal:
        return cast
    first, last = CONSTANTS[type_.kind][0].value, CONSTANTS[type_.kind][1].value
    return f"CASE WHEN {cast} BETWEEN {type_} '{first}' AND {type_} '{last}' THEN {cast} END"


def kind_of(name: str) -> str:
    return "number" if TYPES[name].numeric else TYPES[name].kind
