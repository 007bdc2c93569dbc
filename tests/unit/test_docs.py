"""The documentation is true of the tree: links, proof pages, properties, commands, numbers."""

from __future__ import annotations

import ast
import math
import re
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gateway.catalog import Catalog
from gateway.cli.command import app
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT, rho_for, text, units_down

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "policies/examples/**/*.md")
    for path in ROOT.glob(pattern)
)
GUARANTEES = ROOT / "docs" / "explanation" / "guarantees"
MOVES_PRIVACY_COST = [
    path
    for place in ("policies", "sandbox/deadlines.py", "sandbox/disclosure", "sandbox/relational", "sandbox/release")
    for path in sorted((ROOT / place).rglob("*.py") if (ROOT / place).is_dir() else [ROOT / place])
    if "examples" not in path.parts
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked() -> list[str]:
    """Files that git knows; none where the tree is not a checkout."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    return [each for each in done.stdout.decode().split("\0") if each and (ROOT / each).is_file()]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    plain = [re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def dead_links(page: Path) -> list[str]:
    found = []
    for target in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Head line\n[a](#head-line) [b](other.md) [c](#nowhere) [d](https://example.org/x)\n", "utf-8")
    assert dead_links(page) == ["other.md", "#nowhere"]


def test_every_page_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "docs" / "README.md", ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = (t.partition("#")[0] for t in LINK.findall(page.read_text("utf-8")) if not re.match(r"[a-z]+:", t))
        waiting += [there for t in targets if t and (there := (page.parent / t).resolve()).is_file()]
    assert {name(page) for page in PAGES if "docs" in page.parts} <= {name(page) for page in seen}


# Guarantees


def docstrings(file: Path) -> list[tuple[str, str]]:
    """(where, text) of each docstring of a module."""
    tree = ast.parse(file.read_text("utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [(f"{name(file)}:{getattr(node, 'name', '')}", ast.get_docstring(node) or "") for node in nodes]


def sources(docstring: str) -> list[str]:
    """The pages of a `Source:` line; a bare name lies in the folder of the one before it."""
    line = re.search(r"^Source: (.+)$", docstring, re.MULTILINE)
    files = re.findall(r"[\w/-]+\.md", line[1]) if line else []
    return [file if "/" in file else f"docs/explanation/guarantees/{file}" for file in files]


def test_every_source_of_a_guarantee_is_a_page() -> None:
    cited = {page for file in MOVES_PRIVACY_COST for _, words in docstrings(file) for page in sources(words)}
    assert len(cited) >= 8
    assert [page for page in sorted(cited) if not (ROOT / page).is_file()] == []


def test_every_proof_is_cited_by_the_code_that_it_is_about() -> None:
    cited = {Path(p).name for file in MOVES_PRIVACY_COST for _, words in docstrings(file) for p in sources(words)}
    assert {page.name for page in GUARANTEES.glob("*.md")} - {"README.md"} <= cited


UNPROVED = {
    "sandbox/relational/derive.py:derive",  # facts, by one rule a node: each rule that joins cites its page
    "sandbox/relational/rules/tables.py:scan",  # what ingest checks: docs/how-to/bring-your-data.md
    "sandbox/relational/rules/tables.py:public",
    "sandbox/release/noise.py:add_noise",  # the module's docstring cites the page
    "sandbox/release/store.py:accept",  # counting, not a mechanism
    "sandbox/disclosure/primary.py:primary",  # the module's docstring cites the page
}


def test_code_that_moves_privacy_cost_cites_its_argument() -> None:
    silent = {
        where
        for file in MOVES_PRIVACY_COST
        for where, words in docstrings(file)
        if "Guarantee:" in words and not sources(words)
    }
    assert silent == UNPROVED


# Security properties


def rows() -> list[tuple[str, str]]:
    page = (ROOT / "docs" / "explanation" / "security-properties.md").read_text("utf-8")
    return re.findall(r"^\| [^|]+ \| `([^`]+)` \| `([^`]+)` \|$", page, re.MULTILINE)


def test_there_are_properties_and_none_is_malformed() -> None:
    page = (ROOT / "docs" / "explanation" / "security-properties.md").read_text("utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| property")]
    assert len(rows()) == len(lines) > 30


@pytest.mark.parametrize(("file", "test"), rows())
def test_a_property_is_held_by_a_file_and_by_a_test(file: str, test: str) -> None:
    assert (ROOT / file).is_file()
    path, _, function = test.partition("::")
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert function in tests if function else any(each.startswith("test_") for each in tests)


# Commands


def shell_lines(page: Path) -> list[str]:
    """Lines of indented blocks that are commands of ours."""
    inside = re.findall(r"^ {4}(?:export .*\$\()?((?:\S*/)?bpk .*|make\b.*)$", page.read_text("utf-8"), re.MULTILINE)
    return [line.split("#")[0].strip() for line in inside]


def command_at(words: list[str]) -> Any:
    """The command that `words` lead to, or None."""
    command: Any = typer.main.get_command(app)
    for word in words:
        inner = getattr(command, "commands", None)
        if inner is None:
            return command
        if word not in inner:
            return None
        command = inner[word]
    return command


GUIDES = [ROOT / "README.md", ROOT / "deploy" / "RUNBOOK.md", ROOT / "docs" / "tutorial" / "first-hour.md"]


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_a_command_that_a_guide_shows_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    lines = shell_lines(page)
    assert len(lines) >= 5
    for line in lines:
        first, *words = line.split()
        if first == "make":
            assert {word for word in words if "=" not in word} <= targets, line
            continue
        command = command_at(words)
        assert command is not None, line
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<= )--[a-z-]+", line)) <= options, line


def test_the_list_of_make_targets_is_complete() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())
    assert set(re.findall(r'echo "make ([a-z-]+)', makefile)) == phony - {"help"}


def test_the_tutorials_home_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorial" / "first-hour.md").read_text("utf-8")
    policy, cases, licence, domain = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "library").mkdir()
    (tmp_path / "licences").mkdir()
    (tmp_path / "library" / "policy.toml").write_text(policy, "utf-8")
    (tmp_path / "library" / "cases.toml").write_text(cases, "utf-8")
    (tmp_path / "licences" / "planning.toml").write_text(licence, "utf-8")
    assert list(Catalog.load(tmp_path).policies) == ["library"]
    assert 'tables = { readers = "data/loans.csv" }' in domain


# Numbers


def test_the_numbers_of_the_promise_are_computed() -> None:
    page = (ROOT / "docs" / "explanation" / "promise.md").read_text("utf-8")
    half = units_down(Decimal("1e-9"), DELTA_UNIT) // 2
    cap, share = (rho_for(units_down(Decimal(e), EPSILON_UNIT), half) for e in ("8", "2"))
    shown = re.findall(r"^\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(shown) == 4
    for epsilon, rho, deviation, of_cap, of_share in shown:
        found = rho_for(units_down(Decimal(epsilon), EPSILON_UNIT), half)
        noise = round(1 / math.sqrt(2 * found / RHO_UNIT), 1)
        assert (text(found, RHO_UNIT), str(noise)) == (rho, deviation)
        assert (cap // found, share // found) == (int(of_cap), int(of_share))
    assert f"The cap of 8 is rho {text(cap, RHO_UNIT)}, a share of 2 is {text(share, RHO_UNIT)}" in page


# What must not be in any file


def forbidden(content: str) -> list[str]:
    """Hosts of package registries, and paths of one machine."""
    registries = r"pypi\.o" + r"rg|pythonho" + r"sted|npmjs\.(?:org|com)|registry\.np" + r"m|deb\.debian\.o" + r"rg"
    folders = r"wo" + r"rk|fa" + r"rm|ro" + r"ot|ho" + r"me/[a-z]+|Us" + r"ers"
    machine = rf"(?:^|[^A-Za-z0-9_.])/(?:{folders})/|file:///op" + r"t/"
    return re.findall(f"(?:{registries})|(?:{machine})", content, re.MULTILINE)


def test_no_file_names_a_registrys_host_or_a_path_of_one_machine() -> None:
    found = {}
    for each in tracked():
        content = (ROOT / each).read_bytes()
        if b"\0" not in content and (words := forbidden(content.decode("utf-8", "replace"))):
            found[each] = words
    assert found == {}


def test_such_a_name_is_noticed() -> None:
    assert forbidden("see https://" + "pypi." + "org/simple")
    assert forbidden("in " + "/ro" + "ot/x")
    assert not forbidden("network/ and ./work and docs/home/x")
