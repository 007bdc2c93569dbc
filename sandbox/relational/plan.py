"""A release with all its facts proved: keys with their domains, vectors with their norms. No price yet, no data."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from policies.types import Type, Value
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Expression
from sandbox.relational.facts import ColumnFacts, Facts, Refuse, Schema
from sandbox.relational.measures import Shape, Vector, vector_of
from sandbox.relational.nodes import Release
from sandbox.relational.scalar import facts_of

CELLS_MAX = 100_000
"""Most released numbers of one answer: noise costs about 10 us each."""
TEXT_KEY_MAX = 256
"""Longest private text key, in characters; rows with longer ones are dropped row by row."""


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """A group key. `keys` holds its public values in order, with None last where null is a key; None where private."""

    expression: Expression
    type: Type
    label: str
    nullable: bool
    keys: tuple[Value, ...] | None
    of_unit: bool


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    release: Release
    facts: Facts
    keys: tuple[KeyPlan, ...]
    vectors: tuple[Vector, ...]
    shape: Shape

    @property
    def private_keys(self) -> bool:
        return any(key.keys is None for key in self.keys)

    @property
    def cells(self) -> int | None:
        """Number of groups; None where the keys are private."""
        return None if self.private_keys else prod(len(key.keys or ()) for key in self.keys)


def plan_release(release: Release, schema: Schema) -> ReleasePlan:
    """Proves a release. Raises Refuse.

    Source: docs/explanation/guarantees/release.md
    """
    facts = derive(release.source, schema)
    dp = schema.policy.release.dp
    if not facts.private or facts.multiplicity is None:
        hint = "reference tables can be joined to tables about units"
        raise Refuse("construct_not_allowed", "this question reads no table about units", hint=hint, at=release.at)
    if dp is None:
        raise Refuse("mode_not_offered", "this dataset does not offer `dp` answers", at=release.at)
    keys = tuple(_key(expression, facts) for expression in release.keys)
    if dp.accountant == "pure" and (private := [key for key in keys if key.keys is None]):
        detail = f"the groups of {private[0].label} are not public, and this dataset has no delta to select them with"
        raise Refuse("keys_not_public", detail, hint=_HINT, at=private[0].expression.at)
    shape = _shape(keys, facts, dp.groups_per_unit_max)
    vectors = tuple(vector_of(measure, facts, shape) for measure in release.measures)
    plan = ReleasePlan(release, facts, keys, vectors, shape)
    if not vectors and not plan.private_keys:
        raise Refuse("aggregate_required", "this question asks for public keys alone", at=release.at)
    if (plan.cells or 0) * max(1, sum(len(v.components) for v in vectors)) > CELLS_MAX:
        hint = "group by fewer or coarser keys, or narrow them with WHERE"
        raise Refuse("result_too_large", f"the answer would have more than {CELLS_MAX} numbers", hint=hint)
    return plan


_HINT = "name the groups in WHERE (`= ...` or `IN (...)`), or group by a column with declared values"


def _key(expression: Expression, facts: Facts) -> KeyPlan:
    found = facts_of(expression, facts)
    if found.type.kind in ("double", "decimal") and not _binned(expression):
        hint = "group by `bin(...)` of a column with declared bins"
        raise Refuse("keys_not_public", f"{found.label} is continuous and makes no groups", hint=hint, at=expression.at)
    return KeyPlan(expression, found.type, found.label, found.nullable, _public(found), found.of_unit)


def _binned(expression: Expression) -> bool:
    return isinstance(expression, Call) and expression.function == "bin"


def _public(found: ColumnFacts) -> tuple[Value, ...] | None:
    """Null is a key only of a column that the policy calls nullable, or that a LEFT join makes so."""
    if found.keys is None:
        return None
    return (*found.keys, None) if found.nullable else found.keys


def _shape(keys: tuple[KeyPlan, ...], facts: Facts, groups_per_unit_max: int) -> Shape:
    """How many groups a unit may count in: L0 = min(the policy's word, rows per unit, size of the domain)."""
    rows = facts.multiplicity or 1
    one_group = facts.unit_once or all(key.of_unit for key in keys)
    domain = None if any(key.keys is None for key in keys) else prod(len(key.keys or ()) for key in keys)
    groups = max(1, min(groups_per_unit_max, rows, *([] if domain is None else [domain])))
    return Shape(
        rows=rows,
        groups=groups,
        one_group=one_group,
        all_groups=domain is not None and domain <= groups,
        unit_once=facts.unit_once,
    )
