"""What a computed column holds: one column of the policy all through, or a mixture that nothing can be held against.

A sum over `SELECT income ... UNION ALL SELECT turnover * 2 ...` is two sums in one, and each could be told from it by
who knows the other. So what is added up through UNION ALL and within units is one column, and factors stand outside,
where they are seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final, assert_never

from policies.model import Policy
from sandbox.relational.expressions import Call, Case, Column, Expression, Literal, Position
from sandbox.relational.facts import Facts, Refuse
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
    Limit,
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
    Window,
    walk,
)

Origin = tuple[str, ...]
"""Table and column; with the functions before them that were taken within units."""
MIXED: Final[Origin] = ("mixed",)
NOTHING: Final[Origin] = ()
"""Of null and 0, which add nothing to whatever they stand beside."""
Origins = Mapping[str, Origin]


def origins_of(source: Relation, policy: Policy) -> Origins:
    """The origin of every column of `source` and of all below it."""
    found: dict[str, Origin] = {}
    for node in reversed(list(walk(source))):
        found.update(_made(node, found, policy))
    return found


def _made(node: Relation, known: Origins, policy: Policy) -> Iterator[tuple[str, Origin]]:
    match node:
        case Scan(table=table, number=number) | Public(table=table, number=number):
            yield from ((f"{number}.{name}", (table, name)) for name in policy.tables[table].columns)
        case Project(number=number, columns=shown):
            yield from ((f"{number}.{i}", _origin(one, known)) for i, one in enumerate(shown))
        case UnionAll(number=number, columns=rows):
            for i, values in enumerate(zip(*rows, strict=True)):
                yield f"{number}.{i}", _one(_origin(value, known) for value in values)
        case UnitAggregate(number=number, keys=keys, measures=measures):
            yield from ((f"{number}.k{i}", _origin(key, known)) for i, key in enumerate(keys))
            yield from ((f"{number}.m{i}", _within(m.function, m.argument, known)) for i, m in enumerate(measures))
        case Window(number=number, columns=windows):
            yield from ((f"{number}.w{i}", _within(w.function, w.argument, known)) for i, w in enumerate(windows))
        case Filter() | Join() | Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
            return
        case _:
            assert_never(node)


def _within(function: str, argument: Expression | None, known: Origins) -> Origin:
    """Of a count it does not matter what is counted, only how often."""
    if argument is None or function in ("count", "count_distinct"):
        return (function,)
    found = _origin(argument, known)
    return MIXED if found == MIXED else (function, *found)


def _origin(expression: Expression, known: Origins) -> Origin:
    match expression:
        case Column(name=name):
            return known.get(name, MIXED)
        case Literal(value=value):
            adds = isinstance(value, int | Decimal) and value != 0
            return NOTHING if value is None or not adds else ("constant", str(value))
        case Case(branches=branches, otherwise=otherwise):
            return _one(_origin(value, known) for value in (*(value for _, value in branches), otherwise))
        case Call(function="coalesce", arguments=arguments):
            return _one(_origin(argument, known) for argument in arguments)
        case Call():
            return MIXED
        case _:
            assert_never(expression)


def _one(parts: Iterable[Origin]) -> Origin:
    found = {part for part in parts if part != NOTHING}
    return MIXED if len(found) > 1 else next(iter(found), NOTHING)


def require_one(factor: Column, origins: Origins, at: Position | None) -> None:
    """Raises Refuse (`aggregate_not_allowed`) where `factor` is a mixture."""
    if origins.get(factor.name, MIXED) == MIXED:
        detail = "what is added up here is reckoned, or put together from several columns, inside the question"
        hint = "add up one column; what it is multiplied by, and what is added to it, stands in the outermost SELECT"
        raise Refuse("aggregate_not_allowed", detail, hint=hint, at=factor.at or at)


def told_by_groups(factor: Column, origins: Origins, policy: Policy) -> bool:
    """Whether rows can be picked by the value of `factor`, so that it is no secret of theirs but a known weight."""
    origin = origins.get(factor.name, MIXED)
    if len(origin) < 2:  # how often something occurs within a unit
        return True
    declared = policy.tables[origin[-2]].columns[origin[-1]]
    return declared.role == "dimension" or declared.filter != "none"


def require_no_weight(factors: Sequence[Column], origins: Origins, policy: Policy, at: Position | None) -> None:
    """Raises Refuse (`aggregate_not_allowed`) for a product with a column that rows can be picked by.

    `SUM(income * age)` is the sums of income by age, each with its age: it would tell the one that was withheld.
    """
    known = next((one for one in factors if len(factors) > 1 and told_by_groups(one, origins, policy)), None)
    if known is not None:
        detail = "a product with a column that rows can be picked by is not added up"
        raise Refuse("aggregate_not_allowed", detail, hint="group by it, and multiply the sums", at=known.at or at)


def require_once(source: Relation) -> None:
    """Raises Refuse where rows that may have come in twice are looked at within units: how often would not be seen."""
    for node in walk(source):
        inputs = [node.left, node.right] if isinstance(node, Join) else []
        inputs += [node.source] if isinstance(node, UnitAggregate | Window) else []
        for union in (each for one in inputs for each in walk(one) if isinstance(each, UnionAll)):
            if not read_apart(union):
                detail = "a table that UNION ALL reads twice is not looked at within units, nor joined"
                hint = "put the UNION ALL outermost, or one condition with OR in its place"
                raise Refuse("construct_not_allowed", detail, hint=hint, at=union.at)


def read_apart(union: UnionAll) -> bool:
    """Whether no row of a table can come in by two inputs."""
    read = [{scan.table for scan in walk(each) if isinstance(scan, Scan)} for each in union.inputs]
    return sum(map(len, read)) == len(set().union(*read))


def with_origins(facts: Facts, origins: Origins, policy: Policy) -> Facts:
    """`facts` in which a column that UNION ALL has kept as it is counts as the policy's own."""
    known = {(name, column) for name, table in policy.tables.items() for column in table.columns}
    columns = {
        name: replace(found, source=(origins[name][0], origins[name][1]))
        if found.source is None and origins.get(name) in known
        else found
        for name, found in facts.columns.items()
    }
    return replace(facts, columns=columns)
