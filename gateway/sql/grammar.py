"""What may occur in a query: an allow-list of (syntax class, argument). Whatever is not listed is refused.

A list of classes alone is not enough: the dangerous part is often an argument (`ASOF JOIN` is a Join with a method, a
sample hangs on a Table, a recursive CTE is a flag). Exact classes, never subclasses. What is listed here must be read
in full by `select.py`, `tables.py`, `scalar.py`: an argument that nobody reads would change the meaning in silence.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import functions
from gateway.sql.limits import SqlLimits
from gateway.sql.objections import object_to_argument, object_to_class, object_to_statement
from gateway.sql.position import place, words

_BINARY = frozenset({"this", "expression"})
_ONE = frozenset({"this"})
_LIST = frozenset({"this", "expressions"})

ALLOWED: Final[dict[type[exp.Expr], frozenset[str]]] = {
    exp.Select: frozenset(
        {"expressions", "distinct", "from_", "joins", "where", "group", "having", "windows", "qualify"}
        | {"order", "limit", "offset", "with_"}
    ),
    exp.Union: frozenset({"this", "expression", "with_"}),
    exp.Qualify: _ONE,
    exp.Window: frozenset({"this", "partition_by", "order", "alias", "over"}),
    exp.RowNumber: frozenset(),
    exp.Rank: frozenset(),
    exp.DenseRank: frozenset(),
    exp.Lag: frozenset({"this", "offset"}),
    exp.Lead: frozenset({"this", "offset"}),
    exp.Exists: _ONE,
    exp.With: frozenset({"expressions"}),
    exp.CTE: frozenset({"this", "alias"}),
    exp.From: _ONE,
    exp.Join: frozenset({"this", "side", "kind", "on", "using"}),
    exp.Table: frozenset({"this", "db", "alias"}),
    exp.TableAlias: frozenset({"this", "columns"}),
    exp.Subquery: frozenset({"this", "alias"}),
    exp.Alias: frozenset({"this", "alias"}),
    exp.Column: frozenset({"this", "table"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.Star: frozenset(),
    exp.Where: _ONE,
    exp.Group: frozenset({"expressions", "all"}),
    exp.Rollup: frozenset({"expressions"}),
    exp.Cube: frozenset({"expressions"}),
    exp.GroupingSets: frozenset({"expressions"}),
    exp.Tuple: frozenset({"expressions"}),
    exp.Grouping: frozenset({"expressions"}),
    exp.GroupingId: frozenset({"expressions"}),
    exp.Having: _ONE,
    exp.Order: frozenset({"expressions"}),
    exp.Ordered: frozenset({"this", "desc", "nulls_first"}),
    exp.Limit: frozenset({"expression"}),
    exp.Offset: frozenset({"expression"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Boolean: _ONE,
    exp.Null: frozenset(),
    exp.Placeholder: _ONE,
    exp.Paren: _ONE,
    exp.And: _BINARY,
    exp.Or: _BINARY,
    exp.Not: _ONE,
    exp.Between: frozenset({"this", "low", "high"}),
    exp.In: frozenset({"this", "expressions", "query"}),
    exp.Is: _BINARY,
    exp.NullSafeEQ: _BINARY,
    exp.NullSafeNEQ: _BINARY,
    **dict.fromkeys(functions.TEXT_TESTS, frozenset({"this", "expression", "negate"})),
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.If: frozenset({"this", "true", "false"}),
    exp.Nullif: _BINARY,
    exp.Cast: frozenset({"this", "to"}),
    exp.TryCast: frozenset({"this", "to", "safe"}),
    exp.Date: _ONE,
    exp.Interval: frozenset({"this", "unit"}),
    exp.DateAdd: _BINARY,
    exp.DateDiff: frozenset({"this", "expression", "unit", "date_part_boundary"}),
    exp.DayOfWeek: _ONE,
    exp.Log: _BINARY,
    exp.Pow: _BINARY,
    exp.Trim: frozenset({"this", "position", "expression"}),
    exp.Left: _BINARY,
    exp.Right: _BINARY,
    exp.Substring: frozenset({"this", "start", "length"}),
    exp.DPipe: frozenset({"this", "expression", "safe"}),
    exp.Concat: frozenset({"expressions", "safe", "coalesce"}),
    exp.DataType: frozenset({"this", "nested"}),
    exp.Extract: _BINARY,
    exp.TimestampTrunc: frozenset({"this", "unit"}),
    exp.DateTrunc: frozenset({"this", "unit"}),
    exp.Var: _ONE,
    exp.Round: frozenset({"this", "decimals"}),
    exp.Anonymous: _LIST,
    exp.Count: frozenset({"this", "big_int"}),
    exp.Distinct: frozenset({"expressions"}),
    exp.CountIf: _ONE,
    **dict.fromkeys((exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Median), _ONE),
    **dict.fromkeys((exp.Variance, exp.VariancePop, exp.Stddev, exp.StddevSamp, exp.StddevPop), _ONE),
    **dict.fromkeys((exp.CovarPop, exp.CovarSamp, exp.Corr, exp.RegrSlope, exp.RegrIntercept), _BINARY),
    exp.Quantile: frozenset({"this", "quantile"}),
    exp.PercentileCont: _BINARY,
    exp.WithinGroup: _BINARY,
    exp.Filter: _BINARY,
    **dict.fromkeys(functions.PLAIN, _BINARY),
    **dict.fromkeys(functions.ONE_ARGUMENT, _ONE),
    exp.Coalesce: _LIST,
    exp.Least: frozenset({"this", "expressions", "ignore_nulls"}),
    exp.Greatest: frozenset({"this", "expressions", "ignore_nulls"}),
}

PARENTS: Final[dict[type[exp.Expr], tuple[type[exp.Expr], ...]]] = {
    exp.Star: (exp.Count, exp.Select, exp.Column),
    exp.Distinct: (exp.Count, exp.Select),
    exp.Var: (exp.Extract, exp.TimestampTrunc, exp.DateTrunc, exp.DateDiff, exp.Interval),
    exp.DataType: (exp.Cast, exp.TryCast),
    exp.Interval: (exp.Add, exp.Sub, exp.DateAdd),
    exp.Select: (exp.Subquery, exp.CTE, exp.Union, exp.Exists),
    exp.Union: (exp.Subquery, exp.CTE, exp.Union),
    exp.Qualify: (exp.Select,),
    exp.RowNumber: (exp.Window,),
    exp.Rank: (exp.Window,),
    exp.DenseRank: (exp.Window,),
    exp.Lag: (exp.Window,),
    exp.Lead: (exp.Window,),
    exp.Rollup: (exp.Group, exp.GroupingSets),
    exp.Cube: (exp.Group, exp.GroupingSets),
    exp.GroupingSets: (exp.Group, exp.GroupingSets),
    exp.Tuple: (exp.Group, exp.Rollup, exp.Cube, exp.GroupingSets),
    exp.Alias: (exp.Select,),
    exp.Order: (exp.Select, exp.WithinGroup, exp.Window),
    exp.Where: (exp.Select, exp.Filter),
    exp.Limit: (exp.Select,),
    exp.Offset: (exp.Select,),
    exp.Table: (exp.From, exp.Join),
    exp.With: (exp.Select, exp.Union),
    exp.Ordered: (exp.Order,),
}
"""Where a class may stand only below certain others. A Select without a parent is the query."""

NAMES: Final[dict[type[exp.Expr], tuple[str, ...]]] = {
    exp.Alias: ("alias",),
    exp.TableAlias: ("this", "columns"),
    exp.Join: ("using",),
}
"""Arguments that are names: a parameter is a value, and stands for none."""

_EMPTY: Final = (None, False, "")
_DEEPENS_NOT: Final = (exp.And, exp.Or)


def check(tree: exp.Expr, text: str, limits: SqlLimits) -> exp.Select:
    """`tree`, proved to hold nothing but what is listed. Raises Refusal with the place and a way out."""
    if type(tree) is not exp.Select:
        raise object_to_statement(tree, text)
    pending: list[tuple[exp.Expr, int]] = [(tree, 1)]
    seen = 0
    while pending:
        node, depth = pending.pop()
        seen += 1
        if seen > limits.nodes_max:
            raise Refusal("sql_too_large", f"the query has more than {limits.nodes_max} parts")
        if depth > limits.depth_max:
            raise Refusal("sql_too_large", "the query is nested too deeply", at=place(text, node))
        _check_node(node, tree, text)
        below = depth if type(node) in _DEEPENS_NOT else depth + 1
        pending.extend((child, below) for child in reversed(list(node.iter_expressions())))
    return tree


def _check_node(node: exp.Expr, root: exp.Expr, text: str) -> None:
    allowed = ALLOWED.get(type(node))
    parents = PARENTS.get(type(node))
    if allowed is None or (parents is not None and node is not root and type(node.parent) not in parents):
        raise object_to_class(node, text)
    for argument in refused_arguments(node, allowed):
        raise object_to_argument(node, argument, text)
    for name in (name for argument in NAMES.get(type(node), ()) for name in _listed(node.args.get(argument))):
        if type(name) is exp.Placeholder:
            raise Refusal("construct_not_allowed", "a parameter cannot stand for a name", at=place(text, node))
    if type(node) is exp.Anonymous:
        _check_function(node, text)
    if type(node) is exp.Group and not node.args.get("expressions") and not node.args.get("all"):
        raise Refusal("sql_unreadable", "GROUP BY names no columns", at=place(text, node))
    if type(node) is exp.Select and not node.args.get("expressions"):
        raise Refusal("sql_unreadable", "the select list is empty", at=place(text, node))


def refused_arguments(node: exp.Expr, allowed: frozenset[str]) -> list[str]:
    """The arguments of `node` that are set and not listed."""
    return [key for key, value in node.args.items() if key not in allowed and not _is_empty(value)]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _is_empty(value: object) -> bool:
    return any(value is empty for empty in _EMPTY) or value == [] or (isinstance(value, str) and not value)


def _check_function(node: exp.Expr, text: str) -> None:
    """A function without a class of its own: by name and number of arguments, never otherwise."""
    name = str(node.args.get("this"))
    arguments = node.args.get("expressions") or []
    wanted = functions.BY_NAME.get(name.lower())
    if wanted is None:
        raise object_to_class(node, text)
    if len(arguments) != wanted:
        count = "one argument" if wanted == 1 else f"{wanted} arguments"
        raise Refusal("function_not_allowed", f"`{words(text, node)}` takes {count}", at=place(text, node))
