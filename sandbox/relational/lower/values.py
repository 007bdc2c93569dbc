"""A release's vectors as SQL: cells of one unit each, scaled to the norm, summed.

Guarantee: for every dataset that passed ingest, removing one unit with all its rows changes the summed vector of each
measure by at most its norm (L2 under zcdp, L1 under pure).
Source: docs/explanation/guarantees/bounding.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from policies.model import Accountant
from policies.types import BIGINT
from sandbox.relational.facts import Schema
from sandbox.relational.lower import cells, norms
from sandbox.relational.lower.cells import Group
from sandbox.relational.lower.statement import Lowered, Step
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.statistics import Vector


def lower_values(  # noqa: PLR0913, PLR0917  # what is asked, how it is bounded, and what earlier stages released
    plan: ReleasePlan,
    schema: Schema,
    accountant: Accountant,
    count_max: int,
    survivors: Sequence[Group] | None = None,
    vectors: Sequence[Vector] | None = None,
) -> Lowered:
    """The exact bounded vectors, a row per group that is not empty.

    `survivors` are the released private keys; `vectors` those of the plan, with the norms that levels chose.
    """
    bounded = plan.vectors if vectors is None else tuple(vectors)
    names = cells.key_names(plan)
    steps, keep = bounded_cells(plan, schema, accountant, survivors, bounded)
    *before, last = steps
    if not plan.shape.one_group and names:
        *scaling, last = norms.scaled(bounded, accountant, names)
        steps = (*before, replace(steps[-1], stored=True), *scaling, last)
    columns = [(f"r{i}_{j}", v) for i, v in enumerate(plan.vectors) for j in range(len(v.components))]
    sums = [_total(name, vector, count_max) for name, vector in columns]
    grouping = f" GROUP BY {', '.join(names)}" if names else ""
    shape = (*cells.key_types(plan), *(BIGINT for _ in columns))
    return Lowered(steps, f"SELECT {', '.join(names + sums)} FROM {last.name}{grouping}", shape, keep)


def bounded_cells(
    plan: ReleasePlan,
    schema: Schema,
    accountant: Accountant,
    survivors: Sequence[Group] | None,
    vectors: Sequence[Vector],
) -> tuple[tuple[Step, ...], str | None]:
    """Steps that end in `cell`: each cell within the norm by itself, in groups that are answered; and what is kept."""
    steps, keep = cells.start(plan, schema)
    source = "raw"
    if survivors is not None:
        steps, source = (*steps, *cells.chosen(plan, "raw", survivors)), "chosen"
    parts = [part for i, vector in enumerate(vectors) for part in norms.clamped(i, vector, accountant)]
    shown = ", ".join(["u", *cells.key_names(plan), *parts])
    return (*steps, Step("cell", f"SELECT {shown} FROM {source}")), keep


def _total(name: str, vector: Vector, count_max: int) -> str:
    """Saturating at count_max x norm, far beyond any real sum: the cast cannot raise, and saturating is 1-Lipschitz."""
    most = min(count_max * vector.norm.total, 2**62)
    return f"CAST(least(greatest(coalesce(sum({name}), 0), -{most}), {most}) AS BIGINT)"
