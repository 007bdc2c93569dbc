"""What a stored release answers besides its own question: fewer measures, coarser groups, a mean of its sum and count.

All of it is post-processing of released numbers, so it is free, and agrees with what was said before.
Source: docs/explanation/guarantees/release.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from policies.types import DOUBLE
from sandbox.relational import nodes
from sandbox.relational.expressions import Expression
from sandbox.relational.nodes import Measure
from sandbox.release.released import Release, ReleasedMeasure

ADDED_UP = frozenset(
    {"count_rows", "count", "sum", "avg", "var_pop", "var_samp", "stddev_pop", "stddev_samp"}
    | {"covar_pop", "covar_samp", "corr", "regr_slope", "regr_intercept"}
)
"""Measures whose statistics add up over groups, whoever is in them; a unit or a value may be in several."""


def measures_for(stored: Release, wanted: nodes.Release) -> tuple[ReleasedMeasure, ...] | None:
    """How the measures of `wanted` are told from `stored`, in order; None where they cannot be.

    `wanted` has the same rows below it. Where it groups by fewer keys, the keys of `stored` are all public, so that no
    group was kept back, and only measures that add up are told.
    """
    if stored.asked.source != wanted.source or not set(wanted.keys) <= set(stored.asked.keys):
        return None
    if len(wanted.keys) < len(stored.asked.keys) and not _adds_up(stored, wanted):
        return None
    found = [_measure(stored, measure) for measure in wanted.measures]
    told = tuple(measure for measure in found if measure is not None)
    return told if len(told) == len(found) else None


def _adds_up(stored: Release, wanted: nodes.Release) -> bool:
    """A row in no answered group is in no sum of groups either: the note `rolled_up` says so."""
    public = bool(stored.groups) and all(key.public for key in stored.keys)
    return public and all(m.function in ADDED_UP for m in wanted.measures)


def places_of(stored: Release, keys: Sequence[Expression]) -> tuple[int, ...]:
    """Where the keys of a question stand among those of `stored`."""
    return tuple(stored.asked.keys.index(key) for key in keys)


def _measure(stored: Release, wanted: Measure) -> ReleasedMeasure | None:
    if wanted in stored.asked.measures:
        return stored.measures[stored.asked.measures.index(wanted)]
    if wanted.function != "avg":
        return None
    parts = [Measure(function, wanted.argument) for function in ("sum", "count")]
    if not all(part in stored.asked.measures for part in parts):
        return None
    total, count = (stored.measures[stored.asked.measures.index(part)] for part in parts)
    return replace(total, function="avg", type=DOUBLE, divisor=count.statistic)
