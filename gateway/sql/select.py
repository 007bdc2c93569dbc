"""One SELECT to a relation: over rows, as a Release, or over the released rows of a subquery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import functions
from gateway.sql.joins import filtered, join
from gateway.sql.links import private_tables
from gateway.sql.measures import Measures
from gateway.sql.naming import output_names, value_of
from gateway.sql.reading import Reading
from gateway.sql.released import Lifted, has_limit, limited, order_terms, ordered, ordinal, output_of
from gateway.sql.scalar import AggregateReader, NameReader, Scalar, no_aggregates
from gateway.sql.scope import Field, Item, Source, fold, named
from gateway.sql.tables import alias_of, read_table, rename
from gateway.sql.typed import Typed
from sandbox.codec import digest
from sandbox.relational.nodes import Release

Scope = Mapping[str, "Named"]
"""CTEs in sight, by folded name."""


@dataclass(frozen=True, slots=True)
class Named:
    """A CTE with what was in sight where it stands."""

    node: exp.Expr
    scope: Scope


EMPTY: Scope = MappingProxyType({})


def read_select(reading: Reading, node: exp.Expr, scope: Scope, *, top: bool) -> Source:
    """The rows that `node` gives, as one item without alias."""
    reading.count_select()
    scope = _with(reading, node, scope)
    source = _from(reading, node, scope)
    source = _where(reading, source, node)
    if source.released:
        return _over_released(reading, source, node, top=top)
    if _aggregates(node):
        return _release(reading, source, node, top=top)
    return _rows(reading, source, node, top=top)


def _with(reading: Reading, node: exp.Expr, scope: Scope) -> Scope:
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


def _from(reading: Reading, node: exp.Expr, scope: Scope) -> Source:
    clause = node.args.get("from_")
    if clause is None:
        hint = "write SELECT … FROM table"
        raise Refusal("construct_not_allowed", "a query names the table it asks", hint=hint, at=reading.at(node))
    source = _item(reading, clause.args["this"], scope)
    for joined in node.args.get("joins") or []:
        source = join(reading, source, _item(reading, joined.args["this"], scope), joined)
    return source


def _item(reading: Reading, node: exp.Expr, scope: Scope) -> Source:
    if type(node) is exp.Subquery:
        alias, names = alias_of(node, "")
        return _called(reading, read_select(reading, node.args["this"], scope, top=False), alias, names, node)
    if type(node) is not exp.Table:
        raise Refusal("construct_not_allowed", "FROM takes tables and subqueries", at=reading.at(node))
    cte = None
    if node.args.get("db") is None and type(node.args["this"]) is exp.Identifier:
        cte = scope.get(fold(str(node.args["this"].args["this"])))
    if cte is None:
        return read_table(reading, node)
    own, names = alias_of(cte.node, "")
    inner = _called(reading, read_select(reading, cte.node.args["this"], cte.scope, top=False), own, names, cte.node)
    alias, names = alias_of(node, own)
    return _called(reading, inner, alias, names, node)


def _called(reading: Reading, source: Source, alias: str, names: list[exp.Expr], node: exp.Expr) -> Source:
    fields = rename(reading, source.items[0].fields, names, node)
    return replace(source, items=(Item(alias, fields),), merged=MappingProxyType({}))


def _where(reading: Reading, source: Source, node: exp.Expr) -> Source:
    clause = node.args.get("where")
    if clause is None:
        return source
    conditions = _scalar(reading, source, "WHERE").condition(clause.args["this"])
    if source.released:
        return replace(source, relation=filtered(source.relation, conditions))
    return replace(source, conditions=source.conditions + conditions)


def _aggregates(node: exp.Expr) -> bool:
    parts = [*node.args["expressions"], node.args.get("having"), node.args.get("order")]
    return node.args.get("group") is not None or any(
        part and any(map(functions.is_aggregate, part.walk())) for part in parts
    )


def _scalar(reading: Reading, source: Source, place: str) -> Scalar:
    return Scalar(reading, _names(reading, source), no_aggregates(reading, place))


def _names(reading: Reading, source: Source, aliases: Mapping[str, Typed] = MappingProxyType({})) -> NameReader:
    """Columns of `source`; where it has none of that name, entries of the select list."""

    def name(node: exp.Column) -> Typed:
        try:
            return named(source, node, reading.at(node))
        except Refusal as refusal:
            found = output_of(node, aliases) if refusal.code in ("column_unknown", "aggregate_required") else None
            if found is None:
                raise
            return found

    return name


def _outputs(names: list[str], values: list[Typed]) -> dict[str, Typed]:
    """The select list by name and by ordinal. A name that stands twice names neither."""
    by_name = {fold(name): value for name, value in zip(names, values, strict=True)}
    folded = [fold(name) for name in names]
    single = {name: value for name, value in by_name.items() if folded.count(name) == 1}
    return {**single, **{ordinal(place): value for place, value in enumerate(values, start=1)}}


def _fields(names: list[str], values: list[Typed]) -> tuple[Item, ...]:
    return (Item("", tuple(Field(name, value) for name, value in zip(names, values, strict=True))),)


def _rows(reading: Reading, source: Source, node: exp.Expr, *, top: bool) -> Source:
    """A SELECT without aggregates over rows that are not released: below an aggregate it only names columns."""
    scalar = _scalar(reading, source, "this SELECT")
    values = [scalar.read(value_of(item)) for item in node.args["expressions"]]
    if top:
        if not private_tables(source.relation):
            raise _public_only(reading, node)
        message = "rows do not leave: the select list aggregates"
        hint = "COUNT(*), SUM(x) or AVG(x), with GROUP BY for the columns beside them"
        raise Refusal("aggregate_required", message, hint=hint, at=reading.at(node.args["expressions"][0]))
    for clause in ("limit", "offset", "having"):
        if node.args.get(clause) is not None:
            message = f"{clause.upper()} below an aggregate is not answered: one unit could change which rows there are"
            raise Refusal(
                "construct_not_allowed", message, hint="put it on the outer SELECT", at=reading.at(node.args[clause])
            )
    outputs = _outputs(output_names(node.args["expressions"]), values)
    order_terms(node, scalar, outputs)  # its names are checked, its order is no matter
    return replace(source, items=_fields(output_names(node.args["expressions"]), values), merged=MappingProxyType({}))


def _release(reading: Reading, source: Source, node: exp.Expr, *, top: bool) -> Source:
    if not private_tables(source.relation):
        raise _public_only(reading, node)
    keys = _keys(reading, source, node)
    measures = Measures(reading, _names(reading, source))
    scalar = Scalar(reading, _names(reading, source), measures.read)
    names = output_names(node.args["expressions"])
    values = [scalar.read(value_of(item)) for item in node.args["expressions"]]
    outputs = _outputs(names, values)
    having = node.args.get("having")
    with_aliases = Scalar(reading, _names(reading, source, outputs), measures.read)
    conditions = with_aliases.condition(having.args["this"]) if having is not None else ()
    terms = order_terms(node, with_aliases, outputs)  # may bring measures of its own
    key_order = sorted({key.expression for key in keys}, key=digest)
    measure_order = sorted(measures.found, key=digest)
    lifted = Lifted(
        {key: place for place, key in enumerate(key_order)},
        {measures.found[measure]: place for place, measure in enumerate(measure_order)},
    )
    at = reading.at(node.args["expressions"][0])
    below = filtered(source.relation, source.conditions)
    relation = filtered(
        Release(below, tuple(key_order), tuple(measure_order), at), [lifted.lift(condition) for condition in conditions]
    )
    if top or has_limit(node):
        relation = ordered(relation, tuple(replace(term, value=lifted.lift(term.value)) for term in terms))
    relation = limited(relation, node, scalar)
    return Source(relation, _fields(names, [lifted.lift(value) for value in values]), released=True)


def _keys(reading: Reading, source: Source, node: exp.Expr) -> list[Typed]:
    group = node.args.get("group")
    if group is None:
        return []
    items = node.args["expressions"]
    aliases: dict[str, exp.Expr] = {
        fold(name): value_of(item) for name, item in zip(output_names(items), items, strict=True)
    }
    keys = []
    for term in group.args["expressions"]:
        at, value = reading.at(term), _scalar_key(reading, source, _named_term(term, items, aliases, reading, source))
        if value.is_literal:
            message = "GROUP BY takes a column, or the number of one in the select list"
            raise Refusal("construct_not_allowed", message, at=at)
        keys.append(value)
    return keys


def _scalar_key(reading: Reading, source: Source, node: exp.Expr) -> Typed:
    return _scalar(reading, source, "GROUP BY").read(node)


def _named_term(
    term: exp.Expr,
    items: list[exp.Expr],
    aliases: Mapping[str, exp.Expr],
    reading: Reading,
    source: Source,
) -> exp.Expr:
    """What a term of GROUP BY stands for: an ordinal, a column of FROM, else an alias of the select list."""
    if type(term) is exp.Literal and not term.args.get("is_string"):
        place = str(term.args["this"])
        if not place.isdecimal() or not 1 <= int(place) <= len(items):
            message = f"the select list has {len(items)} entries"
            raise Refusal("construct_not_allowed", message, hint="group by a column's name", at=reading.at(term))
        return value_of(items[int(place) - 1])
    if type(term) is exp.Column and term.args.get("table") is None:
        name = str(term.args["this"].args["this"])
        known = any(item.named(name) for item in source.items)
        if not known and fold(name) in aliases:
            return aliases[fold(name)]
    return term


def _over_released(reading: Reading, source: Source, node: exp.Expr, *, top: bool) -> Source:
    """A SELECT over an aggregating subquery: renames, computes, filters, orders what is released."""
    refuse = _no_second_release(reading)
    scalar = Scalar(reading, _names(reading, source), refuse)
    if node.args.get("group") is not None:
        refuse(node.args["group"])
    if node.args.get("having") is not None:
        at = reading.at(node.args["having"])
        raise Refusal("construct_not_allowed", "HAVING stands beside aggregates", hint="write WHERE", at=at)
    names = output_names(node.args["expressions"])
    values = [scalar.read(value_of(item)) for item in node.args["expressions"]]
    terms = order_terms(node, scalar, _outputs(names, values))
    relation = ordered(source.relation, terms) if top or has_limit(node) else source.relation
    relation = limited(relation, node, scalar)
    return Source(relation, _fields(names, values), released=True)


def _no_second_release(reading: Reading) -> AggregateReader:
    def refuse(node: exp.Expr) -> Typed:
        message = "an aggregate over an answer is not answered"
        raise Refusal("construct_not_allowed", message, hint="aggregate the table itself", at=reading.at(node))

    return refuse


def _public_only(reading: Reading, node: exp.Expr) -> Refusal:
    message = "a query on public tables alone is not answered"
    hint = "their values are in the catalogue; join them to a private table"
    return Refusal("construct_not_allowed", message, hint=hint, at=reading.at(node.args["from_"]))
