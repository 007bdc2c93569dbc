"""Everything that may be written over a row, in SQL: each function of the closed list, each operator, each cast.

A form is text with places for columns: `{n}` and `{m}` numbers, `{t}` and `{u}` text, `{b}` a boolean, `{d}` and `{e}`
dates, `{s}` a timestamp, `{x}` anything. A function that is added to the list and has no form here fails a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from string import Formatter
from typing import Final

from gateway.sql import functions
from sandbox.relational import expressions
from tests.alike.poison import COLUMNS

_FAMILY: Final = {
    "integer": "number", "bigint": "number", "double": "number", "decimal(12,3)": "number", "decimal(38,0)": "number",
    "text": "text", "boolean": "boolean", "date": "date", "timestamp": "timestamp",
}  # fmt: skip
FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    family: tuple(name for name, (kind, more) in COLUMNS.items() if _FAMILY[kind] == family and '"key"' not in more)
    for family in dict.fromkeys(_FAMILY.values())
}
_ANY: Final = tuple(name for names in FAMILIES.values() for name in names)
PLACES: Final[Mapping[str, str]] = {
    "n": "number", "m": "number", "t": "text", "u": "text", "b": "boolean", "d": "date", "e": "date", "s": "timestamp",
}  # fmt: skip
_SIGNS: Final = {
    "equal": "=", "not_equal": "<>", "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=",
}  # fmt: skip
_COMPARED: Final = (
    "{n} {sign} {m}", "{n} {sign} 0.5", "{n} {sign} 9223372036854775807", "{t} {sign} {u}", "{t} {sign} 'a'",
    "{d} {sign} {e}", "{d} {sign} {s}", "{s} {sign} TIMESTAMP '2000-02-29 12:30:00'", "{d} {sign} '2000-02-29'",
    "{b} {sign} {b}",
)  # fmt: skip
_STEPS: Final = (0, 1, 13, 100_000)
FORMS: Final[Mapping[str, tuple[str, ...]]] = {
    "add": ("{n} + {m}", "{n} + 9223372036854775807"),
    "subtract": ("{n} - {m}", "{n} - 0.5"),
    "multiply": ("{n} * {m}", "{n} * {n} * {n}", "{n} * 99999999999999999999999999999999999999"),
    "divide": ("{n} / {m}", "{n} / ({m} - {m})", "1 / {n}"),
    "negate": ("-({n})",),
    "modulo": ("{n} % {m}", "{n} % 7", "date_part('dow', {d})", "dayofweek({s})", "weekday({d})"),
    "int_divide": ("{n} // {m}", "{n} // 3"),
    **{name: tuple(each.replace("{sign}", sign) for each in _COMPARED) for name, sign in _SIGNS.items()},
    "and": ("({n} > 1) AND ({t} = 'a')", "{n} BETWEEN -1 AND {m}"),
    "or": ("({n} > 1) OR {b}",),
    "not": ("NOT ({n} > 1)", "NOT {b}", "{t} NOT LIKE 'a%'"),
    "in": (
        "{n} IN (0, 1, 0.5)", "{t} IN ('a', '')", "{d} IN (DATE '2000-02-29')", "{b} IN (true)", "{n} NOT IN (1, 2)",
    ),
    "is_null": (
        "{n} IS NULL", "{t} IS NOT NULL", "{b} IS TRUE", "{d} IS NOT DISTINCT FROM {e}", "{n} IS DISTINCT FROM {m}",
    ),
    "like": ("{t} LIKE '%\\%'", "{t} LIKE '%'", "{t} LIKE '_a%%'"),
    "ilike": ("{t} ILIKE '%É%'", "{t} ILIKE 'x_'"),
    "starts_with": ("starts_with({t}, 'x')", "prefix({t}, '')"),
    "contains": ("contains({t}, '')", "contains({t}, 'é')"),
    "ends_with": ("ends_with({t}, '\\')", "suffix({t}, '7')"),
    "coalesce": (
        "coalesce({n}, {m}, 0)", "coalesce({t}, {u})", "coalesce({d}, {e})", "coalesce({b}, true)", "ifnull({n}, 1)",
    ),
    **{
        part: (f"{part}({{d}})", f"date_part('{part}', {{s}})", f"extract({part} FROM {{d}})")
        for part in expressions.DATE_PARTS
    },
    **{
        f"trunc_{unit}": (f"date_trunc('{unit}', {{d}})", f"date_trunc('{unit}', {{s}})")
        for unit in (name.removeprefix("trunc_") for name in expressions.DATE_TRUNCATIONS)
    },
    "day_of_week": ("isodow({d})", "date_part('isodow', {s})"),
    "day_of_year": ("dayofyear({d})", "date_part('doy', {s})"),
    **{part: (f"{part}({{s}})", f"extract({part} FROM {{s}})") for part in expressions.CLOCK_PARTS},
    "trunc_hour": ("date_trunc('hour', {s})",),
    "date_diff": (
        *(f"date_diff('{step}', {{d}}, {{e}})" for step in expressions.TIME_STEPS),
        *(f"date_diff('{step}', {{s}}, {{d}})" for step in expressions.TIME_STEPS),
        "{d} - {e}",
        "{d} - DATE '0001-01-01'",
    ),
    "date_add": (
        *(f"{{d}} + INTERVAL {count} {step}" for step, count in product(expressions.TIME_STEPS, _STEPS)),
        *(f"{{s}} - INTERVAL {count} {step}" for step, count in product(expressions.TIME_STEPS, _STEPS)),
        "date_add({d}, INTERVAL 1 MONTH)",
        "{d} + 100000",
    ),
    "bin": ("bin(big)", "bin(real)", "bin(fixed)"),
    "abs": ("abs({n})",),
    "floor": ("floor({n})",),
    "ceil": ("ceil({n})", "ceiling({n})"),
    "round": ("round({n})", "round({n}, 12)"),
    "sign": ("sign({n})",),
    "least": ("least({n}, {m})", "least({n}, 0, {m})"),
    "greatest": ("greatest({n}, {m})", "greatest({n}, 9e37)"),
    "sqrt": ("sqrt({n})", "sqrt({n} - {m})"),
    "ln": ("ln({n})",),
    "log10": ("log10({n})", "log({n})"),
    "log2": ("log2({n})", "log(2, {n})"),
    "exp": ("exp({n})", "exp({n} * {m})"),
    "power": ("power({n}, 16)", "{n} ** -16", "power({n}, 0.5)", "pow({n}, -1.5)", "{n} ^ 3"),
    "lower": ("lower({t})",),
    "upper": ("upper({t})",),
    "trim": ("trim({t})",),
    "trim_start": ("ltrim({t})",),
    "trim_end": ("rtrim({t})",),
    "length": ("length({t})", "length(upper({t}))"),
    "left": ("left({t}, 1)", "left({t}, 10000)"),
    "right": ("right({t}, 0)", "right({t}, 10000)"),
    "substring": ("substring({t}, 10000)", "substring({t}, 1, 3)", "substr({t}, 10000, 10000)"),
    "concat": ("{t} || {u}", "concat({t}, '|', {u})", "upper({t}) || {t} || {u} || {u}"),
    "to_integer": (
        "CAST({n} AS BIGINT)", "CAST({t} AS INTEGER)", "CAST({b} AS INT)", "TRY_CAST({t} AS BIGINT)", "{n}::BIGINT",
    ),
    "to_double": (
        "CAST({n} AS DOUBLE)", "CAST({t} AS DOUBLE)", "CAST({b} AS FLOAT)", "TRY_CAST({t} AS DOUBLE)", "{n}::FLOAT",
    ),
    "to_date": ("CAST({s} AS DATE)", "CAST({d} AS DATE)", "TRY_CAST({s} AS DATE)", "date({s})", "{s}::DATE"),
}  # fmt: skip
"""By the function of the model that a form is read as, among others."""
CASES: Final = (
    "CASE WHEN {n} > 1 THEN {m} WHEN {b} THEN 0 END",
    "CASE {t} WHEN 'a' THEN 'b' ELSE {u} END",
    "CASE WHEN {d} > {e} THEN {s} END",
    "CASE WHEN {n} = 0 THEN NULL ELSE {n} / {n} END",
    "if({n} > 0, {d}, {e})",
    "nullif({n}, 0)",
    "nullif({t}, 'a')",
)
COLUMN_CASTS: Final = tuple(
    f"CAST({{{place}}} AS {kind})" for place, kind in product(("n", "t", "b", "d", "s"), sorted(functions.CASTS))
)
"""Every kind of column to every type that the grammar has a cast to; what is no pair is refused."""


@dataclass(frozen=True, slots=True)
class Form:
    """`text` with its columns filled in; `function` is the model's name, or what it is an example of."""

    function: str
    template: str
    text: str


def templates() -> Iterator[tuple[str, str]]:
    """(function, template), in a fixed order."""
    for name, found in FORMS.items():
        yield from ((name, template) for template in found)
    yield from (("case", template) for template in CASES)
    yield from (("cast", template) for template in COLUMN_CASTS)
    for family in FAMILIES:
        place = next(place for place, other in PLACES.items() if other == family)
        yield "column", f"{{{place}}}"


def forms(turn: int) -> Iterator[Form]:
    """Every template once. Which columns stand in it goes round with `turn`: after `turns` all have been there."""
    for number, (function, template) in enumerate(templates()):
        yield Form(function, template, filled(template, turn + number))


def turns() -> int:
    """So many turns put each column into each place."""
    return max(map(len, FAMILIES.values()))


def filled(template: str, turn: int) -> str:
    """Two places of a family have different columns, where there are several, and another pair each time."""
    places = {place for _, place, _, _ in Formatter().parse(template) if place}
    columns = {}
    for place in places:
        names = _ANY if place == "x" else FAMILIES[PLACES[place]]
        second = place in "mue"
        columns[place] = names[(turn + (1 + turn // len(names)) % len(names) * second) % len(names)]
    return template.format(**columns)
