"""Signs that somebody probes: bursts of refusals, variants of one question, constants that march, filters that shrink.

None of them is proof, and budgets hold without them; they say where a person should look.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from gateway.sql.shape import Shape, shape_of

BURST: Final = 10
"""So many refusals of one operator within BURST_WITHIN."""
BURST_WITHIN: Final = timedelta(minutes=10)
VARIANTS: Final = 5
"""So many questions of one operator that differ in their literals alone."""
STEPS: Final = 4
"""So many steps of one literal in one direction, all others alike."""
SHRINKS: Final = 3
"""So many questions in a row, each with the conditions of the one before and one more."""
SHOWN: Final = 20
Sign = Literal["refusal_burst", "near_duplicates", "marching_constants", "shrinking_filters"]


@dataclass(frozen=True, slots=True)
class Question:
    """A decision on a question, with its SQL; None where that was erased."""

    seq: int
    time: str
    actor: str
    decision: str
    code: str | None
    sql: str | None
    parameters: str | None = None
    """As JSON; constants too."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What looks like probing: by whom, of which kind, in which records (the first SHOWN of them)."""

    sign: Sign
    actor: str
    count: int
    records: tuple[int, ...]
    words: str


def findings(questions: Sequence[Question]) -> list[Finding]:
    """By operator and in order. `questions` in order of the log."""
    by_actor: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_actor[question.actor].append(question)
    return [found for actor, asked in sorted(by_actor.items()) for found in _of(actor, asked)]


def _of(actor: str, asked: list[Question]) -> Iterator[Finding]:
    yield from _bursts(actor, [each for each in asked if each.decision == "refused"])
    shaped = [(each, _shape(each.sql, each.parameters)) for each in asked if each.sql is not None]
    by_shape: dict[str, list[tuple[Question, Shape]]] = defaultdict(list)
    for question, shape in shaped:
        by_shape[shape.text].append((question, shape))
    for group in by_shape.values():
        yield from _variants(actor, group)
        yield from _marches(actor, group)
    yield from _shrinking(actor, shaped)


def _shape(sql: str, parameters: str | None) -> Shape:
    shape = shape_of(sql)
    values = json.loads(parameters) if parameters else {}
    return replace(shape, literals=(*shape.literals, *(str(values[name]) for name in sorted(values))))


def _bursts(actor: str, refused: list[Question]) -> Iterator[Finding]:
    start = 0
    while start < len(refused):
        begin = _moment(refused[start])
        end = start
        while end < len(refused) and _moment(refused[end]) - begin <= BURST_WITHIN:
            end += 1
        if end - start >= BURST:
            words = f"{end - start} refusals within {int(BURST_WITHIN.total_seconds() // 60)} minutes"
            yield _finding("refusal_burst", actor, refused[start:end], words)
            start = end
        else:
            start += 1


def _variants(actor: str, group: list[tuple[Question, Shape]]) -> Iterator[Finding]:
    different = {shape.literals for _, shape in group}
    if len(different) >= VARIANTS:
        words = f"one question with {len(different)} sets of constants: {group[0][1].text[:200]}"
        yield _finding("near_duplicates", actor, [question for question, _ in group], words)


def _marches(actor: str, group: list[tuple[Question, Shape]]) -> Iterator[Finding]:
    for place in range(len(group[0][1].literals)):
        run: list[tuple[Question, float]] = []
        best: list[tuple[Question, float]] = []
        before: Shape | None = None
        for question, shape in group:
            value = _number(shape.literals[place])
            others = shape.literals[:place] + shape.literals[place + 1 :]
            alike = before is not None and others == before.literals[:place] + before.literals[place + 1 :]
            if value is None or not alike or not _goes_on(run, value):
                run = run[-1:] if alike and value is not None and run and run[-1][1] != value else []
            if value is not None:
                run.append((question, value))
            best = run if len(run) > len(best) else best
            run, before = list(run), shape
        if len(best) > STEPS:
            words = f"constant {place + 1} goes from {best[0][1]:g} to {best[-1][1]:g}: {group[0][1].text[:200]}"
            yield _finding("marching_constants", actor, [question for question, _ in best], words)


def _goes_on(run: list[tuple[Question, float]], value: float) -> bool:
    if len(run) < 2:
        return not run or run[-1][1] != value
    return (run[-1][1] - run[-2][1]) * (value - run[-1][1]) > 0


def _shrinking(actor: str, shaped: list[tuple[Question, Shape]]) -> Iterator[Finding]:
    chain: list[tuple[Question, Shape]] = []
    for each in [*shaped, None]:
        if each is not None and chain and _narrower(chain[-1][1], each[1]):
            chain.append(each)
            continue
        if len(chain) > SHRINKS:
            words = f"{len(chain)} questions in a row, each narrower than the one before: {chain[-1][1].text[:200]}"
            yield _finding("shrinking_filters", actor, [question for question, _ in chain], words)
        chain = [] if each is None else [each]


def _narrower(wide: Shape, narrow: Shape) -> bool:
    return wide.rest == narrow.rest and wide.conditions < narrow.conditions


def _finding(sign: Sign, actor: str, questions: list[Question], words: str) -> Finding:
    return Finding(sign, actor, len(questions), tuple(each.seq for each in questions[:SHOWN]), words)


def _moment(question: Question) -> datetime:
    return datetime.fromisoformat(question.time)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(datetime.fromisoformat(text).toordinal())
    except ValueError:
        return None
