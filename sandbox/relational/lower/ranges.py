"""How far each unit's values reach: a histogram from which the ends of a range are chosen.

Guarantee: each unit is counted once per end, by the furthest of its own values, so removing one unit lowers one count
of each end's histogram by 1 and changes nothing else.
Source: docs/explanation/guarantees/ranges.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from policies.types import BIGINT
from sandbox.relational.facts import Schema
from sandbox.relational.lower import cells
from sandbox.relational.lower.cells import Group
from sandbox.relational.lower.inputs import counted
from sandbox.relational.lower.scalars import double
from sandbox.relational.lower.statement import Lowered, Step
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.ranges import End


def lower_ranges(
    plan: ReleasePlan, ends: Sequence[End], schema: Schema, survivors: Sequence[Group] | None = None
) -> Lowered:
    """Rows (number of the end, level, units). A unit without values is of level 0."""
    columns: dict[str, str] = {}
    for end in ends:
        columns.setdefault(counted(end.argument.expression, plan.facts), f"x{len(columns)}")
    steps: tuple[Step, ...] = (cells.base(plan, schema, columns),)
    source, conditions = "base", cells.admitted(plan)
    if survivors is not None:
        steps, source, conditions = (*steps, *cells.chosen(plan, "base", survivors)), "chosen", []
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    furthest = ", ".join(f"{_furthest(end, columns, plan)} AS d{i}" for i, end in enumerate(ends))
    unit = Step("unit", f"SELECT u, {furthest} FROM {source}{where} GROUP BY u")
    counts = [
        f"SELECT CAST({i} AS BIGINT) AS number, {_level(f'd{i}', end)} AS level, "
        f"CAST(count(*) AS BIGINT) AS units FROM unit GROUP BY level"
        for i, end in enumerate(ends)
    ]
    select = f"SELECT number, level, units FROM ({' UNION ALL '.join(counts)})"
    return Lowered((*steps, unit), select, (BIGINT, BIGINT, BIGINT))


def _furthest(end: End, columns: dict[str, str], plan: ReleasePlan) -> str:
    """The largest distance of a unit's values from the anchor on this side, or the number of its rows with a value."""
    name, anchor = columns[counted(end.argument.expression, plan.facts)], double(end.anchor)
    match end.side:
        case "up":
            return f"max({name}) - {anchor}"
        case "down":
            return f"{anchor} - min({name})"
        case "rows":
            return f"CAST(count({name}) AS DOUBLE)"
        case _:
            assert_never(end.side)


def _level(distance: str, end: End) -> str:
    step = double(end.step)
    level = f"CAST(least(ceil(2 * log2({distance} / {step})), {end.levels}) AS BIGINT)"
    return f"CASE WHEN {distance} > {step} THEN {level} ELSE CAST(0 AS BIGINT) END"
