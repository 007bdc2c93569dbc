"""SQL attacks, each twice: straight at the engine inside a worker, and as an operator's question through the reader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from gateway.errors import STATUS, Refusal
from gateway.sql.read import read
from policies.types import TEXT
from sandbox.pool import Pool, PoolSettings, WorkerFailed
from tests.isolation.confined import NOBODY, SECRET
from tests.isolation.conftest import open_folder
from tests.isolation.questioned import Questioned, people, question
from tests.isolation.sql_attacks import SqlAttack, attacks, filled
from tests.isolation.test_attacks_from_inside import WALLS, needs_root
from tests.sql_world import LIMITS, ONLY_CLINIC

ATTACKS = tuple(attacks())
LONG = bool(os.environ.get("BPK_LONG"))
PLACES = {"outside": "/srv/x", "other": "/srv/o.duckdb", "spill": "/srv/s", "data": "/srv/d.duckdb", "port": 9}
SUFFERED = "SELECT CAST(count(*) AS VARCHAR), CAST(sum(age) AS VARCHAR) FROM people"


def test_the_list_has_not_shrunk() -> None:
    assert len({each.sql for each in ATTACKS}) == len(ATTACKS) >= 150
    assert sum(each.holds == "walls" for each in ATTACKS) >= 100


def harmless(result: Questioned) -> None:
    assert result.through == set()
    assert result.outside == ()
    assert SECRET not in result.said


@pytest.fixture(scope="module")
def questioned() -> Iterator[Questioned]:
    with open_folder() as name:
        yield question(Path(name))


def test_no_sql_gets_through_inside_a_worker(questioned: Questioned) -> None:
    harmless(questioned)


@needs_root
def test_no_sql_gets_through_for_an_ordinary_account_without_namespaces(folder: Path) -> None:
    harmless(question(folder, uid=NOBODY, broken=["namespaces", "files_hidden"]))


def test_the_settings_of_the_engine_stop_them_all_alone(folder: Path) -> None:
    harmless(question(folder, broken=[*WALLS]))


def test_without_them_the_walls_still_stop_files_network_and_writing(folder: Path) -> None:
    """An engine as it comes, behind the walls: settings can be changed, and lead nowhere."""
    result = question(folder, plain=True)
    assert result.outside == ()
    assert SECRET not in result.said
    assert "connected" not in result.outcome.values()
    assert {each.group for each in ATTACKS if each.sql in result.through - {"UPDATE EXTENSIONS"}} <= {"settings"}


def test_without_settings_and_walls_most_get_through(folder: Path) -> None:
    """The twin: where nothing stops them, these attacks do read, write and connect."""
    result = question(folder, plain=True, broken=[*WALLS])
    assert SECRET in result.said
    assert any(name.startswith("stolen.csv") for name in result.outside)
    assert "connected" in result.outcome.values()
    assert len(result.through) > 60


def test_what_only_the_reader_stops_does_run_inside_a_worker(questioned: Questioned) -> None:
    """So the reader's part of the list is no idle one."""
    outcome = questioned.outcome
    ran = [each for each in ATTACKS if each.holds == "reader" and outcome[each.sql] == "answered"]
    assert len(ran) > 40
    assert {"sql from data", "state", "metadata"} <= {each.group for each in ran}


@pytest.fixture(scope="module")
def pool() -> Iterator[tuple[Pool, dict[str, object]]]:
    with open_folder() as name:
        folder = Path(name)
        (outside := folder / "outside").mkdir()
        (outside / "file.csv").write_text(SECRET)
        made = Pool(PoolSettings(spill=folder / "spill", memory_mb=128, threads=1, wall_ms=5000, workers_max=3))
        made.serve("clinic", people(folder / "data.duckdb"))
        yield made, {**PLACES, "outside": str(outside)}
        made.close()


def chosen() -> list[SqlAttack]:
    """One of each kind; all where time does not matter."""
    return list(ATTACKS) if LONG else list({(each.group, each.holds): each for each in ATTACKS}.values())


@pytest.mark.parametrize("attack", chosen(), ids=lambda attack: attack.sql[:60])
def test_a_service_that_was_taken_over_gets_nothing_but_the_snapshot(
    pool: tuple[Pool, dict[str, object]], attack: SqlAttack
) -> None:
    made, places = pool
    worker = made.take(None, "clinic")
    assert worker is not None
    answered: object = None
    try:
        answered = worker.query(filled(attack.sql, places), (TEXT,), 10_000)
    except WorkerFailed as failed:
        answered = None if failed.args == (failed.kind,) else failed.args
    worker.close()
    assert answered is None or attack.holds == "reader"
    assert SECRET not in repr(answered)
    assert os.listdir(places["outside"]) == ["file.csv"]
    following = made.take(None, "clinic")
    assert following is not None
    assert following.query(SUFFERED, (TEXT, TEXT), 1) == [("5000", "247500")]
    following.close()


@pytest.mark.parametrize("mode", [None, "aggregate", "open"])
def test_an_operator_is_refused_each_of_them_with_a_code(mode: str | None) -> None:
    wrong = []
    for attack in ATTACKS:
        try:
            read(filled(attack.sql, PLACES), {}, ONLY_CLINIC, LIMITS, mode)
        except Refusal as refusal:
            if refusal.code in STATUS and refusal.code != "internal":
                continue
            wrong.append(f"{attack.sql}: {refusal.code}")
        else:
            wrong.append(f"{attack.sql}: answered")
    assert not wrong, "\n".join(wrong)


def test_a_reader_that_lets_functions_through_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: whatever text is read means one and the same harmless question."""
    harmless_question = read("SELECT COUNT(*) FROM people", {}, ONLY_CLINIC, LIMITS)
    monkeypatch.setattr("tests.isolation.test_sql_attacks.read", lambda *_: harmless_question)
    with pytest.raises(AssertionError, match="answered"):
        test_an_operator_is_refused_each_of_them_with_a_code(None)


def test_a_worker_takes_no_pointer_from_sql(questioned: Questioned) -> None:
    """On DuckDB 1.5.6 a number in such a call was read as an address; the version is pinned above it."""
    assert tuple(map(int, duckdb.__version__.split(".")[:2])) >= (2, 0)
    outcome = questioned.outcome
    assert {outcome[each.sql] for each in ATTACKS if "1094795585" in each.sql} == {"refused"}
