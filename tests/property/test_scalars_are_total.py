"""Whatever the rows say, a lowered statement runs to its end, and its integers stay within what the plan declares.

An error that hangs on a row would tell of that row. Statements are executed, not only bound, with the engine's strict
settings. `BPK_POISONED` sets the number of random nested expressions, `BPK_SEED` the seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import duckdb
import pytest

from policies.load import load_text
from policies.types import BIGINT, BOOLEAN, DATE, DOUBLE, TEXT, TIMESTAMP, Type, Value
from sandbox.relational import calendar, expressions
from sandbox.relational.expressions import Call, Case, Column, Expression, Literal
from sandbox.relational.facts import Refuse, Schema
from sandbox.relational.lower import cells, functions, inputs, scalars
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.nodes import Filter, Measure, Output, Relation, Release, Scan, Sort
from sandbox.relational.plan import plan_release
from sandbox.release import post
from sandbox.release.intake import BadIntake
from tests.noiseless import exact_release, job_of
from tests.policy_head import head

RANDOM = int(os.environ.get("BPK_POISONED", "400"))
SEED = int(os.environ.get("BPK_SEED", "20261123"))
POLICY = (
    head("odd", unit="rows.pid", epsilon=100, each="1", each_max=50)
    + """
[tables.rows]
rows_per_unit_max = 3
[tables.rows.columns]
pid = { type = "integer", role = "unit" }
"""
)
COLUMNS: dict[str, tuple[str, str]] = {
    "small": ("integer", 'range = [0, 9], role = "dimension"'),
    "open": ("integer", 'role = "dimension"'),
    "big": ("bigint", 'range = [-5, 1000000], role = "dimension", bins = [0, 10, 100]'),
    "real": ("double", 'range = [-1, 1.5], role = "measure", bins = [-1, 0, 1.5]'),
    "fixed": ("decimal(12,3)", 'range = [0, 99.5], role = "measure", bins = [0, 0.001, 99.5]'),
    "wide": ("decimal(38,0)", 'range = [0, 1000], role = "measure"'),
    "word": ("text", 'role = "dimension"'),
    "letter": ("text", 'role = "dimension", values = ["a", "b"], nullable = true'),
    "flag": ("boolean", 'role = "dimension", nullable = true'),
    "day": ("date", 'role = "dimension", range = [2000-01-01, 2001-12-31], nullable = true'),
    "any_day": ("date", 'role = "dimension"'),
    "moment": ("timestamp", 'role = "dimension", range = [2000-01-01T00:00:00, 2000-03-31T00:00:00]'),
    "any_moment": ("timestamp", 'role = "dimension"'),
}
TYPES = {name: Type.parse(kind) for name, (kind, _) in COLUMNS.items()}
POISON: dict[str, tuple[str | None, ...]] = {
    "integer": (None, "0", "-1", "3", "9", "10", "2147483647", "-2147483648"),
    "bigint": (None, "0", "1", "-9223372036854775808", "9223372036854775807", "9007199254740993"),
    "double": (None, "nan", "inf", "-inf", "0", "-0.0", "1e308", "-1e308", "5e-324", "0.5", "9.3e18", "1e19"),
    "decimal(12,3)": (None, "0", "-0.001", "999999999.999", "-999999999.999", "0.001", "50"),
    "decimal(38,0)": (None, "0", "9" * 38, "-" + "9" * 38, "500"),
    "text": (None, "", "a", "b", "%", "_", "\\", "a\\", "'", '"', "é" * 300, "x" * 20_000, "a\x00b", "\U0001f600"),
    "boolean": (None, "true", "false"),
    "date": (
        None, "0001-01-01", "9999-12-31", "2000-02-29", "2001-12-31", "infinity", "-infinity", "5881580-07-10",
        "10000-01-01", "0001-01-01 (BC)", "5877642-06-25 (BC)", "0005-06-07", "1582-10-10", "294247-01-11",
    ),
    "timestamp": (
        None, "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "2000-02-29 12:30:00.5", "infinity", "-infinity",
        "294247-01-10 04:00:54.775806", "10000-01-01 00:00:00", "290309-12-22 (BC) 00:00:00", "0005-06-07 01:02:03",
    ),
}  # fmt: skip
PATTERNS = ("", "%", "_", "\\", "a\\", "%\\%", "%%%%a%%%b", "[", "x" * 300, "é%", "'")
CONSTANTS: dict[str, tuple[Literal, ...]] = {
    "number": (
        Literal(0, BIGINT),
        Literal(-1, BIGINT),
        Literal(2**63 - 1, BIGINT),
        Literal(Decimal("0.5"), Type("decimal", 1, 1)),
        Literal(Decimal("9" * 38), Type("decimal", 38, 0)),
        Literal(Decimal("1e-38"), Type("decimal", 38, 38)),
    ),
    "text": (Literal("", TEXT), Literal("a", TEXT), Literal("'", TEXT), Literal("x" * 300, TEXT)),
    "boolean": (Literal(value=True, type=BOOLEAN), Literal(value=False, type=BOOLEAN)),
    "date": tuple(Literal(d, DATE) for d in (date(1, 1, 1), date(9999, 12, 31), date(2000, 2, 29))),
    "timestamp": tuple(Literal(d, TIMESTAMP) for d in (datetime.min, datetime.max, datetime(2000, 1, 1))),  # noqa: DTZ001, DTZ901  # timestamps of policies carry no zone
}
SCAN = Scan("rows", 0)


@dataclass(frozen=True, slots=True)
class Poisoned:
    schema: Schema
    engine: duckdb.DuckDBPyConnection
    units: int


def poisoned(dice: random.Random, rows: int = 90, *, strict: bool = True) -> Poisoned:
    """A table in which every poison of every column stands in some row; some units have too many rows.

    A strict engine raises where others make NaN; the worker's does not, but nothing here shall hang on that.
    """
    columns = "\n".join(f'{name} = {{ type = "{kind}", {more} }}' for name, (kind, more) in COLUMNS.items())
    engine = duckdb.connect(":memory:", config={"threads": "1"})
    engine.execute(f"SET ieee_floating_point_ops = {not strict}").fetchall()
    names = ", ".join(f"{name} {scalars.sql_type(TYPES[name])}" for name in COLUMNS)
    engine.execute(f"CREATE TABLE rows (__unit BIGINT, {names})").fetchall()
    stored = ", ".join(_as_ingested(TYPES[name], place) for place, name in enumerate(COLUMNS, start=1))
    for i in range(rows):
        cells = [
            POISON[kind][i] if i < len(POISON[kind]) else dice.choice(POISON[kind]) for kind, _ in COLUMNS.values()
        ]
        engine.execute(f"INSERT INTO rows VALUES ({i % (rows // 3)}, {stored})", cells).fetchall()
    return Poisoned(Schema(load_text(POLICY + columns, "policy.toml"), {}), engine, rows // 3)


def _as_ingested(type_: Type, place: int) -> str:
    """Ingest stores no day beyond the years 1 to 9999, and no double that is not finite; here such doubles stay in."""
    cast = f"CAST(${place} AS {scalars.sql_type(type_)})"
    if not type_.temporal:
        return cast
    first, last = CONSTANTS[type_.kind][0].value, CONSTANTS[type_.kind][1].value
    return f"CASE WHEN {cast} BETWEEN {type_} '{first}' AND {type_} '{last}' THEN {cast} END"


def kind_of(name: str) -> str:
    return "number" if TYPES[name].numeric else TYPES[name].kind


@dataclass(frozen=True, slots=True)
class Maker:
    """Expressions by kind. With `depth` 0 a column or a constant."""

    dice: random.Random

    def leaf(self, kind: str) -> Expression:
        if self.dice.random() < 0.2:
            return self.dice.choice(CONSTANTS[kind])
        return Column("0." + self.dice.choice([name for name in COLUMNS if kind_of(name) == kind]))

    def make(self, kind: str, depth: int) -> Expression:
        if depth == 0:
            return self.leaf(kind)
        names = [name for name, (result, _) in FORMS.items() if kind in (result, "any") or result == "any"]
        name = self.dice.choice(names)
        arguments = FORMS[name][1]
        count = self.dice.choice((1, 2, 3)) if name in ("coalesce", "in") else 0
        inner = [self.make(kind if k == "any" else k, self.dice.randint(0, depth - 1)) for k in arguments]
        match name:
            case "case":
                return Case(
                    ((self.make("boolean", depth - 1), self.make(kind, depth - 1)),), self.make(kind, depth - 1)
                )
            case "coalesce":
                return Call(name, tuple(self.make(kind, depth - 1) for _ in range(count)))
            case "in":
                subject = self.dice.choice(list(CONSTANTS))
                return Call(name, (self.make(subject, depth - 1), *CONSTANTS[subject][:count]))
            case "like" | "ilike" | "starts_with" | "contains" | "ends_with":
                return Call(name, (inner[0], Literal(self.dice.choice(PATTERNS), TEXT)))
            case "left" | "right" | "substring" | "power" | "date_diff" | "date_add":
                return self.dice.choice(list(_with_constants(name, inner[0], inner[-1])))
            case "round":
                return Call(name, (inner[0], Literal(self.dice.choice((0, 1, 12)), BIGINT)))
            case "bin":
                return Call(name, (Column("0." + self.dice.choice(("big", "real", "fixed"))),))
        if name in expressions.COMPARISONS:
            both = self.dice.choice([*[(k, k) for k in CONSTANTS], ("date", "timestamp"), ("timestamp", "date")])
            return Call(name, tuple(self.make(k, self.dice.randint(0, depth - 1)) for k in both))
        if name in ONE_OF:
            return Call(name, (self.make(self.dice.choice(ONE_OF[name]), depth - 1),))
        return Call(name, tuple(inner))


ONE_OF: dict[str, tuple[str, ...]] = {
    "is_null": tuple(CONSTANTS),
    **dict.fromkeys(("to_integer", "to_double"), ("number", "text", "boolean")),
    **dict.fromkeys((*expressions.DATE_PARTS, *expressions.DATE_TRUNCATIONS), ("date", "timestamp")),
    **dict.fromkeys((*expressions.DAY_PARTS, "to_date"), ("date", "timestamp")),
}
"""Kinds of the one argument."""
FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("add", "subtract", "multiply", "divide"), ("number", ("number", "number"))),
    **dict.fromkeys(("negate", "abs", "floor", "ceil", "round"), ("number", ("number",))),
    **dict.fromkeys(("least", "greatest"), ("number", ("number", "number"))),
    **dict.fromkeys(expressions.COMPARISONS, ("boolean", ())),
    **dict.fromkeys(("and", "or"), ("boolean", ("boolean", "boolean"))),
    "not": ("boolean", ("boolean",)),
    "in": ("boolean", ()),
    "is_null": ("boolean", ()),
    **dict.fromkeys(expressions.TEXT_TESTS, ("boolean", ("text",))),
    **dict.fromkeys(expressions.WHOLE_DIVISION, ("number", ("number", "number"))),
    **dict.fromkeys((*expressions.ROOTS, "sign"), ("number", ("number",))),
    **dict.fromkeys(expressions.TEXT_TO_TEXT, ("text", ("text",))),
    "concat": ("text", ("text", "text")),
    "length": ("number", ("text",)),
    **dict.fromkeys(expressions.DAY_PARTS, ("number", ())),
    **dict.fromkeys(expressions.CLOCK_PARTS, ("number", ("timestamp",))),
    "trunc_hour": ("timestamp", ("timestamp",)),
    "date_diff": ("number", ("timestamp", "date")),
    "date_add": ("date", ("date",)),
    **dict.fromkeys(("to_integer", "to_double"), ("number", ())),
    "to_date": ("date", ()),
    "coalesce": ("any", ()),
    "case": ("any", ()),
    "bin": ("number", ()),
    **dict.fromkeys(expressions.DATE_PARTS, ("number", ())),
    **dict.fromkeys(expressions.DATE_TRUNCATIONS, ("date", ())),
}


COUNTS = (0, 1, 3, 10_000)
STEPS = (0, 1, -1, 13, 100_000, -100_000)
EXPONENTS = (0, 2, -3, 16, -16, Decimal("0.5"), Decimal("-1.5"))


def _with_constants(name: str, subject: Expression, other: Expression) -> Iterator[Expression]:
    """A function that takes constants besides, with odd ones."""
    match name:
        case "left" | "right":
            yield from (Call(name, (subject, Literal(count, BIGINT))) for count in COUNTS)
        case "substring":
            for start in COUNTS[1:]:
                yield Call(name, (subject, Literal(start, BIGINT)))
                yield from (Call(name, (subject, Literal(start, BIGINT), Literal(count, BIGINT))) for count in COUNTS)
        case "power":
            yield from (Call(name, (subject, _number(exponent))) for exponent in EXPONENTS)
        case "date_diff":
            yield from (Call(name, (Literal(unit, TEXT), subject, other)) for unit in expressions.TIME_STEPS)
        case "date_add":
            for unit in expressions.TIME_STEPS:
                yield from (Call(name, (subject, Literal(count, BIGINT), Literal(unit, TEXT))) for count in STEPS)


def _number(value: int | Decimal) -> Literal:
    return Literal(value, BIGINT if isinstance(value, int) else Type("decimal", 4, 2))


def test_every_function_is_tried() -> None:
    assert set(FORMS) - {"case"} == set(expressions.FUNCTIONS)


def single() -> Iterator[Expression]:
    """Every function over every column that it takes, beside each constant of its kind."""
    maker = Maker(random.Random(SEED))
    for name in COLUMNS:
        column, kind = Column(f"0.{name}"), kind_of(name)
        yield column
        yield Call("is_null", (column,))
        yield from (Call("coalesce", (column, constant)) for constant in CONSTANTS[kind])
        yield Call("in", (column, *CONSTANTS[kind]))
        partners = [*CONSTANTS[kind], *(Column(f"0.{n}") for n in COLUMNS if kind_of(n) == kind)]
        partners += [Column("0.any_moment"), Column("0.any_day")] if kind in ("date", "timestamp") else []
        yield from (Call(sign, (column, other)) for other in partners for sign in ("equal", "less"))
        match kind:
            case "number":
                two = ("add", "subtract", "multiply", "divide", "least", "greatest", *expressions.WHOLE_DIVISION)
                yield from (Call(f, (column, other)) for f in two for other in partners)
                yield from (Call(f, (column,)) for f in ("negate", "abs", "floor", "ceil", "round", "sign"))
                yield from (Call(f, (column,)) for f in (*expressions.ROOTS[:-1], *expressions.CASTS[:-1]))
                yield from _with_constants("power", column, column)
                yield Call("round", (column, Literal(12, BIGINT)))
                yield Call("bin", (column,))
            case "text":
                yield from (Call(f, (column, Literal(p, TEXT))) for p in PATTERNS for f in expressions.TEXT_TESTS)
                yield from (Call(f, (column,)) for f in ("lower", "upper", "trim", "trim_start", "trim_end", "length"))
                yield from (Call(f, (column,)) for f in expressions.CASTS[:-1])
                yield from (Call("concat", (column, other)) for other in partners)
                yield from (
                    piece for f in ("left", "right", "substring") for piece in _with_constants(f, column, column)
                )
            case "boolean":
                yield Call("not", (column,))
                yield from (Call(f, (column,)) for f in expressions.CASTS[:-1])
            case "date" | "timestamp":
                parts = (*expressions.DATE_PARTS, *expressions.DATE_TRUNCATIONS, *expressions.DAY_PARTS, "to_date")
                yield from (Call(f, (column,)) for f in parts)
                yield from _with_constants("date_add", column, column)
                for other in partners:
                    yield from _with_constants("date_diff", column, other)
                if kind == "timestamp":
                    yield from (Call(f, (column,)) for f in (*expressions.CLOCK_PARTS, "trunc_hour"))
        yield Case(((maker.make("boolean", 1), column),), maker.leaf(kind))


def statements(expression: Expression) -> Iterator[Release]:
    """The expression as a key, in WHERE, and under each aggregate."""
    count = Measure("count_rows", None)
    yield Release(SCAN, (expression,), (count, Measure("count_units", None)))
    yield Release(Filter(SCAN, (expression,)), (), (count,))
    yield Release(Filter(SCAN, (Call("is_null", (expression,)),)), (), (count,))
    yield Release(SCAN, (Column("0.letter"),), (Measure("count", expression),))
    yield Release(SCAN, (Column("0.small"),), (Measure("avg", expression), Measure("sum", expression)))
    yield Release(SCAN, (), (Measure("avg", expression), Measure("sum", expression)))


def run(world: Poisoned, asked: Release) -> str | None:
    """What went wrong, if anything; None too where the plan is refused, and `refused` counts for nothing."""
    try:
        plan = plan_release(asked, world.schema)
    except Refuse:
        return None
    dp = world.schema.policy.release.dp
    assert dp is not None
    job, ran = job_of(Output(asked, ()), world.schema, dp, plan), [""]

    def execute(lowered: Lowered) -> list[tuple[Value, ...]]:
        ran.append(lowered.whole)
        return world.engine.execute(lowered.whole).fetchall()

    try:
        exact_release(job, execute)
    except BadIntake:
        return f"a worker's honest answer is refused: {asked.keys} {asked.measures}"
    except (duckdb.Error, ValueError, OverflowError) as error:
        return f"{type(error).__name__} {str(error)[:200]}: {ran[-1][:2000]}"
    return None


def troubles(world: Poisoned, made: Sequence[Expression], most: int = 5) -> tuple[list[str], int]:
    """The first `most` troubles, and how many statements ran or were refused."""
    found: list[str] = []
    seen = 0
    for expression in made:
        for asked in statements(expression):
            seen += 1
            problem = run(world, asked)
            if problem:
                found.append(problem)
                if len(found) == most:
                    return found, seen
    return found, seen


def test_every_function_over_poisoned_rows_runs_to_its_end() -> None:
    world = poisoned(random.Random(SEED))
    found, seen = troubles(world, list(single()))
    print(f"\nstatements: {seen}")
    assert not found, "\n".join(found)


def test_nested_expressions_over_poisoned_rows_run_to_their_end() -> None:
    dice = random.Random(SEED)
    world = poisoned(dice, strict=False)
    maker = Maker(dice)
    found, seen = troubles(world, [maker.make(dice.choice(list(CONSTANTS)), 3) for _ in range(RANDOM)])
    print(f"\nstatements: {seen}, seed {SEED}")
    assert not found, "\n".join(found)


def _whole_division(a: str, b: str) -> str:
    return f"(CAST({a} AS BIGINT) // NULLIF(CAST({b} AS BIGINT), 0))"


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a plain cast of a key": lambda m: m.setattr(
        cells, "_key", lambda key, facts: f"CAST({scalars.scalar(key.expression, facts)} AS INTEGER)"
    ),
    "whole division": lambda m: m.setitem(functions.OPERATORS, "divide", _whole_division),
    "whole multiplication": lambda m: m.setitem(
        functions.OPERATORS, "multiply", lambda a, b: f"(TRY_CAST({a} AS BIGINT) * TRY_CAST({b} AS BIGINT))"
    ),
    "a plain cast of a row": lambda m: m.setattr(
        inputs,
        "_row",
        lambda c, argument, facts: (
            f"CAST({scalars.number(argument.expression, facts)} AS BIGINT)",
            argument.step,
        ),
    ),
    "year 0 of the first decade": lambda m: m.setattr(
        functions, "truncated", lambda part, day: f"CAST(date_trunc('{part}', {day}) AS DATE)"
    ),
    "a root of what is negative": lambda m: m.setattr(functions, "_not_negative", lambda x: x),
    "a logarithm of 0": lambda m: m.setattr(functions, "_positive", lambda x: x),
    "a power of 0": lambda m: m.setitem(functions.WRITERS, "power", lambda call, x, _: f"pow({x[0]}, -3)"),
    "a day beyond the calendar": lambda m: m.setattr(calendar, "reach", lambda unit, count: (None, None)),
    "a plain cast of text": lambda m: m.setitem(
        functions.WRITERS, "to_integer", lambda c, x, _: f"CAST({x[0]} AS INT)"
    ),
}


SUSPECTS = {
    "year 0 of the first decade": expressions.DATE_TRUNCATIONS,
    "a root of what is negative": ("sqrt",),
    "a logarithm of 0": ("ln", "log2", "log10"),
    "a power of 0": ("power",),
    "a day beyond the calendar": ("date_add",),
    "a plain cast of text": ("to_integer",),
}
"""The functions that a fault is looked for in, where a walk through all of them would take long."""


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_partial_function_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world, made = poisoned(random.Random(SEED)), list(single())
    if fault in SUSPECTS:
        made = [each for each in made if isinstance(each, Call) and each.function in SUSPECTS[fault]]
    PLANTED[fault](monkeypatch)
    assert troubles(world, made, 1)[0], f"{fault} was not noticed"


RELEASED: dict[str, Type] = {
    "k0": TEXT, "k1": BIGINT, "k2": DATE, "k3": DOUBLE, "k4": BOOLEAN, "m0": BIGINT, "m1": DOUBLE,
    "m2": Type("decimal", 38, 2),
}  # fmt: skip
ROWS: list[tuple[Value, ...]] = [
    ("a", 0, date(1, 1, 1), 0.0, True, 0, 0.0, Decimal(0)),
    (None, None, None, None, None, -(2**63), -1e308, Decimal("-9e35")),
    ("", 2**63 - 1, date(9999, 12, 31), 1e308, False, 2**63 - 1, 1e308, Decimal("9e35")),
    ("x" * 300, -1, date(5, 1, 1), -5e-324, None, -3, 5e-324, Decimal("-0.01")),
]
_BY_KIND = {
    "text": ("k0",), "number": ("k1", "k3", "m0", "m1", "m2"), "boolean": ("k4",),
    "date": ("k2",), "timestamp": ("k2",),
}  # fmt: skip


class Above(Maker):
    """Expressions over released columns."""

    def leaf(self, kind: str) -> Expression:
        if self.dice.random() < 0.3 and kind != "timestamp":
            return self.dice.choice(CONSTANTS[kind])
        return Column(self.dice.choice(_BY_KIND[kind]))


def above_the_release(count: int, seed: int) -> tuple[list[str], int]:
    """Random HAVING, ORDER BY and arithmetic over released rows of extreme numbers: what raised, how many ran."""
    maker, found, ran = Above(random.Random(seed)), [], 0
    for _ in range(count):
        kind = maker.dice.choice(("number", "number", "text", "date", "boolean"))
        condition, value = maker.make("boolean", 2), maker.make(kind, 3)
        below: Relation = (
            Filter(Release(SCAN, (), ()), (condition,)) if maker.dice.random() < 0.5 else Release(SCAN, (), ())
        )
        if maker.dice.random() < 0.5:
            below = Sort(below, ((maker.make("number", 2), True, False),))
        plan = Output(below, (("x", value), ("y", maker.make("number", 3))))
        try:
            post.outputs(plan, RELEASED)
        except Refuse:
            continue
        ran += 1
        try:
            post.run(plan, RELEASED, ROWS)
        except (duckdb.Error, ArithmeticError, ValueError, TypeError) as error:
            found.append(f"{type(error).__name__} {str(error)[:200]}: {plan.columns} {below}")
    return found, ran


def test_arithmetic_over_released_rows_never_raises() -> None:
    found, ran = above_the_release(RANDOM, SEED)
    print(f"\nran {ran}")
    assert not found, "\n".join(found[:4])
    assert ran > RANDOM // 4


def test_a_planted_partial_function_above_the_release_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(functions.OPERATORS, "multiply", lambda a, b: f"(CAST({a} AS BIGINT) * CAST({b} AS BIGINT))")
    assert above_the_release(RANDOM // 2, SEED)[0]
