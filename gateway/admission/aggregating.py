"""Which columns may be counted, added up, averaged."""

from __future__ import annotations

from gateway.admission.dates import unit_of
from gateway.admission.filtering import require_filterable
from gateway.admission.lineage import Declared, Lineage
from gateway.errors import Refusal
from policies.model import AggregateName
from sandbox.relational.expressions import COMPARISONS, LOGIC, Call, Case, Column, Expression, children
from sandbox.relational.nodes import Measure, MeasureFunction

_DECIDES = (*COMPARISONS, *LOGIC, "in", "is_null", "like")


def require_aggregate(measure: Measure, lineage: Lineage) -> None:
    """Raises Refusal aggregate_not_allowed, column_not_filterable."""
    grant = _grant(measure.function)
    if measure.argument is not None and grant is not None:
        _require_value(lineage.traced(measure.argument), grant, lineage)


def _grant(function: MeasureFunction) -> AggregateName | None:
    match function:
        case "count_rows" | "count_units":
            return None
        case "count" | "sum" | "avg":
            return function
        case _:
            raise AssertionError(function)


def _require_value(value: Expression, grant: AggregateName, lineage: Lineage) -> None:
    """Conditions inside filter; what stands as a value is aggregated."""
    part = unit_of(value)
    if part is not None:
        _require_part(*part, grant, lineage)
    elif isinstance(value, Column):
        _require_column(value, grant, lineage)
    elif isinstance(value, Case):
        for when, then in value.branches:
            require_filterable(when, lineage)
            _require_value(then, grant, lineage)
        _require_value(value.otherwise, grant, lineage)
    elif isinstance(value, Call) and value.function in _DECIDES:
        require_filterable(value, lineage)
    else:
        for child in children(value):
            _require_value(child, grant, lineage)


def _require_part(unit: str, column: Column, grant: AggregateName, lineage: Lineage) -> None:
    declared = _require_column(column, grant, lineage)
    if declared.column.via and unit not in declared.column.via:
        forms = ", ".join(f"`{one}({declared.column.name})`" for one in declared.column.via)
        raise Refusal("aggregate_not_allowed", f"{declared.words} is not read by {unit}", hint=forms, at=column.at)


def _require_column(column: Column, grant: AggregateName, lineage: Lineage) -> Declared:
    """`count` is open on every column that is not hidden; but the unit's own is only ever counted whole."""
    declared = lineage.declared(column)
    allowed = grant == "count" or grant in declared.column.aggregates
    if declared.column.role == "unit" or not allowed:
        words = {"count": "counted", "sum": "added up", "avg": "averaged"}[grant]
        message = f"{declared.words} may not be {words}"
        raise Refusal("aggregate_not_allowed", message, hint=_instead(declared, grant), at=column.at)
    return declared


def _instead(declared: Declared, grant: AggregateName) -> str | None:
    if declared.column.role == "unit":
        return f"`COUNT(DISTINCT {declared.column.name})`"
    names = [one.name for one in declared.table.columns.values() if grant in one.aggregates and one.role != "hidden"]
    return f"columns open to {grant}: " + ", ".join(f"`{name}`" for name in names[:12]) if names else None
