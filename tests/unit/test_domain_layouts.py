"""The data domain's file of every earlier layout, kept as text: it becomes today's with all that is in it, or stays."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.home import init
from sandbox import __main__ as command
from sandbox.release import layouts, tally
from sandbox.release.layouts import LAYOUTS, StoreUnusable, WrittenByNewer
from sandbox.release.store import Store
from tests import recorded_files
from tests.recorded_files import Disk, recording

GOLDEN = Path(__file__).parents[1] / "golden" / "layouts"
OLDER = (0, 2)
"""No file says that it is of layout 1."""
ROWS = (
    "INSERT INTO ticket VALUES ('tkt_1', 'clinic', 'released', 40, 4, 'zcdp', 'rel_1', 0)",
    "INSERT INTO ticket VALUES ('tkt_2', 'clinic', 'accepted', 2, 0, 'zcdp', NULL, 0)",
    "INSERT INTO spent VALUES ('clinic', 'zcdp', 42, 4)",
)
RELEASE = "INSERT INTO release VALUES ('rel_1', 'p', 'd', 's', 'dp', 1, x'00', 'h', x'7b7d'{})"
BY_USE = ("exact", "forgotten", "said_", "tallied")
"""What a file of layout 2 has only where it was needed."""


def described(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return {re.sub(r"\s+", " ", sql) for (sql,) in rows}


def kept(number: int) -> list[str]:
    return (GOLDEN / f"domain-{number}.sql").read_text("utf-8").splitlines()


def older(path: Path, number: int, schema: list[str] | None = None) -> None:
    """A store as the release with this layout has left it, of which much was asked."""
    schema = kept(number) if schema is None else schema
    with closing(sqlite3.connect(path)) as made:
        for sql in sorted(schema, key=lambda sql: not sql.startswith("CREATE TABLE")):
            made.execute(sql)
        for sql in (*ROWS, RELEASE.format(", 'q'" if number else "")):
            made.execute(sql)
        made.execute(f"PRAGMA user_version = {number}")
        made.commit()
    path.chmod(0o600)
    tally.write(path.with_suffix(".tally"), tally.Tally({("clinic", "zcdp"): (42, 4)}, {}))


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as found:
        return int(found.execute("PRAGMA user_version").fetchone()[0])


def test_a_layout_that_was_given_a_number_does_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3, len(LAYOUTS) + 1):
        monkeypatch.setattr(layouts, "LAYOUTS", LAYOUTS[:number])
        Store(tmp_path / f"{number}.sqlite").close()
        with closing(sqlite3.connect(tmp_path / f"{number}.sqlite")) as made:
            assert described(made) == set(kept(number))
    monkeypatch.setattr(layouts, "LAYOUTS", LAYOUTS[:2])
    with closing(sqlite3.connect(":memory:")) as made:
        layouts.take(made, 0)
        assert described(made) == {sql for sql in kept(2) if not any(name in sql for name in BY_USE)}


@pytest.mark.parametrize("number", [*OLDER, *range(3, len(LAYOUTS))])
def test_a_store_of_an_earlier_layout_becomes_todays_and_a_copy_stays(number: int, tmp_path: Path) -> None:
    path = tmp_path / "domain.sqlite"
    older(path, number)
    with closing(Store(path)) as store:
        assert store.spent("clinic", "zcdp") == (42, 4)
        with store.reading() as connection:
            states = dict(connection.execute("SELECT id, state FROM ticket"))
            (releases,) = connection.execute("SELECT count(*) FROM release").fetchone()
            assert described(connection) >= set(kept(len(LAYOUTS)))
            with pytest.raises(sqlite3.IntegrityError, match="never falls"):
                connection.execute("UPDATE spent SET loss = 0")
    assert states == {"tkt_1": "released", "tkt_2": "failed"}
    assert releases == (1 if number else 0), "what cannot be read any more is set aside"
    assert version(path) == len(LAYOUTS)
    copy = tmp_path / f"domain.sqlite.layout-{number}"
    assert copy.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(copy)) as before:
        assert described(before) == set(kept(number))
        assert before.execute("SELECT loss FROM spent").fetchall() == [(42,)]
        assert before.execute("SELECT count(*) FROM release").fetchone() == (1,)


def test_a_store_that_was_asked_for_little_becomes_todays_too(tmp_path: Path) -> None:
    path = tmp_path / "domain.sqlite"
    older(path, 2, [sql for sql in kept(2) if not any(name in sql for name in BY_USE)])
    with closing(Store(path)) as store, store.reading() as connection:
        assert described(connection) == set(kept(len(LAYOUTS)))


def test_going_back_to_the_copy_gives_no_budget_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "domain.sqlite"
    older(path, 2)
    with closing(Store(path)) as store, store._transaction() as tx:
        tx.execute("UPDATE spent SET loss = 50")
    (tmp_path / "domain.sqlite.layout-2").replace(path)
    monkeypatch.setattr(layouts, "LAYOUTS", LAYOUTS[:2])  # the release of before
    monkeypatch.setattr(layouts, "_require_whole", lambda connection, path: None)
    with closing(Store(path)) as store:
        assert version(path) == 2
        assert store.spent("clinic", "zcdp") == (50, 4)


def test_a_newer_layout_is_refused_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path)
    path = tmp_path / "state/domain/domain.sqlite"
    Store(path).close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {len(LAYOUTS) + 1}")
    before = path.read_bytes()
    with pytest.raises(WrittenByNewer, match=f"layout {len(LAYOUTS) + 1}, this one knows {len(LAYOUTS)}"):
        Store(path)
    assert command.main(["serve", "--home", str(tmp_path), "--socket", str(tmp_path / "s")]) == 78
    assert command.main(["tally", "--home", str(tmp_path)]) == 78
    assert capsys.readouterr().err.count("written by a newer release") == 2
    assert command._checked(tmp_path)["ok"] is False
    assert "written by a newer release" in command._checked(tmp_path)["detail"]
    assert path.read_bytes() == before
    assert list(path.parent.glob("*.layout-*")) == []


def test_a_store_that_a_newer_release_brings_on_while_it_is_open_takes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "domain.sqlite"
    with closing(Store(path)) as store:
        assert store.writable()
        with closing(sqlite3.connect(path)) as newer:
            newer.execute(f"PRAGMA user_version = {len(LAYOUTS) + 1}")
        before = path.read_bytes()
        assert not store.writable()
        with pytest.raises(WrittenByNewer, match="while it was in use"):
            store.lose("tkt_1")
        assert path.read_bytes() == before


def test_a_newer_tally_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "domain.sqlite"
    Store(path).close()
    plain = json.loads((tmp_path / "domain.tally").read_bytes()) | {"format": tally.FORMATS[-1] + 1, "more": []}
    (tmp_path / "domain.tally").write_text(json.dumps(plain))
    with pytest.raises(WrittenByNewer, match="newer release"):
        Store(path)
    assert json.loads((tmp_path / "domain.tally").read_bytes()) == plain


def test_the_doctor_says_that_a_store_is_going_to_be_brought_on(tmp_path: Path) -> None:
    init(tmp_path)
    path = tmp_path / "state/domain/domain.sqlite"
    assert command._checked(tmp_path)["ok"] is True
    older(path, 2)
    assert f"layout 2 is copied and brought to layout {len(LAYOUTS)}" in command._checked(tmp_path)["detail"]
    Store(path).close()
    assert "layout" not in command._checked(tmp_path)["detail"]


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE other (x)", f"PRAGMA application_id = {layouts.APPLICATION_ID + 1}"], ids=["tables", "id"]
)
def test_a_database_of_something_else_is_left_alone(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "domain.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute(sql)
        other.execute("CREATE TABLE IF NOT EXISTS other (x)")
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match="something else"):
        Store(path)
    assert path.read_bytes() == before


def test_a_store_without_one_of_its_guards_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "domain.sqlite"
    Store(path).close()
    with closing(sqlite3.connect(path)) as spoiled:
        spoiled.execute("DROP TRIGGER spent_never_falls")
    with pytest.raises(StoreUnusable, match="TRIGGER spent_never_falls"):
        Store(path)


def test_steps_that_break_half_way_leave_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "domain.sqlite"
    older(path, 0)
    broken = (*LAYOUTS[:2], (*LAYOUTS[2], "CREATE INDEX nowhere ON absent (at_all)"))
    with monkeypatch.context() as planted:
        planted.setattr(layouts, "LAYOUTS", broken)
        with pytest.raises(StoreUnusable, match="absent"):
            Store(path)
    with closing(sqlite3.connect(path)) as left:
        assert described(left) == set(kept(0))
    assert version(path) == 0
    Store(path).close()


@pytest.fixture
def place() -> Iterator[Path]:
    """In memory, where there is such a place: what a disk keeps is decided here."""
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="bpk-layouts-", dir=parent) as folder:
        yield Path(folder)


needs_a_library = pytest.mark.skipif(
    sys.platform != "linux" or recorded_files.library() is None, reason="needs an SQLite that is a library of its own"
)


def stopped_anywhere(folder: Path, number: int) -> int:
    """The number of moments at which the machine was stopped while a store was brought on, each survived."""
    path = folder / "life" / "domain.sqlite"
    path.parent.mkdir()
    older(path, number)
    before, told = path.read_bytes(), path.with_suffix(".tally").read_bytes()
    with recording() as recorded:
        Store(path).close()
    first = next(i for i, call in enumerate(recorded.calls) if call[1] == path.name)
    copied = [i for i, call in enumerate(recorded.calls) if ".layout-" in call[1]]
    assert copied, "a copy is made"
    assert max(copied) < first, "before anything of the store is touched"
    dice = random.Random(number)
    for end in range(len(recorded.calls) + 1):
        disk = Disk({path.name: bytearray(before)})
        for call in recorded.calls[:end]:
            disk.take(call)
        killed = Disk({name: bytearray(content) for name, content in disk.durable.items()}, list(disk.pending))
        for name in {call[1] for call in killed.pending}:
            killed.take(("sync", name))
        for image in (killed.after_power_loss(dice), disk.after_power_loss(dice)):
            survived(folder / f"after-{end}-{len(list(folder.iterdir()))}", image, told)
    return len(recorded.calls) + 1


def survived(folder: Path, image: dict[str, bytes], told: bytes) -> None:
    folder.mkdir()
    for name, content in image.items():
        (folder / name).write_bytes(content)
    (folder / "domain.tally").write_bytes(told)
    with closing(Store(folder / "domain.sqlite")) as store:
        assert store.spent("clinic", "zcdp") == (42, 4)
        with store.reading() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("SELECT count(*) FROM ticket").fetchone() == (2,)


@needs_a_library
@pytest.mark.parametrize("number", OLDER)
def test_wherever_the_machine_stops_the_store_is_whole_and_brought_on_at_the_next_start(
    number: int, place: Path
) -> None:
    assert stopped_anywhere(place, number) > 20


def _unwrapped(steps: Callable[[sqlite3.Connection, int], None]) -> Callable[[sqlite3.Connection, int], None]:
    def take(connection: sqlite3.Connection, number: int) -> None:
        if connection.in_transaction:
            connection.execute("COMMIT")
            layouts.mark(connection)
        steps(connection, number)
        if not connection.in_transaction:
            connection.execute("BEGIN")

    return take


@needs_a_library
def test_steps_outside_of_one_transaction_are_found_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: each step by itself, the layout's number first."""
    monkeypatch.setattr(layouts, "take", _unwrapped(layouts.take))
    with pytest.raises((StoreUnusable, AssertionError)):
        stopped_anywhere(place, 0)
