"""A stored release as the answer to one question: post-processing, values, intervals, notes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from policies.types import Type, Value
from sandbox.notes import Note
from sandbox.protocol import Interval, OutputColumn, Released
from sandbox.publics import NO_PUBLICS, Publics
from sandbox.relational.expressions import Column, columns
from sandbox.relational.nodes import Output
from sandbox.release import bands, post, present
from sandbox.release.released import Release

Notes = tuple[Note, ...] | None


def released_types(release: Release) -> dict[str, Type]:
    """The columns that a release offers: its keys, then its measures."""
    keys = {f"k{i}": key.type for i, key in enumerate(release.keys)}
    return {**keys, **{f"m{i}": measure.type for i, measure in enumerate(release.measures)}}


def answer(
    release: Release, release_id: str, release_hash: str, plan: Output, publics: Publics = NO_PUBLICS
) -> Released:
    """What leaves for a question whose private part is `release`. Touches nothing else but public rows."""
    types = released_types(release)
    rows = [_row(release, group) for group in range(len(release.groups))]
    shown = post.outputs(plan, types, publics)
    if post.is_plain(plan):
        names = list(types)
        places = [names.index(e.name) for _, e in plan.columns if isinstance(e, Column)]
        found = [(i, tuple(row[place] for place in places)) for i, row in enumerate(rows)]
    else:
        found = post.run(plan, types, rows, publics)
    return Released(
        release=release_id,
        release_hash=release_hash,
        price=release.price,
        columns=tuple(output_columns(shown)),
        rows=tuple(row for _, row in found),
        intervals=tuple(tuple(_interval(release, i, s) for s in shown) for i, _ in found),
        notes=tuple(tuple(_notes(release, i, s) for s in shown) for i, _ in found),
    )


def output_columns(shown: Sequence[post.Shown]) -> list[OutputColumn]:
    return [OutputColumn(s.name, s.type, "key" if s.is_key else "noisy") for s in shown]


def _row(release: Release, group: int) -> tuple[Value, ...]:
    numbers = (present.as_value(present.estimate(m, group).value, m.type) for m in release.measures)
    return (*release.groups[group], *numbers)


def _interval(release: Release, group: int, shown: post.Shown) -> Interval | None:
    names = bands.noisy_columns(shown.expression)
    if not names or not shown.type.numeric:
        return None
    alpha = present.ALPHA / len(names)
    known: dict[str, bands.Band | None] = {}
    for column in columns(shown.expression):
        if column.name in names:
            found = present.estimate(release.measures[int(column.name[1:])], group, alpha)
            known[column.name] = (found.low, found.high)
        elif column.name.startswith("k"):
            key = release.groups[group][int(column.name[1:])]
            exact = Fraction(key) if isinstance(key, int | float) and not isinstance(key, bool) else None
            known[column.name] = None if exact is None else (exact, exact)
    band = bands.band(shown.expression, known)
    if band is None:
        return None
    return present.as_value(band[0], shown.type, up=False), present.as_value(band[1], shown.type, up=True)


def _notes(release: Release, group: int, shown: post.Shown) -> Notes:
    near = release.near_threshold[group]
    found: list[Note] = []
    for name in sorted(name for name in shown.reads if name.startswith("m")):
        found += present.notes(release.measures[int(name[1:])], near_threshold=near) or ()
    return tuple(dict.fromkeys(found)) or None
