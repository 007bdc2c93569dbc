"""What a caller is told where a question does not fit: one wording, whichever side of the door counts first."""

from __future__ import annotations

from policies.privacy_loss import EPSILON_UNIT, text


def shortfall(whose: str, dataset: str, fits: int, *, delta_only: bool) -> tuple[str, str]:
    """Message and hint. `whose` names the account; `fits` is the largest epsilon (1e-12) that it still holds."""
    name = f"`{dataset}`"
    if delta_only:
        return (
            f"{whose} for {name} has no delta left for a question with private group keys",
            "group by keys that the policy lists, or leave the private keys out",
        )
    if fits <= 0:
        return f"{whose} for {name} is used up", "stored answers stay free: ask a question that was answered before"
    left = text(fits, EPSILON_UNIT)
    return (
        f"{whose} for {name} does not hold this question: epsilon {left} is left",
        f"the largest epsilon that still fits is {left}; stored answers stay free",
    )
