"""What latency is aimed at: three times bare DuckDB plus 100 ms for 95 of 100 questions, where no rank is needed.

Questions whose units have to be ranked are held against the plain grouping by unit and key instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench.inside import Inside, NotAnswered
from bench.questions import Question
from bench.stats import spread

PLUS_MS: Final = 100
_RANK: Final = re.compile(r"\bOVER\s*\(\s*PARTITION\s+BY\b", re.IGNORECASE)


def ranked(questions: Iterable[Question], here: Inside, run: int) -> dict[str, bool]:
    """By name: whether the engine has to rank rows of units for the question; left out where it is not answered."""
    found = {}
    for question in questions:
        try:
            given = here.statements(question.ask(run), question.epsilon)
        except NotAnswered:
            continue
        found[question.name] = ranks(given)
    return found


def ranks(statements: Iterable[str]) -> bool:
    return any(_RANK.search(sql) for sql in statements)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Over all runs of all questions without a rank."""

    questions: int
    p95_over_ms: float
    within: float
    """Share of runs that are within the aim."""

    @property
    def holds(self) -> bool:
        return self.p95_over_ms <= PLUS_MS


def verdict(
    answers: Mapping[str, Mapping[str, Any]], ranked_by_name: Mapping[str, bool], figure: str
) -> Verdict | None:
    """None where nothing was answered. `figure`: `over_ms` or `over_parquet_ms`."""
    taken = [one[figure] for name, one in answers.items() if figure in one and not ranked_by_name.get(name)]
    runs = [each for one in taken for each in one]
    if not runs:
        return None
    within = sum(each <= PLUS_MS for each in runs) / len(runs)
    return Verdict(len(taken), spread(runs).p95, within)
