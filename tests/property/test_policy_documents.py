"""Whatever document is accepted is consistent; whatever is unknown is refused; the digest is that of the meaning."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.documents import PolicyDocument
from policies.fields import Document
from policies.lint import lint
from policies.load import load_text
from policies.model import Column, Policy, Table
from policies.problems import PolicyError, Report
from policies.validate import validated

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = st.sampled_from(["a", "b", "c", "pid", "kind", "when", "x", "A", "区县", "__unit"])
TYPES = st.sampled_from(
    [
        "integer",
        "bigint",
        "double",
        "decimal(6,2)",
        "decimal(38,0)",
        "text",
        "boolean",
        "date",
        "timestamp",
        "decimal(2,5)",
    ]
)
ROLES = st.sampled_from(["unit", "key", "dimension", "measure", "hidden"])
DAY, MOMENT = date(2000, 1, 1), datetime(2000, 1, 1)  # noqa: DTZ001  # timestamps of a policy have no zone
NUMBERS = st.one_of(
    st.integers(-50, 50),
    st.decimals(-50, 50, places=2),
    st.sampled_from([Decimal("NaN"), Decimal("Infinity"), 10**40, 2**63, Decimal("1e-30")]),
)
SCALARS = st.one_of(
    NUMBERS,
    st.sampled_from(["F", "M", "", "é"]),
    st.booleans(),
    st.integers(0, 900).map(lambda days: DAY + timedelta(days)),
    st.integers(0, 900).map(lambda days: MOMENT + timedelta(days)),
)
AGGREGATES = st.sampled_from(["count", "count_distinct", "sum", "avg", "median", "max", "mode"])
COLUMN = st.fixed_dictionaries(
    {"type": TYPES, "role": ROLES},
    optional={
        "filter": st.sampled_from(["none", "equality", "range"]),
        "aggregates": st.lists(AGGREGATES, max_size=3),
        "values": st.lists(SCALARS, min_size=1, max_size=3),
        "range": st.lists(SCALARS, min_size=2, max_size=2),
        "step": NUMBERS,
        "via": st.lists(st.sampled_from(["year", "month"]), min_size=1, max_size=2),
        "bins": st.lists(NUMBERS, min_size=2, max_size=3),
        "sensitive": st.booleans(),
        "nullable": st.booleans(),
        "total_per_unit_max": NUMBERS,
        "joins": st.just(["ref.id"]),
    },
)


def bounded(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """A numeric column that is most often sound, so that many documents pass."""
    pair = st.tuples(st.integers(-50, 50), st.integers(0, 50)).map(lambda p: [p[0], p[0] + p[1]])
    return st.fixed_dictionaries(
        {"type": st.just(kind), "role": st.sampled_from(["dimension", "measure"]), "range": pair},
        optional={
            "step": st.integers(1, 20),
            "bins": st.lists(st.integers(-50, 50), min_size=2, max_size=4).map(sorted),
        },
    )


SOUND = st.one_of(
    bounded("integer"),
    bounded("double"),
    bounded("decimal(6,2)"),
    st.just({"type": "text", "role": "dimension", "values": ["F", "M"]}),
    st.just({"type": "date", "role": "dimension", "range": [DAY, DAY], "via": ["year"]}),
    st.just({"type": "text", "role": "hidden"}),
)
COLUMNS = st.dictionaries(NAMES.filter(lambda n: n not in ("pid", "__unit", "A")), SOUND, max_size=4)
WILD_COLUMNS = st.dictionaries(NAMES, st.one_of(SOUND, COLUMN), max_size=4)


def document(
    people: dict[str, Any], visits: dict[str, Any], link: str, step: str, epsilons: list[Any]
) -> dict[str, Any]:
    """Units, rows of theirs, rows of those rows, and reference data."""
    return {
        "format": 1,
        "dataset": "clinic",
        "version": "1",
        "title": {"en": "Clinic"},
        "owner": "Commission",
        "supply": "authorised",
        "purposes": ["health"],
        "unit": {"name": "person", "column": "people.pid", "count_max": 1000, "count_about": 100},
        "release": {
            "modes": ["dp"],
            "dp": {
                "epsilon": epsilons[2],
                "delta": Decimal("1e-9"),
                "epsilon_per_query": epsilons[0],
                "epsilon_per_query_max": epsilons[1],
                "groups_per_unit_max": 4,
            },
        },
        "tables": {
            "people": {"columns": {"pid": {"type": "integer", "role": "unit"}, **people}},
            "visits": {
                "link": {"column": "pid", "to": link},
                "rows_per_unit_max": 5,
                "columns": {
                    "pid": {"type": "integer", "role": "unit"},
                    "nr": {"type": "integer", "role": "key", "joins": ["ref.id"]},
                    **visits,
                },
            },
            "drugs": {
                "link": {"column": "visit", "to": step},
                "rows_per_unit_max": 9,
                "columns": {"visit": {"type": "integer", "role": "hidden"}},
            },
            "ref": {"public": True, "columns": {"id": {"type": "integer", "role": "key"}}},
        },
    }


MOSTLY_SOUND = st.builds(
    document,
    st.one_of(COLUMNS, COLUMNS, WILD_COLUMNS),
    st.one_of(COLUMNS, COLUMNS, WILD_COLUMNS),
    st.sampled_from(["people.pid"] * 6 + ["drugs.visit", "ref.id", "visits.nr"]),
    st.sampled_from(["visits.nr"] * 6 + ["people.pid", "drugs.visit", "visits.pid"]),
    st.lists(st.sampled_from([Decimal("0.5"), 1, 2, 8]), min_size=3, max_size=3).map(sorted),
)


def toml(value: Any) -> str:
    """A value of TOML on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{quoted(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}" if "." in f"{value:f}" else f"{value:f}.0"
    return str(value).lower().replace("infinity", "inf")


def quoted(text: str) -> str:
    return '"' + text + '"'


def written(raw: dict[str, Any]) -> str:
    return "\n".join(f"{quoted(key)} = {toml(value)}" for key, value in raw.items())


def loaded(raw: dict[str, Any]) -> Policy | None:
    try:
        return load_text(written(raw), "p.toml")
    except PolicyError as error:
        refusal = error
    assert refusal.problems
    assert all(str(problem) in str(refusal) for problem in refusal.problems)
    return None


def check(policy: Policy) -> None:
    """The promises of `policies/model.py`, looked at from the other end than the loader does."""
    assert policy.unit is not None
    unit_table = policy.tables[policy.unit.table]
    assert unit_table.columns[policy.unit.column].role == "unit"
    dp = policy.release.dp
    assert dp is not None
    assert 0 < dp.epsilon_per_query <= dp.epsilon_per_query_max <= dp.epsilon
    assert 0 < dp.delta_per_query <= dp.delta / 2
    for table in policy.tables.values():
        if table.public:
            assert table.rows_per_unit_max is None
            assert all(column.role != "unit" for column in table.columns.values())
        else:
            assert table.rows_per_unit_max is not None
            assert walks_to_the_unit(policy, table)
            assert sum(column.role == "unit" for column in table.columns.values()) <= 1
        for name, column in table.columns.items():
            assert name == column.name
            check_column(policy, column)


def walks_to_the_unit(policy: Policy, table: Table) -> bool:
    for _ in policy.tables:
        if policy.own_table(table.name):
            return True
        if table.link is None:
            return False
        table = policy.tables[table.link.to_table]
    return policy.own_table(table.name)


def check_column(policy: Policy, column: Column) -> None:
    kind = column.type
    if column.range is not None:
        low, high = column.range
        assert type(low) is type(high)
        assert low <= high
        assert isinstance(low, Decimal) == kind.numeric
        assert isinstance(low, datetime) == (kind.kind == "timestamp")
        assert (column.step is not None) == kind.numeric
    if column.step is not None:
        assert column.step > 0
    if column.values is not None:
        assert column.role in ("dimension", "hidden")
        assert len(set(column.values)) == len(column.values) > 0
        expected = {"integer": int, "bigint": int, "text": str, "boolean": bool, "date": date, "timestamp": datetime}
        assert all(type(value) is expected[kind.kind] for value in column.values)
    if column.bins is not None:
        assert list(column.bins) == sorted(set(column.bins))
        assert len(column.bins) > 1
    if column.via:
        assert kind.temporal
    if column.role == "hidden":
        assert (column.filter, column.aggregates, column.joins) == ("none", frozenset(), ())
    else:
        assert column.aggregates >= {"count", "count_distinct"}
    for to_table, to_column in column.joins:
        assert policy.tables[to_table].public
        assert policy.tables[to_table].columns[to_column].role != "hidden"


@SETTINGS
@given(MOSTLY_SOUND)
def test_an_accepted_document_is_consistent_and_a_refused_one_says_why(raw: dict[str, Any]) -> None:
    policy = loaded(raw)
    if policy is not None:
        check(policy)
        lint(policy)


def test_many_of_the_documents_tried_are_accepted() -> None:
    """Else the property above would prove nothing."""
    verdicts = []

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(MOSTLY_SOUND)
    def count(raw: dict[str, Any]) -> None:
        verdicts.append(loaded(raw) is not None)

    count()
    assert len(verdicts) // 10 < sum(verdicts) < len(verdicts)


GOOD = document(
    {"sex": {"type": "text", "role": "dimension", "values": ["F", "M"]}},
    {"cost": {"type": "decimal(6,2)", "role": "measure", "range": [0, 90]}},
    "people.pid",
    "visits.nr",
    [Decimal("0.5"), 1, 8],
)


def tables_in(raw: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where tables of named keys stand; a table of names (`tables`, `columns`, `title`) is free in its keys."""
    if isinstance(raw, dict):
        if not place or place[-1] not in ("tables", "columns", "title"):
            yield place
        for key, inner in raw.items():
            yield from tables_in(inner, (*place, key))


PLACES = sorted(tables_in(GOOD))


def leaves(raw: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document that can be replaced."""
    inner = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for key, value in inner:
        yield (*place, key)
        yield from leaves(value, (*place, key))


def keys_of(raw: Any) -> list[Any]:
    return list(raw) if isinstance(raw, dict) else list(range(len(raw))) if isinstance(raw, list) else []


JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["en", "pid", "range", "type", "a.b", "", "é"]), inner, max_size=3),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(leaves(GOOD))), JUNK), min_size=1, max_size=3))
def test_junk_anywhere_is_refused_in_words_and_never_breaks_the_loader(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    raw = copy.deepcopy(GOOD)
    for place, junk in changes:
        inner: Any = raw
        for part in place[:-1]:
            inner = inner[part] if part in keys_of(inner) else None
        if place[-1] in keys_of(inner):
            inner[place[-1]] = junk
    policy = loaded(raw)
    if policy is not None and policy.unit is not None and policy.release.modes == ("dp",):
        check(policy)


def with_extra(place: tuple[str, ...], key: str) -> dict[str, Any]:
    raw = copy.deepcopy(GOOD)
    inner = raw
    for part in place:
        inner = inner[part]
    inner[key] = 1
    return raw


@SETTINGS
@given(st.sampled_from(PLACES), st.sampled_from(["note", "Format", "epsilon_", "типа", "type ", "x"]))
def test_an_unknown_key_anywhere_is_refused_at_its_place(place: tuple[str, ...], key: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_text(written(with_extra(place, key)), "p.toml")
    assert ".".join((*place, key)) in {problem.place for problem in caught.value.problems}


def test_unknown_keys_go_unnoticed_when_the_models_are_planted_lax(monkeypatch: pytest.MonkeyPatch) -> None:
    lax = type("Lax", (PolicyDocument,), {"model_config": {"extra": "ignore"}})
    assert validated(PolicyDocument, with_extra((), "note"), Report()) is None
    assert isinstance(validated(lax, with_extra((), "note"), Report()), Document)


def shuffled(value: Any, order: random.Random) -> Any:
    """The same meaning: keys in another order, numbers spelt otherwise."""
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    if isinstance(value, list):
        return [shuffled(inner, order) for inner in value]
    if isinstance(value, Decimal) and value.is_finite():
        return value.quantize(value.normalize() / 100) if value and value.adjusted() > -20 else value
    return value


@SETTINGS
@given(MOSTLY_SOUND, st.randoms(use_true_random=False), st.sampled_from(["", "# a comment\n", "\n\n"]))
def test_the_digest_ignores_layout(raw: dict[str, Any], order: random.Random, head: str) -> None:
    policy = loaded(raw)
    if policy is None:
        return
    other = load_text(head + written(shuffled(raw, order)), "q.toml")
    assert other.digest == policy.digest
    assert other == policy


@SETTINGS
@given(MOSTLY_SOUND, MOSTLY_SOUND)
def test_the_digest_tells_meanings_apart(left: dict[str, Any], right: dict[str, Any]) -> None:
    one, other = loaded(left), loaded(right)
    if one is not None and other is not None and one.digest == other.digest:
        assert one == other
