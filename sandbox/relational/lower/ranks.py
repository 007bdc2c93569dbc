"""The order in which a unit gives up keys where it has too many: a keyed digest of its own."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.relational.lower.scalars import text
from sandbox.relational.lower.statement import Step


def most_of_each(source: str, names: Sequence[str], most: int, seed: bytes) -> tuple[Step, ...]:
    """Steps that end in `few`: of the distinct rows (u, names) of `source` at most `most` of each unit.

    A unit in too many keeps those with the least keyed digest: a function of its own keys, of its number in the
    snapshot and of a secret that stays in the domain, so an outsider cannot choose which. The number hangs on who else
    is there; over a secret seed that is fresh with every numbering, the ranks of the others are the same in law. Only
    units over the limit are ranked: the rank is the slowest step there is.
    Source: docs/explanation/guarantees/bounding.md
    """
    shown = ", ".join(names)
    place = f"row_number() OVER (PARTITION BY u ORDER BY {_digest(names, seed)}, {shown}) AS place"
    return (
        Step("wide", f"SELECT u FROM {source} GROUP BY u HAVING count(*) > {most}"),
        Step("ranked", f"SELECT *, {place} FROM {source} WHERE u IN (SELECT u FROM wide)"),
        Step(
            "few",
            f"SELECT u, {shown} FROM {source} WHERE u NOT IN (SELECT u FROM wide) "
            f"UNION ALL SELECT u, {shown} FROM ranked WHERE place <= {most}",
        ),
    )


def _digest(names: Sequence[str], seed: bytes) -> str:
    """60 bits of SHA-256 over seed, unit and key, each part with its length, nulls apart from text.

    As a number, because sorting text of 64 characters takes longer than the digest; the keys themselves break a tie.
    """
    parts = ["CAST(u AS VARCHAR)", *(f"CAST({name} AS VARCHAR)" for name in names)]
    joined = " || ".join(f"coalesce('+' || length({p}) || ':' || {p}, '-')" for p in parts)
    return f"CAST('0x' || left(sha256({text(seed.hex() + ':')} || {joined}), 15) AS BIGINT)"
