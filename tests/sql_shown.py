"""Plans on one line, for tests to compare with. Order that means nothing is shown in the order of the text."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import assert_never

from sandbox.relational.expressions import Call, Case, Column, Expression, Literal
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
    Limit,
    Measure,
    Order,
    Output,
    Project,
    Public,
    Relation,
    Release,
    Rollup,
    Scan,
    Sort,
    UnionAll,
    UnitAggregate,
    UnitMeasure,
    Window,
    WindowColumn,
    find_release,
)

COMMUTATIVE = ("add", "multiply", "and", "or", "least", "greatest")
"""Their arguments are in the order of digests; shown in the order of their text."""


def said(expression: Expression) -> str:
    """An expression on one line."""
    match expression:
        case Column(name=name):
            return name
        case Literal(value=value, type=type_):
            if isinstance(value, str | bool | int | Decimal) or value is None:
                return repr(value) if not isinstance(value, Decimal) else f"{value}:{type_}"
            return f"{type_} {value}"
        case Call(function=function, arguments=arguments):
            parts = list(map(said, arguments))
            if function in COMMUTATIVE:
                parts.sort()
            return f"{function}({', '.join([parts[0], *sorted(parts[1:])] if function == 'in' else parts)})"
        case Case(branches=branches, otherwise=otherwise):
            whens = " ".join(f"when {said(when)} then {said(value)}" for when, value in branches)
            return f"case {whens} else {said(otherwise)} end"
        case _:
            assert_never(expression)


def shown(relation: Relation) -> str:
    """A plan on one line, inside out. The order of keys, measures and conditions is by digest: shown sorted by text."""
    match relation:
        case Scan(table=table, number=number):
            return f"{table}#{number}"
        case Public(table=table, number=number):
            return f"public {table}#{number}"
        case Join(left=left, right=right, kind=kind, on=on):
            pairs = " & ".join(f"{a} = {b}" for a, b in on)
            return f"({shown(left)}) {kind} join ({shown(right)}) on {pairs}"
        case UnionAll(inputs=inputs, columns=columns, number=number):
            parts = [f"({shown(one)} | {', '.join(map(said, of))})" for one, of in zip(inputs, columns, strict=True)]
            return f"{' union all '.join(parts)}#{number}"
        case _:
            return f"{shown(relation.source)} | {_step(relation)}"


def _step(relation: Relation) -> str:
    match relation:
        case Project(columns=columns):
            return f"project {', '.join(map(said, columns))}"
        case Filter(conditions=conditions):
            return f"where {' & '.join(sorted(map(said, conditions)))}"
        case UnitAggregate(keys=keys, measures=measures, number=number):
            return f"each unit{_by(keys)} {', '.join(map(measured, measures))}#{number}".replace(" #", "#")
        case Window(columns=columns, number=number):
            return f"window {', '.join(map(_window, columns))}#{number}"
        case Release(keys=keys, measures=measures):
            return f"release {', '.join(sorted(map(measured, measures)))}{_by(keys)}"
        case Rollup(sets=sets):
            return f"rollup {', '.join('(' + ' '.join(f'k{key}' for key in kept) + ')' for kept in sets)}"
        case Distinct(columns=columns):
            return f"distinct {', '.join(map(said, columns))}"
        case Sort(by=by):
            return f"sort {_order(by)}"
        case Limit(count=count, offset=offset):
            return f"limit {count} offset {offset}"
        case Output(columns=named):
            return ", ".join(f"{name} = {said(value)}" for name, value in named)
        case _:
            raise AssertionError(relation)


def _by(keys: tuple[Expression, ...]) -> str:
    return f" by {', '.join(sorted(map(said, keys)))}" if keys else ""


def _order(by: Order) -> str:
    return ", ".join(f"{said(term)}{' desc' * down}{' nulls first' * first}" for term, down, first in by)


def _window(column: WindowColumn) -> str:
    inside = [said(column.argument)] if column.argument is not None else []
    inside += [str(column.offset)] if column.function in ("lag", "lead") else []
    over = [f"by {', '.join(map(said, column.partition))}"] if column.partition else []
    over += [f"order {_order(column.order)}"] if column.order else []
    return f"{column.function}({', '.join(inside)}) over ({' '.join(over)})"


def measured(measure: Measure | UnitMeasure) -> str:
    function = measure.function.removeprefix("count_")
    arguments = [said(measure.argument)] if measure.argument is not None else []
    if isinstance(measure, Measure):
        arguments += [said(measure.other)] if measure.other is not None else []
        arguments += [str(measure.fraction)] if measure.fraction is not None else []
    return f"{function}({', '.join(arguments)})" if arguments else function


def named(plan: Output) -> str:
    """`shown`, with released columns called by what they measure: `[sum]` for `m0`."""
    text = shown(plan)
    for number, measure in enumerate(find_release(plan).measures):
        text = re.sub(rf"(?<![.\w])m{number}\b", f"[{measure.function.removeprefix('count_')}]", text)
    return text
