"""Functions whose arguments are more than values: units, digits, lengths, patterns, types, intervals."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final, Protocol

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import functions, literals, typed
from gateway.sql.reading import Reading
from gateway.sql.typed import Typed
from sandbox.relational.expressions import TIME_STEPS, Literal, Position

_DIGITS_MAX: Final = 12
_LENGTH_MAX: Final = 10_000
_POWER_MAX: Final = 16
_STEPS_MAX: Final = 100_000


class Reads(Protocol):
    """What reads the arguments: `gateway.sql.scalar.Scalar`."""

    @property
    def reading(self) -> Reading: ...

    def read(self, node: exp.Expr) -> Typed: ...

    def constant(self, node: exp.Expr, wanted: str) -> Typed: ...


def _whole(scalar: Reads, node: exp.Expr, wanted: str, low: int, high: int) -> Typed:
    """A whole constant from `low` to `high`."""
    value = scalar.constant(node, wanted)
    number = value.expression.value if isinstance(value.expression, Literal) else None
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        message = f"{wanted} is a whole number from {low} to {high}"
        raise Refusal("construct_not_allowed", message, at=scalar.reading.at(node))
    return value


# -- numbers ----------------------------------------------------------------------------------------------------


def _rounding(scalar: Reads, node: exp.Expr) -> Typed:
    parts = [scalar.read(node.args["this"])]
    if (digits := node.args.get("decimals")) is not None:
        parts.append(_whole(scalar, digits, "the number of digits of round", 0, _DIGITS_MAX))
    return typed.call("round", parts, scalar.reading.at(node))


def _logarithm(scalar: Reads, node: exp.Expr) -> Typed:
    """`log(x)` is to base 10, as in the engine; `log(2, x)` to base 2."""
    at, first, second = scalar.reading.at(node), scalar.read(node.args["this"]), node.args.get("expression")
    if second is None:
        return typed.call("log10", (first,), at)
    base = first.expression.value if isinstance(first.expression, Literal) else None
    if base not in (2, 10) or isinstance(base, bool):
        raise Refusal("function_not_allowed", "the base of a logarithm is 2 or 10", hint="ln(x) / ln(b)", at=at)
    return typed.call(f"log{base}", (scalar.read(second),), at)


def _power(scalar: Reads, node: exp.Expr) -> Typed:
    at, power = scalar.reading.at(node), scalar.constant(node.args["expression"], "the exponent of a power")
    number = power.expression.value if isinstance(power.expression, Literal) else None
    if isinstance(number, bool) or not isinstance(number, int | Decimal) or not -_POWER_MAX <= number <= _POWER_MAX:
        message = f"the exponent of a power lies between -{_POWER_MAX} and {_POWER_MAX}"
        raise Refusal("construct_not_allowed", message, hint="x ** 2", at=at)
    return typed.call("power", (scalar.read(node.args["this"]), power), at)


# -- text -------------------------------------------------------------------------------------------------------


def _pattern(scalar: Reads, node: exp.Expr) -> Typed:
    """Tests of text against a constant."""
    at, function = scalar.reading.at(node), functions.TEXT_TESTS[type(node)]
    pattern = scalar.constant(node.args["expression"], "what text is compared with here")
    found = typed.call(function, (scalar.read(node.args["this"]), pattern), at)
    return typed.call("not", (found,), at) if node.args.get("negate") else found


def _trim(scalar: Reads, node: exp.Expr) -> Typed:
    at, position = scalar.reading.at(node), str(node.args.get("position") or "").upper()
    if node.args.get("expression") is not None:
        raise Refusal("function_not_allowed", "trim takes blanks away, nothing else", hint="trim(x)", at=at)
    function = {"LEADING": "trim_start", "TRAILING": "trim_end"}.get(position, "trim")
    return typed.call(function, (scalar.read(node.args["this"]),), at)


def _end(scalar: Reads, node: exp.Expr) -> Typed:
    function = "left" if type(node) is exp.Left else "right"
    length = _whole(scalar, node.args["expression"], f"the length of {function}", 0, _LENGTH_MAX)
    return typed.call(function, (scalar.read(node.args["this"]), length), scalar.reading.at(node))


def _substring(scalar: Reads, node: exp.Expr) -> Typed:
    at, start, length = scalar.reading.at(node), node.args.get("start"), node.args.get("length")
    if start is None:
        raise Refusal("construct_not_allowed", "substring takes a start", hint="substring(x, 1, 3)", at=at)
    parts = [scalar.read(node.args["this"]), _whole(scalar, start, "the start of substring", 1, _LENGTH_MAX)]
    if length is not None:
        parts.append(_whole(scalar, length, "the length of substring", 0, _LENGTH_MAX))
    return typed.call("substring", parts, at)


def _joined(scalar: Reads, node: exp.Expr) -> Typed:
    """`a || b` is null where a part is null; `concat(a, b)` takes such a part for empty."""
    at = scalar.reading.at(node)
    if type(node) is exp.DPipe:
        return typed.call("concat", (scalar.read(node.args["this"]), scalar.read(node.args["expression"])), at)
    empty = typed.constant(literals.text("", at))
    values = [scalar.read(part) for part in node.args["expressions"]]
    parts = [value if value.is_literal else typed.call("coalesce", (value, empty), at) for value in values]
    return typed.call("concat", parts, at) if len(parts) > 1 else parts[0]


# -- dates ------------------------------------------------------------------------------------------------------


def _extract(scalar: Reads, node: exp.Expr) -> Typed:
    return _part(scalar, node.args["this"], node.args["expression"], node)


def _named(scalar: Reads, node: exp.Expr) -> Typed:
    """Functions without a class of the parser's; `grammar.py` checked name and number of arguments."""
    name, arguments = str(node.args["this"]).lower(), node.args["expressions"]
    at = scalar.reading.at(node)
    if name in ("date_part", "datepart"):
        return _part(scalar, arguments[0], arguments[1], node)
    if name in functions.TEXT_TESTS_BY_NAME:
        pattern = scalar.constant(arguments[1], "what text is compared with here")
        return typed.call(functions.TEXT_TESTS_BY_NAME[name], (scalar.read(arguments[0]), pattern), at)
    if name == "weekday":
        return _day_of_week(scalar.read(arguments[0]), at)
    return typed.call(name, (scalar.read(arguments[0]),), at)


def _sunday_first(scalar: Reads, node: exp.Expr) -> Typed:
    return _day_of_week(scalar.read(node.args["this"]), scalar.reading.at(node))


def _day_of_week(day: Typed, at: Position | None) -> Typed:
    """The engine's own count: Sunday is 0, Saturday 6."""
    iso = typed.call("day_of_week", (day,), at)
    return typed.call("modulo", (iso, typed.constant(literals.exact(7, at))), at)


def _part(scalar: Reads, written: exp.Expr, day: exp.Expr, node: exp.Expr) -> Typed:
    unit, at = _unit(scalar, written, node, functions.PARTS), scalar.reading.at(node)
    if unit in ("dow", "dayofweek", "weekday"):
        return _day_of_week(scalar.read(day), at)
    return typed.call(functions.PARTS[unit], (scalar.read(day),), at)


def _truncation(scalar: Reads, node: exp.Expr) -> Typed:
    unit = _unit(scalar, node.args["unit"], node, functions.TRUNCATIONS)
    return typed.call(f"trunc_{unit}", (scalar.read(node.args["this"]),), scalar.reading.at(node))


def _unit(scalar: Reads, written: exp.Expr, node: exp.Expr, known: dict[str, str]) -> str:
    plain = type(written) is exp.Var or (type(written) is exp.Literal and bool(written.args.get("is_string")))
    unit = str(written.args["this"]).lower() if plain else ""
    unit = unit[: -len("(monday)")] if unit.endswith("(monday)") else unit
    if unit not in known:
        hint = "units: " + ", ".join(f"`{one}`" for one in sorted(known))
        raise Refusal("function_not_allowed", "dates are not cut by this unit", hint=hint, at=scalar.reading.at(node))
    return unit


def _difference(scalar: Reads, node: exp.Expr) -> Typed:
    """`date_diff('day', from, to)`; the parser keeps the last first."""
    at, unit = scalar.reading.at(node), _step(scalar, node.args.get("unit"), node)
    first, last = scalar.read(node.args["expression"]), scalar.read(node.args["this"])
    return typed.call("date_diff", (typed.constant(literals.text(unit, at)), first, last), at)


def _step(scalar: Reads, written: exp.Expr | None, node: exp.Expr) -> str:
    unit = str(written.args["this"]).lower() if type(written) in (exp.Var, exp.Literal) and written is not None else ""
    unit = unit.removesuffix("s")
    if unit not in TIME_STEPS:
        hint = "units: " + ", ".join(f"`{one}`" for one in TIME_STEPS)
        at = scalar.reading.at(node)
        raise Refusal("function_not_allowed", "dates are not moved by this unit", hint=hint, at=at)
    return unit


def moved(scalar: Reads, node: exp.Expr) -> Typed:
    """`x + INTERVAL n unit`, `x - INTERVAL n unit`, `date_add(x, INTERVAL n unit)`."""
    at, day, interval = scalar.reading.at(node), node.args["this"], node.args["expression"]
    if type(day) is exp.Interval and type(node) is exp.Add:
        day, interval = interval, day
    if type(interval) is not exp.Interval or type(day) is exp.Interval:
        raise Refusal("construct_not_allowed", "an interval is added to a date", hint="x + INTERVAL 1 DAY", at=at)
    unit, written = interval.args.get("unit"), interval.args.get("this")
    if written is None or unit is None:
        hint = "x + INTERVAL 1 DAY"
        raise Refusal("construct_not_allowed", "an interval is a number of one unit", hint=hint, at=at)
    return typed.moved(scalar.read(day), _count(scalar, written, node), _step(scalar, unit, node), at)


def _count(scalar: Reads, written: exp.Expr, node: exp.Expr) -> int:
    value = scalar.constant(written, "the length of an interval").expression
    number = value.value if isinstance(value, Literal) else None
    if isinstance(number, str) and number.strip().lstrip("+-").isdecimal() and len(number) < _LENGTH_MAX:
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or abs(number) > _STEPS_MAX:
        message = f"the length of an interval is a whole number of at most {_STEPS_MAX:,}"
        raise Refusal("construct_not_allowed", message, hint="INTERVAL 3 DAY", at=scalar.reading.at(node))
    return -number if type(node) is exp.Sub else number


# -- casts ------------------------------------------------------------------------------------------------------


def _cast(scalar: Reads, node: exp.Expr) -> Typed:
    """Constants are cast here. Columns by functions that give null where the engine's cast would fail."""
    at, value = scalar.reading.at(node), scalar.read(node.args["this"])
    kind = str(getattr(node.args["to"].args["this"], "value", ""))
    if isinstance(value.expression, Literal):
        target = _CASTS.get(kind)
        if target is None:
            raise Refusal("construct_not_allowed", "constants are not cast to this type", at=at)
        return typed.constant(literals.cast(value.expression, target))
    function = functions.CASTS.get(kind)
    if function is None:
        hint = "columns are cast to BIGINT, INTEGER, DOUBLE and DATE; the catalogue says their own type"
        raise Refusal("construct_not_allowed", "columns are not cast to this type", hint=hint, at=at)
    return typed.call(function, (value,), at)


def _date(scalar: Reads, node: exp.Expr) -> Typed:
    value, at = scalar.read(node.args["this"]), scalar.reading.at(node)
    if isinstance(value.expression, Literal):
        return typed.constant(literals.cast(value.expression, "date"))
    return typed.call("to_date", (value,), at)


_CASTS: Final[dict[str, literals.Cast]] = {
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMPNTZ": "timestamp",
    "TINYINT": "integer",
    "SMALLINT": "integer",
    "INT": "integer",
    "BIGINT": "integer",
    "DOUBLE": "number",
    "FLOAT": "number",
    "DECIMAL": "number",
    "TEXT": "text",
    "VARCHAR": "text",
    "BOOLEAN": "boolean",
}
READERS: Final[dict[type[exp.Expr], Callable[[Reads, exp.Expr], Typed]]] = {
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.Date: _date,
    exp.Round: _rounding,
    exp.Log: _logarithm,
    exp.Pow: _power,
    **dict.fromkeys(functions.TEXT_TESTS, _pattern),
    exp.Trim: _trim,
    exp.Left: _end,
    exp.Right: _end,
    exp.Substring: _substring,
    exp.DPipe: _joined,
    exp.Concat: _joined,
    exp.Extract: _extract,
    exp.TimestampTrunc: _truncation,
    exp.DateTrunc: _truncation,
    exp.DayOfWeek: _sunday_first,
    exp.DateDiff: _difference,
    exp.DateAdd: moved,
    exp.Anonymous: _named,
}
