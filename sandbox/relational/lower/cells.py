"""Cells: what the rows of one unit add to one group, before anything is bounded. Here statements begin.

Every arithmetic step is on exact integers or on doubles of one row or one unit alone, never on an engine's sum of
floats, so the result does not hang on the order of rows.
Source: docs/explanation/guarantees/bounding.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from policies.types import BIGINT, DOUBLE, Type, Value
from sandbox.relational import calendar
from sandbox.relational.expressions import DATE_TRUNCATIONS, Call, Column, Expression, Literal
from sandbox.relational.facts import Facts, Schema
from sandbox.relational.lower.constants import UNIT, clamp
from sandbox.relational.lower.inputs import inputs_of
from sandbox.relational.lower.relations import relation
from sandbox.relational.lower.scalars import scalar
from sandbox.relational.lower.statement import KEPT, Step
from sandbox.relational.plan import TEXT_KEY_MAX, KeyPlan, ReleasePlan
from sandbox.relational.statistics import Vector

Group = tuple[Value, ...]
SATURATED = 2**62


def key_type(key: KeyPlan) -> Type:
    """The type in which the engine returns a key: bins come as the DOUBLE nearest to their edge."""
    if key.type.kind in ("decimal", "double"):
        return DOUBLE
    return BIGINT if key.type.whole else key.type


def key_names(plan: ReleasePlan) -> list[str]:
    return [f"g{i}" for i in range(len(plan.keys))]


def key_types(plan: ReleasePlan) -> tuple[Type, ...]:
    return tuple(key_type(key) for key in plan.keys)


def base(plan: ReleasePlan, schema: Schema, columns: Mapping[str, str]) -> Step:
    """Rows of one unit each: the unit `u`, the keys, and `columns`, which maps what is read to its name."""
    read = [f"{UNIT} AS u"]
    read += [f"{key_sql(key, plan.facts)} AS g{i}" for i, key in enumerate(plan.keys)]
    read += [f"{written} AS {name}" for written, name in columns.items()]
    rows = relation(plan.release.source, schema)
    return Step("base", f"SELECT {', '.join(read)} FROM ({rows}) WHERE {UNIT} IS NOT NULL")


def raw(plan: ReleasePlan, schema: Schema) -> tuple[Step, Step]:
    """The steps `base` and `raw`: a row per unit and group, with each component of the vectors before its clamp.

    Where the unit determines its group, the group is read off one of its rows: then no unit can lie in two groups.
    Cells whose key makes no group are left out.
    """
    inputs, names, once = inputs_of(plan.vectors, plan.facts), key_names(plan), plan.shape.unit_once
    parts = [
        f"{inputs.cell(component, once=once)} AS r{i}_{j}"
        for i, vector in enumerate(plan.vectors)
        for j, component in enumerate(vector.components)
    ]
    shown = [f"any_value({name}) AS {name}" for name in names] if plan.shape.one_group and not once else names
    count, grouping = ("1", "") if once else ("count(*)", f" GROUP BY {', '.join(_by(plan, names))}")
    cells = f"SELECT {', '.join(['u', *shown, f'{count} AS n', *parts])} FROM base{grouping}"
    narrow = ", ".join(["u", *names, *(part for i, vector in enumerate(plan.vectors) for part in _narrow(i, vector))])
    return base(plan, schema, inputs.columns), Step("raw", f"SELECT {narrow} FROM ({cells}){_where(plan)}")


def _narrow(i: int, vector: Vector) -> list[str]:
    """Components of a cell as the later steps read them: sums are of 128 bits to the engine, which is slow with them.

    Saturating far beyond any norm: this bounds nothing, `norms.clamped` does.
    """
    names = [f"r{i}_{j}" for j in range(len(vector.components))]
    if len(names) > 1:
        return names
    return [f"CAST({clamp(names[0], str(-SATURATED), str(SATURATED))} AS BIGINT) AS {names[0]}"]


def _by(plan: ReleasePlan, names: list[str]) -> list[str]:
    return ["u"] if plan.shape.one_group else ["u", *names]


def keeps(plan: ReleasePlan) -> bool:
    """Whether several statements of a job read the same cells, which are then made once and kept."""
    return bool(plan.vectors) and (plan.private_keys or plan.loose)


def without_statistics(plan: ReleasePlan) -> ReleasePlan:
    """For the key stage of a plan whose cells are made anew later, with the ranges that were chosen."""
    return replace(plan, statistics=(), figures=())


def start(plan: ReleasePlan, schema: Schema) -> tuple[tuple[Step, ...], str | None]:
    """The first steps of a statement that reads `raw`, and the SQL of the table that it keeps for the next ones."""
    first, second = raw(plan, schema)
    if not keeps(plan):
        return (first, second), None
    return (Step("raw", f"SELECT * FROM {KEPT}"),), f"WITH {first.name} AS ({first.sql}) {second.sql}"


def _where(plan: ReleasePlan) -> str:
    """Drops the cells whose key makes no group. Its look at `n` keeps the engine from testing every row instead."""
    conditions = admitted(plan)
    return f" WHERE CASE WHEN n > 0 THEN {' AND '.join(conditions)} ELSE FALSE END" if conditions else ""


def admitted(plan: ReleasePlan) -> list[str]:
    """The conditions under which a row's keys make a group."""
    return [c for i, key in enumerate(plan.keys) if (c := admitted_key(key, f"g{i}"))]


def key_sql(key: KeyPlan, facts: Facts) -> str:
    """SQL of a key of a row, in its own type."""
    written = scalar(key.expression, facts)
    if key.type.whole:
        return f"TRY_CAST({written} AS BIGINT)"
    return f"TRY_CAST({written} AS DOUBLE)" if key_type(key) == DOUBLE else written


def admitted_key(key: KeyPlan, name: str) -> str | None:
    """Which values of a key make a group: the public ones, or private text of bearable length."""
    if key.keys is None:
        known = f"length({name}) <= {TEXT_KEY_MAX}" if key.type.kind == "text" else f"{name} IS NOT NULL"
        return f"({known} OR {name} IS NULL)" if key.nullable else known
    values = [value for value in key.keys if value is not None]
    if not values:
        known = "FALSE"
    elif _without_gaps(values, key):
        known = f"{name} BETWEEN {_constant(values[0], key)} AND {_constant(values[-1], key)}"
    else:
        known = f"{name} IN ({', '.join(_constant(value, key) for value in values)})"
    return f"({known} OR {name} IS NULL)" if None in key.keys else known


def _without_gaps(values: Sequence[Value], key: KeyPlan) -> bool:
    """Whether whole numbers without a gap, or all days, weeks, months, ... that the key can be, between two of them."""
    whole = [value for value in values if type(value) is int]
    if len(whole) == len(values):
        return whole == list(range(whole[0], whole[0] + len(whole)))
    days = [value for value in values if type(value) is date]
    part = _started(key.expression)
    return part is not None and len(days) == len(values) and tuple(days) == calendar.start_keys(part, days[0], days[-1])


def _started(expression: Expression) -> str | None:
    """The part of the calendar whose first days are the values of `expression`, where that is known."""
    match expression:
        case Column():
            return "day"
        case Call(function=function) if function in DATE_TRUNCATIONS:
            return function.removeprefix("trunc_")
        case _:
            return None


def _constant(value: Value, key: KeyPlan) -> str:
    return scalar(Literal(value, key_type(key)), Facts({}, None, None))


def survivor(plan: ReleasePlan, survivors: Sequence[Group]) -> Step:
    """The released private keys as rows of `s0`, `s1`, ..."""
    rows = ", ".join(f"({', '.join(_constants(plan, row))})" for row in survivors)
    types = ", ".join(f"CAST(s{i} AS {_sql_key_type(key)}) AS s{i}" for i, key in enumerate(plan.keys))
    columns = ", ".join(f"s{i}" for i in range(len(plan.keys)))
    return Step("survivor", f"SELECT {types} FROM (VALUES {rows}) AS v({columns})")


def chosen(plan: ReleasePlan, source: str, survivors: Sequence[Group]) -> tuple[Step, Step]:
    """The steps `survivor` and `chosen`: the rows of `source` whose keys survived."""
    matched = " AND ".join(f"{source}.{name} IS NOT DISTINCT FROM s{i}" for i, name in enumerate(key_names(plan)))
    return survivor(plan, survivors), Step("chosen", f"SELECT {source}.* FROM {source} JOIN survivor ON {matched}")


def picked(plan: ReleasePlan, picks: Sequence[tuple[Group, int]]) -> Step:
    """The step `pick`: a released number `p` beside each group's keys `s0`, `s1`, ..."""
    rows = ", ".join(f"({', '.join([*_constants(plan, group), str(pick)])})" for group, pick in picks)
    types = [f"CAST(s{i} AS {_sql_key_type(key)}) AS s{i}" for i, key in enumerate(plan.keys)]
    columns = ", ".join([*(f"s{i}" for i in range(len(plan.keys))), "p"])
    shown = ", ".join([*types, "CAST(p AS BIGINT) AS p"])
    return Step("pick", f"SELECT {shown} FROM (VALUES {rows}) AS v({columns})")


def _constants(plan: ReleasePlan, row: Group) -> list[str]:
    return [_constant(value, key) for value, key in zip(row, plan.keys, strict=True)]


def _sql_key_type(key: KeyPlan) -> str:
    kind = key_type(key).kind
    return {"text": "VARCHAR", "bigint": "BIGINT"}.get(kind, kind.upper())
