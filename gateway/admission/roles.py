"""The policy's word on every column of a plan: one rule a file, all of them here in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.admission.aggregating import require_aggregate, require_unit_measure
from gateway.admission.beside import not_shown, require_beside
from gateway.admission.filtering import require_filterable
from gateway.admission.grouping import require_groupable
from gateway.admission.joining import require_joinable
from gateway.admission.lineage import Lineage, lineage
from gateway.admission.windowing import require_window
from gateway.errors import Refusal
from policies.model import Policy
from sandbox.relational.expressions import Expression, columns
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
    Limit,
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
    WindowColumn,
    sources,
    walk,
)


def require_roles(plan: Output, policy: Policy) -> None:
    """Raises Refusal with the code of the rule that a column breaks, and its place in the text."""
    release = _above(plan, policy)
    trace = lineage(release, policy)
    for node in walk(release.source):
        _require_node(node, trace)
    for key in release.keys:
        if not columns(key):
            raise Refusal("column_not_groupable", "a constant makes no groups", at=key.at)
        for way in trace.traced(key):
            require_groupable(way, trace)
    for measure in release.measures:
        require_aggregate(measure, trace)


def _require_node(node: Relation, trace: Lineage) -> None:
    match node:
        case Filter(conditions=conditions):
            for condition in trace.ways(*conditions):
                require_filterable(condition, trace)
        case Join():
            require_joinable(node, trace)
        case UnitAggregate(keys=keys, measures=measures):
            _require_seen(keys, trace)
            for measure in measures:
                require_unit_measure(measure, trace)
        case Window(columns=windows):
            for window in windows:
                require_window(window, trace)
        case UnionAll(columns=rows):
            _require_seen([column for row in rows for column in row], trace)
        case Scan() | Public() | Project():
            pass
        case Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
            raise Refusal("construct_not_allowed", "one question makes one release", at=node.at)


def _require_seen(named: Iterable[Expression], trace: Lineage) -> None:
    """What is named but judged elsewhere, where it is used, is at least there and not hidden."""
    for way in trace.ways(*named):
        for column in columns(way):
            if trace.computed(column) is None:
                trace.declared(column)


def _above(plan: Output, policy: Policy) -> Release:
    """The one Release, reached through nodes that touch released columns and public tables only."""
    node: Relation = plan
    used: list[Expression] = []
    offered: set[str] = set()
    joined_on: set[str] = set()
    while not isinstance(node, Release):
        if isinstance(node, Join):
            public = require_beside(node, policy)
            used += public.used
            offered |= public.offered
            joined_on |= public.joined_on
        else:
            used += _used(node)
            offered |= _made(node)
        (node, *_) = sources(node)
    offered |= {f"k{place}" for place in range(len(node.keys))} | {f"m{place}" for place in range(len(node.measures))}
    for column in (column for expression in used for column in columns(expression)):
        if column.name in joined_on:
            raise not_shown(column)
        if column.name not in offered:
            raise Refusal("column_not_grouped", "only what is released is shown", at=column.at)
    return node


def _used(node: Relation) -> Iterable[Expression]:
    """What a node above the release reads. Raises Refusal for a node that does not belong there."""
    match node:
        case Output(columns=named):
            return [expression for _, expression in named]
        case Filter(conditions=expressions) | Project(columns=expressions) | Distinct(columns=expressions):
            return expressions
        case Sort(by=by):
            return [term for term, _, _ in by]
        case Window(columns=windows):
            return [part for window in windows for part in _inside(window)]
        case Rollup() | Limit():
            return ()
        case _:
            raise Refusal("aggregate_required", "rows do not leave: the select list aggregates", at=node.at)


def _made(node: Relation) -> set[str]:
    """Columns that a node above the release adds."""
    match node:
        case Window(columns=windows, number=number):
            return {f"{number}.w{place}" for place in range(len(windows))}
        case Rollup(source=release):
            return {f"g{place}" for place in range(len(release.keys))}
        case _:
            return set()


def _inside(window: WindowColumn) -> Iterator[Expression]:
    yield from window.partition
    yield from (term for term, _, _ in window.order)
    if window.argument is not None:
        yield window.argument
