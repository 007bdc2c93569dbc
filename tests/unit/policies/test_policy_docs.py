"""What the documentation shows is what the product does."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from clinic_text import CLINIC, OPEN, changed

import policies
from gateway.catalog import Catalog
from gateway.policy_files import judge_home
from policies.findings import Finding
from policies.load import load_text
from policies.reference import filled

DOCS = Path(__file__).parents[3] / "docs"
HOW_TO = (DOCS / "how-to" / "write-a-policy.md").read_text(encoding="utf-8")
REFERENCE = DOCS / "reference" / "policy.md"
POLICY, CASES, LICENCE = re.findall(r"```toml\n(.*?)```", HOW_TO, re.DOTALL)
PROBLEM, NOTE = re.findall(r"```text\n(.*?)\n```", HOW_TO, re.DOTALL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The worked example in a folder of its own, which is then the current one."""
    folder = tmp_path / "policies"
    for name, text in (("library/policy", POLICY), ("library/cases", CASES), ("licences/planning", LICENCE)):
        file = folder / f"{name}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return Path("policies")


def test_the_worked_example_is_a_home(home: Path) -> None:
    catalog = Catalog.load(home)
    assert tuple(catalog.visible_to("city-planning", date(2026, 6, 1))) == ("library",)
    assert len(catalog.cases["library"]) == 4


def test_the_linter_says_of_the_worked_example_what_the_page_says(home: Path) -> None:
    assert [told.line for told in judge_home(home).told] == [NOTE]


def test_the_linter_says_of_a_mistake_what_the_page_says(home: Path) -> None:
    file = home / "library" / "policy.toml"
    file.write_text(changed(("range = [0, 90], bins", "range = [90, 0], bins"), text=POLICY), encoding="utf-8")
    assert [told.line for told in judge_home(home).told] == [PROBLEM]


def test_the_reference_lists_every_key_as_it_is() -> None:
    page = REFERENCE.read_text(encoding="utf-8")
    assert filled(page) == page, "run `python -m policies.reference docs/reference/policy.md`"


def test_no_table_of_keys_is_left_out_of_the_reference() -> None:
    documents = set(re.findall(r"class (\w+)Document\(Document\)", source("documents.py")))
    assert set(re.findall(r"<!-- keys: (\w+) -->", REFERENCE.read_text(encoding="utf-8"))) == documents


def test_the_reference_lists_every_finding_with_its_severity() -> None:
    texts = source("lint_release.py") + source("lint_columns.py") + source("lint_aggregate.py")
    said = set(re.findall(r'Finding\(\s*"(\w+)",\s*"(\w+)"', texts))
    listed = re.findall(r"^\| `(\w+)` \| (error|warning|note) \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(said) > 15
    assert {(code, severity) for severity, code in said} == set(listed)


def test_the_reference_says_how_the_digest_is_made() -> None:
    """An auditor can make it from the page alone, without our code."""

    def tagged(value: object) -> object:
        if isinstance(value, dict):
            return {key: tagged(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [tagged(inner) for inner in value]
        if isinstance(value, bool | str):
            return value
        if isinstance(value, int | Decimal):
            text = f"{Decimal(value):f}"
            return {"@": "number", "v": text.rstrip("0").rstrip(".") if "." in text else text}
        assert isinstance(value, date)
        return {"@": "date" if type(value) is date else "datetime", "v": value.isoformat()}

    for text in (POLICY, OPEN, CLINIC):
        plain = tagged(tomllib.loads(text, parse_float=Decimal))
        canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert load_text(text, "x").digest == hashlib.sha256(canonical.encode()).hexdigest()


def test_a_finding_reads_as_one_line() -> None:
    assert str(Finding("note", "x", "a.b", "this is so", "do that")) == "note: a.b: this is so; do that"


def source(name: str) -> str:
    return (Path(policies.__file__).parent / name).read_text(encoding="utf-8")
