"""Parquet files of a few bytes that ask for all the memory, disk or time there is; and files that lie of themselves."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.ingest import ensure
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.snapshot import published
from tests import parquet_by_hand as by_hand
from tests.ingest_builders import one_table, one_table_home, rows, take_in
from tests.parquet_by_hand import BYTES, DICTIONARY, GZIP, INT64, PLAIN, Page, int64s, repeated

POLICY = one_table("t", {"x": "integer", "s": "text"})
COUNT = 3
MOST = 2**31 - 1
UNITS = [Page(int64s(*range(COUNT)), COUNT)]
TEXTS = [Page(b"".join((4).to_bytes(4, "little") + b"name" for _ in range(COUNT)), COUNT)]


def written(
    x: list[Page], *, s: list[Page] = TEXTS, u: list[Page] = UNITS, count: int = COUNT, **more: object
) -> bytes:
    return by_hand.file({"u": (INT64, u), "x": (INT64, x), "s": (BYTES, s)}, count, **more)


def texts(count: int) -> list[Page]:
    """One name, said `count` times in a few bytes."""
    return [Page((4).to_bytes(4, "little") + b"name", 1, PLAIN, dictionary=True), repeated(count)[1]]


def alike(count: int) -> bytes:
    return written(repeated(count), s=texts(count), u=repeated(count), count=count)


def refusal(home: Path, content: bytes, settings: str = "") -> str:
    (home / "t.parquet").write_bytes(content)
    one_table_home(home, "t", ["t.parquet"])
    with (home / "domain.toml").open("a") as file:
        file.write(settings)
    with pytest.raises(IngestRefused) as caught:
        take_in(home, POLICY)
    assert published(home / "state" / "domain", "clinic") is None
    assert not list((home / "state").rglob("*.duckdb"))
    return caught.value.message


def test_a_file_written_by_hand_is_a_file(tmp_path: Path) -> None:
    """The ground of all that follows: what is honest is taken in."""
    (tmp_path / "t.parquet").write_bytes(written(repeated(COUNT)))
    one_table_home(tmp_path, "t", ["t.parquet"])
    assert rows(take_in(tmp_path, POLICY), "SELECT count(*), sum(x), min(s) FROM t") == [(3, 21, "name")]


LIES: dict[str, Callable[[], bytes]] = {
    "a page that says it unpacks to 2 GiB": lambda: written([Page(int64s(1, 2, 3), COUNT, unpacked=MOST)]),
    "a page that says it unpacks to less than nothing": lambda: written([Page(int64s(1, 2, 3), COUNT, unpacked=-1)]),
    "more values than bytes": lambda: written([Page(int64s(1), COUNT)]),
    "a dictionary of two thousand million": lambda: written(
        [Page(int64s(7), MOST, PLAIN, dictionary=True), repeated(COUNT)[1]]
    ),
    "a place beyond the dictionary": lambda: written([repeated(COUNT)[0], Page(b"\x08\x06\xff", COUNT, DICTIONARY)]),
    "a dictionary that is not there": lambda: written([Page(b"\x01\x06\x00", COUNT, DICTIONARY)]),
    "numbers of 255 bits": lambda: written([repeated(COUNT)[0], Page(b"\xff\x06" + b"\x01" * 40, COUNT, DICTIONARY)]),
    "a text of 2 GiB that is not there": lambda: written(
        repeated(COUNT), s=[Page(MOST.to_bytes(4, "little") + b"name", COUNT)]
    ),
    "packed bytes that are none": lambda: written([Page(b"no gzip", COUNT, unpacked=24)], codec=GZIP),
    "packed bytes that unpack to far more than they say": lambda: written(
        [Page(gzip.compress(bytes(64 << 20)), COUNT, unpacked=24)], codec=GZIP
    ),
    "a footer of other rows": lambda: by_hand.file(
        {"u": (INT64, UNITS), "x": (INT64, UNITS), "s": (BYTES, TEXTS)}, MOST
    ),
    "columns nested fifty thousand deep": lambda: written(
        repeated(COUNT), schema=[by_hand.group("g", 1)] * 50_000 + [by_hand.leaf("x", INT64)]
    ),
    "a tree of columns that never ends": lambda: written(repeated(COUNT), schema=[by_hand.group("root", MOST)]),
    "fifty thousand columns and none of ours": lambda: written(
        repeated(COUNT),
        schema=[by_hand.group("root", 50_000), *(by_hand.leaf(f"c{n}", INT64) for n in range(50_000))],
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_about_itself_is_refused_in_words(tmp_path: Path, lie: str) -> None:
    told = refusal(tmp_path, LIES[lie]())
    assert "`t.parquet` of table `t`" in told or "confined reader" in told, told


def test_a_few_bytes_of_endless_rows_end_with_the_time_that_a_build_may_take(tmp_path: Path) -> None:
    content = alike(MOST)
    assert len(content) < 1000
    told = refusal(tmp_path, content, "[ingest]\nwall_s = 2\n")
    assert "took longer than 2 s" in told


def test_without_a_clock_the_same_build_would_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: planted without the clock, it still works long after, and only the test itself ends it."""
    ended: list[bool] = []

    class Planted(threading.Timer):
        def __init__(self, interval: float, function: Callable[[], None]) -> None:
            super().__init__(2 * interval, lambda: (ended.append(True), function()))

    monkeypatch.setattr(ensure.threading, "Timer", Planted)
    refusal(tmp_path, alike(MOST), "[ingest]\nwall_s = 1\n")
    assert ended == [True]


def test_as_few_bytes_of_a_thousand_rows_are_taken_in(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(alike(1000))
    one_table_home(tmp_path, "t", ["t.parquet"])
    assert rows(take_in(tmp_path, POLICY), "SELECT count(*) FROM t") == [(1000,)]


def test_very_many_row_groups_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(written(repeated(COUNT), groups=20_000))
    one_table_home(tmp_path, "t", ["t.parquet"])
    assert rows(take_in(tmp_path, POLICY), "SELECT count(*) FROM t") == [(COUNT * 20_000,)]


def test_a_build_never_takes_more_than_its_part_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = ensure.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(ensure.shutil, "disk_usage", lambda _: usage._replace(free=8 << 20))
    values = [int.from_bytes(os.urandom(3), "little") for _ in range(600_000)]
    pages = [Page(int64s(*values), len(values))]
    names = [Page(b"".join((8).to_bytes(4, "little") + b"%08x" % value for value in values), len(values))]
    told = refusal(tmp_path, written(pages, s=names, u=pages, count=len(values)))
    assert "the disk is full" in told or "memory or disk" in told, told


def test_a_link_that_is_turned_elsewhere_while_files_are_read_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is given the file that the link led to, and nothing else is there for it."""
    (tmp_path / "real.parquet").write_bytes(written(repeated(COUNT)))
    (tmp_path / "other.parquet").write_bytes(written(repeated(COUNT), s=texts(COUNT)))
    (tmp_path / "t.parquet").symlink_to("real.parquet")
    one_table_home(tmp_path, "t", ["t.parquet"])
    run = ensure._run_child
    seen: list[Path] = []

    def turn(job: ensure.Job) -> ensure.Built:
        (tmp_path / "t.parquet").unlink()
        (tmp_path / "t.parquet").symlink_to("other.parquet")
        seen.extend(path.resolve() for path in Path(job.build).iterdir() if path.is_symlink())
        return run(job)

    monkeypatch.setattr(ensure, "_run_child", turn)
    with pytest.raises(IngestRefused, match="changed while it was read"):
        take_in(tmp_path, POLICY)
    assert seen == [tmp_path / "real.parquet"]
