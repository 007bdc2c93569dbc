"""FROM: tables, subqueries, CTEs and UNION ALL, before anything is asked of their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import typed
from gateway.sql.beside import beside
from gateway.sql.joins import filtered, join
from gateway.sql.links import number_of, private_tables
from gateway.sql.reading import Reading
from gateway.sql.scope import Field, Item, Source, fold
from gateway.sql.tables import alias_of, read_table, rename
from gateway.sql.typed import Typed
from sandbox.relational.expressions import Column
from sandbox.relational.nodes import UnionAll

Scope = Mapping[str, "Named"]
"""CTEs in sight, by folded name."""
Ask = Callable[[exp.Expr, Scope], Source]
"""Reads a query below FROM."""


@dataclass(frozen=True, slots=True)
class Named:
    """A CTE with what was in sight where it stands."""

    node: exp.Expr
    scope: Scope


EMPTY: Scope = MappingProxyType({})


def read_with(reading: Reading, node: exp.Expr, scope: Scope) -> Scope:
    """`scope` and the CTEs of `node`."""
    clause = node.args.get("with_")
    if clause is None:
        return scope
    inner = dict(scope)
    new: set[str] = set()
    for cte in clause.args["expressions"]:
        name = alias_of(cte, "")[0]
        if fold(name) in new or reading.is_table_name(name):
            # A name that means a table here and a subquery there misleads whoever reads the query, and its record.
            message = f"`{name}` is already the name of " + ("a subquery" if fold(name) in new else "a table")
            raise Refusal(
                "construct_not_allowed", message, hint="choose another name", at=reading.at(cte.args["alias"])
            )
        new.add(fold(name))
        inner[fold(name)] = Named(cte, MappingProxyType(dict(inner)))
    return MappingProxyType(inner)


def read_from(reading: Reading, node: exp.Expr, scope: Scope, ask: Ask) -> Source:
    """The FROM clause of the SELECT `node`, with its joins."""
    clause = node.args.get("from_")
    if clause is None:
        hint = "write SELECT … FROM table"
        raise Refusal("construct_not_allowed", "a query names the table it asks", hint=hint, at=reading.at(node))
    source = _item(reading, clause.args["this"], scope, ask)
    for joined in node.args.get("joins") or []:
        other = _item(reading, joined.args["this"], scope, ask)
        meet = beside if source.released or other.released else join
        source = meet(reading, source, other, joined)
    return source


def _item(reading: Reading, node: exp.Expr, scope: Scope, ask: Ask) -> Source:
    if type(node) is exp.Subquery:
        alias, names = alias_of(node, "")
        return _called(reading, ask(node.args["this"], scope), alias, names, node)
    if type(node) is not exp.Table:
        raise Refusal("construct_not_allowed", "FROM takes tables and subqueries", at=reading.at(node))
    cte = None
    if node.args.get("db") is None and type(node.args["this"]) is exp.Identifier:
        cte = scope.get(fold(str(node.args["this"].args["this"])))
    if cte is None:
        return read_table(reading, node)
    own, names = alias_of(cte.node, "")
    inner = _called(reading, ask(cte.node.args["this"], cte.scope), own, names, cte.node)
    alias, names = alias_of(node, own)
    return _called(reading, inner, alias, names, node)


def _called(reading: Reading, source: Source, alias: str, names: list[exp.Expr], node: exp.Expr) -> Source:
    fields = rename(reading, source.items[0].fields, names, node)
    return replace(source, items=(Item(alias, fields),), merged=MappingProxyType({}))


def read_union(reading: Reading, node: exp.Expr, scope: Scope, ask: Ask) -> Source:
    """UNION ALL of rows of private tables, or of open ones: the names are those of the first part."""
    scope, at = read_with(reading, node, scope), reading.at(node)
    parts = [(part, ask(part, scope)) for part in _parts(node)]
    for part, source in parts:
        if reading.open:
            continue
        if source.released:
            message = "answers are not put together"
            raise Refusal("construct_not_allowed", message, hint="ask a query for each part", at=reading.at(part))
        if not private_tables(source.relation):
            message = "every part of a UNION ALL asks a private table"
            raise Refusal("construct_not_allowed", message, hint="join the public table", at=reading.at(part))
    fields = [source.items[0].fields for _, source in parts]
    if len({len(each) for each in fields}) != 1:
        counts = " and ".join(str(len(each)) for each in fields)
        message = f"the parts of a UNION ALL have {counts} columns"
        raise Refusal("type_mismatch", message, hint="give each part the same columns", at=at)
    unified = [typed.unify([field.typed for field in column], at) for column in zip(*fields, strict=True)]
    rows = tuple(zip(*(tuple(value.expression for value in values) for values, _ in unified), strict=True))
    offered = {str(place): tuple(value.expression for value in values) for place, (values, _) in enumerate(unified)}
    number = reading.number_made(offered)
    if any(_may_be_missing(reading, value) for values, _ in unified for value in values):
        reading.optional.add(number)
    relation = UnionAll(tuple(filtered(one.relation, one.conditions) for _, one in parts), rows, number, at)
    named = tuple(
        Field(field.name, typed.column(f"{number}.{place}", family, at))
        for place, (field, (_, family)) in enumerate(zip(fields[0], unified, strict=True))
    )
    return Source(relation, (Item("", named),), released=reading.open)


def _parts(node: exp.Expr) -> list[exp.Expr]:
    """The queries of a UNION ALL, in order: nested ones are one."""
    pending, found = [node], list[exp.Expr]()
    while pending:
        part = pending.pop()
        if type(part) is exp.Subquery:
            part = part.args["this"]
        if type(part) is exp.Union and (part is node or part.args.get("with_") is None):
            pending += [part.args["expression"], part.args["this"]]
        else:
            found.append(part)
    return found


def _may_be_missing(reading: Reading, value: Typed) -> bool:
    """Whether `value` is a unit from the right of a LEFT JOIN."""
    column = value.expression
    if not isinstance(column, Column) or number_of(column.name) not in reading.optional:
        return False
    return reading.is_unit(column.name)
