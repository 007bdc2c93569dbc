"""What leaves: numbers, intervals that hold what they promise, notes, and the names of what was asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from policies.types import BIGINT, DOUBLE, TEXT, Type
from sandbox.protocol import Price
from sandbox.publics import PublicColumn, PublicRows
from sandbox.relational.expressions import Call, Column, Expression, Literal
from sandbox.relational.nodes import (
    Filter,
    Join,
    Limit,
    Measure,
    Output,
    Project,
    Public,
    Scan,
    Sort,
    Window,
    WindowColumn,
)
from sandbox.relational.nodes import Release as Asked
from sandbox.release import bands, present
from sandbox.release.answer import answer
from sandbox.release.noise import Scale
from sandbox.release.released import Release, ReleasedGrid, ReleasedKey, ReleasedMeasure, ReleasedStatistic

TRIALS = 400
INCOME = Column("0.income")
ASKED = Asked(
    Scan("people", 0),
    (Column("0.sex"),),
    (Measure("count_rows"), Measure("sum", INCOME), Measure("avg", INCOME)),
)
COUNT = ReleasedMeasure("count_rows", BIGINT, 0, clamped=False)
SUM = ReleasedMeasure("sum", Type("decimal", 38, 2), 1, clamped=True)
MEAN = ReleasedMeasure("avg", DOUBLE, 2, clamped=True)
COUNTS = ReleasedStatistic("laplace", 3.0, 1, (), None, ((30,), (-4,), (0,)))
SUMS = ReleasedStatistic("gaussian", 20.0, 1, (ReleasedGrid("0", "500", "1/4"),), None, ((4000,), (-8,), (3,)))
MEANS = ReleasedStatistic(
    "gaussian",
    5.0,
    2**20,
    (ReleasedGrid("0", "100", "1"),),
    None,
    ((9 * 2**20, 2**20), (-5, 3), (2, 2**30)),
)
RELEASE = Release(
    "bpk-release-2", "clinic", ASKED, "q", "s", "dp", Price(1, 0, 0), (ReleasedKey(TEXT, public=True),),
    (("F",), ("M",), (None,)), (True, False, False), (COUNTS, SUMS, MEANS), (COUNT, SUM, MEAN), units_dropped=False,
)  # fmt: skip
K, N, S, M = Column("k0"), Column("m0"), Column("m1"), Column("m2")


def told(*columns: tuple[str, Expression], source: object = ASKED):
    return answer(RELEASE, "rel", "hash", Output(source, columns))


def test_bare_columns_leave_in_released_order_with_their_kinds() -> None:
    found = told(("who", K), ("n", N), ("total", S), ("mean", M))
    assert [(c.name, c.kind, c.type.kind) for c in found.columns] == [
        ("who", "key", "text"),
        ("n", "noisy", "bigint"),
        ("total", "noisy", "decimal"),
        ("mean", "noisy", "double"),
    ]
    assert found.rows[0][:3] == ("F", 30, Decimal("1000.00"))
    assert found.rows[0][3] == pytest.approx(50 + 50 / 9)
    assert found.intervals[0][0] is None
    assert [row[0] for row in found.rows] == ["F", "M", None]


def test_a_mean_of_no_rows_is_the_middle_and_its_interval_the_range() -> None:
    found = told(("mean", M))
    assert found.rows[1] == (50.0,)
    assert found.intervals[1] == ((0.0, 100.0),)
    assert found.rows[2] == (100.0,)


def test_every_interval_holds_its_own_number() -> None:
    for expression in (N, S, M, Call("divide", (S, N)), Call("round", (M, Literal(1, BIGINT))), Call("negate", (S,))):
        found = told(("x", expression))
        for row, intervals in zip(found.rows, found.intervals, strict=True):
            if intervals[0] is not None:
                low, high = intervals[0]
                assert float(low) <= float(row[0]) <= float(high)


def test_a_number_too_large_for_64_bits_leaves_as_a_double_within_its_interval() -> None:
    found = told(("x", Call("add", (Literal(2**63 - 1, BIGINT), N))))
    assert found.columns[0].type == DOUBLE
    for (value,), (interval,) in zip(found.rows, found.intervals, strict=True):
        assert interval is not None
        assert float(interval[0]) <= value <= float(interval[1])


HUGE = replace(RELEASE, statistics=(replace(COUNTS, noisy=((2**62,), (-(2**62),), (5,))), SUMS, MEANS))


def test_where_there_is_no_number_there_is_no_interval() -> None:
    """A released count beyond all expectation, times 1000: too large for its type, which was told beforehand."""
    thousand = Literal(1000, BIGINT)
    found = answer(HUGE, "rel", "hash", Output(ASKED, (("x", Call("multiply", (N, thousand))),)))
    assert found.columns[0].type == BIGINT
    assert [row[0] for row in found.rows] == [None, None, 5000]
    assert [interval[0] is None for interval in found.intervals] == [True, True, False]


def test_an_interval_whose_ends_its_type_cannot_hold_is_none() -> None:
    most = Literal(Decimal("1.5e307"), DOUBLE)
    found = told(("x", Call("multiply", (most, Call("negate", (N,))))))
    assert found.rows == ((None,), (6e307,), (0.0,))
    assert [interval[0] is None for interval in found.intervals] == [True, True, False]
    for type_, largest in ((BIGINT, 2**63 - 1), (Type("decimal", 5, 2), Fraction("999.99")), (DOUBLE, 10**308)):
        assert present.fits(-Fraction(largest), type_)
        assert not present.fits(Fraction(largest) * 2, type_)


def test_a_ratio_whose_divisor_may_be_0_has_no_interval() -> None:
    found = told(("x", Call("divide", (S, N))))
    assert [interval[0] is None for interval in found.intervals] == [False, True, True]
    assert found.rows[2] == (None,)


def test_notes_say_what_the_interval_does_not_cover_and_follow_their_group() -> None:
    upside_down = Sort(ASKED, ((N, False, False),))
    found = told(("who", K), ("n", N), ("x", Call("add", (N, S))), source=upside_down)
    assert [row[0] for row in found.rows] == ["M", None, "F"]
    assert found.notes == (
        (None, None, ("may_be_clipped",)),
        (None, None, ("may_be_clipped",)),
        (None, ("near_threshold",), ("near_threshold", "may_be_clipped")),
    )


def test_rows_that_leave_keep_the_cells_of_the_release() -> None:
    """Whatever is filtered, sorted or cut: a released number and its interval are the same wherever they stand."""
    plain = told(("who", K), ("n", N), ("total", S))
    whole = {row[0]: (row, intervals) for row, intervals in zip(plain.rows, plain.intervals, strict=True)}
    some = Limit(Sort(Filter(ASKED, (Call("less", (N, Literal(5, BIGINT))),)), ((S, True, False),)), 2, 0)
    renamed = Project(some, 4, (K, N, S))
    found = told(*((f"c{i}", Column(f"4.{i}")) for i in range(3)), source=renamed)
    assert len(found.rows) == 2
    for row, intervals in zip(found.rows, found.intervals, strict=True):
        assert (row, intervals) == whole[row[0]]


def test_a_release_without_groups_is_an_answer_without_rows() -> None:
    nothing = tuple(replace(statistic, noisy=()) for statistic in RELEASE.statistics)
    empty = replace(RELEASE, groups=(), near_threshold=(), statistics=nothing)
    plans = (Output(ASKED, (("n", N),)), Output(Limit(ASKED, 1, 0), (("n", Call("add", (N, N))),)))
    assert [answer(empty, "rel", "hash", plan).rows for plan in plans] == [(), ()]


EXPRESSIONS: dict[str, tuple[Expression, Callable[[Fraction, Fraction], Fraction]]] = {
    "a": (Column("m0"), lambda a, b: a),
    "a + b": (Call("add", (Column("m0"), Column("m1"))), lambda a, b: a + b),
    "a - b": (Call("subtract", (Column("m0"), Column("m1"))), lambda a, b: a - b),
    "a * 2": (Call("multiply", (Column("m0"), Literal(2, BIGINT))), lambda a, b: 2 * a),
    "a * b": (Call("multiply", (Column("m0"), Column("m1"))), lambda a, b: a * b),
    "a / b": (Call("divide", (Column("m0"), Column("m1"))), lambda a, b: a / b),
    "-abs(a)": (Call("negate", (Call("abs", (Column("m0"),)),)), lambda a, b: -abs(a)),
    "least(a, b)": (Call("least", (Column("m0"), Column("m1"))), min),
    "greatest(a, 3)": (Call("greatest", (Column("m0"), Literal(3, BIGINT))), lambda a, b: max(a, Fraction(3))),
    "floor(a / 4)": (
        Call("floor", (Call("divide", (Column("m0"), Literal(4, BIGINT))),)),
        lambda a, b: Fraction(a // 4),
    ),
    "a * 0.5": (Call("multiply", (Column("m0"), Literal(Decimal("0.5"), Type("decimal", 1, 1)))), lambda a, b: a / 2),
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_a_band_holds_what_the_exact_numbers_make_where_they_are_within_theirs(text: str) -> None:
    dice, (expression, exact), seen = random.Random(text), EXPRESSIONS[text], 0
    for _ in range(TRIALS):
        known: dict[str, bands.Band | None] = {}
        inside = []
        for name in ("m0", "m1"):
            low, high = sorted(Fraction(dice.randint(-60, 60), dice.choice((1, 4))) for _ in range(2))
            known[name] = (low, high)
            inside.append(low + (high - low) * Fraction(dice.randint(0, 8), 8))
        found = bands.band(expression, known)
        if found is None:
            assert text == "a / b"
            continue
        seen += 1
        assert found[0] <= exact(*inside) <= found[1]
    assert seen > TRIALS // 5


def test_what_has_no_rule_has_no_band() -> None:
    known: dict[str, bands.Band | None] = {"m0": (Fraction(1), Fraction(2)), "k0": None}
    assert bands.band(Call("coalesce", (Column("m0"), Literal(0, BIGINT))), known) is None
    assert bands.band(Call("add", (Column("m0"), Column("k0"))), known) is None
    assert bands.band(Literal(value="1", type=TEXT), known) is None
    assert bands.band(Literal(value=None, type=BIGINT), known) is None


@pytest.mark.parametrize("exact", [0, 7, -300])
def test_intervals_hold_the_exact_count_as_often_as_they_say(exact: int) -> None:
    """Over the noise itself: at most about one in twenty misses. A thousand draws; below 0.9 is no chance."""
    import opendp.prelude as dp

    draw = dp.m.make_laplace(dp.atom_domain(T="i64"), dp.absolute_distance(T="i64"), scale=3.0)
    cells = [present.Cell((int(draw(exact)),)) for _ in range(1000)]
    bands_ = [present.estimate(COUNT, (COUNTS,), (cell,)).band for cell in cells]
    assert sum(band is not None and band[0] <= exact <= band[1] for band in bands_) >= 900


def test_edges_of_intervals_are_rounded_outward() -> None:
    third = Fraction(1, 3)
    assert present.as_value(third, BIGINT, up=True) == 1
    assert present.as_value(-third, BIGINT, up=True) == 0
    assert present.as_value(third, Type("decimal", 10, 2), up=False) == Decimal("0.33")
    assert present.as_value(third, Type("decimal", 10, 2), up=True) == Decimal("0.34")
    low, high = (present.as_value(third, DOUBLE, up=up) for up in (False, True))
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert Fraction(low) <= third <= Fraction(high)


def test_several_noisy_numbers_share_the_confidence() -> None:
    """With two noisy numbers each takes its interval at half the error: without, the sum would be too sure."""
    alone, both = told(("x", N)), told(("x", Call("add", (N, S))))
    half_n, half_s = (Scale(m.mechanism, m.scale).accuracy(present.ALPHA / 2) for m in (COUNTS, SUMS))
    low, high = both.intervals[0][0] or (None, None)
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert (low, high) == (30 - half_n + 1000 - half_s / 4, 30 + half_n + 1000 + half_s / 4)
    assert alone.intervals[0][0] is not None


def test_a_window_has_no_interval_and_the_notes_of_what_it_reads() -> None:
    window = Window(ASKED, (WindowColumn("sum", S, (), ()), WindowColumn("rank", None, (), ((K, False, False),))), 7)
    share = Call("divide", (N, Column("7.w0")))
    found = told(("all", Column("7.w0")), ("share", share), ("place", Column("7.w1")), ("n", N), source=window)
    assert [column.kind for column in found.columns] == ["noisy", "noisy", "key", "noisy"]
    assert [interval[:3] for interval in found.intervals] == [(None, None, None)] * 3
    assert all(interval[3] is not None for interval in found.intervals)
    assert found.notes[1] == (("may_be_clipped",), ("may_be_clipped",), None, None)
    assert found.rows[0][0] == Decimal("998.75")


def test_a_number_for_each_of_a_public_number_has_an_interval_of_its_own() -> None:
    """What a public table says beside a row has no noise: counts per head are as sure as the counts."""
    columns = (PublicColumn("sex", TEXT), PublicColumn("heads", Type("decimal", 10, 1)), PublicColumn("rate", DOUBLE))
    rows = (("F", Decimal("60.0"), 0.5), ("F", Decimal("15.0"), float("inf")), ("M", None, 2.0))
    beside = Join(ASKED, Public("heads", 5), "left", (("k0", "5.sex"),))
    each = ("each", Call("divide", (N, Column("5.heads"))))
    rated = ("rated", Call("multiply", (N, Column("5.rate"))))
    plan = Output(beside, (("n", N), each, rated, ("heads", Column("5.heads"))))
    found = answer(RELEASE, "rel", "hash", plan, {"heads": PublicRows("heads", columns, rows)})
    assert [column.kind for column in found.columns] == ["noisy", "noisy", "noisy", "key"]
    assert [row[1] for row in found.rows] == [0.5, 2.0, None, None]
    assert [(interval[1] is None, interval[2] is None) for interval in found.intervals] == [
        (False, False), (False, True), (True, False), (True, True),
    ]  # fmt: skip
    (low, high), (each_low, each_high) = found.intervals[0][0] or (0, 0), found.intervals[0][1] or (0, 0)
    assert (float(str(each_low)), float(str(each_high))) == pytest.approx((float(str(low)) / 60, float(str(high)) / 60))
    assert all(interval[3] is None for interval in found.intervals)
