"""The pool and its workers: legitimate work behind the walls, limits, places, and deaths of every part."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from policies.types import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, TEXT, TIMESTAMP, Type
from sandbox import places
from sandbox.pool import Pool, PoolSettings, Worker, WorkerFailed
from sandbox.supervised import WorkerLimits
from tests.isolation.confined import ROOT
from tests.isolation.conftest import open_folder
from tests.waiting import eventually

REQUIRED = {"no_new_privs", "rlimits", "landlock", "seccomp", "engine"}


@contextmanager
def small_pool(snapshot: Path, **settings: int) -> Iterator[Pool]:
    with open_folder() as name:
        made = Pool(PoolSettings(spill=Path(name), **{"memory_mb": 256, "workers_max": 2, **settings}))
        made.serve("clinic", snapshot)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def worker(pool: Pool) -> Iterator[Worker]:
    taken = taken_from(pool)
    yield taken
    taken.close()


def taken_from(pool: Pool) -> Worker:
    taken = pool.take(None, "clinic")
    assert taken is not None
    return taken


def gone(pid: int) -> bool:
    """A dead process that nobody has waited for yet is gone too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_all_required_layers_stand_around_a_worker(worker: Worker) -> None:
    assert {layer.name for layer in worker.layers if layer.required} == REQUIRED
    assert all(layer.active for layer in worker.layers if layer.required)


def test_the_self_test_finds_nothing(pool: Pool) -> None:
    layers = pool.selftest()
    assert {layer.name for layer in layers if layer.required and layer.active} == REQUIRED


@pytest.mark.parametrize(
    ("sql", "shape", "count"),
    [
        ("SELECT hospital, count(*) FROM visits GROUP BY 1", (INTEGER, BIGINT), 20),
        ("SELECT h.name, count(*), sum(v.cost::BIGINT)::BIGINT FROM visits v JOIN hospitals h ON h.id = v.hospital"
         " GROUP BY 1", (TEXT, BIGINT, BIGINT), 20),
        ("SELECT count(DISTINCT __unit) FROM visits", (BIGINT,), 1),
        ("SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY hospital ORDER BY cost, __unit) AS n FROM visits)",
         (BIGINT,), 1),
        ("SELECT date_trunc('month', day)::DATE AS month, count(*) FROM visits GROUP BY 1", (DATE, BIGINT), 33),
        ("WITH p AS (SELECT __unit, least(count(*), 5) AS n FROM visits GROUP BY 1) SELECT sum(n)::BIGINT FROM p",
         (BIGINT,), 1),
        ("SELECT sha256(note) FROM visits ORDER BY 1 LIMIT 1", (TEXT,), 1),
        ("SELECT __unit, cost FROM visits WHERE hospital < 2", (INTEGER, Type.parse("decimal(10,2)")), 100_000),
        ("SELECT i FROM range(5) r(i) WHERE i > 9", (BIGINT,), 0),
    ],
)  # fmt: skip
def test_legitimate_work_runs_behind_the_walls(worker: Worker, sql: str, shape: tuple[Type, ...], count: int) -> None:
    assert len(worker.query(sql, shape, 100_000)) == count


def test_a_sort_larger_than_memory_spills(snapshot: Path) -> None:
    sql = (
        "SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY md5(note || i)) AS n FROM visits, range(3) r(i))"
        " WHERE n > 0"
    )
    with small_pool(snapshot, memory_mb=128) as pool:
        assert taken_from(pool).query(sql, (BIGINT,), 1) == [(3_000_000,)]


def test_every_type_comes_back_as_itself(worker: Worker) -> None:
    sql = (
        "SELECT 1, -9223372036854775808, 1.5::DOUBLE, 2.50::DECIMAL(5,2), 'ü', true, DATE '2020-02-29', NULL::TIMESTAMP"
    )
    shape = (INTEGER, BIGINT, DOUBLE, Type.parse("decimal(5,2)"), TEXT, BOOLEAN, DATE, TIMESTAMP)
    expected = (1, -(2**63), 1.5, Decimal("2.50"), "ü", True, date(2020, 2, 29), None)
    assert worker.query(sql, shape, 1) == [expected]


def test_a_job_may_ask_in_several_stages(worker: Worker) -> None:
    assert [worker.query(f"SELECT {n}", (INTEGER,), 1) for n in range(3)] == [[(0,)], [(1,)], [(2,)]]


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1; SELECT 2", "denied"),
        ("", "denied"),
        ("COPY visits TO '/tmp/bpk-stolen'", "denied"),
        ("ATTACH '/tmp/bpk-other.duckdb'", "denied"),
        ("CREATE TEMP TABLE t AS SELECT 1", "denied"),
        ("PRAGMA database_list", "denied"),
        ("SELECT * FROM read_text('/etc/hostname')", "denied"),
        ("WITH x AS (COPY visits TO '/tmp/bpk-stolen') SELECT 1", "denied"),
        ("SELECT note::INTEGER FROM visits", "data"),
        ("SELECT error('secret')::INTEGER", "data"),
        ("SELECT 9223372036854775808::HUGEINT", "data"),
        ("SELECT 'text'", "data"),
        ("SELECT 1, 2", "data"),
        ("SELECT nothing FROM visits", "internal"),
        ("SELECT i FROM range(11) r(i)", "too_big"),
        ("SELECT length(repeat('x', 3000000000))", "resource"),
        ("SELECT len(list(repeat(note, 200))) FROM visits, range(5)", "resource"),
    ],
)
def test_a_failure_is_a_class_and_ends_the_worker(pool: Pool, sql: str, kind: str) -> None:
    worker = taken_from(pool)
    with pytest.raises(WorkerFailed) as failed:
        worker.query(sql, (INTEGER,), 10)
    assert failed.value.kind == kind
    assert failed.value.args == (kind,)
    assert failed.value.__cause__ is None
    assert eventually(lambda: gone(worker.pid))
    assert not Path("/tmp/bpk-stolen").exists()


def test_a_query_past_its_time_is_stopped(snapshot: Path) -> None:
    with small_pool(snapshot, wall_ms=500) as pool:
        worker = taken_from(pool)
        began = time.monotonic()
        with pytest.raises(WorkerFailed, match="timeout"):
            worker.query("SELECT count(*) FROM visits a, visits b WHERE a.cost + b.cost = 3.14", (BIGINT,), 1)
        assert time.monotonic() - began < 1.5
        assert eventually(lambda: gone(worker.pid))


def test_a_worker_that_ignores_the_engines_own_limit_is_killed(snapshot: Path) -> None:
    """sleep_ms is not interrupted by max_execution_time: the clock of the service is the one that counts."""
    with small_pool(snapshot, wall_ms=400) as pool:
        worker = taken_from(pool)
        began = time.monotonic()
        with pytest.raises(WorkerFailed, match="timeout"):
            worker.query("SELECT sleep_ms(5000)", (INTEGER,), 1)
        assert time.monotonic() - began < 1.5
        assert eventually(lambda: gone(worker.pid))


def test_all_stages_of_a_job_share_one_clock(snapshot: Path) -> None:
    with small_pool(snapshot, wall_ms=800) as pool:
        worker = taken_from(pool)
        ends = [_ends(worker, "SELECT (sleep_ms(250) IS NULL)::BIGINT") for _ in range(5)]
        assert ends[0] == "answered"
        assert ends[3] != "answered"


def _ends(worker: Worker, sql: str) -> str:
    try:
        worker.query(sql, (BIGINT,), 1)
    except WorkerFailed as failed:
        return failed.kind
    return "answered"


def test_memory_is_watched_from_outside_as_well(snapshot: Path) -> None:
    """Shared maps are outside the process's own limit: here the watchdog alone is set low."""
    with small_pool(snapshot) as pool:
        worker = taken_from(pool)
        worker._limits = WorkerLimits(10_000, 1 << 20, rss_bytes_max=1 << 20)
        with pytest.raises(WorkerFailed, match="resource"):
            worker.query("SELECT sleep_ms(2000)", (INTEGER,), 1)
        assert eventually(lambda: gone(worker.pid))


def test_a_result_above_its_bytes_is_not_taken(snapshot: Path) -> None:
    with small_pool(snapshot, result_bytes_max=10_000) as pool, pytest.raises(WorkerFailed, match="too_big"):
        taken_from(pool).query("SELECT note FROM visits", (TEXT,), 10_000_000)


def test_a_worker_serves_one_job_and_dies(pool: Pool) -> None:
    first = taken_from(pool)
    first.query("SELECT 1", (INTEGER,), 1)
    first.close()
    assert eventually(lambda: gone(first.pid))
    with pytest.raises(WorkerFailed):
        first.query("SELECT 1", (INTEGER,), 1)
    second = taken_from(pool)
    assert second.pid != first.pid
    second.close()


def test_a_warm_worker_is_there_at_once_and_a_fresh_one_soon(snapshot: Path) -> None:
    with small_pool(snapshot, workers_max=3) as pool:
        waits = []
        for _ in range(5):  # the shortest of several: the machine may have other work in one of them
            assert eventually(lambda: bool(pool._places._warm.get("clinic")))
            began = time.monotonic()
            warm = taken_from(pool)
            waits.append(time.monotonic() - began)
            assert warm.query("SELECT 1", (INTEGER,), 1) == [(1,)]
            warm.close()
        assert min(waits) < 0.02


def test_the_next_worker_is_not_started_while_the_one_that_was_taken_needs_the_processor(snapshot: Path) -> None:
    with small_pool(snapshot, workers_max=3) as pool:
        assert eventually(lambda: bool(pool._places._warm.get("clinic")))
        began = time.monotonic()
        worker = taken_from(pool)
        assert eventually(lambda: pool._places._refilling or bool(pool._places._warm.get("clinic")))
        assert time.monotonic() - began > 0.2
        worker.close()


def test_a_reservation_holds_a_place_and_is_taken_once(snapshot: Path) -> None:
    with small_pool(snapshot, workers_max=2) as pool:
        tokens = [pool.reserve("clinic"), pool.reserve("clinic")]
        assert None not in tokens
        assert pool.reserve("clinic") is None
        assert pool.take(None, "clinic") is None
        worker = pool.take(tokens[0], "clinic")
        assert worker is not None
        assert pool.take(tokens[0], "clinic") is None
        worker.close()
        assert pool.reserve("clinic") is not None


def test_a_reservation_expires_and_its_place_comes_back(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "RESERVATION_S", 0.3)
    with small_pool(snapshot, workers_max=1) as pool:
        token = pool.reserve("clinic")
        assert token is not None
        assert pool.reserve("clinic") is None
        assert eventually(lambda: not pool._places._held, 3)
        assert pool.take(token, "clinic") is None
        assert eventually(lambda: bool(pool._places._warm.get("clinic")), 3)
        assert pool.reserve("clinic") is not None


def test_a_reservation_of_one_dataset_is_nothing_for_another(snapshot: Path) -> None:
    with small_pool(snapshot) as pool:
        pool.serve("income", snapshot)
        assert pool.take(pool.reserve("clinic"), "income") is None


def test_an_unknown_dataset_has_no_place(pool: Pool) -> None:
    assert pool.reserve("nothing") is None
    assert pool.take("0" * 32, "clinic") is None


def test_a_waiting_worker_of_another_dataset_makes_room(snapshot: Path) -> None:
    with small_pool(snapshot, workers_max=1) as pool:
        assert eventually(lambda: bool(pool._places._warm.get("clinic")))
        pool.serve("income", snapshot)
        worker = pool.take(None, "income")
        assert worker is not None
        assert worker.dataset == "income"


def test_a_new_snapshot_replaces_the_waiting_workers(snapshot: Path) -> None:
    with open_folder() as name, small_pool(snapshot) as pool:
        newer = Path(name) / "newer.duckdb"
        newer.write_bytes(snapshot.read_bytes())
        assert eventually(lambda: bool(pool._places._warm.get("clinic")))
        pool.serve("clinic", newer)
        assert taken_from(pool).snapshot == newer


def test_a_missing_snapshot_gives_no_worker_and_says_which_layer(snapshot: Path) -> None:
    with small_pool(snapshot) as pool:
        pool.serve("gone", snapshot.with_name("gone.duckdb"))
        assert pool.reserve("gone") is None


def test_a_file_that_is_no_snapshot_gives_no_worker(snapshot: Path) -> None:
    with open_folder() as name, small_pool(snapshot) as pool:
        broken = Path(name) / "broken.duckdb"
        broken.write_bytes(b"not a snapshot" * 1000)
        pool.serve("broken", broken)
        assert pool.reserve("broken") is None


def test_what_a_worker_spilled_is_wiped(snapshot: Path) -> None:
    with open_folder() as name:
        pool = Pool(PoolSettings(spill=Path(name), memory_mb=256, workers_max=1))
        pool.serve("clinic", snapshot)
        worker = taken_from(pool)
        folders = [path for path in Path(name).glob("pool-*/*") if path.is_dir()]
        assert len(folders) == 1
        assert folders[0].stat().st_mode & 0o777 == 0o700
        worker.close()
        assert eventually(lambda: not folders[0].exists())
        pool.close()
        pool.close()
        assert list(Path(name).iterdir()) == []


def test_leftovers_of_a_killed_service_are_wiped(snapshot: Path) -> None:
    with open_folder() as name:
        (left := Path(name) / "pool-0123").mkdir()
        (left / "lock").touch()
        (left / "rows.tmp").write_text("rows")
        Pool(PoolSettings(spill=Path(name))).close()
        assert not left.exists()


def test_a_killed_zygote_is_replaced_and_its_workers_are_gone(snapshot: Path) -> None:
    with small_pool(snapshot) as pool:
        worker = taken_from(pool)
        assert pool._starts._zygote is not None
        before = pool._starts._zygote.pid
        os.kill(before, signal.SIGKILL)
        assert eventually(lambda: gone(worker.pid), 2)
        with pytest.raises(WorkerFailed):
            worker.query("SELECT 1", (INTEGER,), 1)
        assert eventually(lambda: pool._starts._zygote is not None and pool._starts._zygote.pid != before)
        assert taken_from(pool).query("SELECT 1", (INTEGER,), 1) == [(1,)]


def test_many_callers_at_once_each_get_a_worker_of_their_own(snapshot: Path) -> None:
    with small_pool(snapshot, workers_max=3) as pool:
        with ThreadPoolExecutor(8) as callers:
            ends = list(callers.map(lambda number: _one_job(pool, number), range(40)))
        assert ends == ["right"] * 40
        assert eventually(lambda: len(pool._places._workers) == 1 and pool._places._starting == 0)


def test_without_waiting_a_full_house_is_said_at_once(snapshot: Path) -> None:
    with small_pool(snapshot, workers_max=1) as pool:
        worker = taken_from(pool)
        began = time.monotonic()
        assert pool.reserve("clinic") is None
        assert time.monotonic() - began < 0.2
        worker.close()
        assert pool.reserve("clinic", wait_s=5) is not None


def _one_job(pool: Pool, number: int) -> str:
    token = pool.reserve("clinic", wait_s=20)
    if token is None:
        return "busy"
    worker = pool.take(token, "clinic")
    if worker is None:
        return "lost"
    rows = worker.query(f"SELECT {number}", (INTEGER,), 1)
    worker.close()
    return "right" if rows == [(number,)] else "wrong"


def test_a_query_that_is_cancelled_from_another_thread_fails_and_frees_its_place(snapshot: Path) -> None:
    with small_pool(snapshot, workers_max=1) as pool:
        worker = taken_from(pool)
        with ThreadPoolExecutor(1) as caller:
            job = caller.submit(worker.query, "SELECT sleep_ms(10000)", (INTEGER,), 1)
            time.sleep(0.2)
            worker.kill()
            with pytest.raises(WorkerFailed):
                job.result(timeout=2)
        assert eventually(lambda: gone(worker.pid))
        assert taken_from(pool).query("SELECT 1", (INTEGER,), 1) == [(1,)]


def test_a_pool_that_closes_while_callers_work_ends_them_all(snapshot: Path) -> None:
    with small_pool(snapshot, workers_max=3) as pool, ThreadPoolExecutor(4) as callers:
        workers = [taken_from(pool) for _ in range(2)]
        jobs = [callers.submit(worker.query, "SELECT sleep_ms(10000)", (INTEGER,), 1) for worker in workers]
        time.sleep(0.2)
        pool.close()
        for job in jobs:
            with pytest.raises(WorkerFailed):
                job.result(timeout=2)
        assert all(gone(worker.pid) for worker in workers)
        assert pool.reserve("clinic") is None


def test_a_killed_worker_is_a_failure_of_its_job_only(pool: Pool) -> None:
    worker = taken_from(pool)
    worker.kill()
    with pytest.raises(WorkerFailed):
        worker.query("SELECT 1", (INTEGER,), 1)
    assert taken_from(pool).query("SELECT 1", (INTEGER,), 1) == [(1,)]


SERVICE = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sandbox.pool import Pool, PoolSettings
pool = Pool(PoolSettings(spill=Path(sys.argv[2]), memory_mb=256))
pool.serve("clinic", Path(sys.argv[3]))
worker = pool.take(None, "clinic")
print(pool._starts._zygote.pid, worker.pid, flush=True)
time.sleep(60)
"""


def test_a_zygote_killed_just_before_a_refill_stalls_nobody(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's own thread once waited half a minute for the zygote that it alone could have started."""
    with small_pool(snapshot, warm=1) as pool:
        assert eventually(lambda: bool(pool._places._warm.get("clinic")))
        honest, armed = pool._places.expire, [True]

        def kill_first() -> None:
            honest()
            if armed and pool._places._missing() is not None and pool._starts._zygote is not None:
                armed.clear()
                os.kill(pool._starts._zygote.pid, signal.SIGKILL)
                assert eventually(lambda: pool._starts._zygote is not None and not pool._starts._zygote.alive)

        monkeypatch.setattr(pool._places, "expire", kill_first)
        taken_from(pool).close()
        assert eventually(lambda: not armed)
        begin = time.monotonic()
        assert eventually(lambda: pool.reserve("clinic") is not None, 15)
        assert time.monotonic() - begin < 10


def test_when_the_service_is_killed_zygote_and_workers_die_too(snapshot: Path) -> None:
    with open_folder() as name:
        arguments = [sys.executable, "-c", SERVICE, str(ROOT), name, str(snapshot)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout is not None
            pids = [int(number) for number in service.stdout.readline().split()]
            service.kill()
        assert len(pids) == 2
        assert all(eventually(lambda pid=pid: gone(pid), 3) for pid in pids)


def test_a_worker_holds_no_descriptor_and_no_environment_of_others(worker: Worker) -> None:
    if os.geteuid() != 0:
        pytest.skip("looking into a worker from outside needs root: its own account cannot")
    open_files = {os.readlink(path) for path in Path(f"/proc/{worker.pid}/fd").iterdir()}
    others = {name for name in open_files if not name.startswith(("/dev/null", "socket:"))}
    assert others == {str(worker.snapshot)}
    assert sum(name.startswith("socket:") for name in open_files) == 1
    environment = Path(f"/proc/{worker.pid}/environ").read_bytes()
    assert b"HOME" not in environment
    assert b"PATH=" not in environment.replace(b"LD_LIBRARY_PATH=", b"")
