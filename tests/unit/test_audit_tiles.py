"""The log as tiles: the files of C2SP tlog-tiles, and a folder of them that verifies as an export does."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import tiled, tiles
from gateway.audit.checkpoint import Signer
from gateway.audit.climbing import climb, extends
from gateway.audit.offline import main
from gateway.audit.older import Witnesses
from gateway.audit.tiles import Tile
from gateway.audit.verify import verify, verify_file
from gateway.errors import Fault, Refusal
from tests.ledger_world import SIGNER, World, a_busy_world
from tests.second_verifier import root


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Of 300 records and more: one full tile, and the beginning of another."""
    world = a_busy_world(tmp_path_factory.mktemp("tiles"))
    with world.store.transaction() as tx:
        for _ in range(300):
            world.log.note_read(tx, "auditor", "records")
    return world


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    tiles.write(world.log, tmp_path / "log")
    return tmp_path / "log"


def leaves(world: World) -> list[bytes]:
    return [hashlib.sha256(b"\0" + line[:-1]).digest() for line in world.export()[:-1]]


@given(st.integers(0, 10**15), st.one_of(st.none(), st.integers(0, 63)), st.integers(1, 256))
def test_a_tile_has_one_path_and_a_path_one_tile(place: int, level: int | None, width: int) -> None:
    tile = Tile(level, place, width)
    assert tiles.parse(tile.path) == tile
    assert tile.path == tiled._path("entries" if level is None else str(level), place, width)


def test_paths_are_those_of_the_standard() -> None:
    assert Tile(0, 1234067, 256).path == "tile/0/x001/x234/067"
    assert Tile(None, 5, 17).path == "tile/entries/005.p/17"


NO_PATHS = """
tile/0/0 tile/0/0000 tile/00/000 tile/0/x000/001 tile/0/000.p/0 tile/0/000.p/256 tile/0/١٢٣ tile/0/000.p/01 tile/100/000
tile/-1/000 tile/0/../000 tile/entries/x001 checkpoint/ tile/0/000/
"""


@pytest.mark.parametrize("path", ["", *NO_PATHS.split()])
def test_what_is_no_path_of_a_tile_is_not_there(path: str) -> None:
    with pytest.raises(Refusal) as refused:
        tiles.parse(path)
    told = ("not_found", "there is no tile of this name", "tile/0/000, tile/entries/x001/234.p/17")
    assert (refused.value.code, refused.value.message, refused.value.hint) == told


def test_a_tree_of_70_000_has_the_tiles_that_the_standard_counts() -> None:
    found = Counter((tile.level, tile.width) for tile in tiles.of_size(70_000) if tile.level is not None)
    assert found == {(0, 256): 273, (0, 112): 1, (1, 256): 1, (1, 17): 1, (2, 1): 1}
    assert [tile.path for tile in tiles.of_size(256)] == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]


def test_every_tile_is_what_the_standard_defines(world: World) -> None:
    every = leaves(world)
    for tile in tiles.of_size(len(every)):
        with world.store.reading() as view:
            found = tiles.content(view, tile)
        if tile.level is not None:
            span = 256**tile.level
            starts = range(tile.place * 256 * span, (tile.place * 256 + tile.width) * span, span)
            assert found == b"".join(root(every[start : start + span]) for start in starts)
    with pytest.raises(Refusal, match=r"^the log has not grown so far$"), world.store.reading() as view:
        tiles.content(view, Tile(0, 1, 256))


def test_a_folder_of_tiles_verifies_as_an_export_does(world: World, folder: Path) -> None:
    report = verify_file(folder, key=world.log.vkey, since=[world.log.checkpoint()])
    assert report.ok, report.text()
    assert report.size == len(leaves(world))
    assert main([str(folder), "--key", world.log.vkey]) == 0


def test_a_folder_is_held_against_all_that_an_export_is(world: World, folder: Path, tmp_path: Path) -> None:
    thief = Signer(SIGNER.origin, Ed25519PrivateKey.from_private_bytes(b"t" * 32))
    other = World(tmp_path / "other")
    record = other.charge().record
    wrong: tuple[dict[str, Any], ...] = (
        {"key": thief.vkey},
        {"since": [other.log.checkpoint()]},
        {"receipts": [other.log.receipt(record)]},
        {"witnesses": Witnesses((), 1)},
    )
    for wanted in wrong:
        found, whole = verify_file(folder, **wanted), verify(world.export(), **wanted)
        assert found.kinds == whole.kinds != {}, wanted


def test_a_folder_grows_without_a_full_tile_being_written_again(tmp_path: Path) -> None:
    world, folder = a_busy_world(tmp_path), tmp_path / "log"
    tiles.write(world.log, folder)
    old = (folder / "checkpoint").read_text()
    with world.store.transaction() as tx:
        for _ in range(250):
            world.log.note_read(tx, "auditor", "records")
    tiles.write(world.log, folder)
    first = (folder / "tile/entries/000").stat().st_mtime_ns
    with world.store.transaction() as tx:
        world.log.note_read(tx, "auditor", "records")
    tiles.write(world.log, folder)
    assert (folder / "tile/entries/000").stat().st_mtime_ns == first
    assert verify_file(folder, since=[old]).ok
    assert not list(folder.rglob(".*"))


def test_any_changed_byte_of_any_tile_is_found(world: World, folder: Path) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            assert main([str(folder), "--key", world.log.vkey]) == 1, (path, place)
        path.write_bytes(content.rstrip(b"\n")[:-1])
        assert main([str(folder), "--key", world.log.vkey]) == 1, path
        path.unlink()
        assert main([str(folder), "--key", world.log.vkey]) == 1, path
        path.write_bytes(content)
    assert main([str(folder), "--key", world.log.vkey]) == 0


def test_a_reader_that_does_not_compare_hashes_is_noticed(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiled, "_compare", lambda *_: None)
    with pytest.raises(AssertionError):
        test_any_changed_byte_of_any_tile_is_found(world, folder)


def test_a_folder_that_cannot_be_written_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(Fault, match="cannot be written"):
        tiles.write(world.log, tmp_path / "log")


def test_proofs_lead_from_any_record_and_any_older_size_to_the_root(world: World) -> None:
    every = leaves(world)
    size = len(every)
    for index in (0, 1, 17, 255, 256, size - 1):
        leaf, path = world.log.inclusion(index, size)
        assert leaf == every[index]
        assert climb(index, size, leaf, path) == root(every)
        assert climb(index, size, leaf, path[:-1]) is None
    for old in (1, 2, 17, 255, 256, 257, size):
        path = world.log.consistency(old, size)
        assert extends(old, size, root(every[:old]), root(every), path)
        assert not extends(old, size, root(every[:old][::-1] + every[:1]), root(every), path)
        assert not extends(old, size, root(every[:old]), root(every), [*path, b"0" * 32])


def test_a_copied_folder_is_as_good(world: World, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert main([str(tmp_path / "copy"), "--key", world.log.vkey]) == 0


def test_folders_of_whole_tiles_verify_as_well(tmp_path: Path) -> None:
    """One full tile, two of them, and one record more: each has one hash more in the level above."""
    world = World(tmp_path)
    for size in (255, 256, 512, 513):
        with world.store.transaction() as tx:
            for _ in range(size - world.log.size(tx)):
                world.log.note_read(tx, "auditor", "records")
        folder = tmp_path / str(size)
        tiles.write(world.log, folder)
        report = verify_file(folder, key=world.log.vkey)
        assert report.ok, report.text()
        assert report.size == size
        level = sorted(str(path.relative_to(folder)) for path in (folder / "tile/1").rglob("*") if path.is_file())
        assert level == ([f"tile/1/000.p/{size // 256}"] if size // 256 else [])
        for path in level:
            (folder / path).write_bytes(bytes(32 * (size // 256)))
            assert main([str(folder), "--key", world.log.vkey]) == 1
