"""Runs the SQL attacks in a confined process, with files to read, a folder to write and a port to reach."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tests.isolation.confined import ROOT, SECRET
from tests.isolation.inside_sql import STOPPED
from tests.isolation.sql_attacks import attacks


@dataclass(frozen=True, slots=True)
class Questioned:
    layers: tuple[str, ...]
    outcome: dict[str, str]
    said: str
    """All answers and errors, which only a worker may see."""
    outside: tuple[str, ...]
    """What the attacks left in the folder that is not the worker's."""

    @property
    def through(self) -> set[str]:
        """Attacks that the walls had to stop and did not."""
        return {each.sql for each in attacks() if each.holds == "walls" and self.outcome[each.sql] not in STOPPED}


def question(folder: Path, *, uid: int = 0, **planted: object) -> Questioned:
    """Plants: `broken`, `lacking` (names of walls), `plain` (an engine without our settings)."""
    places = _places(folder)
    if uid:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, uid)
    before = _listing(Path(places["outside"]))
    with _listening() as (port, heard):
        config = {"places": {**places, "port": port}, "uid": uid, **planted}
        command = [sys.executable, "-I", str(Path(__file__).with_name("inside_sql.py")), str(ROOT), json.dumps(config)]
        done = subprocess.run(command, stdin=heard, capture_output=True, text=True, timeout=280, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    left = tuple(sorted(_listing(Path(places["outside"])) - before))
    return Questioned(tuple(said["layers"]), said["outcome"], "\n".join(said["said"]), left)


def _places(folder: Path) -> dict[str, str]:
    outside, spill = folder / "outside", folder / "spill"
    outside.mkdir()
    spill.mkdir()
    (outside / "file.csv").write_text(f"a,b\n1,{SECRET}\n")
    (outside / "file.json").write_text(json.dumps({"a": SECRET}) + "\n")
    (outside / "bpk.duckdb_extension").write_bytes(b"no extension")
    with duckdb.connect(str(outside / "other.duckdb")) as other:
        other.execute(f"CREATE TABLE t AS SELECT 1 AS a, '{SECRET}' AS b")
        other.execute(f"COPY t TO '{outside}/file.parquet' (FORMAT parquet)")
    return {
        "outside": str(outside),
        "other": str(outside / "other.duckdb"),
        "spill": str(spill),
        "data": str(people(folder / "data.duckdb")),
    }


def people(path: Path) -> Path:
    """A snapshot with the tables that the attacks name."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE hospitals AS SELECT i::INTEGER AS id, 'H' || i AS level FROM range(20) r(i)")
        connection.execute(
            "CREATE TABLE people AS SELECT i::INTEGER AS __unit, CASE i % 2 WHEN 0 THEN 'F' ELSE 'M' END AS sex,"
            " (i % 100)::INTEGER AS age, (i * 7)::DECIMAL(12, 2) AS income FROM range(5000) r(i)"
        )
    path.chmod(0o444)
    return path


def _listing(folder: Path) -> set[str]:
    return {f"{path.relative_to(folder)} {path.stat().st_size if path.is_file() else ''}" for path in folder.rglob("*")}


@contextlib.contextmanager
def _listening() -> Iterator[tuple[int, Any]]:
    """A port, and a pipe that says when somebody has come: he is sent away at once."""
    reading, writing = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()
                    os.write(writing, b"x")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], reading
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            os.close(reading)
            os.close(writing)
