"""Each unit's part in a vector, scaled down to the norm: first within a group, then over all of its groups.

Guarantee: whatever a unit's rows say, its part over all groups and components has at most the vector's norm.
Source: docs/explanation/guarantees/bounding.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from policies.model import Accountant
from sandbox.relational.lower.constants import clamp
from sandbox.relational.lower.scalars import double, text
from sandbox.relational.lower.statement import Step
from sandbox.relational.statistics import Vector

SQUARE_MAX = 2**62
SHRINK = 1 - 2**-40
"""A scaled vector is made this much shorter, so that rounding of doubles cannot carry it over the norm."""


def clamped(i: int, vector: Vector, accountant: Accountant) -> list[str]:
    """The components of one cell, scaled together to the norm and rounded toward 0; one alone is clamped."""
    names = [f"r{i}_{j}" for j in range(len(vector.components))]
    if len(names) == 1:
        most = norm(vector, accountant)
        return [f"CAST({clamp(names[0], str(-most), str(most))} AS BIGINT) AS {names[0]}"]
    parts = [f"CAST({name} AS DOUBLE)" for name in names]
    size, limit = _size(parts, vector, accountant)
    factor = f"({_root(limit, accountant)} / {_root(size, accountant)} * {_shrink()})"
    return [
        f"CASE WHEN {size} <= {limit} THEN TRY_CAST({name} AS BIGINT) "
        f"ELSE TRY_CAST(trunc({part} * {factor}) AS BIGINT) END AS {name}"
        for name, part in zip(names, parts, strict=True)
    ]


def scaled(vectors: Sequence[Vector], accountant: Accountant, names: list[str]) -> tuple[Step, ...]:
    """Steps that scale the units whose groups together pass the norm: all their cells by one factor, toward 0."""
    sizes, over, columns = [], [], []
    for i, vector in enumerate(vectors):
        limit = vector.limit(accountant)
        sizes.append(f"{unit_size(i, vector, accountant)} AS n{i}")
        over.append(f"n{i} > {limit}")
        root, size = _root(double(limit), accountant), _root(f"CAST(n{i} AS DOUBLE)", accountant)
        for j in range(len(vector.components)):
            name = f"r{i}_{j}"
            smaller = f"TRY_CAST(trunc(CAST({name} AS DOUBLE) * ({root} / {size} * {_shrink()})) AS BIGINT)"
            columns.append(f"CASE WHEN n{i} > {limit} THEN {smaller} ELSE {name} END AS {name}")
    return (
        Step("size", f"SELECT u, {', '.join(sizes)} FROM cell GROUP BY u"),
        Step("over_norm", f"SELECT * FROM size WHERE {' OR '.join(over)}"),
        Step("scaled", f"SELECT {', '.join(names + columns)} FROM cell LEFT JOIN over_norm USING (u)"),
    )


def norm(vector: Vector, accountant: Accountant) -> int:
    """The norm of a vector of one component, in whole steps."""
    return math.isqrt(vector.norm.squared) if accountant == "zcdp" else vector.norm.total


def _size(parts: list[str], vector: Vector, accountant: Accountant) -> tuple[str, str]:
    """(size of one cell, its limit) as DOUBLE: squared under zcdp, a sum of absolute values under pure."""
    if accountant == "zcdp":
        return "(" + " + ".join(f"{p} * {p}" for p in parts) + ")", double(vector.norm.squared)
    return "(" + " + ".join(f"abs({p})" for p in parts) + ")", double(vector.norm.total)


def _root(size: str, accountant: Accountant) -> str:
    return f"sqrt({size})" if accountant == "zcdp" else size


def _shrink() -> str:
    return f"CAST({text(repr(SHRINK))} AS DOUBLE)"


def unit_size(i: int, vector: Vector, accountant: Accountant) -> str:
    """A unit's size over all its groups, in exact integers."""
    names = [f"r{i}_{j}" for j in range(len(vector.components))]
    if accountant == "pure":
        return "sum(" + " + ".join(f"abs({name})" for name in names) + ")"
    wide = "HUGEINT" if vector.norm.squared > SQUARE_MAX // len(names) else "BIGINT"
    return "sum(" + " + ".join(f"CAST({name} AS {wide}) * CAST({name} AS {wide})" for name in names) + ")"
