"""A stored release as the answer to one question: post-processing, values, intervals, notes."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.notes import Note
from sandbox.protocol import Interval, OutputColumn, Released
from sandbox.publics import NO_PUBLICS, Publics
from sandbox.relational.expressions import Column, columns
from sandbox.relational.nodes import Output
from sandbox.release import bands, cells, post, present
from sandbox.release.cells import Row
from sandbox.release.released import Release

Notes = tuple[Note, ...] | None


def answer(
    release: Release, release_id: str, release_hash: str, plan: Output, publics: Publics = NO_PUBLICS
) -> Released:
    """What leaves for a question whose private part is `release`. Touches nothing else but public rows."""
    types, rows = cells.types(release), cells.rows_of(release, plan)
    values = [row.values(release) for row in rows]
    shown = post.outputs(plan, types, publics)
    if post.is_plain(plan):
        names = list(types)
        places = [names.index(e.name) for _, e in plan.columns if isinstance(e, Column)]
        found = [(i, tuple(row[place] for place in places)) for i, row in enumerate(values)]
    else:
        found = post.run(plan, types, values, publics)
    return Released(
        release=release_id,
        release_hash=release_hash,
        price=release.price,
        columns=tuple(output_columns(shown)),
        rows=tuple(row for _, row in found),
        intervals=tuple(tuple(_interval(release, rows[i], s) for s in shown) for i, _ in found),
        notes=tuple(tuple(_notes(release, rows[i], s) for s in shown) for i, _ in found),
    )


def output_columns(shown: Sequence[post.Shown]) -> list[OutputColumn]:
    return [OutputColumn(s.name, s.type, "key" if s.is_key else "noisy") for s in shown]


def _interval(release: Release, row: Row, shown: post.Shown) -> Interval | None:
    band = band_of(release, row, shown, present.ALPHA)
    if band is None:
        return None
    return present.as_value(band[0], shown.type, up=False), present.as_value(band[1], shown.type, up=True)


def band_of(release: Release, row: Row, shown: post.Shown, alpha: float) -> bands.Band | None:
    """The (1 - alpha) interval of an output column in `row`, over the noise alone."""
    names = bands.noisy_columns(shown.expression)
    if not names or not shown.type.numeric:
        return None
    known: dict[str, bands.Band | None] = {}
    for column in columns(shown.expression):
        if column.name in names:
            known[column.name] = row.estimate(release, release.measures[int(column.name[1:])], alpha / len(names)).band
        elif column.name[0] in "kg":
            exact = row.exact(column.name)
            known[column.name] = None if exact is None else (exact, exact)
    return bands.band(shown.expression, known)


def _notes(release: Release, row: Row, shown: post.Shown) -> Notes:
    found: list[Note] = []
    merged = any(row.rolled)
    for name in sorted(name for name in shown.reads if name.startswith("m")):
        found += present.notes(
            release.measures[int(name[1:])],
            near_threshold=row.near_threshold,
            merged=merged,
            units_dropped=release.units_dropped,
        )
    return tuple(dict.fromkeys(found)) or None
