"""The closed list of functions: how each is written, and which function of the model it is."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from sandbox.relational.expressions import CLOCK_PARTS, DATE_PARTS
from sandbox.relational.nodes import MeasureFunction

PLAIN: Final[dict[type[exp.Expr], str]] = {
    exp.Add: "add",
    exp.Sub: "subtract",
    exp.Mul: "multiply",
    exp.Div: "divide",
    exp.Mod: "modulo",
    exp.IntDiv: "int_divide",
    exp.EQ: "equal",
    exp.NEQ: "not_equal",
    exp.LT: "less",
    exp.LTE: "less_equal",
    exp.GT: "greater",
    exp.GTE: "greater_equal",
}
"""Operators with a left (`this`) and a right side (`expression`)."""

ONE_ARGUMENT: Final[dict[type[exp.Expr], str]] = {
    exp.Neg: "negate",
    exp.Abs: "abs",
    exp.Floor: "floor",
    exp.Ceil: "ceil",
    exp.Year: "year",
    exp.Quarter: "quarter",
    exp.Month: "month",
    exp.Week: "week",
    exp.WeekOfYear: "week",
    exp.Day: "day",
    exp.DayOfMonth: "day",
    exp.DayOfWeekIso: "day_of_week",
    exp.DayOfYear: "day_of_year",
    exp.Hour: "hour",
    exp.Minute: "minute",
    exp.Second: "second",
    exp.Sign: "sign",
    exp.Sqrt: "sqrt",
    exp.Ln: "ln",
    exp.Exp: "exp",
    exp.Lower: "lower",
    exp.Upper: "upper",
    exp.Length: "length",
}

MANY_ARGUMENTS: Final[dict[type[exp.Expr], str]] = {
    exp.Coalesce: "coalesce",
    exp.Least: "least",
    exp.Greatest: "greatest",
}

TEXT_TESTS: Final[dict[type[exp.Expr], str]] = {
    exp.Like: "like",
    exp.ILike: "ilike",
    exp.StartsWith: "starts_with",
    exp.EndsWith: "ends_with",
    exp.Contains: "contains",
}
TEXT_TESTS_BY_NAME: Final[dict[str, str]] = {"prefix": "starts_with", "suffix": "ends_with"}

CASTS: Final[dict[str, str]] = {
    "INT": "to_integer",
    "BIGINT": "to_integer",
    "DOUBLE": "to_double",
    "FLOAT": "to_double",
    "DATE": "to_date",
}
"""Types that columns are cast to."""

BY_NAME: Final[dict[str, int]] = {
    **dict.fromkeys(("decade", "bin", "weekday", "mean"), 1),
    **dict.fromkeys(("date_part", "datepart", *TEXT_TESTS_BY_NAME), 2),
}
"""Functions that the parser has no class for, with their number of arguments."""

ONE_NUMBER: Final[dict[str, MeasureFunction]] = {
    "sum": "sum",
    "avg": "avg",
    "mean": "avg",
    "var_samp": "var_samp",
    "var_pop": "var_pop",
    "stddev": "stddev_samp",
    "stddev_samp": "stddev_samp",
    "stddev_pop": "stddev_pop",
}
TWO_NUMBERS: Final[dict[str, MeasureFunction]] = {
    "covar_pop": "covar_pop",
    "covar_samp": "covar_samp",
    "corr": "corr",
    "regr_slope": "regr_slope",
    "regr_intercept": "regr_intercept",
}
EXTREMES: Final[dict[str, MeasureFunction]] = {"min": "min", "max": "max"}
_AGGREGATES: Final[dict[type[exp.Expr], str]] = {
    exp.Count: "count",
    exp.CountIf: "count_if",
    exp.Sum: "sum",
    exp.Avg: "avg",
    exp.Variance: "var_samp",
    exp.VariancePop: "var_pop",
    exp.Stddev: "stddev",
    exp.StddevSamp: "stddev_samp",
    exp.StddevPop: "stddev_pop",
    exp.CovarPop: "covar_pop",
    exp.CovarSamp: "covar_samp",
    exp.Corr: "corr",
    exp.RegrSlope: "regr_slope",
    exp.RegrIntercept: "regr_intercept",
    exp.Median: "median",
    exp.Quantile: "quantile",
    exp.PercentileCont: "quantile",
    exp.WithinGroup: "percentile_cont",
    exp.Min: "min",
    exp.Max: "max",
}
_AGGREGATES_BY_NAME: Final = ("mean",)
"""Aggregates that the parser has no class for; all take one argument."""

OTHER_AGGREGATES: Final = frozenset(
    {"approx_distinct", "mode", "any_value", "first", "last", "arg_max", "arg_min", "array_agg", "list", "string_agg"}
    | {"group_concat", "histogram", "product", "bool_and", "bool_or", "logical_and", "logical_or", "percentile_disc"}
    | {"approx_quantile", "approx_count_distinct", "mad", "entropy", "skewness", "kurtosis", "bit_xor"}
)
"""Aggregates that others know and this version does not answer; named only to refuse them in the right words."""

AGGREGATE_NAMES: Final = (
    "count, count_if, sum, avg, median, quantile_cont, percentile_cont, var_samp, var_pop, stddev_samp, stddev_pop, "
    "covar_samp, covar_pop, corr, regr_slope, regr_intercept, min, max"
)
"""The list in words, for hints and the reference page."""


def is_aggregate(node: exp.Expr) -> bool:
    """Whether `node` is an aggregate of the accepted language, with or without FILTER."""
    if type(node) is exp.Anonymous:
        return str(node.args["this"]).lower() in _AGGREGATES_BY_NAME
    return type(node) is exp.Filter or type(node) in _AGGREGATES


def aggregate_name(node: exp.Expr) -> str:
    """The name of an aggregate in lower case, as far as the parser keeps it; empty for what is none."""
    if type(node) is exp.Filter:
        return aggregate_name(node.args["this"])
    return str(node.args["this"]).lower() if type(node) is exp.Anonymous else _AGGREGATES.get(type(node), "")


PARTS: Final[dict[str, str]] = {
    **{part: part for part in (*DATE_PARTS, *CLOCK_PARTS)},
    **dict.fromkeys(("dow", "dayofweek", "weekday"), "day_of_week"),
    "isodow": "day_of_week",
    **dict.fromkeys(("doy", "dayofyear"), "day_of_year"),
}
"""Units of `date_part` and `extract`, and the functions that they are, but for the engine's own count of weekdays."""
TRUNCATIONS: Final[dict[str, str]] = {unit: unit for unit in (*DATE_PARTS, "hour")}
"""Units of `date_trunc`."""

NAMES: Final = (
    "year, quarter, month, week, day, decade, dayofweek, isodow, dayofyear, hour, minute, second, date_part, "
    "date_trunc, extract, date_diff, date_add, bin, abs, floor, ceil, round, sign, sqrt, ln, log, exp, power, least, "
    "greatest, lower, upper, length, trim, ltrim, rtrim, left, right, substring, concat, starts_with, contains, "
    "ends_with, coalesce, nullif, if, cast"
)
"""The list in words, for hints and the reference page."""
