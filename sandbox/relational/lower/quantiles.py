"""Where values lie on a public grid: counts per cell, from which quantiles are chosen in two passes.

Guarantee: a unit's rows together weigh at most rows x grid over all groups and cells, so removing it changes the counts
of one pass by at most that much, in L1.
Source: docs/explanation/guarantees/quantile.md
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.types import BIGINT
from sandbox.relational.facts import Schema
from sandbox.relational.lower import cells
from sandbox.relational.lower.cells import Group
from sandbox.relational.lower.inputs import counted
from sandbox.relational.lower.scalars import double
from sandbox.relational.lower.statement import Lowered, Step
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.statistics import Quantiles


def lower_coarse(
    plan: ReleasePlan, statistic: Quantiles, schema: Schema, survivors: Sequence[Group] | None = None
) -> Lowered:
    """Rows (group, coarse cell, weight)."""
    steps, source = _placed(plan, statistic, schema, survivors)
    return _weighed(plan, statistic, (*steps, Step("place", _numbered(plan, source, f"c // {statistic.inner}"))))


def lower_fine(
    plan: ReleasePlan,
    statistic: Quantiles,
    schema: Schema,
    picked: Sequence[tuple[Group, int]],
    survivors: Sequence[Group] | None = None,
) -> Lowered:
    """Rows (group, cell within the coarse cell that was picked for the group, weight); -1 is below it, `inner` above.

    `picked` holds (group, coarse cell) for every group that is answered.
    """
    steps, source = _placed(plan, statistic, schema, survivors)
    names = cells.key_names(plan)
    inner = statistic.inner
    cell = f"least(greatest(c - p * {inner}, -1), {inner})"
    place = Step("place", _numbered(plan, "beside", cell))
    matched = " AND ".join(f"{source}.{name} IS NOT DISTINCT FROM s{i}" for i, name in enumerate(names)) or "TRUE"
    pick = cells.picked(plan, picked)
    beside = Step("beside", f"SELECT {source}.*, p FROM {source} JOIN pick ON {matched}")
    return _weighed(plan, statistic, (*steps, pick, beside, place))


def _placed(
    plan: ReleasePlan, statistic: Quantiles, schema: Schema, survivors: Sequence[Group] | None
) -> tuple[tuple[Step, ...], str]:
    """Steps that end in rows (u, keys, c): the cell of each value that is a number, in groups that are answered."""
    argument = statistic.argument
    steps: tuple[Step, ...] = (cells.base(plan, schema, {counted(argument.expression, plan.facts): "x"}),)
    source, conditions = "base", ["x IS NOT NULL", *cells.admitted(plan)]
    if survivors is not None:
        steps, source, conditions = (*steps, *cells.chosen(plan, "base", survivors)), "chosen", ["x IS NOT NULL"]
    clamped = f"least(greatest(x, {double(argument.low)}), {double(argument.high)})"
    steps_up = f"floor(({clamped} - {double(argument.low)}) / {double(statistic.cell)} + 1e-9)"
    cell = f"least(greatest(TRY_CAST({steps_up} AS BIGINT), 0), {statistic.cells - 1})"
    shown = ", ".join(["u", *cells.key_names(plan), f"{cell} AS c"])
    return (*steps, Step("placed", f"SELECT {shown} FROM {source} WHERE {' AND '.join(conditions)}")), "placed"


def _numbered(plan: ReleasePlan, source: str, cell: str) -> str:
    by = ", ".join(["u", *cells.key_names(plan), "b"])
    shown = ", ".join(["u", *cells.key_names(plan), f"CAST({cell} AS BIGINT) AS b"])
    return f"SELECT {by}, count(*) AS n FROM (SELECT {shown} FROM {source}) GROUP BY {by}"


def _weighed(plan: ReleasePlan, statistic: Quantiles, steps: tuple[Step, ...]) -> Lowered:
    """Sums of weights: those of a unit with more rows than declared are scaled down, toward 0."""
    names = cells.key_names(plan)
    if plan.shape.unit_once:
        weight = Step("weighed", "SELECT *, n AS w FROM place")
        steps = (*steps, weight)
    else:
        most = statistic.weight
        share = f"CAST(n AS HUGEINT) * {most} // greatest(t, {statistic.rows})"
        total = Step("total", "SELECT u, sum(n) AS t FROM place GROUP BY u")
        steps = (*steps, total, Step("weighed", f"SELECT place.*, {share} AS w FROM place JOIN total USING (u)"))
    by = ", ".join([*names, "b"])
    select = f"SELECT {by}, CAST(least(sum(w), {2**62}) AS BIGINT) FROM weighed GROUP BY {by}"
    return Lowered(steps, select, (*cells.key_types(plan), BIGINT, BIGINT))
