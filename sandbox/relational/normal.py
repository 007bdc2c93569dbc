"""The normal form of a plan: what means the same in other words is the same plan, and is paid for once.

Numbers of tables count in order of the plan instead of the text; columns that nothing reads are left out; what has no
order of its own stands in the order of its digests.

Guarantee: the normal form has the same rows, groups and numbers. What shapes rows stays: keys, conditions, joins, and
below a window every column, since ties of rows are broken by all that there are.
Source: docs/explanation/guarantees/release.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar, assert_never

from sandbox.codec import digest
from sandbox.relational.canonical import in_order, put_in
from sandbox.relational.expressions import Column, Expression, columns
from sandbox.relational.nodes import (
    SYMMETRIC,
    Distinct,
    Filter,
    Join,
    Limit,
    Measure,
    Order,
    Output,
    Project,
    Public,
    Relation,
    Release,
    Rollup,
    Scan,
    Sort,
    UnionAll,
    UnitAggregate,
    UnitMeasure,
    Window,
    WindowColumn,
    find_release,
    walk,
)

T = TypeVar("T")
_Numbered = Scan | Public | Project | UnionAll | UnitAggregate | Window


@dataclass(frozen=True, slots=True)
class _Read:
    """The columns that something above reads: all of them where `names` is None."""

    names: frozenset[str] | None = frozenset()

    def also(self, *expressions: Expression | None) -> _Read:
        return self.named(_names(*expressions))

    def named(self, names: Iterable[str]) -> _Read:
        return self if self.names is None else _Read(self.names | frozenset(names))

    def kept(self, prefix: str, offered: Sequence[T]) -> list[tuple[int, T]]:
        """Those of `offered`, called `prefix` and their place, that are read; with their places."""
        return [(i, one) for i, one in enumerate(offered) if self.names is None or f"{prefix}{i}" in self.names]


_EVERYTHING: Final = _Read(None)


def normal(plan: Output) -> Output:
    """`plan` in its normal form, with the operator's names for the columns of the answer."""
    form = _Form()
    released = form.release(find_release(plan))
    source = form.above(plan.source, released)
    return replace(plan, source=source, columns=tuple((name, form.put(one)) for name, one in plan.columns))


def alone(release: Release) -> Release:
    """`release` in its normal form."""
    return _Form().release(release)


def in_places(release: Release) -> tuple[Release, tuple[str, ...]]:
    """`release` in its normal form, and what each of its keys and measures, in order, is called there."""
    form = _Form()
    made = form.release(release)
    keys, measures = range(len(release.keys)), range(len(release.measures))
    return made, (*(form.names[f"k{i}"] for i in keys), *(form.names[f"m{i}"] for i in measures))


def bare(source: Relation) -> Relation:
    """The normal form of what shapes the rows of `source`: the same whatever columns are read of them."""
    return _Form().relation(source, _Read())


@dataclass(slots=True)
class _Form:
    """Numbers and names given so far: everything below a node is called anew before the node itself."""

    next: int = 0
    numbers: dict[str, int] = field(default_factory=dict)
    """Old number -> new one."""
    names: dict[str, str] = field(default_factory=dict)
    """Old name -> new one, where more than the number changes."""

    def put(self, expression: Expression) -> Expression:
        names: dict[Expression, Expression] = {one: Column(self.name(one.name)) for one in columns(expression)}
        return put_in(expression, names)

    def name(self, old: str) -> str:
        number, dot, rest = old.partition(".")
        return self.names.get(old) or (f"{self.numbers[number]}.{rest}" if dot else old)

    def number(self, node: _Numbered) -> int:
        self.numbers[str(node.number)] = self.next
        self.next += 1
        return self.next - 1

    def renamed(self, old: str, new: str, ordered: Sequence[tuple[int, T]]) -> tuple[T, ...]:
        """What stands in `ordered`, each with its old place; it is called by its new one from now on."""
        self.names |= {f"{old}{place}": f"{new}{i}" for i, (place, _) in enumerate(ordered)}
        return tuple(one for _, one in ordered)

    # -- below the release --------------------------------------------------------------------------------------

    def relation(self, node: Relation, read: _Read) -> Relation:
        match node:
            case Scan() | Public():
                return replace(node, number=self.number(node))
            case Filter():
                source = self.relation(node.source, read.also(*node.conditions))
                return replace(node, source=source, conditions=tuple(in_order(map(self.put, node.conditions))))
            case Join():
                return self._join(node, read)
            case Project():
                return self._project(node, read)
            case UnionAll():
                return self._union_all(node, read)
            case UnitAggregate():
                return self._unit_aggregate(node, read)
            case Window():
                return self._window(node, read)
            case Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
                raise ValueError("a released result stands below a release")
            case _:
                assert_never(node)

    def _join(self, node: Join, read: _Read) -> Relation:
        """Joins that only keep, drop or complete the rows of one relation do so in any order."""
        base, chain = _around(node)
        read = read.named(name for each in chain for pair in each.on for name in pair)
        relation = self.relation(base, read)
        if len(chain) > 1:
            chain = sorted(chain, key=lambda each: self._mark(each, read))
        for each in chain:
            right = self.relation(each.right, read)
            relation = replace(each, left=relation, right=right, on=self._pairs(each, self))
        return relation

    def _mark(self, node: Join, read: _Read) -> str:
        """The meaning of the right side, whatever stands beside it."""
        inside = _Form()
        right = inside.relation(node.right, read)
        return digest((node.kind, right, self._pairs(node, inside)))

    def _pairs(self, node: Join, right: _Form) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((self.name(one), right.name(other)) for one, other in node.on))

    def _project(self, node: Project, read: _Read) -> Relation:
        """All columns stay: they say by which of them its rows are unique."""
        source = self.relation(node.source, read.also(*node.columns))
        ordered = _ordered(enumerate(map(self.put, node.columns)))
        number = self.number(node)
        return replace(
            node, source=source, columns=self.renamed(f"{node.number}.", f"{number}.", ordered), number=number
        )

    def _union_all(self, node: UnionAll, read: _Read) -> Relation:
        """What each input puts into the columns is written in its names before the next one gives its own."""
        kept = read.kept(f"{node.number}.", list(zip(*node.columns, strict=True)))
        inputs, parts = list[Relation](), list[list[Expression]]()
        for part, each in enumerate(node.inputs):
            offered = [values[part] for _, values in kept]
            inputs.append(self.relation(each, read.also(*offered)))
            parts.append([self.put(one) for one in offered])
        ordered = _ordered((kept[i][0], values) for i, values in enumerate(zip(*parts, strict=True)))
        number = self.number(node)
        named = self.renamed(f"{node.number}.", f"{number}.", ordered)
        columns = tuple(tuple(values[part] for values in named) for part in range(len(inputs)))
        return replace(node, inputs=tuple(inputs), columns=columns, number=number)

    def _unit_aggregate(self, node: UnitAggregate, read: _Read) -> Relation:
        """Keys shape the rows; how many there are does not hang on what is reckoned in them."""
        kept = read.kept(f"{node.number}.m", node.measures)
        source = self.relation(node.source, read.also(*node.keys, *(measure.argument for _, measure in kept)))
        keys = _ordered(enumerate(map(self.put, node.keys)))
        measures = _ordered((place, self._of_unit(measure)) for place, measure in kept)
        number = self.number(node)
        return replace(
            node,
            source=source,
            keys=self.renamed(f"{node.number}.k", f"{number}.k", keys),
            measures=self.renamed(f"{node.number}.m", f"{number}.m", measures),
            number=number,
        )

    def _of_unit(self, measure: UnitMeasure) -> UnitMeasure:
        return measure if measure.argument is None else replace(measure, argument=self.put(measure.argument))

    def _window(self, node: Window, read: _Read) -> Relation:
        kept = read.kept(f"{node.number}.w", node.columns)
        if not kept:
            return self.relation(node.source, read)
        source = self.relation(node.source, _EVERYTHING)
        return self._windows(node, source, kept)

    def _windows(self, node: Window, source: Relation, kept: Iterable[tuple[int, WindowColumn]]) -> Window:
        ordered = _ordered((place, self._beside(column)) for place, column in kept)
        number = self.number(node)
        made = self.renamed(f"{node.number}.w", f"{number}.w", ordered)
        return replace(node, source=source, columns=made, number=number)

    def _beside(self, column: WindowColumn) -> WindowColumn:
        return replace(
            column,
            argument=None if column.argument is None else self.put(column.argument),
            partition=tuple(in_order(map(self.put, column.partition))),
            order=self._by(column.order),
        )

    def _by(self, order: Order) -> Order:
        return tuple((self.put(term), down, first) for term, down, first in order)

    # -- the release, and above it ------------------------------------------------------------------------------

    def release(self, node: Release) -> Release:
        read = _Read().also(*node.keys, *(each for one in node.measures for each in (one.argument, one.other)))
        source = self.relation(node.source, read)
        keys = _ordered(enumerate(map(self.put, node.keys)))
        measures = _ordered(enumerate(map(self._measure, node.measures)))
        self.names |= {f"g{place}": f"g{i}" for i, (place, _) in enumerate(keys)}
        return replace(
            node, source=source, keys=self.renamed("k", "k", keys), measures=self.renamed("m", "m", measures)
        )

    def _measure(self, measure: Measure) -> Measure:
        sides = [self.put(each) for each in (measure.argument, measure.other) if each is not None]
        if measure.function in SYMMETRIC:
            sides = in_order(sides)
        argument, other = (*sides, None, None)[:2]
        return replace(measure, argument=argument, other=other)

    def above(self, node: Relation, released: Release) -> Relation:
        match node:
            case Release():
                return released
            case Rollup():
                places = {place: int(self.names[f"k{place}"][1:]) for place in range(len(node.source.keys))}
                sets = tuple(sorted(tuple(sorted(places[key] for key in kept)) for kept in node.sets))
                return replace(node, source=released, sets=sets)
            case Filter():
                source = self.above(node.source, released)
                return replace(node, source=source, conditions=tuple(in_order(map(self.put, node.conditions))))
            case Distinct():
                source = self.above(node.source, released)
                return replace(node, source=source, columns=tuple(map(self.put, node.columns)))
            case Sort():
                return replace(node, source=self.above(node.source, released), by=self._by(node.by))
            case Limit():
                return replace(node, source=self.above(node.source, released))
            case Project():
                source = self.above(node.source, released)
                return replace(
                    node, source=source, columns=tuple(map(self.put, node.columns)), number=self.number(node)
                )
            case Window():
                return self._windows(node, self.above(node.source, released), enumerate(node.columns))
            case Join():
                left = self.above(node.left, released)
                right = self.relation(node.right, _EVERYTHING)
                return replace(node, left=left, right=right, on=self._pairs(node, self))
            case Scan() | Public() | UnionAll() | UnitAggregate() | Output():
                raise ValueError("not a relation of released rows")
            case _:
                assert_never(node)


def _ordered(found: Iterable[tuple[int, T]]) -> list[tuple[int, T]]:
    """By digest, and where that is the same by place."""
    return sorted(found, key=lambda pair: (digest(pair[1]), pair[0]))


def _names(*expressions: Expression | None) -> Iterator[str]:
    for expression in expressions:
        if expression is not None:
            yield from (column.name for column in columns(expression))


def _around(node: Join) -> tuple[Relation, list[Join]]:
    """A relation, and the joins around it that each ask about its own columns alone: the lowest first."""
    chain, base = [node], node.left
    while isinstance(base, Join) and base.kind != "inner" and node.kind != "inner":
        chain.append(base)
        base = base.left
    own = {str(each.number) for each in walk(base) if isinstance(each, _Numbered)}
    if len(chain) > 1 and not all(one.partition(".")[0] in own for each in chain for one, _ in each.on):
        return node.left, [node]
    return base, chain[::-1]
