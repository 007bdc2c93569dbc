"""What was said is remembered in the file as in memory, also when a commit fails in between."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sandbox.disclosure.memory import Memories
from sandbox.disclosure.past import Past
from sandbox.disclosure.protect import Candidate
from sandbox.release.store import Store
from tests.property.test_linear_audit import RULES, World, group


class Full(Exception):
    pass


def keep(store: Store, memories: Memories, members: dict[int, int], *, fails: bool = False) -> None:
    """As a release is sealed: in one transaction, which may fail at its end."""
    cell = World._candidate(members, 0)
    with memories.of("clinic", "s1", RULES, 1000) as remembered, store._transaction() as tx:
        remembered.keeping([Candidate(cell.cell, cell.shares, None)])(tx, f"rel_{len(members)}")
        if fails:
            raise Full


def rows_of(past: Past) -> list[set[int]]:
    """The items of every cell, as the ground has them."""
    return [{int(past.grounds[cell.space].items[place]) for place in cell.places} for cell in past.all]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "domain.sqlite"


FIRST, LOST, LAST = group(0, 12), group(100, 15), group(200, 20)


def test_a_commit_that_fails_leaves_file_and_memory_alike(path: Path) -> None:
    store = Store(path)
    memories = Memories(store)
    keep(store, memories, FIRST)
    with pytest.raises(Full):
        keep(store, memories, LOST, fails=True)
    keep(store, memories, LAST)
    keep(store, memories, LOST | LAST)
    lived = rows_of(memories._past("clinic", 1000))
    store.close()
    again = Store(path)
    assert rows_of(Memories(again)._past("clinic", 1000)) == lived == [set(FIRST), set(LAST), set(LOST | LAST)]
    again.close()


def test_what_was_said_stays_said(path: Path) -> None:
    store = Store(path)
    keep(store, Memories(store), FIRST)
    for statement in ("DELETE FROM said_cell", "UPDATE said_cell SET said = 0", "DELETE FROM said_row"):
        with pytest.raises(sqlite3.IntegrityError, match="what was said stays said"), store._transaction() as tx:
            tx.execute(statement)
    store.close()


def checked(store: Store) -> tuple[int, int]:
    """How much a check says is remembered: while an answer is kept and its deadline is to come, and afterwards."""
    memories = Memories(store)
    keep(store, memories, FIRST)
    store._held = {"tkt_1": None, "tkt_2": None}
    keep(store, memories, LAST)
    store._held["tkt_2"] = f"rel_{len(LAST)}"  # as `seal` does
    before = memories.size("clinic", 1000)
    store._held.clear()
    return before, memories.size("clinic", 1000)


def test_what_is_remembered_grows_for_a_check_when_an_answer_is_given_and_not_when_it_is_ready(path: Path) -> None:
    store = Store(path)
    assert checked(store) == (1, 2)
    store.close()


def test_planted_a_memory_that_tells_of_answers_on_their_way_is_noticed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "hidden", lambda _: frozenset())
    store = Store(path)
    assert checked(store) == (2, 2)
    store.close()
