"""How much text is read at most. Everything beyond is refused before it costs anything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """`bytes_max` counts UTF-8 bytes; nodes and depth count the syntax tree and, after inlining, every expression."""

    bytes_max: int = 20_000
    nodes_max: int = 5_000
    depth_max: int = 100
    tables_max: int = 32
    """Tables in FROM, counted once for each time that a subquery is used."""
    selects_max: int = 60
    """SELECTs, counted once for each use: a chain of subqueries that names each twice would double at every step."""
