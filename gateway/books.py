"""The books of a home, its store and its log: opened, and put back from a copy."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

from gateway.audit.anchors import Anchors
from gateway.audit.checkpoint import Signer
from gateway.audit.handover import Held
from gateway.audit.log import Log
from gateway.audit.note import parse_key
from gateway.audit.soundness import size_of
from gateway.errors import Misconfigured
from gateway.home import Home
from gateway.log_key import signer_at
from gateway.store import Store
from gateway.stores import sqlite
from gateway.stores.sqlite import SqliteStore


def anchors_of(home: Home) -> tuple[Anchors, Held]:
    """The checkpoints that are kept outside of the store, and what the home holds of the log's keys. Raises
    Misconfigured."""

    def now() -> list[Signer]:
        found = (signer_at(home, file) for file in (home.next_log_key, home.log_key))
        return [signer for signer in found if signer is not None]

    signer = signer_at(home, home.log_key)
    if signer is None:
        raise Misconfigured(f"{home.log_key}: is not there")
    return Anchors(*home.anchors), Held(signer, now, _retired(home))


def _retired(home: Home) -> tuple[str, ...]:
    """The public keys that the log had before. Raises Misconfigured."""
    try:
        lines = home.old_log_keys.read_text(encoding="utf-8").splitlines() if home.old_log_keys.exists() else []
        return tuple(lines) if all(map(parse_key, lines)) else ()
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{home.old_log_keys}: holds what is no key of a log") from error


def open_store(home: Home) -> Store:
    """Raises Misconfigured, and NotReady where a server does not answer."""
    url = home.settings.store.url
    if url is None:
        return SqliteStore(home.ledger_file)
    try:
        from gateway.stores.postgres import PostgresStore  # noqa: PLC0415  # its driver is an optional extra
    except ImportError as error:
        raise Misconfigured("a store in PostgreSQL needs `pip install baopingkou[postgresql]`") from error
    return PostgresStore(url.get_secret_value())


def open_log(home: Home, degraded: Callable[[], tuple[str, ...] | None] = lambda: None) -> tuple[Store, Log]:
    """The home's store and its log; `degraded` as in Log. Raises Misconfigured, NotReady."""
    anchors, held = anchors_of(home)
    store = open_store(home)
    wanted, suite = home.settings.audit.suite, held.signer.suite
    if wanted != suite and not _records(store):
        file = home.root / "gateway.toml"
        raise Misconfigured(f"{file}: a new log of the suite `{wanted}` cannot have a key of `{suite}`")
    return store, Log(store, held, anchors, degraded=degraded)


def adopt(home: Home, checkpoint: Path) -> None:
    """Keeps a checkpoint that was kept elsewhere, if it is newer than the home's own. Raises Misconfigured."""
    anchors, held = anchors_of(home)
    anchors.adopt(checkpoint, held.vkeys())


def require_checkpoint(home: Home) -> None:
    """Raises Misconfigured where no checkpoint is known: then nothing tells whether a copy is the newest."""
    anchors, held = anchors_of(home)
    if not anchors.known(held.vkeys()):
        way_out = "give one that was kept elsewhere (`--checkpoint`), or your word (`--trust-copy`)"
        raise Misconfigured(f"{home.root}: no checkpoint is left that says what a copy has to hold; {way_out}")


def put_back(home: Home, backup: Path, now: datetime) -> Path | None:
    """Makes the copy at `backup` the home's store; where the one that was there is kept, if one was.

    A store that holds more records than the copy is left alone: nothing would be gained. So is a database of PostgreSQL
    that holds any. Raises Misconfigured, and NotReady while the home is served.
    """
    with tempfile.TemporaryDirectory(prefix="bpk-restore-") as folder:
        copy = Path(folder) / "copy"
        try:
            shutil.copyfile(backup, copy)
        except OSError as error:
            raise Misconfigured(f"{backup}: cannot be read ({error.strerror})") from error
        copy.chmod(0o600)
        with closing(SqliteStore(copy)) as source:
            if not _records(source):
                raise Misconfigured(f"{backup}: is no copy of a ledger")
            if home.settings.store.url is not None:
                _fill(home, source)
                return None
            _require_more(home.ledger_file, _records(source))
        return sqlite.replace(home.ledger_file, copy, f"before-{now:%Y%m%dT%H%M%S}")


def _fill(home: Home, source: Store) -> None:
    with closing(open_store(home)) as store:
        if _records(store):
            raise Misconfigured(f"{store.name}: holds a ledger already; name a new database in gateway.toml")
        with source.reading() as view:
            store.fill(view)


def _require_more(file: Path, records: int) -> None:
    if not file.exists():
        return
    try:
        with closing(SqliteStore(file)) as there:
            held = _records(there)
    except Misconfigured:  # what cannot be read is replaced
        return
    if held > records:
        way_out = "move it away to put the copy in its place all the same"
        raise Misconfigured(f"{file}: holds {held} records, and the copy {records}; {way_out}")


def _records(store: Store) -> int:
    with store.reading() as view:
        return size_of(view)
