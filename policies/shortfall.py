"""What a caller is told where a question does not fit: one wording, whichever side of the door counts first."""

from __future__ import annotations

import json
from collections.abc import Sequence

from policies.privacy_loss import EPSILON_UNIT, text


def shortfall(  # noqa: PLR0913  # whose budget, how much of it, and in which blocks
    whose: str,
    dataset: str,
    fits: int,
    *,
    delta_only: bool,
    blocks: Sequence[str] = (),
    others: Sequence[str] = (),
) -> tuple[str, str]:
    """Message and hint. `whose` names the account; `fits` is the largest epsilon (1e-12) that it still holds.

    `blocks` are those of the question that do not hold it, where the policy has blocks; `others` are those that do.
    """
    name = f"`{dataset}`" + _in(blocks)
    left = text(fits, EPSILON_UNIT)
    room = f'; these blocks still hold it: "blocks": {json.dumps(list(others))}' if others else ""
    if delta_only:
        return (
            f"{whose} for {name} has no delta left for a question with private group keys",
            f"group by keys that the policy lists, or leave the private keys out{room}",
        )
    if fits <= 0:
        used = f"{whose} for {name} is used up"
        return used, f"stored answers stay free: ask a question that was answered before{room}"
    return (
        f"{whose} for {name} does not hold this question: epsilon {left} is left",
        f"the largest epsilon that still fits is {left}; stored answers stay free{room}",
    )


def _in(blocks: Sequence[str]) -> str:
    if not blocks:
        return ""
    return f" in block{'' if len(blocks) == 1 else 's'} " + ", ".join(f"`{block}`" for block in blocks)
