"""Units per private key: what the key stage sees."""

from __future__ import annotations

from policies.types import BIGINT
from sandbox.relational.facts import Schema
from sandbox.relational.lower import cells
from sandbox.relational.lower.ranks import most_of_each
from sandbox.relational.lower.statement import Lowered, Step
from sandbox.relational.plan import ReleasePlan


def lower_keys(plan: ReleasePlan, schema: Schema, seed: bytes, units_min: int) -> Lowered:
    """Units per key, at most `groups` keys of each unit, keys with fewer than `units_min` units left out.

    Guarantee: removing a unit changes at most `groups` of the counts, each by 1.
    Source: docs/explanation/guarantees/private-keys.md
    """
    names, most = cells.key_names(plan), plan.shape.groups
    steps, keep = cells.start(cells.without_statistics(plan) if plan.ranged else plan, schema)
    shown = ", ".join(names)
    pairs = Step("pairs", f"SELECT u, {shown} FROM raw")
    ranked = () if plan.shape.one_group else most_of_each("pairs", names, most, seed)
    last = ranked[-1].name if ranked else "pairs"
    select = f"SELECT {shown}, CAST(count(*) AS BIGINT) FROM {last} GROUP BY {shown} HAVING count(*) >= {units_min}"
    return Lowered((*steps, pairs, *ranked), select, (*cells.key_types(plan), BIGINT), keep)
