"""Spend over time for people: a line for each period, with a bar of what was spent by then."""

from __future__ import annotations

from decimal import Decimal
from math import ceil
from typing import Any, Final

from gateway.cli import show

WIDTH: Final = 24
"""Of a bar, in characters."""
_COUNTS: Final = ("answers", "reused", "refusals")


def picture(body: dict[str, Any]) -> None:
    for scope in body["scopes"]:
        _scope(scope, body["by"])
    if not body["scopes"]:
        show.CONSOLE.print("no budget was spent")


def bar(spent: str, cap: str) -> str:
    """`#` for what is spent by then, `.` for what is left; a part of a character counts as spent."""
    whole = Decimal(cap)
    part = min(Decimal(spent) / whole, Decimal(1)) if whole else Decimal(1)
    full = ceil(part * WIDTH)
    return "#" * full + "." * (WIDTH - full)


def _scope(scope: dict[str, Any], by: str) -> None:
    unit = "rho" if scope["accountant"] == "zcdp" else "epsilon"
    for line in _heading(scope, unit):
        show.CONSOLE.print(show.plain(line))
    counted = [name for name in _COUNTS if any(period[name] is not None for period in scope["periods"])]
    rows = [
        [
            period["begin"],
            period["spent"][unit],
            bar(period["spent_by_then"][unit], scope["cap"][unit]),
            show.shorter(period["spent_by_then"]["epsilon"]),
            *("" if period[name] is None else str(period[name]) for name in counted),
        ]
        for period in scope["periods"]
    ]
    if rows:
        numbers = frozenset({1, 3, *range(4, 4 + len(counted))})
        show.table([by, f"{unit} spent", "of the cap", "epsilon by then", *counted], rows, numbers)


def _heading(scope: dict[str, Any], unit: str) -> tuple[str, str]:
    """Where the scope stands; its exact amounts on a line of their own."""
    spent, cap, blocks = scope["spent"], scope["cap"], scope.get("blocks") or ()
    left = (
        ""
        if scope["answers_left"] is None
        else f", {scope['answers_left']:,} answers at {scope['answer_epsilon']} left"
    )
    exact = [f"{name} {spent[name]} of {cap[name]}" for name in ("rho", "delta") if name != "rho" or unit == "rho"]
    shown = f"{scope['scope']}: epsilon {show.shorter(spent['epsilon'])} of {cap['epsilon']} spent{left}"
    if blocks:
        return f"{scope['scope']}: epsilon {cap['epsilon']} in each block{left} on the fullest of {len(blocks)}", ""
    return shown, f"  {', '.join(exact)}"
