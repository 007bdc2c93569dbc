"""Of which blocks a question is: the units whose rows it reads, and to whose budgets it is charged.

A private table is read by `Scan`, which is of all units, or by `BlockScan`, which names its blocks. Nothing else reads
rows of units, so what a question may show of anybody hangs on the blocks that stand here. What reads them and what
charges them both ask `blocks_of`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import assert_never

from policies.model import Policy
from sandbox.relational.nodes import (
    BlockScan,
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


def within(plan: Output, policy: Policy, blocks: Collection[str]) -> Output:
    """The same question of the units in `blocks` alone, which are some of the policy's; of all where they are all.

    Raises ValueError for none, and for one that the policy has not.
    """
    if not blocks or not set(blocks) <= set(policy.blocks):
        raise ValueError("no blocks, or none of the policy's")
    named = tuple(name for name in policy.blocks if name in blocks)
    return plan if named == policy.blocks else replace(plan, source=_within(plan.source, named))


def blocks_of(plan: Relation, policy: Policy) -> tuple[str, ...]:
    """The blocks that `plan` reads, in the policy's order; () where the policy has none.

    Where it reads no private table at all it is of every block: what has a price is charged somewhere.

    Guarantee: rows of units in other blocks have no influence on its answer.
    Source: docs/explanation/guarantees/blocks.md

    Raises ValueError for blocks that are not the policy's, or are not in its order.
    """
    found: set[str] = set()
    for node in walk(plan):
        if isinstance(node, Scan):
            found |= set(scanned(node, policy))
    return tuple(name for name in policy.blocks if name in found or not found)


def units_about(count: int, plan: Relation, policy: Policy) -> int:
    """How many of `count` units a question is of, to expect numbers by: as if all blocks had as many."""
    return max(1, count * len(blocks_of(plan, policy)) // len(policy.blocks)) if policy.blocks else count


def scanned(scan: Scan, policy: Policy) -> tuple[str, ...]:
    """The blocks that one private table is read of. Raises ValueError as `blocks_of` does."""
    if not isinstance(scan, BlockScan):
        return policy.blocks
    named = tuple(name for name in policy.blocks if name in scan.blocks)
    if not named or named != scan.blocks or named == policy.blocks:  # one question has one form
        raise ValueError("blocks that the policy has not, or in another form")
    return named


def block_table(table: str, block: str) -> str:
    """The name of the part of a private table that one block is. No table of a policy is called so."""
    return f"__{block}_{table}"


def _within(node: Relation, named: tuple[str, ...]) -> Relation:
    match node:
        case Scan():
            return BlockScan(node.table, node.number, node.at, named)
        case Public():
            return node
        case Join():
            return replace(node, left=_within(node.left, named), right=_within(node.right, named))
        case UnionAll():
            return replace(node, inputs=tuple(_within(each, named) for each in node.inputs))
        case Rollup():
            return replace(node, source=replace(node.source, source=_within(node.source.source, named)))
        case Project() | Filter() | UnitAggregate() | Window() | Release() | Distinct() | Sort() | Limit() | Output():
            return replace(node, source=_within(node.source, named))
        case _:
            assert_never(node)
