"""What a worker says of a question's rows, checked, and put together into the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import TAG_MAX, Cell, Ground, Integers, Quantity
from sandbox.disclosure.plan import ProtectedPlan, Summed
from sandbox.disclosure.sorting import by_number, starts
from sandbox.relational.lower.cells import Group
from sandbox.relational.lower.constants import ITEMS_PER_TABLE
from sandbox.release.intake import BadIntake

TABLES_MAX = 2**20
_EMPTY = np.empty(0, dtype=np.int64)
NOTHING = Ground(_EMPTY, _EMPTY, _EMPTY)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """All rows of a question, parallel: the number of the finest group, the unit's tag, the item, and per quantity its
    numbers, and whether the row counts but for sensitive conditions (None where there are none)."""

    groups: Integers
    units: Integers
    items: Integers
    values: tuple[Integers, ...]
    without: tuple[NDArray[np.bool_] | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The groups of one grouping set: their keys, null where a key is not kept, and where each finest group lies."""

    kept: tuple[int, ...]
    keys: tuple[Group, ...]
    places: Integers


def rows_of(columns: Sequence[Integers], groups: int, plan: ProtectedPlan) -> Rows:
    """Raises BadIntake for what no honest worker says."""
    if len(columns) < len(("group", "unit", "item")):
        raise BadIntake
    group, unit, item, *rest = columns
    limits = ((group, 0, groups), (unit, 0, TAG_MAX), (item, -1, TABLES_MAX * ITEMS_PER_TABLE))
    if any(len(column) and not (column.min() >= low and column.max() < high) for column, low, high in limits):
        raise BadIntake
    values: list[Integers] = []
    without: list[NDArray[np.bool_] | None] = []
    for quantity in plan.quantities:
        values.append(rest.pop(0))
        without.append(rest.pop(0) != 0 if quantity.sensitive else None)
        if quantity.kind != "sum" and len(values[-1]) and not (values[-1].min() >= 0 and values[-1].max() <= 1):
            raise BadIntake
    if rest:
        raise BadIntake
    return Rows(group, unit, item, tuple(values), tuple(without))


def parts_of(plan: ProtectedPlan, groups: Sequence[Group], public: Sequence[Group] | None) -> tuple[Part, ...]:
    """The parts of the table. `groups` are the finest that have rows; `public` all of them, where keys are public."""
    return tuple(_part(kept, groups, public, len(plan.keys)) for kept in plan.sets)


def _part(kept: tuple[int, ...], groups: Sequence[Group], public: Sequence[Group] | None, width: int) -> Part:
    def shown(group: Group) -> Group:
        return tuple(value if i in kept else None for i, value in enumerate(group))

    numbers: dict[tuple[tuple[type, object], ...], int] = {}
    keys: list[Group] = []
    for group in public if public is not None else groups:
        if (typed := _typed(shown(group))) not in numbers:
            numbers[typed] = len(keys)
            keys.append(shown(group))
    if not kept and not keys:
        numbers[()] = 0
        keys.append((None,) * width)
    places = np.array([numbers[_typed(shown(group))] for group in groups], dtype=np.int64)
    return Part(kept, tuple(keys), places)


def _typed(group: Group) -> tuple[tuple[type, object], ...]:
    """A group with its parts' types: True would pass for 1."""
    return tuple((type(part), part) for part in group)


def _quantity(summed: Summed, rows: Rows, number: int, run: str) -> tuple[Quantity, bool]:
    """The quantity, and whether its rows are told by their items: else its name is that of this `run` alone.

    That no value lies below 0 is what everybody assumes where the policy says so, and here it is true as well.
    """
    values = rows.values[number]
    nonnegative = summed.nonnegative and not bool(len(values) and values.min() < 0)
    shared = summed.kind == "units" or (summed.shared and _apart(rows, number))
    name = summed.name if shared else f"{summed.name} in {run}"
    return Quantity(name, nonnegative, counts=summed.kind != "sum"), shared


def doubled(plan: ProtectedPlan, rows: Rows, number: int) -> bool:
    """Whether UNION ALL has brought a row several times: then a number adds it up with a factor that nobody sees."""
    return plan.doubling and plan.quantities[number].kind != "units" and not _apart(rows, number)


def _apart(rows: Rows, number: int) -> bool:
    """Whether each item occurs once: a table may have more rows for a unit than is declared."""
    items = rows.items[rows.values[number] != 0]
    return bool(starts(np.sort(items, kind="stable")).all())  # mostly ascending already


def cells_of(plan: ProtectedPlan, rows: Rows, parts: Sequence[Part], run: str) -> list[list[list[Cell]]]:
    """The cells by part, quantity and place; groups without a row have one with nothing."""
    found = [_contributing(plan, rows, number, run) for number in range(len(plan.quantities))]
    return [
        [
            [
                Cell(quantity, own, part=i, place=place, column=number)
                for place, own in enumerate(_split(ground, groups, part, plan.quantities[number].kind == "units"))
            ]
            for number, (quantity, ground, groups) in enumerate(found)
        ]
        for i, part in enumerate(parts)
    ]


def _contributing(plan: ProtectedPlan, rows: Rows, number: int, run: str) -> tuple[Quantity, Ground, Integers]:
    """The quantity, the rows that contribute, in order of their items, and the finest group of each."""
    summed, values = plan.quantities[number], rows.values[number]
    quantity, shared = _quantity(summed, rows, number, run)
    keep = np.flatnonzero(values)
    units, groups = rows.units[keep], rows.groups[keep]
    items = units if summed.kind == "units" else rows.items[keep] if shared else keep
    order = np.argsort(items) if summed.kind == "units" else np.argsort(items, kind="stable")  # mostly ascending
    return quantity, Ground(items[order], units[order], values[keep][order]), groups[order]


def _split(ground: Ground, groups: Integers, part: Part, units: bool) -> list[Ground]:
    """The rows of each group. Where units are counted, each once."""
    places = part.places[groups] if len(groups) else _EMPTY
    order = by_number(places, len(part.keys))
    places = places[order]
    items, owners, values = ground.items[order], ground.units[order], ground.values[order]
    if units and len(items):
        first = starts(items) | starts(places)
        places, items, owners, values = places[first], items[first], owners[first], np.ones(first.sum(), dtype=np.int64)
    edges = np.searchsorted(places, np.arange(len(part.keys) + 1))
    return [Ground(items[a:b], owners[a:b], values[a:b]) for a, b in pairwise(edges)]
