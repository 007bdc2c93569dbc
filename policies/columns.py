"""One column: its facts checked against its type and role, its defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal, Inexact
from itertools import pairwise
from typing import Any, Final, get_args

from policies.documents import ColumnDocument
from policies.model import AggregateName, Bound, Column, Mode, Role
from policies.problems import Report, join, listed, shown
from policies.types import Type, Value
from policies.values import bound, value

ALWAYS_OPEN: Final[frozenset[AggregateName]] = frozenset({"count", "count_distinct"})
MEASURE_DEFAULTS: Final[Mapping[Mode, frozenset[AggregateName]]] = {
    "dp": ALWAYS_OPEN | {"sum", "avg", "var", "stddev", "median", "quantile"},
    "aggregate": ALWAYS_OPEN | {"sum", "avg"},
    "open": frozenset(get_args(AggregateName)),
}
DOUBLE_GRID = 2**20
"""Steps in the range of a double, unless `step` is said: rounding moves a value by less than a millionth of it."""

_EXACT: Final = Context(prec=200, traps=[Inexact])
_ORDERED: Final = frozenset({"median", "quantile", "min", "max"})
_FACTS_OF_VALUES: Final = ("values", "range", "step", "via", "bins", "total_per_unit_max")


def build_column(name: str, document: ColumnDocument, modes: tuple[Mode, ...], place: str, report: Report) -> Column:
    """The column, every contradiction in `report`. What is contradictory is left out of the result."""
    _check_role(document, place, report)
    span = _range(document, place, report)
    return Column(
        name=name,
        type=document.type,
        role=document.role,
        filter=document.filter or ("range" if document.role == "dimension" else "none"),
        aggregates=_aggregates(document, modes, place, report),
        values=_values(document, span, place, report),
        range=span,
        step=_step(document, span, place, report),
        via=_via(document, place, report),
        bins=_bins(document, place, report),
        sensitive=document.sensitive,
        nullable=document.nullable,
        total_per_unit_max=_total(document, place, report),
        joins=_joins(document, place, report),
    )


def _check_role(document: ColumnDocument, place: str, report: Report) -> None:
    """Facts and grants that the role makes void."""
    role: Role = document.role
    if role in ("unit", "key"):
        for fact in _FACTS_OF_VALUES:
            if getattr(document, fact) is not None:
                report.add(
                    join(place, fact), f"a column of role `{role}` is never shown or computed with", "leave it out"
                )
    if role in ("unit", "hidden") and document.filter not in (None, "none"):
        report.add(join(place, "filter"), f"a column of role `{role}` is never filtered by", "leave it out")
    if role == "hidden" and document.aggregates:
        report.add(join(place, "aggregates"), "nothing is computed from a hidden column", "leave it out")
    if document.joins is not None and role != "key":
        report.add(join(place, "joins"), f"a column of role `{role}` is not joined on", 'joins need role = "key"')


def _aggregates(
    document: ColumnDocument, modes: tuple[Mode, ...], place: str, report: Report
) -> frozenset[AggregateName]:
    """What is granted; where nothing is said, what the modes on offer have: each answers what it can of that.

    Mode `open` asks for no grant, and so adds none to what the others may be asked.
    """
    if document.role == "hidden":
        return frozenset()
    possible = _possible(document.type)
    if document.aggregates is None:
        if document.role != "measure":
            return ALWAYS_OPEN
        guarded = [mode for mode in modes if mode != "open"] or modes
        return possible & frozenset().union(*(MEASURE_DEFAULTS[mode] for mode in guarded))
    at = join(place, "aggregates")
    _distinct(document.aggregates, at, report)
    asked = frozenset(document.aggregates)
    if document.role in ("unit", "key") and asked - ALWAYS_OPEN:
        report.add(at, f"a column of role `{document.role}` can only be counted", "leave it out")
    elif asked - possible:
        impossible = listed(sorted(asked - possible))
        report.add(at, f"{impossible} cannot be computed from type {shown(document.type)}")
    return asked | ALWAYS_OPEN


def _possible(kind: Type) -> frozenset[AggregateName]:
    every: frozenset[AggregateName] = frozenset(get_args(AggregateName))
    if kind.numeric:
        return every
    return frozenset(name for name in every if name in ALWAYS_OPEN or (kind.temporal and name in _ORDERED))


def _range(document: ColumnDocument, place: str, report: Report) -> tuple[Bound, Bound] | None:
    if document.range is None:
        return None
    at, kind = join(place, "range"), document.type
    if not (kind.numeric or kind.temporal):
        report.add(at, f"type {shown(kind)} has no range", "list its `values`")
        return None
    edges = _each(document.range, kind, bound, at, report)
    if len(edges) < 2:
        return None
    low, high = edges
    if low > high:
        report.add(at, f"the lowest value {shown(low)} is above the highest {shown(high)}", "write [lowest, highest]")
        return None
    if kind.kind == "double" and low == high:
        report.add(at, "a double needs a highest value above the lowest")
        return None
    return low, high


def _values(
    document: ColumnDocument, span: tuple[Bound, Bound] | None, place: str, report: Report
) -> tuple[Value, ...] | None:
    if document.values is None or document.role in ("unit", "key"):
        return None
    at, kind = join(place, "values"), document.type
    if document.role == "measure":
        report.add(at, "values are group keys, and a measure is never grouped by", "declare a `range` or use `bins`")
        return None
    if kind.kind in ("double", "decimal"):
        report.add(at, f"a column of type {shown(kind)} is grouped by bins only", "declare `bins`")
        return None
    values = _each(document.values, kind, value, at, report)
    _distinct(values, at, report)
    if span is not None:
        for item in values:
            if not span[0] <= item <= span[1]:
                report.add(at, f"{shown(item)} lies outside `range`", "leave out `range`, or mend one of the two")
    return tuple(values)


def _step(document: ColumnDocument, span: tuple[Bound, Bound] | None, place: str, report: Report) -> Decimal | None:
    at, kind, step = join(place, "step"), document.type, document.step
    if step is not None and document.range is None:
        report.add(at, "a step needs a `range`")
    if span is None or not isinstance(span[0], Decimal) or not isinstance(span[1], Decimal):
        if step is not None and not kind.numeric:
            report.add(at, f"type {shown(kind)} has no steps", "leave it out")
        return None
    width = _EXACT.subtract(span[1], span[0])
    if step is None:
        return _default_step(kind, width)
    if step <= 0:
        report.add(at, "a step is above 0")
    elif step > width:
        report.add(at, f"the step {shown(step)} is bigger than the range")
    elif kind.whole and step != step.to_integral_value():
        report.add(at, f"the step of type {shown(kind)} is a whole number")
    return step


def _default_step(kind: Type, width: Decimal) -> Decimal:
    if kind.kind == "decimal":
        return Decimal(1).scaleb(-(kind.scale or 0))
    return Decimal(1) if kind.whole else _EXACT.divide(width, Decimal(DOUBLE_GRID))


def _via(document: ColumnDocument, place: str, report: Report) -> tuple[Any, ...]:
    if document.via is None or document.role in ("unit", "key"):
        return ()
    at = join(place, "via")
    if not document.type.temporal:
        report.add(at, f"type {shown(document.type)} has no calendar", "`via` is for dates and timestamps")
    elif document.role == "measure":
        report.add(at, "a measure is never grouped by", 'use role = "dimension"')
    _distinct(document.via, at, report)
    return tuple(document.via)


def _bins(document: ColumnDocument, place: str, report: Report) -> tuple[Decimal, ...] | None:
    if document.bins is None or document.role in ("unit", "key"):
        return None
    at, kind = join(place, "bins"), document.type
    if not kind.numeric:
        report.add(at, f"type {shown(kind)} has no bins", "bins are for numbers")
        return None
    raw = [int(edge) if kind.whole and edge == edge.to_integral_value() else edge for edge in document.bins]
    edges = [edge for edge in _each(raw, kind, bound, at, report) if isinstance(edge, Decimal)]
    if any(left >= right for left, right in pairwise(edges)):
        report.add(at, "the edges of bins must increase", "write them from lowest to highest, each once")
        return None
    return tuple(edges)


def _total(document: ColumnDocument, place: str, report: Report) -> Decimal | None:
    total, at = document.total_per_unit_max, join(place, "total_per_unit_max")
    if total is None or document.role in ("unit", "key"):
        return None
    if not document.type.numeric:
        report.add(at, f"type {shown(document.type)} has no total", "leave it out")
    elif total <= 0:
        report.add(at, "a total is above 0")
    return total


def _joins(document: ColumnDocument, place: str, report: Report) -> tuple[tuple[str, str], ...]:
    if document.joins is None:
        return ()
    _distinct(document.joins, join(place, "joins"), report)
    pairs = (target.partition(".") for target in document.joins)
    return tuple((table, column) for table, _, column in pairs)


def _each(raw: list[Any], kind: Type, read: Any, place: str, report: Report) -> list[Any]:
    """Every item read by the column's type; the first that does not fit is reported for all."""
    items = []
    for item in raw:
        try:
            items.append(read(item, kind))
        except ValueError as error:
            report.add(place, str(error))
            break
    return items


def _distinct(items: list[Any], place: str, report: Report) -> None:
    seen: set[object] = set()
    for item in items:
        if item in seen:
            report.add(place, f"{shown(item)} is listed twice")
        seen.add(item)
