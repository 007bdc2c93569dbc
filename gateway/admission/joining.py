"""On which columns tables may meet: the rule of `gateway.sql.links` again, on the plan instead of the text.

Each side of a join of private tables must be tied to the other through the unit or a declared link. A broken resolver
would be caught here; the domain holds the same rule a third time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.admission.filtering import require_decides
from gateway.admission.lineage import Lineage
from gateway.errors import Refusal
from policies.model import Column, Table
from sandbox.relational.expressions import Column as Name
from sandbox.relational.nodes import Join, Relation, Scan, walk


def require_joinable(join: Join, lineage: Lineage) -> None:
    """Raises Refusal join_not_allowed, column_not_filterable.

    An inner join is on declared pairs alone. Where a join asks only whether there is a partner, or brings what was
    computed within a unit, further equalities may stand beside one that ties the units: they filter.
    """
    left_private, right_private = _private(join.left), _private(join.right)
    if right_private and not left_private and join.kind != "inner":
        raise Refusal("join_not_allowed", "rows of a public table do not hang on rows of units", at=join.at)
    if not join.on:
        raise Refusal("join_not_allowed", "a join needs columns that are equal", at=join.at)
    ends = {pair: (_ends(pair[0], join, lineage), _ends(pair[1], join, lineage)) for pair in join.on}
    tied = [pair for pair in join.on if _is_tied(ends[pair], ends, join, lineage)]
    public_set = join.kind in ("semi", "anti") and not right_private
    for pair in join.on:
        if pair in tied:
            continue
        if not public_set and (join.kind == "inner" or not tied or not right_private):
            left, right = (_words(name, join, lineage) for name in pair)
            raise Refusal("join_not_allowed", f"{left} and {right} are not a declared pair", at=join.at)
        _require_filterable(pair, join, lineage, public=public_set)


@dataclass(frozen=True, slots=True)
class _End:
    """A column of the policy at one side of a pair, and the number of the table's occurrence."""

    number: str
    table: Table
    column: Column


_Ends = tuple[list[_End], list[_End]]
_Met = list[tuple[_End, _End]]


def _is_tied(ends: _Ends, beside: Mapping[tuple[str, str], _Ends], join: Join, lineage: Lineage) -> bool:
    """Whether a pair is declared, and with it all other pairs of its link or key, for every input of a union."""
    lefts, rights = ends
    both = [(i, j) for i in range(len(lefts)) for j in range(len(rights))]
    others = [two for two in beside.values() if (len(two[0]), len(two[1])) == (len(lefts), len(rights))]
    for i, j in both:
        met = [(first[i], second[j]) for first, second in others]
        if not _meet(lefts[i], rights[j], met, join, lineage):
            return False
    return bool(both)


def _meet(left: _End, right: _End, met: _Met, join: Join, lineage: Lineage) -> bool:
    if _private(join.left) and _private(join.right):
        return _one_unit(left, right, met, lineage)
    flipped = [(second, first) for first, second in met]
    if _private(join.right):
        return _reaches(right, left, flipped)
    return _reaches(left, right, met)


def _ends(name: str, join: Join, lineage: Lineage) -> list[_End]:
    """The policy's columns behind one side of a pair, one for each input of a union; none where it is computed."""
    found = []
    for way in lineage.traced(Name(name, join.at)):
        if not isinstance(way, Name) or lineage.computed(way) is not None:
            return []
        declared = lineage.declared(way)
        found.append(_End(way.name.partition(".")[0], declared.table, declared.column))
    return found


def _words(name: str, join: Join, lineage: Lineage) -> str:
    ends = _ends(name, join, lineage)
    return f"`{ends[0].table.name}.{ends[0].column.name}`" if ends else "a computed value"


def _require_filterable(pair: tuple[str, str], join: Join, lineage: Lineage, *, public: bool) -> None:
    """The equality of `pair` decides what counts. Values of a public table are as good as constants."""
    left, right = (Name(name, join.at) for name in pair)
    for way in lineage.traced(left):
        require_decides(way, lineage, equality=public)
    for way in lineage.traced(right):
        if public and isinstance(way, Name):
            lineage.declared(way)
        else:
            require_decides(way, lineage, equality=False)


def _private(relation: Relation) -> bool:
    return any(isinstance(node, Scan) for node in walk(relation))


def _one_unit(left: _End, right: _End, met: _Met, lineage: Lineage) -> bool:
    """Whether the unit is equated, or ends of links that lead to one row: in all pairs, of the same two occurrences."""
    if left.table.public or right.table.public:
        return False
    if left.column.role == "unit" and right.column.role == "unit":
        return True
    here = {(a.column.name, b.column.name) for a, b in met if (a.number, b.number) == (left.number, right.number)}
    ends = [(one, other) for one in lineage.link_ends[left.table.name] for other in lineage.link_ends[right.table.name]]
    ways = [one.meets(other) for one, other in ends]
    return any((left.column.name, right.column.name) in way and way <= here for way in ways)


def _reaches(end: _End, public: _End, met: _Met) -> bool:
    """Whether `public` has a fan-out, or is of a key that is equated as a whole with columns that may be."""
    if not _may_join(end, public):
        return False
    if public.column.name in public.table.fan_out:
        return True
    here = {b.column.name for a, b in met if b.number == public.number and _may_join(a, b)}
    return public.column.name in public.table.key and set(public.table.key) <= here


def _may_join(end: _End, public: _End) -> bool:
    return public.table.public and (public.table.name, public.column.name) in end.column.joins
