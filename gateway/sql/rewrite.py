"""Rewritten queries that may pass where the operator's does not. Text for the operator to read, never run by us.

Nothing here is checked against a policy: `gateway.admission.alternatives` offers only what passes every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Final

from sqlglot import exp

from gateway.errors import Alternative, Refusal
from gateway.sql import rewrite_units
from gateway.sql.limits import SqlLimits
from gateway.sql.parse import parse
from gateway.sql.position import place
from gateway.sql.scope import fold, nearest
from policies.model import Policy

_TREES_MAX: Final = 500
_NEAR: Final[Mapping[type[exp.Expr], str]] = {exp.Min: "0.01", exp.Max: "0.99"}
_MANY_ROWS = "a mean hangs on many rows"


def rewrites(refusal: Refusal, sql: str, policies: Mapping[str, Policy], limits: SqlLimits) -> Iterator[Alternative]:
    """Candidates, likeliest first; none for text that is no SELECT, or is large."""
    rules = _RULES.get(refusal.code, ())
    for rule in rules:
        try:
            tree = parse(sql, limits)
        except Refusal:
            return
        if type(tree) is not exp.Select or sum(1 for _ in tree.walk()) > _TREES_MAX:
            return
        _say_plainly(tree)
        yield from _each(rule(tree, refusal, sql, policies))


def _say_plainly(tree: exp.Select) -> None:
    """Takes out comments, and what the library would not write as it read it."""
    for node in list(tree.walk()):
        node.comments = None
        if type(node) is exp.WithinGroup and type(node.this) in (exp.PercentileCont, exp.PercentileDisc):
            term, fraction = node.expression.expressions[0], node.this.this
            if term.args.get("desc") and type(fraction) is exp.Literal and not fraction.args.get("is_string"):
                fraction = exp.Literal.number(str(1 - Decimal(str(fraction.this))))
            node.replace(type(node.this)(this=term.this.copy(), expression=fraction.copy()))


def _each(found: Iterator[tuple[exp.Select, str]]) -> Iterator[Alternative]:
    for tree, why in found:
        yield Alternative(tree.sql(dialect="duckdb"), why)


Found = Iterator[tuple[exp.Select, str]]
Rule = Callable[[exp.Select, Refusal, str, Mapping[str, Policy]], Found]


def _quantile_for_extremes(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    extremes = [node for node in tree.walk() if type(node) in _NEAR]
    for node in extremes:
        near = exp.Literal.number(_NEAR[type(node)])
        node.replace(exp.PercentileCont(this=node.args["this"].copy(), expression=near))
    if extremes:
        yield tree, "a quantile near the end does not hang on a single row"


def _continuous_quantiles(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    found = [node for node in tree.walk() if type(node) in (exp.PercentileDisc, exp.ApproxQuantile)]
    for node in found:
        fraction = node.args.get("expression") or node.args["quantile"]
        node.replace(exp.PercentileCont(this=node.args["this"].copy(), expression=fraction.copy()))
    if found:
        yield tree, "the quantile that is answered"


def _quantiles_one_by_one(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    items: list[exp.Expr] = []
    for item in tree.expressions:
        fractions = item.args.get("expression") if type(item) is exp.PercentileCont else None
        if type(fractions) is exp.Array:
            column = item.args["this"]
            items += [exp.PercentileCont(this=column.copy(), expression=one.copy()) for one in fractions.expressions]
        else:
            items.append(item.copy())
    if len(items) != len(tree.expressions):
        tree.set("expressions", items)
        yield tree, "each quantile is a column of its own"


def _mean_for_extremes(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    extremes = [node for node in tree.walk() if type(node) in (exp.Max, exp.Min, exp.Median)]
    for node in extremes:
        node.replace(exp.Avg(this=node.args["this"].copy()))
    if extremes:
        yield tree, _MANY_ROWS


def _aggregate_the_columns(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    bare = tree.copy()
    for clause in ("order", "limit", "offset"):
        bare.set(clause, None)
    columns = [item for item in bare.expressions if type(item) is exp.Column and type(item.this) is exp.Identifier]
    if columns and len(columns) == len(bare.expressions) and not bare.args.get("group"):
        means = bare.copy()
        means.set("expressions", [exp.Avg(this=column.copy()) for column in columns])
        yield means, "means of the columns leave, rows do not"
        counts = bare.copy().select(exp.Count(this=exp.Star()))
        yield counts.group_by(*[column.copy() for column in columns]), "numbers of rows leave, rows do not"
    count = bare.copy()
    count.set("expressions", [exp.Count(this=exp.Star())])
    yield count, "the number of rows leaves, rows do not"


def _group_what_is_bare(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    bare = [item for item in tree.expressions if type(item) is exp.Column]
    grouped = {term.sql() for term in (tree.args["group"].expressions if tree.args.get("group") else [])}
    missing = [item for item in bare if item.sql() not in grouped]
    if missing:
        yield tree.copy().group_by(*[item.copy() for item in missing]), "one row for each group"
        means = tree.copy()
        names = {item.sql() for item in missing}
        for item in means.expressions:
            if item.sql() in names:
                item.replace(exp.Avg(this=item.copy()))
        yield means, "one mean for each group"


def _join_on_links(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    """Comma and CROSS joins become JOIN … ON: with the equalities of WHERE, else with the pairs the policy declares."""
    joins = tree.args.get("joins") or []
    left = [tree.args["from_"].this] if tree.args.get("from_") else []
    rest = _where_parts(tree)
    for joined in joins:
        right = joined.this
        loose = not joined.args.get("on") and not joined.args.get("using")
        if loose and not joined.args.get("method") and type(right) is exp.Table:
            equal = [part for part in rest if _equates(part, left, right)]
            equal = equal or _declared_pairs(left, right, policies)
            if not equal:
                return
            rest = [part for part in rest if not any(part is one for one in equal)]
            joined.set("kind", None)
            joined.set("on", exp.and_(*[part.copy() for part in equal]))
        left.append(right)
    if joins:
        tree.set("where", exp.Where(this=exp.and_(*[part.copy() for part in rest])) if rest else None)
        yield tree, "rows of the same unit meet"


def _swap_sides(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    joins = tree.args.get("joins") or []
    if len(joins) == 1 and str(joins[0].args.get("side") or "").upper() == "RIGHT":
        first, second = tree.args["from_"].this.copy(), joins[0].this.copy()
        tree.args["from_"].set("this", second)
        joins[0].set("this", first)
        joins[0].set("side", "LEFT")
        joins[0].set("kind", None)
        yield tree, "the table whose rows are all kept stands on the left"


def _nearest_table(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    known = [table for policy in policies.values() for table in policy.tables]
    changed = False
    for table in list(tree.find_all(exp.Table)):
        name = str(table.name)
        close = nearest(name, known)
        if close is not None and fold(close) != fold(name) and type(table.this) is exp.Identifier:
            _rename_qualifiers(tree, table, name, close)
            table.set("this", exp.to_identifier(close))
            changed = True
    if changed:
        yield tree, "the nearest name that you may ask"


def _rename_qualifiers(tree: exp.Select, table: exp.Table, name: str, close: str) -> None:
    if table.args.get("alias") is None:
        for column in tree.find_all(exp.Column):
            if fold(str(column.table)) == fold(name):
                column.set("table", exp.to_identifier(close))


def _nearest_column(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    wrong = _column_at(tree, refusal, sql)
    if wrong is None:
        return
    known = [
        column.name
        for policy in policies.values()
        for name, table in policy.tables.items()
        if any(fold(str(used.name)) == fold(name) for used in tree.find_all(exp.Table))
        for column in table.columns.values()
        if column.role != "hidden"
    ]
    close = nearest(str(wrong.name), known)
    if close is not None:
        name = fold(str(wrong.name))
        for column in list(tree.find_all(exp.Column)):
            if fold(str(column.name)) == name and type(column.this) is exp.Identifier:
                column.set("this", exp.to_identifier(close))
        yield tree, "the nearest name of a column"


def _coarser_groups(tree: exp.Select, refusal: Refusal, sql: str, policies: Mapping[str, Policy]) -> Found:
    """The same query by bins, or by each form of the date that a policy could name."""
    wrong = _column_at(tree, refusal, sql)
    if wrong is None:
        return
    name = fold(str(wrong.name))
    forms: dict[str, Callable[[exp.Expr], exp.Expr]] = {
        "bin": lambda column: exp.Anonymous(this="bin", expressions=[column]),
        "year": lambda column: exp.Year(this=column),
        "quarter": lambda column: exp.Quarter(this=column),
        "month": lambda column: exp.Month(this=column),
        "decade": lambda column: exp.Anonymous(this="decade", expressions=[column]),
    }
    for word, wrap in forms.items():
        coarse = tree.copy()
        for column in list(coarse.find_all(exp.Column)):
            bare = type(column.parent) in (exp.Select, exp.Group, exp.Ordered, exp.Alias)
            if bare and fold(str(column.name)) == name:
                column.replace(wrap(column.copy()))
        yield coarse, f"groups by {word}"


def _column_at(tree: exp.Select, refusal: Refusal, sql: str) -> exp.Column | None:
    return next((node for node in tree.find_all(exp.Column) if place(sql, node) == refusal.at), None)


def _where_parts(tree: exp.Select) -> list[exp.Expr]:
    where = tree.args.get("where")
    if where is None:
        return []
    parts, pending = [], [where.this]
    while pending:
        part = pending.pop()
        if type(part) is exp.And:
            pending += [part.args["expression"], part.this]
        else:
            parts.append(part)
    return parts


def _equates(part: exp.Expr, left: list[exp.Expr], right: exp.Expr) -> bool:
    """Whether `part` is `a.x = b.y` between `right` and something before it."""
    if type(part) is not exp.EQ or type(part.this) is not exp.Column or type(part.expression) is not exp.Column:
        return False
    names = {fold(str(one.alias_or_name)) for one in left}
    sides = {fold(str(part.this.table)), fold(str(part.expression.table))}
    return fold(str(right.alias_or_name)) in sides and bool(sides & names)


def _declared_pairs(left: list[exp.Expr], right: exp.Expr, policies: Mapping[str, Policy]) -> list[exp.Expr]:
    for one in left:
        for policy in policies.values():
            for child, target in ((one, right), (right, one)):
                names = (str(child.alias_or_name), str(target.alias_or_name))
                found = [
                    exp.EQ(this=exp.column(one, table=names[0]), expression=exp.column(other, table=names[1]))
                    for one, other in _pairs(policy, str(child.name), str(target.name))
                ]
                if found:
                    return list(found)
    return []


def _pairs(policy: Policy, child: str, target: str) -> tuple[tuple[str, str], ...]:
    """The pairs of one link, or of one key: all of them, or none."""
    first, second = policy.tables.get(child), policy.tables.get(target)
    if first is None or second is None:
        return ()
    if first.link is not None and first.link.to_table == second.name:
        return first.link.pairs
    joined: dict[str, str] = {}
    for column in first.columns.values():
        for table, key in column.joins:
            if table == second.name and column.role != "hidden":
                joined.setdefault(key, column.name)
    if second.key and set(second.key) <= joined.keys():
        return tuple((joined[key], key) for key in second.key)
    return tuple((column, key) for key, column in joined.items() if key in second.fan_out)[:1]


_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "aggregate_not_allowed": (_quantile_for_extremes, _mean_for_extremes, _continuous_quantiles),
    "construct_not_allowed": (
        _quantiles_one_by_one,
        rewrite_units.union_all,
        rewrite_units.unit_into_windows,
        rewrite_units.whole_windows,
        rewrite_units.columns_of_count,
        rewrite_units.distinct_below,
        rewrite_units.finest_groups,
        rewrite_units.exists_for_in,
        rewrite_units.inner_answer,
        rewrite_units.figures_first,
    ),
    "aggregate_required": (_aggregate_the_columns,),
    "column_not_grouped": (_group_what_is_bare,),
    "join_not_allowed": (_join_on_links, _swap_sides),
    "table_unknown": (_nearest_table,),
    "column_unknown": (_nearest_column,),
    "column_not_groupable": (_coarser_groups,),
}
