"""How an answer is protected: a mode that the policy offers and this version answers."""

from __future__ import annotations

from gateway.errors import Refusal
from policies.model import Mode, Policy

ANSWERED: tuple[Mode, ...] = ("dp", "aggregate")
"""The modes that this version answers."""


def mode_for(policy: Policy, asked: str | None) -> Mode:
    """The mode of this question: the policy's first where the caller names none. Raises Refusal mode_not_offered."""
    offered = policy.release.modes
    wanted = asked if asked is not None else (offered[0] if offered else "dp")
    for mode in offered:
        if mode == wanted:
            if mode in ANSWERED and getattr(policy.release, mode) is not None:
                return mode
            hint = _offer([one for one in offered if one in ANSWERED])
            raise Refusal("mode_not_offered", f"this version does not answer in mode `{mode}`", hint=hint)
    message = f"`{policy.dataset}` is not answered in mode `{wanted[:40]}`"
    raise Refusal("mode_not_offered", message, hint=_offer(list(offered)))


def _offer(modes: list[Mode]) -> str:
    return "modes: " + (", ".join(f"`{mode}`" for mode in modes) or "none at present")
