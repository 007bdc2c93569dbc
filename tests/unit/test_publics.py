"""Rows of small public tables: kept beside the snapshot that they are of, and nothing else with them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from policies.types import INTEGER, TEXT
from sandbox import codec, publics
from sandbox.ingest import build
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.snapshot import published, under
from sandbox.publics import PublicColumn, PublicFile, PublicRows
from tests.ingest_builders import DOMAIN, POLICY, take_in, write_home

SECOND = DOMAIN.replace('"one"', '"two"')
COLUMNS = (PublicColumn("id", INTEGER), PublicColumn("level", TEXT))


def state(home: Path) -> Path:
    return home / "state" / "domain"


def test_a_public_table_is_kept_whole_and_sorted_and_a_private_one_is_not(tmp_path: Path) -> None:
    snapshot = take_in(write_home(tmp_path, hospitals="id,level\n9,city\n7,\n8,county\n"))
    assert set(snapshot.publics) == {"hospitals"}
    table = snapshot.publics["hospitals"]
    assert table.columns == COLUMNS
    assert table.rows == ((7, None), (8, "county"), (9, "city"))


def test_a_hidden_column_of_a_public_table_is_not_kept(tmp_path: Path) -> None:
    text = POLICY.replace('level = { type = "text", role = "dimension" }', 'level = { type = "text", role = "hidden" }')
    assert take_in(write_home(tmp_path), text).publics["hospitals"].columns == COLUMNS[:1]


def test_a_table_of_too_many_rows_is_left_out(tmp_path: Path) -> None:
    def listed(rows: int) -> str:
        return "id,level\n" + "".join(f"{i},city\n" for i in range(rows))

    kept = take_in(write_home(tmp_path / "kept", hospitals=listed(publics.ROWS_MAX)))
    assert len(kept.publics["hospitals"].rows) == publics.ROWS_MAX
    left_out = take_in(write_home(tmp_path / "left out", hospitals=listed(publics.ROWS_MAX + 1)))
    assert left_out.publics == {}


def test_tables_that_are_too_large_together_are_left_out_largest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [PublicRows(name, COLUMNS[1:], (("x" * size,),)) for name, size in (("a", 900), ("b", 100), ("c", 500))]
    monkeypatch.setattr(publics, "BYTES_MAX", sum(len(codec.dumps(table)) for table in tables[1:]))
    assert [table.table for table in build._small(tables)] == ["b", "c"]
    monkeypatch.setattr(publics, "TABLE_BYTES_MAX", len(codec.dumps(tables[1])))
    assert [table.table for table in build._small(tables)] == ["b"]


def test_rows_are_found_again_under_the_commitment_of_their_own_snapshot(tmp_path: Path) -> None:
    """An answer that is shown again says what it said, whatever was published since."""
    home = write_home(tmp_path, hospitals="id,level\n7,county\n")
    first = take_in(home)
    second = take_in(write_home(home, SECOND, hospitals="id,level\n7,city\n"))
    assert published(state(home), "clinic") == second
    for snapshot, level in ((first, "county"), (second, "city")):
        found = under(state(home), "clinic", snapshot.commitment)
        assert found is not None
        assert found.publics["hospitals"].rows == ((7, level),)
    assert under(state(home), "clinic", "0" * 64) is None


def test_rows_that_were_tampered_with_are_not_read(tmp_path: Path) -> None:
    snapshot = take_in(write_home(tmp_path))
    file = snapshot.path.parent / "public.json"
    file.write_bytes(codec.dumps(PublicFile((PublicRows("hospitals", COLUMNS, ((1, "other"),)),))))
    with pytest.raises(IngestRefused):
        _ = snapshot.publics
    file.unlink()
    with pytest.raises(IngestRefused):
        _ = snapshot.publics


def test_the_most_rows_that_agree_are_counted_without_nulls() -> None:
    rows = ((1, "a", None), (1, "b", None), (2, "a", None), (None, "a", Decimal(1)), (None, "a", Decimal(1)))
    columns = (*COLUMNS, PublicColumn("fee", INTEGER))
    table = PublicRows("t", columns, rows)
    assert table.most_rows(["id"]) == 2
    assert table.most_rows(["id", "level"]) == 1
    assert table.most_rows(["level"]) == 4
    assert table.most_rows(["fee"]) == 2
    assert PublicRows("t", columns, ()).most_rows(["id"]) == 0
