"""How an answer is protected: a mode that the policy offers and this version answers, and what may be asked in it."""

from __future__ import annotations

from gateway.admission.exact import require_exact
from gateway.admission.opened import require_open
from gateway.admission.roles import require_roles
from gateway.errors import Refusal
from policies.model import Mode, Policy
from sandbox.relational.nodes import Output

ANSWERED: tuple[Mode, ...] = ("dp", "aggregate", "open")
"""The modes that this version answers."""


def mode_for(policy: Policy, asked: str | None) -> Mode:
    """The mode of this question: the policy's first where the caller names none. Raises Refusal mode_not_offered."""
    offered = policy.release.modes
    wanted = asked if asked is not None else (offered[0] if offered else "dp")
    for mode in offered:
        if mode == wanted:
            if mode in ANSWERED and (mode == "open" or getattr(policy.release, mode) is not None):
                return mode
            hint = _offer([one for one in offered if one in ANSWERED])
            raise Refusal("mode_not_offered", f"this version does not answer in mode `{mode}`", hint=hint)
    message = f"`{policy.dataset}` is not answered in mode `{wanted[:40]}`"
    raise Refusal("mode_not_offered", message, hint=_offer(list(offered)))


def require_asked(plan: Output, policy: Policy, mode: Mode) -> None:
    """What may be asked of the policy's columns in this mode. Raises Refusal."""
    if mode == "open":
        require_open(plan, policy)
        return
    if mode == "aggregate":
        require_exact(plan, noisy="dp" in policy.release.modes)
    require_roles(plan, policy)


def _offer(modes: list[Mode]) -> str:
    return "modes: " + (", ".join(f"`{mode}`" for mode in modes) or "none at present")
