"""What is said about a construct that is not accepted: code, words, a way out. Decides nothing.

`grammar.py` has already refused when it asks here, so an entry that is missing costs words, never safety.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import functions
from gateway.sql.position import place, words

_ONE_SELECT = "a query is one SELECT over tables of one dataset"
_ABOVE = "aggregate first, then order or limit the answer"

_CLASSES: Final[dict[type[exp.Expr], tuple[str, str, str | None]]] = {
    exp.Window: ("construct_not_allowed", "window functions are not answered", "use GROUP BY and an aggregate"),
    exp.Distinct: ("construct_not_allowed", "DISTINCT is not answered here", "COUNT(DISTINCT unit), or GROUP BY"),
    exp.Union: ("construct_not_allowed", "UNION is not answered", "ask two queries"),
    exp.Except: ("construct_not_allowed", "EXCEPT is not answered", _ONE_SELECT),
    exp.Intersect: ("construct_not_allowed", "INTERSECT is not answered", "say the conditions in one WHERE"),
    exp.Subquery: (
        "construct_not_allowed",
        "a subquery stands in FROM only",
        "join the tables instead, or put the subquery in FROM",
    ),
    exp.Select: (
        "construct_not_allowed",
        "a subquery stands in FROM only",
        "join the tables instead, or put the subquery in FROM",
    ),
    exp.Exists: ("construct_not_allowed", "EXISTS is not answered", "join the table instead"),
    exp.Any: ("construct_not_allowed", "ANY is not answered", "list the values with IN"),
    exp.All: ("construct_not_allowed", "ALL is not answered", "list the values with IN"),
    exp.Order: ("construct_not_allowed", "ORDER BY inside an aggregate is not answered", "order the answer instead"),
    exp.Columns: ("construct_not_allowed", "COLUMNS is not answered", "name the columns"),
    exp.Star: ("construct_not_allowed", "`*` stands in COUNT(*) only", "name the columns"),
    exp.ILike: ("construct_not_allowed", "ILIKE is not answered", "write LIKE"),
    exp.Escape: ("construct_not_allowed", "LIKE takes no ESCAPE", "`%` and `_` are always wildcards"),
    exp.TryCast: ("construct_not_allowed", "TRY_CAST is not answered", "columns have their type; see the catalogue"),
    exp.Mod: ("construct_not_allowed", "`%` is not answered", "use floor(x / n) or bin(x)"),
    exp.IntDiv: ("construct_not_allowed", "`//` is not answered", "write floor(x / n)"),
    exp.Interval: ("construct_not_allowed", "intervals are not answered", "compare with a date, or use date_trunc"),
    exp.DPipe: ("construct_not_allowed", "text is not put together", "group by the columns themselves"),
    exp.Lateral: ("join_not_allowed", "LATERAL is not answered", "join with ON"),
    exp.TableSample: ("construct_not_allowed", "samples are not answered", "filter with WHERE"),
    exp.Pivot: ("construct_not_allowed", "PIVOT is not answered", "use GROUP BY"),
    exp.Values: ("construct_not_allowed", "VALUES is not answered", "list the values with IN"),
    exp.Unnest: ("construct_not_allowed", "UNNEST is not answered", None),
    exp.Tuple: ("construct_not_allowed", "tuples are not answered", "name the columns one by one"),
    exp.Bracket: ("construct_not_allowed", "element access is not answered", None),
    exp.Lambda: ("construct_not_allowed", "lambdas are not answered", None),
    exp.Dot: ("construct_not_allowed", "field access is not answered", "write `table.column`"),
    exp.NullSafeEQ: ("construct_not_allowed", "IS NOT DISTINCT FROM is not answered", "write `=` and IS NULL"),
    exp.NullSafeNEQ: ("construct_not_allowed", "IS DISTINCT FROM is not answered", "write `<>` and IS NULL"),
    exp.Cube: ("construct_not_allowed", "CUBE is not answered", "ask one query for each grouping"),
    exp.Rollup: ("construct_not_allowed", "ROLLUP is not answered", "ask one query for each grouping"),
    exp.GroupingSets: ("construct_not_allowed", "GROUPING SETS is not answered", "ask one query for each grouping"),
    exp.Var: ("construct_not_allowed", "this keyword is not answered here", "name the columns"),
}

_ARGUMENTS: Final[dict[tuple[type[exp.Expr], str], tuple[str, str, str | None]]] = {
    (exp.Select, "distinct"): ("construct_not_allowed", "SELECT DISTINCT is not answered", "use GROUP BY"),
    (exp.Select, "qualify"): ("construct_not_allowed", "QUALIFY is not answered", "use HAVING"),
    (exp.Select, "windows"): ("construct_not_allowed", "window functions are not answered", "use GROUP BY"),
    (exp.Select, "sample"): ("construct_not_allowed", "samples are not answered", "filter with WHERE"),
    (exp.Select, "into"): ("statement_not_allowed", "a query writes nothing", _ONE_SELECT),
    (exp.Select, "locks"): ("construct_not_allowed", "a query locks nothing", None),
    (exp.Select, "laterals"): ("join_not_allowed", "LATERAL is not answered", "join with ON"),
    (exp.Select, "hint"): ("construct_not_allowed", "hints are not answered", "leave the hint out"),
    (exp.With, "recursive"): ("construct_not_allowed", "recursive CTEs are not answered", "write plain WITH"),
    (exp.Join, "method"): ("join_not_allowed", "this kind of join is not answered", "join with ON and `=`"),
    (exp.Table, "sample"): ("construct_not_allowed", "samples are not answered", "filter with WHERE"),
    (exp.Table, "pivots"): ("construct_not_allowed", "PIVOT is not answered", "use GROUP BY"),
    (exp.Table, "joins"): ("join_not_allowed", "nested joins are not answered", "join one table after the other"),
    (exp.Table, "catalog"): ("construct_not_allowed", "a table is named `table` or `dataset.table`", None),
    (exp.Table, "when"): ("construct_not_allowed", "a table is asked as it is", None),
    (exp.Column, "db"): ("construct_not_allowed", "a column is named `column` or `table.column`", "use the alias"),
    (exp.Group, "all"): ("construct_not_allowed", "GROUP BY ALL is not answered", "name the columns"),
    (exp.Group, "cube"): ("construct_not_allowed", "CUBE is not answered", "ask one query for each grouping"),
    (exp.Group, "rollup"): ("construct_not_allowed", "ROLLUP is not answered", "ask one query for each grouping"),
    (exp.Group, "grouping_sets"): (
        "construct_not_allowed",
        "GROUPING SETS is not answered",
        "ask one query for each grouping",
    ),
    (exp.In, "query"): ("construct_not_allowed", "IN with a subquery is not answered", "join the table instead"),
    (exp.In, "field"): ("construct_not_allowed", "IN takes a list of values", "write IN (…)"),
    (exp.In, "unnest"): ("construct_not_allowed", "IN takes a list of values", "write IN (…)"),
    (exp.Count, "expressions"): ("construct_not_allowed", "COUNT takes one argument", None),
    (exp.Limit, "limit_options"): ("construct_not_allowed", "LIMIT takes a number of rows", _ABOVE),
    (exp.DataType, "expressions"): ("construct_not_allowed", "write the type without its size", None),
    (exp.Star, "except_"): ("construct_not_allowed", "`*` stands in COUNT(*) only", "name the columns"),
    (exp.Star, "replace"): ("construct_not_allowed", "`*` stands in COUNT(*) only", "name the columns"),
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
        instead = "aggregate the columns you want: AVG(x), SUM(x), COUNT(*)"
        return Refusal("aggregate_required", "whole rows do not leave", hint=instead, at=at)
    if type(node) is exp.Array and type(node.parent) in (exp.Quantile, exp.PercentileCont):
        instead = "QUANTILE_CONT(x, 0.25), QUANTILE_CONT(x, 0.75)"
        return Refusal("construct_not_allowed", "quantiles are asked one by one", hint=instead, at=at)
    if type(node) in _CLASSES:
        code, message, hint = _CLASSES[type(node)]
        return Refusal(code, message, hint=hint, at=at)
    if isinstance(node, exp.Func):
        return _object_to_function(node, text)
    return Refusal("construct_not_allowed", f"`{words(text, node)}` is not part of the accepted language", at=at)


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
    if (known := _ARGUMENTS.get((type(node), argument))) is not None:
        code, message, hint = known
        return Refusal(code, message, hint=hint, at=at)
    if isinstance(node, exp.Func):
        return Refusal("function_not_allowed", f"`{words(text, node)}` is not answered in this form", at=at)
    return Refusal("construct_not_allowed", f"`{words(text, node)}` holds a part that is not accepted", at=at)
