"""Rewritten queries for what would mix the rows of many units: the same within each unit, or asked in another way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import functions
from gateway.sql.scope import fold
from policies.model import Policy

Found = Iterator[tuple[exp.Select, str]]
Policies = Mapping[str, Policy]


def union_all(tree: exp.Select, refusal: Refusal, sql: str, policies: Policies) -> Found:
    """UNION keeps each row once, whatever unit it is of; UNION ALL keeps all."""
    unions = [node for node in tree.find_all(exp.Union) if node.args.get("distinct")]
    for node in unions:
        node.args["distinct"] = False
    if unions:
        yield tree, "all rows of all parts"


def unit_into_windows(tree: exp.Select, refusal: Refusal, sql: str, policies: Policies) -> Found:
    changed = False
    for window in tree.find_all(exp.Window):
        select = window.find_ancestor(exp.Select)
        unit = _unit_of(select, policies) if isinstance(select, exp.Select) and select is not tree else None
        if unit is not None and not _names(window.args.get("partition_by") or [], unit):
            window.set("partition_by", [unit.copy(), *(window.args.get("partition_by") or [])])
            changed = True
    if changed:
        yield tree, "the rows of each unit by themselves"


def whole_windows(tree: exp.Select, refusal: Refusal, sql: str, policies: Policies) -> Found:
    changed = False
    for window in tree.find_all(exp.Window):
        if functions.is_aggregate(window.this) and window.args.get("order"):
            window.set("order", None)
            window.set("spec", None)
            changed = True
    if changed:
        yield tree, "the total of the whole window"


def columns_of_count(tree: exp.Select, refusal: Refusal, sql: str, policies: Policies) -> Found:
    """COUNT(DISTINCT a, b): pairs within each unit where the unit is one of them, else a number for each pair."""
    counts = [node for node in tree.find_all(exp.Count) if type(node.this) is exp.Distinct]
    several = [node for node in counts if len(node.this.expressions) > 1]
    if len(several) != 1 or len(tree.expressions) != 1 or tree.args.get("group") or tree.args.get("having"):
        return
    members, unit = several[0].this.expressions, _unit_of(tree, policies)
    inner = tree.copy()
    inner.set("expressions", [member.copy() for member in members])
    if unit is not None and _names(members, unit):
        inner.set("distinct", exp.Distinct())
        yield _count_of(inner), "each combination of each unit once"
    else:
        grouped = inner.copy().select(exp.Count(this=exp.Star()))
        yield grouped.group_by(*[member.copy() for member in members]), "one row for each combination"


def distinct_below(tree: exp.Select, refusal: Refusal, sql: str, policies: Policies) -> Found:
    """COUNT(*) over SELECT DISTINCT x is COUNT(DISTINCT x); with the unit among its columns it may stay."""
    inner = _only_subquery(tree)
    if inner is None or not inner.args.get("distinct"):
        return
    plain = [type(item) is exp.Count and type(item.this) is exp.Star for item in map(_bare, tree.expressions)]
    if plain == [True] and len(inner.expressions) == 1 and not tree.args.get("where"):
        counted = inner.copy()
        counted.set("distinct", None)
        counted.set("expressions", [exp.Count(this=exp.Distinct(expressions=[_bare(inner.expressions[0]).copy()]))])
        yield counted, "the number of values"
    unit = _unit_of(inner, policies)
    if unit is not None:
        inner.append("expressions", unit.copy())
        yield tree, "each value of each unit once"


def finest_groups(tree: exp.Select, refusal: Refusal, sql: str, policies: Policies) -> Found:
    """What does not add up over grouping sets is asked of the finest groups alone."""
    group = tree.args.get("group")
    sets = (exp.Rollup, exp.Cube, exp.GroupingSets, exp.Tuple, exp.Paren)
    pending, terms = list(reversed(group.expressions)) if group is not None else [], list[exp.Expr]()
    changed = any(isinstance(term, sets) for term in pending) and not any(tree.find_all(exp.Grouping))
    while pending:
        term = pending.pop()
        if isinstance(term, sets):
            pending += reversed([term.this] if isinstance(term, exp.Paren) else term.expressions)
        elif term not in terms:
            terms.append(term)
    if changed and terms:
        tree.set("group", exp.Group(expressions=[term.copy() for term in terms]))
        yield tree, "the finest groups alone"


def inner_answer(tree: exp.Select, refusal: Refusal, sql: str, policies: Policies) -> Found:
    """What cannot be computed over an answer is computed by whoever gets the answer."""
    inner = _only_subquery(tree)
    if inner is not None and inner.args.get("group"):
        yield inner.copy(), "the figures of each group; go on from them"


def figures_first(tree: exp.Select, refusal: Refusal, sql: str, policies: Policies) -> Found:
    for node in tree.find_all(exp.Subquery):
        if type(node.this) is exp.Select and type(node.parent) not in (exp.From, exp.Join, exp.In):
            yield node.this.copy(), "ask for this figure first, and write it as a constant"


def exists_for_in(tree: exp.Select, refusal: Refusal, sql: str, policies: Policies) -> Found:
    """`x IN (SELECT y FROM t)` as EXISTS, which nulls do not trouble."""
    changed = False
    for node in list(tree.find_all(exp.In)):
        query = node.args.get("query")
        inner = query.this if query is not None else None
        outer = node.find_ancestor(exp.Select)
        if type(inner) is not exp.Select or type(node.this) is not exp.Column or outer is None:
            continue
        if inner.args.get("group") or inner.args.get("joins") or len(inner.expressions) != 1:
            continue
        if not inner.args.get("from_") or not outer.args.get("from_"):
            continue
        table, around = inner.args["from_"].this, outer.args["from_"].this
        column = _bare(inner.expressions[0])
        if type(table) is not exp.Table or type(column) is not exp.Column or outer.args.get("joins"):
            continue
        if fold(str(table.alias_or_name)) == fold(str(around.alias_or_name)):
            continue
        tie = exp.EQ(this=_qualified(column, table), expression=_qualified(node.this, around))
        inner.set("expressions", [exp.Literal.number(1)])
        inner.where(tie, copy=False)
        node.replace(exp.Exists(this=inner.copy()))
        changed = True
    if changed:
        yield tree, "EXISTS is true or false, also beside nulls"


def _qualified(column: exp.Expr, table: exp.Expr) -> exp.Column:
    named = column.args.get("table") or exp.to_identifier(table.alias_or_name)
    return exp.Column(this=column.this.copy(), table=named.copy())


def _count_of(inner: exp.Select) -> exp.Select:
    return exp.select(exp.Count(this=exp.Star())).from_(inner.subquery("each_once"))


def _bare(item: exp.Expr) -> exp.Expr:
    return item.this if type(item) is exp.Alias else item


def _only_subquery(tree: exp.Select) -> exp.Select | None:
    """The one SELECT in FROM, where there is nothing else in it."""
    clause = tree.args.get("from_")
    inner = clause.this if clause is not None else None
    if type(inner) is not exp.Subquery or tree.args.get("joins") or type(inner.this) is not exp.Select:
        return None
    return inner.this


def _unit_of(select: exp.Select, policies: Policies) -> exp.Column | None:
    """The unit's column in the first table of FROM that names it."""
    clause = select.args.get("from_")
    tables = [clause.this] if clause is not None else []
    for node in [*tables, *(joined.this for joined in select.args.get("joins") or [])]:
        for policy in policies.values():
            table = policy.tables.get(str(node.name)) if type(node) is exp.Table else None
            units = [column.name for column in table.columns.values() if column.role == "unit"] if table else []
            if units:
                alone = len(tables) == 1 and not select.args.get("joins")
                return exp.column(units[0], table=None if alone else str(node.alias_or_name))
    return None


def _names(parts: list[exp.Expr], unit: exp.Column) -> bool:
    return any(type(part) is exp.Column and fold(str(part.name)) == fold(str(unit.name)) for part in parts)
