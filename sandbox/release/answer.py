"""A stored release as the answer to one question: post-processing, values, intervals, notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from policies.types import Value
from sandbox.notes import Note
from sandbox.protocol import Interval, OutputColumn, Released
from sandbox.publics import NO_PUBLICS, Publics
from sandbox.relational.expressions import Column, columns
from sandbox.relational.nodes import Output
from sandbox.release import bands, cells, post, present
from sandbox.release.cells import Row, Table
from sandbox.release.released import Release

Notes = tuple[Note, ...] | None
NOTHING: Final[Mapping[str, Value]] = MappingProxyType({})


def answer(
    release: Release, release_id: str, release_hash: str, plan: Output, publics: Publics = NO_PUBLICS
) -> Released:
    """What leaves for a question that `release` answers. Touches nothing else but public rows."""
    table = cells.table_of(release, plan)
    values = [table.values(row) for row in table.rows]
    shown = post.outputs(plan, table.types, publics)
    reckoned = {c.name for s in shown if bands.noisy_columns(s.expression) for c in columns(s.expression)}
    known = [name for name in post.public_columns(plan, table.types, publics) if name in reckoned]
    found = post.run(_with(plan, known), table.types, values, publics)
    width = len(shown)
    lines = [_Line(table, table.rows[i], row[:width], dict(zip(known, row[width:], strict=True))) for i, row in found]
    return Released(
        release=release_id,
        release_hash=release_hash,
        price=release.price,
        columns=tuple(output_columns(shown)),
        rows=tuple(line.values for line in lines),
        intervals=tuple(line.intervals(shown) for line in lines),
        notes=tuple(tuple(_notes(table, line.row, s) for s in shown) for line in lines),
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of the answer: the released row behind it, its values, and what public tables say beside it."""

    table: Table
    row: Row
    values: tuple[Value, ...]
    beside: Mapping[str, Value]

    def intervals(self, shown: Sequence[post.Shown]) -> tuple[Interval | None, ...]:
        return tuple(self._interval(s, value) for s, value in zip(shown, self.values, strict=True))

    def _interval(self, shown: post.Shown, value: Value) -> Interval | None:
        """None beside a null: where there is no number, there is nothing that an interval could cover."""
        band = band_of(self.table, self.row, shown, present.ALPHA, self.beside)
        if band is None or value is None:
            return None
        return present.as_value(band[0], shown.type, up=False), present.as_value(band[1], shown.type, up=True)


def _with(plan: Output, known: Sequence[str]) -> Output:
    """`plan` with columns more, for what public tables say beside each row."""
    return replace(plan, columns=(*plan.columns, *((name, Column(name)) for name in known)))


def output_columns(shown: Sequence[post.Shown]) -> list[OutputColumn]:
    return [OutputColumn(s.name, s.type, "key" if s.is_key else "noisy") for s in shown]


def band_of(
    table: Table, row: Row, shown: post.Shown, alpha: float, beside: Mapping[str, Value] = NOTHING
) -> bands.Band | None:
    """The (1 - alpha) interval of an output column in `row`, over the noise alone; None where its type is too small.

    `beside` holds exact numbers by the name of their column.
    """
    names = bands.noisy_columns(shown.expression)
    if not names or not shown.type.numeric:
        return None
    known: dict[str, bands.Band | None] = {}
    for column in columns(shown.expression):
        if column.name in names:
            known[column.name] = table.estimate(row, int(column.name[1:]), alpha / len(names)).band
        elif column.name[0] in "kg":
            exact = row.exact(column.name)
            known[column.name] = None if exact is None else (exact, exact)
        else:
            known[column.name] = bands.exactly(beside.get(column.name))
    found = bands.band(shown.expression, known)
    return None if found is None or not all(present.fits(edge, shown.type) for edge in found) else found


def _notes(table: Table, row: Row, shown: post.Shown) -> Notes:
    found: list[Note] = []
    for name in sorted(name for name in shown.reads if name.startswith("m")):
        found += present.notes(
            table.measures[int(name[1:])],
            near_threshold=row.near_threshold,
            merged=row.merged,
            units_dropped=table.units_dropped,
        )
    return tuple(dict.fromkeys(found)) or None
