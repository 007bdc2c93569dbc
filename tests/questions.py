"""Random questions of the accepted language, built from the relational model outward."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from itertools import count

from policies.types import BIGINT, DATE, TEXT, Type
from sandbox.codec import digest
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Case, Column, Expression, Literal
from sandbox.relational.facts import ColumnFacts, Facts, Refuse, Schema
from sandbox.relational.nodes import (
    Filter,
    Join,
    Measure,
    MeasureFunction,
    Project,
    Public,
    Relation,
    Release,
    Scan,
    UnionAll,
    UnitAggregate,
    UnitMeasure,
    Window,
    WindowColumn,
)

DECIMAL = Type("decimal", 10, 2)
Numbers = Iterator[int]
"""Numbers for new nodes, each once."""


def random_release(dice: random.Random, schema: Schema) -> Release:
    """A release over a random relation. It may still be refused: not every key and measure has facts."""
    return _released(dice, random_relation(dice, schema), schema)


def plain_release(dice: random.Random, schema: Schema) -> Release:
    """A release over tables, joined and filtered: where what happens above the relation is looked for."""
    return _released(dice, _filtered(dice, _source(dice, schema), schema), schema)


def _released(dice: random.Random, source: Relation, schema: Schema) -> Release:
    facts = derive(source, schema)
    keys = _distinct([_key(dice, facts) for _ in range(dice.choice([0, 0, 1, 1, 2]))])
    measures = _distinct([_measure(dice, facts) for _ in range(dice.choice([1, 1, 2, 3]))])
    return Release(source, tuple(sorted(keys, key=digest)), tuple(sorted(measures, key=digest)))


def random_relation(dice: random.Random, schema: Schema) -> Relation:
    """A relation of units below a release: tables, joined, filtered, and up to three layers on top."""
    source, numbers = _filtered(dice, _source(dice, schema), schema), count(10)
    for _ in range(dice.choice([0, 0, 1, 1, 2, 3])):
        try:
            layer = dice.choice(_LAYERS)(dice, source, schema, numbers)
            source = _filtered(dice, layer, schema)
        except Refuse:  # a sum of what has no bounds and the like
            continue
    return source


def _distinct(found: list) -> list:
    return list(dict.fromkeys(found))


def _source(dice: random.Random, schema: Schema) -> Relation:
    if "offers" in schema.policy.tables:
        return dice.choice(_SHOP_SOURCES)(dice)
    if "visits" not in schema.policy.tables:
        return Scan("people", 0)
    return dice.choice(_SOURCES)(dice)


def _visits_people(_: random.Random) -> Relation:
    return Join(Scan("visits", 0), Scan("people", 1), "inner", (("0.pid", "1.pid"),))


def _items_visits(_: random.Random) -> Relation:
    return Join(Scan("items", 0), Scan("visits", 1), "inner", (("0.vid", "1.vid"),))


def _all(dice: random.Random) -> Relation:
    people = Join(_items_visits(dice), Scan("people", 2), "inner", (("1.pid", "2.pid"),))
    return Join(people, Public("hospitals", 3), dice.choice(["inner", "left"]), (("1.hospital", "3.id"),))


def _items_with_some_visits(dice: random.Random) -> Relation:
    """A row finds a partner or not by itself, and brings what is known of its unit along."""
    some = Filter(Scan("visits", 2), (Call("equal", (Column("2.kind"), Literal(dice.choice(["in", "out"]), TEXT))),))
    known = Join(some, Scan("people", 1), "inner", (("2.pid", "1.pid"),))
    return Join(Scan("items", 0), known, "left", (("0.vid", "2.vid"),))


_SOURCES: list[Callable[[random.Random], Relation]] = [
    lambda _: Scan("people", 0),
    lambda _: Scan("visits", 0),
    lambda _: Scan("items", 0),
    _visits_people,
    lambda _: Join(Scan("people", 0), Scan("visits", 1), "left", (("0.pid", "1.pid"),)),
    lambda d: Join(Scan("visits", 0), Public("hospitals", 1), d.choice(["inner", "left"]), (("0.hospital", "1.id"),)),
    lambda d: Join(Scan("visits", 0), Public("codes", 1), d.choice(["inner", "left"]), (("0.hospital", "1.hospital"),)),
    _items_visits,
    _all,
    _items_with_some_visits,
    lambda _: Join(Scan("visits", 0), Scan("visits", 1), "inner", (("0.pid", "1.pid"),)),
    lambda _: Join(Scan("people", 0), Scan("people", 1), "inner", (("0.pid", "1.pid"),)),
]


_LINE_OF_ORDER = (("0.shop", "1.shop"), ("0.order_nr", "1.nr"))
_OFFER_OF_LINE = (("0.part", "1.part"), ("0.maker", "1.maker"))
_SHOP_SOURCES: list[Callable[[random.Random], Relation]] = [
    lambda _: Scan("lines", 0),
    lambda _: Join(Scan("lines", 0), Scan("orders", 1), "inner", _LINE_OF_ORDER),
    lambda _: Join(Scan("lines", 0), Scan("orders", 1), "left", _LINE_OF_ORDER),
    lambda _: Join(Scan("orders", 1), Scan("lines", 0), "left", tuple((b, a) for a, b in _LINE_OF_ORDER)),
    lambda _: Join(
        Join(Scan("lines", 0), Scan("orders", 1), "inner", _LINE_OF_ORDER),
        Scan("buyers", 2),
        "inner",
        (("1.bid", "2.bid"),),
    ),
    lambda d: Join(Scan("lines", 0), Public("offers", 1), d.choice(["inner", "left"]), _OFFER_OF_LINE),
    lambda d: Join(Scan("lines", 0), Public("offers", 1), d.choice(["inner", "left"]), _OFFER_OF_LINE[1:]),
    lambda _: Join(Scan("lines", 0), Scan("lines", 1), "inner", (("0.shop", "1.shop"), ("0.order_nr", "1.order_nr"))),
]
"""Joins over links and keys of several columns."""


def _filtered(dice: random.Random, source: Relation, schema: Schema) -> Relation:
    """Raises Refuse where the source does."""
    facts = derive(source, schema)
    conditions = tuple(_condition(dice, facts) for _ in range(dice.choice([0, 0, 1, 2])))
    return Filter(source, conditions) if conditions else source


def _projected(dice: random.Random, source: Relation, schema: Schema, numbers: Numbers) -> Relation:
    """A subquery with some columns bare and some computed."""
    facts = derive(source, schema)
    names = [*facts.columns, *(facts.unit or ())]
    bare = [Column(name) for name in dice.sample(names, min(len(names), 4))]
    return Project(source, next(numbers), (*bare, _number(dice, facts), _condition(dice, facts)))


def _per_unit(dice: random.Random, source: Relation, schema: Schema, numbers: Numbers) -> Relation:
    facts = derive(source, schema)
    keys = _distinct([_key(dice, facts) for _ in range(dice.choice([0, 0, 1, 2]))])
    measures = [_unit_measure(dice, facts) for _ in range(dice.choice([0, 1, 2, 3]))]
    return UnitAggregate(source, tuple(keys), tuple(measures), next(numbers))


def _unit_measure(dice: random.Random, facts: Facts) -> UnitMeasure:
    function = dice.choice(["count_rows", "count", "count_distinct", "sum", "sum", "avg", "min", "max"])
    if function == "count_rows":
        return UnitMeasure(function, None)
    if function in ("sum", "avg"):
        return UnitMeasure(function, _number(dice, facts))
    return (
        UnitMeasure(function, Column(dice.choice(list(facts.columns))))
        if facts.columns
        else UnitMeasure("count_rows", None)
    )


def _windowed(dice: random.Random, source: Relation, schema: Schema, numbers: Numbers) -> Relation:
    facts = derive(source, schema)
    columns = tuple(_window_column(dice, facts) for _ in range(dice.choice([1, 2])))
    return Window(source, columns, next(numbers))


def _window_column(dice: random.Random, facts: Facts) -> WindowColumn:
    partition = tuple(
        Column(name) for name in dice.sample(sorted(facts.columns), min(len(facts.columns), dice.choice([0, 0, 1])))
    )
    order = tuple(
        (Column(name), dice.random() < 0.5, dice.random() < 0.5)
        for name in dice.sample(sorted(facts.columns), min(len(facts.columns), dice.choice([0, 1, 2])))
    )
    function = dice.choice(["row_number", "rank", "dense_rank", "lag", "lead", "measure"])
    if function in ("lag", "lead"):
        return WindowColumn(function, _number(dice, facts), partition, order, dice.choice([0, 1, 2]))
    if function != "measure":
        return WindowColumn(function, None, partition, order)
    measure = _unit_measure(dice, facts)
    if measure.function == "count_distinct":
        measure = UnitMeasure("count_rows", None)
    return WindowColumn(measure.function, measure.argument, partition, ())


def _first_rows(dice: random.Random, source: Relation, schema: Schema, numbers: Numbers) -> Relation:
    """The first or last rows of each unit: `row_number() ... = 1` and its like."""
    facts, number = derive(source, schema), next(numbers)
    names = dice.sample(sorted(facts.columns), min(len(facts.columns), 2))
    order = tuple((Column(name), dice.random() < 0.5, False) for name in names[:1])
    partition = tuple(Column(name) for name in names[1:] if dice.random() < 0.3)
    numbered = Window(source, (WindowColumn("row_number", None, partition, order),), number)
    test, most = dice.choice(
        [("equal", 1), ("equal", 1), ("equal", 2), ("less_equal", 1), ("less_equal", 2), ("less", 2)]
    )
    return Filter(numbered, (Call(test, (Column(f"{number}.w0"), Literal(most, BIGINT))),))


def _united(dice: random.Random, source: Relation, schema: Schema, numbers: Numbers) -> Relation:
    """Its rows and those of another table, or of its own once more."""
    table = dice.choice([name for name, table in schema.policy.tables.items() if not table.public])
    other: Relation = source if dice.random() < 0.3 else Scan(table, next(numbers))
    both = (derive(source, schema), derive(other, schema))
    columns: list[list[Expression]] = [[], []]
    for test in dice.sample(_KINDS, dice.choice([1, 2, 3])):
        found = [_pick(dice, facts, test) for facts in both]
        if None not in found:
            for side, column in zip(columns, found, strict=True):
                side.append(column)  # type: ignore[arg-type]
    if all(facts.unit for facts in both):
        for side, facts in zip(columns, both, strict=True):
            side.append(Column(min(facts.unit or ())))
    for side, facts in zip(columns, both, strict=True):
        side.append(_number(dice, facts))
    return UnionAll((source, other), (tuple(columns[0]), tuple(columns[1])), next(numbers))


_KINDS: list[Callable[[ColumnFacts], bool]] = [
    lambda c: c.type.numeric,
    lambda c: c.type == TEXT,
    lambda c: c.type == DATE,
    lambda c: c.type.kind == "boolean",
    lambda c: c.bins is not None,
]


def _chosen(dice: random.Random, source: Relation, schema: Schema, numbers: Numbers) -> Relation:
    """The rows with a partner, or without one: among rows of the unit, or in a reference table."""
    facts, kind = derive(source, schema), dice.choice(["semi", "anti"])
    number = next(numbers)
    of_shops = _of_shops(facts, number)
    if of_shops:
        other, on = dice.choice(of_shops)
        return Join(source, other, kind, on)
    if facts.unit and dice.random() < 0.6:
        table = dice.choice([name for name, table in schema.policy.tables.items() if not table.public])
        other: Relation = _filtered(dice, Scan(table, number), schema)
        unit = derive(other, schema).unit
        if unit:
            return Join(source, other, kind, ((min(facts.unit), min(unit)),))
    if "hospitals" not in schema.policy.tables:
        return source
    column = _pick(dice, facts, lambda c: c.type.whole and c.source is not None)
    word = _pick(dice, facts, lambda c: c.type == TEXT)
    if column is not None and (word is None or dice.random() < 0.5):
        return Join(source, Public("hospitals", number), kind, ((column.name, f"{number}.id"),))
    if word is not None:
        return Join(source, Public("codes", number), kind, ((word.name, f"{number}.code"),))
    return source


def _of_shops(facts: Facts, number: int) -> list[tuple[Relation, tuple[tuple[str, str], ...]]]:
    """What rows can be chosen by over a link or key of several columns, and the pairs."""
    names = {column.source: name for name, column in facts.columns.items() if column.source is not None}
    found: list[tuple[Relation, tuple[tuple[str, str], ...]]] = []
    for table, columns, other, theirs in (
        ("lines", ("shop", "order_nr"), Scan("orders", number), ("shop", "nr")),
        ("orders", ("shop", "nr"), Scan("lines", number), ("shop", "order_nr")),
        ("lines", ("part", "maker"), Public("offers", number), ("part", "maker")),
    ):
        if all((table, column) in names for column in columns):
            on = ((names[table, a], f"{number}.{b}") for a, b in zip(columns, theirs, strict=True))
            found.append((other, tuple(on)))
    return found


def _with_own_totals(dice: random.Random, source: Relation, schema: Schema, numbers: Numbers) -> Relation:
    """Each row beside what is known of its unit as a whole."""
    facts = derive(source, schema)
    table = dice.choice([name for name, table in schema.policy.tables.items() if not table.public])
    if not facts.unit:
        return source
    totals = _per_unit(dice, Scan(table, next(numbers)), schema, numbers)
    (unit,) = derive(totals, schema).unit or ()
    return Join(source, totals, dice.choice(["inner", "left"]), ((min(facts.unit), unit),))


_LAYERS = [_projected, _per_unit, _per_unit, _windowed, _first_rows, _united, _chosen, _with_own_totals]


def _pick(dice: random.Random, facts: Facts, test: Callable[[ColumnFacts], bool]) -> Column | None:
    names = [name for name, column in facts.columns.items() if test(column)]
    return Column(dice.choice(names)) if names else None


def _condition(dice: random.Random, facts: Facts) -> Expression:
    number = _pick(dice, facts, lambda c: c.type.numeric)
    text = _pick(dice, facts, lambda c: c.type == TEXT)
    day = _pick(dice, facts, lambda c: c.type == DATE)
    options: list[Expression] = [Literal(value=True, type=Type("boolean"))]
    if number:
        cut = Literal(dice.choice([-1, 0, 1, 2, 3, 50, 500]), BIGINT)
        options += [Call(dice.choice(["less", "greater_equal", "equal", "not_equal"]), (number, cut))]
        options += [Call("in", (number, cut, Literal(1, BIGINT))), Call("is_null", (number,))]
        options += [Call("greater", (_number(dice, facts), Literal(Decimal("1.5"), Type("decimal", 2, 1))))]
    if text:
        word = Literal(dice.choice(["F", "in", "flu", "county", "a", ""]), TEXT)
        options += [Call("equal", (text, word)), Call("like", (text, Literal("%u%", TEXT)))]
        options += [Call("not", (Call("is_null", (text,)),)), Call("in", (text, word, Literal("M", TEXT)))]
        options += [Call("starts_with", (Call("lower", (text,)), Literal("f", TEXT)))]
    if day:
        options.append(Call("greater_equal", (day, Literal(date(dice.choice([1960, 2021]), 3, 1), DATE))))
    first, second = dice.choice(options), dice.choice(options)
    return dice.choice([first, Call("or", (first, second)), Call("and", (first, second)), Call("not", (first,))])


def _number(dice: random.Random, facts: Facts) -> Expression:
    column = _pick(dice, facts, lambda c: c.type.numeric and c.bounds is not None)
    if column is None:
        return Literal(dice.choice([1, -3]), BIGINT)
    other = _pick(dice, facts, lambda c: c.type.numeric and c.bounds is not None) or column
    two = Literal(2, BIGINT)
    return dice.choice(
        [
            column,
            column,
            column,
            Call("multiply", (column, two)),
            Call("add", (column, other)),
            Call("subtract", (column, other)),
            Call("negate", (column,)),
            Call("divide", (column, Literal(Decimal("0.5"), Type("decimal", 1, 1)))),
            Call("coalesce", (column, two)),
            Call("abs", (column,)),
            Call("modulo", (column, Literal(7, BIGINT))),
            Call("int_divide", (column, two)),
            Call("sqrt", (column,)),
            Call("to_integer", (column,)),
            Call("greatest", (column, other)),
            Call("round", (column, Literal(1, BIGINT))),
            Case(((_small_condition(column), column),), Literal(0, BIGINT)),
        ]
    )


def _small_condition(column: Column) -> Expression:
    return Call("less", (column, Literal(100, BIGINT)))


def _key(dice: random.Random, facts: Facts) -> Expression:
    options: list[Expression] = [Case(((_condition(dice, facts), Literal("yes", TEXT)),), Literal("no", TEXT))]
    for name, column in facts.columns.items():
        if column.type.kind in ("text", "boolean") or (column.type.whole and column.keys is not None):
            options += [Column(name), Column(name)]
        if column.type.kind == "text":
            options += [Call("upper", (Column(name),)), Call("left", (Column(name), Literal(1, BIGINT)))]
        if column.type.whole and column.keys is None:
            options.append(Column(name))
        if column.type == DATE:
            options += [
                Call(dice.choice(["year", "month", "trunc_month", "decade", "week", "day_of_week"]), (Column(name),))
            ]
        if column.bins is not None:
            options.append(Call("bin", (Column(name),)))
    return dice.choice(options)


def _measure(dice: random.Random, facts: Facts) -> Measure:
    function = dice.choice(_FUNCTIONS)
    if function == "count_rows":
        return Measure(function)
    if function == "count_units":
        return Measure(function, dice.choice([None, None, _condition(dice, facts)]))
    if function in ("count", "count_distinct"):
        return Measure(function, Column(dice.choice(list(facts.columns)))) if facts.columns else Measure("count_rows")
    if function == "quantile":
        return Measure(function, _number(dice, facts), fraction=Decimal(dice.choice(["0.5", "0.25", "0.9", "0", "1"])))
    if function in ("covar_pop", "corr"):
        return Measure(function, _number(dice, facts), _number(dice, facts))
    return Measure(function, _number(dice, facts))


_FUNCTIONS: list[MeasureFunction] = [
    "count_rows",
    "count",
    "count_units",
    "count_distinct",
    "sum",
    "sum",
    "avg",
    "avg",
    "var_samp",
    "stddev_pop",
    "covar_pop",
    "corr",
    "quantile",
]
