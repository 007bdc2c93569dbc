"""GROUP BY: keys by column, number or alias; ROLLUP, CUBE and GROUPING SETS as sets of keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Final

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql.block import Block
from gateway.sql.naming import value_of
from gateway.sql.scope import fold
from gateway.sql.syntax import aggregates, has_window
from gateway.sql.typed import Typed
from sandbox.codec import digest
from sandbox.relational.expressions import Expression

_SETS_MAX: Final = 64
_Set = tuple[Typed, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """`keys` are distinct and sorted by digest. `sets` are the keys of each grouping, where there are several."""

    keys: tuple[Expression, ...]
    sets: tuple[tuple[int, ...], ...] = ()


def read_groups(block: Block) -> Groups:
    """The grouping of a SELECT; without GROUP BY, everything is one group."""
    group = block.clause("group")
    if group is None:
        if block.clause("distinct") is not None and not any(map(aggregates, block.items)):
            return _groups(block, [tuple(_distinct_keys(block))])
        return Groups(())
    if group.args.get("all"):
        return _groups(block, [tuple(_all_keys(block))])
    sets: list[_Set] = [()]
    for term in group.args["expressions"]:
        alternatives = _sets(block, term)
        if len(sets) * len(alternatives) > _SETS_MAX:
            at = block.reading.at(term)
            raise Refusal("sql_too_large", f"a query has at most {_SETS_MAX} grouping sets", at=at)
        sets = [(*first, *second) for first, second in product(sets, alternatives)]
    return _groups(block, sets)


def _groups(block: Block, sets: list[_Set]) -> Groups:
    keys = tuple(sorted({key.expression for one in sets for key in one}, key=digest))
    places = {key: place for place, key in enumerate(keys)}
    numbered = [tuple(sorted({places[key.expression] for key in one})) for one in sets]
    if len(set(numbered)) != len(numbered):
        at = block.reading.at(block.node.args["group"])
        raise Refusal("construct_not_allowed", "one grouping is listed twice", hint="list each once", at=at)
    everything = tuple(range(len(keys)))
    return Groups(keys, () if numbered == [everything] else tuple(sorted(numbered)))


def _sets(block: Block, term: exp.Expr) -> list[_Set]:
    """The alternatives that one element of GROUP BY stands for."""
    members = term.args.get("expressions") or []
    match term:
        case exp.Rollup():
            parts = [_together(block, member) for member in members]
            return [_joined(parts[:length]) for length in range(len(parts), -1, -1)]
        case exp.Cube():
            parts = [_together(block, member) for member in members]
            if 2 ** len(parts) > _SETS_MAX:
                at = block.reading.at(term)
                raise Refusal("sql_too_large", f"a query has at most {_SETS_MAX} grouping sets", at=at)
            sizes = range(len(parts), -1, -1)
            return [_joined(chosen) for size in sizes for chosen in combinations(parts, size)]
        case exp.GroupingSets():
            return [one for member in members for one in _sets(block, member)]
        case _:
            return [_together(block, term)]


def _joined(parts: list[_Set] | tuple[_Set, ...]) -> _Set:
    return tuple(key for part in parts for key in part)


def _together(block: Block, term: exp.Expr) -> _Set:
    """The keys of one member: a column, or several in parentheses."""
    if type(term) is exp.Tuple:
        return tuple(_key(block, member) for member in term.args.get("expressions") or [])
    while type(term) is exp.Paren:
        term = term.args["this"]
    return (_key(block, term),)


def _key(block: Block, term: exp.Expr) -> Typed:
    value = block.plain("GROUP BY").read(_meant(block, term))
    if value.is_literal:
        message = "GROUP BY takes a column, or the number of one in the select list"
        raise Refusal("construct_not_allowed", message, at=block.reading.at(term))
    return value


def _meant(block: Block, term: exp.Expr) -> exp.Expr:
    """What a term of GROUP BY stands for: an ordinal, a column of FROM, else an alias of the select list."""
    if type(term) is exp.Literal and not term.args.get("is_string"):
        place = str(term.args["this"])
        if not place.isdecimal() or not 1 <= int(place) <= len(block.items):
            message = f"the select list has {len(block.items)} entries"
            at = block.reading.at(term)
            raise Refusal("construct_not_allowed", message, hint="group by a column's name", at=at)
        return value_of(block.items[int(place) - 1])
    if type(term) is exp.Column and term.args.get("table") is None and type(term.args["this"]) is exp.Identifier:
        name = str(term.args["this"].args["this"])
        aliases: Mapping[str, exp.Expr] = {
            fold(alias): value_of(item) for alias, item in zip(block.names, block.items, strict=True)
        }
        if not any(item.named(name) for item in block.source.items) and fold(name) in aliases:
            return aliases[fold(name)]
    return term


def _all_keys(block: Block) -> Iterator[Typed]:
    """GROUP BY ALL: what of the select list is neither aggregated nor constant."""
    for item in block.items:
        value = value_of(item)
        if not aggregates(value) and not has_window(value):
            key = block.plain("GROUP BY").read(value)
            if not key.is_literal:
                yield key


def _distinct_keys(block: Block) -> Iterator[Typed]:
    """SELECT DISTINCT without aggregates is a grouping by its select list."""
    for item in block.items:
        key = block.plain("SELECT DISTINCT").read(value_of(item))
        if not key.is_literal:
            yield key
