"""Every question against its un-private twin: how much longer it takes, and how far the answer is from the truth."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.bare import Bare
from bench.client import Client
from bench.home import PURPOSES
from bench.questions import Question
from bench.stats import Errors, errors, over, spread


@dataclass(frozen=True, slots=True)
class Twins:
    snapshot: Bare
    parquet: Bare


@dataclass(slots=True)
class Measured:
    """Seconds of each run, in step with each other, and the errors of each answer."""

    private: list[float] = field(default_factory=list)
    snapshot: list[float] = field(default_factory=list)
    parquet: list[float] = field(default_factory=list)
    per_unit: list[float] = field(default_factory=list)
    found: list[Errors] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Figures for the table and the file; times in ms."""
        if not self.private:
            return {"failures": self.failures}
        relative = [each for one in self.found for each in one.relative]
        return {
            "runs": len(self.private),
            "private_ms": _ms(self.private),
            "snapshot_ms": _ms(self.snapshot),
            "parquet_ms": _ms(self.parquet),
            "ratio_snapshot": _ratio(self.private, self.snapshot),
            "ratio_parquet": _ratio(self.private, self.parquet),
            "over_ms": over(self.private, self.snapshot),
            "over_parquet_ms": over(self.private, self.parquet),
            "per_unit_ms": _ms(self.per_unit) if self.per_unit else None,
            "ratio_per_unit": _ratio(self.private, self.per_unit) if self.per_unit else None,
            "error": _pair(relative) if relative else None,
            "groups": self.found[-1].groups,
            "lost": spread([float(one.lost) for one in self.found]).median,
            "failures": self.failures,
        }


def measure(
    questions: list[Question], client: Client, twins: dict[str, Twins], runs: int, dice: random.Random
) -> dict[str, dict[str, Any]]:
    """`runs` runs of each question after one that does not count, question by question in turn."""
    found = {question.name: Measured() for question in questions}
    for run in range(runs + 1):
        for question in questions:
            into = found[question.name] if run else Measured()
            _Run(question, run, client, twins[question.dataset], into).go(dice)
    return {name: measured.summary() for name, measured in found.items()}


@dataclass(frozen=True, slots=True)
class _Run:
    """A question asked once in all three ways."""

    question: Question
    run: int
    client: Client
    twins: Twins
    into: Measured
    seconds: dict[str, float] = field(default_factory=dict)
    rows: dict[str, list[Any]] = field(default_factory=dict)

    def go(self, dice: random.Random) -> None:
        """In random order, so that a busy moment of the machine hits none more than the others."""
        acts: list[Callable[[], None]] = [
            self._private,
            lambda: self._bare("snapshot", self.twins.snapshot),
            lambda: self._bare("parquet", self.twins.parquet),
        ]
        by_unit = self.question.by_unit(self.run)
        if by_unit is not None:
            acts.append(lambda: self._timed("per_unit", self.twins.snapshot, by_unit))
        dice.shuffle(acts)
        for act in acts:
            act()
        if "private" in self.seconds:
            self.into.private.append(self.seconds["private"])
            self.into.snapshot.append(self.seconds["snapshot"])
            self.into.parquet.append(self.seconds["parquet"])
            if by_unit is not None:
                self.into.per_unit.append(self.seconds["per_unit"])
            self.into.found.append(errors(self.rows["parquet"], self.rows["private"], self.question.keys))

    def _private(self) -> None:
        question = self.question
        reply = self.client.ask(question.ask(self.run), PURPOSES[question.dataset], question.epsilon)
        if reply.code is None and not reply.body["reused"]:
            self.seconds["private"], self.rows["private"] = reply.seconds, reply.body["rows"]
        else:
            self.into.failures.append(reply.code or "reused")

    def _bare(self, name: str, on: Bare) -> None:
        self._timed(name, on, self.question.twin(self.run))

    def _timed(self, name: str, on: Bare, sql: str) -> None:
        timed = on.run(sql)
        self.seconds[name], self.rows[name] = timed.seconds, timed.rows


def _ms(seconds: list[float]) -> list[float]:
    return [round(1000 * each, 2) for each in _pair(seconds)]


def _pair(values: list[float]) -> list[float]:
    found = spread(values)
    return [found.median, found.p95]


def _ratio(above: list[float], below: list[float]) -> float:
    """The median of the ratios run by run: what both sides suffered from the machine cancels out."""
    return round(spread([a / b for a, b in zip(above, below, strict=True)]).median, 2)
