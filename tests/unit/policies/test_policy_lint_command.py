"""`bpk policy lint` tells all that `bpk serve` refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from clinic_text import CLINIC, OPEN
from typer.testing import CliRunner

from gateway.catalog import Catalog
from gateway.cli.policy import group
from gateway.errors import Misconfigured
from gateway.home import init

CASES = '[[case]]\nname = "no names"\nsql = "SELECT name FROM people"\nexpect = "refuse"\n'
LICENCE = """
licence = "L-1"
operator = "acme"
datasets = ["clinic"]
purposes = ["actuarial"]
valid = { from = 2026-01-01, until = 2026-12-31 }
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A home with a dataset and two licences, in order."""
    home = init(tmp_path / "home")
    write(home.root, "clinic/policy", CLINIC)
    write(home.root, "clinic/cases", CASES)
    write(home.root, "licences/acme", LICENCE)
    write(home.root, "licences/b", LICENCE.replace("L-1", "L-2").replace("acme", "b"))
    return home.root


def write(root: Path, name: str, text: str) -> None:
    path = root / "policies" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def lint(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(group, ["lint", *(str(each) for each in arguments)])
    return done.exit_code, done.output


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no policy": (lambda root: (root / "policies/clinic/policy.toml").unlink(), "clinic/policy.toml: error: cannot be"),
    "no examples": (
        lambda root: (root / "policies/clinic/cases.toml").unlink(),
        "clinic/cases.toml: error: a policy without examples is refused",
    ),
    "empty examples": (
        lambda root: write(root, "clinic/cases", ""),
        "clinic/cases.toml: error: a policy without examples is refused",
    ),
    "an unknown refusal": (
        lambda root: write(root, "clinic/cases", CASES + 'code = "no_such"\n'),
        "case.1.code: there is no refusal `no_such`",
    ),
    "a folder of another name": (
        lambda root: shutil.move(root / "policies/clinic", root / "policies/other"),
        "`clinic` lies in the folder `other`",
    ),
    "two licences of one number": (
        lambda root: write(root, "licences/b", LICENCE.replace("acme", "b")),
        "b.toml: licence: `acme.toml` has the number `L-1` already",
    ),
    "two licences at once": (
        lambda root: write(root, "licences/b", LICENCE.replace("L-1", "L-2")),
        "b.toml: valid: `acme.toml` is valid on the same days",
    ),
    "an unknown key": (lambda root: write(root, "licences/b", "shoe = 1"), "shoe: there is no key `shoe` here"),
    "an unknown dataset": (
        lambda root: write(root, "licences/acme", LICENCE.replace('"clinic"', '"gone"')),
        "there is no dataset `gone` in this home",
    ),
    "an end before the beginning": (
        lambda root: write(root, "licences/acme", LICENCE.replace("until = 2026", "until = 2025")),
        "acme.toml: valid: the first day `2026-01-01` is after the last",
    ),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_what_serve_refuses_the_linter_tells(root: Path, spoilt: str) -> None:
    assert lint("--home", root)[0] == 0
    spoil, words = SPOILT[spoilt]
    spoil(root)
    with pytest.raises(Misconfigured):
        Catalog.load(root / "policies")
    code, said = lint("--home", root)
    assert (code, words in said) == (1, True), said


def test_the_problems_of_all_files_are_told_at_once(root: Path) -> None:
    """A licence for a dataset whose policy cannot be read is not blamed for it."""
    for file, text in (("clinic/policy", "x = 1"), ("clinic/cases", ""), ("licences/acme", LICENCE + "y = 1")):
        write(root, file, text)
    found = json.loads(lint("--home", root, "--json")[1])["findings"]
    assert {each["severity"] for each in found} == {"error"}
    told = {(Path(each["file"]).name, each["place"]) for each in found}
    assert told >= {("policy.toml", "x"), ("cases.toml", ""), ("licences", "acme.toml: y")}
    assert "there is no dataset" not in str(found)


def test_a_home_in_order_is_said_so(tmp_path: Path) -> None:
    home = init(tmp_path / "home").root
    write(home, "parks/policy", OPEN)
    write(home, "parks/cases", CASES)
    assert lint("--home", home) == (0, "nothing to say: all is in order\n")


def test_each_file_is_judged_as_what_it_is(root: Path, tmp_path: Path) -> None:
    policies = root / "policies"
    assert lint(policies / "licences" / "b.toml") == (0, "nothing to say: all is in order\n")
    assert lint(policies / "clinic" / "cases.toml")[0] == 0
    assert lint(policies / "licences")[0] == 0
    for text, words in (
        (LICENCE + "shoe = 1", "there is no key `shoe`"),
        (CASES + 'code = "no_such"\n', "there is no refusal `no_such`"),
        (CLINIC.replace("format = 1", "format = 1\nshoe = 1"), "there is no key `shoe`"),
        ("= ", "is not TOML"),
    ):
        file = tmp_path / "anything.toml"
        file.write_text(text, encoding="utf-8")
        code, said = lint(file)
        assert (code, said.count("error"), words in said) == (1, 1, True), said


def test_a_folder_is_judged_with_its_examples(root: Path) -> None:
    folder = root / "policies" / "clinic"
    assert lint(folder)[0] == 0
    (folder / "cases.toml").unlink()
    assert "a policy without examples is refused" in lint(folder)[1]


def test_a_folder_without_any_policy_says_which_file_it_misses(tmp_path: Path) -> None:
    code, said = lint(tmp_path)
    assert (code, "policy.toml: error: cannot be read" in said) == (1, True)
