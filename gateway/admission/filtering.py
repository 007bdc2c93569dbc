"""Which columns may decide what counts: WHERE, extra conditions of joins, and conditions inside CASE."""

from __future__ import annotations

from gateway.admission.dates import unit_of
from gateway.admission.lineage import Computed, Declared, Lineage
from gateway.errors import Refusal
from sandbox.relational.expressions import Call, Case, Column, Expression, Literal, Position, children

_EQUALITY = ("equal", "not_equal", "in", "is_null")
_LOGIC = ("and", "or", "not")


def require_filterable(condition: Expression, lineage: Lineage) -> None:
    """Raises Refusal column_not_filterable unless every column in `condition` may filter in the form it stands in.

    The grant `equality` opens `=`, `<>`, IN and IS NULL of the bare column with constants; `range` opens every form;
    a column with `via` filters in those forms only.
    """
    if isinstance(condition, Call) and condition.function in _LOGIC:
        for part in condition.arguments:
            require_filterable(part, lineage)
        return
    if isinstance(condition, Call) and condition.function in _EQUALITY:
        first, *rest = condition.arguments
        if isinstance(first, Column) and all(isinstance(other, Literal) for other in rest):
            _require(first, lineage, equality=True)
            return
    _require_inside(condition, lineage)


def _require_inside(expression: Expression, lineage: Lineage) -> None:
    part = unit_of(expression)
    if part is not None:
        _require_part(*part, lineage)
        return
    if isinstance(expression, Column):
        _require(expression, lineage, equality=False)
        return
    for child in children(expression):
        _require_inside(child, lineage)


def require_decides(expression: Expression, lineage: Lineage, *, equality: bool) -> None:
    """Raises Refusal column_not_filterable unless `expression`, as a value, may decide what counts.

    With `equality` only whether values are there or equal is told, not how large they are.
    """
    if isinstance(expression, Case):
        for when, then in expression.branches:
            require_filterable(when, lineage)
            require_decides(then, lineage, equality=equality)
        require_decides(expression.otherwise, lineage, equality=equality)
    elif isinstance(expression, Column):
        _require(expression, lineage, equality=equality)
    else:
        require_filterable(expression, lineage)


def _require_computed(computed: Computed, lineage: Lineage) -> None:
    """A number that was computed within a unit decides: so do the columns inside it."""
    for way in lineage.ways(computed.argument):
        require_decides(way, lineage, equality=computed.counts)


def _require_part(unit: str, column: Column, lineage: Lineage) -> None:
    declared = lineage.declared(column)
    _require_grant(declared, column.at, equality=False)
    if declared.column.via and unit not in declared.column.via:
        raise _only_via(declared, column.at)


def _require(column: Column, lineage: Lineage, *, equality: bool) -> None:
    computed = lineage.computed(column)
    if computed is not None:
        _require_computed(computed, lineage)
        return
    declared = lineage.declared(column)
    _require_grant(declared, column.at, equality=equality)
    if declared.column.via:
        raise _only_via(declared, column.at)


def _require_grant(declared: Declared, at: Position | None, *, equality: bool) -> None:
    column = declared.column
    if column.role in ("unit", "hidden") or column.filter == "none":
        hint = _grouped_instead(declared) or _filterable(declared)
        raise Refusal("column_not_filterable", f"{declared.words} may not decide what counts", hint=hint, at=at)
    if column.filter == "equality" and not equality:
        message = f"{declared.words} is compared by equality only"
        raise Refusal("column_not_filterable", message, hint="write `=`, `<>`, IN or IS NULL with constants", at=at)


def _grouped_instead(declared: Declared) -> str | None:
    """A column with bins does not filter, but tells the same in groups."""
    return f"group by `bin({declared.column.name})`" if declared.column.bins else None


def _only_via(declared: Declared, at: Position | None) -> Refusal:
    forms = ", ".join(f"`{unit}({declared.column.name})`" for unit in declared.column.via)
    return Refusal("column_not_filterable", f"{declared.words} filters in coarser forms only", hint=forms, at=at)


def _filterable(declared: Declared) -> str | None:
    names = [one.name for one in declared.table.columns.values() if one.filter != "none" and one.role != "hidden"]
    names = [name for name in names if declared.table.columns[name].role != "unit"]
    return "columns that filter: " + ", ".join(f"`{name}`" for name in names[:12]) if names else None
