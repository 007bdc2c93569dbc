"""Names of the answer's columns where the query gives none: words, without signs that clients must quote."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from gateway.sql import functions

_CALLED = (
    *(exp.DayOfWeek, exp.DateDiff, exp.DateAdd, exp.Left, exp.Right, exp.Substring, exp.Trim, exp.Concat),
    *(exp.Log, exp.Pow, exp.Cast, exp.TryCast, exp.Coalesce, exp.Round),
)


def output_names(items: Sequence[exp.Expr]) -> list[str]:
    """One name for each entry of a select list. Given names stay as they are, made ones are made distinct."""
    names: list[str] = []
    taken = {given for item in items if (given := given_name(item)) is not None}
    for place, item in enumerate(items, start=1):
        name = given_name(item)
        if name is None:
            name = base = _made_name(item) or f"column_{place}"
            count = 1
            while name in taken:
                count += 1
                name = f"{base}_{count}"
            taken.add(name)
        names.append(name)
    return names


def given_name(item: exp.Expr) -> str | None:
    """The alias of an entry, or the name of a bare column."""
    if type(item) is exp.Alias:
        return str(item.args["alias"].args["this"])
    return str(item.args["this"].args["this"]) if type(item) is exp.Column else None


def value_of(item: exp.Expr) -> exp.Expr:
    """An entry of a select list without its alias."""
    return item.this if type(item) is exp.Alias else item


def _made_name(item: exp.Expr) -> str | None:
    if type(item) is exp.Filter:
        return _made_name(item.args["this"])
    kind = type(item)
    word = functions.aggregate_name(item) or functions.ONE_ARGUMENT.get(kind)
    if isinstance(item, _CALLED):
        word = item.sql_name().lower()
    if kind in (exp.TimestampTrunc, exp.DateTrunc):
        word = str(item.args["unit"].args["this"]).lower()
    if kind is exp.Extract:
        word = str(item.args["this"].args["this"]).lower()
    if kind is exp.Anonymous and len(item.args["expressions"]) == 1:
        word = str(item.args["this"]).lower()
    if word is None or word == "negate":
        return None
    columns = list(item.find_all(exp.Column))
    return f"{word}_{given_name(columns[0])}" if len(columns) == 1 else word
