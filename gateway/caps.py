"""Raised caps and their approvers: what waits, what is proposed, and what is put in force once enough have signed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.audit import approvers, soundness
from gateway.audit.log import Log
from gateway.budget.account import Scope, dataset_scopes, scopes_of
from gateway.budget.amounts import amounts
from gateway.budget.caps import Waiting
from gateway.budget.ledger import Ledger
from gateway.budget.loss import Cap, words
from gateway.budget.scopes import opened, spent_at
from gateway.catalog import Catalog
from gateway.decided import Approvers, Decided, Draft, Line, propose_approvers, propose_caps
from gateway.errors import Misconfigured, Unsound
from gateway.home import Home
from gateway.store import Reading, Transaction

_OPERATORS: Final = "SELECT DISTINCT operator FROM scope WHERE dataset = ? AND operator IS NOT NULL"


def named(home: Home) -> Approvers | None:
    """The approvers that `gateway.toml` names, if it does. Raises Misconfigured."""
    settings = home.settings.caps
    if not settings.approvers:
        return None
    keys = {each.name: _public_key(home, each.file) for each in settings.approvers}
    try:
        return Approvers.of(settings.quorum, keys)
    except ValueError as error:
        raise Misconfigured(f"{home.root / 'gateway.toml'}: `caps`: {error}") from error


def introduce(tx: Transaction, log: Log, wanted: Approvers | None) -> Approvers | None:
    """Who is in force: those on record. Where nobody is, those that the settings name are put on record first."""
    found = log.approvers(tx)
    if found is None and wanted is not None:
        log.name_approvers(tx, wanted)
        return wanted
    return found


@dataclass(frozen=True, slots=True)
class Caps:
    """What the files of a home say of caps, beside what is in force. Thread-safe."""

    catalog: Catalog
    ledger: Ledger
    log: Log
    wanted: Approvers | None
    """As the settings name them."""

    def waiting(self, view: Reading, day: date) -> tuple[Waiting, ...]:
        """The scopes whose policy or licence names more than is in force. Raises Misconfigured."""
        if self.log.approvers(view) is None:
            return ()
        return self.ledger.waiting(view, tuple(self._scopes(view, day).values()))

    def look(self, view: Reading, day: date) -> dict[str, Any]:
        """For whoever runs the gateway: how many have to sign, and of how many scopes each dataset waits for them.

        It names no operator.
        """
        found, counts = self.log.approvers(view), dict[str, int]()
        for each in self.waiting(view, day):
            counts[each.dataset] = counts.get(each.dataset, 0) + 1
        return {
            "approvers": 0 if found is None else len(found.keys),
            "quorum": None if found is None else found.quorum,
            "as_settings": found == self.wanted,
            "waiting": counts,
        }

    def judged(self, view: Reading, day: date) -> str:
        """What a home's doctor says. Raises Misconfigured where the settings name others than those on record."""
        found = self.log.approvers(view)
        if found is None and self.wanted is None:
            return "no approvers: whoever writes policies raises a cap alone"
        if found is None and self.wanted is not None:
            return f"{len(self.wanted.keys)} approvers are named, and go on record when the home is served"
        if found is None or found != self.wanted:
            way_out = "bpk caps propose --approvers draws up the change, which those on record sign"
            raise Misconfigured(
                f"gateway.toml names other approvers than are on record, which stay in force; {way_out}"
            )
        waiting = len(self.waiting(view, day))
        return f"{found.quorum} of {len(found.keys)} approvers sign for a raise; scopes that wait for them: {waiting}"

    def propose(self, view: Reading, scopes: Sequence[str], draft: Draft) -> Decided:
        """A decision on what waits: on `scopes`, or on all. Raises Misconfigured."""
        self._in_force(view)
        waiting = {each.scope: each for each in self.waiting(view, draft.now.date())}
        if unknown := [scope for scope in scopes if scope not in waiting]:
            raise Misconfigured(f"nothing waits at `{unknown[0]}`: its policy or licence names no higher cap")
        if not waiting:
            raise Misconfigured("no raise waits; first let the policy or the licence name the higher cap")
        chosen = [waiting[scope] for scope in dict.fromkeys(scopes)] or list(waiting.values())
        lines = [
            Line(each.scope, words(each.in_force), words(each.named), words(each.spent))
            for each in sorted(chosen, key=lambda each: each.scope)
        ]
        return propose_caps(self.log.origin, self.log.size(view), lines, draft)

    def propose_approvers(self, view: Reading, draft: Draft) -> Decided:
        """A decision on the approvers that the settings name, for those in force to sign. Raises Misconfigured."""
        found = self._in_force(view)
        if self.wanted is None or self.wanted == found:
            raise Misconfigured("gateway.toml names no other approvers than those on record")
        return propose_approvers(self.log.origin, found, self.wanted, draft)

    def apply(self, tx: Transaction, decided: Decided, now: datetime) -> tuple[int, ...]:
        """Puts a decision in force, all of it; the records that say so. Raises Misconfigured.

        Guarantee: a quorum of the approvers on record has signed for just this step from what is in force now, and the
        offline verifier says so too.
        """
        found = self._in_force(tx)
        decided.require(self.log.origin, found, now)
        if self.log.applied(tx, decided.nonce):
            raise Misconfigured("this decision was applied before; every step takes one of its own")
        if decided.act == "approvers":
            return _judged(tx, (self._apply_approvers(tx, decided, found),))
        if not (approvers.first(tx) or 0) < decided.records <= self.log.size(tx):
            raise Misconfigured("this decision was drawn up before there were approvers, or on another log")
        scopes = self._scopes(tx, now.date())
        return _judged(tx, tuple(self._apply_line(tx, decided, line, scopes) for line in decided.lines))

    def _in_force(self, view: Reading) -> Approvers:
        found = self.log.approvers(view)
        if found is None:
            raise Misconfigured("nobody is named who could sign: name [[caps.approvers]] in gateway.toml and serve it")
        return found

    def _apply_approvers(self, tx: Transaction, decided: Decided, found: Approvers) -> int:
        if self.wanted is None or decided.decision["after"] != self.wanted.as_json():
            raise Misconfigured("gateway.toml names other approvers than the decision")
        if decided.decision["before"] != found.as_json():
            raise Misconfigured("the approvers on record are others by now; draw up a new decision")
        return self.log.name_approvers(tx, self.wanted, decided)

    def _apply_line(self, tx: Transaction, decided: Decided, line: Line, scopes: Mapping[str, Scope]) -> int:
        scope = scopes.get(line.scope)
        if scope is None or words(scope.cap) != line.after:
            raise Misconfigured(f"the policy or licence behind `{line.scope}` names another cap than the decision")
        if words(spent_at(tx, line.scope, scope.dataset, decided.records)) != line.spent:
            raise Misconfigured(f"this decision tells of another loss at `{line.scope}` than there was")
        before = Cap(scope.cap.accountant, *amounts(line.before))
        digest = self.catalog.policies[scope.dataset].digest
        return self.ledger.raise_cap(tx, scope, before, digest, decided)

    def _scopes(self, view: Reading, day: date) -> dict[str, Scope]:
        """Every scope that questions of this day are charged to, with the cap that its policy or licence names."""
        found: dict[str, Scope] = {}
        for name, policy in self.catalog.policies.items():
            chosen = list(dataset_scopes(policy))
            for licence in self.catalog.licences:
                if name in licence.datasets and licence.valid_on(day):
                    chosen += scopes_of(policy, licence.operator, licence, opened(view, policy, licence.operator))
            if policy.supply == "open":
                for (operator,) in view.all(_OPERATORS, (name,)):
                    if self.catalog.licence_for(operator, name, day) is None:
                        chosen += scopes_of(policy, operator, None, opened(view, policy, operator))
            found |= {scope.id: scope for scope in chosen}
        return found


def _judged(tx: Transaction, written: tuple[int, ...]) -> tuple[int, ...]:
    """`written`, unless the verifier would not take it: a record is for good, and the next start would freeze all.

    Raises Misconfigured; then the transaction takes it back.
    """
    judge = soundness.Decisions()
    try:
        for (body,) in tx.all("SELECT body FROM record WHERE kind = 'admin' ORDER BY seq"):
            judge.take(json.loads(body))
    except Unsound as unsound:
        raise Misconfigured(
            f"not put in force, for it would not verify: {unsound}; draw up a new decision"
        ) from unsound
    return written


def _public_key(home: Home, written: str) -> Ed25519PublicKey:
    file = home.path(written)
    try:
        key = load_pem_public_key(file.read_bytes())
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"{file}: not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Misconfigured(f"{file}: not an Ed25519 key")
    return key
