"""Facts of every relation below a release: one rule per node. What proves nothing is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import assert_never

from policies import model
from policies.types import BOOLEAN, Value
from sandbox.relational import calendar, narrow
from sandbox.relational.expressions import Column, Position
from sandbox.relational.facts import KEYS_MAX, Bounds, ColumnFacts, Facts, Refuse, Schema
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
    Limit,
    Output,
    Project,
    Public,
    Relation,
    Release,
    Rollup,
    Scan,
    Sort,
    UnionAll,
    UnitAggregate,
    Window,
)
from sandbox.relational.scalar import facts_of


def derive(relation: Relation, schema: Schema) -> Facts:
    """Facts of a relation of rows. Raises Refuse with the node's position.

    Guarantee: a fact holds for every dataset that passed ingest under the policy, whatever its rows say.
    """
    match relation:
        case Scan():
            return _scan(relation, schema)
        case Public():
            return _public(relation, schema)
        case Project():
            return _project(relation, derive(relation.source, schema))
        case Filter():
            return narrow.apply(relation.conditions, derive(relation.source, schema))
        case Join():
            return _join(relation, derive(relation.left, schema), derive(relation.right, schema), schema)
        case UnionAll() | UnitAggregate() | Window():
            raise Refuse("construct_not_allowed", "this part of a question is not answered yet", at=relation.at)
        case Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
            raise Refuse("construct_not_allowed", "a released result cannot be joined or grouped again", at=relation.at)
        case _:
            assert_never(relation)


def _table(name: str, schema: Schema, *, public: bool, at: Position | None) -> model.Table:
    table = schema.policy.tables.get(name)
    if table is None or table.public != public:
        raise Refuse("table_unknown", f"there is no table `{name}`", at=at)
    return table


def _scan(scan: Scan, schema: Schema) -> Facts:
    """A private table. Guarantee: ingest checked the unit and every uniqueness claimed here."""
    table, unit = _table(scan.table, schema, public=False, at=scan.at), schema.policy.unit
    if unit is None or table.rows_per_unit_max is None:
        raise Refuse("table_unknown", f"table `{scan.table}` has no unit", at=scan.at)
    prefix = f"{scan.number}."
    once = schema.policy.own_table(table.name) and table.rows_per_unit_max == 1
    names = frozenset(prefix + c.name for c in table.columns.values() if c.role == "unit")
    targets = {
        other.link.to_column
        for other in schema.policy.tables.values()
        if other.link is not None and other.link.to_table == table.name
    }
    if not once:
        targets.discard(unit.column if schema.policy.own_table(table.name) else "")
    columns = {
        prefix + c.name: declared_facts(c, table.name, of_unit=once)
        for c in table.columns.values()
        if c.role not in ("hidden", "unit")
    }
    unique = {frozenset({prefix + target}) for target in targets}
    if once:
        unique |= {frozenset({name}) for name in names}
    return Facts(columns, names, table.rows_per_unit_max, frozenset(unique), unit_once=once)


def _public(public: Public, schema: Schema) -> Facts:
    """Reference data: rows are not about units. Guarantee: its key was checked to be unique at ingest."""
    table = _table(public.table, schema, public=True, at=public.at)
    prefix, keys = f"{public.number}.", schema.public_keys.get(public.table, {})
    columns = {}
    for column in table.columns.values():
        if column.role != "hidden":
            found = declared_facts(column, table.name, of_unit=False)
            columns[prefix + column.name] = _with_public_keys(found, keys.get(column.name))
    unique = frozenset({frozenset({prefix + table.key})}) if table.key else frozenset()
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


def _project(project: Project, below: Facts) -> Facts:
    """Computed columns. A bare column keeps its facts and its uniqueness under the new name; the unit passes hidden."""
    renamed: dict[str, set[str]] = {}
    columns: dict[str, ColumnFacts] = {}
    for i, expression in enumerate(project.columns):
        name = f"{project.number}.{i}"
        if isinstance(expression, Column):
            renamed.setdefault(expression.name, set()).add(name)
        if isinstance(expression, Column) and expression.name in (below.unit or ()):
            continue
        columns[name] = facts_of(expression, below)
    first = {old: min(new) for old, new in renamed.items()}
    unique = frozenset(frozenset(first[c] for c in key) for key in below.unique if all(c in first for c in key))
    unit = None if below.unit is None else frozenset(n for old in below.unit for n in renamed.get(old, ()))
    fan_out = {new: most for old, most in below.fan_out.items() for new in renamed.get(old, ())}
    return Facts(columns, unit, below.multiplicity, unique, fan_out, below.unit_once)


def _join(join: Join, left: Facts, right: Facts, schema: Schema) -> Facts:
    if not join.on:
        raise Refuse("join_not_allowed", "a join needs columns that are equated", at=join.at)
    for first, second in join.on:
        _offered(first, left, join)
        _offered(second, right, join)
    if _names(left) & _names(right):
        raise Refuse("construct_not_allowed", "both sides of a join carry a column of the same name", at=join.at)
    if left.private and right.private:
        return _join_private(join, left, right, schema)
    if left.private:
        return _join_public(join, left, right)
    if right.private and join.kind == "inner":
        flipped = tuple((second, first) for first, second in join.on)
        return _join_public(replace(join, left=join.right, right=join.left, on=flipped), right, left)
    if right.private:
        hint = "put the table of units on the left side of LEFT JOIN"
        raise Refuse("join_not_allowed", "a LEFT join must keep the rows of units", hint=hint, at=join.at)
    return _join_reference(join, left, right)


def _offered(name: str, side: Facts, join: Join) -> None:
    if name not in side.columns and name not in (side.unit or ()):
        raise Refuse("column_unknown", "a join names a column that its side does not offer", at=join.at)


def _names(side: Facts) -> frozenset[str]:
    """Every name of a side: with one name twice, facts of one column would be taken for those of another."""
    return frozenset(side.columns) | (side.unit or frozenset())


def _join_private(join: Join, left: Facts, right: Facts, schema: Schema) -> Facts:
    """Both sides have units: only rows of one unit may meet.

    Guarantee: the lowered join also equates the hidden unit, so a row of the result belongs to exactly one unit, and a
    unit has at most left x right rows, or one side's where the other's columns are unique.
    Source: docs/explanation/guarantees/join.md
    """
    if not any(_equates_unit(pair, left, right, schema) for pair in join.on):
        hint = "join on the columns that lead to the protected unit"
        raise Refuse("join_not_allowed", "two tables about units can only be joined on the unit", hint=hint, at=join.at)
    left_names, right_names = frozenset(a for a, _ in join.on), frozenset(b for _, b in join.on)
    one_right, one_left = right.is_unique(right_names), left.is_unique(left_names)
    most = _private_multiplicity(join, left, right, one_left, one_right)
    one_each = right.unit_once and bool(right_names & (right.unit or frozenset()))
    columns = {**left.columns, **_right_columns(join, right, keep_of_unit=_fate_of_unit(join, left, right))}
    unit = (left.unit or frozenset()) | ((right.unit or frozenset()) if join.kind == "inner" else frozenset())
    unique = left.unique if one_right else frozenset()
    if one_left and join.kind == "inner":
        unique |= right.unique
    return Facts(columns, unit, most, unique, unit_once=left.unit_once and one_each)


def _fate_of_unit(join: Join, left: Facts, right: Facts) -> bool:
    """Whether all rows of a unit find a partner, or none: else a LEFT join gives one unit values and nulls."""
    units_alone = all(a in (left.unit or ()) and b in (right.unit or ()) for a, b in join.on)
    return join.kind == "inner" or units_alone


def _private_multiplicity(join: Join, left: Facts, right: Facts, one_left: bool, one_right: bool) -> int:
    rows_left, rows_right = left.multiplicity or 0, right.multiplicity or 0
    options = [rows_left * rows_right if join.kind == "inner" else rows_left * max(rows_right, 1)]
    if one_right:
        options.append(rows_left)
    if one_left:
        options.append(rows_right if join.kind == "inner" else rows_left + rows_right)
    return min(options)


def _equates_unit(pair: tuple[str, str], left: Facts, right: Facts, schema: Schema) -> bool:
    if pair[0] in (left.unit or ()) and pair[1] in (right.unit or ()):
        return True
    first, second = left.columns.get(pair[0]), right.columns.get(pair[1])
    if first is None or second is None or first.source is None or second.source is None:
        return False
    return _linked(first.source, second.source, schema) or _linked(second.source, first.source, schema)


def _linked(child: tuple[str, str], parent: tuple[str, str], schema: Schema) -> bool:
    link = schema.policy.tables[child[0]].link
    return link is not None and link.column == child[1] and (link.to_table, link.to_column) == parent


def _join_public(join: Join, left: Facts, right: Facts) -> Facts:
    """Rows of units meet reference data. Guarantee: each row meets at most one, or the declared fan-out, rows.

    Source: docs/explanation/guarantees/join.md
    """
    names = frozenset(b for _, b in join.on)
    if right.is_unique(names):
        fan = 1
    else:
        declared = [right.fan_out[name] for name in names if name in right.fan_out]
        if not declared:
            hint = "join on the table's key, or ask for a declared fan_out"
            raise Refuse("join_not_allowed", "this join may multiply rows without a bound", hint=hint, at=join.at)
        fan = min(declared)
    of_unit = all(a in (left.unit or ()) or left.columns[a].of_unit for a, _ in join.on) and fan == 1
    columns = {**left.columns, **_right_columns(join, right, keep_of_unit=False, of_unit=of_unit)}
    once = left.unit_once and fan == 1
    unique = left.unique if fan == 1 else frozenset()
    return Facts(columns, left.unit, (left.multiplicity or 0) * fan, unique, unit_once=once)


def _right_columns(join: Join, right: Facts, *, keep_of_unit: bool, of_unit: bool = False) -> Mapping[str, ColumnFacts]:
    found = {}
    for name, column in right.columns.items():
        nullable = column.nullable or join.kind == "left"
        found[name] = replace(column, nullable=nullable, of_unit=column.of_unit if keep_of_unit else of_unit)
    return found


def _join_reference(join: Join, left: Facts, right: Facts) -> Facts:
    """Reference data with reference data."""
    if not right.is_unique(frozenset(b for _, b in join.on)):
        raise Refuse("join_not_allowed", "reference tables are joined on the right one's key", at=join.at)
    columns = {**left.columns, **_right_columns(join, right, keep_of_unit=False)}
    return Facts(columns, None, None, left.unique, left.fan_out)
