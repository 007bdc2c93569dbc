"""The way in: a dataset's snapshot, built if it is not there yet.

Never imports the engine: rows are read in a confined child (`child.py`), whose word is taken for a file and its counts.
"""

from __future__ import annotations

import errno
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from policies.model import Policy
from sandbox import codec
from sandbox.domain import Domain
from sandbox.ingest import known, sources
from sandbox.ingest import snapshot as snapshots
from sandbox.ingest.job import Built, ChildReply, IngestFile, Job, NotBuilt, schema_digest, tables_of
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.snapshot import Manifest, Snapshot
from sandbox.ingest.sources import RecordedFile, SourceFile
from sandbox.publics import PublicColumn, PublicFile, PublicRows
from sandbox.seed import tag_key

CHILD_REPLY_BYTES_MAX = 64 << 20
BUILD_MEMORY_MB_MIN = 2048
"""Sorting wants more than answering does; a build runs alone."""
FREE_PART = 4
"""Of the disk's room, what one of three may take: what was read, what comes of it, what spills."""


def ensure(domain: Domain, policies: Mapping[str, Policy], dataset: str) -> Snapshot:
    """The snapshot of `dataset` under the name that domain.toml gives it, built if need be.

    Raises IngestRefused: the files do not match the policy, or changed under a name that is already published.
    """
    policy = policies.get(dataset)
    source = domain.datasets.get(dataset)
    if policy is None or source is None:
        missing = "policy" if policy is None else "entry in domain.toml"
        raise IngestRefused(f"dataset `{dataset}` has no {missing}")
    folder = snapshots.folder_of(domain.state, dataset)
    with _disk_trouble_told(dataset), snapshots.locked(folder):
        snapshots.clear_leftovers(folder)
        files = sources.find(domain.home, source)
        _refuse_changed_files(domain.state, dataset, source.snapshot, files)
        standing = snapshots.published(domain.state, dataset)
        if standing is not None and standing.name == source.snapshot:
            same_schema = standing.manifest.schema_digest == schema_digest(policy)
            if same_schema and snapshots.intact(standing):
                return standing
        return _build(domain, policy, source.snapshot, files, folder)


def _refuse_changed_files(state: Path, dataset: str, name: str, files: tuple[SourceFile, ...]) -> None:
    before = snapshots.remembered(state, dataset, name)
    if before is not None and (path := sources.changed(files, before.sources)) is not None:
        raise IngestRefused(
            f"file `{path}` of dataset `{dataset}` is not what it was when snapshot `{name}` was published; "
            "give the new state a new `snapshot` name in domain.toml, or put the file back"
        )


def _build(domain: Domain, policy: Policy, name: str, files: tuple[SourceFile, ...], folder: Path) -> Snapshot:
    recorded = tuple(sources.record(file) for file in files)
    build = folder / f"{snapshots.BUILD_PREFIX}{secrets.token_hex(16)}"
    build.mkdir(mode=0o700)
    try:
        job = _job(domain, policy, files, build)
        built = _run_child(job)
        _refuse_files_in_motion(files)
        if job.blocks is not None:  # before the snapshot: what is served is known for good
            known.keep(domain, policy.dataset, build)
        public = codec.dumps(_public_file(policy, built.public_rows))
        manifest = _manifest(policy, name, recorded, build, built)
        return snapshots.publish(build, manifest, built.report, public)
    finally:
        snapshots.clear_leftovers(folder)


def _job(domain: Domain, policy: Policy, files: tuple[SourceFile, ...], build: Path) -> Job:
    by_table: dict[str, tuple[IngestFile, ...]] = {}
    for number, file in enumerate(files):
        alias = f"source-{number}{_kind(file.absolute)}"
        by_table[file.table] = (*by_table.get(file.table, ()), IngestFile(alias, file.path))
        (build / alias).symlink_to(file.absolute.resolve())  # the file itself: other links are not there for the child
    blocks = policy.unit.blocks if policy.unit else None
    tags = blocks is not None or "aggregate" in policy.release.modes
    return Job(
        tables=tables_of(policy, by_table),
        unit_table=policy.unit.table if policy.unit else None,
        unit_column=policy.unit.column if policy.unit else None,
        count_max=policy.unit.count_max if policy.unit else 0,
        build=str(build),
        threads=domain.worker.threads,
        memory_mb=max(domain.worker.memory_mb, BUILD_MEMORY_MB_MIN),
        allow_degraded=tuple(sorted(domain.allow_degraded)),
        tag_key=tag_key(domain.state, policy.dataset) if policy.unit and tags else "",
        blocks=blocks,
        known_before=blocks is not None and known.lay_out(domain, policy.dataset, build),
        units_known_min=known.units_min(domain, policy.dataset),
        file_bytes=max(1 << 20, shutil.disk_usage(build).free // FREE_PART),
        wall_s=domain.ingest_wall_s,
    )


def _kind(file: Path) -> str:
    """The end of a file's name that says what it is, such as `.csv.gz`, without what the engine takes for a pattern."""
    last = file.suffix.lower()
    whole = Path(file.stem).suffix.lower() + last if last == ".gz" else last
    return re.sub(r"[^a-z0-9.]", "", whole)


def _run_child(job: Job) -> Built:
    command = [sys.executable, "-I", "-m", "sandbox.ingest.child"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, cwd=job.build
    ) as child:
        late = threading.Timer(job.wall_s, child.kill)
        late.start()
        try:
            return _reply(child, job)
        except IngestRefused:
            if not late.is_alive():
                raise IngestRefused(
                    f"reading the data files took longer than {job.wall_s} s (`[ingest] wall_s` in domain.toml)"
                ) from None
            raise
        finally:
            late.cancel()
            child.kill()


def _reply(child: subprocess.Popen[bytes], job: Job) -> Built:
    assert child.stdin is not None  # noqa: S101 - both were asked for as pipes
    assert child.stdout is not None  # noqa: S101
    try:
        child.stdin.write(codec.dumps(job))
        child.stdin.close()
    except BrokenPipeError:
        pass  # it died at once; the reply below is empty and says so
    reply = child.stdout.read(CHILD_REPLY_BYTES_MAX + 1)
    if not reply or len(reply) > CHILD_REPLY_BYTES_MAX:
        raise IngestRefused("reading the data files failed: the confined reader ended without a result")
    try:
        record = codec.loads(reply, ChildReply).outcome
    except codec.CodecError as error:
        raise IngestRefused("reading the data files failed: the confined reader's result is unreadable") from error
    if isinstance(record, NotBuilt):
        raise IngestRefused(record.message)
    return record


def _refuse_files_in_motion(files: tuple[SourceFile, ...]) -> None:
    for file in files:
        try:
            status = file.absolute.stat()
        except OSError:
            status = None
        if status is None or (status.st_size, status.st_mtime_ns) != (file.bytes, file.mtime_ns):
            raise IngestRefused(f"file `{file.path}` of table `{file.table}` changed while it was read; try again")


def _public_file(policy: Policy, found: tuple[PublicRows, ...]) -> PublicFile:
    """What the child says of public tables, held against the policy. Raises IngestRefused."""
    for each in found:
        table = policy.tables.get(each.table)
        shown = [] if table is None or not table.public else table.columns.values()
        columns = tuple(PublicColumn(c.name, c.type) for c in shown if c.role not in ("hidden", "unit"))
        if not columns or each.columns != columns or any(len(row) != len(columns) for row in each.rows):
            raise IngestRefused("reading the data files failed: the confined reader's result is unreadable")
    return PublicFile(found)


def _manifest(policy: Policy, name: str, recorded: tuple[RecordedFile, ...], build: Path, built: Built) -> Manifest:
    data = build / snapshots.DATA
    if not snapshots.is_plain_file(data):
        raise IngestRefused("reading the data files failed: the confined reader left no snapshot")
    for leftover in build.iterdir():
        if leftover != data:
            snapshots.remove(leftover)
    salt = secrets.token_hex(32)
    return Manifest(
        dataset=policy.dataset,
        snapshot_name=name,
        schema_digest=schema_digest(policy),
        sources=recorded,
        salt=salt,
        commitment=snapshots.commitment_of(salt, sources.sha256_of(data)),
        public_keys=built.public_keys,
        units_known=built.units_known,
    )


@contextmanager
def _disk_trouble_told(dataset: str) -> Iterator[None]:
    """Turns trouble with the state folder into words for the custodian."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "the disk is full" if full else error.strerror or "the system gave no reason"
        raise IngestRefused(f"the snapshot of dataset `{dataset}` cannot be written: {what}") from error
