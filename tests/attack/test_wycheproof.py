"""Project Wycheproof's vectors at our verifiers, each with the vector's own key trusted.

The vectors are not part of this repository. Get github.com/C2SP/wycheproof and say where: BPK_WYCHEPROOF is the folder
`testvectors_v1`. Over HTTP all of them would be refused for want of a known key, which would show nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.note import LOG_KEY, Checkpoint, signed_by
from gateway.identity import jws
from gateway.identity.jwk import key_set
from gateway.identity.jws import Bad
from gateway.identity.token import Verifier
from gateway.settings import ALGORITHMS, TokenKey, Tokens

FOLDER = os.environ.get("BPK_WYCHEPROOF")
SETTINGS = Tokens(issuer="i", type="jwt", keys=[TokenKey(kid="k", alg="EdDSA", file="k.pub")])
PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi"})
OTHER_RULES = {
    "emptyPayload": "no token is empty",
    "Figure20": "PS384 by a key that says PS256",
}
"""Valid vectors that are refused by a rule of ours, and which."""
pytestmark = pytest.mark.skipif(FOLDER is None, reason="BPK_WYCHEPROOF names no folder of vectors")


def groups(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((Path(FOLDER or "") / f"{name}_test.json").read_text())["testGroups"]
    return found


@pytest.mark.parametrize("name", ["json_web_signature", "json_web_key", "json_web_crypto"])
def test_invalid_tokens_are_refused_and_valid_ones_of_our_algorithms_pass(name: str) -> None:
    counts: Counter[str] = Counter()
    for group in groups(name):
        given = group.get("public") or group["private"]
        public = [{m: v for m, v in key.items() if m not in PRIVATE} for key in given.get("keys", [given])]
        keys = key_set(json.dumps({"keys": public}).encode(), ALGORITHMS).keys
        for vector in group["tests"]:
            if "jws" not in vector:
                continue  # encrypted: there is no reader
            text = vector["jws"] if isinstance(vector["jws"], str) else json.dumps(vector["jws"])
            try:
                Verifier(SETTINGS, keys).payload(text)
                passed = True
            except Bad:
                passed = False
            where = f"{vector['tcId']} {vector['comment']}"
            if vector["result"] == "invalid":
                assert not passed, where
                counts["invalid, refused"] += 1
            elif not keys:
                assert not passed, where
                counts["valid, of an algorithm or key that is none here"] += 1
            elif vector["comment"] in OTHER_RULES:
                assert not passed, where
                counts["valid, refused by another rule"] += 1
            else:
                assert passed, where
                counts["valid, passed"] += 1
    print(f"\n{name}: {dict(counts)}")
    assert counts["invalid, refused"] >= 21
    assert counts["valid, passed"] >= 1


def test_ed25519_vectors_hold_where_checkpoints_are_verified() -> None:
    counts: Counter[bool] = Counter()
    for group in groups("ed25519"):
        public = bytes([LOG_KEY]) + bytes.fromhex(group["publicKey"]["pk"])
        key_id = hashlib.sha256(b"log\n" + public).digest()[:4]
        vkey = f"log+{key_id.hex()}+{base64.b64encode(public).decode()}"
        for vector in group["tests"]:
            line = ("log", key_id + bytes.fromhex(vector["sig"]))
            passed = signed_by(Checkpoint("log", 0, bytes(32), bytes.fromhex(vector["msg"]), (line,)), vkey)
            assert passed == (vector["result"] == "valid"), vector["tcId"]
            counts[passed] += 1
    print(f"\ned25519: {dict(counts)}")
    assert min(counts.values()) >= 50


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("ecdsa_secp256r1_sha256_p1363", "ES256"),
        ("rsa_pss_2048_sha256_mgf1_32", "PS256"),
        ("rsa_signature_2048_sha256", "RS256"),
    ],
)
def test_signature_vectors_hold_where_tokens_are_verified(name: str, algorithm: str) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    verifier = jws._JWS.get_algorithm_by_name(algorithm)
    counts: Counter[str] = Counter()
    for group in groups(name):
        key = load_pem_public_key(group["publicKeyPem"].encode())
        for vector in group["tests"]:
            message, signature = bytes.fromhex(vector["msg"]), bytes.fromhex(vector["sig"])
            passed = verifier.verify(message, key, signature)
            if vector["result"] != "acceptable":
                assert passed == (vector["result"] == "valid"), vector["tcId"]
            counts[f"{vector['result']}, {'passed' if passed else 'refused'}"] += 1
    print(f"\n{name}: {dict(counts)}")
    assert counts["valid, passed"] >= 5
