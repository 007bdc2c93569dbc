"""What each function of the closed list means, by example, and what no function may do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal

import duckdb
import pytest

from policies.types import BIGINT, BOOLEAN, DATE, DOUBLE, TEXT, TIMESTAMP, Type, Value
from sandbox.relational import expressions
from sandbox.relational.expressions import Call, Column, Expression, Literal
from sandbox.relational.facts import ColumnFacts, Facts, Refuse
from sandbox.relational.functions import texts
from sandbox.relational.lower.scalars import scalar
from sandbox.relational.scalar import facts_of

NOTHING = Facts({}, None, None)
ENGINE = duckdb.connect(":memory:", config={"threads": "1"})


def lit(value: Value) -> Literal:
    if isinstance(value, Decimal):
        return Literal(value, Type("decimal", 18, 6))
    kinds: dict[type, Type] = {bool: BOOLEAN, int: BIGINT, str: TEXT, date: DATE, datetime: TIMESTAMP}
    return Literal(value, kinds.get(type(value), TEXT))


def value_of(expression: Expression) -> Value:
    facts_of(expression, NOTHING)
    found: Value = ENGINE.execute(f"SELECT {scalar(expression, NOTHING)}").fetchall()[0][0]
    return found


NOON = datetime(2024, 2, 29, 12, 34, 56)  # noqa: DTZ001  # timestamps of policies carry no zone
MEANINGS: list[tuple[str, tuple[Value, ...], Value]] = [
    ("modulo", (7, 3), 1), ("modulo", (-7, 3), -1), ("modulo", (7, -3), 1), ("modulo", (7, 0), None),
    ("modulo", (Decimal("7.5"), 2), 1.5), ("int_divide", (7, 2), 3), ("int_divide", (-7, 2), -3),
    ("int_divide", (7, 0), None), ("sign", (-3,), -1), ("sign", (0,), 0), ("sqrt", (9,), 3.0), ("sqrt", (0,), 0.0),
    ("sqrt", (-1,), None), ("ln", (1,), 0.0), ("ln", (0,), None), ("log10", (1000,), 3.0), ("log2", (8,), 3.0),
    ("log2", (-8,), None), ("exp", (0,), 1.0), ("exp", (1000,), None), ("power", (3, 2), 9.0), ("power", (2, -2), 0.25),
    ("power", (0, -1), None), ("power", (-4, Decimal("0.5")), None), ("power", (4, Decimal("0.5")), 2.0),
    ("lower", ("ÄB",), "äb"), ("upper", ("äb",), "ÄB"), ("length", ("北京",), 2), ("trim", (" a\u3000",), "a"),
    ("trim_start", (" a ",), "a "), ("trim_end", (" a ",), " a"), ("left", ("北京市", 2), "北京"),
    ("left", ("a", 0), ""),
    ("right", ("abc", 2), "bc"), ("right", ("abc", 9), "abc"), ("substring", ("abcd", 2), "bcd"),
    ("substring", ("abcd", 2, 2), "bc"), ("concat", ("a", "b", "c"), "abc"), ("concat", ("a", None), None),
    ("starts_with", ("abc", "ab"), True), ("contains", ("a%c", "%"), True), ("ends_with", ("abc", "b"), False),
    ("ilike", ("ABC", "a%"), True), ("like", ("ABC", "a%"), False), ("day_of_week", (date(2024, 2, 25),), 7),
    ("day_of_week", (date(2024, 2, 26),), 1), ("day_of_year", (date(2024, 12, 31),), 366), ("hour", (NOON,), 12),
    ("minute", (NOON,), 34), ("second", (NOON,), 56), ("trunc_hour", (NOON,), NOON.replace(minute=0, second=0)),
    ("date_diff", ("year", date(2023, 12, 31), date(2024, 1, 1)), 1), ("date_diff", ("day", NOON, date(2024, 3, 1)), 1),
    ("date_diff", ("month", date(2024, 3, 1), date(2024, 1, 31)), -2),
    ("date_diff", ("quarter", date(2024, 3, 31), date(2024, 4, 1)), 1),
    ("date_diff", ("week", date(2024, 2, 26), date(2024, 3, 3)), 0),
    ("date_diff", ("week", date(2024, 2, 26), date(2024, 3, 4)), 1),
    ("date_add", (date(2024, 1, 31), 1, "month"), date(2024, 2, 29)),
    ("date_add", (date(2024, 2, 29), -1, "year"), date(2023, 2, 28)),
    ("date_add", (date(2024, 2, 29), 1, "week"), date(2024, 3, 7)),
    ("date_add", (NOON, 1, "quarter"), NOON.replace(month=5)), ("date_add", (date(9999, 12, 31), 1, "day"), None),
    ("date_add", (date(1, 1, 1), -1, "month"), None),
    ("date_add", (date(9999, 11, 30), 1, "month"), date(9999, 12, 30)),
    ("to_integer", ("12",), 12), ("to_integer", ("x",), None), ("to_integer", (True,), 1),
    ("to_integer", (Decimal("2.7"),), 3), ("to_double", ("1.5",), 1.5), ("to_double", ("x",), None),
    ("to_date", (NOON,), date(2024, 2, 29)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "expected"), MEANINGS)
def test_a_function_means_what_its_name_says(name: str, given: tuple[Value, ...], expected: Value) -> None:
    assert value_of(Call(name, tuple(map(lit, given)))) == expected


REFUSED: list[tuple[str, tuple[Value, ...]]] = [
    ("left", ("abc", -1)), ("substring", ("abc", 0)), ("left", ("abc", 10**6)), ("power", (2, 17)),
    ("date_add", (date.min, 10**6, "day")), ("date_add", (date.min, 1, "hour")), ("date_diff", ("eon", NOON, NOON)),
    ("hour", (date.min,)), ("length", (5,)), ("concat", ("a", 5)), ("upper", (5,)), ("sqrt", ("x",)),
    ("to_integer", (date.min,)), ("to_date", ("2024-01-01",)), ("contains", (5, "x")), ("modulo", ("a", 1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given"), REFUSED)
def test_what_a_function_does_not_take_is_refused(name: str, given: tuple[Value, ...]) -> None:
    with pytest.raises(Refuse) as caught:
        facts_of(Call(name, tuple(map(lit, given))), NOTHING)
    refused = caught.value.refused
    assert refused.code in ("type_mismatch", "construct_not_allowed")
    assert refused.detail[0].islower() or refused.detail[0] in "`LI"


def test_a_count_that_is_no_constant_is_refused() -> None:
    """What one row says shall not decide how much of it is shown."""
    facts = Facts(
        {"s": ColumnFacts(TEXT, "s", nullable=False), "n": ColumnFacts(BIGINT, "n", nullable=False)}, None, None
    )
    for call in (Call("left", (Column("s"), Column("n"))), Call("starts_with", (Column("s"), Column("s")))):
        with pytest.raises(Refuse):
            facts_of(call, facts)


def over(x: Expression) -> Iterator[Call]:
    """Every function of numbers, over `x`."""
    two, one = (*expressions.ARITHMETIC[:-1], *expressions.WHOLE_DIVISION, "least", "greatest"), expressions.NUMERIC[:4]
    yield from (Call(name, (x,)) for name in ("negate", *one, "sign", *expressions.ROOTS[:-1], *expressions.CASTS[:-1]))
    yield from (Call(name, (x, lit(value))) for name in two for value in (0, 2, -1))
    yield from (Call(name, (lit(value), x)) for name in two for value in (0, 2, -1))
    yield from (Call("power", (x, lit(value))) for value in (0, 1, 3, -1, Decimal("0.5"), Decimal("-0.5")))
    yield from (Call(name, (x, lit(0))) for name in (*expressions.COMPARISONS, "in"))
    yield Call("coalesce", (x, lit(1)))


def test_no_function_tells_the_two_zeros_apart() -> None:
    """0 and -0 are one value to GROUP BY, ORDER BY and DISTINCT, which keep either: then nothing may hang on which."""
    facts = Facts({"x": ColumnFacts(DOUBLE, "x", nullable=False)}, None, None)
    for call in over(Column("x")):
        written = scalar(call, facts)
        rows = f"(SELECT {written} AS y FROM (VALUES (CAST('0.0' AS DOUBLE)), (CAST('-0.0' AS DOUBLE))) AS v(x))"
        found = ENGINE.execute(f"SELECT count(DISTINCT y), count(y) FROM {rows}").fetchall()[0]
        assert found in ((1, 2), (0, 0)), (call, found)


def test_a_nest_of_functions_grows_no_faster_than_it_is_deep() -> None:
    """An argument written twice in each of its functions would be written a million times twenty levels down."""
    later = Call("date_add", (Column("d"), lit(1), lit("month")))
    columns = {"x": ColumnFacts(DOUBLE, "x", nullable=True), "d": ColumnFacts(DATE, "d", nullable=True)}
    facts = Facts(columns, None, None)
    for call in (*over(Column("x")), Call("trunc_decade", (Column("d"),)), later):
        if call.function in (*expressions.COMPARISONS, "in"):
            continue
        place = next(i for i, argument in enumerate(call.arguments) if isinstance(argument, Column))
        nested: Expression = call.arguments[place]
        for _ in range(60):
            nested = Call(call.function, (*call.arguments[:place], nested, *call.arguments[place + 1 :]))
        assert len(scalar(nested, facts)) < 60 * 200


def test_letters_change_their_case_as_in_the_engine() -> None:
    """Public words are put through the function here, rows there: a difference would lose a group."""
    rows = ENGINE.execute(
        "SELECT i, lower(chr(CAST(i AS INTEGER))), upper(chr(CAST(i AS INTEGER))) FROM range(1, 131072) AS t(i) "
        "WHERE i NOT BETWEEN 55296 AND 57343"
    ).fetchall()
    for number, lower, upper in rows:
        for case, engine in (("lower", lower), ("upper", upper)):
            ours = texts._spelt(chr(number), case)
            assert ours in (None, engine), hex(number)
    assert texts._spelt("ÄÖ北A", "lower") == "äö北a"
    assert texts._spelt("Straße", "upper") is None


def test_the_engine_trims_the_spaces_that_are_listed() -> None:
    rows = ENGINE.execute(
        "SELECT i FROM range(1, 131072) AS t(i) WHERE i NOT BETWEEN 55296 AND 57343 "
        "AND trim(chr(CAST(i AS INTEGER))) = ''"
    ).fetchall()
    assert "".join(chr(i) for (i,) in rows) == texts.SPACES


def test_a_long_text_is_cut_and_no_nest_of_joins_fills_the_memory() -> None:
    nested: Expression = lit("x" * 300)
    for _ in range(40):
        nested = Call("concat", (nested, nested)) if len(scalar(nested, NOTHING)) < 10**5 else nested
    assert len(str(value_of(nested))) == texts.CONCAT_MAX
