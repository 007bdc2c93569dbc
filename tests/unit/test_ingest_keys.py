"""Links and keys of several columns, held against the data when they are taken in."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from sandbox.ingest import truths
from sandbox.ingest.build import build
from sandbox.ingest.job import IngestFile, Job, schema_digest, tables_of
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.snapshot import Snapshot
from tests.composite_world import shops_text
from tests.ingest_builders import POLICY, policy, rows, take_in

SHOPS = shops_text()
FILES = {
    "buyers": "bid,age\n1,30\n2,40\n3,50\n",
    "orders": "bid,shop,nr,paid\n1,1,1,10\n2,1,2,20\n2,2,1,30\n3,2,,40\n3,2,,50\n3,,1,60\n",
    "lines": "shop,order_nr,part,maker,pieces\n1,1,0,0,1\n1,2,0,1,2\n2,1,0,0,3\n2,2,0,0,4\n2,,0,0,5\n,1,0,0,6\n",
    "offers": "part,maker,grade\n0,0,a\n0,1,b\n1,0,a\n1,,a\n1,,b\n",
}
DOMAIN = """
[datasets.shops]
tables = { buyers = "buyers.csv", orders = "orders.csv", lines = "lines.csv", offers = "offers.csv" }
snapshot = "one"
"""


def taken_in(home: Path, text: str = SHOPS, **changed: str) -> Snapshot:
    (home / "domain.toml").write_text(DOMAIN)
    for name, content in (FILES | changed).items():
        (home / f"{name}.csv").write_text(content)
    return take_in(home, text)


def test_a_row_has_the_unit_of_the_row_that_all_columns_of_its_link_lead_to(tmp_path: Path) -> None:
    snapshot = taken_in(tmp_path)
    unit = dict(rows(snapshot, "SELECT age, __unit FROM buyers"))
    assert dict(rows(snapshot, "SELECT pieces, __unit FROM lines")) == {1: unit[30], 2: unit[40], 3: unit[40]}


def test_the_custodian_is_told_of_links_that_are_null_in_part_and_of_those_without_a_partner(tmp_path: Path) -> None:
    of = {table.table: table for table in taken_in(tmp_path).report.tables}
    lines = of["lines"]
    assert (lines.rows_read, lines.rows_kept) == (6, 3)
    assert (lines.rows_without_unit, lines.rows_without_partner) == (2, 1)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"offers": FILES["offers"] + "0,1,a\n"},
            "columns `part`, `maker` of table `offers` together are the declared key, but 1 combination stands on",
        ),
        (
            {"orders": FILES["orders"] + "3,1,1,70\n3,1,2,70\n"},
            "columns `shop`, `nr` of table `orders` together are linked to by table `lines`, but 2 combinations",
        ),
    ],
)
def test_several_columns_that_are_not_unique_together_are_refused(
    tmp_path: Path, changed: dict[str, str], words: str
) -> None:
    with pytest.raises(IngestRefused) as caught:
        taken_in(tmp_path, **changed)
    assert words in caught.value.message


def test_planted_without_the_check_a_row_of_two_partners_would_have_two_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    twice = FILES | {"orders": FILES["orders"] + "3,1,1,70\n"}
    for name, content in twice.items():
        (tmp_path / f"{name}.csv").write_text(content)
    files = {name: (IngestFile(f"{name}.csv", f"{name}.csv"),) for name in twice}
    job = Job(tables_of(policy(SHOPS), files), "buyers", "bid", 1000, str(tmp_path), 1, 512, ())
    with pytest.raises(IngestRefused, match="together are linked to"):
        build(job)
    (tmp_path / "stage.duckdb").unlink()
    (tmp_path / "data.duckdb").unlink()
    monkeypatch.setattr(truths, "check", lambda con, job, staged: None)
    build(job)
    with duckdb.connect(str(tmp_path / "data.duckdb"), read_only=True) as con:
        assert con.execute("SELECT count(DISTINCT __unit) FROM lines WHERE pieces = 1").fetchall() == [(2,)]


def test_hidden_columns_can_be_a_link_and_are_not_kept(tmp_path: Path) -> None:
    text = SHOPS.replace(
        'order_nr = { type = "bigint", role = "key" }', 'order_nr = { type = "bigint", role = "hidden" }'
    )
    snapshot = taken_in(tmp_path, text)
    assert len(rows(snapshot, "SELECT pieces FROM lines")) == 3
    assert not rows(snapshot, "SELECT 1 FROM duckdb_columns() WHERE column_name = 'order_nr'")


def test_a_snapshot_of_single_columns_is_known_by_the_name_it_always_had() -> None:
    assert schema_digest(policy(POLICY)) == "bc9fcf705d23855f0e361857e3f012538c7cda740aa613d4e659074adbb10d0f"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('key = ["part", "maker"]', 'key = ["maker", "part"]'),
        ('key = ["part", "maker"]\nfan_out = { maker = 3 }', 'key = "part"\nfan_out = { maker = 3 }'),
        (
            '["shop", "order_nr"], to = ["orders.shop", "orders.nr"]',
            '["order_nr", "shop"], to = ["orders.shop", "orders.nr"]',
        ),
    ],
)
def test_another_key_or_link_needs_another_snapshot(old: str, new: str) -> None:
    assert old in SHOPS
    assert schema_digest(policy(SHOPS.replace(old, new))) != schema_digest(policy(SHOPS))
