"""Checkpoints that are kept outside the database: which files count, and which stop a start."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import anchors as anchors_module
from gateway.audit.anchors import NOTE_BYTES_MAX, Anchors
from gateway.audit.checkpoint import Signer
from gateway.errors import Fault, Misconfigured
from tests.ledger_world import SIGNER

THIEF = Signer(SIGNER.origin, Ed25519PrivateKey.from_private_bytes(b"t" * 32))


def note(size: int, signer: Signer = SIGNER) -> str:
    return signer.sign(size, bytes([size]) * 32)


@pytest.fixture
def anchors(tmp_path: Path) -> Anchors:
    (tmp_path / "witnessed").mkdir()
    return Anchors(tmp_path / "log.checkpoint", tmp_path / "witnessed")


def witnessed(anchors: Anchors, name: str, text: str) -> Path:
    assert anchors.witnessed is not None
    file = anchors.witnessed / name
    file.write_text(text, encoding="utf-8")
    return file


def sizes(anchors: Anchors) -> list[tuple[str, int]]:
    return [(file.name, checkpoint.size) for file, checkpoint in anchors.known({SIGNER.vkey}).items()]


def test_a_new_log_knows_no_checkpoint(anchors: Anchors) -> None:
    assert sizes(anchors) == []
    assert sizes(Anchors(anchors.own)) == []
    assert sizes(Anchors(anchors.own, anchors.own.with_name("nowhere"))) == []


def test_its_own_comes_first_and_then_every_plain_file_of_the_folder_by_name(anchors: Anchors) -> None:
    anchors.keep(note(3))
    witnessed(anchors, "b", note(5))
    witnessed(anchors, "a", note(4))
    witnessed(anchors, ".hidden", "half written")
    assert anchors.witnessed is not None
    (anchors.witnessed / "folder").mkdir()
    assert sizes(anchors) == [("log.checkpoint", 3), ("a", 4), ("b", 5)]


def test_one_file_may_be_named_in_place_of_a_folder(anchors: Anchors) -> None:
    assert sizes(Anchors(anchors.own, witnessed(anchors, "one", note(7)))) == [("one", 7)]


def test_its_own_file_that_is_empty_lost_power_and_a_witness_s_that_is_empty_lost_its_word(anchors: Anchors) -> None:
    anchors.own.touch()
    assert sizes(anchors) == []
    file = witnessed(anchors, "one", "")
    with pytest.raises(Misconfigured, match=r"/one: is no signed checkpoint$"):
        sizes(anchors)
    file.unlink()
    assert sizes(anchors) == []


def test_a_longer_file_than_any_checkpoint_is_not_read(anchors: Anchors) -> None:
    file = witnessed(anchors, "one", "a" * NOTE_BYTES_MAX)
    with pytest.raises(Misconfigured, match=r"/one: is no signed checkpoint$"):
        sizes(anchors)
    file.write_text("a" * (NOTE_BYTES_MAX + 1), encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"/one: cannot be read as a checkpoint$"):
        sizes(anchors)
    file.write_bytes(b"\xff")
    with pytest.raises(Misconfigured, match=r"/one: cannot be read as a checkpoint$"):
        sizes(anchors)


def test_a_checkpoint_of_another_key_stops_the_start(anchors: Anchors) -> None:
    witnessed(anchors, "one", note(3, THIEF))
    with pytest.raises(Misconfigured, match=r"/one: is no checkpoint that a key of this log has signed$"):
        sizes(anchors)


def test_only_a_newer_checkpoint_is_adopted(anchors: Anchors) -> None:
    file = witnessed(anchors, "one", note(4))
    anchors.adopt(file, {SIGNER.vkey})
    assert anchors.own.read_text("utf-8") == note(4)
    for size, kept in ((3, 4), (4, 4), (6, 6)):
        file.write_text(note(size), encoding="utf-8")
        anchors.adopt(file, {SIGNER.vkey})
        assert anchors.own.read_text("utf-8") == note(kept)
    file.write_text(SIGNER.sign(6, bytes(32)), encoding="utf-8")
    anchors.adopt(file, {SIGNER.vkey})
    assert anchors.own.read_text("utf-8") == note(6), "as large is not newer, whatever it says"
    file.write_text(note(9, THIEF), encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"/one: is no checkpoint that a key of this log has signed$"):
        anchors.adopt(file, {SIGNER.vkey})
    assert anchors.own.read_text("utf-8") == note(6)


@pytest.fixture
def by_parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk that takes so many bytes at each try; then it is full."""
    sizes: list[int] = []
    write = os.write

    def some(handle: int, content: bytes) -> int:
        if not sizes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content[: sizes.pop(0)])

    monkeypatch.setattr(anchors_module.os, "write", some)
    return sizes


def test_a_disk_that_takes_a_part_leaves_the_checkpoint_of_before(anchors: Anchors, by_parts: list[int]) -> None:
    by_parts += [999]
    anchors.keep(note(3))
    by_parts += [40]
    with pytest.raises(Fault, match=r"log\.checkpoint: not written \("):
        anchors.keep(note(4))
    assert anchors.own.read_text("utf-8") == note(3)
    assert sorted(file.name for file in anchors.own.parent.iterdir()) == ["log.checkpoint", "witnessed"]


def test_one_that_takes_it_in_parts_holds_all_of_it(anchors: Anchors, by_parts: list[int]) -> None:
    by_parts += [40, 1, 999]
    anchors.keep(note(3))
    assert anchors.own.read_text("utf-8") == note(3)


def test_a_writer_that_tries_once_is_noticed(anchors: Anchors, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(
        anchors_module.os, "write", lambda handle, content: write(handle, content[:40]) and len(content)
    )
    anchors.keep(note(3))
    with pytest.raises(Misconfigured):
        sizes(anchors)


def test_what_cannot_be_kept_is_a_fault_and_leaves_nothing_beside(anchors: Anchors) -> None:
    anchors.own.mkdir()
    (anchors.own / "in the way").touch()
    with pytest.raises(Fault, match=r"log\.checkpoint: not written \("):
        anchors.keep(note(3))
    assert sorted(file.name for file in anchors.own.parent.iterdir()) == ["log.checkpoint", "witnessed"]
    with pytest.raises(Fault, match=r"log\.checkpoint: not written \("):
        Anchors(anchors.own.parent / "nowhere" / "log.checkpoint").keep(note(3))
