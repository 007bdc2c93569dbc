"""What a worker says, checked before anything is made of it: an engine bug may have handed it to an attacker.

Keys must be public ones, numbers must be within what the policy allows at all, groups must not repeat. A violation is
the constant failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import product

from policies.types import Value
from sandbox.relational.lower.release import key_type
from sandbox.relational.plan import CELLS_MAX, TEXT_KEY_MAX, KeyPlan, ReleasePlan


class BadIntake(Exception):
    """The worker said something that no honest worker says. Carries no text: it may hold data."""


Group = tuple[Value, ...]


def exact_vectors(
    rows: Sequence[Group], plan: ReleasePlan, count_max: int, survivors: Sequence[Group] | None
) -> tuple[tuple[Group, ...], tuple[tuple[tuple[int, ...], ...], ...]]:
    """(groups in their fixed order, per vector a tuple of components per group), empty groups filled with 0."""
    groups = tuple(survivors) if survivors is not None else _domain(plan.keys)
    width = len(plan.keys)
    found: dict[Group, tuple[int, ...]] = {}
    known = {_typed(wire(group)): group for group in groups}
    sizes = [len(vector.components) for vector in plan.vectors]
    for row in rows:
        group = known.get(_typed(wire(row[:width])))
        if len(row) != width + sum(sizes) or group is None or group in found:
            raise BadIntake
        found[group] = _integers(row[width:])
    zeros = (0,) * sum(sizes)
    vectors: list[tuple[tuple[int, ...], ...]] = []
    start = 0
    for vector, size in zip(plan.vectors, sizes, strict=True):
        cells = tuple(found.get(group, zeros)[start : start + size] for group in groups)
        limit = min(count_max * vector.norm_sum, 2**62)
        if any(abs(value) > limit for cell in cells for value in cell):
            raise BadIntake
        vectors.append(cells)
        start += size
    return groups, tuple(vectors)


def units_per_key(rows: Sequence[Group], plan: ReleasePlan, count_max: int) -> dict[Group, int]:
    """Exact numbers of units per private key, as the key stage needs them."""
    found: dict[Group, int] = {}
    for row in rows:
        if len(row) != len(plan.keys) + 1:
            raise BadIntake
        group = tuple(_shown(value, key) for value, key in zip(row[:-1], plan.keys, strict=True))
        (units,) = _integers(row[-1:])
        if group in found or not 1 <= units <= count_max:
            raise BadIntake
        found[group] = units
    return found


def in_order(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Private keys in a fixed order, ascending with nulls last: the engine's order says something about rows."""
    return tuple(sorted(groups, key=lambda group: [(part is None, _sortable(part)) for part in group])[:CELLS_MAX])


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


def _domain(keys: tuple[KeyPlan, ...]) -> tuple[Group, ...]:
    return tuple(product(*(key.keys or () for key in keys)))


def _integers(parts: Sequence[Value]) -> tuple[int, ...]:
    if any(type(part) is not int for part in parts):
        raise BadIntake
    return tuple(part for part in parts if type(part) is int)


def _shown(value: Value, key: KeyPlan) -> Value:
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
