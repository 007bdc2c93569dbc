"""A question of `aggregate` mode as SQL: its rows, each with its group, its unit, its item and whole numbers.

Nothing is added up in the engine: what may be said hangs on who is behind a number, and that is told outside of it.
Source: docs/explanation/guarantees/disclosure.md
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.types import BIGINT, Type
from sandbox.disclosure.plan import ProtectedPlan, Summed
from sandbox.ingest.job import TAGS_TABLE
from sandbox.relational.expressions import Expression
from sandbox.relational.facts import Facts, Schema
from sandbox.relational.lower.cells import admitted_key, key_sql, key_type
from sandbox.relational.lower.constants import ITEM, UNIT
from sandbox.relational.lower.relations import relation, with_items
from sandbox.relational.lower.scalars import scalar
from sandbox.relational.lower.statement import KEPT, Lowered, Step
from sandbox.relational.lower.whole import whole


@dataclass(frozen=True, slots=True)
class Columnar:
    """A statement of `count` whole columns without a null: group, unit, item, then for each quantity its number and,
    where it has sensitive conditions, whether the row counts without them."""

    sql: str
    whole: str
    """In one statement, for binding on the shadow."""
    count: int
    keep: str

    @property
    def shape(self) -> tuple[Type, ...]:
        return (BIGINT,) * self.count


def lower_groups(plan: ProtectedPlan, schema: Schema) -> Lowered | None:
    """The groups that have rows, in the order of their numbers; None where the question has no keys."""
    if not plan.keys:
        return None
    keep = _kept(plan, schema)
    names = ", ".join(_names(plan))
    shape: tuple[Type, ...] = tuple(key_type(key) for key in plan.keys)
    select = f"SELECT {names} FROM (SELECT DISTINCT {names} FROM {KEPT}) ORDER BY {_order(plan)}"
    return Lowered((), select, shape, keep)


def lower_rows(plan: ProtectedPlan, schema: Schema) -> Columnar:
    """All rows, with the number of their group in the order of `lower_groups`."""
    keep = _kept(plan, schema)
    values = [name for i, each in enumerate(plan.quantities) for name in _value_names(i, each)]
    shown = ", ".join(["u", "item", *values])
    if not plan.keys:
        select = f"SELECT CAST(0 AS BIGINT) AS g, {shown} FROM {KEPT}"
    else:
        names = _names(plan)
        numbers = f"CAST(row_number() OVER (ORDER BY {_order(plan)}) - 1 AS BIGINT) AS number"
        own = ", ".join(f"{name} AS o{i}" for i, name in enumerate(names))
        every = f"SELECT {own}, {numbers} FROM (SELECT DISTINCT {', '.join(names)} FROM {KEPT})"
        equal = " AND ".join(f"{KEPT}.{name} IS NOT DISTINCT FROM o{i}" for i, name in enumerate(names))
        select = f"SELECT number AS g, {shown} FROM {KEPT} JOIN ({every}) ON {equal}"
    lowered = Lowered((), select, (), keep)
    return Columnar(lowered.sql, lowered.whole, 3 + len(values), keep)


def _kept(plan: ProtectedPlan, schema: Schema) -> str:
    """The rows that make groups, made once for both statements."""
    source = plan.release.source
    rows, shared = with_items(source, schema)
    assert shared == plan.shared, "the plan and its SQL disagree about items"  # noqa: S101
    read = [f"{UNIT} AS unit", f"{ITEM} AS item"] if shared else [f"{UNIT} AS unit"]
    if not shared:
        rows = relation(source, schema)
        read.append("CAST(-1 AS BIGINT) AS item")
    read += [f"{key_sql(key, plan.facts)} AS g{i}" for i, key in enumerate(plan.keys)]
    for i, quantity in enumerate(plan.quantities):
        read += [
            f"{sql} AS {name}"
            for sql, name in zip(_values(quantity, plan.facts), _value_names(i, quantity), strict=True)
        ]
    base = Step("base", f"SELECT {', '.join(read)} FROM ({rows}) WHERE {UNIT} IS NOT NULL")
    conditions = [c for i, key in enumerate(plan.keys) if (c := admitted_key(key, f"g{i}"))]
    values = [name for i, each in enumerate(plan.quantities) for name in _value_names(i, each)]
    shown = ", ".join([f"{TAGS_TABLE}.tag AS u", "item", *_names(plan), *values])
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    tagged = f"base JOIN {TAGS_TABLE} ON {TAGS_TABLE}.unit = base.unit"
    return f"WITH {base.name} AS ({base.sql}) SELECT {shown} FROM {tagged}{where}"


def _value_names(number: int, quantity: Summed) -> list[str]:
    return [f"y{number}", *([f"p{number}"] if quantity.sensitive else [])]


def _values(quantity: Summed, facts: Facts) -> list[str]:
    """A row's number, 0 where it counts for nothing; and 1 where it would count but for sensitive conditions."""
    value = f"coalesce({whole(quantity.factors, facts)}, CAST(0 AS BIGINT))"
    found = [_where((*quantity.conditions, *quantity.sensitive), value, facts)]
    if quantity.sensitive:
        found.append(_where(quantity.conditions, f"CAST({value} <> 0 AS BIGINT)", facts))
    return found


def _where(conditions: tuple[Expression, ...], value: str, facts: Facts) -> str:
    if not conditions:
        return value
    written = " AND ".join(scalar(condition, facts) for condition in conditions)
    return f"CASE WHEN {written} THEN {value} ELSE CAST(0 AS BIGINT) END"


def _names(plan: ProtectedPlan) -> list[str]:
    return [f"g{i}" for i in range(len(plan.keys))]


def _order(plan: ProtectedPlan) -> str:
    return ", ".join(f"{name} NULLS LAST" for name in _names(plan))
