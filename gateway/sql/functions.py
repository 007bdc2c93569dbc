"""The closed list of functions: how each is written, and which function of the model it is."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from sandbox.relational.expressions import DATE_PARTS

PLAIN: Final[dict[type[exp.Expr], str]] = {
    exp.Add: "add",
    exp.Sub: "subtract",
    exp.Mul: "multiply",
    exp.Div: "divide",
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
}

MANY_ARGUMENTS: Final[dict[type[exp.Expr], str]] = {
    exp.Coalesce: "coalesce",
    exp.Least: "least",
    exp.Greatest: "greatest",
}

BY_NAME: Final[dict[str, int]] = {"decade": 1, "bin": 1, "date_part": 2, "datepart": 2}
"""Functions that the parser has no class for, with their number of arguments."""

AGGREGATES: Final[dict[type[exp.Expr], str]] = {exp.Count: "count", exp.Sum: "sum", exp.Avg: "avg"}

OTHER_AGGREGATES: Final = frozenset(
    {"min", "max", "median", "quantile", "quantile_cont", "percentile_cont", "stddev", "stddev_samp", "stddev_pop"}
    | {"variance", "var_samp", "var_pop", "variance_pop", "corr", "covar_pop", "covar_samp", "approx_distinct"}
    | {"mode", "any_value", "first", "last", "arg_max", "arg_min", "array_agg", "list", "string_agg", "group_concat"}
    | {"histogram", "product", "bool_and", "bool_or", "logical_and", "logical_or", "mean", "percentile_disc"}
    | {"approx_quantile", "approx_count_distinct", "count_if", "mad", "entropy", "skewness", "kurtosis", "bit_xor"}
)
"""Aggregates that others know and this version does not answer; named only to refuse them in the right words."""

UNITS: Final = frozenset(DATE_PARTS)
"""Units of `date_part`, `extract` and `date_trunc`."""

NAMES: Final = (
    "count, sum, avg, year, quarter, month, week, day, decade, date_part, date_trunc, extract, bin, abs, floor, ceil, "
    "round, least, greatest, coalesce, nullif, if"
)
"""The list in words, for hints and the reference page."""
