"""Same noise, neighbouring data: everything but released numbers is the same, to the byte, whoever leaves.

A random question is put to the home of a random world, and to homes with the same policy in which one unit is missing.
Mechanisms give to those what they gave to the first. Then all that leaves, all that is kept and logged, every statement
for the workers, and all that mechanisms are asked for have to be the same; and what goes into a mechanism may differ by
no more than it is sized for. `BPK_REPLAYS` sets the number of pairs of all parts together, `BPK_SEED` the seed.
"""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from policies.types import BIGINT, TEXT
from sandbox.regimes import noisy
from sandbox.relational.expressions import Call, Column, Literal
from sandbox.relational.facts import Schema
from sandbox.relational.lower import norms
from sandbox.relational.nodes import Filter, Measure, Output, Relation, Release, Scan
from sandbox.relational.statistics import Norm
from sandbox.release import make as making
from sandbox.release.released import Release as Released
from tests.alike.seen import Seen, Watched
from tests.alike.transcript import Transcript, given_again, noted, too_far
from tests.alike.worlds import Asked, Side, asking, random_question, sides
from tests.builders import World
from tests.property.test_neighbours import worlds

PAIRS = int(os.environ.get("BPK_REPLAYS", "1000"))
SEED = os.environ.get("BPK_SEED", "20261127")
PARTS = 4
"""So that no single test keeps the others waiting."""
QUESTIONS = 8
"""Of one world."""
UNITS = 4
"""That leave, one at a time, for each question."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One comparison: what differs, how the question ended, and how much mechanisms were asked for it."""

    problems: tuple[str, ...]
    status: str
    drawn: int


def pairs(root: Path, seed: str) -> Iterator[Pair]:
    """One neighbouring pair after the other, without end."""
    dice = random.Random(seed)
    for number, world in enumerate(worlds(dice)):
        with world.connection, sides(root / str(number), world, UNITS + 2) as homes:
            for question in range(QUESTIONS):
                asked = random_question(dice, world.schema)
                if asked is not None:
                    with asking(asked, world.policy.dataset):
                        yield from _of_one(dice, world, homes, asked, f"question {question}")


def _of_one(dice: random.Random, world: World, homes: Sequence[Side], asked: Asked, sql: str) -> Iterator[Pair]:
    whole, noise_alone, *others = homes
    body = {"sql": sql, "purpose": "research", "epsilon": asked.epsilon}
    for home in homes:
        home.inside.forget()
    with noted(random.Random(dice.random())) as first:
        seen = Watched(whole.inside).ask(body)
    units = dice.sample(range(world.units), UNITS)
    for home, unit in zip(others, units, strict=True):
        home.gone = unit
        with given_again(first) as again:
            other = Watched(home.inside).ask(body)
        yield _pair(seen, other, first, again, _asked(whole, home))
    noise_alone.gone = units[0]
    if asked.plain:
        with given_again(first, noise_alone=True) as again:
            other = Watched(noise_alone.inside).ask(body)
        asked_of_workers = _asked(whole, noise_alone)
        yield _pair(seen.without_numbers(), other.without_numbers(), first, again, asked_of_workers)
    else:
        Watched(noise_alone.inside).ask(body)  # so that its ledger keeps step


def _asked(one: Side, two: Side) -> list[str]:
    """Where workers of the two are asked for different things."""
    mine, its = one.inside.pool.statements, two.inside.pool.statements
    return [] if mine == its else [f"workers are asked: {mine} and {its}"]


def _pair(seen: Seen, other: Seen, first: Transcript, again: Transcript, asked: list[str]) -> Pair:
    problems = (*seen.differences(other), *again.strays, *too_far(first, again), *asked)
    return Pair(problems, seen.outcome, len(first.calls))


def differing(root: Path, seed: str, count: int) -> tuple[list[str], Counter[str], int]:
    """What differed in `count` pairs, how they ended, and how many numbers and choices were drawn."""
    problems, ends, drawn = [], Counter[str](), 0
    for pair in islice(pairs(root, seed), count):
        problems += pair.problems
        ends[pair.status] += 1
        drawn += pair.drawn
    return problems, ends, drawn


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_everything_but_released_numbers_is_the_same(part: int, memory: Path) -> None:
    count = -(-PAIRS // PARTS)
    problems, ends, drawn = differing(memory, f"{SEED}/{part}", count)
    print(f"\nneighbouring pairs: {sum(ends.values())}, {dict(ends)}, mechanisms: {drawn}, differing: {len(problems)}")
    assert not problems, "\n".join(problems[:5])[:4000]
    assert sum(ends.values()) == count
    assert ends["answered"] > 0.9 * count


# Planted faults: each lets something of the exact numbers out that is no released number.


def _of_release(change: Callable[[Released, list[tuple[int, ...]]], Released]) -> Callable[[pytest.MonkeyPatch], None]:
    """Changes each release by the exact numbers of its first vector."""

    def plant(m: pytest.MonkeyPatch) -> None:
        exact: list[tuple[int, ...]] = []
        honest, made = making.exact_vectors, making.make

        def seen(*given: Any) -> tuple[tuple[tuple[int, ...], ...], ...]:
            found = honest(*given)
            exact[:] = found[0]
            return found

        def make(*given: Any) -> Released:
            exact.clear()
            release = made(*given)
            return change(release, exact) if exact else release

        m.setattr(making, "exact_vectors", seen)
        m.setattr(noisy, "make", make)

    return plant


def _by_exact_value(release: Released, exact: list[tuple[int, ...]]) -> Released:
    order = sorted(range(len(exact)), key=exact.__getitem__)
    statistics = (replace(each, noisy=tuple(each.noisy[i] for i in order)) for each in release.statistics)
    return replace(release, groups=tuple(release.groups[i] for i in order), statistics=tuple(statistics))


def _noted_by_exact_value(release: Released, exact: list[tuple[int, ...]]) -> Released:
    """`may_be_clipped` only where the sum of all groups is odd, as if it were known what was clipped."""
    odd = sum(map(sum, exact)) % 2 == 1
    return replace(release, measures=tuple(replace(each, clamped=odd) for each in release.measures))


def _skipping_empty_groups(m: pytest.MonkeyPatch) -> None:
    honest = making._noisy

    def noisy_(cells: Sequence[tuple[int, ...]], *given: Any) -> tuple[tuple[int, ...], ...]:
        there = iter(honest([cell for cell in cells if any(cell)], *given))
        return tuple(next(there) if any(cell) else cell for cell in cells)

    m.setattr(making, "_noisy", noisy_)


def _ending_where_nothing_matches(m: pytest.MonkeyPatch) -> None:
    honest = making._noisy
    m.setattr(making, "_noisy", lambda cells, *given: honest(cells, *given) if any(map(any, cells)) else cells)


def _scaled_by_what_is_there(m: pytest.MonkeyPatch) -> None:
    honest = making._noisy

    def noisy_(cells: Any, statistic: Any, *given: Any) -> Any:
        most = max((abs(number) for cell in cells for number in cell), default=1) or 1
        total = min(statistic.norm.total, most)
        return honest(cells, replace(statistic, norm=Norm(total**2, total)), *given)

    m.setattr(making, "_noisy", noisy_)


def _logged(m: pytest.MonkeyPatch) -> None:
    honest = making.exact_vectors

    def exact_vectors(rows: Any, *given: Any) -> Any:
        logging.getLogger("bpk.domain").info("rows: %s", sorted(rows, key=repr))
        return honest(rows, *given)

    m.setattr(making, "exact_vectors", exact_vectors)


def _without_sensitivity(m: pytest.MonkeyPatch) -> None:
    """A unit's rows are not scaled down: what goes into the noise may differ by more than it is sized for."""
    m.setattr(
        norms,
        "clamped",
        lambda i, vector, accountant: [f"CAST(r{i}_{j} AS BIGINT) AS r{i}_{j}" for j in range(len(vector.components))],
    )


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "rows in the order of exact values": _of_release(_by_exact_value),
    "a note by exact values": _of_release(_noted_by_exact_value),
    "no noise for an empty group": _skipping_empty_groups,
    "an early end where nothing matches": _ending_where_nothing_matches,
    "noise by the actual maximum": _scaled_by_what_is_there,
    "a line of the log with exact values": _logged,
    "a unit's part as large as it is": _without_sensitivity,
}


def _simple_question(dice: random.Random, schema: Schema) -> Asked | None:
    """Visits by kind, or those of one kind in one hospital: where each of the faults shows soon."""
    if "visits" not in schema.policy.tables:
        return None
    hospital = Call("equal", (Column("0.hospital"), Literal(dice.randrange(4), BIGINT)))
    source: Relation = Scan("visits", 0)
    keys: tuple[Column, ...] = (Column("0.kind"),)
    if dice.random() < 0.5:
        source, keys = Filter(source, (hospital, Call("equal", (*keys, Literal("day", TEXT))))), ()
    release = Release(source, keys, (Measure("count_rows"), Measure("sum", Column("0.cost"))))
    names = [*(["k0"] if keys else []), "m0", "m1"]
    return Asked(Output(release, tuple((name, Column(name)) for name in names)), "4", plain=True)


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_leak_is_noticed(fault: str, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "random_question", _simple_question)
    assert not any(pair.problems for pair in islice(pairs(memory / "honest", SEED), 15))
    PLANTED[fault](monkeypatch)
    found = next((pair for pair in islice(pairs(memory / "planted", SEED), 300) if pair.problems), None)
    assert found is not None, f"{fault} was not noticed"
    print(f"\n{fault}: {found.problems[0][:300]}")
