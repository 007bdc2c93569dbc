"""The catalogue of a home."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from clinic_text import CLINIC, OPEN, changed

from gateway import policy_files
from gateway.catalog import Catalog
from gateway.errors import Misconfigured

DAY, LATER = date(2026, 6, 1), date(2027, 6, 1)
CASES = '[[case]]\nname = "no names"\nsql = "SELECT name FROM people"\nexpect = "refuse"\ncode = "column_hidden"\n'
LICENCE = """
licence = "L-2026-007"
operator = "acme"
datasets = ["clinic"]
purposes = ["actuarial"]
valid = { from = 2026-01-01, until = 2026-12-31 }
budget = { clinic = { epsilon = 2 } }
"""


def home(tmp_path: Path, **files: str) -> Path:
    """A folder of policies; `clinic__policy="..."` writes clinic/policy.toml."""
    folder = tmp_path / "policies"
    folder.mkdir()
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".toml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def good(tmp_path: Path, **more: str) -> Path:
    files = {
        "clinic__policy": CLINIC,
        "clinic__cases": CASES,
        "parks__policy": OPEN,
        "parks__cases": CASES,
        "licences__acme": LICENCE,
    }
    return home(tmp_path, **(files | more))


def refused(folder: Path) -> str:
    with pytest.raises(Misconfigured) as caught:
        Catalog.load(folder)
    return str(caught.value)


def test_a_home_is_read(tmp_path: Path) -> None:
    catalog = Catalog.load(good(tmp_path))
    assert sorted(catalog.policies) == ["clinic", "parks"]
    assert [case.code for case in catalog.cases["clinic"]] == ["column_hidden"]
    assert [licence.licence for licence in catalog.licences] == ["L-2026-007"]


def test_a_home_without_datasets_is_a_home(tmp_path: Path) -> None:
    catalog = Catalog.load(home(tmp_path))
    assert (dict(catalog.policies), dict(catalog.cases), catalog.licences) == ({}, {}, ())


def test_a_missing_folder_is_no_home(tmp_path: Path) -> None:
    assert "there is no such folder" in refused(tmp_path / "policies")


def test_an_operator_sees_open_datasets_and_licensed_ones_while_the_licence_is_valid(tmp_path: Path) -> None:
    catalog = Catalog.load(good(tmp_path))
    assert tuple(catalog.visible_to("acme", DAY)) == ("clinic", "parks")
    assert tuple(catalog.visible_to("acme", LATER)) == ("parks",)
    assert tuple(catalog.visible_to("stranger", DAY)) == ("parks",)
    assert [item.licence for item in catalog.licences_of("acme", DAY)] == ["L-2026-007"]
    assert catalog.licences_of("acme", LATER) == ()
    assert catalog.licences_of("Acme", DAY) == ()
    assert catalog.licence_for("acme", "clinic", DAY) is not None
    assert catalog.licence_for("acme", "parks", DAY) is None


@pytest.mark.parametrize("supply", ["shared", "withheld"])
def test_only_licensees_see_what_is_not_open(tmp_path: Path, supply: str) -> None:
    text = changed(('supply = "authorised"', f'supply = "{supply}"'))
    catalog = Catalog.load(good(tmp_path, clinic__policy=text))
    assert tuple(catalog.visible_to("acme", DAY)) == ("clinic", "parks")
    assert tuple(catalog.visible_to("stranger", DAY)) == ("parks",)


@pytest.mark.parametrize(
    ("supply", "seen"), [("shared", ("hospitals",)), ("authorised", ("hospitals",)), ("withheld", ())]
)
def test_everybody_sees_what_is_open_of_a_dataset_and_nothing_else(
    tmp_path: Path, supply: str, seen: tuple[str, ...]
) -> None:
    text = changed(('supply = "authorised"', f'supply = "{supply}"'), ('modes = ["dp"]', 'modes = ["dp", "open"]'))
    catalog = Catalog.load(good(tmp_path, clinic__policy=text))
    part = catalog.visible_to("stranger", DAY).get("clinic")
    assert (() if part is None else tuple(part.tables)) == seen
    if part is not None:
        assert (part.unit, part.release.dp, part.release.modes) == (None, None, ("open",))
        assert part.digest == catalog.policies["clinic"].digest
    assert "people" in catalog.visible_to("acme", DAY)["clinic"].tables


def test_the_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    folder = good(tmp_path, clinic__policy="x = 1", parks__cases="", licences__acme="y = 1")
    text = refused(folder)
    assert f"{folder}/clinic/policy.toml: x: there is no key `x` here" in text
    assert f"{folder}/parks/cases.toml: a policy without examples is refused" in text
    assert f"{folder}/licences: acme.toml: y: there is no key `y` here" in text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"other__policy": CLINIC, "other__cases": CASES}, "`clinic` lies in the folder `other`"),
        ({"empty__note": ""}, "empty/policy.toml: cannot be read"),
        ({"empty__note": ""}, "empty/cases.toml: a policy without examples is refused"),
        ({"clinic__cases": CASES.replace("column_hidden", "column_hiden")}, "there is no refusal `column_hiden`"),
        ({"clinic__policy": changed(("step = 1,", "step = 1e-11,"))}, "cannot be computed exactly"),
        ({"licences__acme": LICENCE.replace('["clinic"]', '["clinic", "gone"]')}, "there is no dataset `gone`"),
        ({"licences__acme": LICENCE.replace('["actuarial"]', '["fun"]')}, "none of its purposes"),
        ({"licences__acme": LICENCE.replace("epsilon = 2", "epsilon = 9")}, "above the dataset's own cap"),
        ({"licences__b": LICENCE.replace("007", "008")}, "is valid on the same days"),
    ],
)  # fmt: skip
def test_files_at_odds_are_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    assert words in refused(good(tmp_path, **files))


ANSWERED = '[[case]]\nname = "exact"\nsql = "SELECT COUNT(*) FROM people"\nexpect = "answer"\nmode = "aggregate"\n'


def offering(*modes: str) -> str:
    listed = ", ".join(f'"{mode}"' for mode in modes)
    return changed(('modes = ["dp"]', f"modes = [{listed}]"))


def told(folder: Path) -> str:
    return "\n".join(each.line for each in policy_files.judge_home(folder).told)


def test_a_mode_that_no_example_shows_is_told(tmp_path: Path) -> None:
    both = offering("dp", "aggregate")
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    found = told(good(before, clinic__policy=both, clinic__cases=CASES))
    assert "note: case: no example shows what is answered in mode `dp`" in found
    assert "note: case: no example shows what is answered in mode `aggregate`" in found
    found = told(good(after, clinic__policy=both, clinic__cases=CASES + ANSWERED))
    assert "mode `dp`; write" in found
    assert "mode `aggregate`; write" not in found


def test_a_refusal_shows_nothing_of_what_a_mode_answers(tmp_path: Path) -> None:
    cases = CASES + 'mode = "aggregate"\n'
    assert "answered in mode `aggregate`" in told(
        good(tmp_path, clinic__policy=offering("dp", "aggregate"), clinic__cases=cases)
    )


def test_a_share_of_a_budget_that_is_not_counted_is_told(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    words = "warning: licence `L-2026-007`: its share of dataset `clinic` is void"
    assert words in told(good(before, clinic__policy=offering("aggregate")))
    assert "is void" not in told(good(after, clinic__policy=offering("aggregate", "dp")))
    assert Catalog.load(before / "policies").licences


def test_a_share_of_a_purpose_that_the_policy_does_not_name_is_told(tmp_path: Path) -> None:
    parts = LICENCE.replace("epsilon = 2", "epsilon = 2, purposes = { fun = { epsilon = 1 } }")
    folder = good(tmp_path, licences__acme=parts.replace('["actuarial"]', '["actuarial", "fun"]'))
    assert "its share of dataset `clinic` for the purpose `fun` is void" in told(folder)


def test_folders_that_differ_in_letter_case_are_refused(tmp_path: Path) -> None:
    folder = good(tmp_path)
    (folder / "Clinic").mkdir(exist_ok=True)
    if len(list(folder.glob("[cC]linic"))) < 2:
        pytest.skip("this file system does not tell letter case apart")
    assert "differs from `Clinic` in letter case only" in refused(folder)


def test_a_licence_above_the_cap_goes_unnoticed_when_the_check_is_planted_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_files, "_at_odds", lambda *_: [])
    Catalog.load(good(tmp_path, licences__acme=LICENCE.replace("epsilon = 2", "epsilon = 9")))
