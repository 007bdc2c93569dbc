"""What a snapshot holds, what is refused, and what the custodian is told."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.snapshot import published
from sandbox.ingest.words import lines
from tests.ingest_builders import (
    DOMAIN,
    FILES,
    POLICY,
    columns,
    one_table,
    one_table_home,
    policy,
    rows,
    take_in,
    write_home,
    write_parquet,
)


def refusal(home: Path, text: str = POLICY) -> str:
    with pytest.raises(IngestRefused) as caught:
        take_in(home, text)
    assert "Secretname" not in caught.value.message
    return caught.value.message


def test_a_snapshot_holds_listed_columns_and_a_unit_id_in_place_of_the_unit(tmp_path: Path) -> None:
    snapshot = take_in(write_home(tmp_path))
    assert columns(snapshot, "people") == {"__unit": "INTEGER", "sex": "VARCHAR", "income": "DOUBLE"}
    assert columns(snapshot, "visits") == {
        "__unit": "INTEGER", "visit": "INTEGER", "hospital": "INTEGER", "cost": "DECIMAL(10,2)",
    }  # fmt: skip
    assert columns(snapshot, "hospitals") == {"id": "INTEGER", "level": "VARCHAR"}


def test_hidden_columns_are_nowhere_in_the_bytes(tmp_path: Path) -> None:
    snapshot = take_in(write_home(tmp_path))
    for file in snapshot.path.parent.iterdir():
        assert b"Secretname" not in file.read_bytes()
    names = {file.name for file in snapshot.path.parent.iterdir()}
    assert names == {"data.duckdb", "manifest.json", "public.json", "report.json"}


def test_unit_ids_are_dense_over_the_people_and_those_that_only_visits_know(tmp_path: Path) -> None:
    snapshot = take_in(write_home(tmp_path))
    ids = rows(snapshot, "SELECT DISTINCT __unit FROM (SELECT __unit FROM people UNION SELECT __unit FROM visits)")
    assert sorted(ids) == [(0,), (1,), (2,), (3,)]


def test_rows_without_a_unit_or_without_a_partner_are_dropped(tmp_path: Path) -> None:
    snapshot = take_in(write_home(tmp_path))
    assert sorted(rows(snapshot, "SELECT visit FROM visits")) == [(11,), (12,), (13,), (14,)]
    assert sorted(rows(snapshot, "SELECT drug FROM drugs")) == [("a",), ("b",), ("c",)]
    of = {table.table: table for table in snapshot.report.tables}
    assert (of["visits"].rows_read, of["visits"].rows_kept, of["visits"].rows_without_unit) == (5, 4, 1)
    assert (of["drugs"].rows_read, of["drugs"].rows_kept, of["drugs"].rows_without_partner) == (5, 3, 2)


def test_a_row_of_a_longer_path_has_the_unit_of_its_partner(tmp_path: Path) -> None:
    snapshot = take_in(write_home(tmp_path))
    mismatches = rows(snapshot, "SELECT * FROM drugs d JOIN visits v USING (visit) WHERE d.__unit <> v.__unit")
    assert mismatches == []


def test_unit_ids_do_not_follow_the_order_of_the_file(tmp_path: Path) -> None:
    people = "pid,name,sex,income\n" + "".join(f"{n},x,F,{n / 10}\n" for n in range(1000))
    snapshot = take_in(write_home(tmp_path, people=people, visits="visit,pid,hospital,cost\n"))
    order = [n for (n,) in rows(snapshot, "SELECT __unit FROM people ORDER BY income")]
    assert sorted(order) == list(range(1000))
    assert order != sorted(order)
    ascents = sum(left < right for left, right in pairwise(order))
    assert 400 < ascents < 600


def test_tables_are_stored_in_order_of_the_unit(tmp_path: Path) -> None:
    home = one_table_home(tmp_path, "t", ["t.parquet"])
    write_parquet(tmp_path / "t.parquet", "SELECT (hash(range) % 900)::INT AS u, range::INT AS x FROM range(400000)")
    snapshot = take_in(home, one_table("t", {"x": "integer"}))
    descents = "SELECT count(*) FROM (SELECT __unit - lag(__unit) OVER (ORDER BY rowid) AS step FROM t) WHERE step < 0"
    assert rows(snapshot, descents) == [(0,)]


def test_the_file_is_read_only_and_checkpointed(tmp_path: Path) -> None:
    snapshot = take_in(write_home(tmp_path))
    assert snapshot.path.stat().st_mode & 0o777 == 0o444
    assert not Path(f"{snapshot.path}.wal").exists()
    assert (snapshot.path.parent / "report.json").stat().st_mode & 0o777 == 0o600


def test_the_report_counts_and_names_no_value(tmp_path: Path) -> None:
    people = "pid,name,sex,income\n1,x,F,4711.5\n2,x,D,-4711.5\n3,x,,inf\n4,x,M,nan\n"
    visits = "visit,pid,hospital,cost\n1,1,7,1\n2,1,7,1\n3,1,7,1\n4,2,7,999.5\n"
    snapshot = take_in(write_home(tmp_path, people=people, visits=visits, drugs="visit,drug\n"))
    of = {(table.table, column.column): column for table in snapshot.report.tables for column in table.columns}
    income, sex = of["people", "income"], of["people", "sex"]
    assert (income.below_range, income.above_range, income.not_finite, income.nulls_not_allowed) == (1, 1, 2, 2)
    assert (sex.outside_values, sex.nulls_not_allowed) == (1, 1)
    assert of["visits", "cost"].above_range == 1
    assert next(t for t in snapshot.report.tables if t.table == "visits").units_above_rows_per_unit_max == 1
    text = "\n".join(lines(snapshot.report))
    assert (
        "income: 2 null though not nullable, 2 not finite, read as null, 1 below the range, 1 above the range" in text
    )
    assert not any(value in text for value in ("4711", "999", "Secretname"))
    assert rows(snapshot, "SELECT count(*) FROM people WHERE income IS NULL") == [(2,)]


def test_public_keys_are_in_the_manifest(tmp_path: Path) -> None:
    text = POLICY.replace(
        'level = { type = "text", role = "dimension" }',
        'level = { type = "text", role = "dimension" }\nopened = { type = "date", role = "dimension" }\n'
        'fee = { type = "decimal(6,2)", role = "measure" }',
    )
    hospitals = "id,level,opened,fee\n8,county,2001-02-03,1.5\n7,,2001-02-03,2\n9,city,,\n"
    snapshot = take_in(write_home(tmp_path, hospitals=hospitals), text)
    again = published(tmp_path / "state" / "domain", "clinic")
    assert again == snapshot
    keys = snapshot.public_keys["hospitals"]
    assert keys["id"] == (7, 8, 9)
    assert keys["level"] == ("city", "county", None)
    assert [str(value) for value in keys["opened"]] == ["2001-02-03", "None"]
    assert [str(value) for value in keys["fee"]] == ["1.50", "2.00", "None"]
    assert set(snapshot.public_keys) == {"hospitals"}


def test_a_value_that_does_not_fit_is_told_by_column_and_count_never_by_value(tmp_path: Path) -> None:
    home = one_table_home(tmp_path, "t", ["t.csv"])
    (tmp_path / "t.csv").write_text("u,x\n1,Secretname\n2,Secretname\n3,4\n")
    told = refusal(home, one_table("t", {"x": "integer"}))
    assert (
        "column `x` of table `t` is declared `integer`, but 2 rows of file `t.csv` hold values that do not fit" in told
    )
    assert published(tmp_path / "state" / "domain", "clinic") is None


def test_a_kind_of_value_that_cannot_be_read_as_declared_is_told(tmp_path: Path) -> None:
    home = one_table_home(tmp_path, "t", ["t.parquet"])
    write_parquet(tmp_path / "t.parquet", "SELECT 1 AS u, [1, 2] AS x")
    assert "column `x` of table `t` is declared `text`, but file `t.parquet`" in refusal(
        home, one_table("t", {"x": "text"})
    )


def test_missing_columns_are_named(tmp_path: Path) -> None:
    told = refusal(write_home(tmp_path, people="pid,name\n1,Secretname1\n"))
    assert "lacks `sex`, `income`" in told


def test_extra_columns_do_not_exist(tmp_path: Path) -> None:
    people = "shoe,pid,sex,income\nSecretname,1,F,2\n"
    snapshot = take_in(write_home(tmp_path, people=people))
    assert set(columns(snapshot, "people")) == {"__unit", "sex", "income"}
    assert b"Secretname" not in snapshot.path.read_bytes()


def test_a_unit_with_two_rows_where_one_is_declared_is_refused(tmp_path: Path) -> None:
    told = refusal(write_home(tmp_path, people="pid,name,sex,income\n1,x,F,1\n1,x,F,2\n"))
    assert "column `pid` of table `people` is the unit, with one row each" in told
    assert "1 value stands on more than one row" in told


def test_a_public_key_on_two_rows_is_refused(tmp_path: Path) -> None:
    told = refusal(write_home(tmp_path, hospitals="id,level\n7,a\n7,b\n8,c\n"))
    assert "column `id` of table `hospitals` is the declared key, but 1 value" in told


def test_a_link_target_on_two_rows_is_refused(tmp_path: Path) -> None:
    told = refusal(write_home(tmp_path, visits="visit,pid,hospital,cost\n1,1,7,1\n1,2,7,1\n"))
    assert "column `visit` of table `visits` is linked to by table `drugs`" in told


def test_a_fan_out_that_does_not_hold_is_refused(tmp_path: Path) -> None:
    text = POLICY.replace('key = "id"', 'key = "id"\nfan_out = { level = 2 }')
    hospitals = "id,level\n" + "".join(f"{n},county\n" for n in range(3))
    assert "`fan_out` 2" in refusal(write_home(tmp_path / "a", hospitals=hospitals), text)
    take_in(write_home(tmp_path / "b", hospitals="id,level\n7,county\n8,county\n"), text)


def test_more_units_than_declared_are_refused(tmp_path: Path) -> None:
    people = "pid,name,sex,income\n" + "".join(f"{n},x,F,1\n" for n in range(1001))
    assert "`count_max`" in refusal(write_home(tmp_path, people=people))


def test_a_table_without_an_entry_is_named_and_one_too_many_as_well(tmp_path: Path) -> None:
    fewer = DOMAIN.replace(', hospitals = "hospitals.csv"', "")
    assert "table `hospitals` of the policy has no entry" in refusal(write_home(tmp_path / "a", fewer))
    more = DOMAIN.replace("tables = {", 'tables = { shoes = "people.csv",')
    assert "table `shoes` in domain.toml" in refusal(write_home(tmp_path / "b", more))


def test_globs_lists_and_kinds_of_files_mix(tmp_path: Path) -> None:
    home = one_table_home(tmp_path, "t", ["part-*.parquet", "more.csv", "one.duckdb"])
    write_parquet(tmp_path / "part-1.parquet", "SELECT 1 AS u, 10::BIGINT AS x")
    write_parquet(tmp_path / "part-2.parquet", "SELECT 11::SMALLINT AS x, 2 AS u, 'y' AS extra")
    (tmp_path / "more.csv").write_bytes("\ufeffx,u\r\n12,3\r\n13,3\r\n".encode())
    with duckdb.connect(str(tmp_path / "one.duckdb")) as con:
        con.execute("CREATE TABLE t AS SELECT 4 AS u, 14.0::DOUBLE AS x")
    snapshot = take_in(home, one_table("t", {"x": "integer"}))
    assert sorted(rows(snapshot, "SELECT x FROM t")) == [(10,), (11,), (12,), (13,), (14,)]


def test_packed_csv_and_tabs_are_read(tmp_path: Path) -> None:
    import gzip

    home = one_table_home(tmp_path, "t", ["a.csv.gz", "b.tsv"])
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"u,x\n1,5\n"))
    (tmp_path / "b.tsv").write_text("x\tu\n6\t1\n")
    assert sorted(rows(take_in(home, one_table("t", {"x": "integer"})), "SELECT x FROM t")) == [(5,), (6,)]


def test_chinese_names_and_odd_names_of_files_are_read(tmp_path: Path) -> None:
    name = "居民 [1]'s.csv"
    home = one_table_home(tmp_path, "t", [name])
    (tmp_path / name).write_text("u,姓\n1,王\n", encoding="utf-8")
    assert rows(take_in(home, one_table("t", {'"姓"': "text"})), "SELECT 姓 FROM t") == [("王",)]


def test_a_symbolic_link_to_a_readable_file_is_a_file(tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text(FILES["people.csv"])
    home = write_home(tmp_path / "home")
    (home / "people.csv").unlink()
    (home / "people.csv").symlink_to(outside)
    assert len(rows(take_in(home), "SELECT * FROM people")) == 3


def test_a_big_number_of_units_has_a_wider_id(tmp_path: Path) -> None:
    text = POLICY.replace("count_max = 1000", "count_max = 3000000000")
    assert columns(take_in(write_home(tmp_path), text), "people")["__unit"] == "BIGINT"


def test_the_schema_digest_counts_what_the_bytes_depend_on() -> None:
    from sandbox.ingest.job import schema_digest

    first = schema_digest(policy())
    assert schema_digest(policy(POLICY.replace("range = [0, 500]", "range = [0, 600]"))) == first
    assert schema_digest(policy(POLICY.replace("epsilon = 8", "epsilon = 7"))) == first
    assert schema_digest(policy(POLICY.replace("decimal(10,2)", "decimal(10,3)"))) != first
    assert schema_digest(policy(POLICY.replace("count_max = 1000", "count_max = 900"))) != first


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_told_as_that(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    (home / "people.csv").chmod(0)
    assert "permission denied" in refusal(home)
