"""The vectors of a release: what each unit adds to each group, scaled down to the norm, and summed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from policies.model import Accountant
from sandbox.relational.facts import Facts
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.statistics import Argument, Component, Vector
from tests.reference.doubles import HALF_UNIT, Close, Double, Undecided, double, first_level, total
from tests.reference.groups import Group, by_unit_and_group
from tests.reference.relations import Rows
from tests.reference.rows import counted, counting, finite
from tests.reference.scalars import evaluate, number

Part = dict[Group, list[Close]]
"""What one unit adds: per group, the components of a vector."""
SHRINK = 1 - Fraction(1, 2**40)
"""A scaled part is made this much shorter (bounding.md)."""
DOUBLES = 32 * HALF_UNIT
"""More than the relative error of a root, a quotient and two products of doubles."""


@dataclass(frozen=True)
class Raw:
    """What each unit adds to each vector of a plan, before any norm."""

    groups: frozenset[Group]
    units: tuple[tuple[Part, ...], ...]


def raw_parts(plan: ReleasePlan, rows: Rows, survivors: Sequence[Group] | None) -> Raw:
    units = by_unit_and_group(plan, rows, survivors)
    parts = tuple(tuple(_part(groups, vector, plan.facts) for vector in plan.vectors) for groups in units.values())
    return Raw(frozenset(group for groups in units.values() for group in groups), parts)


def _part(groups: Mapping[Group, Rows], vector: Vector, facts: Facts) -> Part:
    return {
        group: [component_total(component, rows, facts) for component in vector.components]
        for group, rows in groups.items()
    }


def vectors(
    plan: ReleasePlan, raw: Raw, accountant: Accountant, count_max: int, bounded: Sequence[Vector]
) -> dict[Group, list[Close]]:
    """The exact bounded vectors, one after the other, for each group that has rows; `bounded` have the norms."""
    found: dict[Group, list[Close]] = {group: [] for group in (raw.groups if plan.keys else [()])}
    for i, vector in enumerate(bounded):
        parts = [scaled_to_norm(clamped(unit[i], vector, accountant), vector, accountant) for unit in raw.units]
        most = min(count_max * vector.norm.total, 2**62)
        for group, numbers in found.items():
            for j in range(len(vector.components)):
                numbers.append(total(part[group][j] for part in parts if group in part).within(-most, most))
    return found


def level_counts(plan: ReleasePlan, raw: Raw, accountant: Accountant) -> dict[tuple[int, int, int], Sequence[Close]]:
    """(number of the vector, level, units), for the vectors whose norm is chosen."""
    found = Counter(
        (i, level_of(clamped(unit[i], vector, accountant), vector, accountant))
        for i, vector in enumerate(plan.vectors)
        for unit in raw.units
        if vector.loose
    )
    return {(*level, units): () for level, units in found.items()}


def level_of(part: Part, vector: Vector, accountant: Accountant) -> int:
    """The first level whose norm holds the part: each is the root of two times the one before."""
    power = 2 if accountant == "pure" else 1  # under zcdp sizes are squares already
    first = Fraction(vector.first_level(accountant))
    found = {
        min(first_level(double(size) / double(first), power), vector.levels(accountant))
        for size in _sizes(part, accountant)
    }
    if len(found) != 1:
        raise Undecided
    return found.pop()


def _sizes(part: Part, accountant: Accountant) -> set[Fraction]:
    """What the size of a part may be."""
    flat = [number for numbers in part.values() for number in numbers]
    each = [
        [abs(n.value) for n in flat],
        [max(abs(n.value) - n.slack, 0) for n in flat],
        [abs(n.value) + n.slack for n in flat],
    ]
    return {Fraction(_size(numbers, accountant)) for numbers in each}


def clamped(part: Part, vector: Vector, accountant: Accountant) -> Part:
    """Each group within the norm by itself."""
    return {group: _clamped_cell(numbers, vector, accountant) for group, numbers in part.items()}


def _clamped_cell(numbers: list[Close], vector: Vector, accountant: Accountant) -> list[Close]:
    if len(numbers) > 1:
        return _scaled(numbers, vector.limit(accountant), accountant, in_doubles=True)
    most = math.isqrt(vector.norm.squared) if accountant == "zcdp" else vector.norm.total
    return [numbers[0].within(-most, most)]


def scaled_to_norm(part: Part, vector: Vector, accountant: Accountant) -> Part:
    """A unit's cells over all groups, scaled by one factor where together they pass the norm."""
    if len(part) < 2:
        return part
    flat = _scaled([v for vs in part.values() for v in vs], vector.limit(accountant), accountant, in_doubles=False)
    size = len(vector.components)
    return {group: flat[i * size : (i + 1) * size] for i, group in enumerate(part)}


def component_total(component: Component, rows: Rows, facts: Facts) -> Close:
    """One component over the rows of one unit in one group, before any norm."""
    argument, grid = component.argument, component.grid
    if component.part == "rows":
        return Close(len(rows) * grid)
    if argument is None:
        return Close(grid)  # a unit, by itself
    asked = argument.expression
    match component.part:
        case "present":
            return Close(sum(evaluate(asked, row, facts) is not None for row in rows) * grid)
        case "units":
            return Close(grid if any(evaluate(asked, row, facts) is True for row in rows) else 0)
        case "finite":
            return Close(len(_numbers(component, rows, facts)) * grid)
        case "value" | "centred":
            return _linear(component, argument, _numbers(component, rows, facts), facts)
        case "square" | "product":
            square = component.part == "square"
            second = argument if square or component.other is None else component.other
            pairs = (
                [_centred(number(one.expression, row, facts), one) for one in (argument, second)]
                for row in _numbers(component, rows, facts)
            )
            return total(_product(u, v, grid, square=square) for u, v in pairs)
    raise AssertionError(component.part)


def _numbers(component: Component, rows: Rows, facts: Facts) -> Rows:
    """The rows in which every argument is a number."""
    arguments = [a.expression for a in (component.argument, component.other) if a is not None]
    return [row for row in rows if all(finite(argument, row, facts) for argument in arguments)]


def _linear(component: Component, argument: Argument, rows: Rows, facts: Facts) -> Close:
    how = counting(argument.expression, argument.low, argument.high, argument.step, facts)
    found = total(step for row in rows if (step := counted(argument.expression, row, how, facts)) is not None)
    if component.part == "value":
        if how.worth == argument.step:
            return found
        exact = double(found.value) / double(argument.step / how.worth)
        steps = exact.nearest()
        return Close(steps.value, steps.slack + _carried(found.slack, how.worth / argument.step))
    if not argument.half:
        return Close(0)
    moved = double(found.value) * double(how.worth) - double(len(rows)) * double(argument.middle)
    steps = (moved / double(argument.half) * double(component.grid)).toward_zero()
    return Close(steps.value, steps.slack + _carried(found.slack, how.worth * component.grid / argument.half))


def _carried(slack: int, factor: Fraction) -> int:
    return math.ceil(slack * factor) if slack else 0


def _centred(x: float | None, argument: Argument) -> Double:
    """Clamped, and mapped to [-1, 1]."""
    assert x is not None
    if not argument.half:
        return double(0)
    inside = min(max(Fraction(x), Fraction(float(argument.low))), Fraction(float(argument.high)))
    return (double(inside) - double(argument.middle)) / double(argument.half)


def _product(u: Double, v: Double, grid: int, *, square: bool) -> Close:
    exact = double(2) * u * v - double(1) if square else u * v
    return (exact * double(grid)).nearest().within(-grid, grid)


def _size(numbers: Sequence[int], accountant: Accountant) -> int:
    return sum(n * n for n in numbers) if accountant == "zcdp" else sum(abs(n) for n in numbers)


def _scaled(numbers: list[Close], limit: int, accountant: Accountant, *, in_doubles: bool) -> list[Close]:
    """Scaled down to the norm and rounded toward 0, where they pass it.

    Slack of what goes in: scaling to a ball at most doubles a distance, rounding adds 1, and whether the part passes
    the norm at all may be decided otherwise, which moves a number by 2^-40 of itself.
    """
    size, before = _size([n.value for n in numbers], accountant), sum(n.slack for n in numbers)
    scaled = [_shrunk(n.value, limit, size, accountant) if size > limit else Close(n.value) for n in numbers]
    near = before > 0 or (in_doubles and 0 < abs(size - limit) <= size * DOUBLES)
    if not near:
        return scaled
    return [Close(n.value, n.slack + 2 * before + 1 + abs(n.value) // 2**40) for n in scaled]


def _shrunk(value: int, limit: int, size: int, accountant: Accountant) -> Close:
    """value x norm / size x (1 - 2^-40), toward 0: the root is taken of the whole, in integers."""
    sign, exact = (-1 if value < 0 else 1), Fraction(limit, size)
    if accountant == "zcdp":
        inside = partial(_root, value * value * exact * SHRINK * SHRINK)
    else:
        inside = partial(_floor, abs(value) * exact * SHRINK)
    found = inside(Fraction(1))
    slack = max(inside(1 + DOUBLES) - found, found - inside(1 - DOUBLES))
    return Close(sign * found, slack)


def _root(number: Fraction, factor: Fraction) -> int:
    return math.isqrt(math.floor(number * factor * factor))


def _floor(number: Fraction, factor: Fraction) -> int:
    return math.floor(number * factor)
