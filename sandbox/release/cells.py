"""The rows of a release before its post-processing: one per group, or per group of a roll-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from policies.types import BIGINT, Type, Value
from sandbox.relational.nodes import Output, Relation, Release, Rollup, sources
from sandbox.release import present
from sandbox.release.present import Cell, Estimate
from sandbox.release.released import Release as Stored
from sandbox.release.released import ReleasedMeasure

ADDED_UP = ("count_rows", "count", "sum", "avg")
"""Measures whose statistics add up over groups whatever is in them; so do those of moments."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its keys, its noisy numbers per statistic, which keys are rolled up, and what stands beside it."""

    keys: tuple[Value, ...]
    cells: tuple[Cell, ...]
    rolled: tuple[int, ...]
    near_threshold: bool

    def estimate(self, stored: Stored, measure: ReleasedMeasure, alpha: float = present.ALPHA) -> Estimate:
        return present.estimate(measure, stored.statistics[measure.statistic], self.cells[measure.statistic], alpha)

    def values(self, stored: Stored) -> tuple[Value, ...]:
        """The columns k, m and g of the row, in order."""
        numbers = [(self.estimate(stored, measure).value, measure.type) for measure in stored.measures]
        shown = [None if number is None else present.as_value(number, type_) for number, type_ in numbers]
        return (*self.keys, *shown, *self.rolled)

    def exact(self, column: str) -> Fraction | None:
        """A numeric key or roll-up mark, as it stands in arithmetic."""
        value = (self.keys if column.startswith("k") else self.rolled)[int(column[1:])]
        return Fraction(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def types(stored: Stored) -> dict[str, Type]:
    """The columns that a release offers: its keys, its measures, and whether each key is rolled up."""
    keys = {f"k{i}": key.type for i, key in enumerate(stored.keys)}
    measures = {f"m{i}": measure.type for i, measure in enumerate(stored.measures)}
    return {**keys, **measures, **{f"g{i}": BIGINT for i in range(len(stored.keys))}}


def rows_of(stored: Stored, plan: Output) -> tuple[Row, ...]:
    """The rows that post-processing starts from."""
    groups = tuple(_row(stored, i) for i in range(len(stored.groups)))
    rollup = _bottom(plan)
    if isinstance(rollup, Release):
        return groups
    return tuple(row for kept in rollup.sets for row in _rolled(groups, kept))


def _bottom(plan: Relation) -> Release | Rollup:
    node = plan
    while not isinstance(node, Release | Rollup):
        (node, *_) = sources(node)
    return node


def _row(stored: Stored, group: int) -> Row:
    cells = tuple(Cell(statistic.noisy[group]) for statistic in stored.statistics)
    keys = stored.groups[group]
    return Row(keys, cells, (0,) * len(keys), stored.near_threshold[group])


def _rolled(groups: Sequence[Row], kept: tuple[int, ...]) -> list[Row]:
    """`groups` added up over the keys that are not kept, in order of the first that falls into each."""
    found: dict[tuple[Value, ...], list[Row]] = {}
    for row in groups:
        keys = tuple(key if i in kept else None for i, key in enumerate(row.keys))
        found.setdefault(keys, []).append(row)
    return [_sum(keys, rows, kept) for keys, rows in found.items()]


def _sum(keys: tuple[Value, ...], rows: Sequence[Row], kept: tuple[int, ...]) -> Row:
    """Noise of groups is independent, and what is added up is what was released: the same numbers as before."""
    cells = []
    for parts in zip(*(row.cells for row in rows), strict=True):
        noisy = tuple(sum(numbers) for numbers in zip(*(part.noisy for part in parts), strict=True))
        cells.append(Cell(noisy, sum(part.merged for part in parts)))
    rolled = tuple(0 if i in kept else 1 for i in range(len(keys)))
    return Row(keys, tuple(cells), rolled, near_threshold=False)
