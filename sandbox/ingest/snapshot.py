"""Published snapshots on disk, and the act of publishing: a folder beside, fsync, rename. Nothing is ever half there.

snapshots/<dataset>/current.json           which snapshot is in force
snapshots/<dataset>/<id>/data.duckdb       the tables, read-only
snapshots/<dataset>/<id>/manifest.json     what it was made of; its salt makes the commitment
snapshots/<dataset>/<id>/public.json       rows of small public tables, kept as long as answers may be shown again
snapshots/<dataset>/<id>/report.json       counts for the custodian, mode 0600
snapshots/<dataset>/.build-<id>/           a build that is under way, or a leftover of one
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from policies.types import Value
from sandbox import codec
from sandbox.ingest.job import PublicKeys, Report
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.sources import RecordedFile, sha256_of
from sandbox.publics import NO_PUBLICS, PublicFile, Publics, by_name
from sandbox.synced import sync

DATA = "data.duckdb"
MANIFEST = "manifest.json"
REPORT = "report.json"
PUBLIC = "public.json"
CURRENT = "current.json"
BUILD_PREFIX = ".build-"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    dataset: str
    snapshot_name: str
    schema_digest: str
    sources: tuple[RecordedFile, ...]
    salt: str
    """Hex. It stays in the domain: with it the commitment could be tested against guesses."""
    commitment: str
    public_keys: tuple[PublicKeys, ...]
    public_sha256: str = ""
    """Hex, of the file with the rows of public tables; empty where a snapshot of an older layout has none."""
    units_known: tuple[tuple[str, int], ...] = ()
    """Of each block, how many units lay in it for life. Data: never to be shown to an operator."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A published state of a dataset."""

    dataset: str
    id: str
    name: str
    """The custodian's name for it."""
    path: Path
    """The read-only DuckDB file."""
    commitment: str
    """Hex SHA-256(salt || SHA-256 of the file): what records say of it."""
    manifest: Manifest

    @property
    def public_keys(self) -> Mapping[str, Mapping[str, tuple[Value, ...]]]:
        """table -> column -> distinct values, sorted, null last; columns of public tables with few values only."""
        keys: dict[str, dict[str, tuple[Value, ...]]] = {}
        for entry in self.manifest.public_keys:
            keys.setdefault(entry.table, {})[entry.column] = entry.values
        return keys

    @property
    def publics(self) -> Publics:
        """Rows of its small public tables. Raises IngestRefused where the file is not the one that was published."""
        if not self.manifest.public_sha256:
            return NO_PUBLICS
        file = self.path.parent / PUBLIC
        try:
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() != self.manifest.public_sha256:
                raise ValueError("other bytes")
            return by_name(codec.loads(content, PublicFile))
        except (OSError, ValueError) as error:
            raise IngestRefused(f"`{file}` is damaged; remove its folder to build anew") from error

    @property
    def report(self) -> Report:
        """The custodian's counts. Data: never to be shown to an operator."""
        return codec.loads((self.path.parent / REPORT).read_bytes(), Report)


def folder_of(state_dir: Path, dataset: str) -> Path:
    return state_dir / "snapshots" / dataset


def commitment_of(salt: str, data_sha256: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + bytes.fromhex(data_sha256)).hexdigest()


def published(state_dir: Path, dataset: str) -> Snapshot | None:
    """The snapshot in force, or None. Cheap: the data's bytes are not looked at (see `intact`)."""
    folder = folder_of(state_dir, dataset)
    try:
        current = json.loads((folder / CURRENT).read_bytes())
        name = str(current["id"])
        manifest = _read_manifest(folder / name / MANIFEST)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise IngestRefused(
            f"the snapshot of dataset `{dataset}` is damaged; remove `{folder}` to build anew"
        ) from error
    data = folder / name / DATA
    if not data.is_file():
        return None
    return Snapshot(dataset, name, manifest.snapshot_name, data, manifest.commitment, manifest)


def intact(snapshot: Snapshot) -> bool:
    """Whether the data's bytes are those that the commitment names."""
    return commitment_of(snapshot.manifest.salt, sha256_of(snapshot.path)) == snapshot.commitment


def manifests(state_dir: Path, dataset: str) -> Iterator[Manifest]:
    """Those of all snapshots that there were, also where their data are gone. Raises IngestRefused."""
    for file in sorted(folder_of(state_dir, dataset).glob(f"[!.]*/{MANIFEST}")):
        try:
            yield _read_manifest(file)
        except (ValueError, KeyError, TypeError) as error:
            raise IngestRefused(f"`{file}` is damaged; remove its folder") from error


def remembered(state_dir: Path, dataset: str, snapshot_name: str) -> Manifest | None:
    """What `snapshot_name` stood for before, also when it is no longer in force. Raises IngestRefused."""
    return next((each for each in manifests(state_dir, dataset) if each.snapshot_name == snapshot_name), None)


def under(state_dir: Path, dataset: str, commitment: str) -> Snapshot | None:
    """The snapshot with this commitment, also when it is no longer in force; its data may be gone."""
    for file in sorted(folder_of(state_dir, dataset).glob(f"[!.]*/{MANIFEST}")):
        manifest = _read_manifest(file)
        if manifest.commitment == commitment:
            name = manifest.snapshot_name
            return Snapshot(dataset, file.parent.name, name, file.parent / DATA, commitment, manifest)
    return None


def publish(build: Path, manifest: Manifest, report: Report, public: bytes) -> Snapshot:
    """Turns the finished folder `build` into the snapshot in force.

    Guarantee: after a crash at any point, `current.json` names a whole snapshot, the old one or the new one.
    """
    folder, name = build.parent, build.name.removeprefix(BUILD_PREFIX)
    manifest = replace(manifest, public_sha256=hashlib.sha256(public).hexdigest())
    _write(build / MANIFEST, _manifest_bytes(manifest), 0o600)
    _write(build / REPORT, codec.dumps(report), 0o600)
    _write(build / PUBLIC, public, 0o600)
    data = build / DATA
    data.chmod(0o444)
    sync(data)
    sync(build)
    build.rename(folder / name)
    sync(folder)
    pointer = folder / f"{BUILD_PREFIX}{CURRENT}"
    _write(pointer, json.dumps({"id": name, "snapshot_name": manifest.snapshot_name}).encode(), 0o600)
    pointer.replace(folder / CURRENT)
    sync(folder)
    return Snapshot(manifest.dataset, name, manifest.snapshot_name, folder / name / DATA, manifest.commitment, manifest)


def clear_leftovers(folder: Path) -> None:
    """Removes builds that never ended. Only under `locked`: another build may be under way."""
    for leftover in folder.glob(f"{BUILD_PREFIX}*"):
        remove(leftover)


def remove(path: Path) -> None:
    """A file, a link or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def drop_superseded(state_dir: Path, dataset: str) -> None:
    """Removes the data of snapshots that are not in force; their manifests stay, so that names keep their meaning.

    For the start of the service, before a worker runs: a running worker may still read an older snapshot.
    """
    current = published(state_dir, dataset)
    folder = folder_of(state_dir, dataset)
    if current is None or not folder.is_dir():
        return
    with locked(folder):
        for file in folder.glob(f"[!.]*/{DATA}"):
            if file.parent.name != current.id:
                file.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One build of a dataset at a time; the lock ends with its holder, also by kill -9."""
    for path in (folder.parent.parent, folder.parent, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_plain_file(path: Path) -> bool:
    """A regular file and no link: what a confined child left is not trusted to be one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _manifest_bytes(manifest: Manifest) -> bytes:
    keys: dict[str, dict[str, Any]] = {}
    for entry in manifest.public_keys:
        keys.setdefault(entry.table, {})[entry.column] = codec.encode(entry.values)
    plain = {
        "format": FORMAT,
        "dataset": manifest.dataset,
        "snapshot_name": manifest.snapshot_name,
        "schema_digest": manifest.schema_digest,
        "sources": [asdict(entry) for entry in manifest.sources],
        "salt": manifest.salt,
        "commitment": manifest.commitment,
        "public_keys": keys,
        "public_sha256": manifest.public_sha256,
        "units": None,
        "units_known": dict(manifest.units_known),
    }
    return json.dumps(plain, ensure_ascii=False, indent=1).encode()


def _read_manifest(file: Path) -> Manifest:
    plain = json.loads(file.read_bytes())
    if plain["format"] != FORMAT:
        raise ValueError("another format")
    keys = tuple(
        PublicKeys(table, column, codec.decode(values, tuple[Value, ...]))
        for table, columns in plain["public_keys"].items()
        for column, values in columns.items()
    )
    return Manifest(
        dataset=str(plain["dataset"]),
        snapshot_name=str(plain["snapshot_name"]),
        schema_digest=str(plain["schema_digest"]),
        sources=tuple(RecordedFile(**entry) for entry in plain["sources"]),
        salt=str(plain["salt"]),
        commitment=str(plain["commitment"]),
        public_keys=keys,
        public_sha256=str(plain.get("public_sha256", "")),
        units_known=tuple((str(name), int(units)) for name, units in plain.get("units_known", {}).items()),
    )


def _write(file: Path, content: bytes, mode: int) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
