"""Vectors that others publish, at our own proof and signature code.

They are not part of this repository. Get them and say where they lie:

    git clone https://github.com/transparency-dev/merkle && git clone https://github.com/C2SP/wycheproof
    BPK_VECTORS=. pytest tests/unit/test_public_vectors.py

Both are under the Apache licence 2.0. Without `BPK_VECTORS` the folder `../shared/vectors` is looked at.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import note as note_module
from gateway.audit import tree
from gateway.audit.climbing import climb, extends
from gateway.audit.note import Key

ROOT = Path(os.environ.get("BPK_VECTORS", Path(__file__).parents[3] / "shared" / "vectors"))
MERKLE = ROOT / "merkle" / "testdata"
ED25519 = ROOT / "wycheproof" / "testvectors_v1" / "ed25519_test.json"
needs_merkle = pytest.mark.skipif(not MERKLE.is_dir(), reason="no vectors of transparency-dev/merkle: see BPK_VECTORS")
needs_ed25519 = pytest.mark.skipif(not ED25519.is_file(), reason="no Wycheproof vectors: see BPK_VECTORS")


def vectors(kind: str) -> list[tuple[str, dict[str, Any]]]:
    files = sorted((MERKLE / kind).rglob("*.json"))
    return [(file.relative_to(MERKLE).as_posix(), json.loads(file.read_text(encoding="utf-8"))) for file in files]


def hashes(found: list[str] | None) -> list[bytes]:
    return [base64.b64decode(each) for each in found or []]


@needs_merkle
def test_inclusion_is_judged_as_the_vectors_say() -> None:
    found = vectors("inclusion")
    assert len(found) >= 90
    for name, case in found:
        root, leaf = base64.b64decode(case["root"]), base64.b64decode(case["leafHash"])
        index, size, proof = case["leafIdx"], case["treeSize"], hashes(case["proof"])
        holds = climb(index, size, leaf, proof) == root and len(root) == 32
        assert holds is not case["wantErr"], name
        assert tree.inclusion_holds(index, size, leaf, proof, root) is not case["wantErr"], name


@needs_merkle
def test_consistency_is_judged_as_the_vectors_say() -> None:
    """But for roots that are no hashes: some vectors have a text there and do not care, since sizes are equal."""
    found = vectors("consistency")
    assert len(found) >= 90
    for name, case in found:
        old, new, proof = case["size1"], case["size2"], hashes(case["proof"])
        roots = base64.b64decode(case["root1"]), base64.b64decode(case["root2"])
        if old == 0:  # ours is stricter: from nothing there is nothing to prove
            continue
        expected = not case["wantErr"]
        assert extends(old, new, *roots, proof) is expected, name
        assert tree.consistency_holds(old, new, *roots, proof) is expected, name


@needs_ed25519
def test_signatures_are_judged_as_wycheproof_says() -> None:
    suite = json.loads(ED25519.read_text(encoding="utf-8"))
    valid = invalid = 0
    for group in suite["testGroups"]:
        key = Key("w", b"0000", note_module.LOG_KEY, bytes.fromhex(group["publicKey"]["pk"]))
        for case in group["tests"]:
            signature, text = bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"])
            assert note_module._holds(key, signature, text) is (case["result"] == "valid"), case["tcId"]
            valid, invalid = valid + (case["result"] == "valid"), invalid + (case["result"] != "valid")
    assert valid > 50
    assert invalid > 50
