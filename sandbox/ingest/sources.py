"""The custodian's files: finding them, and noticing that they changed. Reads bytes, never rows."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sandbox.domain import DatasetSource
from sandbox.ingest.refused import IngestRefused

FILES_MAX = 10_000
ENGINE_SUFFIXES = (".duckdb", ".db")
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of one table. `path` is as the custodian sees it: relative to the home where it lies inside."""

    table: str
    path: str
    absolute: Path
    bytes: int
    mtime_ns: int


def find(home: Path, source: DatasetSource) -> tuple[SourceFile, ...]:
    """Every file of the dataset, in a stable order. Raises IngestRefused."""
    found = [
        _stat(home, table, path) for table, paths in sorted(source.tables.items()) for path in _expand(home, paths)
    ]
    if len(found) > FILES_MAX:
        raise IngestRefused(f"dataset `{source.name}` names more than {FILES_MAX} files")
    return tuple(found)


def _expand(home: Path, patterns: Iterable[str]) -> list[Path]:
    files: dict[Path, None] = {}
    for pattern in patterns:
        whole = home / pattern
        matches = [str(whole)] if whole.exists() else sorted(glob.glob(str(whole), recursive=True))
        if not matches:
            raise IngestRefused(f"there is no file `{pattern}`")
        files |= dict.fromkeys(Path(match) for match in matches)
    return list(files)


def _stat(home: Path, table: str, path: Path) -> SourceFile:
    shown = str(path.relative_to(home)) if path.is_relative_to(home) else str(path)
    try:
        status = path.stat()
    except OSError as error:
        raise IngestRefused(f"file `{shown}` of table `{table}` cannot be read ({error.strerror})") from error
    if stat.S_ISDIR(status.st_mode):
        raise IngestRefused(f"`{shown}` of table `{table}` is a folder; name its files, such as `{shown}/*.parquet`")
    if not stat.S_ISREG(status.st_mode):
        raise IngestRefused(f"`{shown}` of table `{table}` is not a regular file")
    if not os.access(path, os.R_OK):
        raise IngestRefused(f"file `{shown}` of table `{table}` cannot be read (permission denied)")
    if path.suffix.lower() in ENGINE_SUFFIXES and Path(f"{path}.wal").exists():
        raise IngestRefused(f"file `{shown}` of table `{table}` has changes that are not checkpointed (`.wal`)")
    if status.st_size == 0:
        raise IngestRefused(f"file `{shown}` of table `{table}` is empty")
    return SourceFile(table, shown, path, status.st_size, status.st_mtime_ns)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A source as the manifest remembers it."""

    table: str
    path: str
    bytes: int
    sha256: str
    mtime_ns: int


def record(file: SourceFile) -> RecordedFile:
    """`file` with the digest of its bytes. Raises IngestRefused."""
    try:
        return RecordedFile(file.table, file.path, file.bytes, sha256_of(file.absolute), file.mtime_ns)
    except OSError as error:
        raise IngestRefused(f"file `{file.path}` of table `{file.table}` cannot be read ({error.strerror})") from error


def changed(files: Iterable[SourceFile], recorded: Iterable[RecordedFile]) -> str | None:
    """The first file that is not what `recorded` says, or None.

    Size and time of change are looked at first; bytes are hashed only where the time differs.
    """
    before = {(entry.table, entry.path): entry for entry in recorded}
    for file in files:
        entry = before.pop((file.table, file.path), None)
        if entry is None or entry.bytes != file.bytes:
            return file.path
        if entry.mtime_ns != file.mtime_ns and entry.sha256 != record(file).sha256:
            return file.path
    return next((path for _, path in before), None)
