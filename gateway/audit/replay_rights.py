"""By which right each query was decided, replayed: the policy and the licence that the log itself had in force then.

Part of the offline verifier: standard library only, nothing of the writer.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from gateway.audit.broken import Broken

_SUPPLIES: Final = ("open", "shared", "authorised", "withheld")
_MODES: Final = ("dp", "aggregate", "open")
_LICENCE_TERMS: Final = {"operator": str, "datasets": list, "purposes": list, "from": str, "until": str}
_SHARES: Final = "shares"
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(slots=True)
class Rights:
    """What is in force at the record that is read."""

    policies: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Dataset -> digest and supply."""
    licences: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Id -> terms."""

    def policy(self, record: dict[str, Any]) -> None:
        terms = record["terms"]
        if type(terms) is not dict or set(terms) != {"supply"} or terms["supply"] not in _SUPPLIES:
            raise Broken("terms", "puts a policy in force that says nothing of its supply")
        self.policies[record["dataset"]] = (record["policy_digest"], terms["supply"])

    def licence(self, record: dict[str, Any]) -> None:
        _check_licence(record["terms"])
        self.licences[record["licence"]] = record["terms"]

    def end(self, record: dict[str, Any]) -> None:
        if self.licences.pop(record["licence"], None) is None:
            raise Broken("licence_unknown", "ends a licence that is not in force")

    def check(self, record: dict[str, Any]) -> None:
        """A decision to run or to reuse."""
        dataset, day, mode = record["dataset"], record["time"][:10], record["mode"]
        digest, supply = self.policies.get(dataset, (None, None))
        if digest != record["policy_digest"]:
            raise Broken("policy_not_in_force", "rests on a policy that is not the one in force")
        if supply == "withheld":
            raise Broken("withheld", "answers from a dataset that is withheld")
        if mode not in _MODES:
            raise Broken("fields", "is of a mode that there is not")
        terms = self.licences.get(record["licence"])
        if record["licence"] is None:
            if supply != "open" and mode != "open":
                raise Broken("licence_missing", "rests on no licence, and its dataset is not open")
        elif terms is None:
            raise Broken("licence_unknown", "rests on a licence that is not in force")
        elif terms["operator"] != record["actor"] or dataset not in terms["datasets"]:
            raise Broken("licence_other", "rests on a licence of another operator, or for another dataset")
        elif not terms["from"] <= day <= terms["until"]:
            raise Broken("licence_expired", "rests on a licence that is not valid on its day")

    def check_purpose(
        self, decision: dict[str, Any], charged: list[str], capped: Collection[str], purpose: str | None = None
    ) -> None:
        """What is charged beside dataset and operator: the purpose's scope, where the licence gives it a share, or
        ever gave it one: then the scope has a cap, and is one of `capped`.

        The log does not tell the purpose; where it is not known, some purpose that may be asked for must fit.
        """
        actor, dataset = decision["actor"], decision["dataset"]
        terms: dict[str, Any] = self.licences.get(decision.get("licence") or "", {})
        shares = terms.get(_SHARES, {}).get(dataset, ())
        named = terms.get("purposes", ()) if purpose is None else (purpose,)
        scopes = {each: _scope(each, actor, dataset) for each in named}
        due = [[scope] if each in shares or scope in capped else [] for each, scope in scopes.items()]
        if not terms and purpose is None:  # open to everybody, for any purpose or none
            due = [[], *([scope] for scope in charged if scope in capped and _is_a_purposes(scope, actor, dataset))]
        if charged not in (due or [[]]):
            raise Broken("charge_scopes", "does not charge what the licence gives to a purpose of it")


def _scope(purpose: str, actor: str, dataset: str) -> str:
    return f"purpose:{purpose.replace('%', '%25').replace('/', '%2F')}/{actor}/{dataset}"


def _is_a_purposes(scope: str, actor: str, dataset: str) -> bool:
    kind, _, owner = scope.partition("/")
    return kind.startswith("purpose:") and owner == f"{actor}/{dataset}"


def _check_licence(terms: Any) -> None:
    kinds = {name: type(value) for name, value in terms.items()} if type(terms) is dict else {}
    shares = terms[_SHARES] if kinds.pop(_SHARES, None) is dict else {}
    if kinds != _LICENCE_TERMS or (_SHARES in terms and not shares):
        raise Broken("terms", "puts a licence in force whose terms are none")
    for name in ("datasets", "purposes"):
        if not _are_names(terms[name]):
            raise Broken("terms", f"`{name}` of a licence is no list of names in order")
    for dataset, purposes in shares.items():
        named = type(purposes) is list and _are_names(purposes) and purposes and set(purposes) <= set(terms["purposes"])
        if not named or dataset not in terms["datasets"]:
            raise Broken("terms", "`shares` of a licence are of other datasets or purposes than its own")
    for name in ("from", "until"):
        if not _is_day(terms[name]):
            raise Broken("terms", f"`{name}` of a licence is no day")


def _are_names(words: list[Any]) -> bool:
    return all(type(item) is str for item in words) and words == sorted(set(words))


def _is_day(text: str) -> bool:
    try:
        return _DAY.fullmatch(text) is not None and date.fromisoformat(text) is not None
    except ValueError:
        return False
