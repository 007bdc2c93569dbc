"""Blocks are for life: a dataset is charged as a whole, or by its blocks, from its first charge on.

Whoever was in it when it was charged as a whole has lost so much in every block, and nobody knows who that was; and
what was spent on blocks is no sum that a whole could go on from.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.budget.account import Scope
from gateway.budget.loss import Loss
from gateway.budget.scopes import charged_blocks, find
from gateway.errors import Fault
from gateway.store import Reading
from policies.blocks import REST
from policies.model import Policy


def at_odds(view: Reading, policy: Policy) -> str | None:
    """Why what was charged does not fit the blocks of the policy, and the way out; None where it does."""
    if policy.release.dp is None:
        return None
    charged = charged_blocks(view, policy.dataset)
    if policy.blocks and _charged_as_a_whole(view, policy.dataset):
        return (
            "budget was spent before it had blocks: take `unit.blocks` away, or give new units a dataset of their own"
        )
    if charged and not policy.blocks:
        return f"budget was spent by blocks, `{charged[0]}` for one: put `unit.blocks` back into its policy"
    if lost := [block for block in charged if block not in policy.blocks]:
        return f"budget was spent on block `{lost[0]}`, which its policy has no more: put `unit.blocks` and range back"
    return None


def require_one_way(view: Reading, scope: Scope, named: Sequence[str]) -> None:
    """`scope` is the dataset's that is to be charged, in the blocks `named`. Raises Fault where it is charged in
    another way already."""
    whole, charged = _charged_as_a_whole(view, scope.dataset), charged_blocks(view, scope.dataset)
    if whole if scope.block is not None else not whole and charged:
        raise Fault(f"`{scope.dataset}` is charged as a whole and by its blocks")
    if len({len(block) for block in (*charged, *named) if block != REST}) > 1:
        raise Fault(f"`{scope.dataset}` is charged by years and by months, in which the same units lie")


def _charged_as_a_whole(view: Reading, dataset: str) -> bool:
    found = find(view, f"dataset:{dataset}")
    return found is not None and found.spent != Loss()
