"""A SELECT that releases: keys and measures over many units, and all that is done to released rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import typed
from gateway.sql.block import Block
from gateway.sql.grouping import Groups
from gateway.sql.joins import filtered
from gateway.sql.measures import MARK, ROLLED, Measures
from gateway.sql.reading import Reading
from gateway.sql.released import Lifted, Term, has_limit, limited, order_terms, ordered
from gateway.sql.scalar import NodeReader
from gateway.sql.scope import Item, Source
from gateway.sql.typed import Typed
from gateway.sql.windows import Windows, definitions, in_place
from sandbox.codec import digest
from sandbox.relational.expressions import Column, Expression, Position
from sandbox.relational.nodes import Distinct, Project, Relation, Release, Rollup

_NOT_ADDITIVE: Final = ("count_units", "count_distinct", "quantile", "min", "max")


def release(block: Block, groups: Groups) -> Source:
    """The SELECT of a query that makes its one release."""
    reading, source = block.reading, block.source
    measures = Measures(block)
    windows = Windows(reading, block.scalar(measures.read), definitions(block.node))
    scalar = block.scalar(measures.read, windows.read)
    values = block.read_items(scalar)
    outputs = block.outputs(values)
    named = block.scalar(measures.read, windows.read, outputs)
    having = block.conditions("having", block.scalar(measures.read, None, outputs))
    qualify = block.qualify(named, windows)
    terms = order_terms(block.node, named, outputs)  # may bring measures of its own
    at = reading.at(block.node.args["expressions"][0])
    if not groups.keys and not measures.found:
        raise Refusal("aggregate_required", "the select list aggregates nothing", hint="COUNT(*)", at=at)
    if groups.sets:
        _require_additive(measures)
    lifted = Lifted(_names(block, groups, measures), source)
    order = sorted(measures.found, key=digest)
    made = Release(filtered(source.relation, source.conditions), groups.keys, tuple(order), at)
    relation: Relation = Rollup(made, groups.sets, at) if groups.sets else made
    relation = filtered(relation, map(lifted.lift, having))
    relation, in_windows = windows.over(relation, lifted.lift)
    lifted = replace(lifted, names={**lifted.names, **in_windows})
    relation = filtered(relation, map(lifted.lift, qualify))
    lifted_terms = tuple(replace(term, value=lifted.lift(term.value)) for term in terms)
    shown = list(map(lifted.lift, values))
    each_once = not groups.sets and {f"k{place}" for place in range(len(groups.keys))} <= _bare(shown)
    found = _finished(block, relation, shown, lifted_terms, each_once=each_once)
    return _apart(reading, found, at) if reading.open and not block.top else found


def over_released(block: Block) -> Source:
    """A SELECT over an aggregating subquery: renames, computes, filters, orders what is released."""
    refuse, reading = _no_second_release(block.reading), block.reading
    windows = Windows(reading, block.scalar(refuse), definitions(block.node))
    scalar = block.scalar(refuse, windows.read)
    if (group := block.clause("group")) is not None:
        refuse(group)
    if (having := block.clause("having")) is not None:
        at = reading.at(having)
        raise Refusal("construct_not_allowed", "HAVING stands beside aggregates", hint="write WHERE", at=at)
    values = block.read_items(scalar)
    outputs = block.outputs(values)
    named = block.scalar(refuse, windows.read, outputs)
    qualify = block.qualify(named, windows)
    terms = order_terms(block.node, named, outputs)
    relation, names = windows.over(block.source.relation, lambda inside: inside)
    relation = filtered(relation, [in_place(condition, names) for condition in qualify])
    in_windows = tuple(replace(term, value=in_place(term.value, names)) for term in terms)
    return _finished(block, relation, [in_place(value, names) for value in values], in_windows, each_once=False)


def _no_second_release(reading: Reading) -> NodeReader:
    def refuse(node: exp.Expr) -> Typed:
        message = "an aggregate over an answer is not answered"
        hint = "aggregate the table itself; or for each unit first: GROUP BY its column in the subquery"
        raise Refusal("construct_not_allowed", message, hint=hint, at=reading.at(node))

    return refuse


def _bare(values: Iterable[Typed]) -> set[str]:
    return {value.expression.name for value in values if isinstance(value.expression, Column)}


def _require_additive(measures: Measures) -> None:
    """Coarser groups are added up from the finest: what is in two of these would count twice."""
    for measure in measures.found:
        if measure.function in _NOT_ADDITIVE:
            message = "numbers of units and of values, quantiles and extremes are not added up over grouping sets"
            hint = "ask a query for each grouping"
            raise Refusal("construct_not_allowed", message, hint=hint, at=measure.at)


def _names(block: Block, groups: Groups, measures: Measures) -> dict[Expression, Expression]:
    """What keys, aggregates and GROUPING of keys are called above the release."""
    order = sorted(measures.found, key=digest)
    names: dict[Expression, Expression] = {key: Column(f"k{place}") for place, key in enumerate(groups.keys)}
    names |= {Column(f"{MARK}{found}"): Column(f"m{order.index(one)}") for one, found in measures.found.items()}
    for key, found in measures.rolled.items():
        if not groups.sets or key not in groups.keys:
            at = block.reading.at(block.node.args["expressions"][0])
            message = "GROUPING is of a key of ROLLUP, CUBE or GROUPING SETS"
            raise Refusal("construct_not_allowed", message, hint="group by ROLLUP (x)", at=key.at or at)
        names[Column(f"{ROLLED}{found}")] = Column(f"g{groups.keys.index(key)}")
    return names


def _finished(
    block: Block, relation: Relation, values: list[Typed], terms: tuple[Term, ...], *, each_once: bool
) -> Source:
    """DISTINCT, ORDER BY and LIMIT of released rows. Below another SELECT, order without a limit is no matter."""
    if block.clause("distinct") is not None and not each_once:
        shown = {value.expression for value in values}
        for term in terms:
            if term.value.expression not in shown:
                message = "ORDER BY beside DISTINCT takes what is selected"
                raise Refusal("construct_not_allowed", message, hint="add it to the select list", at=term.value.at)
        relation = Distinct(relation, tuple(value.expression for value in values), block.reading.at(block.node))
    if block.top or has_limit(block.node):
        relation = ordered(relation, terms)
    relation = limited(relation, block.node, block.plain("LIMIT"))
    return Source(relation, block.fields(values), released=True)


def _apart(reading: Reading, source: Source, at: Position | None) -> Source:
    """`source` with columns of its own: two aggregating subqueries in one FROM call what they make alike."""
    number = reading.number_made({})
    fields = source.items[0].fields
    made = tuple(
        replace(field, typed=typed.column(f"{number}.{place}", field.typed.family, field.typed.at))
        for place, field in enumerate(fields)
    )
    relation = Project(source.relation, number, tuple(field.typed.expression for field in fields), at)
    return replace(source, relation=relation, items=(Item("", made),))
