"""From the rows of a question to what may be said of it, step by step. Read this first.

1. `primary`: rules that a cell has to pass by itself.
2. `guard`: no cell differs from something said before in a few units.
3. `linear`: nothing that is withheld, and nobody, can be reckoned from all that is said together.
4. `rounding`.

A number of the answer is shown when every cell that it is made of may be said. A cell that only numbers need that are
not shown is not said, and counts as never asked.

Source: docs/explanation/guarantees/disclosure.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from sandbox.disclosure.cells import Cell, Integers, Shares, shares_of
from sandbox.disclosure.intake import Part, Rows, cells_of, doubled
from sandbox.disclosure.plan import ProtectedPlan
from sandbox.disclosure.primary import Reason, alike, one_value, primary
from sandbox.disclosure.rounding import Number, Place, rounded
from sandbox.disclosure.sorting import by_number, distinct


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A cell as the rules before have left it. `reason` is why it is withheld; None where it may be said so far."""

    cell: Cell
    shares: Shares
    reason: Reason | None


class Memory(Protocol):
    """All that was said before of the dataset, to anybody."""

    def differing(self, table: Sequence[Candidate]) -> frozenset[int]:
        """Which of the cells that may be said so far differ from something said, or from another, in a few units."""

    def narrowed(self, table: Sequence[Candidate]) -> frozenset[int]:
        """Which of the cells that may be said so far have to be withheld so that those withheld stay unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class Protected:
    """`cells` are those that were asked, `numbers` those of the answer by part and place, null where withheld."""

    cells: tuple[Candidate, ...]
    numbers: Mapping[Place, tuple[Number | None, ...]]
    parts: tuple[Part, ...]


def protect(plan: ProtectedPlan, rows: Rows, parts: tuple[Part, ...], run: str, memory: Memory) -> Protected:
    """Guarantee: what is said, together with all that `memory` holds, keeps the rules of the policy.

    `run` names this answer. To be called by one at a time for a dataset; what it gives is remembered before it is said.
    Source: docs/explanation/guarantees/disclosure.md
    """
    cells = cells_of(plan, rows, parts, run)
    judging = _Judging(plan, cells, _first(plan, rows, parts, cells))
    judging.withhold(memory.differing, "difference")
    judging.withhold(memory.narrowed, "complementary")
    shown = {place: judging.shown(place) for place in judging.places}
    return Protected(tuple(judging.asked()), rounded(plan, cells, parts, shown), parts)


class _Judging:
    """The table while it is judged: which cells may still be said."""

    def __init__(self, plan: ProtectedPlan, cells: list[list[list[Cell]]], first: dict[Cell, Candidate]) -> None:
        self._plan = plan
        self._cells = cells
        self._state = first
        self.places: list[Place] = [(i, place) for i, part in enumerate(cells) for place in range(len(part[0]))]

    def shown(self, place: Place) -> list[bool]:
        """For each figure whether all of its cells may be said."""
        part, group = place
        clear = [self._state[column[group]].reason is None for column in self._cells[part]]
        return [all(clear[i] for i in self._used(number)) for number in range(len(self._plan.figures))]

    def _used(self, number: int) -> list[int]:
        figure = self._plan.figures[number]
        return [i for _, i in figure.terms] + ([] if figure.divisor is None else [figure.divisor])

    def asked(self) -> list[Candidate]:
        """The cells that are withheld by a rule, and those that a shown number is made of."""
        found = []
        for part, group in self.places:
            flags = self.shown((part, group))
            used = {i for number, flag in enumerate(flags) if flag for i in self._used(number)}
            states = [self._state[column[group]] for column in self._cells[part]]
            found += [state for i, state in enumerate(states) if i in used or state.reason is not None]
        return found

    def withhold(self, rule: Callable[[Sequence[Candidate]], frozenset[int]], reason: Reason) -> None:
        """Lets `rule` choose among the cells that are asked."""
        table = self.asked()
        for i in rule(table):
            one = table[i]
            self._state[one.cell] = Candidate(one.cell, one.shares, one.reason or reason)


def _first(
    plan: ProtectedPlan, rows: Rows, parts: Sequence[Part], cells: list[list[list[Cell]]]
) -> dict[Cell, Candidate]:
    """Every cell with the rules that it breaks by itself."""
    found = {}
    for i, part in enumerate(parts):
        for number in range(len(plan.quantities)):
            populations = _populations(plan, rows, part, number)
            twice = doubled(plan, rows, number)
            for place, cell in enumerate(cells[i][number]):
                shares = shares_of(cell.rows)
                reason = primary(shares, plan.rules) or ("difference" if twice else None)
                if reason is None and _homogeneous(plan, cell, populations.get(place), number):
                    reason = "homogeneous"
                found[cell] = Candidate(cell, shares, reason)
    return found


def _homogeneous(plan: ProtectedPlan, cell: Cell, population: Integers | None, number: int) -> bool:
    if population is not None and alike(cell.rows.units, population, plan.rules):
        return True
    return plan.quantities[number].personal and one_value(cell.rows.values)


def _populations(plan: ProtectedPlan, rows: Rows, part: Part, number: int) -> dict[int, Integers]:
    """For each group the units among which a sensitive column picks those of the cell. Empty where none does."""
    hot = [key for key in part.kept if key in plan.sensitive_keys]
    without = rows.without[number]
    if not hot and without is None:
        return {}
    counts = without if without is not None else rows.values[number] != 0
    units, places = rows.units[counts], part.places[rows.groups[counts]]
    if not hot:
        return dict(enumerate(_units_by(places, units, len(part.keys))))
    cold = [tuple(value for i, value in enumerate(keys) if i not in hot) for keys in part.keys]
    numbers = {keys: i for i, keys in enumerate(dict.fromkeys(cold))}
    wider = np.array([numbers[keys] for keys in cold], dtype=np.int64)
    known = _units_by(wider[places], units, len(numbers))
    return {place: known[int(wider[place])] for place in range(len(part.keys))}


def _units_by(places: Integers, units: Integers, count: int) -> list[Integers]:
    """The units of each place, each once."""
    order = by_number(places, count)
    edges = np.searchsorted(places[order], np.arange(count + 1))
    return [distinct(units[order[a:b]]) for a, b in pairwise(edges)]
