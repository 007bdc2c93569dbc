"""A policy document, read once at the edge into the frozen model. The only maker of `Policy`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from policies.blocks import build_blocks
from policies.columns import build_column
from policies.digest import digest
from policies.documents import ColumnDocument, PolicyDocument, ReleaseDocument
from policies.model import Policy
from policies.problems import Problem, Report, join
from policies.releases import build_release
from policies.tables import build_tables, build_unit
from policies.toml import parse, read
from policies.validate import validated

FOLDER_OF_LICENCES = "licences"
"""The one folder beside the datasets' own, so no dataset has this name."""


def load_policy(path: Path) -> Policy:
    """The policy in the file at `path`. Raises PolicyError with every problem that could be found at once."""
    return load_text(read(path), str(path))


def load_text(text: str, name: str) -> Policy:
    """The policy in `text`; `name` is what errors call it. Raises PolicyError."""
    raw = parse(text, name)
    report = Report()
    document = validated(PolicyDocument, raw, report)
    if document is None:
        _judge_parts(raw, report)
    policy = _build(document, raw, report) if document is not None else None
    report.problems.sort(key=lambda problem: _in_order(problem, raw))
    report.refuse_if_any(name)
    assert policy is not None  # noqa: S101  # without a document there is a report
    return policy


def _build(document: PolicyDocument, raw: Mapping[str, Any], report: Report) -> Policy:
    if document.dataset == FOLDER_OF_LICENCES:
        report.add("dataset", f"`{FOLDER_OF_LICENCES}` is the folder of licences", "name it otherwise")
    for index, purpose in enumerate(document.purposes):
        if purpose in document.purposes[:index]:
            report.add("purposes", f"`{purpose}` is listed twice")
    unit = build_unit(document, report)
    tables = build_tables(document, unit, report)
    if unit is not None and (own := tables.get(unit.table)) is not None:
        unit = replace(unit, blocks=build_blocks(document, unit, own, report))
    return Policy(
        dataset=document.dataset,
        version=document.version,
        title=MappingProxyType(dict(document.title)),
        owner=document.owner,
        supply=document.supply,
        grade=document.grade,
        purposes=tuple(document.purposes),
        unit=unit,
        release=build_release(
            document.release,
            report,
            protects=document.unit is not None,
            opens=any(table.public for table in document.tables.values()),
        ),
        tables=tables,
        digest=digest(raw),
    )


def _judge_parts(raw: Mapping[str, Any], report: Report) -> None:
    """Where the whole is not well-formed, judges those columns and the release section that are."""
    wrong = [problem.place for problem in report.problems]
    release = raw.get("release")
    if _whole(wrong, "release"):
        sound = validated(ReleaseDocument, release, Report())
        if sound is not None:
            opens = any(_table(table).get("public") is True for table in _table(raw.get("tables")).values())
            build_release(sound, report, protects="unit" in raw, opens=opens)
    for place, name, column in _columns(raw):
        if _whole(wrong, place):
            sound_column = validated(ColumnDocument, column, Report())
            if sound_column is not None:
                build_column(name, sound_column, ("dp",), place, report)


def _whole(wrong: list[str], place: str) -> bool:
    return not any(other == place or other.startswith(f"{place}.") for other in wrong)


def _columns(raw: Mapping[str, Any]) -> list[tuple[str, str, object]]:
    found = []
    for table, inner in _table(raw.get("tables")).items():
        for name, column in _table(_table(inner).get("columns")).items():
            found.append((join("tables", table, "columns", name), name, column))
    return found


def _table(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _in_order(problem: Problem, raw: Mapping[str, Any]) -> tuple[int, ...]:
    """Where a problem stands among the document's own keys; what is missing comes after what is there."""
    order: list[int] = []
    inner: object = raw
    for part in problem.place.split("."):
        keys = list(_table(inner))
        order.append(keys.index(part) if part in keys else len(keys))
        inner = _table(inner).get(part)
    return tuple(order)
