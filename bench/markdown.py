"""Tables in Markdown, and how figures are written in them."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def percent(part: float) -> str:
    """Two digits: `0.012 %`, `3.4 %`, `120 %`."""
    shown = 100 * part
    return f"{shown:.0f} %" if shown >= 10 else f"{shown:.2g} %"


def milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def ratio(value: float) -> str:
    """`×0.43`, `×12`."""
    return f"×{value:.0f}" if value >= 10 else f"×{value:.2g}"
