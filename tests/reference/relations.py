"""Rows of every relation below a release, as lists of dictionaries. `UNIT` is the unit that a row belongs to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cmp_to_key
from typing import Any

from sandbox.relational.aggregates import distinct_max, grid_of, rows_max
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import Facts, Schema
from sandbox.relational.nodes import (
    Filter,
    Join,
    Order,
    Project,
    Public,
    Relation,
    Scan,
    UnionAll,
    UnitAggregate,
    Window,
    WindowColumn,
)
from sandbox.relational.scalar import facts_of
from tests.reference.doubles import Undecided
from tests.reference.rows import counted, counting
from tests.reference.scalars import Row, as_float, canonical, evaluate, order, to_bigint

UNIT = "__unit"
Rows = list[dict[str, Any]]
Tables = Mapping[str, Rows]


def rows_of(node: Relation, tables: Tables, schema: Schema) -> Rows:
    match node:
        case Scan(table=name, number=number):
            units = [c.name for c in schema.policy.tables[name].columns.values() if c.role == "unit"]
            return [
                {**_prefixed(row, number), **{f"{number}.{unit}": row[UNIT] for unit in units}, UNIT: row[UNIT]}
                for row in tables[name]
            ]
        case Public(table=name, number=number):
            return [_prefixed(row, number) for row in tables[name]]
        case Filter(source=source, conditions=conditions):
            below, found = derive(source, schema), rows_of(source, tables, schema)
            return [row for row in found if all(evaluate(c, row, below) is True for c in conditions)]
        case Project(source=source, number=number, columns=columns):
            below = derive(source, schema)
            return [_columns(row, columns, number, below) for row in rows_of(source, tables, schema)]
        case Join():
            return _join(node, tables, schema)
        case UnionAll():
            return _union_all(node, tables, schema)
        case UnitAggregate():
            return _unit_aggregate(node, rows_of(node.source, tables, schema), derive(node.source, schema))
        case Window():
            return _window(node, rows_of(node.source, tables, schema), derive(node.source, schema))
    raise AssertionError(node)


def _prefixed(row: Row, number: int) -> dict[str, Any]:
    return {f"{number}.{name}": value for name, value in row.items() if name != UNIT}


def _columns(row: Row, columns: Sequence[Expression], number: int, below: Facts) -> dict[str, Any]:
    found = {f"{number}.{i}": evaluate(expression, row, below) for i, expression in enumerate(columns)}
    return {**found, **({UNIT: row[UNIT]} if UNIT in row else {})}


def _join(node: Join, tables: Tables, schema: Schema) -> Rows:
    """Rows meet where all pairs of columns are equal and not null, and, of two tables about units, the units are."""
    left, right = rows_of(node.left, tables, schema), rows_of(node.right, tables, schema)
    facts = derive(node.left, schema), derive(node.right, schema)
    pairs = [*node.on, *([(UNIT, UNIT)] if facts[0].private and facts[1].private else [])]
    partners: dict[tuple[Any, ...], Rows] = defaultdict(list)
    for row in right:
        partners[tuple(canonical(row[name]) for _, name in pairs)].append(row)
    found: Rows = []
    for row in left:
        key = tuple(canonical(row[name]) for name, _ in pairs)
        met = [] if None in key else partners[key]
        if node.kind in ("semi", "anti"):
            found += [row] if bool(met) == (node.kind == "semi") else []
            continue
        found += [{**other, **row} for other in met]
        if not met and node.kind == "left":
            found.append({**dict.fromkeys([*facts[1].columns, *(facts[1].unit or ())]), **row})
    return found


def _union_all(node: UnionAll, tables: Tables, schema: Schema) -> Rows:
    """A column in which numbers of different kinds meet holds doubles."""
    found: Rows = []
    shown = derive(node, schema).columns
    below = [derive(source, schema) for source in node.inputs]
    for source, columns, facts in zip(node.inputs, node.columns, below, strict=True):
        rows = [_columns(row, columns, node.number, facts) for row in rows_of(source, tables, schema)]
        for i in range(len(columns)):
            name = f"{node.number}.{i}"
            same = name in shown and all(
                found.type == shown[name].type and found.source is not None
                for found in (facts_of(c[i], f) for c, f in zip(node.columns, below, strict=True))
            )
            if name in shown and not same:
                rows = [{**row, name: as_float(row[name])} for row in rows]
        found += rows
    return found


def _unit_aggregate(node: UnitAggregate, rows: Rows, below: Facts) -> Rows:
    groups: dict[tuple[Any, ...], Rows] = defaultdict(list)
    keys: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        values = [evaluate(key, row, below) for key in node.keys]
        group = (row[UNIT], *map(canonical, values))
        keys.setdefault(group, values)
        groups[group].append(row)
    return [
        {
            UNIT: group[0],
            f"{node.number}.unit": group[0],
            **{f"{node.number}.k{i}": value for i, value in enumerate(keys[group])},
            **{
                f"{node.number}.m{i}": _aggregate(measure.function, measure.argument, members, below)
                for i, measure in enumerate(node.measures)
            },
        }
        for group, members in groups.items()
    ]


def _aggregate(function: str, argument: Expression | None, rows: Rows, below: Facts) -> Any:
    """One aggregate over rows of one unit."""
    if argument is None:
        return min(len(rows), rows_max(below))
    values = [value for row in rows if (value := evaluate(argument, row, below)) is not None]
    match function:
        case "count":
            return min(len(values), rows_max(below))
        case "count_distinct":
            return min(len(set(map(canonical, values))), distinct_max(argument, below, None))
        case "sum" | "avg":
            return _added_up(function, argument, rows, below)
        case "min" | "max":
            return _extreme(function, argument, values, below)
    raise AssertionError(function)


def _added_up(function: str, argument: Expression, rows: Rows, below: Facts) -> int | float | None:
    """Exact, then one double. Null where there is nothing to add, or more than 64 bits of whole numbers."""
    found = facts_of(argument, below)
    grid = grid_of(found, argument, function, None)
    worth = Fraction(1)
    if grid is not None:
        how = counting(argument, grid.low, grid.high, grid.step, below)
        worth = how.worth
        steps = [step for row in rows if (step := counted(argument, row, how, below)) is not None]
        if any(step.slack for step in steps):
            raise Undecided
        values: list[int | Fraction] = [step.value for step in steps]
    elif found.type.kind == "decimal":
        values = [Fraction(value) for row in rows if (value := evaluate(argument, row, below)) is not None]
    else:
        values = [value for row in rows if (value := to_bigint(evaluate(argument, row, below))) is not None]
    if not values:
        return None
    added = sum(values)
    if function == "sum" and found.type.whole:
        return to_bigint(int(added * worth))
    exact = _as_double(added, worth)
    return exact if function == "sum" else exact / len(values)


def _as_double(added: int | Fraction, worth: Fraction) -> float:
    if worth.numerator == 1:
        return float(added) / worth.denominator
    return float(added) * float(worth)


def _extreme(function: str, argument: Expression, values: list[Any], below: Facts) -> Any:
    """Of numbers that are computed, and of doubles, the finite ones."""
    found = facts_of(argument, below)
    bare = isinstance(argument, Column) and found.source is not None and found.type.kind != "double"
    if found.type.numeric and not bare:
        values = [float(value) for value in values if math.isfinite(float(value))]
    best = None
    for value in values:
        if best is None or order(value, best) == (-1 if function == "min" else 1):
            best = value
    return best


def _window(node: Window, rows: Rows, below: Facts) -> Rows:
    found = [dict(row) for row in rows]
    for i, column in enumerate(node.columns):
        parts: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            own = [canonical(evaluate(part, row, below)) for part in column.partition]
            parts[(row[UNIT], *own)].append(place)
        for places in parts.values():
            values = _window_column(column, [rows[place] for place in places], below)
            for place, value in zip(places, values, strict=True):
                found[place][f"{node.number}.w{i}"] = value
    return found


def _window_column(column: WindowColumn, rows: Rows, below: Facts) -> list[Any]:
    """The values of one partition's rows, in order of `rows`."""
    ties: Order = tuple((Column(name), False, False) for name in sorted(below.columns))
    full = sorted(
        range(len(rows)), key=cmp_to_key(lambda a, b: _before((*column.order, *ties), rows[a], rows[b], below))
    )
    values: list[Any] = [None] * len(rows)
    match column.function:
        case "row_number":
            for place, row in enumerate(full):
                values[row] = place + 1
        case "rank" | "dense_rank":
            rank = dense = 0
            for place, row in enumerate(full):
                if place == 0 or _before(column.order, rows[full[place - 1]], rows[row], below) != 0:
                    rank, dense = place + 1, dense + 1
                values[row] = rank if column.function == "rank" else dense
        case "lag" | "lead":
            assert column.argument is not None
            step = -column.offset if column.function == "lag" else column.offset
            for place, row in enumerate(full):
                if 0 <= place + step < len(full):
                    values[row] = evaluate(column.argument, rows[full[place + step]], below)
        case _:
            return [_aggregate(column.function, column.argument, rows, below)] * len(rows)
    return values


def _before(terms: Order, first: Row, second: Row, below: Facts) -> int:
    for expression, descending, nulls_first in terms:
        a, b = (evaluate(expression, row, below) for row in (first, second))
        if a is None or b is None:
            found = 0 if a is b else (-1 if (a is None) == nulls_first else 1)
        else:
            found = order(a, b) * (-1 if descending else 1)
        if found:
            return found
    return 0
