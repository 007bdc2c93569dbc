"""What a worker says, checked before anything is made of it: an engine bug may have handed it to an attacker.

Keys must be public ones, numbers must be within what the policy allows at all, groups must not repeat. A violation is
the constant failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import product

from policies.types import Value
from sandbox.relational.lower.cells import Group, key_type
from sandbox.relational.plan import CELLS_MAX, TEXT_KEY_MAX, KeyPlan, ReleasePlan
from sandbox.relational.statistics import Vector

Levels = dict[int, dict[int, int]]


class BadIntake(Exception):
    """The worker said something that no honest worker says. Carries no text: it may hold data."""


class Groups:
    """The groups that are answered, in their fixed order, and how a worker's rows are put into them."""

    def __init__(self, plan: ReleasePlan, survivors: Sequence[Group] | None) -> None:
        self.all: tuple[Group, ...] = tuple(survivors) if survivors is not None else domain_of(plan.keys)
        self._width = len(plan.keys)
        self._known = {_typed(wire(group)): i for i, group in enumerate(self.all)}

    def split(self, row: Group, integers: int) -> tuple[int, tuple[int, ...]]:
        """(place of the row's group, its integers). Raises BadIntake."""
        place = self._known.get(_typed(wire(row[: self._width])))
        if len(row) != self._width + integers or place is None:
            raise BadIntake
        return place, _integers(row[self._width :])


def exact_vectors(
    rows: Sequence[Group], vectors: Sequence[Vector], groups: Groups, count_max: int
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Per vector a tuple of components for each group, empty groups filled with 0."""
    sizes = [len(vector.components) for vector in vectors]
    found: dict[int, tuple[int, ...]] = {}
    for row in rows:
        place, numbers = groups.split(row, sum(sizes))
        if place in found:
            raise BadIntake
        found[place] = numbers
    zeros, exact, start = (0,) * sum(sizes), [], 0
    for vector, size in zip(vectors, sizes, strict=True):
        cells = tuple(found.get(i, zeros)[start : start + size] for i in range(len(groups.all)))
        _within(cells, min(count_max * vector.norm.total, 2**62))
        exact.append(cells)
        start += size
    return tuple(exact)


def _within(cells: Sequence[Sequence[int]], limit: int) -> None:
    if any(abs(number) > limit for cell in cells for number in cell):
        raise BadIntake


def exact_counts(rows: Sequence[Group], groups: Groups, limit: int) -> tuple[tuple[int, ...], ...]:
    """One number for each group, 0 where there is none: of COUNT(DISTINCT x)."""
    found: dict[int, tuple[int, ...]] = {}
    for row in rows:
        place, numbers = groups.split(row, 1)
        if place in found or not 0 <= numbers[0] <= limit:
            raise BadIntake
        found[place] = numbers
    return tuple(found.get(i, (0,)) for i in range(len(groups.all)))


def histograms(rows: Sequence[Group], groups: Groups, first: int, last: int, limit: int) -> tuple[dict[int, int], ...]:
    """Weights per group and cell; cells lie from `first` to `last`."""
    found: tuple[dict[int, int], ...] = tuple({} for _ in groups.all)
    for row in rows:
        place, (cell, weight) = groups.split(row, 2)
        if not first <= cell <= last or cell in found[place] or not 0 <= weight <= limit:
            raise BadIntake
        found[place][cell] = weight
    return found


def units_per_level(rows: Sequence[Group], highest: Mapping[int, int], count_max: int) -> Levels:
    """Units per level of each thing that is chosen, by its number; `highest` says what its highest level is."""
    found: dict[int, dict[int, int]] = {number: {} for number in highest}
    for row in rows:
        if len(row) != len(("number", "level", "units")):
            raise BadIntake
        number, level, units = _integers(row)
        if number not in found or not 0 <= level <= highest[number] or level in found[number]:
            raise BadIntake
        if not 0 < units <= count_max:
            raise BadIntake
        found[number][level] = units
    return found


def units_per_key(rows: Sequence[Group], plan: ReleasePlan, count_max: int) -> dict[Group, int]:
    """Exact numbers of units per private key, as the key stage needs them."""
    found: dict[Group, int] = {}
    for row in rows:
        if len(row) != len(plan.keys) + 1:
            raise BadIntake
        group = tuple(shown_key(value, key) for value, key in zip(row[:-1], plan.keys, strict=True))
        (units,) = _integers(row[-1:])
        if group in found or not 1 <= units <= count_max:
            raise BadIntake
        found[group] = units
    return found


def in_order(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Private keys in a fixed order, ascending with nulls last: the engine's order says something about rows."""
    return tuple(sorted(groups, key=order_of)[:CELLS_MAX])


def order_of(group: Group) -> list[tuple[bool, int | float | str]]:
    """By which groups are sorted: ascending, nulls last."""
    return [(part is None, _sortable(part)) for part in group]


def wire(group: Sequence[Value]) -> Group:
    """A group as the engine returns it: bins as doubles."""
    return tuple(float(part) if isinstance(part, Decimal) else part for part in group)


def _typed(group: Group) -> tuple[tuple[type, Value], ...]:
    """A group with its parts' types: True would pass for 1."""
    return tuple((type(part), part) for part in group)


def _sortable(part: Value) -> int | float | str:
    if part is None:
        return 0
    if isinstance(part, date | datetime):
        return part.isoformat()
    return float(part) if isinstance(part, Decimal) else part


def domain_of(keys: tuple[KeyPlan, ...]) -> tuple[Group, ...]:
    """All groups of public keys, in their fixed order."""
    return tuple(product(*(key.keys or () for key in keys)))


def _integers(parts: Sequence[Value]) -> tuple[int, ...]:
    if any(type(part) is not int for part in parts):
        raise BadIntake
    return tuple(part for part in parts if type(part) is int)


def shown_key(value: Value, key: KeyPlan) -> Value:
    """A private or public key as the answer shows it. Raises BadIntake for what the key cannot be."""
    if value is None:
        if key.nullable:
            return None
        raise BadIntake
    if key.keys is not None:
        for public in key.keys:
            if wire((public,)) == (value,) and type(wire((public,))[0]) is type(value):
                return public
        raise BadIntake
    kind = key_type(key).kind
    expected: dict[str, type] = {"text": str, "bigint": int, "boolean": bool, "date": date, "timestamp": datetime}
    if type(value) is not expected.get(kind) or (isinstance(value, str) and len(value) > TEXT_KEY_MAX):
        raise BadIntake
    return value
