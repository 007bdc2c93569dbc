"""How many units add how much: a histogram of the sizes of their parts, from which a lower norm is chosen.

Guarantee: each unit is counted once per vector, by a function of its own rows, so removing one unit lowers one count
of each vector's histogram by 1 and changes nothing else.
Source: docs/explanation/guarantees/levels.md
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.model import Accountant
from policies.types import BIGINT
from sandbox.relational.facts import Schema
from sandbox.relational.lower import norms
from sandbox.relational.lower.cells import Group
from sandbox.relational.lower.scalars import double
from sandbox.relational.lower.statement import Lowered, Step
from sandbox.relational.lower.values import bounded_cells
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.statistics import Vector


def lower_levels(
    plan: ReleasePlan, schema: Schema, accountant: Accountant, survivors: Sequence[Group] | None = None
) -> Lowered:
    """Rows (number of the vector, level, units) for the vectors whose norm is chosen.

    A unit is of level 0 where its part is no larger than the smallest norm, else of the first level that holds it.
    """
    steps, keep = bounded_cells(plan, schema, accountant, survivors, plan.vectors)
    loose = [(i, vector) for i, vector in enumerate(plan.vectors) if vector.loose]
    sizes = ", ".join(f"{norms.unit_size(i, vector, accountant)} AS n{i}" for i, vector in loose)
    size = Step("size", f"SELECT u, {sizes} FROM cell GROUP BY u")
    counts = [
        f"SELECT CAST({i} AS BIGINT) AS vector, {_level(f'n{i}', vector, accountant)} AS level, "
        f"CAST(count(*) AS BIGINT) AS units FROM size GROUP BY level"
        for i, vector in loose
    ]
    select = f"SELECT vector, level, units FROM ({' UNION ALL '.join(counts)})"
    return Lowered((*steps, size), select, (BIGINT, BIGINT, BIGINT), keep)


def _level(size: str, vector: Vector, accountant: Accountant) -> str:
    """Sizes grow by the root of two: by two where they are squares."""
    first = vector.first_level(accountant)
    ratio = f"log2(CAST({size} AS DOUBLE) / {double(first)})"
    steps = ratio if accountant == "zcdp" else f"2 * {ratio}"
    level = f"CAST(least(ceil({steps}), {vector.levels(accountant)}) AS BIGINT)"
    return f"CASE WHEN {size} <= {first} THEN CAST(0 AS BIGINT) ELSE {level} END"
