"""Who may ask which dataset, today. Supply and licences decide; what the data says never does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from gateway.errors import Refusal
from policies.model import Licence, Policy


def askable(policies: Mapping[str, Policy], licences: tuple[Licence, ...]) -> dict[str, Policy]:
    """The policies whose tables exist for a caller who holds `licences`: open ones, and those that a licence names;
    of others the part that is open to everybody.

    Licences that are not valid today count too: who once had one knows that the dataset is there, and is told
    `licence_expired`. A withheld dataset exists for nobody.
    """
    named = {dataset for licence in licences for dataset in licence.datasets}
    asked = {name: policy for name, policy in policies.items() if policy.supply != "withheld"}
    seen = {name: policy.seen(licensed=name in named) for name, policy in asked.items()}
    return {name: policy for name, policy in seen.items() if policy is not None}


def unlicensed(unknown: Refusal) -> Refusal:
    """For who holds no licence at all, and names a table that is not open: the same whether it is there or not."""
    message = "you hold no licence, and there is no open table of this name"
    return Refusal("licence_missing", message, hint=unknown.hint, at=unknown.at)


def licence_for(policy: Policy, licences: tuple[Licence, ...], operator: str, day: date) -> Licence | None:
    """The licence by which `operator` may ask today; None where the dataset is open and needs none.

    Raises Refusal table_unknown, licence_missing, licence_expired.
    """
    if policy.supply == "withheld":
        raise Refusal("table_unknown", "there is no table of this name that you may ask")
    own = [one for one in licences if one.operator == operator and policy.dataset in one.datasets]
    valid = [one for one in own if one.valid_on(day)]
    if valid:
        return min(valid, key=lambda one: one.licence)
    if policy.supply == "open":
        return None
    if not own:
        hint = "ask the owner of the dataset for a licence"
        raise Refusal("licence_missing", f"you hold no licence for `{policy.dataset}`", hint=hint)
    raise _out_of_time(own, day)


def _out_of_time(own: list[Licence], day: date) -> Refusal:
    latest = max(own, key=lambda one: one.valid_until)
    if day < latest.valid_from:
        message = f"your licence `{latest.licence}` is valid from {latest.valid_from.isoformat()} on"
    else:
        message = f"your licence `{latest.licence}` ended on {latest.valid_until.isoformat()}"
    return Refusal("licence_expired", message, hint="ask the owner of the dataset to renew it")
