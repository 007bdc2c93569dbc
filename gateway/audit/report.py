"""What the offline verifier found: for programs as JSON, for people as text. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from gateway.audit.replay_blocks import split_block

PROBLEMS_MAX: Final = 100
"""How many problems of each kind a report spells out; all are counted."""
SHOWN_MAX: Final = 5
"""How many of each kind people are shown."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and at which record (None: with the export as a whole)."""

    code: str
    record: int | None
    words: str


@dataclass(slots=True)
class Report:
    """What the verifier found. `ok` only if there is no problem at all."""

    size: int = 0
    root: str = ""
    ledger: str = ""
    key: str = ""
    keys: list[tuple[int, str]] = field(default_factory=list)
    """The log's keys in order, each with the number of records from which on it signs."""
    problems_total: int = 0
    problems: list[Problem] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    """How many problems there are of each code."""
    counts: dict[str, int] = field(default_factory=dict)
    scopes: dict[str, dict[str, Any]] = field(default_factory=dict)
    cells: dict[str, dict[str, int]] = field(default_factory=dict)
    approvers: dict[str, Any] = field(default_factory=dict)
    """Who may raise a cap at the end of the log, how many of them together, and how often they changed."""
    unsettled: int = 0
    without_budget: int = 0
    reused_from_elsewhere: int = 0
    degraded: dict[str, int] = field(default_factory=dict)
    """Isolation layer -> records that were written while the data domain did without it."""
    witnessed: int = 0
    """How many records are under the newest checkpoint that witnesses cosigned."""
    witnesses: dict[str, int] = field(default_factory=dict)
    """Which ones, and when (s since 1970)."""
    stamped: list[tuple[int, str]] = field(default_factory=list)
    """Number of records, and when an authority saw their checkpoint."""
    consistent_with: int = 0
    """How many older checkpoints and receipts were checked."""

    @property
    def ok(self) -> bool:
        return self.problems_total == 0

    def add(self, code: str, record: int | None, words: str) -> None:
        self.problems_total += 1
        self.kinds[code] = self.kinds.get(code, 0) + 1
        if self.kinds[code] <= PROBLEMS_MAX:
            self.problems.append(Problem(code, record, words))

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "records": self.size,
            "root": self.root,
            "ledger": self.ledger,
            "key": self.key,
            "keys": [{"key": vkey, "from": start} for start, vkey in self.keys],
            "counts": self.counts,
            "scopes": self.scopes,
            "cells": self.cells,
            "approvers": self.approvers,
            "degraded": self.degraded,
            "unsettled": self.unsettled,
            "without_budget": self.without_budget,
            "reused_from_elsewhere": self.reused_from_elsewhere,
            "consistent_with": self.consistent_with,
            "witnessed": self.witnessed,
            "witnesses": self.witnesses,
            "stamped": [{"records": size, "time": moment} for size, moment in self.stamped],
            "problems_total": self.problems_total,
            "problems": [{"code": p.code, "record": p.record, "detail": p.words} for p in self.problems],
        }

    def text(self) -> str:
        """The report for people."""
        verdict = "sound" if self.ok else f"NOT SOUND: {self.problems_total} problem(s)"
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        lines = [f"log {self.ledger}: {verdict}", f"{self.size} records ({kinds})", f"root {self.root}"]
        lines += [f"signed by {self.key}"] if self.key else []
        lines += [f"its key was changed after {start} records, to {vkey}" for start, vkey in self.keys[1:]]
        blocks: dict[str, list[str]] = {}
        for name in self.scopes:
            base, block = split_block(name)
            blocks.setdefault(base, []).extend([] if block is None else [name])
        lines += [self._scope_line(name, blocks[name]) for name in self.scopes if name in blocks]
        if self.approvers.get("names"):
            lines.append(f"caps rise by {self.approvers['quorum']} of {', '.join(self.approvers['names'])}")
        for name, cells in self.cells.items():
            lines.append(f"{name}: {cells['released']} exact numbers shown, {cells['withheld']} withheld")
        for layer, count in self.degraded.items():
            lines.append(f"{count} records were written while the data domain did without `{layer}`")
        if self.witnesses:
            lines.append(f"{self.witnessed} records are witnessed by {', '.join(sorted(self.witnesses))}")
        if self.stamped:
            size, moment = self.stamped[-1]
            lines.append(f"{size} records were there at {moment}, by {len(self.stamped)} time stamps of the authority")
        notes = (
            (self.unsettled, "charged queries without an outcome yet"),
            (self.without_budget, "queries run in modes that spend no budget"),
            (self.reused_from_elsewhere, "reused answers whose release is not in this log"),
            (self.consistent_with, "older checkpoints and receipts checked"),
        )
        lines += [f"{count} {words}" for count, words in notes if count]
        return "\n".join(lines + self._problem_lines())

    def _scope_line(self, name: str, blocks: list[str]) -> str:
        """Of many blocks the fullest; all of them are in the JSON."""
        scope = self.scopes[name]
        unit = "rho" if scope["accountant"] == "zcdp" else "epsilon"
        fullest = max(blocks, key=lambda each: Decimal(self.scopes[each]["spent"][unit]), default=name)
        told, charges = self.scopes[fullest], f"in {scope['charges']} charges"
        if blocks:
            charges = f"on {split_block(fullest)[1]}, the fullest of {len(blocks)} blocks, {told['charges']} charges"
        return (
            f"{name}: {unit} {told['spent'][unit]} of {scope['cap'][unit]}, "
            f"delta {told['spent']['delta']} of {scope['cap']['delta']}, {charges}"
        ) + _changes(scope)

    def _problem_lines(self) -> list[str]:
        """The first of each kind: one dropped record shifts all that follow, and would bury what else is wrong."""
        lines = []
        seen: dict[str, int] = {}
        for problem in self.problems:
            seen[problem.code] = seen.get(problem.code, 0) + 1
            if seen[problem.code] <= SHOWN_MAX:
                where = "export" if problem.record is None else f"record {problem.record}"
                lines.append(f"  {where}: {problem.words} [{problem.code}]")
        more = [f"{count - SHOWN_MAX} more [{code}]" for code, count in self.kinds.items() if count > SHOWN_MAX]
        return lines + ([f"  and {', '.join(more)}; with their places: --json"] if more else [])


def _changes(scope: dict[str, Any]) -> str:
    """How often the cap of a scope changed, and by how many pairs of eyes it rose."""
    told = [f"cap changed {scope['cap_changes']} times"] if scope["cap_changes"] else []
    told += [f"raised {scope['raises_decided']} times by approvers"] if scope["raises_decided"] else []
    told += [f"raised {scope['raises_undecided']} times by one pair of eyes"] if scope["raises_undecided"] else []
    return "".join(f", {each}" for each in told)
