"""Proofs as they are told: inclusion of a record, consistency of two sizes, each with the checkpoint it leads to."""

from __future__ import annotations

from typing import Any

from gateway.audit.log import Log
from gateway.audit.note import size_of


def inclusion(log: Log, index: int, size: int | None = None) -> dict[str, Any]:
    """`{index, size, leaf_hash, proof, checkpoint}`, hashes in hex. Without a size: under a checkpoint signed now, else
    `checkpoint` is None and the caller holds one. Raises Refusal(not_found)."""
    note = None if size is not None else log.checkpoint()
    most = size_of(note) if note is not None else size or 0
    leaf, path = log.inclusion(index, most)
    return {
        "index": index,
        "size": most,
        "leaf_hash": leaf.hex(),
        "proof": [step.hex() for step in path],
        "checkpoint": note,
    }


def consistency(log: Log, old: int, new: int | None = None) -> dict[str, Any]:
    """`{old, new, proof, checkpoint}`, as `inclusion` has them. Raises Refusal(not_found)."""
    note = None if new is not None else log.checkpoint()
    most = size_of(note) if note is not None else new or 0
    path = log.consistency(old, most)
    return {"old": old, "new": most, "proof": [step.hex() for step in path], "checkpoint": note}
