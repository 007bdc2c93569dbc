"""Licences."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from policies import licences
from policies.licences import load_licence_text, load_licences
from policies.model import BudgetShare
from policies.problems import PolicyError

GOOD = """
licence = "L-2026-007"
operator = "acme-actuaries"
datasets = ["clinic", "parks"]
purposes = ["actuarial"]
valid = { from = 2026-01-01, until = 2026-12-31 }
budget = { clinic = { epsilon = 2 } }
"""
NEXT = GOOD.replace("007", "008")


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_licence_is_read(tmp_path: Path) -> None:
    (licence,) = load_licences(write(tmp_path, any_name=GOOD))
    assert (licence.licence, licence.operator) == ("L-2026-007", "acme-actuaries")
    assert licence.datasets == ("clinic", "parks")
    assert licence.budget == {"clinic": BudgetShare(Decimal(2))}
    assert licence.valid_on(date(2026, 1, 1))
    assert licence.valid_on(date(2026, 12, 31))
    assert not licence.valid_on(date(2025, 12, 31))
    assert not licence.valid_on(date(2027, 1, 1))


def test_a_purpose_may_have_a_share_of_its_own() -> None:
    text = GOOD.replace("epsilon = 2", "epsilon = 2, purposes = { actuarial = { epsilon = 0.5 } }")
    share = load_licence_text(text, "l.toml").budget["clinic"]
    assert share == BudgetShare(Decimal(2), {"actuarial": Decimal("0.5")})


@pytest.mark.parametrize(
    ("purposes", "words"),
    [
        ("{ fun = { epsilon = 1 } }", "budget.clinic.purposes.fun: this licence does not name that purpose"),
        ("{ actuarial = { epsilon = 0 } }", "budget.clinic.purposes.actuarial.epsilon: an epsilon is above 0"),
        ("{ actuarial = { epsilon = 2.1 } }", "actuarial.epsilon: is above the operator's own share, which is 2"),
        ("{ actuarial = { } }", "budget.clinic.purposes.actuarial.epsilon: this key is missing"),
        ("{ actuarial = { epsilon = 1, delta = 1 } }", "actuarial.delta: there is no key `delta` here"),
        ("{ actuarial = 1 }", "budget.clinic.purposes.actuarial: a table"),
    ],
)
def test_a_purposes_share_that_contradicts_the_licence_is_refused_at_its_place(purposes: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_licence_text(GOOD.replace("epsilon = 2", f"epsilon = 2, purposes = {purposes}"), "l.toml")
    assert words in str(caught.value)


def test_a_licence_without_a_budget_has_the_datasets_own_cap() -> None:
    assert load_licence_text(GOOD[: GOOD.index("budget")], "l.toml").budget == {}


def test_an_editors_lock_file_is_no_licence(tmp_path: Path) -> None:
    (tmp_path / ".#acme.toml").symlink_to("nobody@nowhere")
    assert load_licences(tmp_path) == ()


def test_a_home_without_licences_has_none(tmp_path: Path) -> None:
    assert load_licences(tmp_path / "licences") == ()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('["actuarial"]', "[]", "purposes: at least 1"),
        ('["clinic", "parks"]', "[]", "datasets: at least 1"),
        ('["clinic", "parks"]', '["clinic", "clinic"]', "datasets: `clinic` is listed twice"),
        ('["clinic", "parks"]', '["a/b"]', "datasets.1: `a/b` is not a name"),
        ("until = 2026-12-31", "until = 2025-12-31", "valid: the first day `2026-01-01` is after the last"),
        ("until = 2026-12-31", 'until = "2026-12-31"', "valid.until: a date without quotes"),
        ("until = 2026-12-31", "until = 2026-12-31T10:00:00", "valid.until: a date without quotes"),
        (", until = 2026-12-31", "", "valid.until: this key is missing; last valid day"),
        ("{ clinic = ", "{ visits = ", "budget.visits: this licence does not cover that dataset"),
        ("epsilon = 2", "epsilon = 0", "budget.clinic.epsilon: an epsilon is above 0"),
        ("epsilon = 2", "epsilon = nan", "budget.clinic.epsilon: infinity and `nan`"),
        ("epsilon = 2", "epsilon = 2, delta = 1e-9", "budget.clinic.delta: there is no key `delta` here"),
        ('operator = "acme', 'operater = "acme', "operater: there is no key `operater` here; did you mean `operator`?"),
        ('"acme-actuaries"', '" "', "operator: this may not be empty"),
    ],
)  # fmt: skip
def test_a_licence_that_contradicts_itself_is_refused_at_its_place(old: str, new: str, words: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(PolicyError) as caught:
        load_licence_text(GOOD.replace(old, new), "l.toml")
    assert f"l.toml: {words}" in str(caught.value)


def test_two_licences_valid_at_once_for_one_operator_and_dataset_are_refused(tmp_path: Path) -> None:
    second = NEXT.replace("from = 2026-01-01, until = 2026-12-31", "from = 2026-12-31, until = 2027-12-31")
    with pytest.raises(PolicyError, match=r"b\.toml: valid: `a\.toml` is valid on the same days") as caught:
        load_licences(write(tmp_path, a=GOOD, b=second))
    assert len(caught.value.problems) == 2  # one for each dataset
    assert str(tmp_path) in str(caught.value)


def test_two_licences_at_once_go_unnoticed_when_the_check_is_planted_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(licences, "_conflicts", lambda *_: [])
    assert len(load_licences(write(tmp_path, a=GOOD, b=NEXT))) == 2


@pytest.mark.parametrize(
    "second",
    [
        NEXT.replace("from = 2026-01-01, until = 2026-12-31", "from = 2027-01-01, until = 2027-12-31"),
        NEXT.replace("acme-actuaries", "other-actuaries"),
        NEXT.replace('["clinic", "parks"]', '["visits"]').replace("clinic =", "visits ="),
    ],
)
def test_licences_that_do_not_meet_stand_side_by_side(tmp_path: Path, second: str) -> None:
    assert len(load_licences(write(tmp_path, a=GOOD, b=second))) == 2


def test_two_licences_of_one_number_are_refused(tmp_path: Path) -> None:
    second = GOOD.replace("acme-actuaries", "other")
    with pytest.raises(PolicyError, match=r"b\.toml: licence: `a\.toml` has the number `L-2026-007` already"):
        load_licences(write(tmp_path, a=GOOD, b=second))


def test_the_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    folder = write(tmp_path, a="x = 1", b="= ", c=GOOD)
    with pytest.raises(PolicyError) as caught:
        load_licences(folder)
    assert "a.toml: x: there is no key `x` here" in str(caught.value)
    assert "b.toml: is not TOML" in str(caught.value)
