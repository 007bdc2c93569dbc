"""Groups: which keys a row has, and whether they make a group that is answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from policies.types import Value
from sandbox.relational.plan import TEXT_KEY_MAX, KeyPlan, ReleasePlan
from tests.reference.relations import UNIT, Rows
from tests.reference.scalars import Row, evaluate, to_bigint

Group = tuple[Value, ...]
Unit = int


def by_unit_and_group(
    plan: ReleasePlan, rows: Rows, survivors: Sequence[Group] | None
) -> dict[Unit, dict[Group, Rows]]:
    """The rows of each unit in each group. `survivors` are the private groups that were shown."""
    found: dict[Unit, dict[Group, Rows]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row[UNIT] is None:
            continue
        group = tuple(_key(key, row, plan) for key in plan.keys)
        answered = all(_makes_a_group(value, key) for value, key in zip(group, plan.keys, strict=True))
        if answered and (survivors is None or group in survivors):
            found[row[UNIT]][group].append(row)
    return found


def _key(key: KeyPlan, row: Row, plan: ReleasePlan) -> Any:
    value = evaluate(key.expression, row, plan.facts)
    if key.type.whole:
        return to_bigint(value)
    return float(value) if value is not None and key.type.kind in ("decimal", "double") else value


def _makes_a_group(value: Value, key: KeyPlan) -> bool:
    if value is None:
        return key.nullable if key.keys is None else None in key.keys
    if key.keys is None:
        return not isinstance(value, str) or len(value) <= TEXT_KEY_MAX
    return value in [
        None if one is None else float(one) if key.type.kind in ("decimal", "double") else one for one in key.keys
    ]
