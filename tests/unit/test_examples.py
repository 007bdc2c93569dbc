"""The datasets that ship: their policies are read, their data fit them, and the generator keeps its promises."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest

from policies.cases import load_cases
from policies.examples.clinic.generate import IDENTITIES, check_digit, generate
from policies.licences import load_licences
from policies.load import load_policy
from sandbox.domain import Domain
from sandbox.ingest.ensure import ensure
from tests.ingest_builders import columns, rows

EXAMPLES = Path(__file__).parents[2] / "policies" / "examples"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as policies/examples/README.md describes it, with fewer people in the clinic."""
    home = tmp_path_factory.mktemp("home")
    shutil.copy(EXAMPLES / "domain.toml", home)
    (home / "data" / "income").mkdir(parents=True)
    for name in ("tax_units.parquet", "states.csv"):
        shutil.copy(EXAMPLES / "income" / name, home / "data" / "income")
    generate(home / "data" / "clinic", people=2000, seed=1)
    return home


@pytest.mark.parametrize("dataset", ["income", "clinic"])
def test_policy_and_cases_are_read_and_cases_show_both_verdicts(dataset: str) -> None:
    assert load_policy(EXAMPLES / dataset / "policy.toml").dataset == dataset
    verdicts = Counter(case.expect for case in load_cases(EXAMPLES / dataset / "cases.toml"))
    assert verdicts["answer"] >= 5
    assert verdicts["refuse"] >= 5


@pytest.mark.parametrize("dataset", ["income", "clinic"])
def test_a_source_is_named(dataset: str) -> None:
    assert "CC0" in (EXAMPLES / dataset / "SOURCE.md").read_text(encoding="utf-8")


def test_the_income_data_fit_their_policy(home: Path) -> None:
    policy = load_policy(EXAMPLES / "income" / "policy.toml")
    snapshot = ensure(Domain.load(home), {"income": policy}, "income")
    units, states = snapshot.report.tables
    assert (units.rows_kept, units.units) == (280_005, 96_320)
    assert "household" not in columns(snapshot, "tax_units")
    assert states.rows_kept == 51
    assert all(column.outside_values == column.nulls_not_allowed == 0 for column in units.columns)
    codes = rows(
        snapshot, "SELECT count(*) FROM tax_units t JOIN states s ON s.code = t.state AND s.fips = t.state_fips"
    )
    assert codes == [(280_005,)]
    most = policy.unit.count_max if policy.unit else 0
    assert units.units <= most


def test_the_clinic_data_fit_their_policy_and_show_what_a_report_is_for(home: Path) -> None:
    policy = load_policy(EXAMPLES / "clinic" / "policy.toml")
    snapshot = ensure(Domain.load(home), {"clinic": policy}, "clinic")
    people, visits, hospitals = snapshot.report.tables
    assert (people.rows_kept, hospitals.rows_kept) == (2000, 24)
    assert set(columns(snapshot, "居民")) == {"__unit", "性别", "区县", "出生日期", "参保类型", "年收入"}
    assert visits.rows_without_unit > 0
    assert visits.units_above_rows_per_unit_max
    elsewhere = "SELECT count(DISTINCT __unit) FROM 就诊 WHERE __unit NOT IN (SELECT __unit FROM 居民)"
    assert rows(snapshot, elsewhere)[0][0]
    assert snapshot.public_keys["医院"]["等级"] == ("一级", "三级", "二级")


def test_licences_and_policies_agree() -> None:
    licences = load_licences(EXAMPLES / "licences")
    for licence in licences:
        assert licence.operator == "demo-operator"
        for dataset in licence.datasets:
            assert set(licence.purposes) <= set(load_policy(EXAMPLES / dataset / "policy.toml").purposes)
    assert {dataset for licence in licences for dataset in licence.datasets} == {"income", "clinic"}


def test_the_generator_repeats_itself_and_another_seed_differs(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(tmp_path / folder, people=1000, seed=seed)
    for name in ("people.csv", "visits.csv", "hospitals.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "people.csv").read_bytes() != (tmp_path / "c" / "people.csv").read_bytes()


def test_identity_numbers_are_distinct_well_formed_and_nobodys(tmp_path: Path) -> None:
    generate(tmp_path, people=5000, seed=3)
    with (tmp_path / "people.csv").open(encoding="utf-8", newline="") as file:
        people = list(csv.DictReader(file))
    numbers = [person["身份证号"] for person in people]
    assert len(set(numbers)) == 5000
    for person in people:
        number = person["身份证号"]
        assert len(number) == 18
        assert number[17] == check_digit(number[:17])
        assert number.startswith("5199")
        assert number[6:14] == person["出生日期"].replace("-", "")
        assert person["性别"] in ("未知", "女男"[int(number[16]) % 2])


def test_the_check_digit_is_the_standards() -> None:
    """The example in GB 11643-1999 itself."""
    assert check_digit("11010519491231002") == "X"
    assert check_digit("44052418800101001") == "4"


def test_identities_do_not_repeat_for_any_size_that_may_be_asked() -> None:
    import math

    from policies.examples.clinic.generate import PEOPLE_MAX, STRIDE

    assert math.gcd(STRIDE, IDENTITIES) == 1
    assert IDENTITIES > 2 * PEOPLE_MAX


def test_visits_are_skewed_far_above_the_cap(tmp_path: Path) -> None:
    generate(tmp_path, people=5000, seed=1)
    with (tmp_path / "visits.csv").open(encoding="utf-8", newline="") as file:
        visits = Counter(row["身份证号"] for row in csv.DictReader(file) if row["身份证号"])
    counts = sorted(visits.values())
    assert counts[len(counts) // 2] <= 3
    assert counts[-1] > 100


def test_a_number_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="from 1 to"):
        generate(tmp_path / "none", people=0, seed=1)
    assert not (tmp_path / "none").exists()
