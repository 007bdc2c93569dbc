"""Literals, limits, and text that nobody would write: whatever comes in, a Query or a Refusal comes out."""

from __future__ import annotations

import logging
import time
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import STATUS, Refusal
from gateway.sql import literals
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.types import DATE, TIMESTAMP
from sandbox import codec
from sandbox.protocol import Question
from tests.spec import test_sql_plans, test_sql_unit_plans
from tests.sql_world import BOTH, LIMITS, ONLY_CLINIC, admitted, refusal


@pytest.mark.parametrize(
    ("written", "value", "kind"),
    [
        ("5", 5, "bigint"),
        ("5.0", 5, "bigint"),
        ("1e3", 1000, "bigint"),
        ("0.000", 0, "bigint"),
        ("-0.0", 0, "bigint"),
        ("1.50", Decimal("1.5"), "decimal(2,1)"),
        ("0.001", Decimal("0.001"), "decimal(3,3)"),
        (".5", Decimal("0.5"), "decimal(1,1)"),
        ("9223372036854775807", 2**63 - 1, "bigint"),
        ("9223372036854775808", Decimal(2**63), "decimal(19,0)"),
        ("12345678901234567890123456789.5", Decimal("12345678901234567890123456789.5"), "decimal(30,1)"),
    ],
)
def test_a_number_is_exact_and_has_one_form(written: str, value: object, kind: str) -> None:
    literal = literals.number(written, None)
    assert literal.value == value
    assert type(literal.value) is type(value)
    assert str(literal.type) == kind


@pytest.mark.parametrize("written", ["1e39", "1e400", "1e-40", "1e999999999", "9" * 39, "NaN", "Infinity"])
def test_a_number_beyond_38_digits_is_refused(written: str) -> None:
    with pytest.raises(Refusal) as caught:
        literals.number(written, None)
    assert caught.value.code == "type_mismatch"


def test_dates_are_read_strictly() -> None:
    assert literals.as_time(literals.text("2024-02-29", None), "date").value == date(2024, 2, 29)
    assert literals.as_time(literals.text("2024-02-29", None), "date").type == DATE
    at_eight = literals.as_time(literals.text("2024-02-29 08:00:00", None), "timestamp")
    assert (at_eight.value, at_eight.type) == (datetime(2024, 2, 29, 8), TIMESTAMP)  # noqa: DTZ001  # columns have no zone
    for wrong in (
        "2023-02-29",
        "20240229",
        "2024-W05-1",
        "2024-1-1",
        "2024-02-29Z",
        " 2024-02-29",
        "٢٠٢٤-٠٢-٢٩",
        "now",
    ):
        with pytest.raises(Refusal):
            literals.as_time(literals.text(wrong, None), "date")


def test_an_empty_text_may_end_a_query_with_parameters() -> None:
    assert admitted("SELECT COUNT(*) FROM people WHERE age = $a AND sex = ''", {"a": 1})
    assert refusal("SELECT COUNT(*) FROM people WHERE age = $a AND sex = '", {"a": 1}).code == "sql_unreadable"


def test_the_text_is_limited_in_bytes_not_characters() -> None:
    sql = "SELECT COUNT(*) FROM people WHERE sex = '人人人人人人'"
    assert read(sql, {}, ONLY_CLINIC, SqlLimits(bytes_max=len(sql.encode())))
    with pytest.raises(Refusal) as caught:
        read(sql, {}, ONLY_CLINIC, SqlLimits(bytes_max=len(sql)))
    assert caught.value.code == "sql_too_large"


def test_a_query_of_many_conditions_within_the_limits_is_read() -> None:
    sql = "SELECT COUNT(*) FROM people WHERE " + " OR ".join(f"age = {n}" for n in range(300))
    assert admitted(sql)
    assert admitted("SELECT COUNT(*) FROM people WHERE age IN (" + ", ".join(map(str, range(1000))) + ")")


def test_the_parser_logs_nothing_of_the_text(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert refusal("EXPLAIN ANALYZE SECRET words").code
        assert refusal("SELECT secret FROM people").code
    assert "ecret" not in caplog.text
    assert capsys.readouterr() == ("", "")


def test_a_plan_crosses_the_socket_unchanged() -> None:
    for sql in READ:
        question = admitted(sql).question
        assert codec.loads(codec.dumps(question), Question) == question


def test_reading_and_admitting_takes_a_few_milliseconds() -> None:
    sql = (
        "WITH f AS (SELECT pid, age FROM people WHERE sex = 'F' AND age BETWEEN 20 AND 60) "
        "SELECT level, COUNT(*) AS n, AVG(cost) AS mean FROM f JOIN visits v ON f.pid = v.pid "
        "JOIN hospitals h ON v.hospital = h.id WHERE visit_date >= '2024-01-01' GROUP BY level ORDER BY n DESC LIMIT 5"
    )
    admitted(sql)
    best = min(_seconds(sql) for _ in range(20))
    assert best < 0.005


def _seconds(sql: str) -> float:
    start = time.perf_counter()
    admitted(sql)
    return time.perf_counter() - start


# Fuzzing. Nothing but a Refusal with a known code may ever come out, and it must be printable.

READ = [sql for sql, _ in (*test_sql_plans.PLANS, *test_sql_unit_plans.PLANS)]
WORDS = Path(__file__).parents[1] / "attack" / "corpus" / "words.list"
TOKENS = st.sampled_from(WORDS.read_text(encoding="utf-8").split(" "))
FUZZ = settings(max_examples=400, deadline=None)


def _survives(sql: str, parameters: dict[str, object] | None = None) -> None:
    refused = None
    try:
        admitted(sql, parameters, BOTH)
    except Refusal as found:
        refused = found
    if refused is not None:
        assert refused.code in STATUS
        assert refused.message
        assert not refused.message.endswith(".")


@FUZZ
@given(st.lists(TOKENS, max_size=40))
@example(["SELECT", "FROM", "people"])
@example(["SELECT", "COUNT", "(", "*", ")", "FROM", "people", "GROUP", "BY", "(", ")"])
def test_any_soup_of_words_is_read_or_refused(tokens: list[str]) -> None:
    _survives(" ".join(tokens), {"a": 1})


@FUZZ
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    _survives(text)
    _survives(f"SELECT COUNT(*) FROM people WHERE {text}")
    _survives(f'SELECT "{text}" FROM people')


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(READ), st.data())
def test_a_mutated_query_is_read_or_refused(sql: str, data: st.DataObject) -> None:
    words = sql.split(" ")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(words) - 1))
        match data.draw(st.sampled_from(["drop", "twice", "swap", "insert", "replace"])):
            case "drop" if len(words) > 1:
                del words[place]
            case "twice":
                words.insert(place, words[place])
            case "swap":
                other = data.draw(st.integers(0, len(words) - 1))
                words[place], words[other] = words[other], words[place]
            case "insert":
                words.insert(place, data.draw(TOKENS))
            case _:
                words[place] = data.draw(TOKENS)
    _survives(" ".join(words))


@FUZZ
@given(
    st.dictionaries(
        st.sampled_from(["a", "b"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers())),
    )
)
def test_any_parameters_are_taken_or_refused(parameters: dict[str, object]) -> None:
    _survives("SELECT COUNT(*) FROM visits WHERE visit_date = $a OR kind = $b", parameters)


def test_limits_cannot_be_reached_by_a_query_that_means_little() -> None:
    assert LIMITS.nodes_max >= 1_000
    assert LIMITS.depth_max <= 100
