"""Open rows as SQL for the worker: rows of public tables as they are, and what is reckoned from them, exactly.

Nothing here is about anybody, so nothing is bounded, clamped or left out; what the engine cannot compute is null. Every
row keeps `__order`, its place: nothing is left to the engine's own order, so that pages of one answer fit together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, assert_never

from policies.types import BIGINT, BOOLEAN, DOUBLE, Type
from sandbox.relational.expressions import Call, Column, Expression, Literal, Position
from sandbox.relational.facts import ColumnFacts, Facts, Refuse, Schema
from sandbox.relational.functions.numbers import EXACT_MAX
from sandbox.relational.lower.constants import constant
from sandbox.relational.lower.scalars import identifier, number, scalar, sql_type
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.merge import bare_null, merge
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
    Limit,
    Measure,
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
from sandbox.relational.rules import tables
from sandbox.relational.scalar import facts_of
from sandbox.release import windows
from sandbox.release.ordered_sql import each_once, filtered, limited, placed_anew
from sandbox.release.windows import ORDER, shown, shown_type

_FIRST: Final = identifier("__first")
_PART: Final = identifier("__part")
_EXACT: Final = Fraction(EXACT_MAX)
"""No number is expected to be larger; of one that is, whole results too large for 64 bits are null."""
_JOINS: Final = {"inner": "JOIN", "left": "LEFT JOIN", "semi": "SEMI JOIN", "anti": "ANTI JOIN"}
_STATISTICS: Final = (
    *("var_pop", "var_samp", "stddev_pop", "stddev_samp"),
    *("covar_pop", "covar_samp", "corr", "regr_slope", "regr_intercept"),
)
"""Called the same by the engine."""


@dataclass(frozen=True, slots=True)
class _Rows:
    sql: str
    facts: Facts


def lower(plan: Output, schema: Schema) -> Lowered:
    """The statement of a whole question, one row more of its page than is shown. Raises Refuse."""
    below = _rows(plan.source, schema)
    named = [expression for _, expression in plan.columns]
    columns = ", ".join(_shown(each, below.facts) for each in named)
    select = f"SELECT {columns} FROM ({below.sql}) ORDER BY {ORDER}"
    return Lowered((), select, tuple(shown_type(each, below.facts) for each in named))


def _shown(expression: Expression, facts: Facts) -> str:
    """As `shown` writes it; what is too large for a double is null wherever it is looked at again."""
    return _finite(shown(expression, facts), shown_type(expression, facts))


def _made_finite(sql: str, made: Mapping[str, Type]) -> str:
    """The rows of `sql`, whose columns `made` may be infinite, or no number."""
    doubles = [identifier(name) for name, type_ in made.items() if type_ == DOUBLE]
    finite = ", ".join(f"{_finite(name, DOUBLE)} AS {name}" for name in doubles)
    return f"SELECT * REPLACE ({finite}) FROM ({sql})" if doubles else sql


def _finite(sql: str, type_: Type) -> str:
    return f"CASE WHEN isfinite({sql}) THEN {sql} END" if type_ == DOUBLE else sql


def _rows(node: Relation, schema: Schema) -> _Rows:
    match node:
        case Public():
            return _table(node, schema)
        case Join():
            return _join(node, _rows(node.left, schema), _rows(node.right, schema))
        case UnionAll():
            return _union_all(node, [_rows(each, schema) for each in node.inputs])
        case Release():
            return _groups(node, (), _rows(node.source, schema))
        case Rollup():
            return _groups(node.source, node.sets, _rows(node.source.source, schema))
        case Filter() | Project() | Window() | Distinct() | Sort() | Limit():
            return _reshaped(node, _rows(node.source, schema))
        case Scan() | UnitAggregate() | Output():
            raise Refuse("mode_not_offered", "mode `open` answers public tables alone", at=node.at)
        case _:
            assert_never(node)


def _reshaped(node: Filter | Project | Window | Distinct | Sort | Limit, below: _Rows) -> _Rows:
    match node:
        case Filter():
            return _filter(node, below)
        case Project():
            return _project(node, below)
        case Window():
            return _window(node, below)
        case Distinct():
            return replace(below, sql=each_once(below.sql, [_shown(each, below.facts) for each in node.columns]))
        case Sort():
            return replace(below, sql=placed_anew(below.sql, node.by, below.facts))
        case Limit():
            return replace(below, sql=limited(below.sql, node))
        case _:
            assert_never(node)


def _filter(node: Filter, below: _Rows) -> _Rows:
    for condition in node.conditions:
        if facts_of(condition, below.facts).type != BOOLEAN:
            raise Refuse("type_mismatch", "a condition is expected here", at=condition.at)
    return replace(below, sql=filtered(below.sql, node.conditions, below.facts))


def _made(name: str, type_: Type, label: str) -> ColumnFacts:
    """A column that lies in the engine as it is: with a source of its own, whole numbers are compared as such."""
    return ColumnFacts(type_, label, nullable=True, bounds=_bounds(type_), source=("", name))


def _bounds(type_: Type) -> tuple[Fraction, Fraction] | None:
    return (-_EXACT, _EXACT) if type_.whole else None


def _table(node: Public, schema: Schema) -> _Rows:
    """A public table with all its columns but hidden ones. What is declared of their values is not relied upon."""
    prefix, known = f"{node.number}.", tables.public(node, schema)
    columns = [f"{identifier(name.removeprefix(prefix))} AS {identifier(name)}" for name in known.columns]
    facts = {
        name: replace(found, bounds=_bounds(found.type), step=None, keys=None, nullable=True)
        for name, found in known.columns.items()
    }
    sql = f"SELECT {', '.join([*columns, f'rowid AS {ORDER}'])} FROM {identifier(node.table)}"
    return _Rows(sql, Facts(facts, None, None))


def _project(node: Project, below: _Rows) -> _Rows:
    columns, facts = [], {}
    for place, expression in enumerate(node.columns):
        name = f"{node.number}.{place}"
        columns.append(f"{_shown(expression, below.facts)} AS {identifier(name)}")
        facts[name] = _of(name, expression, below.facts)
    return _Rows(f"SELECT {', '.join([*columns, ORDER])} FROM ({below.sql})", Facts(facts, None, None))


def _of(name: str, expression: Expression, below: Facts) -> ColumnFacts:
    """A column that `expression` is put into; a bare one stays what the policy declares."""
    found = facts_of(expression, below)
    return found if isinstance(expression, Column) else _made(name, shown_type(expression, below), found.label)


def _window(node: Window, below: _Rows) -> _Rows:
    columns, made = [], {}
    facts = dict(below.facts.columns)
    for place, column in enumerate(node.columns):
        name = f"{node.number}.w{place}"
        made[name] = windows.type_of(column, below.facts)
        columns.append(f"{windows.window(column, below.facts)} AS {identifier(name)}")
        facts[name] = _made(name, made[name], f"this {column.function.upper()}")
    sql = f"SELECT {', '.join(['*', *columns])} FROM ({below.sql})"
    return _Rows(_made_finite(sql, made), Facts(facts, None, None))


def _join(node: Join, left: _Rows, right: _Rows) -> _Rows:
    """Rows that meet the same row keep their own order."""
    both = Facts({**left.facts.columns, **right.facts.columns}, None, None)
    if not node.on or len(both.columns) != len(left.facts.columns) + len(right.facts.columns):
        raise Refuse("join_not_allowed", "tables are joined where columns are equal", at=node.at)
    for one, other in node.on:
        if one not in left.facts.columns or other not in right.facts.columns:
            raise Refuse("column_unknown", "the question joins on a column that is not there", at=node.at)
    pairs = [Call("equal", (Column(one, node.at), Column(other, node.at)), node.at) for one, other in node.on]
    for pair in pairs:
        facts_of(pair, both)
    on = " AND ".join(scalar(pair, both) for pair in pairs)
    sides = f"({left.sql}) AS l {_JOINS[node.kind]} ({right.sql}) AS r ON {on}"
    if node.kind in ("semi", "anti"):
        return replace(left, sql=f"SELECT l.* FROM {sides}")
    columns = f"l.* EXCLUDE ({ORDER}), r.* EXCLUDE ({ORDER})"
    order = f"row_number() OVER (ORDER BY l.{ORDER}, r.{ORDER}) AS {ORDER}"
    return _Rows(f"SELECT {columns}, {order} FROM {sides}", both)


def _union_all(node: UnionAll, below: Sequence[_Rows]) -> _Rows:
    if len(below) < 2 or len({len(columns) for columns in node.columns}) != 1 or len(node.columns) != len(below):
        raise Refuse("type_mismatch", "the parts of UNION ALL must have the same number of columns", at=node.at)
    facts, written = {}, list[list[str]]()
    for place, values in enumerate(zip(*node.columns, strict=True)):
        parts = [facts_of(value, rows.facts) for value, rows in zip(values, below, strict=True)]
        type_ = merge(parts, values, "UNION ALL", node.at).type
        if len({shown_type(value, rows.facts) for value, rows in zip(values, below, strict=True)}) > 1 or not all(
            isinstance(value, Column) for value in values
        ):
            type_ = BIGINT if type_.whole else DOUBLE if type_.numeric else type_
        name = f"{node.number}.{place}"
        facts[name] = _made(name, type_, "UNION ALL")
        written.append([_as(value, type_, rows.facts) for value, rows in zip(values, below, strict=True)])
    parts_sql = []
    for i, rows in enumerate(below):
        columns = [f"{each[i]} AS {identifier(f'{node.number}.{place}')}" for place, each in enumerate(written)]
        parts_sql.append(f"SELECT {', '.join([*columns, f'{i} AS {_PART}', ORDER])} FROM ({rows.sql})")
    order = f"row_number() OVER (ORDER BY {_PART}, {ORDER}) AS {ORDER}"
    sql = f"SELECT * EXCLUDE ({_PART}, {ORDER}), {order} FROM ({' UNION ALL '.join(parts_sql)})"
    return _Rows(sql, Facts(facts, None, None))


def _as(value: Expression, type_: Type, facts: Facts) -> str:
    if bare_null(value):
        return constant(Literal(None, type_))
    if type_ == DOUBLE:
        return number(value, facts)
    return f"TRY_CAST({shown(value, facts)} AS {sql_type(type_)})" if type_.whole else shown(value, facts)


def _groups(node: Release, sets: tuple[tuple[int, ...], ...], below: _Rows) -> _Rows:
    """Aggregates, exact, by key. Groups stand in the order in which their first rows do, coarser ones after finer."""
    keys = [f"k{place}" for place in range(len(node.keys))]
    made = [f"{_shown(e, below.facts)} AS {identifier(k)}" for e, k in zip(node.keys, keys, strict=True)]
    facts = {k: _of(k, e, below.facts) for e, k in zip(node.keys, keys, strict=True)}
    inner, names = dict(below.facts.columns), [identifier(key) for key in keys]
    measures, rolled, types = [], list[str](), dict[str, Type]()
    for place, measure in enumerate(node.measures):
        sql, type_ = _measure(measure, Facts(inner, None, None))
        measures.append(f"{sql} AS {identifier(f'm{place}')}")
        types[f"m{place}"] = type_
        facts[f"m{place}"] = _made(f"m{place}", type_, f"this {measure.function.upper()}")
    if sets:
        rolled = [f"CAST(grouping({name}) AS BIGINT) AS {identifier(f'g{i}')}" for i, name in enumerate(names)]
        facts |= {f"g{i}": _made(f"g{i}", BIGINT, "GROUPING") for i in range(len(keys))}
    columns = ", ".join([*names, *measures, *rolled, f"min({ORDER}) AS {_FIRST}"])
    order = ", ".join([*(identifier(f"g{i}") for i in range(len(rolled))), f"{_FIRST} NULLS LAST"])
    source = f"SELECT {', '.join(['*', *made])} FROM ({below.sql})"
    sql = f"SELECT {columns} FROM ({source}){_group_by(names, sets)}"
    numbered = f"row_number() OVER (ORDER BY {order}) AS {ORDER}"
    sql = f"SELECT * EXCLUDE ({_FIRST}), {numbered} FROM ({sql})"
    return _Rows(_made_finite(sql, types), Facts(facts, None, None))


def _group_by(names: Sequence[str], sets: tuple[tuple[int, ...], ...]) -> str:
    if not sets:
        return f" GROUP BY {', '.join(names)}" if names else ""
    written = ", ".join(f"({', '.join(names[i] for i in kept)})" for kept in sets)
    return f" GROUP BY GROUPING SETS ({written})"


def _measure(measure: Measure, facts: Facts) -> tuple[str, Type]:
    """(SQL, type) of an aggregate. Doubles are added up in the order of rows, so that the same rows give the same."""
    function, at = measure.function, measure.at
    if function == "count_rows":
        return "count(*)", BIGINT
    argument = measure.argument
    if argument is None:
        raise Refuse("aggregate_not_allowed", "no row here is about a unit that could be counted", at=at)
    found = facts_of(argument, facts)
    match function:
        case "count":
            return f"count({scalar(argument, facts)})", BIGINT
        case "count_distinct":
            return f"count(DISTINCT {_shown(argument, facts)})", BIGINT
        case "min" | "max":
            return f"{function}({_shown(argument, facts)})", shown_type(argument, facts)
        case "quantile":
            fraction = constant(Literal(measure.fraction, DOUBLE))
            if found.type.temporal:
                return f"quantile_disc({shown(argument, facts)}, {fraction})", found.type
            return f"quantile_cont({_number(argument, facts, at)}, {fraction})", DOUBLE
        case "sum":
            type_ = shown_type(argument, facts)
            if type_.whole:
                return f"TRY_CAST(sum({shown(argument, facts)}) AS BIGINT)", BIGINT
            if type_.kind == "decimal":
                return f"sum({shown(argument, facts)})", Type("decimal", 38, type_.scale)
            return f"sum({_number(argument, facts, at)} ORDER BY {ORDER})", DOUBLE
        case "avg":
            return f"avg({_number(argument, facts, at)} ORDER BY {ORDER})", DOUBLE
        case _:
            return _statistic(measure, argument, facts)


def _statistic(measure: Measure, argument: Expression, facts: Facts) -> tuple[str, Type]:
    if measure.function not in _STATISTICS:
        raise Refuse("aggregate_not_allowed", f"{measure.function.upper()} is not answered", at=measure.at)
    numbers = [_number(each, facts, measure.at) for each in (argument, measure.other) if each is not None]
    return f"{measure.function}({', '.join(numbers)} ORDER BY {ORDER})", DOUBLE


def _number(argument: Expression, facts: Facts, at: Position | None) -> str:
    found = facts_of(argument, facts)
    if not found.type.numeric:
        detail = f"a number is needed here, and {found.label} is of type {found.type}"
        raise Refuse("type_mismatch", detail, at=argument.at or at)
    return _finite(number(argument, facts), DOUBLE)
