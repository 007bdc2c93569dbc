"""For what a question is asked: a purpose that licence and policy both name."""

from __future__ import annotations

from gateway.errors import Refusal
from policies.model import Licence, Policy


def purpose_for(policy: Policy, licence: Licence | None, asked: str | None) -> str | None:
    """The purpose of this question; None only for open data whose policy names none.

    It may be left out where there is just one. Raises Refusal purpose_missing, purpose_not_licensed.
    """
    allowed = [purpose for purpose in policy.purposes if licence is None or purpose in licence.purposes]
    if asked is None:
        named = allowed if licence is None else list(licence.purposes)
        if not named and licence is None:
            return None
        if len(named) != 1:
            raise Refusal("purpose_missing", "say for which purpose you ask", hint=_offer(allowed))
        asked = named[0]
    if asked not in allowed and (licence is not None or policy.purposes):
        message = f"`{asked[:80]}` is not a purpose for which you may ask `{policy.dataset}`"
        raise Refusal("purpose_not_licensed", message, hint=_offer(allowed))
    return asked


def _offer(purposes: list[str]) -> str:
    return "purposes: " + (", ".join(f"`{purpose}`" for purpose in purposes) or "none at present")
