"""By what an answer may be grouped: the labels of groups leave with it."""

from __future__ import annotations

from gateway.admission.dates import unit_of
from gateway.admission.filtering import require_decides, require_filterable
from gateway.admission.lineage import Computed, Declared, Lineage
from gateway.errors import Refusal
from sandbox.relational.expressions import COMPARISONS, LOGIC, TEXT_TESTS, Call, Case, Column, Expression, Literal

_DECIDES = (*COMPARISONS, *LOGIC, "in", "is_null", *TEXT_TESTS)
_CONTINUOUS = ("double", "decimal")


def require_groupable(key: Expression, lineage: Lineage) -> None:
    """Raises Refusal column_not_groupable, column_not_filterable.

    A key is a dimension, a bin, a part of a date, a count within a unit, or computed from these; conditions inside it
    filter.
    """
    match key:
        case Column():
            _require_bare(key, lineage)
        case Literal():
            pass
        case Case(branches=branches, otherwise=otherwise):
            for when, then in branches:
                require_filterable(when, lineage)
                require_groupable(then, lineage)
            require_groupable(otherwise, lineage)
        case Call(function="bin"):
            _require_bin(key, lineage)
        case Call(function=function) if function in _DECIDES:
            require_filterable(key, lineage)
        case Call(arguments=arguments):
            part = unit_of(key)
            if part is not None:
                _require_part(*part, key, lineage)
                return
            for argument in arguments:
                require_groupable(argument, lineage)


def _require_bare(key: Column, lineage: Lineage) -> None:
    computed = lineage.computed(key)
    if computed is not None:
        _require_computed(computed, key, lineage)
        return
    declared = lineage.declared(key)
    column = declared.column
    if column.role != "dimension" or column.via or column.type.kind in _CONTINUOUS:
        message = f"{declared.words} makes no groups"
        raise Refusal("column_not_groupable", message, hint=_instead(declared), at=key.at)


def _require_computed(computed: Computed, key: Column, lineage: Lineage) -> None:
    """Counts and ranks within a unit make groups, sums and means do not."""
    if not computed.counts:
        message = f"a {'sum' if computed.function == 'sum' else 'mean'} within a unit makes no groups"
        hint = "group by steps of it: `CASE WHEN x < 100 THEN 'low' ELSE 'high' END`"
        raise Refusal("column_not_groupable", message, hint=hint, at=key.at)
    for way in lineage.ways(computed.argument):
        require_decides(way, lineage, equality=True)


def _require_part(unit: str, inner: Column, key: Expression, lineage: Lineage) -> None:
    if lineage.computed(inner) is not None:
        raise Refusal("column_not_groupable", f"this is no date to be grouped by {unit}", at=key.at)
    declared = lineage.declared(inner)
    if declared.column.role != "dimension" or (declared.column.via and unit not in declared.column.via):
        message = f"{declared.words} is not grouped by {unit}"
        raise Refusal("column_not_groupable", message, hint=_instead(declared), at=inner.at or key.at)


def _require_bin(key: Call, lineage: Lineage) -> None:
    inner = key.arguments[0]
    if not isinstance(inner, Column) or lineage.computed(inner) is not None:
        raise Refusal("column_not_groupable", "`bin` takes a column", at=key.at)
    declared = lineage.declared(inner)
    if declared.column.bins is None or declared.column.role not in ("dimension", "measure"):
        message = f"{declared.words} has no declared bins"
        raise Refusal("column_not_groupable", message, hint=_instead(declared), at=inner.at or key.at)


def _instead(declared: Declared) -> str | None:
    column = declared.column
    if column.bins is not None and column.role in ("dimension", "measure"):
        return f"group by `bin({column.name})`"
    if column.role == "dimension" and column.via:
        return "group by " + " or ".join(f"`{unit}({column.name})`" for unit in column.via)
    names = [
        one.name
        for one in declared.table.columns.values()
        if one.role == "dimension" and not one.via and one.type.kind not in _CONTINUOUS
    ]
    return "columns that make groups: " + ", ".join(f"`{name}`" for name in names[:12]) if names else None
