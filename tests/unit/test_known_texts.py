"""A text that was read is not read again under the same policies; nothing that was decided about it is remembered."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.admission.admit import _settle
from gateway.ask import NotAnswered
from gateway.catalog import Catalog
from gateway.errors import Refusal
from gateway.sql import known
from gateway.sql.known import Known
from gateway.sql.read import Query, read
from policies.load import load_text
from policies.model import Policy
from tests.gateway_world import gateway_world
from tests.sql_world import CLINIC, LIMITS, ONLY_CLINIC, clinic

SQL = "SELECT COUNT(*) FROM people WHERE age > 3"


class Counting:
    """How often a text is really read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(known, "read", self._read)

    def _read(self, *words: object) -> Query:
        self.count += 1
        return read(*words)  # type: ignore[arg-type]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(monkeypatch)


def test_it_is_read_once_and_reads_the_same(reads: Counting) -> None:
    texts = Known(LIMITS)
    first, second = (texts.read(SQL, {}, ONLY_CLINIC, None) for _ in range(2))
    assert first is second
    assert first == read(SQL, {}, ONLY_CLINIC, LIMITS)
    assert reads.count == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, "1"), (1, 1.0), (Decimal(1), 1), (Decimal("1.0"), Decimal("1.00")), (None, "None")],
)
def test_constants_that_are_equal_are_not_the_same(one: object, other: object, reads: Counting) -> None:
    texts, sql = Known(LIMITS), "SELECT COUNT(*) FROM people WHERE age > $a"
    for value in (one, other):
        found = outcome(lambda value=value: texts.read(sql, {"a": value}, ONLY_CLINIC, None))
        assert found == outcome(lambda value=value: read(sql, {"a": value}, ONLY_CLINIC, LIMITS))
    assert reads.count == 2


def outcome(act: Callable[[], Query]) -> Query | str:
    try:
        return act()
    except Refusal as refusal:
        return refusal.message


def opened() -> Policy:
    """A policy that shows all to the licensed and its public tables to everybody, under one digest."""
    text = re.sub(r"^modes = .*$", 'modes = ["dp", "open"]', CLINIC, count=1, flags=re.MULTILINE)
    return load_text(text, "clinic.toml")


def test_what_the_licensed_see_is_not_shown_to_others_under_the_same_digest() -> None:
    whole = opened()
    part = whole.open_part
    assert part is not None
    assert part.digest == whole.digest
    texts = Known(LIMITS)
    texts.read(SQL, {}, {"clinic": whole}, None)
    with pytest.raises(Refusal) as caught:
        texts.read(SQL, {}, {"clinic": part}, None)
    assert caught.value.code == "table_unknown"


def test_policies_told_apart_by_their_digest_alone_would_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted."""
    monkeypatch.setattr(
        known, "_key", lambda sql, _p, policies, _m: (sql, *(each.digest for each in policies.values()))
    )
    whole = opened()
    assert whole.open_part is not None
    texts = Known(LIMITS)
    texts.read(SQL, {}, {"clinic": whole}, None)
    assert texts.read(SQL, {}, {"clinic": whole.open_part}, None).tables == ("people",)


def test_another_mode_and_another_policy_are_read_anew(reads: Counting) -> None:
    texts, again = Known(LIMITS), replace(clinic())
    texts.read(SQL, {}, ONLY_CLINIC, None)
    texts.read(SQL, {}, ONLY_CLINIC, "dp")
    texts.read(SQL, {}, {"clinic": again}, None)
    texts.read(SQL, {}, {"clinic": again}, None)
    assert reads.count == 3


def test_a_refusal_is_made_anew(reads: Counting) -> None:
    texts = Known(LIMITS)
    for _ in range(2):
        with pytest.raises(Refusal):
            texts.read("SELECT name FROM people", {}, ONLY_CLINIC, None)
    assert reads.count == 2


def test_it_holds_so_many_texts_and_so_many_bytes(monkeypatch: pytest.MonkeyPatch, reads: Counting) -> None:
    monkeypatch.setattr(known, "TEXTS_MAX", 3)
    texts = Known(LIMITS)
    for number in (0, 1, 2, 0, 3, 0, 1):  # 1 is forgotten for 3, and 0 never
        texts.read(f"SELECT COUNT(*) FROM people WHERE age > {number}", {}, ONLY_CLINIC, None)
    assert reads.count == 5
    assert len(texts._entries) == 3
    monkeypatch.setattr(known, "BYTES_MAX", 1000)
    texts.read(f"SELECT COUNT(*) FROM people{' ' * 990}", {}, ONLY_CLINIC, None)
    assert (len(texts._entries), texts._size) == (0, 0)


def quoted(number: int) -> str:
    return f"'{number}'"


LONG: tuple[Callable[[int], str], ...] = (
    lambda i: f"SELECT COUNT(*) FROM people WHERE age IN ({', '.join(str(i + k) for k in range(300))})",
    lambda i: f"SELECT COUNT(*) FROM people WHERE {' AND '.join(f'age > {i + k}' for k in range(60))}",
    lambda i: f"SELECT {', '.join(f'SUM(income) AS m{i}_{k}' for k in range(20))} FROM people",
    lambda i: (
        f"SELECT COUNT(*) FROM people WHERE diagnosis IN ('\U0001f9ec', {', '.join(map(quoted, range(i, i + 60)))})"
    ),
)


def remembered(write: Callable[[int], str]) -> tuple[int, int]:
    """What is counted of some texts that are alike, and what they really take, with what admission keeps beside."""
    texts, count = Known(LIMITS), 10

    def ask(number: int) -> None:
        query = texts.read(write(number), {}, ONLY_CLINIC, None)
        question = _settle(query, ONLY_CLINIC["clinic"], "dp", None).question(1, None)
        assert question.canonical
        assert question.plan_digest

    ask(1000)  # what is made once and kept by others is there
    before = texts._size
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(count):
            ask(number)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return texts._size - before, taken


@pytest.mark.parametrize("write", LONG)
def test_what_is_counted_of_a_text_is_what_it_takes(write: Callable[[int], str]) -> None:
    counted, taken = remembered(write)
    assert 0.8 * taken <= counted <= 2 * taken


@pytest.mark.parametrize("write", LONG)
def test_planted_a_count_of_the_letters_alone_is_noticed(
    write: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "held_bytes", lambda value: len(repr(value[0])))
    counted, taken = remembered(write)
    assert counted < 0.2 * taken


def test_a_text_that_is_known_is_refused_to_whom_it_is_not_granted_any_more(tmp_path: Path) -> None:
    with gateway_world(tmp_path) as world:
        pipeline = world.pipeline
        assert pipeline.ask(world.asking()).verdict == "run"
        unlicensed = Catalog(pipeline.catalog.policies, pipeline.catalog.cases, ())
        for changed, code in (
            (replace(pipeline, today=lambda: date(2100, 1, 1)), "licence_expired"),
            (replace(pipeline, catalog=unlicensed), "licence_missing"),
        ):
            assert changed.known is pipeline.known
            with pytest.raises(NotAnswered) as caught:
                changed.ask(world.asking())
            assert caught.value.refusal.code == code
        world.pipeline.ledger.freeze("clinic", "planted")
        with pytest.raises(NotAnswered) as caught:
            pipeline.ask(world.asking())
        assert caught.value.refusal.code == "dataset_frozen"
