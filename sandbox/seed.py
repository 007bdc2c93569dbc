"""The domain's own secret: made once, never sent anywhere."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

SEED_BYTES: Final = 32


def seed_of(state: Path) -> bytes:
    """What bounding and the tags of units are keyed with. Made where it is not there, and durable before it is used.

    Raises ValueError for a file that holds no seed: a short one would be guessed, and a new one would not know the
    units of earlier answers.
    """
    path = state / "bounding.seed"
    if not path.exists():
        _make(path)
    text = path.read_text(encoding="ascii")
    try:
        found = bytes.fromhex(text)
    except ValueError as error:
        raise ValueError(f"{path}: this is no seed; put back the one that the state was begun with") from error
    if len(found) != SEED_BYTES:
        raise ValueError(f"{path}: this is no seed; put back the one that the state was begun with")
    return found


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_suffix(".new")
    beside.touch(mode=0o600)
    with beside.open("w", encoding="ascii") as out:
        out.write(secrets.token_hex(SEED_BYTES))
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def tag_key(state: Path, dataset: str) -> str:
    """Hex key of the tags by which units of a dataset are known over snapshots."""
    return hashlib.sha256(b"bpk-unit-tags-v1" + seed_of(state) + dataset.encode()).hexdigest()
