"""The data domain's own secret is made once, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.seed import SEED_BYTES, seed_of, tag_key


def test_it_is_made_once_for_this_domain_and_for_nobody_else_to_read(tmp_path: Path) -> None:
    first = seed_of(tmp_path / "state")
    assert len(first) == SEED_BYTES
    assert seed_of(tmp_path / "state") == first
    assert seed_of(tmp_path / "other") != first
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["bounding.seed"]
    assert (tmp_path / "state" / "bounding.seed").stat().st_mode & 0o077 == 0


def test_a_unit_is_tagged_otherwise_in_each_dataset(tmp_path: Path) -> None:
    assert tag_key(tmp_path, "clinic") == tag_key(tmp_path, "clinic")
    assert tag_key(tmp_path, "clinic") != tag_key(tmp_path, "school")


@pytest.mark.parametrize("text", ["", "ab", "ab" * 31, "no seed", "ab" * 33])
def test_what_is_no_seed_is_not_used_and_not_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bounding.seed"
    path.write_text(text, encoding="ascii")
    with pytest.raises(ValueError, match="this is no seed"):
        seed_of(tmp_path)
    assert path.read_text(encoding="ascii") == text
