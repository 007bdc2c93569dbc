"""Fresh releases of each question by the data domain's own code, and what could be had with knowledge of the data."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import duckdb

from bench import inside, variants
from bench.accuracy import clip
from bench.accuracy.bounds import Bounds, policy
from bench.accuracy.clip import Price
from bench.accuracy.questions import Question, Raced, UnitName
from bench.bare import Bare
from bench.cells import Cell, Cells
from bench.data import Dataset
from bench.data import tpch as tpch_of
from bench.stats import errors, spread
from policies.model import Accountant

DICE: Final = 1
KNOWLEDGE: Final = hashlib.sha256(
    b"".join((Path(__file__).parent / name).read_bytes() for name in ("clip.py", "questions.py"))
).hexdigest()[:16]
"""What the figures made with knowledge of the data hang on."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question at a price, under some bounds."""

    question: Question
    accountant: Accountant
    epsilon: str
    bounds: Bounds

    @property
    def name(self) -> str:
        return f"{self.question.unit}/{self.question.name}/{self.accountant}/{self.epsilon}/{self.bounds}"


@dataclass(frozen=True, slots=True)
class Measuring:
    scale: str
    runs: int
    commit: str
    cells: Cells

    def released(self, asked: Iterable[Asked]) -> dict[str, Cell]:
        """By name. Questions of one policy share what was computed exactly."""
        found: dict[str, Cell] = {}
        by_policy: dict[tuple[UnitName, Bounds, Accountant], list[Asked]] = {}
        for one in asked:
            by_policy.setdefault((one.question.unit, one.bounds, one.accountant), []).append(one)
        for (unit, bounds, accountant), some in by_policy.items():
            text = variants.text(policy(unit, bounds, accountant))
            with ExitStack() as stack:
                door = _Door(text, self._data(unit), stack)
                found |= {one.name: self._cell(one.name, self.commit, partial(self._ask, one, door)) for one in some}
        return found

    def best(self, question: Question, price: Price) -> Cell:
        """The best fixed clip; an empty cell where none is looked for."""
        search = {"total": clip.best_total, "mean": clip.best_mean}.get(question.kind)
        if search is None:
            return {}
        name = f"{question.unit}/{question.name}/{price.accountant}/{price.epsilon}/best"

        def look() -> Cell:
            found = search(_query(self._data(question.unit)), question.units, price)
            return {"clip": found.clip, "error": [found.median, found.p95]}

        return self._cell(name, KNOWLEDGE, look)

    def raced(self, raced: Raced, epsilon: str) -> Cell:
        """R2T, run here."""
        question = raced.question
        name = f"{question.unit}/{question.name}/{epsilon}/r2t"

        def race() -> Cell:
            query, dice = _query(self._data(question.unit)), random.Random(DICE)
            terms = clip.Race(question.units, float(epsilon), raced.unit_of_gs)
            return _figures(clip.raced_again(query, terms, self.runs, dice))

        return self._cell(name, KNOWLEDGE, race)

    def exact(self, question: Question) -> list[tuple[Any, ...]]:
        return Bare.on_parquet(self._data(question.unit)).run(question.exact).rows

    def _data(self, unit: UnitName) -> Dataset:
        return tpch_of(self.scale, unit)

    def _cell(self, name: str, made_by: str, make: Callable[[], Cell]) -> Cell:
        return self.cells.cell(f"{name}/{self.runs}", made_by, make)

    def _ask(self, one: Asked, door: _Door) -> Cell:
        print(f"  scale {self.scale}, {one.name}", file=sys.stderr, flush=True)
        exact = self.exact(one.question)
        try:
            answers = [door.opened().ask(one.question.ours, one.epsilon).rows for _ in range(self.runs)]
        except inside.NotAnswered as refusal:
            return {"why": refusal.code}
        judged = [errors(exact, rows, one.question.keys) for rows in answers]
        figures = _figures([each for found in judged for each in found.relative])
        return {**figures, "groups": judged[0].groups, "lost": spread([float(found.lost) for found in judged]).median}


class _Door:
    """Opened when it is first asked: where everything is known already, nothing is."""

    def __init__(self, text: str, data: Dataset, stack: ExitStack) -> None:
        self._text = text
        self._data = data
        self._stack = stack
        self._inside: inside.Inside | None = None

    def opened(self) -> inside.Inside:
        if self._inside is None:
            self._inside = self._stack.enter_context(inside.opened(self._text, self._data, remember=True))
        return self._inside


def _figures(relative: list[float]) -> Cell:
    found = spread(relative)
    return {"error": [found.median, found.p95], "middle": clip.middle_mean(relative)}


def _query(data: Dataset) -> clip.Query:
    connection = duckdb.connect(config={"threads": "2"})
    for name, file in data.parquet.items():
        connection.execute(f"CREATE VIEW {name} AS FROM '{file}'")
    return lambda sql: connection.execute(sql).fetchall()
