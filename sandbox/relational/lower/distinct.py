"""COUNT(DISTINCT x): how many values each group has, over at most so many pairs of each unit.

Guarantee: removing a unit takes away at most `pairs` pairs of a group and a value, so the counts of all groups together
change by at most that much.
Source: docs/explanation/guarantees/distinct.md
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.types import BIGINT
from sandbox.relational.expressions import Column
from sandbox.relational.facts import Schema
from sandbox.relational.lower import cells
from sandbox.relational.lower.cells import Group
from sandbox.relational.lower.ranks import most_of_each
from sandbox.relational.lower.scalars import scalar
from sandbox.relational.lower.statement import Lowered, Step
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.scalar import facts_of
from sandbox.relational.statistics import DistinctCount


def lower_distinct(
    plan: ReleasePlan, statistic: DistinctCount, schema: Schema, seed: bytes, survivors: Sequence[Group] | None = None
) -> Lowered:
    """A row per group that has values: their number."""
    names = cells.key_names(plan)
    steps: tuple[Step, ...] = (cells.base(plan, schema, {scalar(statistic.argument, plan.facts): "x"}),)
    source, conditions = "base", ["x IS NOT NULL", *cells.admitted(plan)]
    if survivors is not None:
        steps, source, conditions = (*steps, *cells.chosen(plan, "base", survivors)), "chosen", ["x IS NOT NULL"]
    shown = ", ".join([*names, f"{_spelled(statistic, plan)} AS x"])
    pairs = Step("pairs", f"SELECT DISTINCT u, {shown} FROM {source} WHERE {' AND '.join(conditions)}")
    ranked = most_of_each("pairs", [*names, "x"], statistic.pairs, seed) if statistic.ranked else ()
    last = ranked[-1].name if ranked else "pairs"
    grouping = f" GROUP BY {', '.join(names)}" if names else ""
    select = f"SELECT {', '.join([*names, 'CAST(count(DISTINCT x) AS BIGINT)'])} FROM {last}{grouping}"
    return Lowered((*steps, pairs, *ranked), select, (*cells.key_types(plan), BIGINT))


def _spelled(statistic: DistinctCount, plan: ReleasePlan) -> str:
    """`x` as it goes into a rank. Of computed numbers, and of doubles, the text, with one spelling for what is equal.

    To the engine 0 and -0 are one value with two texts, and so is NaN: which text the digest sees would hang on the
    order of rows, and so could which values a unit keeps.
    """
    argument = statistic.argument
    found = facts_of(argument, plan.facts)
    bare = isinstance(argument, Column) and found.source is not None and found.type.kind != "double"
    if not statistic.ranked or not found.type.numeric or bare:
        return "x"
    written = "CAST(x AS VARCHAR)"
    return f"CASE {written} WHEN '-0.0' THEN '0.0' WHEN '-nan' THEN 'nan' ELSE {written} END"
