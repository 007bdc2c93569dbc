"""Which pairs of columns tables may be joined on, by the policy alone.

Guarantee: a row of a join of private tables belongs to exactly one unit, because both sides' rows are of the same unit;
and each row of a private relation meets at most the declared number of public rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gateway.sql.reading import End, Reading
from gateway.sql.scope import Source
from sandbox.relational.expressions import Column as Name
from sandbox.relational.expressions import Expression, columns
from sandbox.relational.nodes import Project, Public, Relation, Scan, UnionAll, UnitAggregate, Window, walk

Pair = tuple[str, str]
"""(column of the left relation, column of the right one), by their names in the model."""
Place = tuple[int, str]
"""(number of an occurrence, column of its table)."""
_Ends = tuple[tuple[End, ...], tuple[End, ...]]
_Need = tuple[Place | None, Place | None]
"""What has to be equated: a place on the left with one on the right; None is any column that may meet the other."""


def private_tables(relation: Relation) -> set[str]:
    return {node.table for node in walk(relation) if isinstance(node, Scan)}


def occurrences(relation: Relation) -> set[int]:
    """The numbers of all that is below."""
    numbered = Scan | Public | Project | UnionAll | UnitAggregate | Window
    return {node.number for node in walk(relation) if isinstance(node, numbered)}


def number_of(name: str) -> int:
    return int(name.split(".", 1)[0])


def lies_in(expression: Expression, relation: Relation) -> bool:
    """Whether every column of `expression` is of `relation`."""
    return {number_of(column.name) for column in columns(expression)} <= occurrences(relation)


def tied(reading: Reading, left: Relation, right: Relation, pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Those of `pairs` on which `left` and `right` may be joined.

    Of a link or key of several columns, all pairs are there, and between the same two occurrences of the tables: a part
    of it names rows of many units, or many rows. Where both sides are private, a pair over a public table in between
    does not count: two units that share a region would meet. Where one is public, its column must be of the unique (or
    fan-out) ones, not the other's.
    """
    between = bool(private_tables(left)), bool(private_tables(right))
    found = {pair: (reading.ends(pair[0]), reading.ends(pair[1])) for pair in pairs}
    while kept := {pair: ends for pair, ends in found.items() if all(ends) and _is_tied(reading, ends, found, between)}:
        if len(kept) == len(found):
            break
        found = kept
    return tuple(kept)


def _is_tied(reading: Reading, ends: _Ends, beside: Mapping[Pair, _Ends], between: tuple[bool, bool]) -> bool:
    """Whether a way to join is whole, for every input of the unions behind both columns."""
    first, second = ends
    others = [two for two in beside.values() if (len(two[0]), len(two[1])) == (len(first), len(second))]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            equated = {
                need for a, b in others for way in _ways(reading, a[i], b[j], between) for need in _offers(a[i], b[j])
            }
            if not any(way <= equated for way in _ways(reading, one, other, between)):
                return False
    return True


def _offers(one: End, other: End) -> tuple[_Need, ...]:
    return (one.place, other.place), (None, other.place), (one.place, None)


def _ways(reading: Reading, one: End, other: End, between: tuple[bool, bool]) -> Iterator[frozenset[_Need]]:
    """All that has to be equated for `one` (left) and `other` (right) to meet, for each way in which they may."""
    match between:
        case (True, True):
            yield from _of_one_unit(reading, one, other)
        case (False, True):
            yield from (frozenset((place, None) for place in way) for way in _to_public(other, one))
        case _:
            yield from (frozenset((None, place) for place in way) for way in _to_public(one, other))


def _of_one_unit(reading: Reading, one: End, other: End) -> Iterator[frozenset[_Need]]:
    if one.table.public or other.table.public:
        return
    if one.column.role == "unit" and other.column.role == "unit":
        yield frozenset({(one.place, other.place)})
    for first in reading.link_ends(one.table):
        for second in reading.link_ends(other.table):
            pairs = first.meets(second)
            if (one.column.name, other.column.name) in pairs:
                yield frozenset(((one.number, a), (other.number, b)) for a, b in pairs)


def _to_public(end: End, public: End) -> Iterator[frozenset[Place]]:
    table, key = public.table, public.column.name
    if not table.public or (table.name, key) not in end.column.joins:
        return
    if key in table.fan_out:
        yield frozenset({public.place})
    if key in table.key:
        yield frozenset((public.number, name) for name in table.key)


def possible(reading: Reading, left: Source, right: Source) -> Iterator[tuple[tuple[str, str], ...]]:
    """All on which the two could be joined, for hints: pairs of `alias.column` that have to be equated together.

    Nothing where one is an answer, which is joined on any.
    """
    if left.released or right.released:
        return
    between = bool(private_tables(left.relation)), bool(private_tables(right.relation))
    offered: dict[_Need, tuple[str, str]] = {}
    ways: dict[frozenset[_Need], None] = {}
    for one, first in _callable(left):
        for other, second in _callable(right):
            ends = [(a, b) for a in reading.ends(first) for b in reading.ends(second)]
            if ends and all(any(_ways(reading, a, b, between)) for a, b in ends):
                a, b = ends[0]
                ways |= dict.fromkeys(_ways(reading, a, b, between))
                for need in _offers(a, b):
                    offered.setdefault(need, (one, other))
    for way in ways:
        if way <= offered.keys():
            yield tuple(sorted(offered[need] for need in way))


def _callable(source: Source) -> Iterator[tuple[str, str]]:
    for item in source.items:
        for field in item.fields:
            if isinstance(field.typed.expression, Name) and not field.hidden:
                yield (f"{item.alias}.{field.name}" if item.alias else field.name), field.typed.expression.name
