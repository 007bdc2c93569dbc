"""Each unit's block is fixed when it is first served, and the snapshot's tables are cut by it."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from policies.load import load_text
from sandbox.domain import Domain
from sandbox.ingest import ensure, known
from sandbox.ingest import snapshot as snapshots
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.snapshot import Snapshot
from sandbox.release import tally
from tests.ingest_builders import columns, rows
from tests.policy_head import head

RANGE = "[2020-01-01, 2021-12-31]"
POLICY = (
    head(count_max=1000, count_about=100).replace(
        "count_about = 100\n", 'count_about = 100\nblocks = { column = "came", by = "year" }\n'
    )
    + """
[tables.people]
[tables.people.columns]
pid  = { type = "integer", role = "unit" }
came = { type = "date", role = "dimension", range = RANGE, nullable = true }
age  = { type = "integer", role = "measure", range = [0, 99] }
[tables.visits]
link = { column = "pid", to = "people.pid" }
rows_per_unit_max = 5
[tables.visits.columns]
visit = { type = "integer", role = "key" }
pid   = { type = "integer", role = "unit", nullable = true }
[tables.drugs]
link = { column = "visit", to = "visits.visit" }
rows_per_unit_max = 9
[tables.drugs.columns]
visit = { type = "integer", role = "key" }
drug  = { type = "text", role = "dimension" }
[tables.places]
public = true
columns.id = { type = "integer", role = "key" }
"""
)
RENAMED = (
    POLICY.replace('column = "people.pid"', 'column = "people.ssn"')
    .replace('pid  = { type = "integer", role = "unit" }', 'ssn = { type = "text", role = "unit" }\npid = KEY')
    .replace('pid   = { type = "integer", role = "unit", nullable = true }', "pid = KEY")
    .replace("KEY", '{ type = "integer", role = "key" }')
)
"""The same people, who are told apart by another column."""
PEOPLE = "pid,came,age\n1,2020-03-01,11\n2,2021-12-31,12\n3,,13\n4,2019-12-31,14\n5,2022-01-01,15\n6,2020-12-31,16\n"
NATIONAL = "\n".join(f"{'x' + line[0] if line[0] != 'p' else 'ssn'},{line}" for line in PEOPLE.splitlines())
VISITS = "visit,pid\n21,1\n22,1\n23,2\n24,3\n25,77\n26,\n27,5\n"
DRUGS = "visit,drug\n21,a\n22,b\n23,c\n25,d\n26,e\n27,f\n99,g\n"
AGES = {"2020": [11, 16], "2021": [12], "rest": [13, 14, 15]}
TABLES = 'tables = { people = "people.csv", visits = "visits.csv", drugs = "drugs.csv", places = "places.csv" }'


class Home:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.serial = 0

    def take_in(self, people: str = PEOPLE, policy: str = POLICY, *, span: str = RANGE) -> Snapshot:
        """A new state of the data, served from now on."""
        self.serial += 1
        self.path.mkdir(exist_ok=True)
        (self.path / "domain.toml").write_text(f'[datasets.clinic]\n{TABLES}\nsnapshot = "{self.serial}"\n')
        for name, text in {"people": people, "visits": VISITS, "drugs": DRUGS, "places": "id\n1\n"}.items():
            (self.path / f"{name}.csv").write_text(text)
        made = load_text(policy.replace("RANGE", span), "policy.toml")
        return ensure.ensure(self.domain, {"clinic": made}, "clinic")

    @property
    def domain(self) -> Domain:
        return Domain.load(self.path)

    @property
    def known(self) -> Path:
        return known.path_of(self.domain, "clinic")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def ages(snapshot: Snapshot, *blocks: str) -> dict[str, list[object]]:
    return {
        block: [age for (age,) in rows(snapshot, f'SELECT age FROM "__{block}_people" ORDER BY age')]
        for block in blocks or AGES
    }


def test_every_row_lies_in_the_block_of_its_unit(home: Home) -> None:
    snapshot = home.take_in()
    assert ages(snapshot) == AGES
    unit = {block: [u for (u,) in rows(snapshot, f'SELECT __unit FROM "__{block}_people"')] for block in AGES}
    for table, column, expected in (
        ("visits", "visit", {"2020": [21, 22], "2021": [23], "rest": [24, 25, 27]}),
        ("drugs", "drug", {"2020": ["a", "b"], "2021": ["c"], "rest": ["d", "f"]}),
    ):
        for block, values in expected.items():
            found = rows(snapshot, f'SELECT {column}, __unit FROM "__{block}_{table}" ORDER BY 1')
            assert [value for value, _ in found] == values
            assert {u for _, u in found} <= set(unit[block]) or block == "rest"
    names = {str(name) for (name,) in rows(snapshot, "SELECT table_name FROM duckdb_tables()")}
    assert names == {f"__{block}_{table}" for block in AGES for table in ("people", "visits", "drugs")} | {"places"}
    assert "came" in columns(snapshot, "__2020_people")
    assert snapshot.report.tables[0].units == 6
    assert snapshot.manifest.units_known == (("2020", 2), ("2021", 1), ("rest", 4)), "one has visits and no row"


def test_a_unit_keeps_the_block_in_which_it_was_first_served(home: Home) -> None:
    home.take_in()
    corrected = PEOPLE.replace("1,2020-03-01,11", "1,2021-03-01,11").replace("3,,13", "3,2020-01-01,13")
    snapshot = home.take_in(corrected.replace("2,2021-12-31,12\n", "") + "8,2020-05-05,18\n")
    assert ages(snapshot) == {"2020": [11, 16, 18], "2021": [], "rest": [13, 14, 15]}
    back = home.take_in("pid,came,age\n2,2020-01-01,12\n")
    assert ages(back) == {"2020": [], "2021": [12], "rest": []}
    assert sum(units for _, units in back.manifest.units_known) == 8


def test_a_memory_that_forgets_is_noticed_by_that(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the test above: without the memory the corrected date moves its unit."""
    home.take_in()
    monkeypatch.setattr(ensure.known, "lay_out", lambda domain, dataset, build: False)
    monkeypatch.setattr(ensure.known, "units_min", lambda domain, dataset: 0)
    assert ages(home.take_in(PEOPLE.replace("1,2020-03-01,11", "1,2021-03-01,11")))["2021"] == [11, 12]


def test_a_longer_range_adds_blocks_and_moves_nobody(home: Home) -> None:
    home.take_in()
    snapshot = home.take_in(PEOPLE + "9,2022-02-02,19\n", span="[2018-01-01, 2023-12-31]")
    assert ages(snapshot, "2022", "2023", "2019", *AGES) == {"2022": [19], "2023": [], "2019": []} | AGES


def test_months_are_blocks_too(home: Home) -> None:
    months = POLICY.replace('by = "year"', 'by = "month"')
    snapshot = home.take_in(policy=months, span="[2020-12-01, 2021-01-31]")
    assert ages(snapshot, "2020-12", "2021-01", "rest") == {
        "2020-12": [16],
        "2021-01": [],
        "rest": [11, 12, 13, 14, 15],
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"span": "[2021-01-01, 2022-12-31]"}, "no block `2020` any more"),
        ({"policy": POLICY.replace('by = "year"', 'by = "month"')}, "were cut by year of `came`"),
        (
            {"policy": POLICY.replace("came", "joined"), "people": PEOPLE.replace("came", "joined")},
            "were cut by year of `came`",
        ),
        ({"policy": RENAMED, "people": NATIONAL}, "units `people.pid`"),
        (
            {"policy": POLICY.replace('pid  = { type = "integer"', 'pid  = { type = "bigint"')},
            "of units `people.pid` .integer.",
        ),
    ],
)
def test_units_are_cut_in_one_way_for_life(home: Home, change: dict[str, str], words: str) -> None:
    before = home.take_in()
    with pytest.raises(IngestRefused, match=words):
        home.take_in(**change)
    assert snapshots.published(home.domain.state, "clinic") == before


def test_without_what_is_known_nothing_more_is_taken_in(home: Home) -> None:
    home.take_in()
    older = home.path / "older"
    shutil.copyfile(home.known, older)
    home.take_in(PEOPLE + "9,2021-02-02,19\n")
    shutil.copyfile(older, home.known)
    with pytest.raises(IngestRefused, match="newest"):
        home.take_in()
    home.known.unlink()
    with pytest.raises(IngestRefused, match="put back"):
        home.take_in()


def test_also_where_the_snapshot_that_knew_more_is_gone_or_a_build_had_no_blocks(home: Home) -> None:
    """What is known is held against every snapshot that there was, not the one in force alone."""
    home.take_in()
    older = home.path / "older"
    shutil.copyfile(home.known, older)
    standing = home.take_in(PEOPLE + "9,2021-02-02,19\n")
    shutil.copyfile(older, home.known)
    standing.path.unlink()
    with pytest.raises(IngestRefused, match="newest"):
        home.take_in(PEOPLE + "9,2020-02-02,19\n")
    home.take_in(policy="\n".join(line for line in POLICY.splitlines() if not line.startswith("blocks")))
    with pytest.raises(IngestRefused, match="newest"):
        home.take_in(PEOPLE + "9,2020-02-02,19\n")


@pytest.mark.parametrize("garbage", [b"", b"no database", b"\0" * 20_000])
def test_what_is_no_memory_is_told_by_that(home: Home, garbage: bytes) -> None:
    home.take_in()
    home.known.write_bytes(garbage)
    with pytest.raises(IngestRefused, match="not what a build left there"):
        home.take_in()


def test_a_memory_that_knows_a_unit_twice_is_refused(home: Home) -> None:
    home.take_in()
    with duckdb.connect(str(home.known)) as con:
        con.execute("INSERT INTO block_of SELECT tag, '2021' FROM block_of WHERE block = '2020' LIMIT 1").fetchall()
    with pytest.raises(IngestRefused, match="twice"):
        home.take_in()


def test_a_tally_that_counts_blocks_asks_for_them(home: Home) -> None:
    """Also where nothing but the tally is left of the state."""
    home.take_in()
    shutil.rmtree(home.domain.state)
    home.known.unlink(missing_ok=True)
    home.domain.tally.parent.mkdir(parents=True, exist_ok=True)
    tally.write(home.domain.tally, tally.Tally({("clinic#2020", "zcdp"): (5, 0)}, {}))
    with pytest.raises(IngestRefused, match="put back"):
        home.take_in()


def test_another_seed_knows_nobody_and_is_refused(home: Home) -> None:
    home.take_in()
    (home.domain.state / "bounding.seed").unlink()
    with pytest.raises(IngestRefused, match=r"bounding\.seed"):
        home.take_in()


def test_a_build_that_ends_after_it_has_learned_is_made_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known may run ahead of the snapshot, never behind it."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    home.take_in()
    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "publish", stopped)
        with pytest.raises(KeyboardInterrupt):
            home.take_in(PEOPLE + "9,2021-02-02,19\n")
    assert ages(home.take_in(PEOPLE + "9,2020-02-02,19\n"))["2021"] == [12, 19]


def test_what_is_known_is_not_for_others(home: Home) -> None:
    home.take_in()
    assert home.known.stat().st_mode & 0o777 == 0o600
    assert home.known.parent.stat().st_mode & 0o777 == 0o700
    assert home.known.parent.parent == home.domain.tally.parent
