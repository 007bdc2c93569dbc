"""Which deadline a question has, and how domain.toml says it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.deadlines import DEADLINES_MS, NO_DEADLINES, Deadlines, Due, Work
from sandbox.domain import Domain, DomainError
from sandbox.protocol import LENGTH_MIN, LENGTH_STEP, padded
from sandbox.relational.nodes import Join, Relation, Scan, Window
from tests.builders import load, policy_text

MINIMAL = '[datasets.clinic]\ntables = { people = "a.csv", visits = "b.csv" }\nsnapshot = "1"\n'
POLICY = load(policy_text())
PEOPLE, VISITS = Scan("people", 0), Scan("visits", 1)
BOTH = Join(PEOPLE, VISITS, "inner", (("0.pid", "1.pid"),))
RELATIONS: list[Relation] = [PEOPLE, VISITS, BOTH, Window(VISITS, (), 2)]


def deadlines(tmp_path: Path, text: str) -> Deadlines:
    (tmp_path / "domain.toml").write_text(MINIMAL + text, encoding="utf-8")
    return Domain.load(tmp_path).datasets["clinic"].deadlines


@pytest.mark.parametrize(
    ("text", "choices_ms"),
    [
        ("", DEADLINES_MS),
        ("deadlines_s = [0.25, 1, 4]\n", (250, 1000, 4000)),
        ("deadlines_s = [2]\n", (2000,)),
        ('deadlines_s = "off"\n', ()),
    ],
)
def test_the_custodian_says_when_answers_come(tmp_path: Path, text: str, choices_ms: tuple[int, ...]) -> None:
    assert deadlines(tmp_path, text).choices_ms == choices_ms


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("deadlines_s = []\n", "deadlines_s"),
        ("deadlines_s = [2, 1]\n", "longer than the one before"),
        ("deadlines_s = [1, 1]\n", "longer than the one before"),
        ("deadlines_s = [0.01]\n", "deadlines_s"),
        ("deadlines_s = [100000]\n", "deadlines_s"),
        ("deadlines_s = true\n", "deadlines_s"),
        ('deadlines_s = "on"\n', "deadlines_s"),
        ("rows_about = { shoes = 5 }\n", "there is no table `shoes`"),
        ("rows_about = { visits = -1 }\n", "rows_about"),
    ],
)
def test_what_is_no_deadline_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DomainError, match=told):
        deadlines(tmp_path, text)


def test_a_bigger_table_has_a_later_deadline() -> None:
    about = [Deadlines(DEADLINES_MS, {"visits": rows}) for rows in (1_000, 2_000_000, 20_000_000, 10**12)]
    assert [each.of(VISITS, Work(2, 10), POLICY) for each in about] == [500, 1_000, 8_000, 32_000]


def test_without_a_word_a_table_is_as_large_as_its_policy_allows() -> None:
    units = POLICY.unit
    assert units is not None
    most = units.count_about * (POLICY.tables["visits"].rows_per_unit_max or 1)
    told = Deadlines(DEADLINES_MS, {"visits": most})
    for looks in (1, 10, 100, 1000):
        assert told.of(VISITS, Work(looks, 0), POLICY) == Deadlines(DEADLINES_MS, {}).of(VISITS, Work(looks, 0), POLICY)


@given(st.sampled_from(RELATIONS), st.integers(1, 50), st.integers(0, 10**6), st.integers(0, 10**8))
def test_more_work_never_has_an_earlier_deadline(relation: Relation, looks: int, numbers: int, rows: int) -> None:
    one = Deadlines(DEADLINES_MS, {"visits": rows, "people": rows})
    more = Deadlines(DEADLINES_MS, {"visits": rows * 2, "people": rows})
    first = one.of(relation, Work(looks, numbers), POLICY)
    assert first in DEADLINES_MS
    for other in (
        one.of(relation, Work(looks + 1, numbers), POLICY),
        one.of(relation, Work(looks, numbers * 2), POLICY),
        more.of(relation, Work(looks, numbers), POLICY),
    ):
        assert other is not None
        assert other >= first


def test_where_they_are_off_there_is_none() -> None:
    assert NO_DEADLINES.of(VISITS, Work(1, 1), POLICY) is None


def due(work: Callable[[], str], *, given_up: bool = True) -> tuple[Due[str], list[float]]:
    freed: list[float] = []
    return Due(work, lambda: None, lambda: given_up, lambda: freed.append(time.monotonic()), "late"), freed


def test_work_that_raises_ends_as_what_was_late(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> str:
        raise RuntimeError("a value")

    job, freed = due(work)
    began = time.monotonic()
    assert job.answer(began, 100) == "late"
    assert time.monotonic() - began >= 0.1
    time.sleep(0.1)
    assert freed
    assert freed[0] - began >= 0.1
    assert "RuntimeError" in caplog.text
    assert "a value" not in caplog.text


def test_the_place_of_work_that_goes_on_is_free_when_it_ends() -> None:
    go_on = threading.Event()
    job, freed = due(lambda: str(go_on.wait()))
    assert job.answer(time.monotonic(), 50) == "late"
    time.sleep(0.05)
    assert not freed
    go_on.set()
    time.sleep(0.2)
    assert len(freed) == 1


def test_work_that_may_not_be_given_up_is_waited_for() -> None:
    job, _ = due(lambda: time.sleep(0.3) or "done", given_up=False)
    began = time.monotonic()
    assert job.answer(began, 50) == "done"
    assert time.monotonic() - began >= 0.3


@given(st.integers(0, 10 * LENGTH_STEP))
def test_lengths_are_few(length: int) -> None:
    body = padded(b"1" * length)
    assert len(body) >= max(length, LENGTH_MIN)
    assert body.rstrip() == b"1" * length
    assert len(body) % LENGTH_STEP == 0 or len(body) in {1024 << i for i in range(7)}
    assert len(padded(body)) == len(body)
