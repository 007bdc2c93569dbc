"""Of which columns which aggregates may be taken."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, assert_never

from gateway.admission.dates import unit_of
from gateway.admission.filtering import require_filterable
from gateway.admission.grouping import require_groupable
from gateway.admission.lineage import Computed, Declared, Lineage
from gateway.errors import Refusal
from policies.model import AggregateName
from policies.model import Column as PolicyColumn
from sandbox.relational.expressions import (
    CLOCK_PARTS,
    COMPARISONS,
    DATE_PARTS,
    DATE_TRUNCATIONS,
    DAY_PARTS,
    LOGIC,
    TEXT_TESTS,
    Call,
    Case,
    Column,
    Expression,
    children,
    columns,
)
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
_FROM_DATES: Final = (*DATE_PARTS, *DATE_TRUNCATIONS, *DAY_PARTS, *CLOCK_PARTS, "date_diff")
_DECIDES = (*COMPARISONS, *LOGIC, "in", "is_null", *TEXT_TESTS)


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
    if isinstance(value, Call) and value.function in _FROM_DATES:
        _require_from_dates(value, grants, lineage)
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


def _require_from_dates(value: Call, grants: Grants, lineage: Lineage) -> None:
    """Numbers read off dates: open where they make groups, for their sum and mean can be had from the counts of those.

    Dates themselves are never added up, so that no policy could open this otherwise.
    """
    try:
        require_groupable(value, lineage)
    except Refusal:
        for column in columns(value):
            _require_column(column, grants, lineage)
            _require_form(value, column, lineage)


def _require_form(value: Call, column: Column, lineage: Lineage) -> None:
    """A date that is open in certain forms only is counted in these."""
    if lineage.computed(column) is not None:
        return
    declared, part = lineage.declared(column), unit_of(value)
    if declared.column.via and (part is None or part[0] not in declared.column.via):
        forms = ", ".join(f"`{one}({declared.column.name})`" for one in declared.column.via)
        message = f"{declared.words} is not read in this form"
        raise Refusal("aggregate_not_allowed", message, hint=forms, at=column.at)


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
