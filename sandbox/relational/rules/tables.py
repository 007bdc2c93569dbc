"""Facts of tables: what the policy declares and what ingest checked."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from policies import model
from policies.types import BOOLEAN, Value
from sandbox.relational import calendar
from sandbox.relational.expressions import Position
from sandbox.relational.facts import KEYS_MAX, Bounds, ColumnFacts, Facts, Refuse, Schema
from sandbox.relational.nodes import Public, Scan


def _table(name: str, schema: Schema, *, public: bool, at: Position | None) -> model.Table:
    table = schema.policy.tables.get(name)
    if table is None or table.public != public:
        raise Refuse("table_unknown", f"there is no table `{name}`", at=at)
    return table


def scan(node: Scan, schema: Schema) -> Facts:
    """A private table. Guarantee: ingest checked the unit and every uniqueness claimed here."""
    table, unit = _table(node.table, schema, public=False, at=node.at), schema.policy.unit
    if unit is None or table.rows_per_unit_max is None:
        raise Refuse("table_unknown", f"table `{node.table}` has no unit", at=node.at)
    prefix = f"{node.number}."
    once = schema.policy.own_table(table.name) and table.rows_per_unit_max == 1
    names = frozenset(prefix + c.name for c in table.columns.values() if c.role == "unit")
    targets = {
        frozenset(other.link.to_columns)
        for other in schema.policy.tables.values()
        if other.link is not None and other.link.to_table == table.name
    }
    if not once:
        targets.discard(frozenset({unit.column if schema.policy.own_table(table.name) else ""}))
    columns = {
        prefix + c.name: declared_facts(c, table.name, of_unit=once)
        for c in table.columns.values()
        if c.role not in ("hidden", "unit")
    }
    unique = {frozenset(prefix + name for name in target) for target in targets}
    if once:
        unique |= {frozenset({name}) for name in names}
    return Facts(columns, names, table.rows_per_unit_max, frozenset(unique), unit_once=once)


def public(node: Public, schema: Schema) -> Facts:
    """Reference data: rows are not about units. Guarantee: its key was checked to be unique at ingest."""
    table = _table(node.table, schema, public=True, at=node.at)
    prefix, keys = f"{node.number}.", schema.public_keys.get(node.table, {})
    columns = {}
    for column in table.columns.values():
        if column.role != "hidden":
            found = declared_facts(column, table.name, of_unit=False)
            columns[prefix + column.name] = _with_public_keys(found, keys.get(column.name))
    unique = frozenset({frozenset(prefix + name for name in table.key)}) if table.key else frozenset()
    fan_out = {prefix + name: most for name, most in table.fan_out.items()}
    return Facts(columns, None, None, unique, fan_out)


def _with_public_keys(found: ColumnFacts, keys: tuple[Value, ...] | None) -> ColumnFacts:
    if keys is None:
        return replace(found, keys=None)
    return replace(found, keys=tuple(k for k in keys if k is not None), nullable=any(k is None for k in keys))


@lru_cache(maxsize=4096)
def declared_facts(column: model.Column, table: str, *, of_unit: bool) -> ColumnFacts:
    """What a policy declares of one column."""
    bounds = _declared_bounds(column)
    return ColumnFacts(
        type=column.type,
        label=f"`{table}.{column.name}`",
        nullable=column.nullable,
        bounds=bounds,
        step=None if column.step is None else Fraction(column.step),
        keys=_declared_keys(column, bounds),
        of_unit=of_unit,
        bins=column.bins,
        declared=column,
        source=(table, column.name),
    )


def _declared_bounds(column: model.Column) -> Bounds | None:
    if column.range is not None:
        low, high = column.range
        return _edge(low), _edge(high)
    if column.values and column.type.numeric:
        numbers = [Fraction(v) for v in column.values if isinstance(v, int | Decimal)]
        return min(numbers), max(numbers)
    return None


def _edge(bound: model.Bound) -> Fraction | date | datetime:
    return Fraction(bound) if isinstance(bound, Decimal | int) else bound


def _declared_keys(column: model.Column, bounds: Bounds | None) -> tuple[Value, ...] | None:
    if column.values is not None:
        return tuple(v for v in column.values if v is not None)
    if column.type == BOOLEAN:
        return (False, True)
    if bounds is None:
        return None
    low, high = bounds
    if column.type.whole and isinstance(low, Fraction) and isinstance(high, Fraction) and high - low < KEYS_MAX:
        return tuple(range(int(low), int(high) + 1))
    if column.type.kind == "date" and not isinstance(low, Fraction) and not isinstance(high, Fraction):
        return calendar.start_keys("day", calendar.day_of(low), calendar.day_of(high))
    return None
