"""The engine's exact bounded integers are those of a slow, obvious reference in plain Python, on random questions.

`BPK_INTEGERS` sets the number of integers that are compared, `BPK_SEED` the seed. Whole numbers are equal, but for
those that the reference calls close: there the rounding of a double may decide by as much as it says, see
`tests/reference/doubles.py`.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType

import pytest

from policies.types import Value
from sandbox.relational.facts import Refuse
from sandbox.relational.lower import (
    cells,
    distinct,
    inputs,
    integers,
    keys,
    levels,
    quantiles,
    ranges,
    relations,
    values,
)
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.plan import ReleasePlan, plan_release
from sandbox.relational.ranges import drawn_in, ends_of
from sandbox.relational.statistics import DistinctCount, Quantiles
from tests.builders import World
from tests.property.test_neighbours import worlds
from tests.questions import random_release
from tests.reference import bounded, counted
from tests.reference.doubles import Close, Undecided
from tests.reference.relations import UNIT, Rows, Tables, rows_of

INTEGERS = int(os.environ.get("BPK_INTEGERS", "4000"))
SEED = int(os.environ.get("BPK_SEED", "20261124"))
QUESTIONS_PER_WORLD = 25
COUNT_MAX = 10**6
SURVIVORS_MAX = 20
ROWS_OF_UNIT = 12
ROWS_MAX = 1_000
SEED_OF_RANKS = b"seed"
Group = tuple[Value, ...]
Exact = Mapping[Group, Sequence[Close]]


@dataclass(frozen=True)
class Comparison:
    """One statement's integers, by both."""

    what: str
    engine: Mapping[Group, Sequence[int]]
    reference: Exact

    @property
    def integers(self) -> int:
        return sum(len(numbers) or 1 for numbers in self.reference.values())

    @property
    def close(self) -> int:
        return sum(number.slack > 0 for numbers in self.reference.values() for number in numbers)

    @property
    def differences(self) -> list[str]:
        if self.engine.keys() != self.reference.keys():
            return [f"{self.what}: groups {sorted(map(str, self.engine.keys() ^ self.reference.keys()))}"]
        return [
            f"{self.what}: {group} has {tuple(self.engine[group])}, not {tuple(n.value for n in numbers)}"
            for group, numbers in self.reference.items()
            if any(abs(a - b.value) > b.slack for a, b in zip(self.engine[group], numbers, strict=True))
        ]


def comparisons(seed: int) -> Iterator[Comparison]:
    dice = random.Random(seed)
    for world in worlds(dice):
        with world.connection:
            _keep_few(world)
            tables = tables_of(world)
            for _ in range(QUESTIONS_PER_WORLD):
                try:
                    plan = plan_release(random_release(dice, world.schema), world.schema)
                    rows = rows_of(plan.release.source, tables, world.schema)
                except (Refuse, Undecided):
                    continue
                if len(rows) <= ROWS_MAX:
                    yield from _of_plan(dice, world, plan, rows)


def _keep_few(world: World) -> None:
    """The reference is slow, and a dozen rows of a unit are as far over what is declared as thousands."""
    for name, table in world.policy.tables.items():
        if not table.public:
            place = "row_number() OVER (PARTITION BY __unit ORDER BY rowid) AS place"
            later = f"SELECT r FROM (SELECT rowid AS r, {place} FROM {name}_all) WHERE place > {ROWS_OF_UNIT}"
            world.connection.execute(f"DELETE FROM {name}_all WHERE rowid IN ({later})").fetchall()


def tables_of(world: World) -> Tables:
    found: dict[str, Rows] = {}
    for name, table in world.policy.tables.items():
        shown = world.connection.execute(f"SELECT * FROM {name}_all")
        names = [column[0] for column in shown.description or ()]
        found[name] = [dict(zip(names, row, strict=True)) for row in shown.fetchall()]
        assert table.public or all(UNIT in row for row in found[name])
    return found


def _of_plan(dice: random.Random, world: World, plan: ReleasePlan, rows: Rows) -> Iterator[Comparison]:
    survivors = None
    if plan.private_keys:
        units = counted.units_per_key(plan, rows, SEED_OF_RANKS, 2)
        lowered = keys.lower_keys(plan, world.schema, SEED_OF_RANKS, 2)
        yield _compared("keys", world, lowered, _whole(units))
        survivors = tuple(units)[:SURVIVORS_MAX]
        if not survivors:
            return
    if ends := ends_of(plan):
        lowered = ranges.lower_ranges(plan, ends, world.schema, survivors)
        with suppress(Undecided):
            yield _compared("ranges", world, lowered, counted.level_counts(plan, ends, rows, survivors), 0)
        plan = drawn_in(plan, ends, [dice.randrange(end.levels + 1) for end in ends])
    if plan.vectors:
        yield from _of_vectors(dice, world, plan, rows, survivors)
    for statistic in plan.statistics:
        if isinstance(statistic, DistinctCount):
            numbers = counted.distinct_values(plan, statistic, rows, SEED_OF_RANKS, survivors)
            lowered = distinct.lower_distinct(plan, statistic, world.schema, SEED_OF_RANKS, survivors)
            yield _compared("distinct", world, lowered, _whole(numbers))
        if isinstance(statistic, Quantiles):
            weights = counted.coarse_weights(plan, statistic, rows, survivors)
            lowered = quantiles.lower_coarse(plan, statistic, world.schema, survivors)
            yield _compared("coarse", world, lowered, _whole(weights))
            picked = {pair[:-1]: dice.randrange(statistic.coarse) for pair in weights}
            if picked:
                fine = counted.fine_weights(plan, statistic, rows, picked, survivors)
                lowered = quantiles.lower_fine(plan, statistic, world.schema, tuple(picked.items()), survivors)
                yield _compared("fine", world, lowered, _whole(fine))


def _of_vectors(
    dice: random.Random, world: World, plan: ReleasePlan, rows: Rows, survivors: Sequence[Group] | None
) -> Iterator[Comparison]:
    dp = world.policy.release.dp
    assert dp is not None
    accountant, raw = dp.accountant, bounded.raw_parts(plan, rows, survivors)
    if plan.loose:
        lowered = levels.lower_levels(plan, world.schema, accountant, survivors)
        with suppress(Undecided):
            yield _compared("levels", world, lowered, bounded.level_counts(plan, raw, accountant), 0)
    lower = tuple(v.at_level(dice.randrange(v.levels(accountant) + 1), accountant) for v in plan.vectors)
    for vectors in (plan.vectors, lower):
        lowered = values.lower_values(plan, world.schema, accountant, COUNT_MAX, survivors, vectors)
        exact = bounded.vectors(plan, raw, accountant, COUNT_MAX, vectors)
        yield _compared("vectors", world, lowered, exact, sum(len(v.components) for v in vectors))


def _compared(what: str, world: World, lowered: Lowered, reference: Exact, integers: int = 1) -> Comparison:
    """With no `integers` the whole row is what must be the same."""
    found = {row[: len(row) - integers]: row[len(row) - integers :] for row in world.rows(lowered)}
    return Comparison(what, found, reference)  # type: ignore[arg-type]


def _whole(found: Mapping[Group, int]) -> Exact:
    return {group: [Close(number)] for group, number in found.items()}


@pytest.mark.timeout(1800)
def test_exact_bounded_integers_are_those_of_the_reference() -> None:
    found, integers, close = Counter[str](), 0, 0
    wrong: list[str] = []
    for comparison in comparisons(SEED):
        found[comparison.what] += 1
        integers, close = integers + comparison.integers, close + comparison.close
        wrong += comparison.differences
        if integers >= INTEGERS:
            break
    print(f"\nintegers: {integers}, close: {close}, different: {len(wrong)}, statements: {dict(found)}, seed {SEED}")
    assert wrong == []
    assert close < integers / 2, "so much that is only close would hide what is wrong"


def noticed(integers: int, seed: int, word: str = "") -> bool:
    """Whether a difference shows among so many integers. Stops at the first."""
    seen = 0
    for comparison in comparisons(seed):
        seen += comparison.integers
        if any(word in difference for difference in comparison.differences):
            return True
        if seen > integers:
            return False
    return False


Replace = Callable[[str], str]


def _edited(module: ModuleType, name: str, edit: Replace) -> Callable[..., object]:
    """The function of that name with the SQL that it writes edited; notices when there was nothing to edit."""
    honest = getattr(module, name)

    def broken(*args: object, **kwargs: object) -> object:
        written = honest(*args, **kwargs)
        if isinstance(written, tuple):
            return (edit(written[0]), *written[1:])
        return edit(written)

    return broken


def _null_passes(sql: str) -> str:
    """The condition of a filter, which stands last, true where it is null."""
    head, where, condition = sql.rpartition(" WHERE ")
    return f"{head}{where}coalesce({condition}, TRUE)" if sql.startswith("SELECT * FROM (") else sql


def _open_below(sql: str) -> str:
    """`CASE WHEN x BETWEEN … WHEN x < low THEN low WHEN …` without its second branch, or `least(greatest(…))`."""
    parts = sql.split(" WHEN ")
    return " WHEN ".join(parts[:2] + parts[3:]) if len(parts) == 4 else sql.replace("greatest(", "coalesce(")


PLANTED: dict[str, tuple[ModuleType, str, Replace]] = {
    "a sign": (inputs, "_centred", lambda sql: f"-({sql})"),
    "a clamp at one end only": (integers, "clamp", _open_below),
    "a number beyond its range that counts as its other end": (
        inputs,
        "integer",
        lambda sql: sql.replace(" < ", " > "),
    ),
    "a clamp of means at one end only": (inputs, "_clamped", _open_below),
    "rounding to the nearest in place of toward 0": (inputs, "_centred", lambda sql: sql.replace("trunc(", "round(")),
    "a null that counts as the lower bound": (inputs, "integer", lambda sql: f"coalesce({sql}, 0)"),
    "a NaN that counts as the upper bound": (inputs, "integer", lambda sql: sql.replace("isfinite(", "isnan(1+0*")),
    "a condition that null passes": (relations, "_written", _null_passes),
    "a range that reaches from the other end": (ranges, "_furthest", lambda sql: sql.replace("max(", "min(")),
    "a level too low": (levels, "_level", lambda sql: sql.replace("ceil(", "floor(")),
    "a weight that is rounded up": (quantiles, "_share", lambda sql: f"{sql} + 1"),
    "rows without a key that make a group": (cells, "admitted_key", lambda sql: f"({sql} OR TRUE)"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_difference_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, edit = PLANTED[fault]
    monkeypatch.setattr(module, name, _edited(module, name, edit))
    assert noticed(12_000, SEED), f"{fault} was not noticed"
