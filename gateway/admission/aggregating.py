"""Of which columns which aggregates may be taken."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, assert_never

from gateway.admission.dates import unit_of
from gateway.admission.filtering import require_filterable
from gateway.admission.lineage import Computed, Declared, Lineage
from gateway.errors import Refusal
from policies.model import AggregateName
from policies.model import Column as PolicyColumn
from sandbox.relational.expressions import COMPARISONS, LOGIC, Call, Case, Column, Expression, children
from sandbox.relational.nodes import Measure, UnitMeasure

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


@dataclass(frozen=True, slots=True)
class Grants:
    """The words of a policy that open an aggregate, any of them."""

    words: tuple[AggregateName, ...]
    value_of_unit: bool = False
    """MIN and MAX over the rows of one unit: open on every column that filters or may be measured."""

    @property
    def first(self) -> AggregateName:
        return self.words[0]

    def open(self, column: PolicyColumn) -> bool:
        if column.role == "unit":
            return False
        if self.value_of_unit and (column.filter != "none" or not column.aggregates <= set(_COUNTS)):
            return True
        return self.first in _COUNTS or any(word in column.aggregates for word in self.words)


def require_aggregate(measure: Measure, lineage: Lineage) -> None:
    """Raises Refusal aggregate_not_allowed, column_not_filterable."""
    grants = _grants(measure)
    for way in lineage.ways(measure.argument, measure.other):
        if grants is None:
            require_filterable(way, lineage)
        else:
            _require_value(way, grants, lineage)


def require_unit_measure(measure: UnitMeasure, lineage: Lineage) -> None:
    """The same for an aggregate over the rows of one unit, which is not released itself.

    MIN and MAX are judged again, as the column itself, wherever they are used.
    """
    match measure.function:
        case "min" | "max" as same:
            grants = Grants((same,), value_of_unit=True)
        case "count" | "count_distinct" | "sum" | "avg" as same:
            grants = Grants((same,))
        case "count_rows":
            return
        case _:
            assert_never(measure.function)
    for way in lineage.ways(measure.argument):
        _require_value(way, grants, lineage)


def _grants(measure: Measure) -> Grants | None:
    """None where rows and units are counted: what stands inside is a condition then."""
    match measure.function:
        case "count_rows" | "count_units":
            return None
        case "quantile":
            return Grants(("median", "quantile") if measure.fraction == _HALF else ("quantile",))
        case "var_pop" | "var_samp":
            return Grants(("var",))
        case "stddev_pop" | "stddev_samp":
            return Grants(("stddev",))
        case "covar_pop" | "covar_samp" | "regr_slope" | "regr_intercept":
            return Grants(("covar",))
        case "count" | "count_distinct" | "sum" | "avg" | "corr" | "min" | "max" as same:
            return Grants((same,))
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
    _require_column(column, grants, lineage)
    if lineage.computed(column) is not None:
        return
    declared = lineage.declared(column)
    if declared.column.via and unit not in declared.column.via:
        forms = ", ".join(f"`{one}({declared.column.name})`" for one in declared.column.via)
        raise Refusal("aggregate_not_allowed", f"{declared.words} is not read by {unit}", hint=forms, at=column.at)


def _require_column(column: Column, grants: Grants, lineage: Lineage) -> None:
    computed = lineage.computed(column)
    if computed is not None:
        _require_computed(computed, grants, lineage)
        return
    declared = lineage.declared(column)
    _require_grant(declared, column, grants)


def _require_computed(computed: Computed, grants: Grants, lineage: Lineage) -> None:
    """A sum within a unit is a value of the columns that it adds up; a count is not."""
    if not computed.counts:
        for way in lineage.ways(computed.argument):
            _require_value(way, grants, lineage)


def _require_grant(declared: Declared, column: Column, grants: Grants) -> None:
    """Counts are open on every column that is not hidden; but the unit's own is only ever counted whole."""
    if not grants.open(declared.column):
        message = f"{declared.words} may not be {_WORDS[grants.first]}"
        raise Refusal("aggregate_not_allowed", message, hint=_instead(declared, grants.first), at=column.at)


def _instead(declared: Declared, grant: AggregateName) -> str | None:
    if declared.column.role == "unit":
        return f"`COUNT(DISTINCT {declared.column.name})`"
    if grant in ("min", "max") and "quantile" in declared.column.aggregates:
        return f"a single row decides it; ask `QUANTILE_CONT({declared.column.name}, {_NEAR[grant]})`"
    names = [one.name for one in declared.table.columns.values() if grant in one.aggregates and one.role != "hidden"]
    return f"columns open to {grant}: " + ", ".join(f"`{name}`" for name in names[:12]) if names else None
