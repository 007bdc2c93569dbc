"""The Merkle tree against the known answers of Certificate Transparency, and against its own definition."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from gateway.audit import tree

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
INCLUSION = {
    (0, 1): [],
    (0, 8): [A, B, C],
    (5, 8): [D, E, ROOTS[3]],
    (2, 3): [ROOTS[1]],
    (1, 5): [ROOTS[0], B, D],
}
CONSISTENCY = {(1, 1): [], (1, 8): [A, B, C], (6, 8): [F, E, ROOTS[3]], (2, 5): [B, D]}
SIZE_MAX = 130


def grow(leaves: list[bytes]) -> tuple[tree.Node, dict[tuple[int, int], bytes]]:
    nodes: dict[tuple[int, int], bytes] = {}

    def node(level: int, place: int) -> bytes:
        return nodes[level, place]

    for index, leaf in enumerate(leaves):
        for level, place, value in tree.appended(index, tree.leaf_hash(leaf), node):
            assert (level, place) not in nodes
            nodes[level, place] = value
    return node, nodes


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + by_definition(leaves[:k]) + by_definition(leaves[k:])).digest()


@pytest.fixture(scope="module")
def many() -> tuple[list[bytes], tree.Node, list[bytes]]:
    leaves = [bytes([number]) * (number % 40) for number in range(SIZE_MAX)]
    node, _ = grow(leaves)
    return leaves, node, [tree.root(size, node) for size in range(SIZE_MAX + 1)]


def test_the_roots_of_certificate_transparency_come_out() -> None:
    node, _ = grow(LEAVES)
    assert [tree.root(size, node).hex() for size in range(1, 9)] == ROOTS
    assert tree.root(0, node).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("case", INCLUSION)
def test_the_audit_paths_of_certificate_transparency_come_out(case: tuple[int, int]) -> None:
    node, _ = grow(LEAVES)
    assert [step.hex() for step in tree.inclusion(*case, node)] == INCLUSION[case]


@pytest.mark.parametrize("case", CONSISTENCY)
def test_the_consistency_proofs_of_certificate_transparency_come_out(case: tuple[int, int]) -> None:
    node, _ = grow(LEAVES)
    assert [step.hex() for step in tree.consistency(*case, node)] == CONSISTENCY[case]


def test_every_root_up_to_130_leaves_is_that_of_the_definition(many: tuple) -> None:
    leaves, _, roots = many
    assert roots == [by_definition(leaves[:size]) for size in range(SIZE_MAX + 1)]


def test_every_inclusion_proof_up_to_130_leaves_holds_and_no_neighbouring_claim_does(many: tuple) -> None:
    leaves, node, roots = many
    for size in range(1, SIZE_MAX + 1):
        for index in range(size):
            leaf, path = tree.leaf_hash(leaves[index]), tree.inclusion(index, size, node)
            assert len(path) <= size.bit_length()
            assert tree.inclusion_holds(index, size, leaf, path, roots[size])
            assert not tree.inclusion_holds(index ^ 1, size, leaf, path, roots[size])
            assert not tree.inclusion_holds(index, size, leaf, path, roots[size - 1])
            assert not tree.inclusion_holds(index, size, leaf, [*path, leaf], roots[size])
            assert not (path and tree.inclusion_holds(index, size, leaf, path[:-1], roots[size]))


def test_every_consistency_proof_up_to_130_leaves_holds_and_no_neighbouring_claim_does(many: tuple) -> None:
    _, node, roots = many
    for new in range(1, SIZE_MAX + 1):
        for old in range(1, new + 1):
            path = tree.consistency(old, new, node)
            assert tree.consistency_holds(old, new, roots[old], roots[new], path)
            assert not tree.consistency_holds(old, new, roots[old - 1], roots[new], path)
            assert not tree.consistency_holds(old, new, roots[old], roots[new - 1], path)
            assert not tree.consistency_holds(old, new, roots[old], roots[new], [*path, roots[1]])
            assert not (path and tree.consistency_holds(old, new, roots[old], roots[new], path[:-1]))


def test_proofs_outside_the_tree_are_refused(many: tuple) -> None:
    _, node, _ = many
    for call in (
        lambda: tree.inclusion(5, 5, node),
        lambda: tree.inclusion(-1, 5, node),
        lambda: tree.consistency(0, 5, node),
        lambda: tree.consistency(6, 5, node),
    ):
        with pytest.raises(ValueError, match=r"tree|sizes"):
            call()
    assert not tree.consistency_holds(0, 5, b"", b"", [])
    assert not tree.inclusion_holds(5, 5, b"", [], b"")
    assert not tree.consistency_holds(6, 8, b"", b"", [])
    assert tree.consistency_holds(1, 1, b"r", b"r", [])
    assert not tree.consistency_holds(1, 1, b"r", b"r", [b"s"])
    assert not tree.consistency_holds(1, 1, b"r", b"s", [])


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("leaf_hash", lambda content, digest=None: hashlib.sha256(content).digest()),
        ("parent_hash", lambda left, right, digest=None: hashlib.sha256(left + right).digest()),
        ("_split", lambda count: (count + 1) // 2),
    ],
)
def test_a_tree_without_its_prefixes_or_its_split_is_noticed(
    name: str, planted: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, name, planted)
    with pytest.raises((AssertionError, KeyError)):
        test_the_roots_of_certificate_transparency_come_out()
