"""The domain's own secret: made once, never sent anywhere."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path


def seed_of(state: Path) -> bytes:
    """What bounding and the tags of units are keyed with. Made where it is not there."""
    path = state / "bounding.seed"
    if not path.exists():
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_suffix(".new")
        beside.touch(mode=0o600)
        beside.write_text(secrets.token_hex(32), encoding="ascii")
        beside.replace(path)
    return bytes.fromhex(path.read_text(encoding="ascii"))


def tag_key(state: Path, dataset: str) -> str:
    """Hex key of the tags by which units of a dataset are known over snapshots."""
    return hashlib.sha256(b"bpk-unit-tags-v1" + seed_of(state) + dataset.encode()).hexdigest()
