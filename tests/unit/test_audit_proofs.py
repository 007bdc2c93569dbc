"""Proofs of RFC 6962: told by the log, and checked by the verifier's own reading of the standard."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import proofs, tree
from gateway.audit.climbing import HASHES_MAX, climb, extends, leaf_hash
from gateway.audit.note import parse_checkpoint, signed_by
from gateway.errors import Refusal
from tests.ledger_world import SIGNER, World, a_busy_world

SIZE_MAX = 40


def node(level: int, place: int) -> bytes:
    """The tree over the leaves `0`, `1` and so on."""
    if level == 0:
        return tree.leaf_hash(str(place).encode())
    return tree.parent_hash(node(level - 1, 2 * place), node(level - 1, 2 * place + 1))


def root(size: int) -> bytes:
    return tree.root(size, node)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return a_busy_world(tmp_path_factory.mktemp("log"))


def test_a_proof_of_inclusion_leads_to_the_checkpoint_that_is_signed_now(world: World) -> None:
    size = len(world.records())
    for index, line in enumerate(world.export()[:-1]):
        told = proofs.inclusion(world.log, index)
        checkpoint = parse_checkpoint(told["checkpoint"])
        path = [bytes.fromhex(step) for step in told["proof"]]
        assert (told["index"], told["size"], checkpoint.size) == (index, size, size)
        assert told["leaf_hash"] == leaf_hash(line[:-1]).hex()
        assert signed_by(checkpoint, SIGNER.vkey)
        assert climb(index, size, bytes.fromhex(told["leaf_hash"]), path) == checkpoint.root


def test_under_a_size_that_the_caller_has_a_checkpoint_of_none_is_signed(world: World) -> None:
    told = proofs.inclusion(world.log, 4, 9)
    assert (told["index"], told["size"], told["checkpoint"]) == (4, 9, None)
    whole = proofs.consistency(world.log, 9, 12)
    assert (whole["old"], whole["new"], whole["checkpoint"]) == (9, 12, None)
    roots = {}
    for size in (9, 12):
        with world.store.reading() as view:
            roots[size] = tree.root(size, lambda *at, view=view: _stored(view, *at))
    path = [bytes.fromhex(step) for step in told["proof"]]
    assert climb(4, 9, bytes.fromhex(told["leaf_hash"]), path) == roots[9]
    assert extends(9, 12, roots[9], roots[12], [bytes.fromhex(step) for step in whole["proof"]])
    newest = proofs.consistency(world.log, 9)
    now = parse_checkpoint(newest["checkpoint"])
    assert newest["new"] == now.size
    assert extends(9, now.size, roots[9], now.root, [bytes.fromhex(step) for step in newest["proof"]])


def _stored(view: object, level: int, place: int) -> bytes:
    row = view.one("SELECT hash FROM node WHERE level = ? AND place = ?", (level, place))  # type: ignore[attr-defined]
    return bytes(row[0])


@pytest.mark.parametrize(("index", "size"), [(9, 9), (-1, 9), (0, 0), (0, 10_000), (10_000, None)])
def test_what_cannot_be_proven_is_not_found(world: World, index: int, size: int | None) -> None:
    with pytest.raises(Refusal) as refused:
        proofs.inclusion(world.log, index, size)
    assert refused.value.code == "not_found"


@pytest.mark.parametrize(("old", "new"), [(10, 9), (-1, 9), (0, 9), (0, 0), (1, 10_000), (10_000, None)])
def test_what_does_not_begin_another_is_not_found(world: World, old: int, new: int | None) -> None:
    with pytest.raises(Refusal) as refused:
        proofs.consistency(world.log, old, new)
    assert refused.value.code == "not_found"


def test_every_path_leads_to_its_root_and_to_no_other_length() -> None:
    for size in range(1, SIZE_MAX):
        for index in range(size):
            path = tree.inclusion(index, size, node)
            assert climb(index, size, node(0, index), path) == root(size)
            assert climb(index, size, node(0, index), [*path, bytes(32)]) is None
            assert not path or climb(index, size, node(0, index), path[:-1]) is None
    assert climb(0, 0, node(0, 0), []) is None
    assert climb(1, 1, node(0, 0), []) is None
    assert climb(-1, 1, node(0, 0), []) is None
    assert climb(-1, 4, node(0, 0), tree.inclusion(0, 4, node)) is None
    assert climb(4, 4, node(0, 0), tree.inclusion(3, 4, node)) is None


def test_a_leaf_is_hashed_as_the_standard_says() -> None:
    assert leaf_hash(b"x") == hashlib.sha256(b"\x00x").digest()


def test_every_tree_begins_with_every_smaller_one_of_its_own() -> None:
    for new in range(1, SIZE_MAX):
        for old in range(1, new + 1):
            proof = tree.consistency(old, new, node)
            assert extends(old, new, root(old), root(new), proof)
            assert not extends(old, new, bytes(32), root(new), proof)
            assert not extends(old, new, root(old), bytes(32), proof)
            assert not extends(old, new, root(old), root(new), [*proof, bytes(32)])
            assert not proof or not extends(old, new, root(old), root(new), proof[:-1])


def test_every_tree_begins_with_the_empty_one() -> None:
    empty = hashlib.sha256(b"").digest()
    assert extends(0, 0, empty, empty, [])
    assert extends(0, 7, empty, root(7), [])
    assert not extends(0, 7, empty, root(7), [bytes(32)])
    assert not extends(0, 7, root(1), root(7), [])


@pytest.mark.parametrize(("old", "new"), [(-1, 7), (8, 7), (1, 0)])
def test_no_tree_begins_with_a_larger_one(old: int, new: int) -> None:
    assert not extends(old, new, root(7), root(7), [])


def test_a_proof_is_never_longer_than_any_tree_is_high() -> None:
    """2**62 + 1 records, of which the last is new: its proof is short. A longer one than any is not even read."""
    size, left = 2**62, bytes(32)
    assert HASHES_MAX == 63
    assert extends(size, size + 1, left, tree.parent_hash(left, node(0, 0)), [node(0, 0)])
    high = [bytes([step]) * 32 for step in range(63)]
    old, new = tree_of_one_then(high)
    assert extends(1, 2**63, old, new, high)
    more = [*high, bytes(32)]
    old, new = tree_of_one_then(more)
    assert not extends(1, 2**64, old, new, more)


def tree_of_one_then(steps: list[bytes]) -> tuple[bytes, bytes]:
    """The root of one leaf, and that of the tree in which `steps` are on its right."""
    old = value = node(0, 0)
    for step in steps:
        value = tree.parent_hash(value, step)
    return old, value


@given(st.integers(1, SIZE_MAX), st.integers(0, SIZE_MAX), st.data())
def test_a_changed_step_proves_nothing(size: int, index: int, data: st.DataObject) -> None:
    index %= size
    path = tree.inclusion(index, size, node)
    whole = tree.consistency(index + 1, size, node)
    for proof, holds in (
        (path, lambda steps: climb(index, size, node(0, index), steps) == root(size)),
        (whole, lambda steps: extends(index + 1, size, root(index + 1), root(size), steps)),
    ):
        assert holds(proof)
        if proof:
            place = data.draw(st.integers(0, len(proof) - 1))
            assert not holds([*proof[:place], bytes(32), *proof[place + 1 :]])
