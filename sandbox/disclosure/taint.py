"""Sensitive columns: what hangs on one, and where it may decide which rows count.

A condition on a sensitive column is answered together with its complement: `COUNT(*) WHERE diagnosis = 'flu'` says as
much about those who do not have it. So it has to stand where both sides can be seen: in the outermost WHERE, in FILTER
or in CASE.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

from policies.model import Policy
from sandbox.relational.expressions import Expression, Position, columns
from sandbox.relational.facts import Refuse
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
    WindowColumn,
    walk,
)


def sensitive_names(source: Relation, policy: Policy) -> frozenset[str]:
    """The columns of `source`, and of all below it, whose values hang on a sensitive one."""
    found: set[str] = set()
    for node in reversed(list(walk(source))):
        found |= set(_made(node, found, policy))
    return frozenset(found)


def _made(node: Relation, known: set[str], policy: Policy) -> Iterator[str]:
    """Sensitive names that a node offers; `known` are those of the nodes below."""
    if isinstance(node, Scan):
        columns_of = policy.tables[node.table].columns.values()
        yield from (f"{node.number}.{column.name}" for column in columns_of if column.sensitive)
    else:
        yield from (name for name, parts in _columns(node) if any(_hangs(part, known) for part in parts))


def _columns(node: Relation) -> Iterator[tuple[str, Sequence[Expression]]]:
    """The columns that a node makes, each with what it is made of."""
    match node:
        case Project(number=number, columns=shown):
            yield from ((f"{number}.{i}", [expression]) for i, expression in enumerate(shown))
        case UnionAll(number=number, columns=rows):
            yield from ((f"{number}.{i}", [row[i] for row in rows]) for i in range(len(rows[0])))
        case UnitAggregate(number=number, keys=keys, measures=measures):
            yield from ((f"{number}.k{i}", [key]) for i, key in enumerate(keys))
            yield from ((f"{number}.m{i}", [m.argument] if m.argument else []) for i, m in enumerate(measures))
        case Window(number=number, columns=windows):
            yield from ((f"{number}.w{i}", _inside_of(window)) for i, window in enumerate(windows))
        case Scan() | Public() | Filter() | Join() | Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
            return
        case _:
            assert_never(node)


def _inside_of(window: WindowColumn) -> list[Expression]:
    found = [*window.partition, *(term for term, _, _ in window.order)]
    return found if window.argument is None else [*found, window.argument]


def _hangs(expression: Expression, names: Iterable[str]) -> bool:
    known = frozenset(names)
    return any(column.name in known for column in columns(expression))


def require_outermost(source: Relation, tainted: frozenset[str]) -> None:
    """Raises Refuse (`column_not_filterable`) where a sensitive column chooses rows inside the question."""
    for node in walk(source):
        match node:
            case Filter(conditions=chosen) | UnitAggregate(keys=chosen):
                found = next((part for part in chosen if _hangs(part, tainted)), None)
                if found is not None:
                    raise _inside(found.at or node.at)
            case Join(on=on):
                if any(name in tainted for pair in on for name in pair):
                    raise _inside(node.at)
            case _:
                continue


def _inside(at: Position | None) -> Refuse:
    detail = "a sensitive column may not choose rows inside a question: what remains of the others would not be seen"
    hint = "put the condition into the outermost WHERE, or into FILTER (WHERE ...)"
    return Refuse("column_not_filterable", detail, hint=hint, at=at)
