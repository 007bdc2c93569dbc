"""The examples of a policy: questions with the verdict that its author expects. A policy without any is refused."""

from __future__ import annotations

from pathlib import Path

from policies.documents import CaseDocument, CasesDocument
from policies.model import Case
from policies.problems import PolicyError, Problem, Report, join, shown
from policies.toml import parse, read
from policies.validate import validated

_WAY_OUT = "write at least one example that is answered and one that is refused"


def load_cases(path: Path) -> tuple[Case, ...]:
    """The examples in the file at `path`, in order, at least one. Raises PolicyError."""
    if not path.exists():
        raise PolicyError(str(path), [Problem("", "a policy without examples is refused", _WAY_OUT)])
    return load_cases_text(read(path), str(path))


def load_cases_text(text: str, name: str) -> tuple[Case, ...]:
    """The examples in `text`; `name` is what errors call it. Raises PolicyError."""
    raw, report = parse(text, name), Report()
    if not raw:
        raise PolicyError(name, [Problem("", "a policy without examples is refused", _WAY_OUT)])
    document = validated(CasesDocument, raw, report)
    seen: set[str] = set()
    for number, case in enumerate(document.case if document else (), start=1):
        if case.name in seen:
            report.add(join("case", number, "name"), f"two examples are called {shown(case.name)}")
        if case.code is not None and case.expect == "answer":
            report.add(join("case", number, "code"), "only a refusal has a code", 'leave it out, or expect = "refuse"')
        seen.add(case.name)
    report.refuse_if_any(name)
    cases = document.case if document else ()
    return tuple(_case(case) for case in cases)


def _case(case: CaseDocument) -> Case:
    blocks = None if case.blocks is None else tuple(case.blocks)
    return Case(case.name, case.sql, case.expect, case.code, case.mode, blocks)
