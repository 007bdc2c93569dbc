"""The comparison as tables in Markdown: who answers, how far off, how fast, and where we stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.cells import NOT_INSTALLED, Cell
from bench.markdown import milliseconds, percent, ratio, table
from bench.peers.questions import Keys, Question

BARE: Final = "bare"
REASON_MAX: Final = 90
WRONG: Final = 1.0
"""From a median error of 100 % on, what came back is no answer, however fast it came."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A row of the tables."""

    name: str
    words: str
    ours: bool = False
    judged: bool = True
    """False where its errors are not those of the common price."""
    enforces: bool = True
    """False where nothing holds a customer to the bounds: such figures are shown, and nobody is held against them."""

    @property
    def shown(self) -> str:
        return self.words if self.enforces else f"{self.words} †"


@dataclass(frozen=True, slots=True)
class Board:
    """All cells of one scale and one kind of keys, by (entrant, question)."""

    scale: str
    keys: Keys
    runs: int
    """Cells with fewer say so."""
    questions: tuple[Question, ...]
    entrants: tuple[Entrant, ...]
    cells: Mapping[tuple[str, str], Cell]

    def cell(self, entrant: str, question: Question) -> Cell:
        return self.cells.get((entrant, question.name), {"why": "not measured"})


def board(found: Board) -> str:
    head = ["", *(f"Q-{question.name}" for question in found.questions)]
    words = "given" if found.keys == "public" else "found out"
    parts = [
        f"## TPC-H scale {found.scale}, group keys {words}",
        "### Relative error, median / 95th percentile",
        table(head, [[each.shown, *_row(found, each, _error)] for each in found.entrants]),
        "### Latency in ms, median / 95th percentile (times bare DuckDB)",
        table(head, [["DuckDB, unprotected", *_bare(found)], *_latencies(found)]),
        "### Where we stand",
        standing(found),
    ]
    if not all(each.enforces for each in found.entrants):
        parts.append(
            "† Nothing holds a customer to the bounds, so a customer is not protected; not counted in the standing."
        )
    reasons = list(_reasons(found))
    return "\n\n".join([*parts, *(["Not answered:", "\n".join(reasons)] if reasons else [])])


def _row(found: Board, entrant: Entrant, show: Callable[[Board, Entrant, Question], str]) -> list[str]:
    return [show(found, entrant, question) for question in found.questions]


def _latencies(found: Board) -> list[list[str]]:
    return [[each.shown, *_row(found, each, _latency)] for each in found.entrants]


def _error(found: Board, entrant: Entrant, question: Question) -> str:
    cell = found.cell(entrant.name, question)
    if "error" not in cell:
        return _no(cell)
    if not entrant.judged:
        return "answered"
    lost = f", lost {cell['lost']:.0f} of {cell['groups']}" if cell["lost"] else ""
    few = f", n={cell['runs']}" if cell["runs"] < found.runs else ""
    return f"{percent(cell['error'][0])} / {percent(cell['error'][1])}{lost}{few}"


def _latency(found: Board, entrant: Entrant, question: Question) -> str:
    cell, bare = found.cell(entrant.name, question), found.cell(BARE, question)
    if "ms" not in cell:
        return _no(cell)
    times = f"{milliseconds(cell['ms'][0])} / {milliseconds(cell['ms'][1])}"
    return f"{times} ({ratio(cell['ms'][0] / bare['ms'][0])})" if "ms" in bare else times


def _bare(found: Board) -> list[str]:
    cells = [found.cell(BARE, question) for question in found.questions]
    return [milliseconds(cell["ms"][0]) if "ms" in cell else "-" for cell in cells]


def _no(cell: Cell) -> str:
    why = str(cell["why"])
    return "timeout" if why.startswith("timeout") else "not installed" if why.startswith(NOT_INSTALLED) else "no"


def _reasons(found: Board) -> Iterable[str]:
    for entrant in found.entrants:
        seen: dict[str, list[str]] = {}
        for question in found.questions:
            cell = found.cell(entrant.name, question)
            if "ms" not in cell:
                seen.setdefault(" ".join(str(cell["why"]).split())[:REASON_MAX], []).append(f"Q-{question.name}")
        for why, names in seen.items():
            yield f"- {entrant.words}, {', '.join(names)}: `{why.replace('`', '')}`"


def standing(found: Board) -> str:
    """Our figures over those of the best of the others: below 1 we are ahead."""
    ours = [each for each in found.entrants if each.ours]
    head = ["question", "least error of others", *(f"{each.words}: error" for each in ours if each.judged)]
    head += ["fastest of others", *(f"{each.words}: time" for each in ours)]
    rows = []
    for question in found.questions:
        row = [f"Q-{question.name}: {question.words}"]
        for figure in ("error", "ms"):
            best = best_of_others(found, question, figure)
            row.append("nobody" if best is None else f"{best[0]}, {_figure(figure, best[1])}")
            for each in ours:
                if figure == "ms" or each.judged:
                    cell = found.cell(each.name, question)
                    row.append(_against(cell, figure, best))
        rows.append(row)
    return table(head, rows)


def best_of_others(found: Board, question: Question, figure: str) -> tuple[str, float] | None:
    """(who, median) of the best among the others that answered, not altogether wrongly, and enforce their bounds."""
    theirs = [
        (each.words, float(cell[figure][0]))
        for each in found.entrants
        if not each.ours and each.enforces and figure in (cell := found.cell(each.name, question))
        if cell["error"][0] < WRONG
    ]
    return min(theirs, key=lambda one: one[1], default=None)


def _figure(figure: str, value: float) -> str:
    return percent(value) if figure == "error" else f"{milliseconds(value)} ms"


def _against(cell: Cell, figure: str, best: tuple[str, float] | None) -> str:
    if figure not in cell:
        return "no answer"
    if best is None:
        return "alone"
    own = float(cell[figure][0])
    if best[1] == 0:
        return "even" if own == 0 else "behind"
    return f"{ratio(own / best[1])} {'ahead' if own < best[1] else 'even' if own == best[1] else 'behind'}"
