"""What is said of a function holds for every row that keeps its declarations: bounds, public keys, where null may be.

Nothing of this is relied on for privacy, for the SQL clamps and sorts out whatever there is; but a bound too narrow
cuts what is true, and a key left out loses a group.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

import duckdb
import pytest

from policies.load import load_text
from policies.types import Value
from sandbox.relational import calendar, intervals
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Expression, walk
from sandbox.relational.facts import ColumnFacts, Facts, Refuse, Schema
from sandbox.relational.functions import numbers, texts
from sandbox.relational.lower import functions, scalars
from sandbox.relational.scalar import facts_of
from tests.made_expressions import Maker, single
from tests.poisoned_rows import COLUMNS, CONSTANTS, POLICY, SCAN, TYPES

RANDOM = int(os.environ.get("BPK_POISONED", "400"))
SEED = int(os.environ.get("BPK_SEED", "20261123"))
TRUE: dict[str, Sequence[Value]] = {
    "small": tuple(range(10)),
    "open": (0, -1, 7, 2**31 - 1, -(2**31), 1_000),
    "big": (-5, 0, 1, 9, 10, 100, 999_999, 1_000_000),
    "real": (-1.0, -0.5, 0.0, -0.0, 0.1, 1.5, 1e-300),
    "fixed": tuple(map(Decimal, ("0", "0.001", "0.5", "1.5", "2.5", "99.499", "99.5"))),
    "wide": tuple(map(Decimal, ("0", "1", "500", "1000"))),
    "word": ("", " a b ", "A", "Straße", "ÖL", "İstanbul", "Σίσυφος", "北京", "12", "-3", "1e3", "a\u3000", "x" * 300),
    "letter": ("a", "b", None),
    "flag": (True, False, None),
    "day": (date(2000, 1, 1), date(2000, 2, 29), date(2000, 12, 31), date(2001, 12, 31), date(2001, 3, 5), None),
    "any_day": (date.min, date.max, date(1999, 12, 31), date(2024, 2, 29)),
    "moment": tuple(map(datetime.fromisoformat, ("2000-01-01", "2000-02-29 23:59:59.999999", "2000-03-31"))),
    "any_moment": (calendar.FIRST, calendar.LAST, datetime.fromisoformat("2024-02-29 12:34:56")),
}


def true_rows(dice: random.Random, rows: int = 60) -> tuple[Facts, duckdb.DuckDBPyConnection]:
    columns = "\n".join(f'{name} = {{ type = "{kind}", {more} }}' for name, (kind, more) in COLUMNS.items())
    engine = duckdb.connect(":memory:", config={"threads": "1"})
    names = ", ".join(f'"0.{name}" {scalars.sql_type(TYPES[name])}' for name in COLUMNS)
    engine.execute(f"CREATE TABLE rows ({names})").fetchall()
    made = [[v[i] if i < len(v) else dice.choice(v) for v in TRUE.values()] for i in range(rows)]
    engine.executemany(f"INSERT INTO rows VALUES ({', '.join('?' for _ in COLUMNS)})", made)
    return derive(SCAN, Schema(load_text(POLICY + columns, "policy.toml"), {})), engine


def untruths(made: Sequence[Expression], most: int = 5) -> tuple[list[str], int]:
    """The first `most` values that are not what the facts say, and how many expressions had facts."""
    facts, engine = true_rows(random.Random(SEED))
    found: list[str] = []
    seen = 0
    for expression in made:
        if any(isinstance(part, Call) and part.function == "bin" for part in walk(expression)):
            continue  # what lies in no bin is null, and is left out by intent
        try:
            said = facts_of(expression, facts)
        except Refuse:
            continue
        seen += 1
        values = {row[0] for row in engine.execute(f"SELECT {scalars.scalar(expression, facts)} FROM rows").fetchall()}
        found += [f"{problem}: {expression}" for value in values if (problem := untruth(value, said))]
        if len(found) >= most:
            return found[:most], seen
    return found, seen


def untruth(value: Value, said: ColumnFacts) -> str | None:
    if value is None:
        return None if said.nullable else "null"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if said.keys is not None and not any(key == value for key in said.keys):
        return f"{value!r} is not a key of {said.keys[:12]}"
    if said.bounds is None:
        return None
    low, high = said.bounds
    if isinstance(low, Fraction) and isinstance(high, Fraction):
        slack = Fraction(1, 10**9) * (1 + abs(low) + abs(high))  # the engine computes in doubles
        inside = low - slack <= Fraction(value) <= high + slack  # type: ignore[arg-type]
    else:
        inside = calendar.day_of(low) <= calendar.day_of(value) <= calendar.day_of(high)  # type: ignore[arg-type]
    return None if inside else f"{value!r} is not within {low} and {high}"


def test_what_is_said_of_every_function_is_true() -> None:
    found, seen = untruths(list(single(SEED)))
    print(f"\nexpressions: {seen}")
    assert not found, "\n".join(found)
    assert seen > 800


def nested() -> Iterator[Expression]:
    maker = Maker(random.Random(SEED))
    for _ in range(3 * RANDOM):
        yield maker.make(maker.dice.choice(list(CONSTANTS)), 3)


def test_what_is_said_of_nested_expressions_is_true() -> None:
    found, seen = untruths(list(nested()))
    print(f"\nexpressions: {seen}, seed {SEED}")
    assert not found, "\n".join(found)
    assert seen > RANDOM


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a remainder that is never positive": lambda m: m.setitem(
        functions.OPERATORS, "modulo", lambda a, b: f"-abs({a} % nullif({b}, 0))"
    ),
    "a quotient rounded down": lambda m: m.setitem(
        functions.OPERATORS, "int_divide", lambda a, b: f"floor({a} / nullif({b}, 0))"
    ),
    "a remainder as large as its divisor": lambda m: m.setattr(
        intervals, "_remainder", lambda left, most: (Fraction(0), most)
    ),
    "weeks that start on Sunday": lambda m: m.setitem(functions._PARTS, "day_of_week", "dayofweek"),
    "a year without a leap day": lambda m: m.setitem(calendar.FULL, "day_of_year", (1, 365)),
    "letters that become several": lambda m: m.setattr(texts, "_spelt", lambda word, case: word.upper()),
    "keys of the other side": lambda m: m.setitem(numbers._EXACT, "subtract", lambda a, b: b - a),
    "a month of thirty days": lambda m: m.setattr(calendar, "monthrange", lambda year, month: (0, 28)),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_untruth_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    suspects = ("modulo", "int_divide", "day_of_week", "day_of_year", "lower", "upper", "date_add", "subtract")
    made = [e for e in (*single(SEED), *nested()) if isinstance(e, Call) and e.function in suspects]
    PLANTED[fault](monkeypatch)
    assert untruths(made, 1)[0], f"{fault} was not noticed"
