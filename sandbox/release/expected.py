"""The answer as it is expected to be, told before it is paid for: from the price and declared counts alone.

A stand-in for the release, with the noise that it will have around numbers that the declared counts suggest, goes
through the very code that presents releases. Where norms are chosen by levels the declared norm stands in, so that the
interval told is rather too wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import assert_never

from policies.types import Value
from sandbox.relational.expectation import rows_expected, units_expected
from sandbox.relational.measures import Figure
from sandbox.relational.price import Share
from sandbox.relational.statistics import NORM_MAX, Component, DistinctCount, Quantiles, Statistic, Vector
from sandbox.release import noise, post, present
from sandbox.release.answer import band_of
from sandbox.release.cells import Row, Table
from sandbox.release.make import Job, grids_of, released_measures
from sandbox.release.present import Cell
from sandbox.release.released import ReleasedStatistic


@dataclass(frozen=True, slots=True)
class Expected:
    """What an output column will be like. Never from data: the same for every snapshot."""

    half_width: Fraction
    """Half the width of its interval."""
    value: Fraction | None
    """About the number itself; None where the groups are private, and nobody knows how many there are."""


def half_widths(found: Sequence[Expected | None], shown: Sequence[post.Shown]) -> tuple[Value, ...]:
    """Half the width of the interval per output column; None for keys and where there is no rule."""
    return tuple(
        None if e is None else present.as_value(e.half_width, s.type, up=True)
        for e, s in zip(found, shown, strict=True)
    )


def values(found: Sequence[Expected | None], shown: Sequence[post.Shown]) -> tuple[Value, ...]:
    """What each output column is expected to be near to; None where there is no rule."""
    return tuple(
        None if e is None or e.value is None else present.as_value(e.value, s.type)
        for e, s in zip(found, shown, strict=True)
    )


def expectations(job: Job, shown: Sequence[post.Shown], alpha: float = present.ALPHA) -> tuple[Expected | None, ...]:
    """What to expect of each output column at a confidence of 1 - alpha; None for keys and where there is no rule."""
    table = _stand_in(job)
    unknown = {f"m{i}" for i, figure in enumerate(job.plan.figures) if not _known(job, figure)}
    sized = job.plan.cells is not None
    return tuple(None if unknown & set(s.reads) else _expected(table, s, alpha, sized=sized) for s in shown)


def _known(job: Job, figure: Figure) -> bool:
    """Whether anything can be told: not where nothing is declared of its size, so that the norm and with it the noise
    is known when it was chosen; nor of a mean over a group of whose size nothing is known."""
    statistic = job.plan.statistics[figure.statistic]
    if not isinstance(statistic, Vector):
        return True
    return statistic.norm.total < NORM_MAX and (len(statistic.components) == 1 or job.plan.cells is not None)


def _expected(table: Table, shown: post.Shown, alpha: float, *, sized: bool) -> Expected | None:
    band = band_of(table, table.rows[0], shown, alpha)
    if band is None:
        return None
    low, high = band
    return Expected((high - low) / 2, (low + high) / 2 if sized else None)


def _stand_in(job: Job) -> Table:
    """One group of about the expected size, whose keys nobody knows."""
    plan, pairs = job.plan, zip(job.plan.statistics, job.budget.shares, strict=True)
    statistics = tuple(_statistic(job, statistic, share) for statistic, share in pairs)
    nobody = (None,) * len(plan.keys)
    row = Row(nobody, tuple(Cell(s.noisy[0]) for s in statistics), (0,) * len(nobody), near_threshold=False)
    keys = tuple(key.type for key in plan.keys)
    return Table(keys, released_measures(plan), statistics, (row,), units_dropped=False)


def _statistic(job: Job, statistic: Statistic, share: Share) -> ReleasedStatistic:
    accountant = job.dp.accountant
    match statistic:
        case Vector():
            scale = noise.scale_of(statistic.norm, accountant, share.values)
            cell = tuple(_component(job, component) for component in statistic.components)
            grid = statistic.components[0].grid
            return ReleasedStatistic(scale.mechanism, scale.value, grid, grids_of(statistic), None, (cell,))
        case DistinctCount():
            scale = noise.scale_of(statistic.norm, accountant, share.values)
            return ReleasedStatistic(scale.mechanism, scale.value, 1, (), None, ((_units(job),),))
        case Quantiles():
            scale = noise.choice_scale(statistic.weight, accountant, share.values, monotonic=False)
            middle = (statistic.cells // 2,) * len(statistic.fractions)
            return ReleasedStatistic(scale.mechanism, scale.value, 1, grids_of(statistic), None, (middle,))
        case _:
            assert_never(statistic)


def _component(job: Job, component: Component) -> int:
    """What a group is expected to add up to: values in the middle, spread as evenly as their range allows."""
    rows = rows_expected(job.plan)
    match component.part:
        case "rows" | "present" | "finite":
            return round(rows * component.grid)
        case "units":
            return _units(job) * component.grid
        case "value":
            argument = component.argument
            return 0 if argument is None else round(rows * argument.middle / argument.step)
        case "centred" | "product":
            return 0
        case "square":  # 2u^2 - 1 over values spread evenly: two thirds less one
            return -round(rows * component.grid / 3)
        case _:
            assert_never(component.part)


def _units(job: Job) -> int:
    return round(units_expected(job.plan))
