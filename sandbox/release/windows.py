"""Window functions over released rows: their types, and their SQL. Rows of a tie keep the order that they had."""

from __future__ import annotations

from typing import Final, assert_never

from policies.types import BIGINT, DOUBLE, Type
from sandbox.relational.expressions import Column, Expression, columns
from sandbox.relational.facts import Facts, Refuse
from sandbox.relational.lower.scalars import identifier, number, scalar
from sandbox.relational.nodes import Order, WindowColumn
from sandbox.relational.scalar import facts_of

ORDER: Final = identifier("__order")
"""The order of released rows: every row has its own number."""
OFFSET_MAX: Final = 2**31


def names_in(column: WindowColumn) -> frozenset[str]:
    """Every column that `column` reads, of whichever row."""
    read = (*column.partition, *(expression for expression, _, _ in column.order))
    parts = read if column.argument is None else (*read, column.argument)
    return frozenset(found.name for part in parts for found in columns(part))


def type_of(column: WindowColumn, below: Facts) -> Type:
    """The type of `column` over rows with facts `below`. Raises Refuse."""
    for expression in (*column.partition, *(expression for expression, _, _ in column.order)):
        facts_of(expression, below)  # refuses here, before anything is paid for, what could not be written
    match column.function:
        case "row_number" | "rank" | "dense_rank" | "count_rows":
            return BIGINT
        case "count":
            facts_of(_argument(column), below)
            return BIGINT
        case "lag" | "lead":
            if not 0 <= column.offset <= OFFSET_MAX:
                detail = f"{column.function.upper()} looks a whole number of rows back or ahead"
                raise Refuse("construct_not_allowed", detail, at=column.at)
            return shown_type(_argument(column), below)
        case "min" | "max":
            return shown_type(_argument(column), below)
        case "sum" | "avg":
            return _number_type(column, below)
        case _:
            assert_never(column.function)


def _argument(column: WindowColumn) -> Expression:
    if column.argument is None:
        raise Refuse("construct_not_allowed", f"{column.function.upper()} needs an argument", at=column.at)
    return column.argument


def _number_type(column: WindowColumn, below: Facts) -> Type:
    """A sum of whole numbers is whole, one of a decimal column keeps its digits; all else is a double."""
    argument = _argument(column)
    found = facts_of(argument, below)
    if not found.type.numeric:
        detail = f"{column.function.upper()} needs a number, and {found.label} is of type {found.type}"
        raise Refuse("type_mismatch", detail, at=argument.at or column.at)
    if column.function == "avg":
        return DOUBLE
    if found.type.whole:
        return BIGINT
    bare = isinstance(argument, Column) and found.type.kind == "decimal"
    return Type("decimal", 38, found.type.scale) if bare else DOUBLE


def window(column: WindowColumn, below: Facts) -> str:
    """SQL of `column`, total: a sum beyond what its type holds is null."""
    rank = column.function in ("rank", "dense_rank")
    aggregate = column.function in ("count_rows", "count", "sum", "avg", "min", "max")
    parts = [f"PARTITION BY {', '.join(shown(e, below) for e in column.partition)}"] if column.partition else []
    order = [sort_key(*term, below) for term in column.order]
    if not rank and not aggregate:
        order.append(ORDER)
    if order:
        parts.append(f"ORDER BY {', '.join(order)}")
    call = f"{_call(column, below)} OVER ({' '.join(parts)})"
    return f"TRY_CAST({call} AS BIGINT)" if type_of(column, below) == BIGINT else call


def _call(column: WindowColumn, below: Facts) -> str:
    match column.function:
        case "row_number" | "rank" | "dense_rank":
            return f"{column.function}()"
        case "count_rows":
            return "count(*)"
        case "count" | "min" | "max":
            return f"{column.function}({shown(_argument(column), below)})"
        case "lag" | "lead":
            return f"{column.function}({shown(_argument(column), below)}, {column.offset})"
        case "sum":
            return f"sum({shown(_argument(column), below)})"
        case "avg":
            return f"avg({number(_argument(column), below)})"
        case _:
            assert_never(column.function)


def sort_key(expression: Expression, descending: bool, nulls_first: bool, facts: Facts) -> str:
    direction = "DESC" if descending else "ASC"
    return f"{scalar(expression, facts)} {direction} NULLS {'FIRST' if nulls_first else 'LAST'}"


def order_by(order: Order, facts: Facts) -> str:
    """The terms of `order`, then the order that the rows have."""
    return ", ".join([*(sort_key(*term, facts) for term in order), ORDER])


def shown(expression: Expression, facts: Facts) -> str:
    """As it leaves: bare columns as they are, computed numbers as DOUBLE, whole ones as the nearest integer."""
    if isinstance(expression, Column):
        return scalar(expression, facts)
    type_ = facts_of(expression, facts).type
    if type_.whole:
        return f"TRY_CAST(round({number(expression, facts)}) AS BIGINT)"
    return number(expression, facts) if type_.numeric else scalar(expression, facts)


def shown_type(expression: Expression, facts: Facts) -> Type:
    """The type of `expression` as `shown` writes it."""
    type_ = facts_of(expression, facts).type
    if isinstance(expression, Column) or not type_.numeric:
        return type_
    return BIGINT if type_.whole else DOUBLE
