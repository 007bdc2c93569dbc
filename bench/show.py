"""Figures as plain tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unicodedata import east_asian_width

from bench.steps import SHARES, WHOLE


def answers(found: dict[str, dict[str, Any]]) -> str:
    head = [
        "question",
        "private ms",
        "p95",
        "table ms",
        "p95",
        "×",
        "Parquet ms",
        "×",
        "error",
        "p95",
        "groups",
        "lost",
    ]
    rows = []
    for name, one in found.items():
        if "private_ms" not in one:
            rows.append([name, "no answer: " + ", ".join(sorted(set(one["failures"])))])
            continue
        private, table, parquet = one["private_ms"], one["snapshot_ms"], one["parquet_ms"]
        wrong = ["-", "-"] if one["error"] is None else [f"{100 * each:.2g} %" for each in one["error"]]
        times = [_ms(private[0]), _ms(private[1]), _ms(table[0]), _ms(table[1]), f"{one['ratio_snapshot']:.1f}"]
        named = name + (f" ({len(one['failures'])} failed)" if one["failures"] else "")
        rows.append(
            [
                named,
                *times,
                _ms(parquet[0]),
                f"{one['ratio_parquet']:.1f}",
                *wrong,
                str(one["groups"]),
                f"{one['lost']:.0f}",
            ]
        )
    return table_of(head, rows)


def stages(found: dict[str, dict[str, float]]) -> str:
    lines = [*(share.words for share in SHARES), WHOLE]
    rows = [[line, *(f"{one.get(line, 0):.1f}" for one in found.values())] for line in lines]
    return table_of(["step, ms", *found], rows)


def alone(found: dict[str, Any]) -> str:
    rows = [[kind, f"{one['p50_ms']:.1f}", f"{one['p95_ms']:.1f}"] for kind, one in found.items()]
    return table_of(["one small question alone", "p50 ms", "p95 ms"], rows)


def together(found: dict[str, Any]) -> str:
    rows = []
    for kind, by_callers in found.items():
        for callers, one in by_callers.items():
            took = ["-", "-"] if one["p50_ms"] is None else [f"{one['p50_ms']:.1f}", f"{one['p95_ms']:.1f}"]
            rows.append([kind, callers, f"{one['per_second']:.1f}", *took, ", ".join(one["other"])])
    return table_of(["small questions", "callers", "a second", "p50 ms", "p95 ms", "others"], rows)


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right; a last cell may stand over the edge."""
    widths = [max(width(row[i]) for row in [head, *rows] if len(row) == len(head)) for i in range(len(head))]
    widths[0] = max(width(row[0]) for row in [head, *rows])
    return "\n".join(_line(row, widths) for row in [head, ["-" * w for w in widths], *rows])


def width(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = row
    cells = [first + " " * (widths[0] - width(first))]
    cells += [" " * (widths[i] - width(cell)) + cell for i, cell in enumerate(others, 1)]
    return "  ".join(cells).rstrip()


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
