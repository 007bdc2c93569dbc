"""A release as SQL: base rows of integers, per unit and group, scaled to the norm, summed.

Guarantee: for every dataset that passed ingest, removing one unit with all its rows changes the summed vector of each
measure by at most its norm (L2 under zcdp, L1 under pure), and each key's count of units by at most 1, in at most
`groups` keys. Every arithmetic step is on exact integers or on doubles of one row or one unit alone, never on an
engine's sum of floats, so the result does not hang on the order of rows.
Source: docs/explanation/guarantees/bounding.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policies.model import Accountant
from policies.types import BIGINT, DOUBLE, Type, Value
from sandbox.relational.expressions import Literal
from sandbox.relational.facts import Facts, Schema
from sandbox.relational.lower.relations import UNIT, relation
from sandbox.relational.lower.scalars import double, number, scalar, text
from sandbox.relational.measures import Component, Vector
from sandbox.relational.plan import TEXT_KEY_MAX, KeyPlan, ReleasePlan

SQUARE_MAX = 2**62
SHRINK = 1 - 2**-40
"""A scaled vector is made this much shorter, so that rounding of doubles cannot carry it over the norm."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """SQL, and the type of each column that comes back: the keys, then integers."""

    sql: str
    shape: tuple[Type, ...]


def key_type(key: KeyPlan) -> Type:
    """The type in which the engine returns a key: bins come as the DOUBLE nearest to their edge."""
    if key.type.kind in ("decimal", "double"):
        return DOUBLE
    return BIGINT if key.type.whole else key.type


def lower_keys(plan: ReleasePlan, schema: Schema, seed: bytes, units_min: int) -> Lowered:
    """Units per key, at most `groups` keys of each unit, keys with fewer than `units_min` units left out.

    A unit in too many keys keeps those with the least keyed digest: a function of its own keys, of its number in the
    snapshot and of a secret that stays in the domain, so an outsider cannot choose which. The number hangs on who else
    is there; over a secret seed that is fresh with every numbering, the ranks of the others are the same in law.
    """
    names = [f"g{i}" for i in range(len(plan.keys))]
    shown = ", ".join(names)
    digest = _digest(names, seed)
    sql = (
        f"WITH base AS ({_base(plan, schema, [])}), "
        f"pairs AS (SELECT DISTINCT u, {shown} FROM base), "
        f"wide AS (SELECT u FROM pairs GROUP BY u HAVING count(*) > {plan.shape.groups}), "
        f"ranked AS (SELECT *, row_number() OVER (PARTITION BY u ORDER BY {digest}, {shown}) AS place "
        f"FROM pairs WHERE u IN (SELECT u FROM wide)), "
        f"kept AS (SELECT {shown} FROM pairs WHERE u NOT IN (SELECT u FROM wide) UNION ALL "
        f"SELECT {shown} FROM ranked WHERE place <= {plan.shape.groups}) "
        f"SELECT {shown}, CAST(count(*) AS BIGINT) FROM kept GROUP BY {shown} HAVING count(*) >= {units_min}"
    )
    return Lowered(sql, (*(key_type(key) for key in plan.keys), BIGINT))


def lower_values(
    plan: ReleasePlan,
    schema: Schema,
    accountant: Accountant,
    count_max: int,
    survivors: tuple[tuple[Value, ...], ...] | None = None,
) -> Lowered:
    """The exact bounded vectors, a row per group that is not empty. `survivors` are the released private keys."""
    names = [f"g{i}" for i in range(len(plan.keys))]
    components = [(f"r{i}_{j}", c) for i, v in enumerate(plan.vectors) for j, c in enumerate(v.components)]
    steps = [f"base AS ({_base(plan, schema, components)})"]
    if survivors is not None:
        steps.append(_survivors(plan, names, survivors))
    source = "base" if survivors is None else "chosen"
    steps += _cells(plan, accountant, names, source)
    last = "cell"
    if not plan.shape.one_group and names:
        steps += _scaled(plan, accountant, names)
        last = "scaled"
    sums = [_total(f"r{i}_{j}", v, count_max) for i, v in enumerate(plan.vectors) for j in range(len(v.components))]
    grouping = f" GROUP BY {', '.join(names)}" if names else ""
    sql = f"WITH {', '.join(steps)} SELECT {', '.join(names + sums)} FROM {last}{grouping}"
    return Lowered(sql, (*(key_type(key) for key in plan.keys), *(BIGINT for _ in components)))


def _base(plan: ReleasePlan, schema: Schema, components: list[tuple[str, Component]]) -> str:
    """Rows of one unit each: unit, keys, one integer per component. Rows whose key is not public are dropped here."""
    facts = plan.facts
    columns = [f"{UNIT} AS u"]
    columns += [f"{_key(key, facts)} AS g{i}" for i, key in enumerate(plan.keys)]
    columns += [f"{_row_integer(component, facts)} AS {name}" for name, component in components]
    inner = f"SELECT {', '.join(columns)} FROM ({relation(plan.release.source, schema)}) WHERE {UNIT} IS NOT NULL"
    conditions = [c for i, key in enumerate(plan.keys) if (c := _admitted(key, f"g{i}"))]
    return f"SELECT * FROM ({inner}) WHERE {' AND '.join(conditions)}" if conditions else inner


def _key(key: KeyPlan, facts: Facts) -> str:
    written = scalar(key.expression, facts)
    if key.type.whole:
        return f"TRY_CAST({written} AS BIGINT)"
    return f"TRY_CAST({written} AS DOUBLE)" if key_type(key) == DOUBLE else written


def _admitted(key: KeyPlan, name: str) -> str | None:
    """Which values of a key make a group: the public ones, or private text of bearable length."""
    if key.keys is None:
        known = f"length({name}) <= {TEXT_KEY_MAX}" if key.type.kind == "text" else f"{name} IS NOT NULL"
        return f"({known} OR {name} IS NULL)" if key.nullable else known
    values = [value for value in key.keys if value is not None]
    if not values:
        known = "FALSE"
    elif _contiguous(values):
        known = f"{name} BETWEEN {_constant(values[0], key)} AND {_constant(values[-1], key)}"
    else:
        known = f"{name} IN ({', '.join(_constant(value, key) for value in values)})"
    return f"({known} OR {name} IS NULL)" if None in key.keys else known


def _contiguous(values: Sequence[Value]) -> bool:
    """Whether whole numbers without a gap."""
    whole = [value for value in values if type(value) is int]
    return len(whole) == len(values) and whole == list(range(whole[0], whole[0] + len(whole)))


def _constant(value: Value, key: KeyPlan) -> str:
    return scalar(Literal(value, key_type(key)), Facts({}, None, None))


def _row_integer(component: Component, facts: Facts) -> str:
    """The integer that a row adds. Null, NaN and infinite arguments add 0; values outside the bounds are clamped."""
    if component.argument is None:
        return str(component.grid)
    if component.part == "present":
        return f"CASE WHEN {scalar(component.argument, facts)} IS NULL THEN 0 ELSE {component.grid} END"
    x = number(component.argument, facts)
    if component.part == "finite":
        return f"CASE WHEN isfinite({x}) THEN {component.grid} ELSE 0 END"
    clamped = f"least(greatest({x}, {double(component.low)}), {double(component.high)})"
    if component.part == "centred":
        half = (component.high - component.low) / 2
        middle = (component.high + component.low) / 2
        ratio = f"({clamped} - {double(middle)}) / {double(half)} * {component.grid}" if half else "0"
        low, high = -component.grid, component.grid
    else:
        ratio = f"{clamped} / {double(component.step)}"
        low, high = math.floor(component.low / component.step), math.ceil(component.high / component.step)
    rounded = f"least(greatest(TRY_CAST(round({ratio}) AS BIGINT), {low}), {high})"
    return f"CASE WHEN isfinite({x}) THEN {rounded} ELSE 0 END"


def _survivors(plan: ReleasePlan, names: list[str], survivors: tuple[tuple[Value, ...], ...]) -> str:
    rows = ", ".join(
        f"({', '.join(_constant(value, key) for value, key in zip(row, plan.keys, strict=True))})" for row in survivors
    )
    types = ", ".join(f"CAST(s{i} AS {_sql_key_type(key)}) AS s{i}" for i, key in enumerate(plan.keys))
    columns = ", ".join(f"s{i}" for i in range(len(names)))
    matched = " AND ".join(f"base.{name} IS NOT DISTINCT FROM s{i}" for i, name in enumerate(names))
    return (
        f"survivor AS (SELECT {types} FROM (VALUES {rows}) AS v({columns})), "
        f"chosen AS (SELECT base.* FROM base JOIN survivor ON {matched})"
    )


def _sql_key_type(key: KeyPlan) -> str:
    kind = key_type(key).kind
    return {"text": "VARCHAR", "bigint": "BIGINT"}.get(kind, kind.upper())


def _cells(plan: ReleasePlan, accountant: Accountant, names: list[str], source: str) -> list[str]:
    """One row per unit and group, each vector's part in it scaled to the norm."""
    sums = []
    for i, vector in enumerate(plan.vectors):
        for j, component in enumerate(vector.components):
            column = f"r{i}_{j}"
            inner = str(component.grid) if component.part == "units" else f"sum({column})"
            sums.append(f"{inner} AS {column}")
    grouped = ["u", *names]
    if plan.shape.unit_once:
        raw = f"raw AS (SELECT * FROM {source})"
    else:
        raw = f"raw AS (SELECT {', '.join(grouped + sums)} FROM {source} GROUP BY {', '.join(grouped)})"
    clamped = [c for i, vector in enumerate(plan.vectors) for c in _clamped(i, vector, accountant)]
    return [raw, f"cell AS (SELECT {', '.join(grouped + clamped)} FROM raw)"]


def _clamped(i: int, vector: Vector, accountant: Accountant) -> list[str]:
    names = [f"r{i}_{j}" for j in range(len(vector.components))]
    if len(names) == 1:
        most = _norm(vector, accountant)
        return [f"CAST(least(greatest({names[0]}, -{most}), {most}) AS BIGINT) AS {names[0]}"]
    parts = [f"CAST({name} AS DOUBLE)" for name in names]
    size, limit = _size(parts, vector, accountant)
    factor = f"({_root(limit, accountant)} / {_rooted(size, accountant)} * {double_of(SHRINK)})"
    return [
        f"CASE WHEN {size} <= {limit} THEN TRY_CAST({name} AS BIGINT) "
        f"ELSE TRY_CAST(trunc({part} * {factor}) AS BIGINT) END AS {name}"
        for name, part in zip(names, parts, strict=True)
    ]


def _norm(vector: Vector, accountant: Accountant) -> int:
    return math.isqrt(vector.norm_squared) if accountant == "zcdp" else vector.norm_sum


def _size(parts: list[str], vector: Vector, accountant: Accountant) -> tuple[str, str]:
    """(squared norm or norm of one row, its limit), as DOUBLE."""
    if accountant == "zcdp":
        return "(" + " + ".join(f"{p} * {p}" for p in parts) + ")", double(vector.norm_squared)
    return "(" + " + ".join(f"abs({p})" for p in parts) + ")", double(vector.norm_sum)


def _root(limit: str, accountant: Accountant) -> str:
    return f"sqrt({limit})" if accountant == "zcdp" else limit


def _rooted(size: str, accountant: Accountant) -> str:
    return f"sqrt({size})" if accountant == "zcdp" else size


def double_of(value: float) -> str:
    return f"CAST({text(repr(value))} AS DOUBLE)"


def _scaled(plan: ReleasePlan, accountant: Accountant, names: list[str]) -> list[str]:
    """Units whose groups together pass the norm, and their cells scaled by one factor, rounded toward 0."""
    sizes, over, columns = [], [], []
    for i, vector in enumerate(plan.vectors):
        sizes.append(f"{_unit_size(i, vector, accountant)} AS n{i}")
        limit = vector.norm_squared if accountant == "zcdp" else vector.norm_sum
        over.append(f"n{i} > {limit}")
        root = _root(double(limit), accountant)
        size = _rooted(f"CAST(n{i} AS DOUBLE)", accountant)
        for j in range(len(vector.components)):
            name = f"r{i}_{j}"
            factor = f"({root} / {size} * {double_of(SHRINK)})"
            columns.append(
                f"CASE WHEN n{i} > {limit} THEN TRY_CAST(trunc(CAST({name} AS DOUBLE) * {factor}) AS BIGINT) "
                f"ELSE {name} END AS {name}"
            )
    return [
        f"size AS (SELECT u, {', '.join(sizes)} FROM cell GROUP BY u)",
        f"over_norm AS (SELECT * FROM size WHERE {' OR '.join(over)})",
        f"scaled AS (SELECT {', '.join(names + columns)} FROM cell LEFT JOIN over_norm USING (u))",
    ]


def _unit_size(i: int, vector: Vector, accountant: Accountant) -> str:
    """A unit's size over all its groups, in exact integers."""
    names = [f"r{i}_{j}" for j in range(len(vector.components))]
    if accountant == "pure":
        return "sum(" + " + ".join(f"abs({name})" for name in names) + ")"
    wide = "HUGEINT" if vector.norm_squared > SQUARE_MAX // len(names) else "BIGINT"
    return "sum(" + " + ".join(f"CAST({name} AS {wide}) * CAST({name} AS {wide})" for name in names) + ")"


def _total(name: str, vector: Vector, count_max: int) -> str:
    """Saturating at count_max x norm, far beyond any real sum: the cast cannot raise, and saturating is 1-Lipschitz."""
    most = min(count_max * vector.norm_sum, 2**62)
    return f"CAST(least(greatest(coalesce(sum({name}), 0), -{most}), {most}) AS BIGINT)"


def _digest(names: list[str], seed: bytes) -> str:
    """SHA-256 over seed, unit and key, each part with its length, nulls apart from text."""
    parts = ["CAST(u AS VARCHAR)", *(f"CAST({name} AS VARCHAR)" for name in names)]
    joined = " || ".join(f"coalesce('+' || length({p}) || ':' || {p}, '-')" for p in parts)
    return f"sha256({text(seed.hex() + ':')} || {joined})"
