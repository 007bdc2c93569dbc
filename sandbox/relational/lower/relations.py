"""Relations as DuckDB SQL: each node a SELECT that offers the model's own column names, and the hidden `__unit`.

Facts are derived on the way, so nothing is written of what proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import assert_never

from policies.types import Type
from sandbox.relational.blocks import block_table, scanned
from sandbox.relational.derive import ABOVE, proved
from sandbox.relational.expressions import Column
from sandbox.relational.facts import Facts, Refuse, Schema
from sandbox.relational.lower import windows
from sandbox.relational.lower.aggregates import aggregate
from sandbox.relational.lower.constants import ITEM, ITEMS_PER_TABLE, UNIT, identifier, sql_type
from sandbox.relational.lower.scalars import scalar, together
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
    JoinKind,
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
    sources,
)
from sandbox.relational.rules.joins import one_each

Lowered = tuple[str, Facts]
"""SQL of a relation and its facts."""


def relation(node: Relation, schema: Schema) -> str:
    """SQL of a relation below a release. Raises Refuse for what proves nothing, whoever asks."""
    return _lowered(node, schema, ItemOf())[0]


def with_items(node: Relation, schema: Schema) -> tuple[str, bool]:
    """The same, and whether its rows carry `__item`: the row of a table that each of them is, told by a number.

    Whatever the question, equal items are the same row of the same table: the side of a join that is met once is a
    function of the other, so the other's item tells the pair. Rows that are told by no single row carry none. A row
    that comes in by several inputs of UNION ALL is there several times, with the same item.
    """
    if schema.policy.blocks:
        raise ValueError("rows of a table in parts have numbers that are not theirs alone")
    tables = {name: number for number, name in enumerate(sorted(schema.policy.tables))}
    items = ItemOf(tables)
    return _lowered(node, schema, items)[0], items.of(node)


class ItemOf:
    """Which relations carry items. Without `tables` none does."""

    def __init__(self, tables: Mapping[str, int] | None = None) -> None:
        self._tables = tables
        self._known: dict[int, tuple[str, ...]] = {}

    def of(self, node: Relation) -> bool:
        return bool(self._known.get(id(node)))

    def column(self, node: Relation, below: list[Lowered]) -> str | None:
        """SQL of the item of a row of `node`, in terms of its inputs; None where it has none."""
        if self._tables is None:
            return None
        written = self._column(node, [facts for _, facts in below])
        self._known[id(node)] = () if written is None else (written,)
        return written

    def _column(self, node: Relation, facts: list[Facts]) -> str | None:
        match node:
            case Scan(table=table):
                return f"{(self._tables or {})[table] * ITEMS_PER_TABLE} + rowid"
            case Project() | Filter() | Window():
                return ITEM if self.of(node.source) else None
            case UnionAll():
                return ITEM if all(self.of(each) for each in node.inputs) else None
            case Join():
                return self._joined(node, *facts)
            case _:
                return None

    def _joined(self, node: Join, left: Facts, right: Facts) -> str | None:
        if node.kind in ("semi", "anti"):
            return f"l.{ITEM}" if self.of(node.left) else None
        one_left, one_right = one_each(node, left, right)
        if left.private and self.of(node.left) and one_right:
            return f"l.{ITEM}"
        if right.private and self.of(node.right) and one_left:
            if node.kind == "inner":
                return f"r.{ITEM}"
            return f"coalesce(r.{ITEM}, l.{ITEM})" if self.of(node.left) else None
        return None


def _lowered(node: Relation, schema: Schema, items: ItemOf) -> Lowered:
    if isinstance(node, ABOVE):
        raise Refuse("construct_not_allowed", "a released result cannot be read as rows", at=node.at)
    below = [_lowered(each, schema, items) for each in sources(node)]
    facts = proved(node, tuple(facts for _, facts in below), schema)
    return _written(node, below, schema, facts, items.column(node, below)), facts


def _written(node: Relation, below: list[Lowered], schema: Schema, facts: Facts, item: str | None) -> str:
    carried = [] if item is None else [f"{item} AS {ITEM}"]
    match node:
        case Scan(table=table, number=number):
            return _table(_parts(node, schema), number, facts, carried)
        case Public(table=table, number=number):
            return _table((table,), number, facts, carried)
        case Project():
            return _project(node, *below[0], carried)
        case Filter():
            source, known = below[0]
            conditions = " AND ".join(scalar(c, known) for c in node.conditions) or "TRUE"
            return f"SELECT * FROM ({source}) WHERE {conditions}"
        case Join():
            return _join(node, below[0], below[1], carried)
        case UnionAll():
            return _union_all(node, below, facts, carried)
        case UnitAggregate():
            return _unit_aggregate(node, *below[0])
        case Window():
            return windows.window(node, *below[0])
        case Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
            raise Refuse("construct_not_allowed", "a released result cannot be read as rows", at=node.at)
        case _:
            assert_never(node)


def _parts(scan: Scan, schema: Schema) -> tuple[str, ...]:
    """What holds the rows of the units that it is of.

    Guarantee: no other part of the table is named, so that rows of units in other blocks are not read.
    Source: docs/explanation/guarantees/blocks.md
    """
    blocks = scanned(scan, schema.policy)
    return tuple(block_table(scan.table, block) for block in blocks) or (scan.table,)


def _table(parts: tuple[str, ...], number: int, facts: Facts, carried: list[str]) -> str:
    prefix = f"{number}."
    columns = [f"{identifier(name.removeprefix(prefix))} AS {identifier(name)}" for name in facts.columns]
    shown = ", ".join(_unit(facts) + carried + columns)
    return " UNION ALL ".join(f"SELECT {shown} FROM {identifier(part)}" for part in parts)


def _union_all(node: UnionAll, below: list[Lowered], facts: Facts, carried: list[str]) -> str:
    """Each input brings its own hidden unit along; columns get one type by name.

    Source: docs/explanation/guarantees/union.md
    """
    places = [i for i in range(len(node.columns[0])) if f"{node.number}.{i}" in facts.columns]
    known = [found for _, found in below]
    written = {i: together([values[i] for values in node.columns], known) for i in places}
    parts = []
    for part, (source, _) in enumerate(below):
        columns = [f"{written[i][part]} AS {identifier(f'{node.number}.{i}')}" for i in places]
        parts.append(f"SELECT {', '.join([UNIT, *carried, *columns])} FROM ({source})")
    return " UNION ALL ".join(parts)


def _unit_aggregate(node: UnitAggregate, source: str, below: Facts) -> str:
    """Guarantee: grouped by the hidden unit in every case, so that a row is made of rows of one unit.

    Source: docs/explanation/guarantees/unit-aggregate.md
    """
    keys = [identifier(f"{node.number}.k{i}") for i in range(len(node.keys))]
    made = [f"{scalar(key, below)} AS {name}" for key, name in zip(node.keys, keys, strict=True)]
    rows = f"SELECT {', '.join(['*', *made])} FROM ({source})"
    measures = [
        f"{aggregate(measure.function, measure.argument, below)} AS {identifier(f'{node.number}.m{i}')}"
        for i, measure in enumerate(node.measures)
    ]
    groups = [UNIT, *keys]
    return f"SELECT {', '.join([*groups, *measures])} FROM ({rows}) GROUP BY {', '.join(groups)}"


def _unit(facts: Facts) -> list[str]:
    return [UNIT] if facts.private else []


def _project(node: Project, source: str, below: Facts, carried: list[str]) -> str:
    columns = [
        f"{scalar(expression, below)} AS {identifier(f'{node.number}.{i}')}"
        for i, expression in enumerate(node.columns)
        if not (isinstance(expression, Column) and expression.name in (below.unit or ()))
    ]
    return f"SELECT {', '.join(_unit(below) + carried + columns)} FROM ({source})"


def _join(node: Join, one: Lowered, other: Lowered, carried: list[str]) -> str:
    """Two relations with units always meet on the unit, whatever else is equated.

    Guarantee: every row of the result belongs to the one unit of the rows it was made of.
    Source: docs/explanation/guarantees/join.md
    """
    left, right = one[1], other[1]
    unit = [f"l.{UNIT}"] if left.private else [f"r.{UNIT}"] if right.private else []
    columns = [f"l.{identifier(n)}" for n in left.columns]
    if node.kind in ("inner", "left"):
        columns += [f"r.{identifier(n)}" for n in right.columns]
    conditions = " AND ".join(_conditions(node, left, right))
    sides = f"({one[0]}) AS l {_JOINS[node.kind]} ({other[0]}) AS r"
    return f"SELECT {', '.join(unit + carried + columns) or '1'} FROM {sides} ON {conditions}"


_JOINS: dict[JoinKind, str] = {"inner": "JOIN", "left": "LEFT JOIN", "semi": "SEMI JOIN", "anti": "ANTI JOIN"}


def _conditions(node: Join, left: Facts, right: Facts) -> Iterator[str]:
    if left.private and right.private:
        yield f"l.{UNIT} = r.{UNIT}"
    for first, second in node.on:
        if first in (left.unit or ()) and second in (right.unit or ()):
            continue
        if first in (left.unit or ()) or second in (right.unit or ()):
            detail = "the protected unit can only be joined to the protected unit"
            raise Refuse("join_not_allowed", detail, at=node.at)
        one, other = left.columns[first], right.columns[second]
        if one.type != other.type and not (one.type.whole and other.type.whole):
            detail = f"{one.label} and {other.label} have different types"
            raise Refuse("type_mismatch", detail, at=node.at)
        yield _equal(one.type, f"l.{identifier(first)}", f"r.{identifier(second)}")


def _equal(type_: Type, left: str, right: str) -> str:
    """Equality in the type of a table's key. A computed number is a DOUBLE to the engine, which would compare a key
    of a table as one too: where keys are larger than 2^53 a row would meet many, though the key is unique."""
    if not type_.numeric:
        return f"{left} = {right}"
    kind = "BIGINT" if type_.whole else sql_type(type_)
    return f"TRY_CAST({left} AS {kind}) = TRY_CAST({right} AS {kind})"
