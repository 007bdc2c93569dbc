"""The policy's word on every column of a plan: one rule a file, all of them here in order."""

from __future__ import annotations

from gateway.admission.aggregating import require_aggregate
from gateway.admission.filtering import require_filterable
from gateway.admission.grouping import require_groupable
from gateway.admission.joining import require_joinable
from gateway.admission.lineage import lineage
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
    walk,
)


def require_roles(plan: Output, policy: Policy) -> None:
    """Raises Refusal with the code of the rule that a column breaks, and its place in the text."""
    release = _above(plan)
    trace = lineage(release, policy)
    for node in walk(release.source):
        match node:
            case Filter(conditions=conditions):
                for condition in conditions:
                    require_filterable(trace.traced(condition), trace)
            case Join():
                require_joinable(node, trace)
            case Scan() | Public() | Project():
                pass
            case UnionAll() | UnitAggregate() | Window():
                raise Refusal("construct_not_allowed", "this part of a question is not answered yet", at=node.at)
            case Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
                raise Refusal("construct_not_allowed", "one question makes one release", at=node.at)
    for key in release.keys:
        require_groupable(trace.traced(key), trace)
    for measure in release.measures:
        require_aggregate(measure, trace)


def _above(plan: Output) -> Release:
    """The one Release, reached through nodes that touch released columns only."""
    node: Relation = plan
    used: list[Expression] = []
    while not isinstance(node, Release):
        match node:
            case Output(columns=named):
                used += [expression for _, expression in named]
            case Filter(conditions=conditions):
                used += conditions
            case Sort(by=by):
                used += [term[0] for term in by]
            case Project(columns=computed):
                used += computed
            case Limit():
                pass
            case _:
                raise Refusal("aggregate_required", "rows do not leave: the select list aggregates", at=node.at)
        node = node.source
    released = {f"k{place}" for place in range(len(node.keys))} | {f"m{place}" for place in range(len(node.measures))}
    for expression in used:
        for column in columns(expression):
            if column.name not in released:
                raise Refusal("column_not_grouped", "only what is released is shown", at=column.at)
    return node
