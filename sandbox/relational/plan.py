"""A release with all its facts proved: keys with their domains, statistics with their norms. No price, no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import assert_never

from policies.problems import shown
from policies.types import Type, Value
from sandbox.relational.blocks import units_about
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Expression, Position
from sandbox.relational.facts import ColumnFacts, Facts, Refuse, Schema
from sandbox.relational.measures import Figure, statistics_of
from sandbox.relational.nodes import Relation, Release, Scan, walk
from sandbox.relational.scalar import facts_of
from sandbox.relational.statistics import DistinctCount, Quantiles, Shape, Statistic, Vector

CELLS_MAX = 100_000
"""Most released numbers of one answer: noise costs about 10 us each."""
PRIVATE_CELLS = 1_000
"""How many groups a grid is made for where their number is not public."""
SHOWN_KEYS_MAX = 12
"""Most public keys of one column that a refusal lists."""
TEXT_KEY_MAX = 256
"""Longest private text key, in characters; rows with longer ones are dropped row by row."""
NAME_THEM = "name the groups in WHERE (`= ...` or `IN (...)`), or group by a column with declared values"


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
    statistics: tuple[Statistic, ...]
    figures: tuple[Figure, ...]
    """One for each measure of the release, in order."""
    shape: Shape
    units_about: int
    """The declared order of magnitude of the number of units."""

    @property
    def private_keys(self) -> bool:
        return any(key.keys is None for key in self.keys)

    @property
    def vectors(self) -> tuple[Vector, ...]:
        """The statistics that are summed in one statement, in order."""
        return tuple(each for each in self.statistics if isinstance(each, Vector))

    @property
    def loose(self) -> bool:
        """Whether norms are chosen by levels before the vectors are summed."""
        return any(vector.loose for vector in self.vectors)

    @property
    def ranged(self) -> bool:
        """Whether ranges are chosen before anything is counted."""
        return any(not isinstance(each, DistinctCount) and each.ranged for each in self.statistics)

    @property
    def cells(self) -> int | None:
        """Number of groups; None where the keys are private."""
        return None if self.private_keys else prod(len(key.keys or ()) for key in self.keys)


def units_dropped(source: Relation, schema: Schema) -> bool:
    """Whether a table that is read may hold rows without a unit, which are left out: a function of the policy."""
    read = [schema.policy.tables[node.table] for node in walk(source) if isinstance(node, Scan)]
    return any(column.role == "unit" and column.nullable for table in read for column in table.columns.values())


def plan_release(release: Release, schema: Schema) -> ReleasePlan:
    """Proves a release. Raises Refuse.

    Source: docs/explanation/guarantees/release.md
    """
    facts = derive(release.source, schema)
    dp, unit = schema.policy.release.dp, schema.policy.unit
    if not facts.private or facts.multiplicity is None:
        hint = "reference tables can be joined to tables about units"
        raise Refuse("construct_not_allowed", "this question reads no table about units", hint=hint, at=release.at)
    if dp is None or unit is None:
        raise Refuse("mode_not_offered", "this dataset does not offer `dp` answers", at=release.at)
    keys = tuple(key_plan(expression, facts) for expression in release.keys)
    if dp.delta_per_query == 0 and (private := [key for key in keys if key.keys is None]):
        detail = f"the groups of {private[0].label} are not public, and this dataset has no delta to select them with"
        raise Refuse("keys_not_public", detail, hint=NAME_THEM, at=private[0].expression.at)
    shape = _shape(keys, facts, dp.groups_per_unit_max)
    domain = None if any(key.keys is None for key in keys) else prod(len(key.keys or ()) for key in keys)
    statistics, figures = statistics_of(release.measures, facts, shape, domain or PRIVATE_CELLS)
    about = units_about(unit.count_about, release, schema.policy)
    plan = ReleasePlan(release, facts, keys, statistics, figures, shape, about)
    if not statistics and not plan.private_keys:
        raise _public_alone(keys, release.at)
    if (plan.cells or 0) * max(1, sum(width(statistic) for statistic in statistics)) > CELLS_MAX:
        hint = "group by fewer or coarser keys, or narrow them with WHERE"
        raise Refuse("result_too_large", f"the answer would have more than {CELLS_MAX} numbers", hint=hint)
    return plan


def _public_alone(keys: Sequence[KeyPlan], at: Position | None) -> Refuse:
    """Groups that are known without the data are not asked of it; they are told, and what could be asked of them."""
    known = "; ".join(f"{key.label} has {_listed(key.keys or ())}" for key in keys)
    hint = "add COUNT(*): every one of them is then answered, also those that nobody is in"
    return Refuse("aggregate_required", f"these groups are public, whoever is in the data: {known}", hint=hint, at=at)


def _listed(keys: Sequence[Value]) -> str:
    words = ["null" if key is None else shown(key) for key in keys[:SHOWN_KEYS_MAX]]
    more = len(keys) - len(words)
    return (", ".join(words) or "none") + (f" and {more} more" if more else "")


def width(statistic: Statistic) -> int:
    """Released numbers of one group."""
    match statistic:
        case Vector():
            return len(statistic.components)
        case Quantiles():
            return len(statistic.fractions)
        case DistinctCount():
            return 1
        case _:
            assert_never(statistic)


def key_plan(expression: Expression, facts: Facts) -> KeyPlan:
    """A group key. Raises Refuse (`keys_not_public`) for what is continuous."""
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
        pairs_max=groups_per_unit_max,
    )
