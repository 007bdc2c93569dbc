"""By what an answer may be grouped: the labels of groups leave with it."""

from __future__ import annotations

from gateway.admission.dates import unit_of
from gateway.admission.lineage import Declared, Lineage
from gateway.errors import Refusal
from sandbox.relational.expressions import ARITHMETIC, Call, Column, Expression, Literal, columns

_OVER_PARTS = (*ARITHMETIC, "floor", "ceil", "round", "abs")
_CONTINUOUS = ("double", "decimal")


def require_groupable(key: Expression, lineage: Lineage) -> None:
    """Raises Refusal column_not_groupable. A key is a dimension, a bin, a part of a date, or arithmetic over parts."""
    if isinstance(key, Column):
        _require_bare(key, lineage)
    elif unit_of(key) is not None:
        _require_part(key, lineage)
    elif isinstance(key, Call) and key.function == "bin":
        _require_bin(key, lineage)
    elif not (columns(key) and _is_arithmetic_of_parts(key, lineage)):
        hint = "group by a column, by `bin(x)`, or by a part of a date such as `year(x)`"
        raise Refusal("column_not_groupable", "computed values make no groups", hint=hint, at=key.at)


def _require_bare(key: Column, lineage: Lineage) -> None:
    declared = lineage.declared(key)
    column = declared.column
    if column.role != "dimension" or column.via or column.type.kind in _CONTINUOUS:
        message = f"{declared.words} makes no groups"
        raise Refusal("column_not_groupable", message, hint=_instead(declared), at=key.at)


def _require_part(key: Expression, lineage: Lineage) -> None:
    part = unit_of(key)
    if part is None:
        raise AssertionError("not a part of a date")
    unit, inner = part
    declared = lineage.declared(inner)
    if declared.column.role != "dimension" or (declared.column.via and unit not in declared.column.via):
        message = f"{declared.words} is not grouped by {unit}"
        raise Refusal("column_not_groupable", message, hint=_instead(declared), at=inner.at or key.at)


def _require_bin(key: Call, lineage: Lineage) -> None:
    inner = key.arguments[0]
    if not isinstance(inner, Column):
        raise Refusal("column_not_groupable", "`bin` takes a column", at=key.at)
    declared = lineage.declared(inner)
    if declared.column.bins is None or declared.column.role not in ("dimension", "measure"):
        message = f"{declared.words} has no declared bins"
        raise Refusal("column_not_groupable", message, hint=_instead(declared), at=inner.at or key.at)


def _is_arithmetic_of_parts(key: Expression, lineage: Lineage) -> bool:
    if isinstance(key, Literal):
        return True
    if unit_of(key) is not None:
        _require_part(key, lineage)
        return True
    if not isinstance(key, Call) or key.function not in _OVER_PARTS:
        return False
    return all(_is_arithmetic_of_parts(argument, lineage) for argument in key.arguments)


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
