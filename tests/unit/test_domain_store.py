"""The data domain's own store: a ticket is booked once, under the ceiling, and a release leaves when it is kept."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.protocol import Price, Question, Ticket
from sandbox.relational.expressions import Column
from sandbox.relational.nodes import Measure, Output, Scan, find_release
from sandbox.relational.nodes import Release as Asked
from sandbox.release import durable, tally
from sandbox.release.durable import StoreUnusable
from sandbox.release.layouts import LAYOUTS, WrittenByNewer
from sandbox.release.opened import OpenRelease
from sandbox.release.protected import ProtectedRelease
from sandbox.release.released import Release
from sandbox.release.store import (
    CANDIDATES_MAX,
    NO_ACCOUNTANT,
    Ceiling,
    Store,
    TicketRefused,
    TooLate,
    loss_of,
)

PRICE = Price(epsilon=5, delta=3, rho=10)
CEILING = Ceiling("zcdp", 100, 30, custodians=True)
_ids = itertools.count()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "domain.sqlite")) as made:
        yield made


def ticket(price: Price = PRICE, dataset: str = "clinic") -> Ticket:
    return Ticket(f"tkt_{next(_ids)}", "qry", dataset, "p", "d", "s", "dp", price, "run", 0, 60_000)


def question(table: str = "people", epsilon: int = 5, measure: str = "count_rows", name: str = "m0") -> Question:
    asked = Asked(Scan(table, 0), (), (Measure(measure, None),))  # type: ignore[arg-type]
    return Question("clinic", "d", "dp", epsilon, Output(asked, ((name, Column("m0")),)))


def released(asked: Question, snapshot: str = "s") -> Release:
    return Release(
        format="bpk-release-2",
        dataset=asked.dataset,
        asked=find_release(asked.plan),
        policy_digest=asked.policy_digest,
        snapshot=snapshot,
        mode=asked.mode,
        price=replace(PRICE, epsilon=asked.epsilon),
        keys=(),
        groups=((),),
        near_threshold=(False,),
        statistics=(),
        measures=(),
        units_dropped=False,
    )


def protected() -> ProtectedRelease:
    part = find_release(question().plan)
    return ProtectedRelease(
        "bpk-protected-1", "clinic", part, "d", "s", "aggregate", PRICE, (), (), (), 1, units_dropped=False
    )


def opened() -> OpenRelease:
    return OpenRelease("bpk-open-1", "clinic", question().plan, "d", "s", "open", PRICE, (), (), more=False)


def accepted(store: Store, ceiling: Ceiling | None = CEILING) -> str:
    new = ticket()
    assert store.accept(new, 1, ceiling) == "fresh"
    return new.id


def column(store: Store, sql: str) -> list[object]:
    with store.reading() as connection:
        return [row[0] for row in connection.execute(sql)]


def test_a_ticket_is_booked_once_whatever_becomes_of_it(store: Store) -> None:
    one = ticket()
    assert store.accept(one, 7, CEILING) == "fresh"
    assert store.spent("clinic", "zcdp") == (7, 3)
    assert store.accept(one, 7, CEILING) == "failed", "it runs still, or has died: never twice"
    assert store.seal(one.id, released(question())).id == store.accept(one, 7, CEILING)
    assert store.spent("clinic", "zcdp") == (7, 3)
    assert store.spent("clinic", "pure") == store.spent("other", "zcdp") == (0, 0)


def test_the_ceiling_is_reached_exactly_and_then_nothing_is_booked(store: Store) -> None:
    for loss, delta, dataset in ((100, 3, "a"), (1, 30, "b")):
        assert store.accept(ticket(replace(PRICE, delta=delta), dataset), loss, CEILING) == "fresh"
        assert store.spent(dataset, "zcdp") == (loss, delta)
        for more, more_delta in ((1, 0), (0, 1)):
            over = loss + more > CEILING.loss or delta + more_delta > CEILING.delta
            asked = ticket(replace(PRICE, delta=more_delta), dataset)
            if not over:
                continue
            with pytest.raises(
                TicketRefused, match=r"^the data domain's ceiling for this dataset is reached$"
            ) as refused:
                store.accept(asked, more, CEILING)
            assert refused.value.code == "budget_exhausted"
            assert store.spent(dataset, "zcdp") == (loss, delta)
            assert column(store, f"SELECT count(*) FROM ticket WHERE id = '{asked.id}'") == [0]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=12))
def test_however_it_is_asked_the_sum_stays_under_the_ceiling(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, int]]
) -> None:
    with contextlib.closing(Store(tmp_path_factory.mktemp("store") / "domain.sqlite")) as store:
        spent = (0, 0)
        for loss, delta in asked:
            after = (spent[0] + loss, spent[1] + delta)
            fits = after[0] <= CEILING.loss and after[1] <= CEILING.delta
            with contextlib.nullcontext() if fits else pytest.raises(TicketRefused):
                store.accept(ticket(replace(PRICE, delta=delta)), loss, CEILING)
            spent = after if fits else spent
            assert store.spent("clinic", "zcdp") == spent


def test_a_dataset_is_accounted_for_in_one_way_for_life(store: Store) -> None:
    accepted(store)
    with pytest.raises(TicketRefused, match=r"^this dataset was accounted for in another way before$") as refused:
        store.accept(ticket(), 1, replace(CEILING, accountant="pure"))
    assert refused.value.code == "policy_changed"
    assert store.accept(ticket(dataset="other"), 1, replace(CEILING, accountant="pure")) == "fresh"


def test_a_ticket_without_a_ceiling_spends_nothing(store: Store) -> None:
    accepted(store, None)
    assert column(store, "SELECT count(*) FROM spent") == [0]
    assert column(store, "SELECT accountant FROM ticket") == [NO_ACCOUNTANT]
    accepted(store)
    assert column(store, "SELECT accountant FROM ticket ORDER BY rowid") == [NO_ACCOUNTANT, "zcdp"]
    assert column(store, "SELECT loss FROM ticket ORDER BY rowid") == [1, 1]
    assert column(store, "SELECT delta FROM ticket ORDER BY rowid") == [3, 3]


def test_a_ticket_keeps_when_it_was_booked_in_milliseconds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_764_201_600_123_999_999)
    accepted(store)
    assert column(store, "SELECT accepted_ms FROM ticket") == [1_764_201_600_123]


def test_the_part_of_a_price_that_counts_is_the_accountant_s() -> None:
    assert (loss_of(PRICE, "zcdp"), loss_of(PRICE, "pure")) == (10, 5)


@pytest.mark.parametrize("make", [lambda: released(question()), protected, opened])
def test_a_release_comes_back_as_it_was_kept(store: Store, make: object) -> None:
    whole = make()  # type: ignore[operator]
    kept = store.seal(accepted(store), whole)
    assert kept.release == whole
    assert store.load(kept.id) == kept
    assert store.load("rel_other") is None
    assert len(kept.id) == len("rel_") + 32
    assert kept.id != store.seal(accepted(store), whole).id
    assert column(store, "SELECT count(DISTINCT salt) FROM release") == [2]
    assert column(store, "SELECT DISTINCT length(salt) FROM release") == [32]


def test_a_release_that_was_changed_is_not_told(store: Store) -> None:
    kept = store.seal(accepted(store), released(question()))
    with store._transaction() as tx:
        tx.execute("UPDATE release SET salt = zeroblob(32)")
    with pytest.raises(RuntimeError, match=r"^a stored release does not match its hash$"):
        store.load(kept.id)


def test_what_was_given_up_is_not_kept_any_more(store: Store) -> None:
    given_up, done = accepted(store), accepted(store)
    assert store.lose(given_up)
    with pytest.raises(TooLate):
        store.seal(given_up, released(question()))
    with pytest.raises(TooLate):
        store.seal("tkt_unknown", released(question()))
    store.seal(done, released(question()))
    assert not store.lose(done), "its release is kept already"
    with pytest.raises(TooLate):
        store.seal(done, released(question()))
    assert store.lose("tkt_unknown")
    assert column(store, "SELECT state FROM ticket ORDER BY rowid") == ["failed", "released"]
    assert column(store, "SELECT count(*) FROM release") == [1]


def test_what_is_kept_beside_a_release_is_kept_with_it_or_not_at_all(store: Store) -> None:
    def also(tx: sqlite3.Connection, release_id: str) -> None:
        tx.execute("CREATE TABLE beside AS SELECT ? AS release", (release_id,))

    def fails(tx: sqlite3.Connection, release_id: str) -> None:
        also(tx, release_id)
        raise ZeroDivisionError

    one = accepted(store)
    with pytest.raises(ZeroDivisionError):
        store.seal(one, released(question()), fails)
    assert column(store, "SELECT count(*) FROM release") == [0]
    kept = store.seal(one, released(question()), also)
    assert column(store, "SELECT release FROM beside") == [kept.id]


def test_only_exact_answers_are_counted(store: Store) -> None:
    for release in (released(question()), opened()):
        store.seal(accepted(store), release)
    assert column(store, "SELECT count(*) FROM exact") == [0]
    for _ in range(2):
        store.seal(accepted(store), protected())
    assert column(store, "SELECT answers FROM exact") == [2]
    assert not store.forgotten("clinic")


def test_the_same_meaning_finds_the_oldest_release_that_says_at_least_as_much(store: Store) -> None:
    small = store.seal(accepted(store), released(question(epsilon=4)))
    first = store.seal(accepted(store), released(question()))
    large = store.seal(accepted(store), released(question(epsilon=6)))
    assert store.find(question(name="other"), "s") == (first.id, first.hash)
    assert store.find(question(epsilon=4), "s") == (small.id, small.hash)
    assert store.find(question(epsilon=6), "s") == (large.id, large.hash)
    for other in (question(epsilon=7), question(table="visits"), question(measure="count_units")):
        assert store.find(other, "s") is None
    assert store.find(question(), "later") is None
    assert store.find(replace(question(), policy_digest="e"), "s") is None


def test_a_release_that_is_held_shows_to_nobody(store: Store) -> None:
    older = store.seal(accepted(store), released(question(epsilon=4)))
    mine = ticket()
    assert store.accept(mine, 10, CEILING) == "fresh"
    with store.held(mine.id):
        kept = store.seal(mine.id, released(question()))
        assert store.hidden() == {kept.id}
        assert store.find(question(), "s") is None
        assert store.find(question(epsilon=4), "s") == (older.id, older.hash)
        assert store.with_source(question(epsilon=4), "s") == (older,)
        assert store.accept(mine, 10, CEILING) == "failed"
        other = store.seal(accepted(store), released(question()))  # somebody else's, whose time has come
        assert store.find(question(), "s") == (other.id, other.hash)
    assert store.hidden() == frozenset()
    assert store.find(question(), "s") == (kept.id, kept.hash)
    assert store.with_source(question(epsilon=4), "s") == (other, kept, older)
    assert store.accept(mine, 10, CEILING) == kept.id


def test_releases_over_the_same_rows_are_found_newest_first_and_not_without_end(store: Store) -> None:
    store.seal(accepted(store), released(question(epsilon=4)))
    store.seal(accepted(store), released(question(table="visits")))
    store.seal(accepted(store), released(question(), "later"))
    ceiling = replace(CEILING, loss=10**6, delta=10**6)
    kept = [store.seal(accepted(store, ceiling), released(question(measure="count_units"))) for _ in range(52)]
    assert CANDIDATES_MAX == 50
    assert store.with_source(question(), "s") == tuple(kept[:1:-1])
    mine = accepted(store, ceiling)
    with store.held(mine):
        store.seal(mine, released(question(measure="count_units")))
        assert store.with_source(question(), "s") == tuple(kept[:1:-1]), "one that is held takes no other's place"
    assert store.with_source(replace(question(), policy_digest="e"), "s") == ()


def test_what_ran_when_the_service_died_is_lost_and_stays_paid(tmp_path: Path) -> None:
    with contextlib.closing(Store(tmp_path / "domain.sqlite")) as before:
        ran, done = accepted(before), accepted(before)
        kept = before.seal(done, released(question()))
    with contextlib.closing(Store(tmp_path / "domain.sqlite")) as after:
        assert after.spent("clinic", "zcdp") == (2, 6)
        with pytest.raises(TooLate):
            after.seal(ran, released(question()))
        assert after.accept(replace(ticket(), id=ran), 1, CEILING) == "failed"
        assert after.accept(replace(ticket(), id=done), 1, CEILING) == kept.id


def test_a_store_that_is_moved_away_takes_nothing_more(tmp_path: Path, store: Store) -> None:
    (tmp_path / "domain.sqlite").rename(tmp_path / "moved.sqlite")
    with pytest.raises(StoreUnusable, match="replaced or removed while it was in use"):
        store.accept(ticket(), 1, CEILING)
    assert store.failing
    assert not store.writable()
    (tmp_path / "moved.sqlite").rename(tmp_path / "domain.sqlite")
    assert store.writable()
    assert store.failing is False
    accepted(store)


def test_a_store_that_an_older_copy_overwrote_takes_nothing_more(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "domain.sqlite"
    older = path.read_bytes()
    accepted(store)
    with path.open("r+b") as file:
        file.write(older)
        file.truncate()
    with pytest.raises((StoreUnusable, sqlite3.DatabaseError)):
        store.accept(ticket(), 1, CEILING)
    assert tally.read(path.with_suffix(".tally")) == tally.Tally({("clinic", "zcdp"): (1, 3)}, {})


def test_a_store_whose_rows_say_less_than_they_did_takes_nothing_more(tmp_path: Path, store: Store) -> None:
    accepted(store)
    with contextlib.closing(sqlite3.connect(tmp_path / "domain.sqlite")) as other:
        for (guard,) in other.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            other.execute(f"DROP TRIGGER {guard}")
        other.execute("UPDATE spent SET loss = 0")
        other.commit()
    with pytest.raises(StoreUnusable, match=r"overwritten by an older copy while it was in use; restart the service$"):
        store.accept(ticket(), 1, CEILING)
    assert store.failing
    assert tally.read(tmp_path / "domain.tally") == tally.Tally({("clinic", "zcdp"): (1, 3)}, {})


def test_room_is_shown_by_writing_once_something_did_not_fit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.writable()
    with monkeypatch.context() as full:
        full.setattr(tally, "write", _no_space)
        with pytest.raises(OSError, match="No space"):
            store.accept(ticket(), 1, CEILING)
        assert store.failing
        assert not store.writable()
        assert store.failing
    assert store.writable()
    assert not store.failing
    assert column(store, "SELECT count(*) FROM sqlite_schema WHERE name = 'room'") == [0]


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_caller_s_own_mistake_is_no_sign_of_a_full_disk(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store._transaction():
        raise ZeroDivisionError
    assert not store.failing
    accepted(store)


def test_settings_that_do_not_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            return super().execute("PRAGMA synchronous" if "=EXTRA" in sql else sql, *parameters)  # type: ignore[arg-type]

    make = sqlite3.connect
    monkeypatch.setattr(durable.sqlite3, "connect", lambda *a, **k: make(*a, **k, factory=Deaf))
    with pytest.raises(StoreUnusable, match=r"could not be made durable \(journal mode truncate, synchronous 2\)"):
        Store(tmp_path / "domain.sqlite")
    monkeypatch.undo()
    Store(tmp_path / "domain.sqlite").close()  # the first one let go of it


def test_a_second_service_waits_for_the_first_to_end_and_no_longer(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "ALONE_WAIT_S", 0.2)
    open_files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    with pytest.raises(StoreUnusable, match="another process serves this data domain"):
        Store(tmp_path / "domain.sqlite")
    if open_files:
        assert len(os.listdir("/proc/self/fd")) == open_files
    store.close()
    Store(tmp_path / "domain.sqlite").close()


def test_a_start_waits_for_the_end_of_an_earlier_service(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        store.close()

    monkeypatch.setattr(time, "sleep", sleep)
    Store(tmp_path / "domain.sqlite").close()
    assert waited == [0.05]


def test_threads_share_the_store(store: Store) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(lambda _: accepted(store), range(4)))) == 4
        assert pool.submit(lambda: store.spent("clinic", "zcdp")).result() == (4, 12)
    assert store.failing is False


def test_a_place_that_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "domain.sqlite").mkdir()
    with pytest.raises(StoreUnusable, match=r"cannot be used as the data domain's store \("):
        Store(tmp_path / "domain.sqlite")


def test_a_tally_says_where_a_store_says_less() -> None:
    whole = tally.Tally({("a", "zcdp"): (5, 5), ("b", "pure"): (1, 0)}, {"c": 2})
    assert whole.beyond(whole) == ()
    assert whole.beyond(tally.NOTHING) == ("a", "b", "c")
    assert tally.NOTHING.beyond(whole) == ()
    assert tally.Tally({("a", "zcdp"): (0, 1)}, {"c": 1}).beyond(tally.NOTHING) == ("a", "c")
    assert whole.beyond(replace(whole, spent={**whole.spent, ("a", "zcdp"): (6, 4)})) == ("a",)
    assert whole.beyond(replace(whole, spent={**whole.spent, ("a", "zcdp"): (4, 6)})) == ("a",)
    assert whole.beyond(replace(whole, exact={"c": 3})) == ()
    assert whole.beyond(replace(whole, exact={"c": 1})) == ("c",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spent", [["clinic", "zcdp", -1, 0]]),
        ("spent", [["clinic", "zcdp", True, 0]]),
        ("spent", [["clinic", "zcdp", 1.5, 0]]),
        ("spent", [["clinic", 1, 1, 0]]),
        ("spent", [["clinic", "zcdp", 1]]),
        ("exact", [["clinic", "1"]]),
        ("exact", [[None, 1]]),
        ("exact", None),
        ("format", 0),
    ],
)
def test_a_tally_holds_names_and_counts(tmp_path: Path, name: str, value: object) -> None:
    good = {"format": tally.FORMATS[0], "spent": [["clinic", "zcdp", 0, 0]], "exact": [["clinic", 0]]}
    path = tmp_path / "spent.tally"
    path.write_text(json.dumps(good))
    assert tally.read(path) == tally.Tally({("clinic", "zcdp"): (0, 0)}, {"clinic": 0})
    path.write_text(json.dumps({**good, name: value}))
    with pytest.raises(tally.TallyUnreadable, match="put back the newest copy of it"):
        tally.read(path)


def test_a_tally_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "spent.tally"
    assert tally.read(path) is None
    tally.write(path, tally.NOTHING)
    plain = path.read_bytes()
    path.write_bytes(plain + b" " * (tally.BYTES_MAX - len(plain)))
    assert tally.read(path) == tally.NOTHING
    path.write_bytes(plain + b" " * (tally.BYTES_MAX - len(plain) + 1))
    with pytest.raises(tally.TallyUnreadable):
        tally.read(path)
    assert path.stat().st_mode & 0o077 == 0
    assert [file.name for file in tmp_path.iterdir()] == ["spent.tally"]


def test_what_a_newer_release_wrote_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "domain.sqlite"
    Store(path).close()
    with contextlib.closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(WrittenByNewer, match=f"^{re.escape(str(path))}: "):
        Store(path)
    with contextlib.closing(sqlite3.connect(path)) as today:
        today.execute(f"PRAGMA user_version = {len(LAYOUTS)}")
    newer = json.dumps({"format": tally.FORMATS[-1] + 1})
    path.with_suffix(".tally").write_text(newer)
    for _ in range(2):
        with pytest.raises(WrittenByNewer, match=r"written by a newer release \(format 3\); install that one again"):
            Store(path)
    assert path.with_suffix(".tally").read_text() == newer


def test_an_older_store_is_raised_to_what_its_tally_says_and_never_lowered(tmp_path: Path) -> None:
    path = tmp_path / "domain.sqlite"
    with contextlib.closing(Store(path)) as store:
        accepted(store)
        for _ in range(2):
            store.seal(accepted(store, None), protected())
    told = tally.Tally({("clinic", "zcdp"): (9, 2), ("other", "pure"): (4, 0)}, {"clinic": 2, "other": 1, "new": 0})
    tally.write(path.with_suffix(".tally"), told)
    with contextlib.closing(Store(path)) as store:
        assert store.spent("clinic", "zcdp") == (9, 3), "of each the larger"
        assert store.spent("other", "pure") == (4, 0)
        assert [store.forgotten(dataset) for dataset in ("clinic", "other", "new")] == [False, True, False]
        assert column(store, "SELECT dataset || answers FROM exact ORDER BY 1") == ["clinic2", "other1"]
    assert tally.read(path.with_suffix(".tally")) == tally.Tally(
        {("clinic", "zcdp"): (9, 3), ("other", "pure"): (4, 0)}, {"clinic": 2, "other": 1}
    )
    with contextlib.closing(Store(path)) as store:
        assert store.forgotten("other"), "what is forgotten stays so"


def test_what_was_spent_is_readable_by_its_owner_alone_and_in_plain_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "state" / "domain.sqlite"
    with contextlib.closing(Store(path)) as store:
        assert store.accept(ticket(dataset="诊所"), 1, CEILING) == "fresh"
    for file in (path, path.with_suffix(".tally"), path.with_suffix(".lock")):
        assert file.stat().st_mode & 0o777 == 0o600, file
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.with_suffix(".tally").read_bytes().decode() == (
        '{"format": 1, "spent": [["诊所", "zcdp", 1, 3]], "exact": []}'
    )


def test_an_older_store_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []

    class Told:
        def error(self, event: str, *, dataset: str) -> None:
            told.append((event, dataset))

    monkeypatch.setattr(durable, "log", Told())
    path = tmp_path / "domain.sqlite"
    tally.write(path.with_suffix(".tally"), tally.Tally({("clinic", "zcdp"): (9, 2)}, {}))
    Store(path).close()
    Store(path).close()
    assert told == [("the store is older than its tally; what was spent since is counted again", "clinic")]
