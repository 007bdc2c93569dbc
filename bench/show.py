"""Figures as plain tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from unicodedata import east_asian_width

from bench import aims
from bench.markdown import percent
from bench.stats import TIMES
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
        wrong = ["-", "-"] if one["error"] is None else [percent(each) for each in one["error"]]
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


def aim(found: dict[str, dict[str, Any]], ranked: dict[str, bool]) -> str:
    """Whether latency is what it should be: one line for each un-private twin."""
    lines = []
    for figure, twin in (("over_ms", "on the snapshot's table"), ("over_parquet_ms", "on Parquet")):
        one = aims.verdict(found, ranked, figure)
        if one is None:
            lines.append(f"bare {twin}: nothing was answered")
            continue
        met = "met" if one.holds else "missed"
        lines.append(
            f"bare {twin}: 95 of 100 runs take at most {TIMES} × bare + {one.p95_over_ms:.0f} ms; "
            f"{100 * one.within:.0f} % are within {TIMES} × bare + {aims.PLUS_MS} ms: {met} ({one.questions} questions)"
        )
    return "\n".join(lines)


def ranked(found: dict[str, dict[str, Any]], ranked_by_name: dict[str, bool]) -> str:
    head = ["questions that rank units", "private ms", "p95", "group by unit and key ms", "p95", "×"]
    rows = []
    for name, one in found.items():
        if ranked_by_name.get(name) and "private_ms" in one:
            plain = one["per_unit_ms"]
            shown = ["-", "-", "-"] if plain is None else [*map(_ms, plain), f"{one['ratio_per_unit']:.1f}"]
            rows.append([name, *map(_ms, one["private_ms"]), *shown])
    return table_of(head, rows) if rows else "no question of the suite ranks units"


def growth(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Medians at each scale, and the factor from one scale to the next."""
    scales = list(found)
    head = ["ms as rows grow", *(f"private {scale}" for scale in scales), "×", *(f"table {s}" for s in scales), "×"]
    rows = []
    for name in found[scales[-1]]:
        ones = [found[scale].get(name, {}) for scale in scales]
        if all("private_ms" in one for one in ones):
            private, table = ([one[key][0] for one in ones] for key in ("private_ms", "snapshot_ms"))
            rows.append([name, *map(_ms, private), _steps(private), *map(_ms, table), _steps(table)])
    return table_of(head, rows)


def _steps(values: Sequence[float]) -> str:
    return " ".join(f"{b / a:.1f}" for a, b in pairwise(values))


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
