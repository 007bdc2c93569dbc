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
from gateway.home import Home, write_key_pair
from gateway.log_key import own_signer, signer_at
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
    signer = signer_at(home, file)
    if signer is not None:
        return signer
    if home.settings.audit.signer is not None:
        way_out = "let the signer make a key, and put its public half there"
        raise Misconfigured(f"{file.with_suffix('.pub')}: is not there; {way_out}")
    try:
        write_key_pair(file.parent, file.stem)
        for each in (file, file.with_suffix(".pub"), file.parent):
            sync(each)
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be written ({error.strerror})") from error
    return own_signer(home, file)


def rotate(home: Home, store: Store, log: Log) -> Rotated:
    """Hands the log over, unless it has gone over to the prepared key already, and puts this home's files in order.

    Raises Misconfigured, Unsound, NotReady.
    """
    successor = prepare(home)
    keys = log.keys()
    if keys.newest != successor.vkey:
        log.try_out(successor)
        with store.transaction() as tx:
            log.hand_over(tx, successor)
        keys = log.keys()
        log.checkpoint()
    return Rotated(keys.newest, keys.chain[-1][0], _change_places(home, keys))


def _change_places(home: Home, keys: Keys) -> Path:
    """As long as the new key is in its first place, the next try knows that this one was not done."""
    file, following = home.log_key, home.next_log_key
    public, own = file.with_suffix(".pub"), following.exists()
    _write(home.old_log_keys, "".join(f"{vkey}\n" for vkey in keys.vkeys[:-1]))
    kept = _keep(file, public, parse_key(keys.vkeys[-2]).id.hex())
    if not own:  # the new key is the signer's
        file.unlink(missing_ok=True)
    if following.with_suffix(".pub").exists():
        following.with_suffix(".pub").replace(public)
    if own:
        following.replace(file)
    sync(file.parent)
    return kept


def _keep(file: Path, public: Path, key_id: str) -> Path:
    """The old key under a name of its own: its private half, or the public half of one of the signer's."""
    kept = [each.with_name(f"{each.stem}-{key_id}{each.suffix}") for each in (file, public)]
    for each in kept:
        if each.exists():
            return each
    source, target = (file, kept[0]) if file.exists() else (public, kept[1])
    os.link(source, target)
    return target


def _write(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}")
    beside.write_text(text, encoding="utf-8")
    beside.chmod(0o600)
    sync(beside)
    beside.replace(file)
