"""Signed notes and verifier keys, read by the byte: one checkpoint has one spelling."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit.note import (
    LOG_KEY,
    SIGNATURES_MAX,
    WITNESS_KEY,
    cosigned_by,
    cosigned_text,
    key_hash,
    only,
    parse_checkpoint,
    parse_key,
    signed_by,
    size_of,
)
from tests.ledger_world import SIGNER

ROOT = bytes(range(32))
TEXT, _, TAIL = SIGNER.sign(9, ROOT).partition("\n\n")
NOTE = f"{TEXT}\n\n{TAIL}"
COSIGNER = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
NAME = "w.example/1"


def vkey(name: str, kind: int, public: bytes, key_id: str | None = None) -> str:
    content = bytes([kind]) + public
    hashed = hashlib.sha256(name.encode() + b"\n" + content).digest()[:4].hex()
    return f"{name}+{key_id or hashed}+{base64.b64encode(content).decode()}"


WITNESS = vkey(NAME, WITNESS_KEY, COSIGNER.public_key().public_bytes_raw())


def cosignature(moment: int, signed_moment: int | None = None, key_id: bytes | None = None) -> str:
    """A witness's line under the note; the text that it signed may say another moment."""
    text = cosigned_text(moment if signed_moment is None else signed_moment, f"{TEXT}\n".encode())
    blob = (key_id or parse_key(WITNESS).id) + moment.to_bytes(8, "big") + COSIGNER.sign(text)
    return f"— {NAME} {base64.b64encode(blob).decode()}\n"


def test_a_note_is_read_as_it_was_signed() -> None:
    checkpoint = parse_checkpoint(NOTE)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (SIGNER.origin, 9, ROOT)
    assert checkpoint.signed == f"{TEXT}\n".encode()
    ((name, blob),) = checkpoint.signatures
    assert (name, blob[:4], len(blob)) == (SIGNER.origin, parse_key(SIGNER.vkey).id, 68)
    assert size_of(NOTE) == 9
    assert repr(SIGNER) == f"Signer({SIGNER.origin})", "a key cannot print"


@pytest.mark.parametrize("size", ["0", "1", "10", "9" * 18])
def test_a_size_is_a_plain_number(size: str) -> None:
    assert parse_checkpoint(NOTE.replace("\n9\n", f"\n{size}\n")).size == int(size)


@pytest.mark.parametrize("size", ["-1", "+1", "01", "00", "1.0", " 1", "1_0", "9" * 19, "٣", "x"])
def test_no_other_spelling_of_a_size_is_read(size: str) -> None:
    with pytest.raises(ValueError, match=r"^a checkpoint without a size$"):
        parse_checkpoint(NOTE.replace("\n9\n", f"\n{size}\n"))


@pytest.mark.parametrize(
    "note",
    [
        "",
        TEXT,
        f"{TEXT}\n{TAIL}",
        f"{TEXT}\n\n",
        f"{TEXT}\n\n{TAIL[:-1]}",
        f"{TEXT}\nmore\n\n{TAIL}",
        NOTE.removeprefix(SIGNER.origin),
        NOTE.removeprefix(f"{SIGNER.origin}\n"),
    ],
)
def test_what_is_not_exactly_one_note_is_none(note: str) -> None:
    with pytest.raises(ValueError, match=r"^not a signed checkpoint$"):
        parse_checkpoint(note)


@pytest.mark.parametrize("root", [ROOT[:31], ROOT + b"\0"])
def test_a_root_has_32_bytes(root: bytes) -> None:
    with pytest.raises(ValueError, match=r"^a checkpoint without a root$"):
        parse_checkpoint(SIGNER.sign(9, root))


@pytest.mark.parametrize("encoded", ["AA=", "A", "AB==", "AA== ", "AA\n==", "_-==", "名"])
def test_base64_has_one_spelling(encoded: str) -> None:
    for note in (NOTE.replace(base64.b64encode(ROOT).decode(), encoded), f"{NOTE}— other {encoded}\n"):
        with pytest.raises(ValueError, match=r"base64|signed checkpoint|signature line"):
            parse_checkpoint(note)


@pytest.mark.parametrize(
    "line", ["- other AAAAAAA=", "— AAAAAAA=", "—  AAAAAAA=", "— other AAAAAA==", "other AAAAAAA="]
)
def test_a_signature_line_has_a_mark_a_name_and_more_than_a_key_s_id(line: str) -> None:
    assert len(parse_checkpoint(f"{NOTE}— other AAAAAAA=\n").signatures) == 2
    with pytest.raises(ValueError, match=r"^not a signature line$"):
        parse_checkpoint(f"{NOTE}{line}\n")


def test_a_note_carries_so_many_signatures_and_no_more() -> None:
    more = "— other AAAAAAA=\n"
    assert len(parse_checkpoint(NOTE + more * (SIGNATURES_MAX - 1)).signatures) == SIGNATURES_MAX
    with pytest.raises(ValueError, match=r"^too many signatures$"):
        parse_checkpoint(NOTE + more * SIGNATURES_MAX)


def test_a_key_is_read_whole_and_has_its_own_id() -> None:
    key = parse_key(SIGNER.vkey)
    assert (key.name, key.kind, key.public) == (SIGNER.origin, LOG_KEY, SIGNER.public[1:])
    assert key_hash(SIGNER.vkey) == SIGNER.key_hash == hashlib.sha256(SIGNER.public).hexdigest()
    assert parse_key(WITNESS).kind == WITNESS_KEY


NO_KIND = "not a verifier key of a log or a witness"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (vkey("", LOG_KEY, bytes(32)), "not a verifier key: it has no name"),
        (vkey("n", LOG_KEY, bytes(31)), NO_KIND),
        (vkey("n", LOG_KEY, bytes(33)), NO_KIND),
        (vkey("n", 2, bytes(32)), NO_KIND),
        (vkey("n", 0, bytes(32)), NO_KIND),
        (vkey("n", LOG_KEY, bytes(32), "00000000"), "a verifier key whose id is not its own"),
        (SIGNER.vkey.replace("+", "+0", 1), "a verifier key whose id is not its own"),
        ("n", NO_KIND),
        ("n+00000000", NO_KIND),
        ("n+00000000+%%", "not base64"),
    ],
)
def test_what_is_no_key_is_refused(broken: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        parse_key(broken)


def test_a_signature_holds_under_its_own_key_and_name_alone() -> None:
    checkpoint = parse_checkpoint(NOTE)
    assert signed_by(checkpoint, SIGNER.vkey)
    assert not signed_by(checkpoint, vkey(SIGNER.origin, LOG_KEY, bytes(32)))
    assert not signed_by(checkpoint, vkey("other", LOG_KEY, SIGNER.public[1:]))
    assert not signed_by(replace(checkpoint, signed=checkpoint.signed + b"x"), SIGNER.vkey)
    assert not signed_by(replace(checkpoint, origin="other"), SIGNER.vkey)
    assert not signed_by(checkpoint, vkey(SIGNER.origin, WITNESS_KEY, SIGNER.public[1:]))


def test_a_cosignature_says_when_and_covers_that() -> None:
    def moment(line: str) -> int | None:
        return cosigned_by(parse_checkpoint(NOTE + line), WITNESS)

    assert moment("") is None
    assert moment(cosignature(1)) == 1
    assert moment(cosignature(2**63 - 1)) == 2**63 - 1
    assert moment(cosignature(5) + cosignature(9) + cosignature(7)) == 9
    assert moment(cosignature(0)) is None
    assert moment(cosignature(2**63)) is None
    assert moment(cosignature(6, signed_moment=5)) is None
    assert moment(cosignature(6, key_id=b"\0\0\0\0")) is None
    assert moment(f"— {NAME} {base64.b64encode(parse_key(WITNESS).id + bytes([1] * 8)).decode()}\n") is None
    assert cosigned_by(parse_checkpoint(NOTE), SIGNER.vkey) is None, "a log's own signature is no witness's"


def test_a_note_can_be_told_with_one_signer_s_word_alone() -> None:
    mine, others = cosignature(1), "— other AAAAAAA=\n"
    assert only(NOTE + others + mine, SIGNER.vkey) == NOTE
    assert only(NOTE + others + mine, WITNESS) == f"{TEXT}\n\n{mine}"
    assert only(NOTE, WITNESS) == f"{TEXT}\n\n"
    assert only(NOTE + cosignature(1, key_id=b"\0\0\0\0"), WITNESS) == f"{TEXT}\n\n"
