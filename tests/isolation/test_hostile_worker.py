"""A worker that an attacker owns says what it likes; the service believes only rows of the asked shape."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from policies.types import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, TEXT, TIMESTAMP, Type
from sandbox.frames import FrameError, frame, read_frame, write_frame
from sandbox.lockdown.kernel import LINUX
from sandbox.rows import ROW_BYTES_MAX, RowsTooBig, RowsWrong, read_rows, write_rows
from sandbox.spawn import Process
from sandbox.supervised import Worker, WorkerFailed, WorkerLimits

MONEY = Type.parse("decimal(5,2)")


@contextmanager
def hostile(said: bytes, **limits: int) -> Iterator[Worker]:
    """A worker that answers whatever it is asked with exactly the bytes `said`, and then stays."""
    ours, theirs = socket.socketpair()
    code = "import os,sys,time; os.read(int(sys.argv[1]), 9); os.write(int(sys.argv[1]), bytes.fromhex(sys.argv[2]));"
    arguments = [sys.executable, "-I", "-S", "-c", code + "time.sleep(60)", str(theirs.fileno()), said.hex()]
    with theirs:
        child = subprocess.Popen(arguments, pass_fds=(theirs.fileno(),))
    process = Process(None, child.pid, os.pidfd_open(child.pid))
    allowed = WorkerLimits(**{"wall_ms": 3000, "result_bytes_max": 1000, "rss_bytes_max": 1 << 40, **limits})
    worker = Worker("clinic", Path("data.duckdb"), ours, process, allowed, Worker.end)
    try:
        yield worker
    finally:
        worker.close()
        child.wait()


def test_what_is_well_said_is_believed() -> None:
    with hostile(frame(b"R[1]\n[2]")) as worker:
        assert worker.query("SELECT", (INTEGER,), 2) == [(1,), (2,)]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (frame(b"R[1]\n[2]\n[3]"), "too_big"),
        (frame(b"R" + b"[1]\n" * 1000), "too_big"),
        (b"\xff\xff\xff\xff", "too_big"),
        (frame(b"R[1, 2]"), "internal"),
        (frame(b'R["1"]'), "internal"),
        (frame(b"R[[1]]"), "internal"),
        (frame(b'R{"0": 1}'), "internal"),
        (frame(b"R" + b"[" * 900), "internal"),
        (frame(b"R[1" + b"0" * 900 + b"]"), "internal"),
        (frame(b"R[\xff\xfe]"), "internal"),
        (frame(b"X[1]"), "internal"),
        (frame(b"Sanything"), "internal"),
        (frame(b""), "internal"),
        (frame(b"Edata"), "data"),
        (frame(b"Esecret text of a row"), "internal"),
        (frame(b"E"), "internal"),
        (b"\x00\x00\x00\x09R[1]", "timeout"),
        (b"", "timeout"),
        (frame(b"\x80\x04\x95pickle"), "internal"),
    ],
)
def test_what_is_said_wrongly_is_a_class_and_the_end(said: bytes, kind: str) -> None:
    with hostile(said, wall_ms=700) as worker:
        with pytest.raises(WorkerFailed) as failed:
            worker.query("SELECT", (INTEGER,), 2)
        assert failed.value.kind == kind
        assert b"secret" not in repr(failed.value).encode()
        assert not worker.idle


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (2**63, BIGINT),
        (-(2**63) - 1, INTEGER),
        (1.0, INTEGER),
        (True, INTEGER),
        (1, BOOLEAN),
        (1, DOUBLE),
        ("1", DOUBLE),
        (1, TEXT),
        ("2020-02-30", DATE),
        ("20200229", DATE),
        ("2020-W09-6", DATE),
        ("2020-02-29T00:00:00", DATE),
        ("2020-02-29", TIMESTAMP),
        ("2020-02-29T00:00:00+00:00", TIMESTAMP),
        ("1.234", MONEY),
        ("1234.5", MONEY),
        ("NaN", MONEY),
        ("1e2", MONEY),
        ("１", MONEY),
        (1.5, MONEY),
        ("\ud800", TEXT),
        ({}, TEXT),
    ],
)
def test_a_value_outside_its_type_is_not_believed(value: object, kind: Type) -> None:
    with pytest.raises(RowsWrong):
        read_rows(json.dumps([value]).encode(), (kind,), 1)


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_a_number_that_is_none_is_not_believed(constant: bytes) -> None:
    with pytest.raises(RowsWrong):
        read_rows(b"[" + constant + b"]", (DOUBLE,), 1)


def test_a_line_that_is_too_long_is_not_read() -> None:
    with pytest.raises(RowsTooBig):
        read_rows(b'["' + b"x" * ROW_BYTES_MAX + b'"]', (TEXT,), 1)


def test_no_rows_are_no_rows() -> None:
    assert read_rows(b"", (INTEGER,), 0) == []
    with pytest.raises(RowsTooBig):
        read_rows(b"[1]", (INTEGER,), 0)


def test_rows_that_are_written_are_read_as_they_were() -> None:
    shape = (INTEGER, BIGINT, DOUBLE, MONEY, TEXT, BOOLEAN, DATE, TIMESTAMP)
    rows = [
        (
            1,
            -(2**63),
            0.1,
            Decimal("-999.99"),
            'a"\n\u2028门',
            False,
            date(1920, 1, 1),
            datetime.fromisoformat("2020-01-01T01:02:03.000004"),
        ),
        (None,) * 8,
    ]
    assert read_rows(write_rows(rows, shape, 10_000), shape, 2) == rows


@pytest.mark.parametrize(
    ("value", "kind"),
    [(float("nan"), DOUBLE), (2**63, BIGINT), (datetime(2020, 1, 1, tzinfo=UTC), TIMESTAMP), (b"x", TEXT), ([], TEXT)],
)
def test_the_engine_may_hold_what_the_shape_has_no_place_for(value: object, kind: Type) -> None:
    with pytest.raises(RowsWrong):
        write_rows([(value,)], (kind,), 1000)


def test_a_frame_above_its_limit_or_cut_short_is_no_frame() -> None:
    reading, writing = os.pipe()
    write_frame(writing, b"x" * 100)
    with pytest.raises(FrameError):
        read_frame(reading, 99)
    os.close(writing)
    with pytest.raises(FrameError):
        read_frame(reading, 1000)
    os.close(reading)


@pytest.mark.skipif(not LINUX, reason="memory is read from /proc")
def test_what_a_process_holds_is_seen_as_it_grows_and_never_anothers() -> None:
    grow = "import sys; print(flush=True); input(); held = bytearray(64 << 20); print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", grow], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    process = Process(None, child.pid, os.pidfd_open(child.pid))
    try:
        child.stdout.readline()
        before = process.pages()
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        after = process.pages()
        assert before is not None
        assert after is not None
        assert (after - before) * os.sysconf("SC_PAGE_SIZE") >= 60 << 20
    finally:
        child.kill()
        child.communicate()
    assert not process.pages()
    opened = len(os.listdir("/proc/self/fd"))
    process.close()
    assert len(os.listdir("/proc/self/fd")) == opened - 2
    assert process.pages() is None
    process.close()
