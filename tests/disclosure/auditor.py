"""What an enemy can work out who keeps every answer and has a linear solver: bounds of whatever was not said.

Shares no code with what it judges. The enemy knows who belongs to which group, and that nothing is below zero where the
policy says so; not what anybody adds. Rows that every answer treats alike are one unknown.

Promised, in the policy's words, of counts an interval of `units_min`, of sums one of `p_percent` of the largest unit:

- for each number that breaks the rules of a number by itself, and was withheld;
- for whatever rows that every answer treats alike add up to, if fewer than `units_min` units are behind it;
- for the difference of a number that was withheld from one that was shown, if fewer than `difference_units_min` units
  are behind the difference;

and no unit's own is bounded from above closer than by `p_percent` of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import highspy
import numpy as np

from policies.model import Aggregate
from tests.disclosure.asked import NONNEGATIVE, Part

_SLACK: Final = 1e-6


@dataclass(frozen=True)
class Narrowed:
    what: str
    quantity: str
    low: float
    high: float
    truth: int
    needed: float

    def __str__(self) -> str:
        bounds = f"[{self.low:.6g}, {self.high:.6g}]"
        return f"{self.quantity}: {bounds} around {self.truth}, {self.needed:.6g} wide is promised: {self.what}"


@dataclass(frozen=True)
class _Atom:
    """Items that every number holds alike."""

    cells: frozenset[int]
    by_unit: dict[int, int]


def audit(parts: Iterable[Part], rules: Aggregate) -> list[Narrowed]:
    """Everything that is known closer than promised, over all that was asked."""
    by_quantity: dict[str, list[Part]] = {}
    for part in parts:
        by_quantity.setdefault(part.quantity, []).append(part)
    return [each for quantity, found in by_quantity.items() for each in _Audit(quantity, found, rules).narrowed()]


@dataclass(frozen=True)
class _Target:
    """A sum over the unknowns `inside`, less that over `minus`. With `low_kept` given only what lies above counts: what
    one unit adds is bounded from above alone."""

    what: str
    inside: tuple[int, ...]
    truth: int
    needed: float
    low_kept: float | None = None
    minus: tuple[int, ...] = ()

    def signed(self) -> Iterator[tuple[int, float]]:
        yield from ((i, 1.0) for i in self.inside)
        yield from ((i, -1.0) for i in self.minus)


class _Audit:
    """Every solution that is found is a world that the enemy cannot rule out: it widens all bounds at once."""

    def __init__(self, quantity: str, parts: Sequence[Part], rules: Aggregate) -> None:
        self._quantity = quantity
        self._parts = parts
        self._rules = rules
        self._counts = quantity.split(maxsplit=1)[0] in ("units", "rows")
        self._nonnegative = quantity.split(maxsplit=1)[0] in NONNEGATIVE
        self._atoms = _atoms(parts)
        self._scale = float(max((abs(v) for atom in self._atoms for v in atom.by_unit.values()), default=1) or 1)
        self._solver = _solver(self._atoms, parts, self._scale, nonnegative=self._nonnegative)
        self._targets = list(dict.fromkeys(self._wanted()))
        self._low = np.array([float(one.truth) for one in self._targets])
        self._high = self._low.copy()
        terms = [(number, *term) for number, one in enumerate(self._targets) for term in one.signed()]
        self._of = np.array([number for number, _, _ in terms], dtype=np.int64)
        self._atom = np.array([atom for _, atom, _ in terms], dtype=np.int64)
        self._signs = np.array([sign for _, _, sign in terms])

    def narrowed(self) -> Iterator[Narrowed]:
        for number, target in enumerate(self._targets):
            if not self._wide(number):
                self._solve(target, highspy.ObjSense.kMaximize, number)
            if not self._wide(number) and target.low_kept is None:
                self._solve(target, highspy.ObjSense.kMinimize, number)
            if not self._wide(number):
                low, high = float(self._low[number]), float(self._high[number])
                yield Narrowed(target.what, self._quantity, low, high, target.truth, target.needed)

    def _wide(self, number: int) -> bool:
        target = self._targets[number]
        low = self._low[number] if target.low_kept is None else target.low_kept
        return bool(self._high[number] - low >= target.needed - _SLACK * max(1.0, target.needed))

    def _wanted(self) -> Iterator[_Target]:
        places: dict[int, list[int]] = {}
        for i, atom in enumerate(self._atoms):
            for cell in atom.cells:
                places.setdefault(cell, []).append(i)
        for number, part in enumerate(self._parts):
            if part.shown is None and part.by_unit and self._breaks(part.by_unit):
                yield self._open(part.name, places[number], part.by_unit)
        yield from self._differences(places)
        for i, atom in enumerate(self._atoms):
            if atom.by_unit and len(atom.by_unit) < self._rules.units_min:
                names = sorted({self._parts[cell].name for cell in atom.cells})[:4]
                yield self._open(f"what {len(atom.by_unit)} units add in {names}", [i], atom.by_unit)
            unit, most = max(atom.by_unit.items(), key=lambda one: one[1], default=(0, 0))
            if self._nonnegative and not self._counts and most:  # the rest of an unknown may be nothing
                truth, needed = sum(atom.by_unit.values()), float(self._rules.p_percent) / 100 * most
                yield _Target(f"what unit {unit} adds", (i,), truth, needed, low_kept=float(most))

    def _breaks(self, by_unit: Mapping[int, int]) -> bool:
        """Whether a number may not be said for what stands behind it alone."""
        sizes = sorted((abs(value) for value in by_unit.values()), reverse=True)
        dominated = sum(sizes[: self._rules.dominance_units]) >= self._rules.dominance_share * sum(sizes)
        told = (sum(sizes) - sum(sizes[:2])) * 100 < self._rules.p_percent * sizes[0]
        return len(sizes) < self._rules.units_min or dominated or told

    def _differences(self, places: Mapping[int, Sequence[int]]) -> Iterator[_Target]:
        """Of each number that was withheld from those that were shown and are near to it."""
        sizes = np.array([len(atom.by_unit) for atom in self._atoms])
        member = np.zeros((len(self._parts), len(self._atoms)), dtype=np.int64)
        for cell, inside in places.items():
            member[cell, inside] = 1
        hidden = [i for i, part in enumerate(self._parts) if part.shown is None and part.by_unit]
        shown = [i for i, part in enumerate(self._parts) if part.shown is not None and part.by_unit]
        if not hidden or not shown:
            return
        units = member @ sizes
        apart = units[hidden][:, None] + units[shown][None] - 2 * (member[hidden] * sizes) @ member[shown].T
        for i, j in zip(*np.nonzero((apart > 0) & (apart < self._rules.difference_units_min)), strict=True):
            first, second = set(places[hidden[i]]), set(places[shown[j]])
            more, less = sorted(first - second), sorted(second - first)
            by_unit: dict[int, int] = {}
            for sign, atoms in ((1, more), (-1, less)):
                for unit, value in (pair for atom in atoms for pair in self._atoms[atom].by_unit.items()):
                    by_unit[unit] = by_unit.get(unit, 0) + sign * value
            what = f"{self._parts[hidden[i]].name} less {self._parts[shown[j]].name}"
            yield self._open(what, more, {unit: value for unit, value in by_unit.items() if value}, less)

    def _open(self, what: str, inside: Sequence[int], by_unit: Mapping[int, int], minus: Sequence[int] = ()) -> _Target:
        share = float(self._rules.p_percent) / 100 * max((abs(value) for value in by_unit.values()), default=0)
        needed = float(self._rules.units_min) if self._counts else share
        return _Target(what, tuple(inside), sum(by_unit.values()), needed, minus=tuple(minus))

    def _solve(self, target: _Target, sense: highspy.ObjSense, number: int) -> None:
        """Widens what is seen of `target` to the end on one side."""
        every = np.arange(len(self._atoms), dtype=np.int32)
        costs = np.zeros(len(self._atoms))
        costs[list(target.inside)] = 1
        costs[list(target.minus)] = -1
        self._solver.changeColsCost(len(every), every, costs)
        self._solver.changeObjectiveSense(sense)
        self._solver.run()
        status = self._solver.getModelStatus()
        if status in (highspy.HighsModelStatus.kUnbounded, highspy.HighsModelStatus.kUnboundedOrInfeasible):
            if sense == highspy.ObjSense.kMaximize:
                self._high[number] = np.inf
            else:
                self._low[number] = -np.inf
            return
        assert status == highspy.HighsModelStatus.kOptimal, (status, self._quantity)
        world = np.array(self._solver.getSolution().col_value) * self._scale
        values = np.bincount(self._of, weights=self._signs * world[self._atom], minlength=len(self._targets))
        self._low, self._high = np.minimum(self._low, values), np.maximum(self._high, values)


def _atoms(parts: Sequence[Part]) -> list[_Atom]:
    inside: dict[int, list[int]] = {}
    for number, part in enumerate(parts):
        for item in part.values:
            inside.setdefault(item, []).append(number)
    found: dict[frozenset[int], dict[int, int]] = {}
    for item, cells in inside.items():
        part = parts[cells[0]]
        by_unit = found.setdefault(frozenset(cells), {})
        by_unit[part.owners[item]] = by_unit.get(part.owners[item], 0) + part.values[item]
    return [_Atom(cells, {u: v for u, v in by_unit.items() if v}) for cells, by_unit in found.items()]


def _solver(atoms: Sequence[_Atom], parts: Sequence[Part], scale: float, *, nonnegative: bool) -> highspy.Highs:
    """Raises AssertionError where the answers contradict one another: then they cannot all be near the truth."""
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)  # noqa: FBT003  # the solver's own way
    solver.setOptionValue("threads", 1)
    for _ in atoms:
        solver.addVar(0 if nonnegative else -highspy.kHighsInf, highspy.kHighsInf)
    for number, part in enumerate(parts):
        inside = np.array([i for i, atom in enumerate(atoms) if number in atom.cells], dtype=np.int32)
        if part.shown is not None and len(inside):
            low, high = part.shown[0] / scale, part.shown[1] / scale
            solver.addRow(low, high, len(inside), inside, np.ones(len(inside)))
    solver.run()
    assert solver.getModelStatus() in (highspy.HighsModelStatus.kOptimal, highspy.HighsModelStatus.kModelEmpty)
    return solver
