"""Of which columns which aggregates may be taken."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, assert_never

from gateway.admission.dates import unit_of
from gateway.admission.filtering import require_filterable
from gateway.admission.lineage import Declared, Lineage
from gateway.errors import Refusal
from policies.model import AggregateName
from sandbox.relational.expressions import COMPARISONS, LOGIC, Call, Case, Column, Expression, children
from sandbox.relational.nodes import Measure

Grants = tuple[AggregateName, ...]
_HALF: Final = Decimal("0.5")
_COUNTS: Final = ("count", "count_distinct")
_NEAR: Final[dict[str, str]] = {"min": "0.01", "max": "0.99"}
_WORDS: Final[dict[AggregateName, str]] = {
    "count": "counted",
    "count_distinct": "counted",
    "sum": "added up",
    "avg": "averaged",
    "var": "asked for its variance",
    "stddev": "asked for its standard deviation",
    "covar": "asked for a covariance",
    "corr": "asked for a correlation",
    "median": "asked for its median",
    "quantile": "asked for its quantiles",
    "min": "asked for its least value",
    "max": "asked for its greatest value",
}
_DECIDES = (*COMPARISONS, *LOGIC, "in", "is_null", "like")


def require_aggregate(measure: Measure, lineage: Lineage) -> None:
    """Raises Refusal aggregate_not_allowed, column_not_filterable."""
    if measure.function == "count_units" and measure.argument is not None:
        require_filterable(lineage.traced(measure.argument), lineage)
        return
    grants = _grants(measure)
    for argument in (measure.argument, measure.other):
        if argument is not None and grants:
            _require_value(lineage.traced(argument), grants, lineage)


def _grants(measure: Measure) -> tuple[AggregateName, ...]:
    """The words of a policy that open a measure, any of them; none where no column is looked into."""
    match measure.function:
        case "count_rows" | "count_units":
            return ()
        case "quantile":
            return ("median", "quantile") if measure.fraction == _HALF else ("quantile",)
        case "var_pop" | "var_samp":
            return ("var",)
        case "stddev_pop" | "stddev_samp":
            return ("stddev",)
        case "covar_pop" | "covar_samp" | "regr_slope" | "regr_intercept":
            return ("covar",)
        case "count" | "count_distinct" | "sum" | "avg" | "corr" | "min" | "max" as same:
            return (same,)
        case _:
            assert_never(measure.function)


def _require_value(value: Expression, grants: Grants, lineage: Lineage) -> None:
    """Conditions inside filter; what stands as a value is aggregated."""
    part = unit_of(value)
    if part is not None:
        _require_part(*part, grants, lineage)
    elif isinstance(value, Column):
        _require_column(value, grants, lineage)
    elif isinstance(value, Case):
        for when, then in value.branches:
            require_filterable(when, lineage)
            _require_value(then, grants, lineage)
        _require_value(value.otherwise, grants, lineage)
    elif isinstance(value, Call) and value.function in _DECIDES:
        require_filterable(value, lineage)
    else:
        for child in children(value):
            _require_value(child, grants, lineage)


def _require_part(unit: str, column: Column, grants: Grants, lineage: Lineage) -> None:
    declared = _require_column(column, grants, lineage)
    if declared.column.via and unit not in declared.column.via:
        forms = ", ".join(f"`{one}({declared.column.name})`" for one in declared.column.via)
        raise Refusal("aggregate_not_allowed", f"{declared.words} is not read by {unit}", hint=forms, at=column.at)


def _require_column(column: Column, grants: Grants, lineage: Lineage) -> Declared:
    """Counts are open on every column that is not hidden; but the unit's own is only ever counted whole."""
    declared = lineage.declared(column)
    allowed = grants[0] in _COUNTS or any(grant in declared.column.aggregates for grant in grants)
    if declared.column.role == "unit" or not allowed:
        message = f"{declared.words} may not be {_WORDS[grants[0]]}"
        raise Refusal("aggregate_not_allowed", message, hint=_instead(declared, grants[0]), at=column.at)
    return declared


def _instead(declared: Declared, grant: AggregateName) -> str | None:
    if declared.column.role == "unit":
        return f"`COUNT(DISTINCT {declared.column.name})`"
    if grant in ("min", "max") and "quantile" in declared.column.aggregates:
        return f"a single row decides it; ask `QUANTILE_CONT({declared.column.name}, {_NEAR[grant]})`"
    names = [one.name for one in declared.table.columns.values() if grant in one.aggregates and one.role != "hidden"]
    return f"columns open to {grant}: " + ", ".join(f"`{name}`" for name in names[:12]) if names else None
