"""Each function of the closed list as DuckDB SQL that cannot raise, under any setting of the engine.

An argument is written once in what it becomes, so that no nest of functions grows beyond its own size. Where a
function is not defined, its argument becomes null beforehand: `nullif(greatest(x, 0), 0)` is null for 0 and below, and
for null, which `greatest` passes over.
Source: docs/explanation/guarantees/scalars.md
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from policies.types import DATE, TIMESTAMP
from sandbox.relational import calendar
from sandbox.relational.expressions import Call, Literal
from sandbox.relational.facts import ColumnFacts
from sandbox.relational.functions.texts import CONCAT_MAX
from sandbox.relational.functions.times import step_count, step_name
from sandbox.relational.lower.constants import double, moment, text

Write = Callable[[Call, list[str], list[ColumnFacts]], str]
"""(call, its arguments as SQL, their facts) -> SQL."""


def as_number(written: str) -> str:
    return f"CAST({written} AS DOUBLE)"


def _numbers(rule: Callable[..., str]) -> Write:
    """Over arguments as DOUBLE: no arithmetic on whole numbers can overflow."""
    return lambda call, written, parts: rule(*(as_number(each) for each in written))


def _plain(rule: Callable[..., str]) -> Write:
    return lambda call, written, parts: rule(*written)


def _function(name: str) -> Write:
    return _numbers(lambda *written: f"{name}({', '.join(written)})")


def _positive(x: str) -> str:
    """`x` where it is above 0, else null."""
    return f"nullif(greatest({x}, {_ZERO}), {_ZERO})"


def _not_negative(x: str) -> str:
    """`x` where it is 0 or more, else null: no double lies between 0 and the one just below."""
    return f"nullif(greatest({x}, {_BELOW_ZERO}), {_BELOW_ZERO})"


_ZERO = double(0)
_BELOW_ZERO = "CAST('-5e-324' AS DOUBLE)"
EXP_MAX = 709
"""Beyond it `exp` overflows."""


def _exp(x: str) -> str:
    return f"exp(nullif(least({x}, {double(EXP_MAX)}), {double(EXP_MAX)}))"


def _power(call: Call, written: list[str], parts: list[ColumnFacts]) -> str:
    exponent = Fraction(_constant(call, 1))
    x = as_number(written[0])
    if exponent.denominator != 1:
        x = _not_negative(x) if exponent > 0 else _positive(x)
    elif exponent < 0:
        x = f"nullif({x}, {_ZERO})"
    return f"pow({x}, {double(exponent)})"


def _constant(call: Call, place: int) -> int | Decimal:
    found = call.arguments[place]
    value = found.value if isinstance(found, Literal) else None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError(f"`{call.function}` was given no constant")
    return value


def _round(call: Call, written: list[str], parts: list[ColumnFacts]) -> str:
    digits = _constant(call, 1) if len(written) > 1 else 0
    return f"round({as_number(written[0])}, {digits})"


def _bin(call: Call, written: list[str], parts: list[ColumnFacts]) -> str:
    """Half-open bins, the last one closed; the key is the lower edge, as DOUBLE."""
    edges = parts[0].bins or ()
    x, body = as_number(written[0]), ""
    for i, (low, high) in enumerate(pairwise(edges)):
        upper = "<=" if i == len(edges) - 2 else "<"
        body += f" WHEN {x} >= {double(low)} AND {x} {upper} {double(high)} THEN {double(low)}"
    return f"CASE{body} ELSE NULL END"


def _part(call: Call, written: list[str], parts: list[ColumnFacts]) -> str:
    return f"CAST({_PARTS[call.function]}({written[0]}) AS BIGINT)"


_PARTS = {
    "year": "year",
    "quarter": "quarter",
    "month": "month",
    "week": "weekofyear",
    "day": "day",
    "day_of_week": "isodow",
    "day_of_year": "dayofyear",
    "hour": "hour",
    "minute": "minute",
    "second": "second",
}


def _decade(x: str) -> str:
    return f"CAST(floor(CAST(year({x}) AS DOUBLE) / 10) * 10 AS BIGINT)"


def truncated(part: str, day: str) -> str:
    """The first day of `part`. The decade of the years 1 to 9 starts in year 1: year 0 is no date outside the engine,
    and a row that cannot be returned would fail the whole answer. |y - 0.5| + 0.5 is 1 for year 0, else y."""
    if part == "decade":
        return f"make_date(CAST(abs({_decade(day)} - 0.5) + 0.5 AS BIGINT), 1, 1)"
    return f"TRY_CAST(date_trunc({text(part)}, {day}) AS DATE)"


def _truncation(call: Call, written: list[str], parts: list[ColumnFacts]) -> str:
    return truncated(call.function.removeprefix("trunc_"), written[0])


def _difference(call: Call, written: list[str], parts: list[ColumnFacts]) -> str:
    first, last = (f"CAST({each} AS TIMESTAMP)" for each in written[1:])
    return f"CAST(date_diff({text(step_name(call, 0))}, {first}, {last}) AS BIGINT)"


def _addition(call: Call, written: list[str], parts: list[ColumnFacts]) -> str:
    """Null where the result would leave the years 1 to 9999: such a moment cannot be returned."""
    unit, count = step_name(call, 2), step_count(call)
    early, late = calendar.reach(unit, count)
    x = written[0]
    if early is not None:
        edge = _edge(early, parts[0])
        x = f"nullif(greatest({x}, {edge}), {edge})"
    if late is not None:
        edge = _edge(late, parts[0])
        x = f"nullif(least({x}, {edge}), {edge})"
    moved = f"({x} + INTERVAL ({count}) {unit.upper()})"
    return f"CAST({moved} AS {'DATE' if parts[0].type == DATE else 'TIMESTAMP'})"


def _edge(edge: datetime, found: ColumnFacts) -> str:
    return moment(edge if found.type == TIMESTAMP else edge.date())


def _trimmed(name: str) -> Write:
    return _plain(lambda x: f"{name}({x})")


def _piece(call: Call, written: list[str], parts: list[ColumnFacts]) -> str:
    counts = [str(_constant(call, place)) for place in range(1, len(written))]
    return f"{call.function}({', '.join([written[0], *counts])})"


def _concat(*written: str) -> str:
    """Each part is cut before it is joined to the ones before: else what is joined in between would grow with the
    square of their number, and a unit with a few thousand long texts could fill the memory."""
    first, *others = (f"left({each}, {CONCAT_MAX})" for each in written)
    for other in others:
        first = f"left({first} || {other}, {CONCAT_MAX})"
    return first


def _infix(sign: str) -> Write:
    return _plain(lambda a, b: f"({a} {sign} {b})")


def _called(name: str) -> Write:
    return _plain(lambda *written: f"{name}({', '.join(written)})")


OPERATORS: dict[str, Callable[[str, str], str]] = {
    "add": lambda a, b: f"({a} + {b})",
    "subtract": lambda a, b: f"({a} - {b})",
    "multiply": lambda a, b: f"({a} * {b})",
    "divide": lambda a, b: f"({a} / nullif({b}, 0))",
    "modulo": lambda a, b: f"({a} % nullif({b}, 0))",
    "int_divide": lambda a, b: f"trunc({a} / nullif({b}, 0))",
}
WRITERS: dict[str, Write] = {
    **{name: _numbers(lambda a, b, name=name: OPERATORS[name](a, b)) for name in OPERATORS},
    "negate": _numbers(lambda x: f"(- {x})"),
    "round": _round,
    **{name: _function(name) for name in ("abs", "floor", "ceil", "least", "greatest")},
    "sign": _numbers(lambda x: f"CAST(sign({x}) AS BIGINT)"),
    "sqrt": _numbers(lambda x: f"sqrt({_not_negative(x)})"),
    **{name: _numbers(lambda x, name=name: f"{name}({_positive(x)})") for name in ("ln", "log10", "log2")},
    "exp": _numbers(_exp),
    "power": _power,
    "bin": _bin,
    "to_integer": _plain(lambda x: f"TRY_CAST({x} AS BIGINT)"),
    "to_double": _plain(lambda x: f"TRY_CAST({x} AS DOUBLE)"),
    "to_date": _plain(lambda x: f"TRY_CAST({x} AS DATE)"),
    "and": _plain(lambda *written: f"({' AND '.join(written)})"),
    "or": _plain(lambda *written: f"({' OR '.join(written)})"),
    "not": _plain(lambda x: f"(NOT {x})"),
    "is_null": _plain(lambda x: f"({x} IS NULL)"),
    "like": _infix("LIKE"),
    "ilike": _infix("ILIKE"),
    **{name: _called(name) for name in ("starts_with", "contains", "ends_with", "lower", "upper", "length", "trim")},
    "trim_start": _called("ltrim"),
    "trim_end": _called("rtrim"),
    **dict.fromkeys(("left", "right", "substring"), _piece),
    "concat": _plain(_concat),
    **dict.fromkeys(_PARTS, _part),
    "decade": _plain(_decade),
    **{f"trunc_{unit}": _truncation for unit in calendar.START},
    "trunc_hour": _plain(lambda x: f"date_trunc('hour', {x})"),
    "date_diff": _difference,
    "date_add": _addition,
}
