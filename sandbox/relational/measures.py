"""From aggregates to statistics: what each needs, what several can share, and the norm of one unit's part.

COUNT(x), AVG(x), VAR(x) and STDDEV(x) of one argument are one vector with one price. COVAR, CORR and REGR of one pair
of arguments are another. Quantiles of one argument share the counting, and each has a price of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Literal, assert_never

from policies.types import BIGINT, DOUBLE, Type
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import ColumnFacts, Facts, Refuse
from sandbox.relational.nodes import Measure
from sandbox.relational.scalar import facts_of, numeric_bounds
from sandbox.relational.statistics import (
    CENTRED_GRID,
    COUNT_GRID,
    LEVELS_WORTH,
    NORM_MAX,
    Argument,
    Component,
    DistinctCount,
    Norm,
    Quantiles,
    Shape,
    Statistic,
    Vector,
)

STEPS_MAX = 2**40
RANGES_WORTH = 256
"""A range of fewer steps is taken as declared."""
UNBOUNDED_DOUBLE_STEP = Fraction(1, 2**20)
"""Grid of doubles without a declared range: levels then reach from a millionth to four billion."""
DAY_S = 86_400
TYPES_MAX = {"integer": 2**31 - 1, "bigint": 2**63 - 1}
QUANTILE_CELLS_MAX = 5_000
"""Most quantiles of one answer: each costs two choices among up to a thousand cells."""
CELLS_MAX = 2**20
"""Most cells of the grid of a quantile."""
DENOMINATOR_MAX = 10_000
LABELLED = {"min": Fraction(1, 200), "max": Fraction(199, 200)}
"""MIN and MAX hang on single units; where a policy grants them, these quantiles are answered, and labelled so."""

Kind = Literal["rows", "present", "units", "sum", "moments", "comoments", "distinct", "quantiles"]
_KINDS: Mapping[str, Kind] = {
    "count_rows": "rows",
    "count": "present",
    "count_units": "units",
    "count_distinct": "distinct",
    "sum": "sum",
    **dict.fromkeys(("avg", "var_pop", "var_samp", "stddev_pop", "stddev_samp"), "moments"),
    **dict.fromkeys(("covar_pop", "covar_samp", "corr", "regr_slope", "regr_intercept"), "comoments"),
    **dict.fromkeys(("quantile", "min", "max"), "quantiles"),
}
Need = tuple[Kind, Expression | None, Expression | None]
"""What a statistic is told from others by: its kind and what it is of."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What becomes of one measure: a function of one of the plan's statistics."""

    measure: Measure
    statistic: int
    type: Type
    fraction: Fraction | None = None
    """Of a quantile; among the `fractions` of its statistic."""


def statistics_of(
    measures: Sequence[Measure], facts: Facts, shape: Shape, cells: int
) -> tuple[tuple[Statistic, ...], tuple[Figure, ...]]:
    """The statistics that `measures` need, each once, and how each measure is told from them. Raises Refuse.

    `cells` is the number of public groups, or an estimate where they are private: finer quantiles for fewer groups.
    Guarantee: the norms bound what one unit can add after the bounding that `lower` writes into the SQL.
    Source: docs/explanation/guarantees/sum.md, mean.md, moments.md, distinct.md, quantile.md
    """
    needs = [_need(measure, measures, facts) for measure in measures]
    order = list(dict.fromkeys(needs))
    groups = {need: [m for m, other in zip(measures, needs, strict=True) if other == need] for need in order}
    statistics = tuple(_statistic(need, groups[need], facts, shape, cells) for need in order)
    figures = tuple(
        Figure(measure, order.index(need), figure_type(measure, facts), fraction_of(measure))
        for measure, need in zip(measures, needs, strict=True)
    )
    return statistics, figures


def _need(measure: Measure, every: Sequence[Measure], facts: Facts) -> Need:
    kind = _KINDS[measure.function]
    if kind == "comoments":
        return kind, _argument(measure), _other(measure)
    if kind == "present" and _counted_with_mean(measure, every, facts):
        return "moments", measure.argument, None
    return kind, measure.argument, None


def _counted_with_mean(measure: Measure, every: Sequence[Measure], facts: Facts) -> bool:
    """COUNT(x) beside AVG(x): one vector holds both. Not for doubles, whose NaN is counted and not averaged."""
    beside = any(m.argument == measure.argument and _KINDS[m.function] == "moments" for m in every)
    return beside and facts_of(_argument(measure), facts).type.kind != "double"


def fraction_of(measure: Measure) -> Fraction | None:
    """The share of values that lie below. Its denominator is bounded, for scores are multiples of it."""
    if measure.function in LABELLED:
        return LABELLED[measure.function]
    if measure.fraction is None:
        return None
    found = Fraction(measure.fraction)
    if not 0 <= found <= 1 or found.denominator > DENOMINATOR_MAX:
        detail = "a quantile is of a fraction from 0 to 1, with at most four decimals"
        raise Refuse("construct_not_allowed", detail, hint="QUANTILE_CONT(x, 0.5)", at=measure.at)
    return found


def _statistic(need: Need, measures: Sequence[Measure], facts: Facts, shape: Shape, cells: int) -> Statistic:
    kind, first = need[0], measures[0]
    match kind:
        case "rows":
            return _count(Component("rows", _count_grid(shape)), shape, first)
        case "present":
            return _count(Component("present", _count_grid(shape), _counted(first, facts)), shape, first)
        case "units":
            return _units(first, facts, shape)
        case "sum":
            return _sum(first, facts, shape)
        case "moments":
            squares = any(m.function not in ("avg", "count") for m in measures)
            return _moments(first, facts, shape, squares=squares)
        case "comoments":
            return _comoments(first, facts, shape)
        case "distinct":
            return _distinct(first, facts, shape)
        case "quantiles":
            return _quantiles(measures, facts, shape, cells)
        case _:
            assert_never(kind)


def figure_type(measure: Measure, facts: Facts) -> Type:
    """Counts are whole; sums and quantiles of whole or fixed-point columns keep their kind; all else is a double.

    So is a sum of whole numbers on a grid coarser than 1: counted in steps, it may be too large for 64 bits.
    """
    if measure.function.startswith("count"):
        return BIGINT
    if measure.function not in ("sum", "quantile", "min", "max"):
        return DOUBLE
    argument = _argument(measure)
    found = facts_of(argument, facts)
    if found.type.temporal and measure.function != "sum":
        return found.type
    if found.type.whole:
        summed = measure.function == "sum" and numeric_bounds(found.bounds)
        return DOUBLE if summed and _bounded(argument, measure, facts).step > 1 else BIGINT
    if found.type.kind == "decimal" and isinstance(argument, Column):
        return Type("decimal", 38, found.type.scale)
    return DOUBLE


def _argument(measure: Measure) -> Expression:
    if measure.argument is None:
        raise Refuse("aggregate_not_allowed", "this aggregate needs an argument", at=measure.at)
    return measure.argument


def _other(measure: Measure) -> Expression:
    if measure.other is None:
        raise Refuse("aggregate_not_allowed", "this aggregate needs two arguments", at=measure.at)
    return measure.other


def _counted(measure: Measure, facts: Facts) -> Argument:
    argument = _argument(measure)
    if not (isinstance(argument, Column) and argument.name in (facts.unit or ())):
        facts_of(argument, facts)
    return Argument(argument)


def _count_grid(shape: Shape) -> int:
    """Whole numbers are enough where no unit can lie in several groups: its clamp is then exact."""
    return 1 if shape.one_group else COUNT_GRID


def _vector(components: tuple[Component, ...], norm: Norm, floor: int, measure: Measure, *, loose: bool) -> Vector:
    if norm.total > NORM_MAX:
        hint = "narrow the range of the column, or ask for a coarser step in the policy"
        raise Refuse("bound_missing", "the declared bounds are too wide to be exact", hint=hint, at=measure.at)
    return Vector(components, norm, floor, loose)


def _count(component: Component, shape: Shape, measure: Measure) -> Vector:
    most = component.grid * shape.rows
    return _vector((component,), Norm(most**2, most), component.grid, measure, loose=shape.rows >= LEVELS_WORTH)


def _units(measure: Measure, facts: Facts, shape: Shape) -> Vector:
    grid = 1 if shape.one_group or shape.all_groups else COUNT_GRID
    groups = 1 if shape.one_group else shape.groups
    condition = None if measure.argument is None else Argument(measure.argument)
    if condition is not None and facts_of(condition.expression, facts).type.kind != "boolean":
        raise Refuse("type_mismatch", "units are counted by a condition", at=measure.at)
    component, loose = Component("units", grid, condition), groups >= LEVELS_WORTH
    return _vector((component,), Norm(grid * grid * groups, grid * groups), grid, measure, loose=loose)


def _sum(measure: Measure, facts: Facts, shape: Shape) -> Vector:
    """A unit's rows add at most rows x the largest value, or the declared total, on the grid of the column.

    Without a declared range there is no such bound: the widest one that is exact stands in, and levels choose.
    """
    argument = _argument(measure)
    found = _numeric(argument, measure, facts)
    bounded = _bounded(argument, measure, facts)
    if not numeric_bounds(found.bounds):
        return _vector((Component("value", 1, bounded),), Norm(NORM_MAX**2, NORM_MAX), 1, measure, loose=True)
    largest = max(abs(_steps(bounded.low, bounded.step)), abs(_steps(bounded.high, bounded.step)))
    most = min(shape.rows * largest, NORM_MAX)
    if found.declared is not None and found.declared.total_per_unit_max is not None:
        most = min(most, _steps(Fraction(found.declared.total_per_unit_max), bounded.step))
    most = max(most, 1)
    return _vector((Component("value", 1, bounded),), Norm(most**2, most), 1, measure, loose=most >= LEVELS_WORTH)


def _moments(measure: Measure, facts: Facts, shape: Shape, *, squares: bool) -> Vector:
    """(1, u) per row with u centred in [-1, 1], and 2u^2 - 1 where squares are asked: one norm, and so one price."""
    argument, grid = _bounded(_argument(measure), measure, facts), CENTRED_GRID
    components = [Component("finite", grid, argument), Component("centred", grid, argument)]
    if squares:
        components.append(Component("square", grid, argument))
    return _polynomials(tuple(components), shape, measure, ranged=_wide(argument))


def _comoments(measure: Measure, facts: Facts, shape: Shape) -> Vector:
    """(1, u, v, uv, 2u^2 - 1, 2v^2 - 1) per row in which both are numbers."""
    first, second = (_bounded(one, measure, facts) for one in (_argument(measure), _other(measure)))
    grid = CENTRED_GRID
    components = (
        Component("finite", grid, first, second),
        Component("centred", grid, first, second),
        Component("centred", grid, second, first),
        Component("product", grid, first, second),
        Component("square", grid, first, second),
        Component("square", grid, second, first),
    )
    return _polynomials(components, shape, measure, ranged=_wide(first) or _wide(second))


def _wide(argument: Argument) -> bool:
    """Whether a narrower range may be worth its price: not for ages or grades, whose few values are all likely."""
    return argument.high - argument.low >= RANGES_WORTH * argument.step


def _polynomials(components: tuple[Component, ...], shape: Shape, measure: Measure, *, ranged: bool) -> Vector:
    """Every component of a row lies in [-1, 1], in steps of the grid."""
    size, most = len(components), CENTRED_GRID * shape.rows
    one = math.isqrt(size * CENTRED_GRID**2) + 1
    loose = shape.rows >= LEVELS_WORTH
    return replace(_vector(components, Norm(size * most**2, size * most), one, measure, loose=loose), ranged=ranged)


def _distinct(measure: Measure, facts: Facts, shape: Shape) -> DistinctCount:
    """A unit counts for one pair per row, and for no more pairs than groups are counted of it."""
    found = facts_of(_argument(measure), facts)
    most = min(shape.rows, shape.pairs_max)
    if found.keys is not None:
        most = min(most, len(found.keys) * (1 if shape.one_group else shape.groups))
    alone = shape.unit_once or (shape.one_group and found.of_unit)  # one pair, by structure
    return DistinctCount(_argument(measure), 1 if alone else max(1, most), ranked=not alone)


def _quantiles(measures: Sequence[Measure], facts: Facts, shape: Shape, cells: int) -> Quantiles:
    """A grid of the column's own steps where they are few, else as fine as two passes can carry."""
    fractions = sorted({f for f in map(fraction_of, measures) if f is not None})
    if cells * len(fractions) > QUANTILE_CELLS_MAX:
        detail = f"quantiles are answered for at most {QUANTILE_CELLS_MAX} groups"
        raise Refuse("result_too_large", detail, hint="group by fewer or coarser keys", at=measures[0].at)
    if DENOMINATOR_MAX * shape.rows * COUNT_GRID > NORM_MAX:
        detail = "a unit may have too many rows here for a quantile to be sized"
        raise Refuse("bound_missing", detail, hint="ask for one table at a time", at=measures[0].at)
    return quantiles_on(
        _in_order(_argument(measures[0]), measures[0], facts),
        tuple(fractions),
        rows=shape.rows,
        grid=1 if shape.unit_once else COUNT_GRID,
        cells_max=cells_max_of(cells),
    )


def cells_max_of(groups: int) -> int:
    """So many cells that one pass over all `groups` returns about as many rows as an answer has numbers at most."""
    return min(CELLS_MAX, max(16, 100_000 // max(1, groups)) ** 2)


def quantiles_on(
    argument: Argument, fractions: tuple[Fraction, ...], *, rows: int, grid: int, cells_max: int
) -> Quantiles:
    """Quantiles on the grid that `argument` allows within `cells_max` cells."""
    step, width = argument.step, argument.high - argument.low
    count = math.floor(width / step) + 1
    if count > cells_max:
        step *= -(-count // cells_max)
        count = math.floor(width / step) + 1
    coarser = step != argument.step
    return Quantiles(
        argument=argument,
        fractions=fractions,
        cells=count,
        cell=step,
        inner=max(1, math.isqrt(count - 1) + 1),
        rows=rows,
        grid=grid,
        cells_max=cells_max,
        coarser=coarser,
        ranged=coarser,
    )


def _numeric(argument: Expression, measure: Measure, facts: Facts) -> ColumnFacts:
    found = facts_of(argument, facts)
    if not found.type.numeric:
        detail = f"{measure.function.upper()} needs a number, and {found.label} is of type {found.type}"
        raise Refuse("type_mismatch", detail, at=argument.at or measure.at)
    return found


def _bounded(argument: Expression, measure: Measure, facts: Facts) -> Argument:
    """The argument with its bounds. Where none can be derived, the widest that are exact stand in, to be narrowed."""
    found = _numeric(argument, measure, facts)
    if not numeric_bounds(found.bounds):
        return _widest(argument, found)
    low, high = found.bounds
    return Argument(argument, low, high, _step(found, low, high))


def _in_order(argument: Expression, measure: Measure, facts: Facts) -> Argument:
    """Of a quantile: a number, or a time, which is counted in days or seconds (see `lower.inputs.counted`)."""
    found = facts_of(argument, facts)
    if not found.type.temporal:
        return _bounded(argument, measure, facts)
    edges = found.bounds if found.bounds is not None else (date.min, date.max)
    low, high = (elapsed(edge) for edge in edges if not isinstance(edge, Fraction))
    return Argument(argument, *((low, high) if found.type.kind == "timestamp" else (low // DAY_S, high // DAY_S)))


def elapsed(moment: date | datetime) -> Fraction:
    """Whole seconds since the first day of 1970."""
    start = datetime(1970, 1, 1)  # noqa: DTZ001  # timestamps of policies carry no zone
    day = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001
    return Fraction((day - start) // timedelta(seconds=1))


def _widest(argument: Expression, found: ColumnFacts) -> Argument:
    step = UNBOUNDED_DOUBLE_STEP if found.type.kind == "double" else Fraction(1, 10 ** (found.type.scale or 0))
    most = min(NORM_MAX, TYPES_MAX.get(found.type.kind, 10 ** (found.type.precision or 99) - 1))
    return Argument(argument, -most * step, most * step, step)


def _step(found: ColumnFacts, low: Fraction, high: Fraction) -> Fraction:
    """The grid: the column's own where it is fine enough to matter and coarse enough to carry."""
    width = max(high - low, abs(low), abs(high), Fraction(1, 10**12))
    if found.step is None:
        return width / CENTRED_GRID
    step = found.step
    while width / step > STEPS_MAX:
        step *= 10
    return step


def _steps(value: Fraction, step: Fraction) -> int:
    """`value` in steps, away from 0."""
    exact = value / step
    return math.ceil(exact) if exact >= 0 else math.floor(exact)
