"""Accuracy as tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.accuracy.bounds import BOUNDS, Bounds
from bench.accuracy.questions import Question, Raced
from bench.cells import Cell
from bench.markdown import percent, ratio, table


@dataclass(frozen=True, slots=True)
class Line:
    """One question at one price: ours by bounds, the best fixed clip, and R2T where it was raced."""

    question: Question
    ours: Mapping[Bounds, Cell]
    best: Cell
    raced: Raced | None = None
    again: Cell | None = None
    exact: Sequence[Sequence[Any]] = ()


def raced(lines: Sequence[Line], *, at_scale_1: bool) -> str:
    """`at_scale_1`: whether the authors' figures are of as much data."""
    head = ["query", "unit", "exact", "R2T, authors", "R2T, run here", "best fixed clip"]
    head += [f"ours, {words}" for words in BOUNDS.values()]
    head += ["none over R2T, authors", "none over R2T, here", "good over best clip", "what theirs protects"]
    return table(head, [_raced(line, at_scale_1=at_scale_1) for line in lines])


def _raced(line: Line, *, at_scale_1: bool) -> list[str]:
    assert line.raced is not None
    assert line.again is not None
    return [
        line.question.name.split(" ")[0],
        line.question.unit.removesuffix("s"),
        f"{float(line.exact[0][0]):,.0f}",
        percent(line.raced.theirs),
        f"{error(line.again)}{_middle(line.again)}",
        error(line.best),
        *(_ours(line, bounds) for bounds in BOUNDS),
        over(line.ours["none"], "middle", line.raced.theirs) if at_scale_1 else "-",
        over(line.ours["none"], "middle", line.again["middle"]),
        over_best(line, "good"),
        line.raced.note,
    ]


def _ours(line: Line, bounds: Bounds) -> str:
    cell = line.ours.get(bounds)
    if cell is None:
        return "the same"
    return f"{error(cell)}{_middle(cell)}" if line.raced is not None else error(cell)


def suite(lines: Sequence[Line]) -> str:
    head = ["question", "best fixed clip", *(f"ours, {words}" for words in BOUNDS.values())]
    head += [f"{words} over best" for bounds, words in BOUNDS.items() if bounds != "no ranges"]
    rows = [
        [
            line.question.name,
            error(line.best),
            *(_ours(line, bounds) for bounds in BOUNDS),
            *(over_best(line, bounds) for bounds in BOUNDS if bounds != "no ranges"),
        ]
        for line in lines
    ]
    return table(head, rows)


def error(cell: Cell) -> str:
    """Median / 95th percentile, or why there is none."""
    if "why" in cell:
        return f"refused: {cell['why']}"
    if "error" not in cell:
        return "-"
    lost = f", lost {cell['lost']:.0f} of {cell['groups']}" if cell.get("lost") else ""
    return f"{percent(cell['error'][0])} / {percent(cell['error'][1])}{lost}"


def _middle(cell: Cell) -> str:
    return f", middle {percent(cell['middle'])}" if "middle" in cell else ""


def over(cell: Cell, figure: str, reference: float) -> str:
    return ratio(cell[figure] / reference) if figure in cell and reference else "-"


def over_best(line: Line, bounds: Bounds) -> str:
    cell = line.ours.get(bounds, {})
    if "error" not in cell or "error" not in line.best or not line.best["error"][0]:
        return "-"
    return ratio(cell["error"][0] / line.best["error"][0])
