"""HAVING, ORDER BY, LIMIT and computed columns over released rows, held against a plain reading in Python."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from functools import cmp_to_key
from typing import Any, get_args

import duckdb
import pytest

from policies.types import BIGINT, BOOLEAN, INTEGER, TEXT, Type, Value
from sandbox.publics import PublicColumn, PublicRows
from sandbox.relational.expressions import Call, Case, Column, Expression, Literal
from sandbox.relational.facts import Facts, Refuse
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
    JoinKind,
    Limit,
    Output,
    Project,
    Public,
    Relation,
    Release,
    Rollup,
    Scan,
    Sort,
    Window,
    WindowColumn,
    WindowFunction,
)
from sandbox.release import above_sql, ordered_sql, post, windows
from sandbox.release.above import Ground

CHAINS = 60
TYPES: Mapping[str, Type] = {"k0": TEXT, "m0": BIGINT, "m1": BIGINT}
RELEASE = Release(Scan("people", 0), (), ())
PLACES = PublicRows(
    "places",
    (PublicColumn("name", TEXT), PublicColumn("size", INTEGER)),
    (("a", 1), ("a", 7), ("b", None), (None, 0), ("B", 1), ("c", -4)),
)
PUBLICS = {"places": PLACES}
Named = dict[str, Any]
Numbered = list[tuple[int, Named]]


def number(value: int) -> Literal:
    return Literal(value, BIGINT)


def value_of(expression: Expression, row: Named) -> Any:
    """SQL's meaning, written down again: null in, null out, and three truth values."""
    match expression:
        case Column(name=name):
            return row[name]
        case Literal(value=value):
            return value
        case Case(branches=branches, otherwise=otherwise):
            return next((value_of(v, row) for c, v in branches if value_of(c, row)), value_of(otherwise, row))
        case Call(function="is_null", arguments=(only,)):
            return value_of(only, row) is None
        case Call(function=function, arguments=arguments):
            parts = [value_of(a, row) for a in arguments]
            return None if None in parts else _EXACT[function](*parts)
    raise AssertionError(expression)


_EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negate": lambda a: -a,
    "less": lambda a, b: a < b,
    "equal": lambda a, b: a == b,
    "greater_equal": lambda a, b: a >= b,
    "not": lambda a: not a,
}


def run_plainly(node: Relation, rows: Numbered) -> Numbered:
    match node:
        case Filter(source=source, conditions=conditions):
            return [r for r in run_plainly(source, rows) if all(value_of(c, r[1]) is True for c in conditions)]
        case Sort(source=source, by=by):
            return sorted(run_plainly(source, rows), key=cmp_to_key(lambda a, b: _compared(a[1], b[1], by)))
        case Limit(source=source, count=count, offset=offset):
            found = run_plainly(source, rows)[offset:]
            return found if count is None else found[:count]
        case Project(source=source, number=place, columns=columns):
            below = run_plainly(source, rows)
            return [(i, {f"{place}.{n}": value_of(e, r) for n, e in enumerate(columns)}) for i, r in below]
        case Distinct(source=source, columns=columns):
            first: dict[tuple[Any, ...], tuple[int, Named]] = {}
            for i, r in run_plainly(source, rows):
                first.setdefault(tuple(value_of(e, r) for e in columns), (i, r))
            return list(first.values())
        case Join(left=left, right=right, kind=kind, on=on):
            joined: Numbered = []
            for i, r in run_plainly(left, rows):
                partners = [
                    other
                    for other in _public_plainly(right)
                    if all(r[a] is not None and r[a] == other[b] for a, b in on)
                ]
                nobody = [dict.fromkeys(_columns_of(right))] if kind == "left" and not partners else []
                joined += [(i, r | other) for other in partners or nobody]
            return joined
        case Window(source=source, columns=windows, number=place):
            below = run_plainly(source, rows)
            beside = [_window_plainly(window, [r for _, r in below]) for window in windows]
            return [
                (i, r | {f"{place}.w{n}": values[at] for n, values in enumerate(beside)})
                for at, (i, r) in enumerate(below)
            ]
    return rows


def _columns_of(node: Relation) -> list[str]:
    table = node.source if isinstance(node, Filter) else node
    return [f"{table.number}.{column.name}" for column in PLACES.columns]


def _public_plainly(node: Relation) -> list[Named]:
    if isinstance(node, Filter):
        return [r for r in _public_plainly(node.source) if all(value_of(c, r) is True for c in node.conditions)]
    return [dict(zip(_columns_of(node), row, strict=True)) for row in PLACES.rows]


def _window_plainly(window: WindowColumn, rows: list[Named]) -> list[Any]:
    """A value per row: each looks at its own partition, one row at a time."""
    parts = [tuple(value_of(e, row) for e in window.partition) for row in rows]
    found = []
    for at, row in enumerate(rows):
        mine = [other for other in range(len(rows)) if parts[other] == parts[at]]
        mine.sort(key=cmp_to_key(lambda a, b: _compared(rows[a], rows[b], window.order)))
        before = [other for other in mine if _compared(rows[other], row, window.order) < 0]
        upto = [other for other in mine if _compared(rows[other], row, window.order) <= 0]
        values = [] if window.argument is None else [value_of(window.argument, rows[other]) for other in upto]
        present = [value for value in values if value is not None]
        place = mine.index(at)
        match window.function:
            case "row_number":
                found.append(place + 1)
            case "rank":
                found.append(len(before) + 1)
            case "dense_rank":
                keys = [tuple(str(value_of(e, rows[other])) for e, _, _ in window.order) for other in before]
                found.append(len(set(keys)) + 1)
            case "lag" | "lead":
                there = place + (window.offset if window.function == "lead" else -window.offset)
                inside = 0 <= there < len(mine)
                found.append(value_of(window.argument, rows[mine[there]]) if inside else None)
            case "count_rows":
                found.append(len(upto))
            case "count":
                found.append(len(present))
            case "sum":
                found.append(sum(present) if present else None)
            case "avg":
                found.append(sum(present) / len(present) if present else None)
            case "min" | "max":
                found.append((min if window.function == "min" else max)(present) if present else None)
    return found


def _compared(one: Named, other: Named, by: Sequence[tuple[Expression, bool, bool]]) -> int:
    for expression, descending, nulls_first in by:
        a, b = value_of(expression, one), value_of(expression, other)
        if a is None or b is None:
            if (a is None) != (b is None):
                return -1 if (a is None) == nulls_first else 1
        elif a != b:
            return -1 if (a < b) != descending else 1
    return 0


def random_chain(dice: random.Random) -> Output:
    """Filters, sorts, limits and projections in any order, then the output."""
    node: Relation = RELEASE
    texts, numbers = ["k0"], ["m0", "m1"]
    for step in range(dice.randint(0, 5)):
        match dice.choice(["filter", "sort", "sort", "limit", "project", "distinct", "window", "window", "join"]):
            case "filter":
                node = Filter(node, tuple(_condition(dice, texts, numbers) for _ in range(dice.randint(1, 2))))
            case "sort":
                terms = [(_term(dice, texts, numbers), dice.random() < 0.5, dice.random() < 0.5) for _ in "ab"]
                node = Sort(node, tuple(terms[: dice.randint(1, 2)]))
            case "limit":
                node = Limit(node, dice.choice([None, 0, 1, 4, 9]), dice.choice([0, 0, 1, 3, 50]))
            case "distinct":
                node = Distinct(node, (Column(dice.choice(texts)), _number(dice, numbers))[: dice.randint(1, 2)])
            case "join":
                node = _join(dice, node, step + 1, texts, numbers)
                texts, numbers = [*texts, f"{step + 1}.name"], [*numbers, f"{step + 1}.size"]
            case "window":
                node = Window(node, tuple(_window(dice, texts, numbers) for _ in range(2)), step + 1)
                numbers = [*numbers, f"{step + 1}.w0", f"{step + 1}.w1"]
            case _:
                columns = (Column(dice.choice(texts)), *(_number(dice, numbers) for _ in range(2)))
                node = Project(node, step + 1, columns)
                texts, numbers = [f"{step + 1}.0"], [f"{step + 1}.1", f"{step + 1}.2"]
    return Output(node, (("t", Column(texts[0])), ("n", _number(dice, numbers)), ("m", Column(numbers[-1]))))


FUNCTIONS: tuple[WindowFunction, ...] = get_args(WindowFunction)


def _window(dice: random.Random, texts: list[str], numbers: list[str]) -> WindowColumn:
    """Any function over numbers, in order or not, over parts or not."""
    function = dice.choice(FUNCTIONS)
    bare = function in ("row_number", "rank", "dense_rank", "count_rows")
    by = tuple((_term(dice, texts, numbers), dice.random() < 0.5, dice.random() < 0.5) for _ in range(2))
    return WindowColumn(
        function,
        None if bare else _number(dice, numbers),
        tuple(Column(name) for name in texts if dice.random() < 0.5),
        by[: dice.randint(0, 2)],
        dice.choice([1, 1, 2, 0]),
    )


def _join(dice: random.Random, node: Relation, step: int, texts: list[str], numbers: list[str]) -> Join:
    right: Relation = Public("places", step)
    if dice.random() < 0.3:
        right = Filter(right, (Call("less", (Column(f"{step}.size"), number(2))),))
    pairs = ((dice.choice(texts), f"{step}.name"), (dice.choice(numbers), f"{step}.size"))
    kind: JoinKind = dice.choice(["inner", "left", "left"])
    return Join(node, right, kind, dice.choice([pairs[:1], pairs[1:], pairs]))


def _number(dice: random.Random, numbers: list[str]) -> Expression:
    a, b = Column(dice.choice(numbers)), Column(dice.choice(numbers))
    return dice.choice(
        [
            a,
            Call("add", (a, b)),
            Call("subtract", (a, number(3))),
            Call("multiply", (a, number(-2))),
            Call("negate", (b,)),
            Case(((Call("less", (a, number(2))), number(1)),), b),
        ]
    )


def _term(dice: random.Random, texts: list[str], numbers: list[str]) -> Expression:
    return Column(dice.choice(texts)) if dice.random() < 0.4 else _number(dice, numbers)


def _condition(dice: random.Random, texts: list[str], numbers: list[str]) -> Expression:
    a = _number(dice, numbers)
    return dice.choice(
        [
            Call("less", (a, number(5))),
            Call("greater_equal", (a, Column(numbers[0]))),
            Call("not", (Call("equal", (a, number(1))),)),
            Call("is_null", (Column(texts[0]),)),
            Call("not", (Call("is_null", (a,)),)),
            Call("equal", (Column(texts[0]), Literal("b", TEXT))),
        ]
    )


def random_rows(dice: random.Random) -> list[tuple[Value, ...]]:
    """Few values, so that ties are many; nulls in every column."""
    values = [None, -4, 0, 1, 1, 2, 7]
    return [(dice.choice([None, "a", "b", "B", ""]), dice.choice(values), dice.choice(values)) for _ in range(12)]


def typed(rows: Sequence[tuple[int, tuple[Value, ...]]]) -> list[tuple[int, list[tuple[type, Value]]]]:
    """1 and 1.0 are equal, and look otherwise in an answer."""
    return [
        (i, [(type(value), round(value, 6) if type(value) is float else value) for value in row]) for i, row in rows
    ]


def disagreements(chains: int, seed: int) -> Iterator[str]:
    dice = random.Random(seed)
    for _ in range(chains):
        plan, rows = random_chain(dice), random_rows(dice)
        named = [(i, dict(zip(TYPES, row, strict=True))) for i, row in enumerate(rows)]
        expected = [(i, tuple(value_of(e, r) for _, e in plan.columns)) for i, r in run_plainly(plan.source, named)]
        if typed(post.run(plan, TYPES, rows, PUBLICS)) != typed(expected):
            yield f"{plan} over {rows}"


def test_chains_over_released_rows_mean_what_a_plain_reading_says() -> None:
    assert list(disagreements(CHAINS, 20261123)) == []


FAULTS = ("unstable", "nulls", "offset", "whole partition", "distinct", "lag", "inner")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_disorder_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sort_key, order_by, window, lower = windows.sort_key, windows.order_by, windows.window, above_sql.lower

    def careless(node: Relation, ground: Ground) -> str:
        match node:
            case Limit(count=count) if fault == "offset":
                return lower(Limit(node.source, count, 0), ground)
            case Distinct() if fault == "distinct":
                return lower(node.source, ground)
            case Join(kind="left") if fault == "inner":
                return lower(replace(node, kind="inner"), ground)
        return lower(node, ground)

    def skewed(column: WindowColumn, facts: Facts) -> str:
        order = column.order if fault == "lag" else ()
        return window(replace(column, order=order, offset=column.offset + (fault == "lag")), facts)

    if fault == "unstable":
        monkeypatch.setattr(ordered_sql, "order_by", lambda order, facts: f"{order_by(order, facts)} DESC")
    elif fault == "nulls":
        monkeypatch.setattr(windows, "sort_key", lambda e, d, n, facts: sort_key(e, d, d, facts))
    elif fault in ("whole partition", "lag"):
        monkeypatch.setattr(above_sql, "window", skewed)
    else:
        monkeypatch.setattr(above_sql, "lower", careless)
        monkeypatch.setattr(post, "lower", careless)
    assert next(disagreements(CHAINS, 20261123), None)


def test_ties_keep_the_order_of_the_release() -> None:
    rows = [("a", 1, i) for i in range(40)]
    plan = Output(Sort(RELEASE, ((Column("m0"), True, False),)), (("i", Column("m1")),))
    assert [row for _, row in post.run(plan, TYPES, rows)] == [(i,) for i in range(40)]


def test_every_value_of_a_released_column_comes_back_as_it_is() -> None:
    types = {"k0": TEXT, "k1": BOOLEAN, "m0": BIGINT, "m1": Type("double"), "m2": Type("decimal", 38, 2)}
    rows: list[tuple[Value, ...]] = [
        ('it\'s "quoted"', True, 2**63 - 1, 1e308, Decimal("9" * 36 + ".99")),
        (None, None, -(2**63), 5e-324, Decimal("-0.01")),
    ]
    plan = Output(Limit(RELEASE, None, 0), tuple((name, Column(name)) for name in types))
    assert [row for _, row in post.run(plan, types, rows)] == rows


def test_numbers_that_are_none_are_null() -> None:
    """Overflow and division by 0 end as null, never as an error and never as infinity in an answer."""
    types = {"m0": Type("double"), "m1": BIGINT}
    times = Call("multiply", (Column("m0"), Column("m0")))
    ratio = Call("divide", (Column("m0"), Column("m1")))
    huge = Call("multiply", (Column("m1"), number(1000)))
    plan = Output(RELEASE, (("a", times), ("b", ratio), ("c", huge)))
    found = post.run(plan, types, [(1e308, 0), (1.0, 2**60)])
    assert found == [(0, (None, None, 0)), (1, (1.0, 2.0**-60, None))]


def test_whole_results_that_may_be_too_large_for_64_bits_are_doubles() -> None:
    types = {"m0": BIGINT}
    columns: dict[str, tuple[Expression, str, Value]] = {
        "twice": (Call("multiply", (Column("m0"), number(2))), "bigint", 80),
        "many": (Call("multiply", (Column("m0"), number(1000))), "bigint", 40_000),
        "square": (Call("multiply", (Column("m0"), Column("m0"))), "double", 1600.0),
        "far": (Call("add", (number(2**63 - 1), Column("m0"))), "double", 2.0**63),
        "minus": (Call("subtract", (Column("m0"), number(2**63 - 1))), "double", -(2.0**63)),
        "floor": (
            Call("floor", (Call("multiply", (Column("m0"), Literal(Decimal(10) ** 300, Type("double")))),)),
            "double",
            4e301,
        ),
    }
    plan = Output(RELEASE, tuple((name, expression) for name, (expression, _, _) in columns.items()))
    assert [s.type.kind for s in post.outputs(plan, types)] == [kind for _, kind, _ in columns.values()]
    assert post.run(plan, types, [(40,)]) == [(0, tuple(value for _, _, value in columns.values()))]


@pytest.mark.parametrize(
    "source",
    [
        Filter(RELEASE, (Column("m0"),)),
        Filter(RELEASE, (Call("bin", (Column("m0"),)),)),
        Sort(RELEASE, ((Call("year", (Column("m0"),)), False, False),)),
        Sort(RELEASE, ((Column("0.income"), False, False),)),
        Filter(Scan("people", 0), ()),
        Join(Scan("people", 0), Public("hospitals", 1), "inner", ()),
        Distinct(RELEASE, (Column("0.income"),)),
        Window(RELEASE, (WindowColumn("sum", Column("k0"), (), ()),), 1),
        Window(RELEASE, (WindowColumn("sum", None, (), ()),), 1),
        Window(RELEASE, (WindowColumn("lag", Column("m0"), (), (), -1),), 1),
        Window(RELEASE, (WindowColumn("lag", Column("m0"), (), (), 2**40),), 1),
        Window(RELEASE, (WindowColumn("rank", None, (Column("0.income"),), ()),), 1),
        Window(RELEASE, (WindowColumn("rank", None, (), ((Column("0.income"), False, False),)),), 1),
    ],
)
def test_what_could_not_run_is_refused_before_it_is_paid_for(source: Relation) -> None:
    with pytest.raises(Refuse):
        post.outputs(Output(source, (("n", Column("m0")),)), TYPES)


def windowed(*columns: WindowColumn, source: Relation = RELEASE) -> Output:
    return Output(Window(source, columns, 7), tuple((f"w{i}", Column(f"7.w{i}")) for i in range(len(columns))))


def test_a_window_over_keys_alone_is_a_key_and_any_other_is_noisy() -> None:
    by_key, by_number = ((Column("k0"), False, False),), ((Column("m0"), True, False),)
    columns = (
        WindowColumn("rank", None, (), by_key),
        WindowColumn("rank", None, (), by_number),
        WindowColumn("lag", Column("k0"), (), by_number),
        WindowColumn("sum", Column("m1"), (), ()),
        WindowColumn("count_rows", None, (Column("k0"),), ()),
    )
    assert [column.is_key for column in post.outputs(windowed(*columns), TYPES)] == [True, False, False, False, True]


def test_what_decided_on_the_rows_is_part_of_a_window() -> None:
    """How many groups are left after HAVING says something of their numbers."""
    counted = WindowColumn("count_rows", None, (), ())
    kept = Filter(RELEASE, (Call("greater_equal", (Column("m0"), number(1))),))
    for source in (
        kept,
        Limit(Sort(RELEASE, ((Column("m1"), True, False),)), 3, 0),
        Distinct(RELEASE, (Column("m0"),)),
    ):
        (shown,) = post.outputs(windowed(counted, source=source), TYPES)
        assert not shown.is_key
    (shown,) = post.outputs(windowed(counted), TYPES)
    assert shown.is_key


def test_a_column_of_a_window_reads_what_the_window_reads() -> None:
    window = Window(RELEASE, (WindowColumn("sum", Column("m1"), (Column("k0"),), ((Column("m0"), False, False),)),), 7)
    share = Call("divide", (Column("m1"), Column("7.w0")))
    (shown,) = post.outputs(Output(window, (("share", share),)), TYPES)
    assert shown.reads == {"k0", "m0", "m1"}
    assert shown.type.kind == "double"


def test_sums_over_windows_are_exact_and_total() -> None:
    from decimal import Decimal

    types = {"m0": BIGINT, "m1": Type("decimal", 38, 2), "m2": Type("double")}
    columns = tuple(WindowColumn("sum", Column(name), (), ()) for name in types)
    rows: list[tuple[Value, ...]] = [(2**62, Decimal("9007199254740993.01"), 1e308)] * 2
    assert [row for _, row in post.run(windowed(*columns), types, rows)] == [
        (None, Decimal("18014398509481986.02"), None)
    ] * 2


def test_what_lies_at_the_bottom_is_no_matter() -> None:
    """Rolled-up groups say by `g` columns what is rolled up."""
    types = {"k0": TEXT, "m0": BIGINT, "g0": BIGINT}
    plan = Output(
        Filter(Rollup(RELEASE, ((0,), ())), (Call("equal", (Column("g0"), number(1))),)),
        (("k", Column("k0")), ("n", Column("m0")), ("g", Column("g0"))),
    )
    assert post.run(plan, types, [("a", 1, 0), ("b", 2, 0), (None, 3, 1)]) == [(2, (None, 3, 1))]
    assert [column.is_key for column in post.outputs(plan, types)] == [True, False, True]
    assert post.is_plain(Output(Rollup(RELEASE, ((),)), (("k", Column("k0")),)))


def answered_at_once() -> bool:
    """Whether each of many answers made at the same time is of its own rows alone."""
    types = {"k0": TEXT, "m0": BIGINT}
    plan = Output(Sort(RELEASE, ((Column("m0"), True, False),)), (("k", Column("k0")), ("n", Column("m0"))))

    def one(number_: int) -> bool:
        rows = [(f"{number_}-{i}", i) for i in range(20)]
        return [row for _, row in post.run(plan, types, rows)] == rows[::-1]

    with ThreadPoolExecutor(8) as pool:
        return all(pool.map(one, range(200)))


def test_answers_made_at_once_see_nothing_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answered_at_once()
    assert post._engine().execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]
    monkeypatch.setattr(post, "_private", lambda: contextlib.nullcontext(post._engine()))  # planted: one for all
    with pytest.raises(duckdb.Error):
        answered_at_once()


# Joins with public tables.


def beside(*on: tuple[str, str], kind: JoinKind = "inner", source: Relation = RELEASE) -> Join:
    return Join(source, Public("places", 5), kind, on)


NAME, SIZE = ("n", Column("5.name")), ("s", Column("5.size"))


def test_what_a_public_table_says_is_a_key_where_a_key_has_found_it() -> None:
    for on, is_key in (("k0", "5.name"), True), (("m0", "5.size"), False):
        shown = post.outputs(Output(beside(on), (NAME, SIZE)), TYPES, PUBLICS)
        assert [column.is_key for column in shown] == [is_key, is_key]
    joined = beside(("k0", "5.name"), source=Filter(RELEASE, (Call("less", (Column("m0"), number(3))),)))
    counted = Window(joined, (WindowColumn("count_rows", None, (), ()),), 7)
    name, count = post.outputs(Output(counted, (NAME, ("c", Column("7.w0")))), TYPES, PUBLICS)
    assert name.is_key
    assert not count.is_key


def test_a_large_whole_number_meets_itself_and_not_its_neighbour() -> None:
    """2^53 and 2^53 + 1 are one and the same double."""
    table = PublicRows("t", (PublicColumn("id", BIGINT),), ((2**53,), (2**53 + 1,)))
    plan = Output(Join(RELEASE, Public("t", 1), "inner", (("m0", "1.id"),)), (("id", Column("1.id")),))
    found = post.run(plan, {"m0": BIGINT}, [(2**53 + 1,)], {"t": table})
    assert found == [(0, (2**53 + 1,))]


def test_rows_that_meet_several_rows_stand_in_the_order_of_the_public_table() -> None:
    plan = Output(beside(("k0", "5.name")), (("n", Column("m0")), SIZE))
    rows = [("a", 1, 0), ("b", 2, 0), ("a", 3, 0)]
    assert [row for _, row in post.run(plan, TYPES, rows, PUBLICS)] == [(1, 1), (1, 7), (2, None), (3, 1), (3, 7)]


@pytest.mark.parametrize(
    ("join", "code"),
    [
        (beside(), "join_not_allowed"),
        (beside(("k0", "5.name"), kind="semi"), "join_not_allowed"),
        (beside(("k0", "5.size")), "type_mismatch"),
        (beside(("k0", "5.secret")), "column_unknown"),
        (beside(("0.pid", "5.name")), "column_unknown"),
        (Join(RELEASE, Public("huge", 5), "inner", (("k0", "5.name"),)), "join_not_allowed"),
        (Join(RELEASE, Scan("people", 5), "inner", (("k0", "5.name"),)), "join_not_allowed"),
        (Join(RELEASE, RELEASE, "inner", (("k0", "k0"),)), "join_not_allowed"),
        (Join(Public("places", 5), RELEASE, "inner", (("5.name", "k0"),)), "construct_not_allowed"),
        (
            Join(RELEASE, Filter(Public("places", 5), (Column("5.name"),)), "inner", (("k0", "5.name"),)),
            "type_mismatch",
        ),
        (Join(RELEASE, Filter(Public("places", 5), (Column("k0"),)), "inner", (("k0", "5.name"),)), "column_unknown"),
    ],
)
def test_any_other_join_is_refused_before_it_is_paid_for(join: Join, code: str) -> None:
    with pytest.raises(Refuse) as caught:
        post.outputs(Output(join, (("n", Column("m0")),)), TYPES, PUBLICS)
    assert caught.value.refused.code == code


def test_an_answer_that_joins_could_blow_up_is_refused() -> None:
    once, twice = Output(beside(("k0", "5.name")), (NAME,)), beside(("k0", "5.name"))
    again = Output(Join(twice, Public("places", 6), "inner", (("k0", "6.name"),)), (NAME,))
    unique = replace(PLACES, rows=PLACES.rows[2:])
    post.require_small(once, TYPES, PUBLICS, post.ROWS_MAX // 2)
    post.require_small(again, TYPES, {"places": unique}, None)
    rolled = Output(beside(("k0", "5.name"), source=Rollup(RELEASE, ((0,), ()))), (NAME,))
    post.require_small(rolled, TYPES, PUBLICS, post.ROWS_MAX // 4)
    with pytest.raises(Refuse):
        post.require_small(rolled, TYPES, PUBLICS, post.ROWS_MAX // 4 + 1)
    for plan, groups in ((once, post.ROWS_MAX // 2 + 1), (again, post.ROWS_MAX // 2), (once, None)):
        with pytest.raises(Refuse) as caught:
            post.require_small(plan, TYPES, PUBLICS, groups)
        assert caught.value.refused.code == "result_too_large"
