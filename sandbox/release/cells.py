"""The rows that a question's post-processing starts from: one per group of its release, or of a coarser one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from policies.types import BIGINT, Type, Value
from sandbox.relational.facts import Refuse
from sandbox.relational.nodes import Output, Relation, Rollup, find_release, walk
from sandbox.relational.plan import ReleasePlan
from sandbox.release import present
from sandbox.release.derived import ADDED_UP, measures_for, places_of
from sandbox.release.present import Cell, Estimate
from sandbox.release.released import Release, ReleasedMeasure, ReleasedStatistic


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its keys, its noisy numbers per statistic, which keys are rolled up, and what stands beside it."""

    keys: tuple[Value, ...]
    cells: tuple[Cell, ...]
    rolled: tuple[int, ...]
    near_threshold: bool

    @property
    def merged(self) -> bool:
        """Whether several released groups were added up."""
        return any(cell.merged > 1 for cell in self.cells)

    def exact(self, column: str) -> Fraction | None:
        """A numeric key or roll-up mark, as it stands in arithmetic."""
        value = (self.keys if column.startswith("k") else self.rolled)[int(column[1:])]
        return Fraction(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, and how to tell numbers from them."""

    keys: tuple[Type, ...]
    measures: tuple[ReleasedMeasure, ...]
    statistics: tuple[ReleasedStatistic, ...]
    rows: tuple[Row, ...]
    units_dropped: bool

    @property
    def types(self) -> dict[str, Type]:
        """The columns: keys, measures, and whether each key is rolled up."""
        keys = {f"k{i}": type_ for i, type_ in enumerate(self.keys)}
        measures = {f"m{i}": measure.type for i, measure in enumerate(self.measures)}
        return {**keys, **measures, **{f"g{i}": BIGINT for i in range(len(self.keys))}}

    def estimate(self, row: Row, number: int, alpha: float = present.ALPHA) -> Estimate:
        """Measure `number` in `row`, with its interval at 1 - alpha."""
        return present.estimate(self.measures[number], self.statistics, row.cells, alpha)

    def values(self, row: Row) -> tuple[Value, ...]:
        """All columns of `row`, in the order of `types`."""
        found = [(self.estimate(row, i).value, measure.type) for i, measure in enumerate(self.measures)]
        shown = [None if number is None else present.as_value(number, type_) for number, type_ in found]
        return (*row.keys, *shown, *row.rolled)


def table_of(stored: Release, plan: Output) -> Table:
    """The rows for `plan`, whose release is that of `stored` or can be told from it. Raises LookupError."""
    wanted, rollup = find_release(plan), _rollup(plan)
    measures = measures_for(stored, wanted)
    if measures is None:
        raise LookupError("a stored release does not answer this question")
    places = places_of(stored, wanted)
    rows: tuple[Row, ...] = tuple(_row(stored, i, places) for i in range(len(stored.groups)))
    if len(places) < len(stored.keys):
        rows = tuple(_added_up(rows, tuple(range(len(places)))))
    if rollup is not None:
        rows = tuple(row for kept in rollup.sets for row in _added_up(rows, kept))
    keys = tuple(stored.keys[place].type for place in places)
    return Table(keys, measures, stored.statistics, rows, stored.units_dropped)


def require_rollup(plan: Output, planned: ReleasePlan) -> None:
    """Raises Refuse where the groups of a roll-up cannot be added up from released ones."""
    rollup = _rollup(plan)
    if rollup is None:
        return
    if any(not 0 <= key < len(planned.keys) for kept in rollup.sets for key in kept):
        raise Refuse("construct_not_allowed", "a grouping set names a key that is not there", at=rollup.at)
    if planned.cells == 0:
        detail = "the conditions leave no group, so there is nothing to add up"
        raise Refuse("construct_not_allowed", detail, hint="leave the roll-up out", at=rollup.at)
    private = [key for key in planned.keys if key.keys is None]
    if private:
        detail = f"the groups of {private[0].label} are not public, so sums over those shown would leave some out"
        raise Refuse("keys_not_public", detail, hint="ask one query for each grouping", at=rollup.at)
    for figure in planned.figures:
        alone = figure.measure.function == "count_units" and planned.shape.one_group
        if figure.measure.function not in ADDED_UP and not alone:
            detail = "this aggregate of all groups cannot be told from those of each"
            raise Refuse("construct_not_allowed", detail, hint="ask one query for each grouping", at=figure.measure.at)


def _rollup(plan: Relation) -> Rollup | None:
    return next((node for node in walk(plan) if isinstance(node, Rollup)), None)


def _row(stored: Release, group: int, places: Sequence[int]) -> Row:
    cells = tuple(Cell(statistic.noisy[group]) for statistic in stored.statistics)
    keys = tuple(stored.groups[group][place] for place in places)
    return Row(keys, cells, (0,) * len(keys), stored.near_threshold[group])


def _added_up(rows: Sequence[Row], kept: tuple[int, ...]) -> list[Row]:
    """`rows` added up over the keys that are not `kept`, in order of the first that falls into each group."""
    found: dict[tuple[Value, ...], list[Row]] = {}
    for row in rows:
        keys = tuple(key if i in kept else None for i, key in enumerate(row.keys))
        found.setdefault(keys, []).append(row)
    rolled = tuple(0 if i in kept else 1 for i in range(len(rows[0].keys))) if rows else ()
    return [replace(_sum(group), keys=keys, rolled=rolled) for keys, group in found.items()]


def _sum(rows: Sequence[Row]) -> Row:
    """Noise of groups is independent, and what is added up is what was released: the same numbers as before."""
    if len(rows) == 1:
        return rows[0]
    cells = []
    for parts in zip(*(row.cells for row in rows), strict=True):
        noisy = tuple(sum(numbers) for numbers in zip(*(part.noisy for part in parts), strict=True))
        cells.append(Cell(noisy, sum(part.merged for part in parts)))
    return Row((), tuple(cells), (), near_threshold=False)
