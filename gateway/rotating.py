"""Changes the log's key: a new one is made beside the old one, the log goes over to it, and the files change places.

Each step can be taken again after a crash. With several gateways the new key is made first and given to all of them; a
gateway that serves takes it up by itself as soon as the log has gone over.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gateway.audit.checkpoint import Signer
from gateway.audit.keys import Keys
from gateway.audit.log import Log
from gateway.audit.note import parse_key
from gateway.errors import Misconfigured
from gateway.home import Home, read_private_key, write_key_pair
from gateway.store import Store
from gateway.synced import sync


@dataclass(frozen=True, slots=True)
class Rotated:
    """The key that signs now, after how many records it took over, and where the old one is kept."""

    key: str
    after: int
    kept: Path


def prepare(home: Home) -> Signer:
    """The key that will follow; a new one where none is prepared. Durable when this returns. Raises Misconfigured."""
    file = home.next_log_key
    if not file.exists():
        try:
            write_key_pair(file.parent, file.stem)
            for each in (file, file.with_suffix(".pub"), file.parent):
                sync(each)
        except OSError as error:
            raise Misconfigured(f"{file}: cannot be written ({error.strerror})") from error
    return Signer(home.settings.audit.origin, read_private_key(file), home.settings.audit.suite)


def rotate(home: Home, store: Store, log: Log) -> Rotated:
    """Hands the log over, unless it has gone over to the prepared key already, and puts this home's files in order.

    Raises Misconfigured, Unsound, NotReady.
    """
    successor = prepare(home)
    keys = log.keys()
    if keys.newest != successor.vkey:
        with store.transaction() as tx:
            log.hand_over(tx, successor)
        keys = log.keys()
        log.checkpoint()
    return Rotated(keys.newest, keys.chain[-1][0], _change_places(home, keys))


def _change_places(home: Home, keys: Keys) -> Path:
    file, following = home.log_key, home.next_log_key
    _write(home.old_log_keys, "".join(f"{vkey}\n" for vkey in keys.vkeys[:-1]))
    kept = file.with_name(f"{file.stem}-{parse_key(keys.vkeys[-2]).id.hex()}{file.suffix}")
    if not kept.exists():
        os.link(file, kept)
    public = following.with_suffix(".pub")
    if public.exists():
        public.replace(file.with_suffix(".pub"))
    following.replace(file)  # last: as long as it is there, the next try knows that this one was not done
    sync(file.parent)
    return kept


def _write(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}")
    beside.write_text(text, encoding="utf-8")
    beside.chmod(0o600)
    sync(beside)
    beside.replace(file)
