"""Aggregates within one unit: a grouping by the unit, SELECT DISTINCT with the unit, and the subqueries like them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from gateway.errors import Refusal
from gateway.sql import literals
from gateway.sql.block import Block
from gateway.sql.grouping import Groups
from gateway.sql.joins import filtered
from gateway.sql.measures import Measures
from gateway.sql.outer import Outer
from gateway.sql.reading import Reading
from gateway.sql.released import Lifted, order_terms
from gateway.sql.scope import Source
from gateway.sql.windows import Windows, definitions
from sandbox.codec import digest
from sandbox.relational.expressions import Call, Column, Expression, Position
from sandbox.relational.nodes import Relation, UnitAggregate, UnitMeasure

_COUNTS: Final = ("count_rows", "count", "count_distinct")


def groups_units(block: Block, groups: Groups) -> bool:
    """Whether every group of `groups` is of one unit."""
    names = [key.name for key in groups.keys if isinstance(key, Column)]
    return any(map(block.reading.is_unit, names)) or block.reading.tells_unit(names)


def each_unit(block: Block, groups: Groups, outer: Outer | None) -> Source:
    """A SELECT with one row for each unit, or for each unit and group."""
    at = block.reading.at(block.node.args["expressions"][0])
    if groups.sets:
        message = "grouping sets are not answered for each unit"
        raise Refusal("construct_not_allowed", message, hint="put them on the outer SELECT", at=at)
    block.refuse_clauses("limit", "offset")
    measures = Measures(block, within_unit=True)
    windows = Windows(block.reading, block.scalar(measures.read), definitions(block.node), block.reading.tells_unit)
    scalar = block.scalar(measures.read, windows.read)
    values = block.read_items(scalar)
    outputs = block.outputs(values)
    named = block.scalar(measures.read, windows.read, outputs)
    having, qualify = block.conditions("having", named), block.qualify(named, windows)
    order_terms(block.node, named, outputs)  # its names are checked, its order is no matter
    below = filtered(block.source.relation, block.source.conditions)
    correlated = () if outer is None else tuple(Column(inner) for _, inner in outer.pairs)
    relation, names = per_unit(block.reading, below, (*groups.keys, *correlated), measures.for_units(), at)
    if outer is not None:
        outer.pairs = [(one, _name(names[Column(inner)])) for one, inner in outer.pairs]
        if outer.kind == "value":
            names = _zero_for_none(names, relation)
    lifted = Lifted(names, block.source)
    conditions = tuple(map(lifted.lift, having))
    above, in_windows = windows.over(filtered(relation, conditions) if windows.found else relation, lifted.lift)
    conditions = () if windows.found else conditions
    lifted = replace(lifted, names={**names, **in_windows})
    conditions += tuple(map(lifted.lift, qualify))
    return Source(above, block.fields(list(map(lifted.lift, values))), conditions)


def per_unit(
    reading: Reading,
    relation: Relation,
    keys: Iterable[Expression],
    measures: Mapping[Expression, UnitMeasure],
    at: Position | None,
) -> tuple[UnitAggregate, dict[Expression, Expression]]:
    """One row of `relation` for each unit and value of `keys`, and what keys and stand-ins are called in it."""
    units = {key for key in keys if isinstance(key, Column) and reading.is_unit(key.name)}
    for unit in units:
        if int(unit.name.partition(".")[0]) in reading.optional:
            message = "this side of the LEFT JOIN may be missing, so its units make no groups"
            hint = "use an INNER JOIN, or the left table's column"
            raise Refusal("join_not_allowed", message, hint=hint, at=unit.at or at)
    others = tuple(sorted(set(keys) - units, key=digest))
    ordered = tuple(sorted(set(measures.values()), key=digest))
    number = reading.number_made({f"k{place}": (key,) for place, key in enumerate(others)}, unit=True)
    names: dict[Expression, Expression] = {unit: Column(f"{number}.unit") for unit in units}
    names |= {key: Column(f"{number}.k{place}") for place, key in enumerate(others)}
    names |= {mark: Column(f"{number}.m{ordered.index(one)}") for mark, one in measures.items()}
    return UnitAggregate(relation, others, ordered, number, at), names


def distinct(reading: Reading, source: Source, at: Position | None) -> Source:
    """SELECT DISTINCT below an aggregate: each unit with each combination of the other columns once."""
    values = [field.typed for item in source.items for field in item.fields]
    keys = [value.expression for value in values if not value.is_literal]
    if not reading.tells_unit(key.name for key in keys if isinstance(key, Column)):
        message = "DISTINCT below an aggregate is answered within each unit only: one unit could hide another's rows"
        hint = "COUNT(DISTINCT x) of the table itself, or add the unit to the select list"
        raise Refusal("construct_not_allowed", message, hint=hint, at=at)
    if _each_once(reading, source.relation, keys):
        return source
    relation, names = per_unit(reading, filtered(source.relation, source.conditions), keys, {}, at)
    lifted = Lifted(names, source)
    items = tuple(
        replace(item, fields=tuple(replace(field, typed=lifted.lift(field.typed)) for field in item.fields))
        for item in source.items
    )
    return Source(relation, items)


def _each_once(reading: Reading, relation: Relation, shown: list[Expression]) -> bool:
    """Whether `relation` has no two rows that agree in `shown`: one row for each group, and the groups are shown."""
    if not isinstance(relation, UnitAggregate):
        return False
    bare = {key.name for key in shown if isinstance(key, Column)}
    keys = {f"{relation.number}.k{place}" for place in range(len(relation.keys))}
    return keys <= bare and reading.tells_unit(bare & (keys | {f"{relation.number}.unit"}))


def _name(expression: Expression) -> str:
    if not isinstance(expression, Column):
        raise AssertionError(expression)
    return expression.name


def _zero_for_none(names: dict[Expression, Expression], relation: UnitAggregate) -> dict[Expression, Expression]:
    """A unit without rows is counted as 0, where a joined row would say null."""
    counts = {f"{relation.number}.m{place}" for place, one in enumerate(relation.measures) if one.function in _COUNTS}
    zero = literals.exact(0, None)
    return {
        key: Call("coalesce", (name, zero)) if isinstance(name, Column) and name.name in counts else name
        for key, name in names.items()
    }
