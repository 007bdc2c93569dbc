"""What a release of `aggregate` mode keeps, and what it says to a question: exact numbers that may be said, or null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from policies.model import Mode
from policies.types import BIGINT, Type, Value
from sandbox.codec import digest
from sandbox.disclosure.plan import ProtectedPlan
from sandbox.disclosure.protect import Protected
from sandbox.notes import Note
from sandbox.protocol import FREE, Interval, OutputColumn, Price, Question, Released
from sandbox.publics import NO_PUBLICS, Publics
from sandbox.relational import nodes
from sandbox.relational.expressions import Column, columns
from sandbox.relational.nodes import Output, private_part
from sandbox.release import bands, post, present
from sandbox.release.intake import order_of

Notes = tuple[Note, ...] | None


@dataclass(frozen=True, slots=True)
class ProtectedRow:
    """A group: its keys, which of them are rolled up, its numbers, and in which interval the exact ones lie."""

    keys: tuple[Value, ...]
    rolled: tuple[int, ...]
    numbers: tuple[Value, ...]
    intervals: tuple[Interval | None, ...]


@dataclass(frozen=True, slots=True)
class ProtectedRelease:
    """As it is stored: rows in the fixed order of their keys."""

    format: Literal["bpk-protected-1"]
    dataset: str
    asked: nodes.Release | nodes.Rollup
    policy_digest: str
    snapshot: str
    mode: Mode
    price: Price
    keys: tuple[Type, ...]
    measures: tuple[Type, ...]
    rows: tuple[ProtectedRow, ...]
    rounding: int
    units_dropped: bool
    """Whether rows without a unit may have been left out: a function of the policy."""

    @property
    def plan_digest(self) -> str:
        return digest(self.asked)

    @property
    def source_digest(self) -> str:
        return digest(nodes.find_release(self.asked).source)

    @property
    def types(self) -> dict[str, Type]:
        """The columns: keys, measures, and whether each key is rolled up."""
        return types_of(self.keys, self.measures)

    @property
    def released(self) -> int:
        return sum(number is not None for row in self.rows for number in row.numbers)

    @property
    def withheld(self) -> int:
        return sum(number is None for row in self.rows for number in row.numbers)


def types_of(keys: Sequence[Type], measures: Sequence[Type]) -> dict[str, Type]:
    found = {f"k{i}": type_ for i, type_ in enumerate(keys)}
    found |= {f"m{i}": type_ for i, type_ in enumerate(measures)}
    return found | {f"g{i}": BIGINT for i in range(len(keys))}


def protected_release(
    question: Question, plan: ProtectedPlan, snapshot: str, found: Protected, *, units_dropped: bool
) -> ProtectedRelease:
    """Where keys are private, groups of which nothing may be said are not there: a group says that it has rows."""
    rows = []
    for i, part in enumerate(found.parts):
        rolled = tuple(int(key not in part.kept) for key in range(len(plan.keys)))
        private = plan.cells_of(i) is None
        places = (
            sorted(range(len(part.keys)), key=lambda place: order_of(part.keys[place]))
            if private
            else range(len(part.keys))
        )
        for place in places:
            numbers = found.numbers[i, place]
            if private and all(number is None for number in numbers):
                continue
            types = [figure.type for figure in plan.figures]
            shown = [None if n is None else _value(n.value, t) for n, t in zip(numbers, types, strict=True)]
            spans = [
                None if n is None or not n.half else _interval(n.value - n.half, n.value + n.half, t)
                for n, t in zip(numbers, types, strict=True)
            ]
            rows.append(ProtectedRow(part.keys[place], rolled, tuple(shown), tuple(spans)))
    return ProtectedRelease(
        format="bpk-protected-1",
        dataset=question.dataset,
        asked=private_part(question.plan),
        policy_digest=question.policy_digest,
        snapshot=snapshot,
        mode=question.mode,
        price=FREE,
        keys=tuple(key.type for key in plan.keys),
        measures=tuple(figure.type for figure in plan.figures),
        rows=tuple(rows),
        rounding=plan.rules.rounding,
        units_dropped=units_dropped,
    )


def _value(number: Fraction, type_: Type) -> Value:
    """Null for what its type cannot hold: too large to be said."""
    return present.as_value(number, type_) if present.fits(number, type_) else None


def _interval(low: Fraction, high: Fraction, type_: Type) -> Interval | None:
    if not present.fits(low, type_) or not present.fits(high, type_):
        return None
    return present.as_value(low, type_, up=False), present.as_value(high, type_, up=True)


def answer_protected(
    release: ProtectedRelease, release_id: str, release_hash: str, plan: Output, publics: Publics = NO_PUBLICS
) -> Released:
    """What leaves for a question with the meaning of `release`. Touches nothing else but public rows."""
    values = [(*row.keys, *row.numbers, *row.rolled) for row in release.rows]
    shown = post.outputs(plan, release.types, publics)
    found = post.run(plan, release.types, values, publics)
    rows = [release.rows[i] for i, _ in found]
    return Released(
        release=release_id,
        release_hash=release_hash,
        price=FREE,
        columns=tuple(protected_columns(shown)),
        rows=tuple(row for _, row in found),
        intervals=tuple(
            tuple(_band(row, s, value) for s, value in zip(shown, line, strict=True))
            for row, (_, line) in zip(rows, found, strict=True)
        ),
        notes=tuple(tuple(_notes(release, row, s) for s in shown) for row in rows),
        confidence="1",
        cells_released=release.released,
        cells_withheld=release.withheld,
    )


def protected_columns(shown: Sequence[post.Shown]) -> list[OutputColumn]:
    return [OutputColumn(s.name, s.type, "key" if s.is_key else "protected") for s in shown]


def _band(row: ProtectedRow, shown: post.Shown, value: Value) -> Interval | None:
    """Where the exact number lies, by interval arithmetic over those of the released ones."""
    names = bands.noisy_columns(shown.expression)
    if not names or value is None or not shown.type.numeric:
        return None
    known = {column.name: _known(row, column) for column in columns(shown.expression)}
    if all(band is not None and band[0] == band[1] for name, band in known.items() if name in names):
        return None  # the number is exact
    found = bands.band(shown.expression, known)
    return None if found is None else _interval(*found, shown.type)


def _known(row: ProtectedRow, column: Column) -> bands.Band | None:
    kind, place = column.name[0], column.name[1:]
    if kind not in "kgm" or not place.isdigit():
        return None
    values: Mapping[str, tuple[Value, ...]] = {"k": row.keys, "g": row.rolled, "m": row.numbers}
    span = row.intervals[int(place)] if kind == "m" else None
    if span is None:
        return bands.exactly(values[kind][int(place)])
    low, high = bands.exactly(span[0]), bands.exactly(span[1])
    return None if low is None or high is None else (low[0], high[1])


def _notes(release: ProtectedRelease, row: ProtectedRow, shown: post.Shown) -> Notes:
    used = [int(name[1:]) for name in shown.reads if name.startswith("m")]
    found: list[Note] = []
    if any(row.numbers[i] is None for i in used):
        found.append("withheld")
    elif used and release.rounding:
        found.append("rounded")
    if used and release.units_dropped:
        found.append("units_without_id_dropped")
    return tuple(found) or None
