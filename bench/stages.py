"""Where the time of a query goes, step by step, in the two real processes."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.client import Client, Reply
from bench.home import PURPOSES
from bench.questions import Question
from bench.stats import spread
from bench.steps import SHARES, WHOLE

Span = tuple[float, str, float]
"""(begin, step, seconds)."""


def measure(questions: list[Question], client: Client, runs: int, first: int) -> dict[str, list[Reply]]:
    """The replies of `runs` runs, numbered from `first`, one at a time."""
    return {question.name: [_ask(question, client, first + run) for run in range(runs)] for question in questions}


def _ask(question: Question, client: Client, run: int) -> Reply:
    return client.ask(question.ask(run), PURPOSES[question.dataset], question.epsilon)


def shares(replies: list[Reply], spans: list[Span]) -> dict[str, float]:
    """Median milliseconds of each share, and of the whole."""
    found: dict[str, list[float]] = defaultdict(list)
    for reply in replies:
        if reply.code is not None:
            continue
        taken = _within(reply, spans)
        for share in SHARES:
            seconds = sum(taken[name] for name in share.plus) - sum(taken[name] for name in share.minus)
            found[share.words].append(1000 * seconds)
        found[WHOLE].append(1000 * reply.seconds)
    return {name: round(spread(values).median, 2) for name, values in found.items()}


def read_spans(folder: Path) -> list[Span]:
    spans: list[Span] = []
    for file in sorted(folder.glob("*.jsonl")):
        lines: list[list[Any]] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        spans += [(begin, name, seconds) for name, begin, seconds in lines]
    return sorted(spans)


def _within(reply: Reply, spans: list[Span]) -> dict[str, float]:
    """Seconds in each step while the reply was awaited; one question runs at a time, so they are its own."""
    taken: dict[str, float] = defaultdict(float)
    taken[WHOLE] = reply.seconds
    for begin, name, seconds in spans[bisect_left(spans, (reply.begin, "", 0.0)) :]:
        if begin > reply.begin + reply.seconds:
            break
        taken[name] += seconds
    return taken
