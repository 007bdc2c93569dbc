"""What the log says of policies and licences: each is on record before the first decision that rests on it.

The record is made in the decision's own transaction and only where it says something new, so that a log tells of
itself which policy and which licence were in force at each decision, whichever gateway wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.audit.record import Entry, canonical
from gateway.right import Right
from gateway.store import Reading, Transaction
from policies.model import Licence, Supply

POLICY: Final = "policy"
LICENCE: Final = "licence"
LICENCE_ENDED: Final = "licence_ended"
SHARES: Final = "shares"
"""There only where it says something: dataset -> the purposes that have a share of its budget of their own."""


def undeclared(view: Reading, dataset: str, policy_digest: str, right: Right) -> Iterator[tuple[str, Entry]]:
    """What must be on record before the decision and is not: its name and its entry."""
    entries = dict([policy_entry(dataset, policy_digest, right.supply)])
    if right.licence is not None:
        entries |= [licence_entry(right.licence)]
    marks = ", ".join("?" * len(entries))
    rows = view.all(f"SELECT name, said FROM declared WHERE name IN ({marks})", tuple(entries))  # noqa: S608  # our own text
    told: dict[str, str] = dict(rows)
    yield from ((name, entry) for name, entry in entries.items() if told.get(name) != _said(entry))


def policy_entry(dataset: str, digest: str, supply: Supply) -> tuple[str, Entry]:
    terms = {"supply": supply}
    return f"{POLICY}:{dataset}", Entry(kind="admin", code=POLICY, dataset=dataset, policy_digest=digest, terms=terms)


def licence_entry(licence: Licence) -> tuple[str, Entry]:
    terms: dict[str, Any] = {
        "operator": licence.operator,
        "datasets": sorted(licence.datasets),
        "purposes": sorted(licence.purposes),
        "from": licence.valid_from.isoformat(),
        "until": licence.valid_until.isoformat(),
    }
    shares = {dataset: sorted(share.purposes) for dataset, share in licence.budget.items() if share.purposes}
    if shares:
        terms[SHARES] = shares
    return f"{LICENCE}:{licence.licence}", Entry(kind="admin", code=LICENCE, licence=licence.licence, terms=terms)


def ended(view: Reading, licences: frozenset[str]) -> Iterator[tuple[str, Entry]]:
    """Licences that are on record as in force and are not among `licences` any more."""
    for (name,) in view.all("SELECT name FROM declared WHERE name LIKE ? ORDER BY name", (f"{LICENCE}:%",)):
        licence = name.removeprefix(f"{LICENCE}:")
        if licence not in licences:
            yield name, Entry(kind="admin", code=LICENCE_ENDED, licence=licence)


def remember(tx: Transaction, name: str, entry: Entry) -> None:
    """What was put on record last under this name."""
    tx.write("DELETE FROM declared WHERE name = ?", (name,))
    if entry.terms is not None:
        tx.write("INSERT INTO declared (name, said) VALUES (?, ?)", (name, _said(entry)))


def _said(entry: Entry) -> str:
    said: Mapping[str, Any] = {"digest": entry.policy_digest, "terms": entry.terms}
    return canonical(said).decode()
