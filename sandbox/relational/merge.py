"""Facts of a value that is one of several: the branches of CASE, the parts of COALESCE, the inputs of UNION ALL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from policies.types import BIGINT, DOUBLE, Type, Value
from sandbox.relational import intervals
from sandbox.relational.expressions import Expression, Literal, Position
from sandbox.relational.facts import Bounds, ColumnFacts, Refuse, numeric_bounds


def merge(parts: Sequence[ColumnFacts], values: Sequence[Expression], word: str, at: Position | None) -> ColumnFacts:
    """Facts of a value that is one of `parts`, the facts of `values`. A bare NULL takes the others' type."""
    typed = [part for part, value in zip(parts, values, strict=True) if not bare_null(value)] or list(parts)
    bounds = [part.bounds for part in typed if part.bounds is not None]
    return ColumnFacts(
        type=_type(typed, word, at),
        label=word,
        nullable=any(part.nullable for part in parts),
        bounds=_hull(bounds) if len(bounds) == len(typed) else None,
        step=finest(typed),
        keys=_united(typed),
        of_unit=all(part.of_unit for part in parts),
    )


def bare_null(value: Expression) -> bool:
    return isinstance(value, Literal) and value.value is None


def _type(typed: Sequence[ColumnFacts], word: str, at: Position | None) -> Type:
    first = typed[0].type
    for part in typed[1:]:
        if part.type != first and not (part.type.numeric and first.numeric):
            raise Refuse("type_mismatch", f"the results of {word} must all have one type", at=at)
    if all(part.type == first for part in typed):
        return first
    return BIGINT if all(part.type.whole for part in typed) else DOUBLE


def _united(typed: Sequence[ColumnFacts]) -> tuple[Value, ...] | None:
    keys: dict[Value, None] = {}
    for part in typed:
        if part.keys is None:
            return None
        keys.update(dict.fromkeys(part.keys))
    return tuple(keys)


def _hull(bounds: Sequence[Bounds]) -> Bounds | None:
    numbers = [b for b in bounds if numeric_bounds(b)]
    if numbers:
        return intervals.hull(numbers) if len(numbers) == len(bounds) else None
    if len({isinstance(edge, datetime) for b in bounds for edge in b}) != 1:
        return None  # a day and a time of day have no order
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def finest(parts: Sequence[ColumnFacts]) -> Fraction | None:
    """The finest grid of `parts`; None where one of them has no grid."""
    steps = [part.step for part in parts if part.step is not None]
    return min(steps) if len(steps) == len(parts) else None
