"""On which columns tables may meet: the rule of `gateway.sql.links` again, on the plan instead of the text.

Each side of a join of private tables must be tied to the other through the unit or a declared link. A broken resolver
would be caught here; the domain holds the same rule a third time.
"""

from __future__ import annotations

from gateway.admission.filtering import require_decides
from gateway.admission.lineage import Declared, Lineage
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
    tied = [pair for pair in join.on if _is_declared(pair, join, lineage)]
    public_set = join.kind in ("semi", "anti") and not right_private
    for pair in join.on:
        if pair in tied:
            continue
        if not public_set and (join.kind == "inner" or not tied or not right_private):
            left, right = (_words(name, join, lineage) for name in pair)
            raise Refusal("join_not_allowed", f"{left} and {right} are not a declared pair", at=join.at)
        _require_filterable(pair, join, lineage, public=public_set)


def _is_declared(pair: tuple[str, str], join: Join, lineage: Lineage) -> bool:
    lefts, rights = (_declared(name, join, lineage) for name in pair)
    if not lefts or not rights:
        return False
    both = [(left, right) for left in lefts for right in rights]
    if _private(join.left) and _private(join.right):
        return all(_one_unit(left, right, lineage) for left, right in both)
    if _private(join.right):
        return all(_reaches(right.column, left.table, left.column) for left, right in both)
    return all(_reaches(left.column, right.table, right.column) for left, right in both)


def _declared(name: str, join: Join, lineage: Lineage) -> list[Declared]:
    """The policy's columns behind one side of a pair, one for each input of a union; none where it is computed."""
    found = []
    for way in lineage.traced(Name(name, join.at)):
        if not isinstance(way, Name) or lineage.computed(way) is not None:
            return []
        found.append(lineage.declared(way))
    return found


def _words(name: str, join: Join, lineage: Lineage) -> str:
    declared = _declared(name, join, lineage)
    return declared[0].words if declared else "a computed value"


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


def _one_unit(left: Declared, right: Declared, lineage: Lineage) -> bool:
    if left.table.public or right.table.public:
        return False
    if left.column.role == "unit" and right.column.role == "unit":
        return True
    target = lineage.target_of(left)
    return target is not None and target == lineage.target_of(right)


def _reaches(column: Column, public: Table, key: Column) -> bool:
    once = key.name == public.key or key.name in public.fan_out
    return public.public and once and (public.name, key.name) in column.joins
