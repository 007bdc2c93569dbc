"""Publishing: whole or not at all, and a name stands for the same bytes for ever."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from sandbox.ingest import snapshot as snapshots
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.snapshot import published
from tests.ingest_builders import DOMAIN, FILES, POLICY, one_table, one_table_home, rows, take_in, write_home

SECOND = DOMAIN.replace('"one"', '"two"')


def state(home: Path) -> Path:
    return home / "state" / "domain"


def folder(home: Path) -> Path:
    return state(home) / "snapshots" / "clinic"


def test_what_is_published_is_found_and_not_built_again(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    assert published(state(home), "clinic") is None
    first = take_in(home)
    assert take_in(home) == first == published(state(home), "clinic")
    assert json.loads((folder(home) / "current.json").read_text()) == {"id": first.id, "snapshot_name": "one"}


def test_files_that_changed_under_an_old_name_are_refused(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    first = take_in(home)
    write_home(home, people=FILES["people.csv"].replace("20.5", "20.6"))
    with pytest.raises(IngestRefused, match=r"`people.csv` .* is not what it was when snapshot `one` was published"):
        take_in(home)
    assert published(state(home), "clinic") == first


def test_a_file_that_was_only_touched_is_the_same_file(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    first = take_in(home)
    os.utime(home / "people.csv", (1, 1))
    assert take_in(home) == first


def test_a_file_added_or_gone_under_an_old_name_is_refused(tmp_path: Path) -> None:
    home = one_table_home(tmp_path, "t", ["part-*.csv"])
    text = one_table("t", {"x": "integer"})
    for part in ("part-1.csv", "part-2.csv"):
        (home / part).write_text("u,x\n1,2\n")
    take_in(home, text)
    (home / "part-3.csv").write_text("u,x\n1,2\n")
    with pytest.raises(IngestRefused, match=r"part-3\.csv"):
        take_in(home, text)
    (home / "part-3.csv").unlink()
    (home / "part-1.csv").unlink()
    with pytest.raises(IngestRefused, match=r"part-1\.csv"):
        take_in(home, text)


def test_a_new_name_takes_the_new_files_and_the_old_name_keeps_its_meaning(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    first = take_in(home)
    changed = FILES["people.csv"].replace("20.5", "20.6")
    second = take_in(write_home(home, SECOND, people=changed))
    assert (second.name, second.id != first.id, second.commitment != first.commitment) == ("two", True, True)
    with pytest.raises(IngestRefused, match="is not what it was"):
        take_in(write_home(home, DOMAIN, people=changed))
    assert take_in(write_home(home, DOMAIN)).name == "one"


def test_a_reader_keeps_its_snapshot_while_a_new_one_is_published(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    first = take_in(home)
    with duckdb.connect(str(first.path), read_only=True) as con:
        take_in(write_home(home, SECOND, people="pid,name,sex,income\n"))
        snapshots.drop_superseded(state(home), "clinic")
        assert con.execute("SELECT count(*) FROM people").fetchall() == [(3,)]
    assert not first.path.exists()
    assert (first.path.parent / "manifest.json").exists()


def test_a_changed_schema_is_built_anew_from_the_same_files_only(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    first = take_in(home)
    wider = POLICY.replace("decimal(10,2)", "decimal(12,2)")
    second = take_in(home, wider)
    assert (second.name, second.id != first.id) == ("one", True)
    write_home(home, people=FILES["people.csv"].replace("20.5", "20.6"))
    with pytest.raises(IngestRefused, match="is not what it was"):
        take_in(home, POLICY)


def test_a_damaged_snapshot_is_never_served_but_built_anew(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    first = take_in(home)
    first.path.chmod(0o644)
    content = bytearray(first.path.read_bytes())
    content[len(content) // 2] ^= 1
    first.path.write_bytes(content)
    assert not snapshots.intact(first)
    assert take_in(home).id != first.id


def test_a_damaged_manifest_is_refused_with_the_way_out(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    first = take_in(home)
    (first.path.parent / "manifest.json").write_text("{")
    with pytest.raises(IngestRefused, match="is damaged"):
        take_in(home)


def test_a_refused_build_leaves_nothing_behind(tmp_path: Path) -> None:
    home = write_home(tmp_path, people="pid,name,sex,income\n1,x,F,much\n")
    with pytest.raises(IngestRefused):
        take_in(home)
    assert [entry.name for entry in folder(home).iterdir()] == [".lock"]


def test_a_build_that_was_killed_leaves_nothing_in_force_and_is_swept(tmp_path: Path) -> None:
    people = "pid,name,sex,income\n" + "".join(f"{n},x,F,1\n" for n in range(900))
    home = write_home(tmp_path, people=people)
    code = (
        "import sys, pathlib; from tests.ingest_builders import take_in; take_in(pathlib.Path(sys.argv[1]));"
        "print('done', flush=True)"
    )
    root = Path(__file__).parents[2]
    for delay in (0.25, 0.4, 0.5, 0.6, 0.7):
        run = subprocess.Popen([sys.executable, "-c", code, str(home)], cwd=root, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        run.send_signal(signal.SIGKILL)
        run.wait()
        standing = published(state(home), "clinic")
        assert standing is None or (
            snapshots.intact(standing) and rows(standing, "SELECT count(*) FROM people") == [(900,)]
        )
    assert rows(take_in(home), "SELECT count(*) FROM people") == [(900,)]
    assert not list(folder(home).glob(".build-*"))


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """The limit on file size is a disk that is full: the engine's writes fail in the same way."""
    people = "pid,name,sex,income\n" + "".join(f"{n},x,F,{n * 0.37}\n" for n in range(1000))
    home = write_home(tmp_path, people=people)
    code = (
        "import sys, pathlib, resource; from tests.ingest_builders import take_in\n"
        "import sandbox.ingest.refused as refused\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: take_in(pathlib.Path(sys.argv[1]))\n"
        "except refused.IngestRefused as told: print(told)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cannot be written" in done.stdout, done.stdout + done.stderr
    assert published(state(home), "clinic") is None
    assert not list(folder(home).glob(".build-*"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE) != (100_000, 100_000)


def test_a_file_that_moves_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sandbox.ingest import ensure

    home = write_home(tmp_path)
    run = ensure._run_child

    def run_and_move(job: ensure.Job) -> ensure.Built:
        built = run(job)
        (home / "visits.csv").write_text(FILES["visits.csv"] + "16,1,7,1\n")
        return built

    monkeypatch.setattr(ensure, "_run_child", run_and_move)
    with pytest.raises(IngestRefused, match=r"`visits.csv` of table `visits` changed while it was read"):
        take_in(home)
    assert published(state(home), "clinic") is None
