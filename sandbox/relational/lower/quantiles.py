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
from sandbox.relational.lower.constants import clamp
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
    return _weighed(plan, statistic, (*steps, _place(plan, source, f"c // {statistic.inner}")))


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
    cell = clamp(f"(c - p * {inner})", "-1", str(inner))
    place = _place(plan, "beside", cell)
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
    low, last = double(argument.low), statistic.cells - 1
    within = f"least(TRY_CAST(floor((x - {low}) / {double(statistic.cell)} + 1e-9) AS BIGINT), {last})"
    cell = f"CASE WHEN x >= {double(argument.high)} THEN {last} WHEN x > {low} THEN {within} ELSE 0 END"
    shown = ", ".join(["u", *cells.key_names(plan), f"{cell} AS c"])
    return (*steps, Step("placed", f"SELECT {shown} FROM {source} WHERE {' AND '.join(conditions)}")), "placed"


def _place(plan: ReleasePlan, source: str, cell: str) -> Step:
    """Rows (u, keys, b)."""
    shown = ", ".join(["u", *cells.key_names(plan), f"CAST({cell} AS BIGINT) AS b"])
    return Step("place", f"SELECT {shown} FROM {source}", stored=not plan.shape.unit_once)


def _weighed(plan: ReleasePlan, statistic: Quantiles, steps: tuple[Step, ...]) -> Lowered:
    """Sums of weights. A row weighs one grid; the weights of a unit with more rows than declared, counted in each cell
    together, are scaled down, toward 0. Such units are few, so only their rows are grouped by unit."""
    by = ", ".join([*cells.key_names(plan), "b"])
    if plan.shape.unit_once:
        steps = (*steps, Step("weighed", f"SELECT {by}, count(*) AS w FROM place GROUP BY {by}"))
    else:
        rows, counted_once = statistic.rows, f"SELECT u, {by}, count(*) AS n FROM place SEMI JOIN wide USING (u)"
        steps = (
            *steps,
            Step("wide", f"SELECT u, count(*) AS t FROM place GROUP BY u HAVING count(*) > {rows}", stored=True),
            Step(
                "weighed",
                f"SELECT {by}, CAST(count(*) AS HUGEINT) * {statistic.grid} AS w FROM place ANTI JOIN wide USING (u) "
                f"GROUP BY {by} UNION ALL "
                f"SELECT {by}, {_share(statistic)} AS w FROM ({counted_once} GROUP BY u, {by}) JOIN wide USING (u)",
            ),
        )
    select = f"SELECT {by}, CAST(least(sum(w), {2**62}) AS BIGINT) FROM weighed GROUP BY {by}"
    return Lowered(steps, select, (*cells.key_types(plan), BIGINT, BIGINT))


def _share(statistic: Quantiles) -> str:
    """What `n` rows in one cell weigh together, of a unit with `t` rows that are more than declared."""
    return f"CAST(n AS HUGEINT) * {statistic.weight} // t"
