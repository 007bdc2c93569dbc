"""What a stored release answers besides its own question: fewer measures, coarser groups, a mean of its sum and count.

All of it is post-processing of released numbers, so it is free, and agrees with what was said before.
Source: docs/explanation/guarantees/release.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from policies.types import DOUBLE
from sandbox.relational import nodes
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.nodes import Measure
from sandbox.relational.normal import alone, bare, in_places
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
    asked = _as_read(stored.asked, wanted)
    if asked is None or not set(wanted.keys) <= set(asked.keys):
        return None
    if len(wanted.keys) < len(asked.keys) and not _adds_up(stored, wanted):
        return None
    found = [_measure(stored, asked, measure) for measure in wanted.measures]
    told = tuple(measure for measure in found if measure is not None)
    return told if len(told) == len(found) else None


def _as_read(asked: nodes.Release, wanted: nodes.Release) -> nodes.Release | None:
    """`asked` in the words of `wanted`, where both are over the same rows; None where they are not.

    The one may read columns that the other leaves out, and calls those of both by other names. A key or measure is the
    same where, alone over the rows, both have one normal form; and all that are the same have one together too, each in
    its own place, so that where rows are made of two alike the same one of them is meant throughout.
    """
    if asked.source == wanted.source:
        return asked
    if bare(asked.source) != bare(wanted.source):
        return None
    keys = {_alone(wanted, key): key for key in wanted.keys}
    measures = {_alone(wanted, measure): measure for measure in _with_parts(wanted.measures)}
    same_keys = {key: keys.get(_alone(asked, key)) for key in asked.keys}
    same_measures = {measure: measures.get(_alone(asked, measure)) for measure in asked.measures}
    if in_places(_only(asked, same_keys, same_measures)) != in_places(
        replace(wanted, keys=_there(same_keys), measures=_there(same_measures))
    ):
        return None
    return replace(
        wanted,
        keys=tuple(key or _UNREAD for key in same_keys.values()),
        measures=tuple(measure or _OTHER for measure in same_measures.values()),
    )


_UNREAD: Final = Column("?")
_OTHER: Final = Measure("count", _UNREAD)
"""What no question names: a key or measure that is not asked for."""
T = TypeVar("T")


def _only(
    asked: nodes.Release, keys: Mapping[Expression, Expression | None], measures: Mapping[Measure, Measure | None]
) -> nodes.Release:
    """`asked` without what is not asked for again."""
    return replace(
        asked,
        keys=tuple(key for key, same in keys.items() if same is not None),
        measures=tuple(measure for measure, same in measures.items() if same is not None),
    )


def _there(found: Mapping[T, T | None]) -> tuple[T, ...]:
    return tuple(each for each in found.values() if each is not None)


def _alone(release: nodes.Release, one: Expression | Measure) -> nodes.Release:
    """The normal form of `one` key or measure over the rows of `release`."""
    if isinstance(one, Measure):
        return alone(replace(release, keys=(), measures=(one,)))
    return alone(replace(release, keys=(one,), measures=()))


def _with_parts(measures: Sequence[Measure]) -> Iterator[Measure]:
    """`measures`, and what a mean can be told from."""
    for measure in measures:
        yield from (measure, *_parts(measure))


def _adds_up(stored: Release, wanted: nodes.Release) -> bool:
    """A row in no answered group is in no sum of groups either: the note `rolled_up` says so."""
    public = bool(stored.groups) and all(key.public for key in stored.keys)
    return public and all(m.function in ADDED_UP for m in wanted.measures)


def places_of(stored: Release, wanted: nodes.Release) -> tuple[int, ...]:
    """Where the keys of a question that `stored` answers stand among its own."""
    asked = _as_read(stored.asked, wanted)
    if asked is None:
        raise LookupError("a stored release over other rows")
    return tuple(asked.keys.index(key) for key in wanted.keys)


def _measure(stored: Release, asked: nodes.Release, wanted: Measure) -> ReleasedMeasure | None:
    """`asked` is what `stored` was asked, in the words of the question."""
    if wanted in asked.measures:
        return stored.measures[asked.measures.index(wanted)]
    parts = _parts(wanted)
    if not parts or not all(part in asked.measures for part in parts):
        return None
    total, count = (stored.measures[asked.measures.index(part)] for part in parts)
    return replace(total, function="avg", type=DOUBLE, divisor=count.statistic)


def _parts(wanted: Measure) -> tuple[Measure, ...]:
    """The sum and the count that a mean is told from."""
    if wanted.function != "avg":
        return ()
    return Measure("sum", wanted.argument), Measure("count", wanted.argument)
