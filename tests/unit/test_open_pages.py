"""What is kept of open pages: bounded in rows, in bytes and in number, since whoever holds a token can ask for them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.admission.paging import next_cursor
from policies.types import TEXT, Value
from sandbox.protocol import FREE, Question, Ticket
from sandbox.regimes import opened as regime
from sandbox.relational.expressions import Column
from sandbox.relational.nodes import Limit, Output, Public
from sandbox.release import opened
from sandbox.release.opened import OpenRelease, open_release
from sandbox.release.store import Store

LONG = "长" * 100


def question(offset: int = 0) -> Question:
    page = Limit(Public("parks", 0), 10, offset)
    return Question("parks", "p" * 64, "open", 0, Output(page, (("name", Column("0.name")),)))


def page_of(offset: int = 0, rows: int = 3) -> OpenRelease:
    values: list[tuple[Value, ...]] = [(LONG,)] * rows
    return open_release(question(offset), "s" * 64, (TEXT,), values, 10)


def test_a_page_of_long_rows_is_shorter_and_the_next_one_begins_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = page_of()
    assert (len(whole.rows), whole.more) == (3, False)
    monkeypatch.setattr(opened, "PAGE_BYTES_MAX", 700)
    short = page_of()
    assert (len(short.rows), short.more) == (2, True)
    assert next_cursor(question(20), "s", len(short.rows)).startswith("22.")
    monkeypatch.setattr(opened, "PAGE_BYTES_MAX", 1)
    assert (len(page_of().rows), page_of().more) == (1, True)  # else nobody would ever come to the end
    assert page_of(rows=0).more is False


def kept(folder: Path) -> list[int]:
    """The pages of five that can be shown again."""
    store = Store(folder / "domain.sqlite")
    sealed = []
    for place in range(5):
        asked = question(place)
        ticket = Ticket(f"t{place}", "q", "parks", asked.plan_digest, "p" * 64, "s" * 64, "open", FREE, "run", 0, 1)
        assert store.accept(ticket, 0, None) == "fresh"
        sealed.append(store.seal(ticket.id, page_of(place), regime._forget_older))
    found = [place for place, each in enumerate(sealed) if store.load(each.id) is not None]
    store.close()
    return found


def test_older_pages_are_forgotten_by_number_and_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in "abc"]
    assert kept(folders[0]) == [0, 1, 2, 3, 4]
    with monkeypatch.context() as fewer:
        fewer.setattr(regime, "PAGES_KEPT", 2)
        assert kept(folders[1]) == [3, 4]
    monkeypatch.setattr(regime, "BYTES_KEPT", 1)
    assert kept(folders[2]) == [4]


def test_a_domain_that_counts_pages_alone_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(tx: sqlite3.Connection, _: str) -> None:
        tx.execute("DELETE FROM release WHERE rowid <= (SELECT max(rowid) FROM release) - 1000")

    monkeypatch.setattr(regime, "_forget_older", careless)
    with pytest.raises(AssertionError):
        test_older_pages_are_forgotten_by_number_and_by_bytes(tmp_path, monkeypatch)
