"""What a worker may say: a reply that no honest worker gives is refused, whatever is wrong with it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from policies.load import load_text
from policies.types import TEXT, Value
from sandbox.relational.expressions import Call, Column, Literal
from sandbox.relational.facts import Schema
from sandbox.relational.nodes import Measure, Relation, Release, Scan
from sandbox.relational.plan import TEXT_KEY_MAX, ReleasePlan, plan_release
from sandbox.release import intake
from sandbox.release.intake import BadIntake, Groups, exact_vectors, in_order, units_per_key
from tests.exact_world import POLICY

SCHEMA = Schema(load_text(POLICY, "policy.toml"), {})
PEOPLE, VISITS = Scan("people", 0), Scan("visits", 0)
COUNT, MEAN = Measure("count_rows", None), Measure("avg", Column("0.income"))
UNITS = 100


def plan_of(*keys: Column | Call, source: Relation = PEOPLE, measures: tuple[Measure, ...] = (COUNT,)) -> ReleasePlan:
    return plan_release(Release(source, keys, measures), SCHEMA)


SEX = plan_of(Column("0.sex"))
PLAIN = plan_of(measures=(COUNT, MEAN))
BINS = plan_of(Call("bin", (Column("0.cost"),)), source=VISITS)
AGE = plan_of(Column("0.age"))
DIAGNOSIS = plan_of(Column("0.diagnosis"))
MEAN_MOST = UNITS * PLAIN.vectors[1].norm.total


def taken(rows: Any, plan: ReleasePlan, survivors: Any = None) -> tuple[tuple[tuple[int, ...], ...], ...]:
    return exact_vectors(rows, plan.vectors, Groups(plan, survivors), UNITS)


def test_an_honest_reply_is_taken_and_empty_groups_are_0() -> None:
    assert Groups(SEX, None).all == (("F",), ("M",), (None,))
    assert taken([("M", 3), (None, 2)], SEX) == (((0,), (3,), (2,)),)
    assert taken([(3, 2**21, -5)], PLAIN) == (((3,),), ((2**21, -5),))
    assert taken([], PLAIN) == (((0,),), ((0, 0),))
    assert taken([(50.0, 1024)], BINS) == (((0,), (1024,), (0,)),)
    assert taken([("flu", 7)], DIAGNOSIS, (("flu",), ("gout",))) == (((7,), (0,)),)


MALFORMED: dict[str, tuple[ReleasePlan, list[Any], tuple[tuple[Value, ...], ...] | None]] = {
    "a group that is no public one": (SEX, [("X", 1)], None),
    "a public group in other case": (SEX, [("f", 1)], None),
    "a group twice": (SEX, [("M", 1), ("M", 1)], None),
    "a group twice, as another number": (BINS, [(50, 1), (50.0, 1)], None),
    "null where the keys hold none": (BINS, [(None, 1)], None),
    "a bin that is no edge": (BINS, [(50.5, 1)], None),
    "a group that did not survive": (DIAGNOSIS, [("rare", 1)], (("flu",),)),
    "one row too many without keys": (PLAIN, [(1, 1, 1), (1, 1, 1)], None),
    "a float": (SEX, [("M", 1.0)], None),
    "a float that is no number": (SEX, [("M", float("nan"))], None),
    "a truth value as a count": (SEX, [("M", True)], None),
    "a text as a count": (SEX, [("M", "1")], None),
    "a decimal as a count": (SEX, [("M", Decimal(1))], None),
    "null as a count": (SEX, [("M", None)], None),
    "a count above all units": (SEX, [("M", UNITS * SEX.vectors[0].norm.total + 1)], None),
    "a count below minus all units": (SEX, [("M", -UNITS * SEX.vectors[0].norm.total - 1)], None),
    "a mean's part above all units": (PLAIN, [(1, MEAN_MOST + 1, 0)], None),
    "a number beyond 64 bits": (PLAIN, [(1, 2**80, 0)], None),
    "a row too narrow": (PLAIN, [(1, 1)], None),
    "a row too wide": (PLAIN, [(1, 1, 1, 1)], None),
    "a row of keys alone": (SEX, [("M",)], None),
    "an empty row": (SEX, [()], None),
    "a truth value for a whole key": (AGE, [(True, 1)], None),
    "a text for a whole key": (AGE, [("20", 1)], None),
    "a date for a text key": (SEX, [(date(2020, 1, 1), 1)], None),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_reply_is_refused(what: str) -> None:
    plan, rows, survivors = MALFORMED[what]
    with pytest.raises(BadIntake):
        taken(rows, plan, survivors)


def test_a_truth_value_is_not_the_whole_key_1() -> None:
    """In Python True equals 1, so a lookup alone would take it."""
    plan = plan_release(Release(PEOPLE, (Call("month", (Column("0.born"),)),), (COUNT,)), SCHEMA)
    assert taken([(1, 5)], plan)[0][0] == (5,)
    with pytest.raises(BadIntake):
        taken([(True, 5)], plan)
    with pytest.raises(BadIntake):
        taken([(1.0, 5)], plan)


def private(key: Column | Call, source: Relation = PEOPLE) -> ReleasePlan:
    plan = plan_release(Release(source, (key,), (COUNT,)), SCHEMA)
    assert plan.private_keys
    return plan


def test_private_keys_are_taken_as_they_are() -> None:
    plan = private(Column("0.diagnosis"))
    assert units_per_key([("flu", 3), (None, 1), ("", UNITS)], plan, UNITS) == {("flu",): 3, (None,): 1, ("",): UNITS}
    assert units_per_key([("x" * TEXT_KEY_MAX, 1)], plan, UNITS)


SPREAD = plan_of(Column("0.sex"), measures=(Measure("quantile", Column("0.income"), fraction=Decimal("0.5")),))
VALUES = plan_of(Column("0.sex"), measures=(Measure("count_distinct", Column("0.diagnosis")),))
HIGHEST = {1: 40, 2: 7}
BAD_LEVELS: dict[str, list[Any]] = {
    "a vector that has no levels": [(7, 0, 1)],
    "a level below the first": [(1, -1, 1)],
    "a level above the last": [(1, 500, 1)],
    "a level twice": [(1, 3, 1), (1, 3, 2)],
    "no units": [(1, 3, 0)],
    "more units than there are": [(1, 3, UNITS + 1)],
    "units as a float": [(1, 3, 1.0)],
    "a row too wide": [(1, 3, 1, 1)],
}


@pytest.mark.parametrize("what", BAD_LEVELS)
def test_a_malformed_histogram_of_levels_is_refused(what: str) -> None:
    assert intake.units_per_level([(1, 3, 5), (1, 4, 2)], HIGHEST, UNITS) == {1: {3: 5, 4: 2}, 2: {}}
    with pytest.raises(BadIntake):
        intake.units_per_level(BAD_LEVELS[what], HIGHEST, UNITS)


BAD_CELLS: dict[str, list[Any]] = {
    "a cell below the first": [("M", -1, 1)],
    "a cell above the last": [("M", 5, 1)],
    "a cell twice": [("M", 1, 1), ("M", 1, 2)],
    "less than no weight": [("M", 1, -1)],
    "more weight than there is": [("M", 1, 10**9)],
    "a group that is no public one": [("X", 1, 1)],
    "a weight as a truth value": [("M", 1, True)],
}


@pytest.mark.parametrize("what", BAD_CELLS)
def test_a_malformed_histogram_of_cells_is_refused(what: str) -> None:
    groups = Groups(SPREAD, None)
    assert intake.histograms([("M", 1, 7), ("M", 4, 2), (None, 0, 1)], groups, 0, 4, 100) == ({}, {1: 7, 4: 2}, {0: 1})
    with pytest.raises(BadIntake):
        intake.histograms(BAD_CELLS[what], groups, 0, 4, 100)


BAD_COUNTS: dict[str, list[Any]] = {
    "less than no values": [("M", -1)],
    "more values than pairs": [("M", UNITS + 1)],
    "a group twice": [("M", 1), ("M", 1)],
    "a group that is no public one": [("X", 1)],
}


@pytest.mark.parametrize("what", BAD_COUNTS)
def test_a_malformed_number_of_values_is_refused(what: str) -> None:
    groups = Groups(VALUES, None)
    assert intake.exact_counts([("M", 7)], groups, UNITS) == ((0,), (7,), (0,))
    with pytest.raises(BadIntake):
        intake.exact_counts(BAD_COUNTS[what], groups, UNITS)


WORD = private(Column("0.diagnosis"))
DRUG = private(Column("0.drug"), Scan("items", 0))
MOMENT = private(Column("0.joined"))
MIXED = plan_release(
    Release(PEOPLE, tuple(sorted((Column("0.diagnosis"), Column("0.sex")), key=lambda c: c.name)), (COUNT,)), SCHEMA
)
BAD_KEYS: dict[str, tuple[ReleasePlan, list[Any]]] = {
    "too long a text": (WORD, [("x" * (TEXT_KEY_MAX + 1), 1)]),
    "a number for a text": (WORD, [(1, 1)]),
    "a float for a whole number": (DRUG, [(1.0, 1)]),
    "a truth value for a whole number": (DRUG, [(True, 1)]),
    "a date for a timestamp": (MOMENT, [(date(2020, 1, 1), 1)]),
    "a text for a timestamp": (MOMENT, [("2020-01-01", 1)]),
    "a key twice": (WORD, [("flu", 1), ("flu", 2)]),
    "no units": (WORD, [("flu", 0)]),
    "fewer than no units": (WORD, [("flu", -1)]),
    "more units than there are": (WORD, [("flu", UNITS + 1)]),
    "units as a float": (WORD, [("flu", 1.0)]),
    "units as a truth value": (WORD, [("flu", True)]),
    "units as null": (WORD, [("flu", None)]),
    "a row too wide": (WORD, [("flu", 1, 1)]),
    "a row too narrow": (WORD, [(1,)]),
    "an empty row": (WORD, [()]),
    "a public part that is none": (MIXED, [("flu", "X", 1)]),
    "null where the policy has none": (
        private(Call("coalesce", (Column("0.diagnosis"), Literal("?", TEXT)))),
        [(None, 1)],
    ),
}


@pytest.mark.parametrize("what", BAD_KEYS)
def test_a_malformed_private_key_is_refused(what: str) -> None:
    plan, rows = BAD_KEYS[what]
    with pytest.raises(BadIntake):
        units_per_key(rows, plan, UNITS)


def test_the_engine_s_order_of_keys_is_forgotten() -> None:
    groups = [("b", 2), (None, 1), ("a", None), ("a", 3), ("b", 1)]
    expected = (("a", 3), ("a", None), ("b", 1), ("b", 2), (None, 1))
    assert in_order(groups) == in_order(groups[::-1]) == expected


def test_an_intake_that_counts_truth_values_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: with an `isinstance` check True would pass for 1."""
    monkeypatch.setattr(intake, "_integers", lambda parts: tuple(int(p) for p in parts if isinstance(p, int)))
    assert taken([("M", True)], SEX)
