"""Over rows that keep every declaration, what is said of a relation is true: rows per unit, bounds, keys, nulls.

No privacy rests on this, for norms are enforced whatever the rows say; but where it were wrong, units within their
declared rows would be scaled down, and true groups lost. `BPK_RELATIONS` and `BPK_SEED` as elsewhere.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import pytest

from policies.types import BIGINT, TEXT
from sandbox.relational import aggregates, narrow
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Column, Literal
from sandbox.relational.facts import Facts
from sandbox.relational.lower.relations import relation
from sandbox.relational.nodes import Filter, Relation, Scan
from sandbox.relational.rules import joins, projections, units
from tests.builders import World, load, make_true_world, policy_text
from tests.property.test_facts_of_functions import untruth
from tests.questions import random_relation

RELATIONS = int(os.environ.get("BPK_RELATIONS", "400"))
SEED = int(os.environ.get("BPK_SEED", "20261123"))
RELATIONS_PER_WORLD = 25


def looks(seed: int) -> Iterator[tuple[Relation, str | None]]:
    """A random relation and what is untrue of it, if anything, without end."""
    dice = random.Random(seed)
    while True:
        text = policy_text(
            visits_max=dice.choice([1, 2, 5]), items_max=dice.choice([1, 3]), income=(dice.choice([-500, 0]), 1000)
        )
        world = make_true_world(load(text), dice)
        with world.connection:
            for _ in range(RELATIONS_PER_WORLD):
                asked = random_relation(dice, world.schema)
                yield asked, untrue(world, asked)


def untrue(world: World, asked: Relation) -> str | None:
    facts = derive(asked, world.schema)
    rows = world.ask(relation(asked, world.schema))
    for value, (name, column) in ((v, c) for row in rows for v, c in zip(row[1:], facts.columns.items(), strict=True)):
        if problem := untruth(value, column):
            return f"{name}: {problem}"
    most = max(Counter(row[0] for row in rows).values(), default=0)
    return f"rows: {most} of one unit, {facts.multiplicity} declared" if most > (facts.multiplicity or 0) else None


def test_what_is_said_of_a_relation_is_true_of_true_rows() -> None:
    found = [f"{problem}: {asked}" for asked, problem in islice(looks(SEED), RELATIONS) if problem]
    assert not found, found[0]


def test_a_choice_of_values_narrows_as_a_list_does() -> None:
    """OR of equalities on one column is IN; with another column or a null test beside it, it says nothing."""
    world = make_true_world(load(policy_text()), random.Random(SEED))
    one, two = (Call("equal", (Column("0.drug"), Literal(value, BIGINT))) for value in (7, 3))
    listed = Call("in", (Column("0.drug"), Literal(5, BIGINT), Literal(3, BIGINT)))
    facts = derive(Filter(Scan("items", 0), (Call("or", (one, two, listed)),)), world.schema)
    assert set(facts.columns["0.drug"].keys or ()) == {3, 5, 7}
    for other in (Call("is_null", (Column("0.drug"),)), Call("equal", (Column("0.price"), Literal(1, BIGINT)))):
        facts = derive(Filter(Scan("items", 0), (Call("or", (one, other)),)), world.schema)
        assert facts.columns["0.drug"].keys is None
    kinds = Call("or", tuple(Call("equal", (Column("0.kind"), Literal(kind, TEXT))) for kind in ("in", "out")))
    assert derive(Filter(Scan("visits", 0), (kinds,)), world.schema).columns["0.kind"].keys == ("in", "out")
    cut = Call("or", tuple(Call("equal", (Column("0.age"), Literal(age, BIGINT))) for age in (40, 20)))
    assert derive(Filter(Scan("people", 0), (cut,)), world.schema).columns["0.age"].bounds == (20, 40)


def _says(m: pytest.MonkeyPatch, module: object, name: str, change: Callable[[Facts], Facts]) -> None:
    honest = getattr(module, name)
    m.setattr(module, name, lambda *given: change(honest(*given)))


def _half_the_rows(facts: Facts) -> Facts:
    return replace(facts, multiplicity=max(1, (facts.multiplicity or 1) // 2))


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a union that does not add rows": lambda m: _says(m, projections, "union_all", _half_the_rows),
    "a join that does not multiply rows": lambda m: m.setattr(
        joins, "_private_multiplicity", lambda join, left, right, *one: left.multiplicity
    ),
    "one group for each unit": lambda m: m.setattr(units, "groups_max", lambda keys, below: 1),
    "a sum of one row": lambda m: m.setattr(aggregates, "rows_max", lambda facts: 1),
    "an empty count of one": lambda m: m.setattr(
        aggregates, "_count", lambda least, most: replace(_COUNT, bounds=(Fraction(2), Fraction(most)))
    ),
    "a null that is not expected": lambda m: m.setattr(
        joins, "_right_columns", lambda join, right, **more: right.columns
    ),
    "a first row for each number": lambda m: m.setattr(narrow, "_rows", lambda columns, facts, *, once: 1),
}  # fmt: skip
_COUNT = aggregates._count(1, 3)


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_untruth_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[fault](monkeypatch)
    assert any(problem for _, problem in islice(looks(SEED), 4000)), f"{fault} was not noticed"
