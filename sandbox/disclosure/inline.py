"""A question without its projections: what a CTE computes stands where it is used, so that it can be looked into.

`WITH t AS (SELECT income * 2 AS x FROM people) SELECT SUM(x) FROM t` adds up `income`, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
    Window,
)

Known = Mapping[str, Expression]
"""What stands for the columns of projections that are gone."""


def inlined(release: Release) -> Release:
    """The same release over a source without projections, but for those whose columns a join equates."""
    source, known = _inlined(release.source)
    return replace(
        release,
        source=source,
        keys=tuple(substituted(key, known) for key in release.keys),
        measures=tuple(_measure(measure, known) for measure in release.measures),
    )


def substituted(expression: Expression, known: Known) -> Expression:
    """`expression` with its columns replaced; each keeps the position at which it is used."""
    match expression:
        case Column(name=name, at=at):
            found = known.get(name)
            return expression if found is None else replace(found, at=at or found.at)
        case Literal():
            return expression
        case Call(arguments=arguments):
            return replace(expression, arguments=tuple(substituted(a, known) for a in arguments))
        case Case(branches=branches, otherwise=otherwise):
            shown = tuple((substituted(c, known), substituted(v, known)) for c, v in branches)
            return replace(expression, branches=shown, otherwise=substituted(otherwise, known))
        case _:
            assert_never(expression)


def _measure(measure: Measure, known: Known) -> Measure:
    argument = None if measure.argument is None else substituted(measure.argument, known)
    other = None if measure.other is None else substituted(measure.other, known)
    return replace(measure, argument=argument, other=other)


def _inlined(node: Relation) -> tuple[Relation, dict[str, Expression]]:
    match node:
        case Scan() | Public():
            return node, {}
        case Project(source=below, number=number, columns=columns):
            source, known = _inlined(below)
            shown = {f"{number}.{i}": substituted(column, known) for i, column in enumerate(columns)}
            return source, {**known, **shown}
        case Filter(source=below, conditions=conditions):
            source, known = _inlined(below)
            return replace(node, source=source, conditions=tuple(substituted(c, known) for c in conditions)), known
        case Join():
            return _join(node)
        case UnionAll(inputs=inputs, columns=rows):
            found = [_inlined(each) for each in inputs]
            shown_rows = tuple(
                tuple(substituted(e, known) for e in row) for row, (_, known) in zip(rows, found, strict=True)
            )
            return replace(node, inputs=tuple(source for source, _ in found), columns=shown_rows), {}
        case UnitAggregate(source=below, keys=keys, measures=measures):
            source, known = _inlined(below)
            shown_measures = tuple(
                replace(m, argument=None if m.argument is None else substituted(m.argument, known)) for m in measures
            )
            shown_keys = tuple(substituted(key, known) for key in keys)
            return replace(node, source=source, keys=shown_keys, measures=shown_measures), {}
        case Window(source=below, columns=windows):
            source, known = _inlined(below)
            shown_windows = tuple(
                replace(
                    window,
                    argument=None if window.argument is None else substituted(window.argument, known),
                    partition=tuple(substituted(part, known) for part in window.partition),
                    order=_order(window.order, known),
                )
                for window in windows
            )
            return replace(node, source=source, columns=shown_windows), known
        case Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
            return node, {}
        case _:
            assert_never(node)


def _order(order: Order, known: Known) -> Order:
    return tuple((substituted(term, known), descending, first) for term, descending, first in order)


def _join(node: Join) -> tuple[Relation, dict[str, Expression]]:
    """A join equates columns: where one of them is computed its projection stays."""
    sides = []
    for below, place in ((node.left, 0), (node.right, 1)):
        source, known = _inlined(below)
        computed = any(not isinstance(known.get(pair[place], Column("")), Column) for pair in node.on)
        sides.append((below, {}) if computed else (source, known))
    (left, first), (right, second) = sides
    known = {**first, **second}
    names = {name: column.name for name, column in known.items() if isinstance(column, Column)}
    on = tuple((names.get(a, a), names.get(b, b)) for a, b in node.on)
    return replace(node, left=left, right=right, on=on), known
