"""A release as SQL: rows of one unit each, per unit and group, scaled to the norm, summed.

Guarantee: for every dataset that passed ingest, removing one unit with all its rows changes the summed vector of each
measure by at most its norm (L2 under zcdp, L1 under pure), and each key's count of units by at most 1, in at most
`groups` keys. Every arithmetic step is on exact integers or on doubles of one row or one unit alone, never on an
engine's sum of floats, so the result does not hang on the order of rows.
Source: docs/explanation/guarantees/bounding.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.model import Accountant
from policies.types import BIGINT, DOUBLE, Type, Value
from sandbox.relational.expressions import Literal
from sandbox.relational.facts import Facts, Schema
from sandbox.relational.lower import norms
from sandbox.relational.lower.inputs import Inputs, inputs_of
from sandbox.relational.lower.relations import UNIT, relation
from sandbox.relational.lower.scalars import scalar, text
from sandbox.relational.measures import Vector
from sandbox.relational.plan import TEXT_KEY_MAX, KeyPlan, ReleasePlan


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
    most = plan.shape.groups
    sql = (
        f"WITH base AS ({_base(plan, schema, Inputs({}))}), "
        f"raw AS (SELECT u, {shown}, count(*) AS n FROM base GROUP BY u, {shown}), "
        f"pairs AS (SELECT u, {shown} FROM raw{_where(plan)}), "
        f"wide AS (SELECT u FROM pairs GROUP BY u HAVING count(*) > {most}), "
        f"ranked AS (SELECT *, row_number() OVER (PARTITION BY u ORDER BY {_digest(names, seed)}, {shown}) AS place "
        f"FROM pairs WHERE u IN (SELECT u FROM wide)), "
        f"kept AS (SELECT {shown} FROM pairs WHERE u NOT IN (SELECT u FROM wide) UNION ALL "
        f"SELECT {shown} FROM ranked WHERE place <= {most}) "
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
    inputs = inputs_of(plan.vectors, plan.facts)
    steps = [f"base AS ({_base(plan, schema, inputs)})", f"raw AS ({_raw(plan, names, inputs)})"]
    source = "raw"
    if survivors is not None:
        steps.append(_survivors(plan, names, survivors))
        source = "chosen"
    cells = [c for i, v in enumerate(plan.vectors) for c in norms.clamped(i, v, accountant)]
    where = _where(plan) if survivors is None else ""
    steps.append(f"cell AS (SELECT {', '.join(['u', *names, *cells])} FROM {source}{where})")
    last = "cell"
    if not plan.shape.one_group and names:
        steps += norms.scaled(plan.vectors, accountant, names)
        last = "scaled"
    columns = [(f"r{i}_{j}", v) for i, v in enumerate(plan.vectors) for j in range(len(v.components))]
    sums = [_total(name, vector, count_max) for name, vector in columns]
    grouping = f" GROUP BY {', '.join(names)}" if names else ""
    sql = f"WITH {', '.join(steps)} SELECT {', '.join(names + sums)} FROM {last}{grouping}"
    return Lowered(sql, (*(key_type(key) for key in plan.keys), *(BIGINT for _ in columns)))


def _base(plan: ReleasePlan, schema: Schema, inputs: Inputs) -> str:
    """Rows of one unit each: unit, keys, and what the measures read."""
    columns = [f"{UNIT} AS u"]
    columns += [f"{_key(key, plan.facts)} AS g{i}" for i, key in enumerate(plan.keys)]
    columns += [f"{written} AS {name}" for written, name in inputs.columns.items()]
    return f"SELECT {', '.join(columns)} FROM ({relation(plan.release.source, schema)}) WHERE {UNIT} IS NOT NULL"


def _raw(plan: ReleasePlan, names: list[str], inputs: Inputs) -> str:
    """One row per unit and group, with each component before its clamp.

    Where the unit determines its group, the group is read off one of its rows: then no unit can lie in two groups.
    """
    once = plan.shape.unit_once
    parts = [
        f"{inputs.cell(component, once=once)} AS r{i}_{j}"
        for i, vector in enumerate(plan.vectors)
        for j, component in enumerate(vector.components)
    ]
    if once:
        return f"SELECT {', '.join(['u', *names, '1 AS n', *parts])} FROM base"
    if plan.shape.one_group:
        shown = [f"any_value({name}) AS {name}" for name in names]
        return f"SELECT {', '.join(['u', *shown, 'count(*) AS n', *parts])} FROM base GROUP BY u"
    return f"SELECT {', '.join(['u', *names, 'count(*) AS n', *parts])} FROM base GROUP BY {', '.join(['u', *names])}"


def _where(plan: ReleasePlan) -> str:
    """Drops the cells whose key makes no group. Its look at `n` keeps the engine from testing every row instead."""
    conditions = [c for i, key in enumerate(plan.keys) if (c := _admitted(key, f"g{i}"))]
    return f" WHERE CASE WHEN n > 0 THEN {' AND '.join(conditions)} ELSE FALSE END" if conditions else ""


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


def _survivors(plan: ReleasePlan, names: list[str], survivors: tuple[tuple[Value, ...], ...]) -> str:
    rows = ", ".join(
        f"({', '.join(_constant(value, key) for value, key in zip(row, plan.keys, strict=True))})" for row in survivors
    )
    types = ", ".join(f"CAST(s{i} AS {_sql_key_type(key)}) AS s{i}" for i, key in enumerate(plan.keys))
    columns = ", ".join(f"s{i}" for i in range(len(names)))
    matched = " AND ".join(f"raw.{name} IS NOT DISTINCT FROM s{i}" for i, name in enumerate(names))
    return (
        f"survivor AS (SELECT {types} FROM (VALUES {rows}) AS v({columns})), "
        f"chosen AS (SELECT raw.* FROM raw JOIN survivor ON {matched})"
    )


def _sql_key_type(key: KeyPlan) -> str:
    kind = key_type(key).kind
    return {"text": "VARCHAR", "bigint": "BIGINT"}.get(kind, kind.upper())


def _total(name: str, vector: Vector, count_max: int) -> str:
    """Saturating at count_max x norm, far beyond any real sum: the cast cannot raise, and saturating is 1-Lipschitz."""
    most = min(count_max * vector.norm_sum, 2**62)
    return f"CAST(least(greatest(coalesce(sum({name}), 0), -{most}), {most}) AS BIGINT)"


def _digest(names: list[str], seed: bytes) -> str:
    """60 bits of SHA-256 over seed, unit and key, each part with its length, nulls apart from text.

    As a number, because sorting text of 64 characters takes longer than the digest; the keys themselves break a tie.
    """
    parts = ["CAST(u AS VARCHAR)", *(f"CAST({name} AS VARCHAR)" for name in names)]
    joined = " || ".join(f"coalesce('+' || length({p}) || ':' || {p}, '-')" for p in parts)
    return f"CAST('0x' || left(sha256({text(seed.hex() + ':')} || {joined}), 15) AS BIGINT)"
