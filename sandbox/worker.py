"""The worker: confines itself, opens one snapshot, serves one job, dies.

It runs in a fork of the zygote, which has imported everything and started the engine already: behind the walls nothing
can be imported. From the moment it has opened data, all it ever says is rows of the asked shape or the class of a
failure, never a text.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

import duckdb
import numpy as np
import numpy.ma as masked

from sandbox.codec import CodecError, dumps, loads
from sandbox.engine.snapshot import NEEDED_FILES, Engine, EngineNotHardened, engine_layer, opened
from sandbox.frames import FrameError, read_frame, write_frame
from sandbox.jobs import (
    COLUMNS,
    CONTROL_BYTES_MAX,
    FAILED,
    READY,
    REPORT,
    ROWS,
    FailureClass,
    IntegerQuery,
    Query,
    Ready,
    Report,
    SelfTest,
    Start,
    process_bytes,
)
from sandbox.lockdown import attacks
from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import LINUX
from sandbox.lockdown.walls import ENGINE, IsolationMissing, confine
from sandbox.protocol import Layer
from sandbox.relational.lower.statement import KEPT
from sandbox.rows import RowsTooBig, RowsWrong, write_rows

_JOB: Final = 3
_OPEN_FILES: Final = 64
_FETCH_ROWS: Final = 4096

_CLASSES: Final[tuple[tuple[type[BaseException], FailureClass], ...]] = (
    (RowsTooBig, "too_big"),
    (RowsWrong, "data"),
    (MemoryError, "resource"),
    (duckdb.OutOfMemoryException, "resource"),
    (duckdb.IOException, "resource"),
    (duckdb.InterruptException, "timeout"),
    (duckdb.PermissionException, "denied"),
    (duckdb.ConversionException, "data"),
    (duckdb.OutOfRangeException, "data"),
    (duckdb.InvalidInputException, "data"),
    (duckdb.ConstraintException, "data"),
)


class _NotOneSelect(Exception):
    pass


def live(job: int, start: Start, parent: int, engine: Engine) -> NoReturn:
    """The whole life of a worker, in a fresh fork. `job` is its socket, `parent` the zygote's process, `engine` the
    fork's own copy of one that has opened nothing.
    """
    code = 1
    try:
        _keep_only(job)
        _watch_parent(parent)
        connection = _settle(start, parent, engine)
        if connection is not None:
            _serve(connection, start)
            code = 0
    except BaseException:  # noqa: S110, BLE001 RUF100  # a worker never prints: a trace could hold rows
        pass
    finally:
        os._exit(code)


def _keep_only(job: int) -> None:
    """Closes everything but the job's socket; standard streams lead nowhere; the environment is emptied."""
    os.dup2(job, _JOB, inheritable=False)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    for name in os.listdir("/dev/fd"):
        if int(name) > _JOB:
            _close(int(name))
    os.environ.clear()
    os.umask(0o077)
    os.chdir("/")


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return  # the listing's own descriptor is gone already


def _watch_parent(parent: int) -> None:
    """Without a parent-death signal a thread looks; with one, a second thread would stand outside the walls."""
    if LINUX:
        return

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def confinement_of(start: Start, parent: int) -> Confinement:
    """What a worker keeps: its snapshot, its spill folder, and the files by which the engine finds its limits."""
    return Confinement(
        read=(Path(start.snapshot),),
        write=(Path(start.spill),),
        memory_bytes=process_bytes(start.memory_mb),
        file_bytes=start.spill_mb << 20,
        cpu_s=start.jobs_cpu_s,
        open_files=_OPEN_FILES,
        allow_degraded=frozenset(start.allow_degraded),
        own_uid=True,
        parent=parent,
        limits=NEEDED_FILES,
        group=Path(start.group) if start.group else None,
    )


def _settle(start: Start, parent: int, engine: Engine) -> Engine | None:
    try:
        layers = confine(confinement_of(start, parent))
    except IsolationMissing as missing:
        _refuse(missing.layers)
        return None
    try:
        connection = opened(
            engine,
            Path(start.snapshot),
            threads=start.threads,
            memory_mb=start.memory_mb,
            wall_ms=start.wall_ms,
            spill=Path(start.spill),
            spill_mb=start.spill_mb,
        )
    except EngineNotHardened as error:
        _refuse((*layers, Layer(ENGINE, required=True, active=False, reason=str(error))))
        return None
    except duckdb.Error:
        reason = "the snapshot could not be opened"
        _refuse((*layers, Layer(ENGINE, required=True, active=False, reason=reason)))
        return None
    write_frame(_JOB, READY + dumps(Ready(open=True, layers=(*layers, engine_layer()))))
    return connection


def _refuse(layers: tuple[Layer, ...]) -> None:
    write_frame(_JOB, READY + dumps(Ready(open=False, layers=layers)))


def _serve(connection: duckdb.DuckDBPyConnection, start: Start) -> None:
    kept: set[str] = set()
    while (body := read_frame(_JOB, CONTROL_BYTES_MAX)) is not None:
        write_frame(_JOB, _answer(connection, start, body, kept))
        gc.collect()


def _answer(connection: duckdb.DuckDBPyConnection, start: Start, body: bytes, kept: set[str]) -> bytes:
    """`kept` holds the SELECT of the one table that this worker has made."""
    try:
        if body[:1] == REPORT:
            return REPORT + dumps(_attack(connection, loads(body[1:], SelfTest)))
        if body[:1] == COLUMNS:
            integers = loads(body[1:], IntegerQuery)
            _keep(connection, integers.keep, kept)
            return b"".join((COLUMNS, *_columns(connection, integers)))
        query = loads(body[1:], Query)
        _keep(connection, query.keep, kept)
        return ROWS + _query(connection, query, start.result_bytes_max)
    except Exception as error:  # noqa: BLE001 RUF100  # the class is all that may leave
        return FAILED + classify(error).encode()


def _keep(connection: duckdb.DuckDBPyConnection, select: str | None, kept: set[str]) -> None:
    if select is not None and select not in kept:
        _one_select(connection, select)
        connection.execute(f"CREATE TEMP TABLE {KEPT} AS {select}").fetchall()
        kept.add(select)


def classify(error: BaseException) -> FailureClass:
    """The class of a failure: what the engine said stays in here."""
    if isinstance(error, _NotOneSelect):
        return "denied"
    for kind, name in _CLASSES:
        if isinstance(error, kind):
            return name
    return "internal"


def _one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise _NotOneSelect
    return statements[0]


def _query(connection: duckdb.DuckDBPyConnection, query: Query, bytes_max: int) -> bytes:
    result = connection.execute(_one_select(connection, query.sql))
    if len(result.description or ()) != len(query.shape):
        raise RowsWrong
    return write_rows(_fetch(result, query.rows_max), query.shape, bytes_max)


def _columns(connection: duckdb.DuckDBPyConnection, query: IntegerQuery) -> list[bytes]:
    """Whole columns at once: a Python object per number would take longer than the statement."""
    result = connection.execute(_one_select(connection, query.sql))
    if len(result.description or ()) != query.count:
        raise RowsWrong
    found = list(result.fetchnumpy().values())
    if len(found) != query.count or any(column.dtype != np.int64 or masked.is_masked(column) for column in found):
        raise RowsWrong
    if len(found[0]) > query.rows_max:
        raise RowsTooBig
    return [np.asarray(column, dtype="<i8").tobytes() for column in found]


def _fetch(result: duckdb.DuckDBPyConnection, rows_max: int) -> Iterator[Sequence[object]]:
    count = 0
    while part := result.fetchmany(_FETCH_ROWS):
        count += len(part)
        if count > rows_max:
            raise RowsTooBig
        yield from part


def _attack(connection: duckdb.DuckDBPyConnection, test: SelfTest) -> Report:
    tried, through = attacks.run(test.service, test.port, Path(test.outside), test.memory_bytes)
    statements = {"engine_set": "SET threads = 1", "engine_read_file": "SELECT * FROM read_text('/etc/hostname')"}
    for name, statement in statements.items():
        try:
            connection.execute(statement).fetchall()
        except duckdb.Error:
            continue
        through.append(name)
    return Report((*tried, *statements), tuple(through))


def start_from(body: bytes) -> Start:
    """Raises FrameError: the zygote listens to nothing else."""
    try:
        return loads(body, Start)
    except CodecError as error:
        raise FrameError("no start") from error


assert "pyarrow" not in sys.modules, "its threads would stand outside the walls"  # noqa: S101  # at import, in the zygote
