"""How large a question may be: what a hostile gateway sends is measured before anything works on it.

Whoever plans goes through a question by recursion, and the engine writes out the argument of some functions twice, so
that a chain of twenty of them has a million parts. Both are counted here without recursion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

from policies.model import Policy
from sandbox.relational.blocks import scanned
from sandbox.relational.expressions import Call, Case, Column, Expression, Literal, children
from sandbox.relational.facts import Refuse
from sandbox.relational.nodes import Measure, Relation, Scan, UnitMeasure, WindowColumn, sources

NODES_MAX: Final = 20_000
DEPTH_MAX: Final = 150
PARTS_MAX: Final = 640
"""Tables that are read, times the blocks of each: all 64 blocks of ten tables."""
COPIES_MAX: Final = 2_000
"""Parts of expressions that the engine writes out beyond those that there are."""
_COPIED: Final = dict.fromkeys(("sqrt", "ln", "log10", "log2", "exp", "power"), (2, 1)) | {
    "divide": (1, 2),
    "modulo": (1, 2),
    "int_divide": (1, 2),
    "date_add": (4, 1, 1),
}
"""How often each argument stands in what the engine makes of `nullif`: once for the comparison, once for the value."""


def require_small(plan: Relation) -> None:
    """Raises Refuse."""
    nodes = copies = 0
    for relation, depth in _relations(plan):
        nodes += 1
        _require(depth <= DEPTH_MAX and nodes <= NODES_MAX, "is nested too deeply")
        for expression in _expressions(relation):
            for part, below, times in _parts(expression):
                nodes, copies = nodes + 1, copies + times - 1
                _require(depth + below <= DEPTH_MAX, "is nested too deeply")
                _require(nodes <= NODES_MAX, "is too long")
                _require(copies <= COPIES_MAX, "puts too many functions into each other", hint=_word(part))


def require_few_parts(plan: Relation, policy: Policy) -> None:
    """A private table is written once for each block that is read of it. Raises Refuse, and ValueError for blocks that
    are none."""
    parts = sum(len(scanned(node, policy)) for node, _ in _relations(plan) if isinstance(node, Scan))
    _require(parts <= PARTS_MAX, "reads too many parts of tables", hint="name fewer blocks, or read fewer tables")


def _relations(plan: Relation) -> Iterator[tuple[Relation, int]]:
    todo = [(plan, 0)]
    while todo:
        relation, depth = todo.pop()
        yield relation, depth
        todo.extend((below, depth + 1) for below in sources(relation))


def _expressions(relation: Relation) -> Iterator[Expression]:
    """Those of the relation itself, wherever its fields hold them."""
    todo: list[object] = [relation]
    while todo:
        found = todo.pop()
        if isinstance(found, Column | Literal | Call | Case):
            yield found
        elif isinstance(found, tuple):
            todo.extend(found)
        elif found is relation or isinstance(found, Measure | UnitMeasure | WindowColumn):
            todo.extend(getattr(found, each.name) for each in dataclasses.fields(found))


def _parts(expression: Expression) -> Iterator[tuple[Expression, int, int]]:
    """Each part, how deep it lies, and how often it is written out."""
    todo = [(expression, 0, 1)]
    while todo:
        part, depth, times = todo.pop()
        yield part, depth, times
        copied = _COPIED.get(part.function, ()) if isinstance(part, Call) else ()
        for place, child in enumerate(children(part)):
            todo.append((child, depth + 1, times * (copied[place] if place < len(copied) else 1)))


def _require(holds: bool, words: str, hint: str | None = None) -> None:  # a sentence: it holds, or else
    if not holds:
        raise Refuse("sql_too_large", f"the question {words}", hint=hint)


def _word(part: Expression) -> str:
    name = part.function if isinstance(part, Call) else "sqrt, ln, exp, power and divisions"
    return f"fewer of them inside each other, such as `{name}`"
