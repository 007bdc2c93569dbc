"""What a good document becomes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from clinic_text import CLINIC, OPEN, changed

from policies.load import load_policy, load_text
from policies.model import Aggregate, Dp, Link
from policies.problems import PolicyError
from policies.types import Type


def test_the_whole_format_is_read() -> None:
    policy = load_text(CLINIC, "clinic")
    assert (policy.dataset, policy.version, policy.owner) == ("clinic", "2026.11", "Municipal Health Commission")
    assert policy.title == {"en": "Outpatient visits", "zh": "门诊就诊"}
    assert policy.purposes == ("public-health", "actuarial")
    assert (policy.supply, policy.grade) == ("authorised", "general-3")
    assert policy.unit is not None
    assert (policy.unit.table, policy.unit.column, policy.unit.count_max) == ("people", "pid", 2_000_000)
    assert policy.own_table("people")
    assert not policy.own_table("visits")
    assert policy.release.dp == Dp(
        accountant="zcdp",
        epsilon=Decimal(8),
        delta=Decimal("1e-9"),
        epsilon_per_query=Decimal("0.5"),
        epsilon_per_query_max=Decimal(1),
        delta_per_query=Decimal("5e-13"),
        groups_per_unit_max=8,
        units_min=10,
    )
    assert policy.release.aggregate == Aggregate(10, 2, Decimal("0.85"), Decimal(10), 5, 10)
    assert policy.tables["drugs"].link == Link(("visit",), "visits", ("visit_id",))
    assert policy.tables["visits"].columns["hospital"].joins == (("hospitals", "id"),)


def test_decimals_are_exact() -> None:
    policy = load_text(changed(("epsilon_per_query = 0.5", "epsilon_per_query = 0.1000000000000000055")), "clinic")
    assert policy.release.dp is not None
    assert policy.release.dp.epsilon_per_query == Decimal("0.1000000000000000055")


def test_dates_and_times_keep_their_kind() -> None:
    tables = load_text(CLINIC, "clinic").tables
    assert tables["people"].columns["birth_date"].range == (date(1920, 1, 1), date(2026, 12, 31))
    low, high = tables["drugs"].columns["given_at"].range or (None, None)
    assert (low, high) == (datetime(2020, 1, 1), datetime(2026, 12, 31, 23, 59, 59))  # noqa: DTZ001  # written so


def test_defaults_of_the_release_section() -> None:
    text = changed(
        ('accountant = "zcdp"\n', ""),
        ("epsilon_per_query_max = 1\n", ""),
        ("delta_per_query = 5e-13\n", ""),
        ("reuse_across_operators = true\n", ""),
        ("delta = 1e-9\n", "delta = 3e-9\n"),
        ("groups_per_unit_max = 8\nunits_min = 10\n", "groups_per_unit_max = 8\n"),
        ("units_min = 10\ndominance = { units = 2, share = 0.85 }\np_percent = 10\nrounding = 5\n", "units_min = 7\n"),
        ("difference_units_min = 10\n", ""),
    )
    release = load_text(text, "clinic").release
    assert release.reuse_across_operators
    assert release.dp is not None
    assert (release.dp.accountant, release.dp.units_min) == ("zcdp", 1)
    assert release.dp.epsilon_per_query_max == Decimal("0.5")
    assert release.dp.delta_per_query == Decimal("1.5e-12")
    assert release.aggregate == Aggregate(7, 2, Decimal("0.85"), Decimal(10), 5, 7)


def test_pure_needs_no_delta() -> None:
    text = changed(('"zcdp"', '"pure"'), ("delta = 1e-9\n", ""), ("delta_per_query = 5e-13\n", ""))
    dp = load_text(text, "clinic").release.dp
    assert dp is not None
    assert (dp.delta, dp.delta_per_query) == (0, 0)


def test_defaults_of_tables() -> None:
    tables = load_text(CLINIC, "clinic").tables
    assert tables["people"].rows_per_unit_max == 1
    assert tables["visits"].rows_per_unit_max == 50
    assert tables["hospitals"].rows_per_unit_max is None
    assert tables["hospitals"].key == ("id",)


def test_a_key_with_a_fan_out_is_not_made_the_unique_key() -> None:
    text = changed(("public = true\n", "public = true\nfan_out = { id = 3 }\n"))
    hospitals = load_text(text, "clinic").tables["hospitals"]
    assert hospitals.key == ()
    assert hospitals.fan_out == {"id": 3}


@pytest.mark.parametrize(
    ("table", "column", "step"),
    [
        ("people", "income", Decimal(1)),
        ("visits", "cost", Decimal("0.01")),
        ("drugs", "doses", Decimal(1)),
        ("drugs", "grams", Decimal(50) / 2**20),
        ("people", "birth_date", None),
        ("people", "sex", None),
    ],
)
def test_defaults_of_steps(table: str, column: str, step: Decimal | None) -> None:
    assert load_text(CLINIC, "clinic").tables[table].columns[column].step == step


@pytest.mark.parametrize(
    ("table", "column", "filter_", "aggregates"),
    [
        ("people", "pid", "none", {"count", "count_distinct"}),
        ("people", "name", "none", set()),
        ("people", "sex", "range", {"count", "count_distinct"}),
        ("people", "income", "none", {"count", "count_distinct", "sum", "avg"}),
        ("visits", "visit_id", "none", {"count", "count_distinct"}),
        (
            "visits",
            "cost",
            "none",
            {"count", "count_distinct", "sum", "avg", "var", "stddev", "median", "quantile"},
        ),
    ],
)
def test_defaults_of_grants(table: str, column: str, filter_: str, aggregates: set[str]) -> None:
    found = load_text(CLINIC, "clinic").tables[table].columns[column]
    assert found.filter == filter_
    assert found.aggregates == aggregates


@pytest.mark.parametrize(
    ("modes", "more"),
    [
        ('"dp", "aggregate"', {"var", "stddev", "median", "quantile"}),
        ('"aggregate"', set()),
        ('"dp", "open"', {"var", "stddev", "median", "quantile"}),  # `open` answers MAX, and yet grants it to no other
        ('"open", "aggregate"', set()),
    ],
)
def test_a_measure_that_says_nothing_serves_what_each_mode_answers(modes: str, more: set[str]) -> None:
    policy = load_text(changed(('modes = ["dp"]', f"modes = [{modes}]")), "clinic")
    assert policy.tables["visits"].columns["cost"].aggregates == {"count", "count_distinct", "sum", "avg"} | more
    assert policy.tables["people"].columns["sex"].aggregates == {"count", "count_distinct"}


def test_limits_of_cells_are_the_policys_or_large() -> None:
    rules = load_text(CLINIC, "clinic").release.aggregate
    assert rules is not None
    assert (rules.cells_max, rules.withheld_max) == (10_000, 1_000)
    text = changed(("rounding = 5", "rounding = 5\ncells_max = 40\nwithheld_max = 7"))
    named = load_text(text, "clinic").release.aggregate
    assert named is not None
    assert (named.cells_max, named.withheld_max) == (40, 7)


def test_a_policy_may_offer_exact_answers_alone() -> None:
    start, end = CLINIC.index("[release.dp]"), CLINIC.index("[release.aggregate]")
    policy = load_text(CLINIC[:start].replace('["dp"]', '["aggregate"]') + CLINIC[end:], "clinic")
    assert policy.release.modes == ("aggregate",)
    assert policy.release.dp is None


def test_a_dataset_of_public_tables_needs_no_unit() -> None:
    policy = load_text(OPEN, "parks")
    assert policy.unit is None
    assert policy.release.modes == ("open",)
    assert policy.tables["parks"].key == ("id",)
    assert "max" in policy.tables["parks"].columns["benches"].aggregates


def test_a_measure_of_text_can_only_be_counted() -> None:
    text = changed(("[tables.drugs.columns]\n", '[tables.drugs.columns]\nnote = { type = "text", role = "measure" }\n'))
    assert load_text(text, "clinic").tables["drugs"].columns["note"].aggregates == {"count", "count_distinct"}


def test_names_may_be_written_in_any_script() -> None:
    text = (
        CLINIC.replace("district ", '"区县" ')
        .replace("[tables.hospitals", '[tables."医院"')
        .replace("hospitals.id", "医院.id")
    )
    policy = load_text(text, "clinic")
    assert "区县" in policy.tables["people"].columns
    assert policy.tables["医院"].columns["level"].type == Type("text")


def test_a_policy_cannot_be_changed_afterwards() -> None:
    policy = load_text(CLINIC, "clinic")
    with pytest.raises(FrozenInstanceError):
        policy.supply = "open"
    with pytest.raises(TypeError):
        policy.tables["people"] = policy.tables["visits"]
    with pytest.raises(TypeError):
        policy.tables["people"].columns["x"] = 1


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b"\xef\xbb\xbf" + CLINIC.encode())
    assert load_policy(path).digest == load_text(CLINIC, "clinic").digest


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"format = ", "is not TOML"),
        (b"a = 1\na = 2\n", "is not TOML"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"a = 1e99999999999999999999999999", "holds a number that is out of every range"),
        (b"a = " + b"9" * 5000, "holds a number that is out of every range"),
        (b"#" * 4_000_001, "is larger than"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(data)
    with pytest.raises(PolicyError, match=words) as caught:
        load_policy(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.toml: cannot be read"):
        load_policy(tmp_path / "nowhere.toml")
