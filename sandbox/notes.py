"""The notes that may stand beside a released number, and their words: one table for JSON, command line and docs.

A note says what an interval does not cover. Each is a function of plan, policy and released numbers only: one that
looked at data would have to be paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

Note = Literal[
    "may_be_clipped",
    "near_threshold",
    "quantile_grid",
    "labelled_quantile",
    "rolled_up",
    "units_without_id_dropped",
    "withheld",
    "rounded",
]


@dataclass(frozen=True, slots=True)
class Words:
    """`legend` is the line under a table; `meaning` the sentence of the reference."""

    legend: str
    meaning: str


WORDS: Final[Mapping[Note, Words]] = MappingProxyType(
    {
        "may_be_clipped": Words(
            "may be clipped: values, and rows and groups of one unit, count only up to the policy's bounds",
            "Values beyond the declared range count as its edge, and a unit with more rows or groups than declared in "
            "part. The interval does not cover what is lost by that.",
        ),
        "near_threshold": Words(
            "near the threshold: a small change could have kept this group back",
            "The released number of units is so close to the threshold of private groups that other noise might have "
            "kept the group back. Groups that are not shown may be as large.",
        ),
        "quantile_grid": Words(
            "on a grid: the quantile is the middle of a cell, and may be anywhere in it",
            "A quantile is chosen among cells of fixed width, and the column has finer steps than there are cells. The "
            "number is the middle of its cell.",
        ),
        "labelled_quantile": Words(
            "a quantile near the end: MIN and MAX themselves hang on one unit and are never shown",
            "MIN and MAX are answered as a quantile close to the end, where the policy grants it. Single values beyond "
            "it are meant to stay out of sight.",
        ),
        "rolled_up": Words(
            "rolled up: added up from the released groups, so it agrees with them",
            "The number is the sum of finer released numbers, or made of such sums. It costs nothing and agrees with "
            "them, and its noise is theirs together. A row in none of the finer groups is not in it.",
        ),
        "units_without_id_dropped": Words(
            "rows that belong to nobody are left out: those whose unit is null, or that lead to none",
            "The policy allows rows without a unit, and no such row counts in any answer. How many there are is not "
            "said.",
        ),
        "withheld": Words(
            "withheld: a rule of the policy keeps this number back; there may be nothing behind it, or little",
            "The number is null because a rule of the policy keeps it back. It says neither which rule, nor how many "
            "units are behind it: an empty group, a small one, and one that would give others away look the same.",
        ),
        "rounded": Words(
            "rounded: the exact number lies in the interval",
            "Counts are rounded to the policy's base, and sums and means to match. The exact number lies in the "
            "interval for certain.",
        ),
    }
)
NAMES: Final[tuple[Note, ...]] = get_args(Note)
