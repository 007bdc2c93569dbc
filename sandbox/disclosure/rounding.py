"""Numbers as they are said: counts rounded to the policy's base, sums and means to match, totals that add up.

Rounding protects nothing by itself here; every rule before it takes numbers to be exact. It hides what is not needed,
and is told: each number comes with the interval in which the exact one lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sandbox.disclosure.cells import Cell
from sandbox.disclosure.intake import Part
from sandbox.disclosure.plan import Figure, ProtectedPlan

Cells = Sequence[Sequence[Sequence[Cell]]]
"""By part, quantity and place."""
Place = tuple[int, int]
"""Part and place in it."""


@dataclass(frozen=True, slots=True)
class Number:
    """`value`, with the exact one within `half` of it."""

    value: Fraction
    half: Fraction


def rounded(
    plan: ProtectedPlan, cells: Cells, parts: Sequence[Part], shown: Mapping[Place, Sequence[bool]]
) -> dict[Place, tuple[Number | None, ...]]:
    """The numbers of the figures that are shown; None for all others."""
    columns = [_column(plan, number, cells, parts, shown) for number in range(len(plan.figures))]
    return {place: tuple(column.get(place) for column in columns) for place in shown}


def _column(
    plan: ProtectedPlan, number: int, cells: Cells, parts: Sequence[Part], shown: Mapping[Place, Sequence[bool]]
) -> dict[Place, Number]:
    figure, base = plan.figures[number], Fraction(plan.rules.rounding)
    wanted = [place for place, flags in shown.items() if flags[number]]
    exact = {place: _exact(figure, plan, cells, place) for place in wanted}
    if figure.divisor is not None:
        return {place: _mean(exact[place], _size(figure, cells, place), base) for place in wanted}
    if any(plan.quantities[i].kind == "sum" for _, i in figure.terms):
        sizes = sum(_size(figure, cells, place) for place in wanted)
        base = step_below(base * sum(abs(total) for total in exact.values()) / sizes) if sizes else base
    return _added_up(plan, figure, cells, parts, {place: nearest(exact[place], base) for place in wanted})


def _exact(figure: Figure, plan: ProtectedPlan, cells: Cells, place: Place) -> Fraction:
    part, group = place
    total = sum(
        (coefficient * plan.quantities[i].worth * cells[part][i][group].total for coefficient, i in figure.terms),
        Fraction(0),
    )
    return total if figure.divisor is None else total / cells[part][figure.divisor][group].total


def _size(figure: Figure, cells: Cells, place: Place) -> int:
    """The number of rows behind a number."""
    part, group = place
    used = [i for _, i in figure.terms] if figure.divisor is None else [figure.divisor]
    return max(len(cells[part][i][group].rows) for i in used)


def nearest(exact: Fraction, base: Fraction) -> Number:
    """The multiple of `base` that is nearest; the number itself where `base` is 0."""
    return Number(exact, Fraction(0)) if not base else Number(round(exact / base) * base, base / 2)


def _mean(exact: Fraction, size: int, base: Fraction) -> Number:
    """As many digits as the rounded count behind it carries: more of them would tell the count."""
    return nearest(exact, step_below(abs(exact) * base / size) if base else Fraction(0))


def step_below(size: Fraction) -> Fraction:
    """The largest of 1, 2 and 5 times a power of ten that is at most `size`; 0 for 0."""
    if size <= 0:
        return Fraction(0)
    power = Fraction(1)
    while power * 10 <= size:
        power *= 10
    while power > size:
        power /= 10
    return max(step * power for step in (1, 2, 5) if step * power <= size)


def _added_up(
    plan: ProtectedPlan, figure: Figure, cells: Cells, parts: Sequence[Part], found: dict[Place, Number]
) -> dict[Place, Number]:
    """Totals as the sums of the numbers that are shown for their groups, where all of these are: finer parts first."""
    done: dict[Place, Number] = {}
    for i in sorted(range(len(parts)), key=lambda i: -len(parts[i].kept)):
        finer = [j for j in range(len(parts)) if set(parts[i].kept) < set(parts[j].kept)]
        finer.sort(key=lambda j: len(parts[j].kept))
        below = {j: _children(parts[i], parts[j]) for j in finer}
        for place in [place for place in found if place[0] == i]:
            done[place] = found[place]
            for j in finer:
                children = [(j, child) for child in below[j].get(place[1], ())]
                if children and all(c in done for c in children) and _adds_up(figure, cells, place, children):
                    numbers = [done[child] for child in children]
                    done[place] = Number(
                        sum((n.value for n in numbers), Fraction(0)), sum((n.half for n in numbers), Fraction(0))
                    )
                    break
    return done


def _children(coarse: Part, fine: Part) -> dict[int, list[int]]:
    """The groups of `fine` by the group of `coarse` that they lie in, as the keys say: with rows or without."""
    numbers = {_kept(keys, coarse.kept): place for place, keys in enumerate(coarse.keys)}
    found: dict[int, list[int]] = {}
    for place, keys in enumerate(fine.keys):
        found.setdefault(numbers[_kept(keys, coarse.kept)], []).append(place)
    return found


def _kept(keys: Sequence[object], kept: Sequence[int]) -> tuple[tuple[type, object], ...]:
    return tuple((type(keys[i]), keys[i]) for i in kept)


def _adds_up(figure: Figure, cells: Cells, place: Place, children: Sequence[Place]) -> bool:
    """Whether the rows of the children are the rows of the whole: a unit may be in several groups."""
    return all(
        len(cells[place[0]][i][place[1]].rows) == sum(len(cells[part][i][group].rows) for part, group in children)
        for _, i in figure.terms
    )
