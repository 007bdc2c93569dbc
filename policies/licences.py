"""Licences: who may ask, for what, until when, with which share of the budget."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

from policies.documents import LicenceDocument, ShareDocument
from policies.model import BudgetShare, Licence
from policies.problems import PolicyError, Problem, Report, join, shown
from policies.releases import check_epsilon
from policies.toml import parse, read
from policies.validate import validated


def load_licences(directory: Path) -> tuple[Licence, ...]:
    """Every `*.toml` of `directory`, in order of file names; none where there is no such folder.

    Raises PolicyError with the problems of all files, whose places then begin with the file's name. Two licences valid
    on one day for one operator and dataset are refused: nobody could say which share of the budget counts.
    """
    licences: dict[str, Licence] = {}
    problems: list[Problem] = []
    for path in sorted(path for path in directory.glob("*.toml") if not path.name.startswith(".")):
        try:
            licences[path.name] = load_licence_text(read(path), path.name)
        except PolicyError as error:
            problems += [
                replace(item, place=f"{path.name}: {item.place}".removesuffix(": ")) for item in error.problems
            ]
    for (left, one), (right, other) in combinations(licences.items(), 2):
        problems += _conflicts(left, one, right, other)
    if problems:
        raise PolicyError(str(directory), problems)
    return tuple(licences.values())


def load_licence_text(text: str, name: str) -> Licence:
    """The licence in `text`; `name` is what errors call it. Raises PolicyError."""
    report = Report()
    document = validated(LicenceDocument, parse(text, name), report)
    if document is not None:
        _check(document, report)
    report.refuse_if_any(name)
    assert document is not None  # noqa: S101  # without a document there is a report
    shares = {dataset: _share(share) for dataset, share in (document.budget or {}).items()}
    return Licence(
        licence=document.licence,
        operator=document.operator,
        datasets=tuple(document.datasets),
        purposes=tuple(document.purposes),
        valid_from=document.valid.from_,
        valid_until=document.valid.until,
        budget=MappingProxyType(shares),
    )


def _check(document: LicenceDocument, report: Report) -> None:
    for place, words in (("datasets", document.datasets), ("purposes", document.purposes)):
        for word in dict.fromkeys(words):
            if words.count(word) > 1:
                report.add(place, f"{shown(word)} is listed twice")
    if document.valid.from_ > document.valid.until:
        report.add(
            "valid", f"the first day {shown(document.valid.from_)} is after the last {shown(document.valid.until)}"
        )
    for dataset, share in (document.budget or {}).items():
        if dataset not in document.datasets:
            report.add(join("budget", dataset), "this licence does not cover that dataset", "add it to `datasets`")
        if check_epsilon(share.epsilon, join("budget", dataset, "epsilon"), report):
            _check_purposes(document, dataset, share, report)


def _check_purposes(document: LicenceDocument, dataset: str, share: ShareDocument, report: Report) -> None:
    for purpose, part in (share.purposes or {}).items():
        place = join("budget", dataset, "purposes", purpose)
        if purpose not in document.purposes:
            report.add(place, "this licence does not name that purpose", "add it to `purposes`")
        if check_epsilon(part.epsilon, join(place, "epsilon"), report) and part.epsilon > share.epsilon:
            message = f"is above the operator's own share, which is {share.epsilon:f}"
            report.add(join(place, "epsilon"), message, "a purpose's share lies inside the operator's")


def _share(document: ShareDocument) -> BudgetShare:
    parts = {purpose: part.epsilon for purpose, part in (document.purposes or {}).items()}
    return BudgetShare(document.epsilon, MappingProxyType(parts))


def _conflicts(left: str, one: Licence, right: str, other: Licence) -> list[Problem]:
    """Why two licences cannot stand side by side."""
    found = []
    if one.licence == other.licence:
        found.append(Problem(f"{right}: licence", f"{shown(left)} has the number {shown(one.licence)} already"))
    overlap = one.valid_from <= other.valid_until and other.valid_from <= one.valid_until
    if one.operator == other.operator and overlap:
        for dataset in sorted(set(one.datasets) & set(other.datasets)):
            message = f"{shown(left)} is valid on the same days for {shown(one.operator)} and dataset {shown(dataset)}"
            found.append(Problem(f"{right}: valid", message, "end one before the other begins"))
    return found
