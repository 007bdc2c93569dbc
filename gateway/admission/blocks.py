"""Of which blocks a question is: those that its caller names, or all; where the policy cuts its units into blocks."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import Refusal
from policies.model import Mode, Policy
from policies.problems import listed, nearest
from sandbox.relational import blocks
from sandbox.relational.nodes import Output

_SHOWN: int = 80


def within(plan: Output, policy: Policy, mode: Mode, asked: Sequence[str] | None) -> Output:
    """`plan` over the units of the blocks `asked`; over all where none are named. Raises Refusal(blocks_invalid)."""
    if asked is None:
        return plan
    if mode != "dp":
        message = f"`blocks` are of budgets, and mode `{mode}` spends none"
        raise Refusal("blocks_invalid", message, hint="leave `blocks` out")
    if not policy.blocks:
        message = f"the units of `{policy.dataset}` are not cut into blocks"
        raise Refusal("blocks_invalid", message, hint="leave `blocks` out: all units share one budget")
    if unknown := [name for name in asked if name not in policy.blocks]:
        message = f"`{policy.dataset}` has no block `{unknown[0][:_SHOWN]}`"
        raise Refusal("blocks_invalid", message, hint=f"{_meant(unknown[0], policy)}blocks: {listed(policy.blocks)}")
    if not asked or len(set(asked)) != len(asked):
        message = "`blocks` names one twice" if asked else "`blocks` names none"
        raise Refusal("blocks_invalid", message, hint=f"leave it out for all; blocks: {listed(policy.blocks)}")
    return blocks.within(plan, policy, asked)


def charged(plan: Output, policy: Policy, mode: Mode) -> tuple[str, ...]:
    """The blocks whose budgets pay for `plan` as it goes to the data domain: () where there are none.

    Guarantee: every block whose units have an influence on the answer is one of them.
    """
    return blocks.blocks_of(plan, policy) if mode == "dp" else ()


def _meant(word: str, policy: Policy) -> str:
    hint = nearest(word, policy.blocks, "blocks")
    return "" if hint.startswith("blocks") else f"{hint} "
