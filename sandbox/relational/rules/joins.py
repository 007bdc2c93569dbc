"""Facts of joins: which rows may meet, how often, and what is still known of a unit afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sandbox.relational.facts import ColumnFacts, Facts, Refuse, Schema
from sandbox.relational.nodes import Join

Source = tuple[str, str]
"""(table, column) of the policy."""


def join(node: Join, left: Facts, right: Facts, schema: Schema) -> Facts:
    """Facts of a join. Raises Refuse (`join_not_allowed`, `column_unknown`, `construct_not_allowed`)."""
    if not node.on:
        raise Refuse("join_not_allowed", "a join needs columns that are equated", at=node.at)
    for first, second in node.on:
        _offered(first, left, node)
        _offered(second, right, node)
    if _names(left) & _names(right):
        raise Refuse("construct_not_allowed", "both sides of a join carry a column of the same name", at=node.at)
    if left.private and right.private and not _equates_unit(node.on, left, right, schema):
        hint = "join on the columns that lead to the protected unit"
        raise Refuse("join_not_allowed", "two tables about units can only be joined on the unit", hint=hint, at=node.at)
    if node.kind in ("semi", "anti"):
        return _half(node, left, right)
    if left.private and right.private:
        return _private(node, left, right)
    if left.private:
        return _with_public(node, left, right)
    if right.private and node.kind == "inner":
        flipped = tuple((second, first) for first, second in node.on)
        return _with_public(replace(node, left=node.right, right=node.left, on=flipped), right, left)
    if right.private:
        hint = "put the table of units on the left side of LEFT JOIN"
        raise Refuse("join_not_allowed", "a LEFT join must keep the rows of units", hint=hint, at=node.at)
    return _reference(node, left, right)


def _offered(name: str, side: Facts, join: Join) -> None:
    if name not in side.columns and name not in (side.unit or ()):
        raise Refuse("column_unknown", "a join names a column that its side does not offer", at=join.at)


def _names(side: Facts) -> frozenset[str]:
    """Every name of a side: with one name twice, facts of one column would be taken for those of another."""
    return frozenset(side.columns) | (side.unit or frozenset())


def _private(join: Join, left: Facts, right: Facts) -> Facts:
    """Both sides have units: only rows of one unit may meet.

    Guarantee: the lowered join also equates the hidden unit, so a row of the result belongs to exactly one unit, and a
    unit has at most left x right rows, or one side's where the other's columns are unique.
    Source: docs/explanation/guarantees/join.md
    """
    one_left, one_right = (_one_each(side, names) for side, names in zip((left, right), _sides(join), strict=True))
    most = _private_multiplicity(join, left, right, one_left, one_right)
    columns = {**left.columns, **_right_columns(join, right, keep_of_unit=_fate_of_unit(join, left, right))}
    unit = (left.unit or frozenset()) | ((right.unit or frozenset()) if join.kind == "inner" else frozenset())
    unique = left.unique if one_right else frozenset()
    if one_left and join.kind == "inner":
        unique |= right.unique
    return Facts(columns, unit, most, unique, unit_once=left.unit_once and right.unit_once)


def _sides(join: Join) -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(a for a, _ in join.on), frozenset(b for _, b in join.on)


def _one_each(side: Facts, equated: frozenset[str]) -> bool:
    """Whether a row of the other side meets at most one row here, as declared: the hidden unit is equated too."""
    return side.unit_once or side.is_unique(equated | (side.unit or frozenset()))


def one_each(join: Join, left: Facts, right: Facts) -> tuple[bool, bool]:
    """Whether a row of the right meets at most one row of the left, as declared; and the other way round."""
    first, second = _sides(join)
    return _one_each(left, first), _one_each(right, second)


def _half(join: Join, left: Facts, right: Facts) -> Facts:
    """The rows of `left` with a partner (semi), or without one (anti): EXISTS and NOT EXISTS.

    Guarantee: whether a row stays hangs on rows of its own unit, for the lowered join equates the hidden unit where
    both sides have one, and on public rows.
    Source: docs/explanation/guarantees/semi-join.md
    """
    if right.private and not left.private:
        hint = "start from the table of units, and join reference data to it"
        raise Refuse("join_not_allowed", "rows of units cannot choose rows of reference data", hint=hint, at=join.at)
    if join.kind == "anti" or right.private:
        return left
    columns = dict(left.columns)
    for first, second in join.on:
        if first in columns:
            columns[first] = _among(columns[first], right.columns[second])
    return left.with_columns(columns)


def _among(column: ColumnFacts, listed: ColumnFacts) -> ColumnFacts:
    """A column whose every value stands in a public one: what is listed there are its public keys."""
    if listed.keys is None:
        return replace(column, nullable=False)
    known = set(listed.keys)
    keys = listed.keys if column.keys is None else tuple(key for key in column.keys if key in known)
    return replace(column, keys=keys, nullable=False)


def _fate_of_unit(join: Join, left: Facts, right: Facts) -> bool:
    """Whether all rows of a unit find a partner, or none: else a LEFT join gives one unit values and nulls."""
    units_alone = all(a in (left.unit or ()) and b in (right.unit or ()) for a, b in join.on)
    return join.kind == "inner" or units_alone


def _private_multiplicity(join: Join, left: Facts, right: Facts, one_left: bool, one_right: bool) -> int:
    rows_left, rows_right = left.multiplicity or 0, right.multiplicity or 0
    options = [rows_left * rows_right if join.kind == "inner" else rows_left * max(rows_right, 1)]
    if one_right:
        options.append(rows_left)
    if one_left:
        options.append(rows_right if join.kind == "inner" else rows_left + rows_right)
    return min(options)


def _equates_unit(on: tuple[tuple[str, str], ...], left: Facts, right: Facts, schema: Schema) -> bool:
    """Whether the unit is equated, or all columns of a link are: a part of them would name rows of many units."""
    if any(a in (left.unit or ()) and b in (right.unit or ()) for a, b in on):
        return True
    found = [(left.columns.get(a), right.columns.get(b)) for a, b in on]
    sources = {(one.source, other.source) for one, other in found if one is not None and other is not None}
    pairs = {(a, b) for a, b in sources if a is not None and b is not None}
    return _linked(pairs, schema)


def _linked(pairs: set[tuple[Source, Source]], schema: Schema) -> bool:
    """Whether `pairs` equate ends of links that lead to the same row, in all their columns."""
    for one, other in {(first[0], second[0]) for first, second in pairs}:
        for left in schema.policy.link_ends(one):
            for right in schema.policy.link_ends(other):
                way = {((one, a), (other, b)) for a, b in left.meets(right)}
                if way and way <= pairs:
                    return True
    return False


def _with_public(join: Join, left: Facts, right: Facts) -> Facts:
    """Rows of units meet reference data. Guarantee: each row meets at most one, or the declared fan-out, rows.

    Source: docs/explanation/guarantees/join.md
    """
    names = frozenset(b for _, b in join.on)
    if right.is_unique(names):
        fan = 1
    else:
        declared = [right.fan_out[name] for name in names if name in right.fan_out]
        if not declared:
            hint = "join on the table's key, or ask for a declared fan_out"
            raise Refuse("join_not_allowed", "this join may multiply rows without a bound", hint=hint, at=join.at)
        fan = min(declared)
    of_unit = all(a in (left.unit or ()) or left.columns[a].of_unit for a, _ in join.on) and fan == 1
    columns = {**left.columns, **_right_columns(join, right, keep_of_unit=False, of_unit=of_unit)}
    once = left.unit_once and fan == 1
    numbered = left.numbered if fan == 1 else {}
    unique = left.unique if fan == 1 else frozenset()
    return Facts(columns, left.unit, (left.multiplicity or 0) * fan, unique, unit_once=once, numbered=numbered)


def _right_columns(join: Join, right: Facts, *, keep_of_unit: bool, of_unit: bool = False) -> Mapping[str, ColumnFacts]:
    found = {}
    for name, column in right.columns.items():
        nullable = column.nullable or join.kind == "left"
        found[name] = replace(column, nullable=nullable, of_unit=column.of_unit if keep_of_unit else of_unit)
    return found


def _reference(join: Join, left: Facts, right: Facts) -> Facts:
    """Reference data with reference data."""
    if not right.is_unique(frozenset(b for _, b in join.on)):
        raise Refuse("join_not_allowed", "reference tables are joined on the right one's key", at=join.at)
    columns = {**left.columns, **_right_columns(join, right, keep_of_unit=False)}
    return Facts(columns, None, None, left.unique, left.fan_out)
