"""What is not a vector: units per private key, distinct values, weights of quantiles."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

from sandbox.relational.expressions import Expression
from sandbox.relational.facts import Facts
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.ranges import End
from sandbox.relational.statistics import DistinctCount, Quantiles
from tests.reference.doubles import Close, Undecided, double, first_level
from tests.reference.groups import Group, Unit, by_unit_and_group
from tests.reference.relations import Rows
from tests.reference.scalars import Row, canonical, evaluate

Pair = tuple[Any, ...]


def units_per_key(plan: ReleasePlan, rows: Rows, seed: bytes, units_min: int) -> dict[Group, int]:
    """Units per private key, at most so many keys of each unit."""
    found = Counter[Group]()
    for unit, groups in by_unit_and_group(plan, rows, None).items():
        found.update(_least_digests(unit, {group: group for group in groups}, plan.shape.groups, seed))
    return {group: units for group, units in found.items() if units >= units_min}


def distinct_values(
    plan: ReleasePlan, statistic: DistinctCount, rows: Rows, seed: bytes, survivors: Sequence[Group] | None
) -> dict[Group, int]:
    """Values per group, over at most so many pairs of a group and a value of each unit."""
    values: dict[Group, set[Any]] = defaultdict(set)
    for unit, groups in by_unit_and_group(plan, rows, survivors).items():
        pairs: dict[Pair, Pair] = {}
        for group, members in groups.items():
            for row in members:
                value = evaluate(statistic.argument, row, plan.facts)
                if value is not None:
                    pairs[*group, canonical(value)] = (*group, value)
        kept = _least_digests(unit, pairs, statistic.pairs, seed) if statistic.ranked else list(pairs)
        for *group, value in kept:
            values[tuple(group)].add(value)
    found = {group: len(each) for group, each in values.items()}
    return found if plan.keys or found else {(): 0}


def _least_digests(unit: Unit, pairs: Mapping[Pair, Pair], most: int, seed: bytes) -> list[Pair]:
    """The pairs with the least digests; `pairs` maps what is equal to SQL to how it is written."""
    return sorted(pairs, key=lambda pair: _digest(unit, pairs[pair], seed))[:most]


def _digest(unit: Unit, pair: Pair, seed: bytes) -> int:
    """60 bits of SHA-256 over seed, unit and pair, each part with its length, nulls apart from text."""
    parts = [str(unit), *(None if part is None else _text(part) for part in pair)]
    joined = "".join("-" if part is None else f"+{len(part)}:{part}" for part in parts)
    return int(hashlib.sha256(f"{seed.hex()}:{joined}".encode()).hexdigest()[:15], 16)


def _text(part: Any) -> str:
    if isinstance(part, bool):
        return "true" if part else "false"
    if isinstance(part, datetime):
        return part.isoformat(sep=" ")
    return str(canonical(part)).lower() if isinstance(part, float) else str(part)


def coarse_weights(
    plan: ReleasePlan, statistic: Quantiles, rows: Rows, survivors: Sequence[Group] | None
) -> dict[Pair, int]:
    """(group, coarse cell) -> weight."""
    return _weights(plan, statistic, rows, survivors, lambda group, cell: cell // statistic.inner)


def fine_weights(
    plan: ReleasePlan,
    statistic: Quantiles,
    rows: Rows,
    picked: Mapping[Group, int],
    survivors: Sequence[Group] | None,
) -> dict[Pair, int]:
    """(group, cell within the picked coarse cell) -> weight; -1 is below it, `inner` above."""

    def place(group: Group, cell: int) -> int:
        return min(max(cell - picked[group] * statistic.inner, -1), statistic.inner)

    chosen = [group for group in picked if survivors is None or group in survivors]
    return _weights(plan, statistic, rows, chosen, place)


def _weights(plan, statistic, rows, survivors, place) -> dict[Pair, int]:
    """A unit's rows weigh `grid` each; those of a unit with more rows than declared are scaled down, toward 0."""
    found = Counter[Pair]()
    for groups in by_unit_and_group(plan, rows, survivors).values():
        own = Counter[Pair]()
        for group, members in groups.items():
            cells = (_cell(statistic, placed(statistic.argument.expression, row, plan.facts)) for row in members)
            own.update((*group, place(group, cell)) for cell in cells if cell is not None)
        many = max(own.total(), statistic.rows)
        for pair, count in own.items():
            found[pair] += count if plan.shape.unit_once else count * statistic.weight // many
    return dict(found)


def level_counts(
    plan: ReleasePlan, ends: Sequence[End], rows: Rows, survivors: Sequence[Group] | None
) -> dict[tuple[int, int, int], Sequence[Close]]:
    """(number of the end, level, units): each unit by the furthest of its own values, of level 0 where it has none."""
    found = Counter(
        (i, _reached(end, [row for members in groups.values() for row in members], plan.facts))
        for groups in by_unit_and_group(plan, rows, survivors).values()
        for i, end in enumerate(ends)
    )
    return {(*level, units): () for level, units in found.items()}


def _reached(end: End, rows: Rows, facts: Facts) -> int:
    """The first level that holds the furthest value: each is the root of two times the one before."""
    values = [x for row in rows if (x := placed(end.argument.expression, row, facts)) is not None]
    if not values:
        return 0
    if end.side == "rows":
        distance = double(len(values))
    elif end.side == "up":
        distance = double(max(values)) - double(end.anchor)
    else:
        distance = double(end.anchor) - double(min(values))
    return min(first_level(distance / double(end.step), 2), end.levels)


def placed(expression: Expression, row: Row, facts: Facts) -> float | None:
    """A value in the order of numbers: dates in days and timestamps in seconds since 1970; None where it has none."""
    value = evaluate(expression, row, facts)
    if isinstance(value, datetime):
        return float((value - datetime(1970, 1, 1)) // timedelta(seconds=1))  # noqa: DTZ001  # policies carry no zone
    if isinstance(value, date):
        return float((value - date(1970, 1, 1)).days)
    return float(value) if value is not None and math.isfinite(float(value)) else None


def _cell(statistic: Quantiles, x: float | None) -> int | None:
    """The cell of the grid; what lies a billionth of a cell below an edge counts as on it."""
    if x is None:
        return None
    argument = statistic.argument
    low, high = Fraction(float(argument.low)), Fraction(float(argument.high))
    steps = (double(min(max(Fraction(x), low), high)) - double(low)) / double(statistic.cell) + double(Fraction(1e-9))
    found = steps.floor()
    if found.slack:
        raise Undecided
    return min(max(found.value, 0), statistic.cells - 1)
