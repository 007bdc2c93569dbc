"""What the linter says of a policy that is allowed, and what it keeps to itself."""

from __future__ import annotations

import re

import pytest
from clinic_text import CLINIC, OPEN, changed

from policies.lint import lint
from policies.lint_columns import has_public_keys
from policies.lint_release import count_noise
from policies.load import load_text

P, V, D = "tables.people.columns", "tables.visits.columns", "tables.drugs.columns"
PURE = (('"zcdp"', '"pure"'), ("delta = 1e-9\n", ""), ("delta_per_query = 5e-13\n", ""))
BOTH = (('modes = ["dp"]', 'modes = ["dp", "aggregate"]'),)
EXACT = (('modes = ["dp"]', 'modes = ["aggregate"]'),)
A = "release.aggregate"
UNITS_ONE = (("groups_per_unit_max = 8\nunits_min = 10", "groups_per_unit_max = 8\nunits_min = 1"),)

ODD = [
    ((("range = [0, 50]", "nullable = true"),), "warning", "range_missing", f"{D}.grams"),
    (
        (("sensitive = true }", 'sensitive = true, values = ["A", "B"] }'),),
        "warning",
        "sensitive_values_listed",
        f"{P}.diagnosis.values",
    ),
    (
        (("rows_per_unit_max = 50", "rows_per_unit_max = 5000"),),
        "warning",
        "rows_per_unit_high",
        "tables.visits.rows_per_unit_max",
    ),
    ((("epsilon = 8\n", "epsilon = 11\n"),), "warning", "epsilon_high", "release.dp.epsilon"),
    ((("delta = 1e-9\n", "delta = 6e-7\n"),), "warning", "delta_high", "release.dp.delta"),
    (
        (("epsilon_per_query_max = 1\n", "epsilon_per_query_max = 3\n"),),
        "note",
        "query_share_high",
        "release.dp.epsilon_per_query_max",
    ),
    ((("step = 1,", "step = 1e-11,"),), "error", "steps_too_many", f"{P}.income.step"),
    ((("range = [0, 50]", "range = [1e20, 100000000000000000001]"),), "error", "steps_too_many", f"{D}.grams.step"),
    (PURE, "warning", "keys_refused", f"{P}.diagnosis"),
    ((("delta_per_query = 5e-13\n", "delta_per_query = 1e-16\n"),), "warning", "keys_refused", f"{P}.diagnosis"),
    (UNITS_ONE, "warning", "units_min_one", "release.dp.units_min"),
    (((', via = ["year", "decade"]', ""),), "warning", "via_missing", f"{P}.birth_date"),
    ((('via = ["month"], ', ""),), "warning", "via_missing", f"{D}.given_at"),
    (
        (('name       = { type = "text",          role = "hidden" }', 'name = { type = "text", role = "dimension" }'),),
        "warning",
        "looks_identifying",
        f"{P}.name.role",
    ),
    ((("district  ", '"身份证" '),), "warning", "looks_identifying", f"{P}.身份证.role"),
    ((('role = "measure", range = [0, 50]', 'role = "dimension"'),), "note", "bins_missing", f"{D}.grams"),
    ((("bins = [0, 100, 1000, 20000]", "bins = [0, 100]"),), "note", "bins_too_narrow", f"{V}.cost.bins"),
    (
        (("bins = [0, 100, 1000, 20000]", "bins = [0, 20000, 30000]"),),
        "warning",
        "bins_outside_range",
        f"{V}.cost.bins",
    ),
    (
        (('"integer",       role = "key" }\npid', '"integer", role = "key", filter = "equality" }\npid'),),
        "warning",
        "key_filterable",
        f"{V}.visit_id.filter",
    ),
    (
        (("range = [0, 20000], ", "range = [0, 20000], total_per_unit_max = 1000000, "),),
        "note",
        "total_void",
        f"{V}.cost.total_per_unit_max",
    ),
    ((('supply = "authorised"', 'supply = "withheld"'),), "note", "supply_withheld", "supply"),
    (
        (("units_min = 10\ndominance", "units_min = 3\ndominance"),),
        "warning",
        "units_min_low",
        "release.aggregate.units_min",
    ),
    (
        (("difference_units_min = 10", "difference_units_min = 2"),),
        "warning",
        "difference_low",
        "release.aggregate.difference_units_min",
    ),
    ((("units_min = 10\ndominance", "units_min = 2\ndominance"),), "error", "units_min_two", f"{A}.units_min"),
    ((("share = 0.85", "share = 1"),), "warning", "dominance_void", f"{A}.dominance.share"),
    ((("units = 2, share", "units = 10, share"),), "note", "dominance_wide", f"{A}.dominance.units"),
    ((("p_percent = 10", "p_percent = 0"),), "warning", "p_percent_void", f"{A}.p_percent"),
    ((("rounding = 5", "rounding = 21"),), "note", "rounding_wide", f"{A}.rounding"),
    ((("rounding = 5", "cells_max = 5\nwithheld_max = 6"),), "warning", "withheld_many", f"{A}.withheld_max"),
    (BOTH, "note", "modes_mixed", "release.modes"),
    ((('modes = ["dp"]', 'modes = ["dp", "open"]'),), "note", "tables_opened", "release.modes"),
    (
        (*EXACT, ("range = [0, 20000],", 'range = [0, 20000], aggregates = ["sum", "median"],')),
        "note",
        "aggregates_unanswered",
        f"{V}.cost.aggregates",
    ),
    ((), "note", "section_unused", "release.aggregate"),
    ((), "note", "keys_private", f"{P}.diagnosis"),
]


@pytest.mark.parametrize(("changes", "severity", "code", "place"), ODD)
def test_what_is_odd_is_said_at_its_place(
    changes: tuple[tuple[str, str], ...], severity: str, code: str, place: str
) -> None:
    found = [(item.severity, item.code, item.place) for item in lint(load_text(changed(*changes), "clinic"))]
    assert (severity, code, place) in found


@pytest.mark.parametrize(("changes", "severity", "code", "place"), ODD)
def test_findings_are_a_stewards_words(
    changes: tuple[tuple[str, str], ...], severity: str, code: str, place: str
) -> None:
    for item in lint(load_text(changed(*changes), "clinic")):
        assert not re.search(r"Decimal|\brho\b|L1|L2|sigma|BIGINT|overflow|sensitivity", item.message), item
        assert not item.message.endswith(".")
        assert not item.message[0].isupper()


def test_a_delta_under_pure_pays_for_private_keys() -> None:
    with_delta = PURE[:1]
    assert "keys_refused" not in {item.code for item in lint(load_text(changed(*with_delta), "clinic"))}


def test_the_clinics_policy_has_no_warnings() -> None:
    assert {(item.severity, item.code) for item in lint(load_text(CLINIC, "clinic"))} == {
        ("note", "keys_private"),
        ("note", "section_unused"),
    }


def test_a_group_of_a_listed_sensitive_value_is_odd_only_where_every_group_is_answered() -> None:
    listed = ("sensitive = true }", 'sensitive = true, values = ["A", "B"] }')
    with_noise, exact = (lint(load_text(changed(listed, *modes), "clinic")) for modes in (BOTH, EXACT))
    assert "sensitive_values_listed" in {item.code for item in with_noise}
    assert "sensitive_values_listed" not in {item.code for item in exact}


def test_exact_answers_alone_have_no_warnings() -> None:
    start, end = CLINIC.index("[release.dp]"), CLINIC.index("[release.aggregate]")
    text = changed(*EXACT, text=CLINIC[:start] + CLINIC[end:])
    assert lint(load_text(text, "clinic")) == ()


def test_the_gravest_comes_first() -> None:
    severities = [item.severity for item in lint(load_text(changed(("step = 1,", "step = 1e-11,"), *PURE), "clinic"))]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert severities[0] == "error"


def test_a_licence_for_public_tables_is_odd_and_an_open_dataset_is_not() -> None:
    assert lint(load_text(OPEN, "parks")) == ()
    found = lint(load_text(changed(('supply = "open"', 'supply = "authorised"'), text=OPEN), "parks"))
    assert [(item.severity, item.code) for item in found] == [("warning", "licence_for_public")]


def test_the_noise_that_is_named_is_the_one_that_the_contract_promises() -> None:
    dp = load_text(CLINIC, "clinic").release.dp
    assert dp is not None
    assert count_noise(dp, 1) == pytest.approx(11.5, abs=0.05)
    assert count_noise(dp, 50) == pytest.approx(50 * count_noise(dp, 1))
    pure = load_text(changed(*PURE), "clinic").release.dp
    assert pure is not None
    assert count_noise(pure, 1) == pytest.approx(2.83, abs=0.01)


@pytest.mark.parametrize(
    ("table", "column", "public"),
    [
        ("people", "sex", True),
        ("people", "birth_date", True),
        ("people", "diagnosis", False),
        ("visits", "visit_date", True),
        ("visits", "cost", True),
        ("drugs", "paid", True),
        ("drugs", "given_at", True),
        ("drugs", "doses", True),
        ("drugs", "grams", False),
    ],
)
def test_groups_that_are_known_beforehand(table: str, column: str, public: bool) -> None:
    assert has_public_keys(load_text(CLINIC, "clinic").tables[table].columns[column]) is public
