"""What is said about a construct that is not accepted: code, words, a way out. Decides nothing.

`grammar.py` has already refused when it asks here, so an entry that is missing costs words, never safety.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import functions
from gateway.sql.position import place, words
from sandbox.relational.expressions import Position

_ONE_SELECT = "a query is one SELECT over tables of one dataset"
_ABOVE = "aggregate first, then order or limit the answer"

_NO = "construct_not_allowed"
_PARTITION = "OVER (PARTITION BY …) goes over its whole window"
_CLASSES: Final[dict[type[exp.Expr], tuple[str, str, str | None]]] = {
    exp.Distinct: (_NO, "DISTINCT inside this aggregate is not answered", "COUNT(DISTINCT x), or SELECT DISTINCT"),
    exp.Union: (_NO, "answers are not put together", "ask two queries; UNION ALL of tables stands in FROM"),
    exp.Except: (_NO, "EXCEPT is not answered", "NOT EXISTS (SELECT 1 FROM … WHERE inner.unit = outer.unit)"),
    exp.Intersect: (_NO, "INTERSECT is not answered", "unit IN (SELECT unit FROM …)"),
    exp.Subquery: (_NO, "a query does not stand in parentheses", "leave them out"),
    exp.Select: (_NO, "a subquery is not answered here", "put it in FROM, or write IN, EXISTS or `(SELECT …)`"),
    exp.Any: (_NO, "ANY is not answered", "write IN"),
    exp.All: (_NO, "ALL is not answered", "list the values with IN"),
    exp.Order: (_NO, "ORDER BY inside an aggregate is not answered", "order the answer instead"),
    exp.Columns: (_NO, "COLUMNS is not answered", "name the columns"),
    exp.Star: (_NO, "`*` stands in COUNT(*) and in the select list", "name the columns"),
    exp.RowNumber: (_NO, "ROW_NUMBER stands before OVER", "ROW_NUMBER() OVER (PARTITION BY … ORDER BY …)"),
    exp.Rank: (_NO, "RANK stands before OVER", "RANK() OVER (PARTITION BY … ORDER BY …)"),
    exp.DenseRank: (_NO, "DENSE_RANK stands before OVER", "DENSE_RANK() OVER (PARTITION BY … ORDER BY …)"),
    exp.Lag: (_NO, "LAG stands before OVER", "LAG(x) OVER (PARTITION BY … ORDER BY …)"),
    exp.Lead: (_NO, "LEAD stands before OVER", "LEAD(x) OVER (PARTITION BY … ORDER BY …)"),
    exp.FirstValue: (_NO, "FIRST_VALUE is not answered", "ROW_NUMBER() OVER (…) = 1 picks the first row"),
    exp.LastValue: (_NO, "LAST_VALUE is not answered", "ROW_NUMBER() OVER (… ORDER BY x DESC) = 1 picks the last row"),
    exp.NthValue: (_NO, "NTH_VALUE is not answered", "ROW_NUMBER() OVER (…) = n picks a row"),
    exp.Ntile: (_NO, "NTILE is not answered", "ask quantiles, or use ROW_NUMBER"),
    exp.PercentRank: (_NO, "PERCENT_RANK is not answered", "use RANK"),
    exp.CumeDist: (_NO, "CUME_DIST is not answered", "use RANK"),
    exp.IgnoreNulls: (_NO, "IGNORE NULLS is not answered", "filter the nulls in a subquery"),
    exp.RespectNulls: (_NO, "RESPECT NULLS is not answered", "leave it out: nulls are respected"),
    exp.WindowSpec: (_NO, "frames of windows are not answered", _PARTITION),
    exp.Escape: (_NO, "LIKE takes no ESCAPE", "`%` and `_` are always wildcards"),
    exp.Interval: (_NO, "an interval is added to a date", "x + INTERVAL 1 DAY, or date_diff('day', a, b)"),
    exp.Lateral: ("join_not_allowed", "LATERAL is not answered", "join with ON"),
    exp.TableSample: (_NO, "samples are not answered", "filter with WHERE"),
    exp.Pivot: (_NO, "PIVOT is not answered", "use GROUP BY"),
    exp.Values: (_NO, "VALUES is not answered", "list the values with IN"),
    exp.Unnest: (_NO, "UNNEST is not answered", None),
    exp.Tuple: (_NO, "tuples are not answered", "name the columns one by one"),
    exp.Bracket: (_NO, "element access is not answered", None),
    exp.Lambda: (_NO, "lambdas are not answered", None),
    exp.Dot: (_NO, "field access is not answered", "write `table.column`"),
    exp.Cube: (_NO, "CUBE stands in GROUP BY", "GROUP BY CUBE (a, b)"),
    exp.Rollup: (_NO, "ROLLUP stands in GROUP BY", "GROUP BY ROLLUP (a, b)"),
    exp.GroupingSets: (_NO, "GROUPING SETS stands in GROUP BY", "GROUP BY GROUPING SETS ((a), (b))"),
    exp.Var: (_NO, "this keyword is not answered here", "name the columns"),
}

_STAR = (_NO, "`*` is answered without EXCLUDE, REPLACE and RENAME", "name the columns")
_ARGUMENTS: Final[dict[tuple[type[exp.Expr], str], tuple[str, str, str | None]]] = {
    (exp.Select, "sample"): (_NO, "samples are not answered", "filter with WHERE"),
    (exp.Select, "into"): ("statement_not_allowed", "a query writes nothing", _ONE_SELECT),
    (exp.Select, "locks"): (_NO, "a query locks nothing", None),
    (exp.Select, "laterals"): ("join_not_allowed", "LATERAL is not answered", "join with ON"),
    (exp.Select, "hint"): (_NO, "hints are not answered", "leave the hint out"),
    (exp.Union, "distinct"): (_NO, "UNION is not answered: equal rows of different units would be one", "UNION ALL"),
    (exp.Union, "by_name"): (_NO, "BY NAME is not answered", "give each part the same columns in one order"),
    (exp.Union, "order"): (_NO, "ORDER BY of a UNION ALL is not answered", "order the answer instead"),
    (exp.Union, "limit"): (_NO, "LIMIT below an aggregate is not answered", _ABOVE),
    (exp.Union, "offset"): (_NO, "OFFSET below an aggregate is not answered", _ABOVE),
    (exp.Distinct, "on"): (_NO, "DISTINCT ON is not answered", "ROW_NUMBER() OVER (PARTITION BY unit ORDER BY …) = 1"),
    (exp.Window, "spec"): (_NO, "frames of windows are not answered", _PARTITION),
    (exp.Lag, "default"): (_NO, "LAG takes no default", "COALESCE(LAG(x) OVER (…), 0)"),
    (exp.Lead, "default"): (_NO, "LEAD takes no default", "COALESCE(LEAD(x) OVER (…), 0)"),
    (exp.With, "recursive"): (_NO, "recursive CTEs are not answered", "write plain WITH"),
    (exp.Join, "method"): ("join_not_allowed", "this kind of join is not answered", "join with ON and `=`"),
    (exp.Table, "sample"): (_NO, "samples are not answered", "filter with WHERE"),
    (exp.Table, "pivots"): (_NO, "PIVOT is not answered", "use GROUP BY"),
    (exp.Table, "joins"): ("join_not_allowed", "nested joins are not answered", "join one table after the other"),
    (exp.Table, "catalog"): (_NO, "a table is named `table` or `dataset.table`", None),
    (exp.Table, "when"): (_NO, "a table is asked as it is", None),
    (exp.Column, "db"): (_NO, "a column is named `column` or `table.column`", "use the alias"),
    (exp.Group, "cube"): (_NO, "WITH CUBE is not answered", "GROUP BY CUBE (a, b)"),
    (exp.Group, "rollup"): (_NO, "WITH ROLLUP is not answered", "GROUP BY ROLLUP (a, b)"),
    (exp.Group, "grouping_sets"): (_NO, "this form is not answered", "GROUP BY GROUPING SETS ((a), (b))"),
    (exp.In, "field"): (_NO, "IN takes a list of values", "write IN (…)"),
    (exp.In, "unnest"): (_NO, "IN takes a list of values", "write IN (…)"),
    (exp.Count, "expressions"): (_NO, "COUNT takes one argument", None),
    (exp.Limit, "limit_options"): (_NO, "LIMIT takes a number of rows", _ABOVE),
    (exp.DataType, "expressions"): (_NO, "write the type without its size", None),
    (exp.Star, "except_"): _STAR,
    (exp.Star, "replace"): _STAR,
    (exp.Star, "rename"): _STAR,
}

_INSTEAD: Final[dict[str, str]] = {
    "percentile_disc": "QUANTILE_CONT(x, 0.9)",
    "approx_quantile": "QUANTILE_CONT(x, 0.9)",
    "approx_distinct": "COUNT(DISTINCT x)",
    "approx_count_distinct": "COUNT(DISTINCT x)",
    "mode": "COUNT(*) with GROUP BY tells how often each value occurs",
    "histogram": "COUNT(*) with GROUP BY, by `bin(x)` where x is a measure",
    "mad": "QUANTILE_CONT(x, 0.25) and QUANTILE_CONT(x, 0.75) tell how values spread",
    "bool_and": "COUNT_IF(NOT condition) is 0 where all hold",
    "logical_and": "COUNT_IF(NOT condition) is 0 where all hold",
    "bool_or": "COUNT_IF(condition)",
    "logical_or": "COUNT_IF(condition)",
}
"""Aggregate that is not answered -> what tells the same or nearly so."""


def object_to_statement(tree: exp.Expr, text: str) -> Refusal:
    """A statement that is no SELECT."""
    known = _CLASSES.get(type(tree))
    if known and known[0] == "construct_not_allowed":
        code, message, hint = known
        return Refusal(code, message, hint=hint, at=place(text, tree))
    first = text.strip().split(None, 1)[0][:20]
    return Refusal("statement_not_allowed", f"`{first}` is no question: {_ONE_SELECT}", hint="write SELECT …")


def object_to_class(node: exp.Expr, text: str) -> Refusal:
    """A construct that is not listed, or that stands where it may not."""
    at = place(text, node)
    if type(node) in (exp.Star, exp.Columns) and _in_select_list_of_query(node):
        return _whole_rows(at)
    if type(node) is exp.Array and type(node.parent) in (exp.Quantile, exp.PercentileCont):
        instead = "QUANTILE_CONT(x, 0.25), QUANTILE_CONT(x, 0.75)"
        return Refusal("construct_not_allowed", "quantiles are asked one by one", hint=instead, at=at)
    if type(node) in _CLASSES:
        code, message, hint = _CLASSES[type(node)]
        return Refusal(code, message, hint=hint, at=at)
    if isinstance(node, exp.Func):
        return _object_to_function(node, text)
    return Refusal("construct_not_allowed", f"`{words(text, node)}` is not part of the accepted language", at=at)


def _whole_rows(at: Position | None) -> Refusal:
    instead = "aggregate the columns you want: AVG(x), SUM(x), COUNT(*)"
    return Refusal("aggregate_required", "whole rows do not leave", hint=instead, at=at)


def _in_select_list_of_query(node: exp.Expr) -> bool:
    above = node.parent.parent if node.parent is not None and type(node.parent) is exp.Column else node.parent
    return type(above) is exp.Select and above.parent is None


def function_name(node: exp.Expr) -> str:
    """The name of a function call in lower case, as most engines write it."""
    if type(node) in (exp.Anonymous, exp.AnonymousAggFunc):
        return str(node.args.get("this")).lower()
    return node.sql_name().lower() if isinstance(node, exp.Func) else ""


def _object_to_function(node: exp.Func, text: str) -> Refusal:
    at, name = place(text, node), function_name(node)
    written = words(text, node).partition("(")[0].strip() or name
    if name in functions.OTHER_AGGREGATES:
        hint = _INSTEAD.get(name, f"aggregates: {functions.AGGREGATE_NAMES}")
        return Refusal("aggregate_not_allowed", f"`{written}` is not answered", hint=hint, at=at)
    return Refusal("function_not_allowed", f"`{written}` is not answered", hint=f"functions: {functions.NAMES}", at=at)


def object_to_argument(node: exp.Expr, argument: str, text: str) -> Refusal:
    """A part of a listed construct that is itself not listed."""
    at = place(text, node)
    if type(node) is exp.Star and _in_select_list_of_query(node):
        return _whole_rows(at)
    if (known := _ARGUMENTS.get((type(node), argument))) is not None:
        code, message, hint = known
        return Refusal(code, message, hint=hint, at=at)
    if isinstance(node, exp.Func):
        return Refusal("function_not_allowed", f"`{words(text, node)}` is not answered in this form", at=at)
    return Refusal("construct_not_allowed", f"`{words(text, node)}` holds a part that is not accepted", at=at)
