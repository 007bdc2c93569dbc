"""Removing one unit moves the exact vectors by no more than the plan declares: the property all privacy here rests on.

`BPK_PAIRS` sets the number of neighbouring pairs of all parts together (default 10,000), `BPK_SEED` the seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import pytest

from sandbox.relational.facts import Refuse
from sandbox.relational.lower import cells, distinct, keys, norms, quantiles, ranks, relations
from sandbox.relational.lower.statement import Step
from sandbox.relational.plan import plan_release
from sandbox.relational.rules import joins
from sandbox.relational.statistics import Quantiles, Vector
from tests import questions
from tests.builders import World, load, make_world, policy_text
from tests.composite_world import make_shops, shops_text
from tests.questions import plain_release, random_release
from tests.sensitivity import looks

PAIRS = int(os.environ.get("BPK_PAIRS", "10000"))
PARTS = 6
"""So that no single test keeps the others waiting."""
SEED = int(os.environ.get("BPK_SEED", "20261123"))
QUESTIONS_PER_WORLD = 12
UNITS_PER_QUESTION = 6
SHOPS = 0.15
"""Share of worlds with links and keys of several columns."""


def worlds(dice: random.Random) -> Iterator[World]:
    while True:
        if dice.random() < SHOPS:
            yield _shops(dice)
            continue
        people_max = dice.choice([1, 1, 1, 3])
        low = dice.choice([-500, 0, 300])
        text = policy_text(
            accountant=dice.choice(["zcdp", "pure"]),
            visits_max=dice.choice([1, 3, 20]),
            items_max=dice.choice([1, 4, 30]),
            people_max=people_max,
            groups_max=dice.choice([1, 2, 5, 1000]),
            income=(low, low + dice.choice([1, 700, 100000])),
            total=dice.choice([None, None, 1, 250]),
            step=dice.choice(["1", "10"]) if low != 300 else "1",
        )
        try:
            policy = load(text)
        except ValueError:  # a step beyond its range and the like: the loader's to refuse
            continue
        yield replace(make_world(policy, dice), text=text)


def _shops(dice: random.Random) -> World:
    """One whose links and keys are of several columns."""
    text = shops_text(
        accountant=dice.choice(["zcdp", "pure"]),
        orders_max=dice.choice([1, 4, 20]),
        lines_max=dice.choice([1, 6, 40]),
        groups_max=dice.choice([1, 2, 5, 1000]),
    )
    return replace(make_shops(dice, units=12, policy=load(text)), text=text)


def violations(pairs: int, seed: int | str) -> tuple[list[str], int]:
    """Looks at `pairs` neighbouring pairs; says what was violated, and how many pairs were looked at."""
    found, seen = [], 0
    for problem in islice(_looks(seed), pairs):
        seen += 1
        found += [problem] if problem else []
    return found, seen


def noticed(pairs: int, seed: int, word: str = "") -> bool:
    """Whether some of `pairs` pairs shows a violation with `word` in it. Stops at the first."""
    return any(problem is not None and word in problem for problem in islice(_looks(seed), pairs))


def _looks(seed: int | str) -> Iterator[str | None]:
    """A violation or None for one neighbouring pair after the other, without end."""
    dice = random.Random(seed)
    for world in worlds(dice):
        with world.connection:
            for _ in range(QUESTIONS_PER_WORLD):
                yield from _question(dice, world)


def _question(dice: random.Random, world: World) -> Iterator[str | None]:
    asked = random_release(dice, world.schema)
    try:
        plan = plan_release(asked, world.schema)
    except Refuse:
        return
    yield from looks(dice, world, plan, dice.sample(range(world.units), UNITS_PER_QUESTION))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_one_unit_moves_the_exact_vectors_by_no_more_than_declared(part: int) -> None:
    pairs, seed = -(-PAIRS // PARTS), f"{SEED}/{part}"
    found, seen = violations(pairs, seed)
    print(f"\nneighbouring pairs: {seen}, violations: {len(found)}, seed {seed}")
    assert (found, seen) == ([], pairs)


def _no_cell_clamp(i: int, vector: object, accountant: str) -> list[str]:
    return [f"CAST(r{i}_{j} AS BIGINT) AS r{i}_{j}" for j in range(len(vector.components))]


def _no_scaling(vectors: object, accountant: str, names: list[str]) -> tuple[Step, ...]:
    return (Step("scaled", "SELECT * FROM cell"),)


def _no_weights(statistic: Quantiles) -> str:
    """Each row weighs in full, however many its unit has."""
    return f"CAST(n AS HUGEINT) * {statistic.grid}"


def _no_rank(source: str, names: Sequence[str], most: int, seed: bytes) -> tuple[Step, ...]:
    return (Step("few", f"SELECT u, {', '.join(names)} FROM {source}"),)


def _size_of_rows(i: int, vector: Vector, accountant: str) -> str:
    """The level of the whole table's sum: one unit then moves the levels of others."""
    return f"sum(sum(abs(r{i}_0))) OVER ()"


PLANTED = {
    "missing clamp": (norms, "clamped", _no_cell_clamp),
    "missing cap over groups": (norms, "scaled", _no_scaling),
    "norm off by a half": (norms, "norm", lambda vector, accountant: vector.norm.total * 3 // 2 + 1),
    "missing weights of quantiles": (quantiles, "_share", _no_weights),
    "missing limit of distinct values": (distinct, "most_of_each", _no_rank),
    "levels that hang on other units": (norms, "unit_size", _size_of_rows),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, broken = PLANTED[fault]
    monkeypatch.setitem(globals(), "random_release", plain_release)
    monkeypatch.setattr(module, name, broken)
    if module is distinct:
        monkeypatch.setattr(questions, "_FUNCTIONS", ["count_distinct"])
    assert noticed(1500, SEED), f"{fault} was not noticed"


def test_rows_per_unit_that_ignore_a_join_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A join that says `once` although its right side has many rows per unit skips the bounding of units."""
    honest = joins._private

    def careless(join, left, right):
        return replace(honest(join, left, right), unit_once=left.unit_once or right.unit_once)

    monkeypatch.setattr(joins, "_private", careless)
    assert noticed(1500, SEED)


def test_a_left_join_that_keeps_what_is_known_of_units_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some rows of a unit find a partner and some do not, so its groups are two where one was taken for granted."""
    honest = cells.raw
    monkeypatch.setitem(globals(), "random_release", plain_release)
    monkeypatch.setattr(questions, "_SOURCES", [questions._items_with_some_visits])

    def by_group(plan, schema):
        """Without the second defence, which reads the one group off one of the unit's rows."""
        return honest(replace(plan, shape=replace(plan.shape, one_group=False)), schema)

    monkeypatch.setattr(joins, "_fate_of_unit", lambda join, left, right: True)
    assert not noticed(300, SEED)
    monkeypatch.setattr(cells, "raw", by_group)
    assert noticed(3000, SEED)


def test_a_rank_that_lets_one_key_too_many_through_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ranks.most_of_each
    monkeypatch.setattr(keys, "most_of_each", lambda source, names, most, seed: honest(source, names, most + 1, seed))
    assert noticed(3000, SEED + 9, "keys")  # where it shows soon


def test_a_part_of_a_link_that_ties_rows_of_many_units_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order's number is one in its shop alone; without the hidden unit beside, a part of the link is not enough."""
    honest = relations._conditions

    def of_a_part(node, left, right):
        conditions = list(honest(node, left, right))
        return iter(conditions if len(node.on) < 2 else conditions[-1:])

    monkeypatch.setitem(globals(), "SHOPS", 1)
    assert not noticed(300, SEED)
    monkeypatch.setattr(relations, "_conditions", of_a_part)
    assert noticed(1500, SEED)


def test_rows_of_different_units_never_meet() -> None:
    """The hidden unit is equated in every join of two tables about units."""
    dice = random.Random(SEED)
    world = next(w for w in worlds(dice) if "visits" in w.policy.tables)
    assert 'l."__unit" = r."__unit"' in relations.relation(questions._items_visits(dice), world.schema)
