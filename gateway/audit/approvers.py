"""What the log says of approvers: who they are, and which decisions were applied. Read from its own records, so that
nothing else has to be believed."""

from __future__ import annotations

import json
from typing import Any, Final

from gateway.decided import Approvers
from gateway.store import Reading

CODE: Final = "approvers"
"""Of the record that puts approvers in force."""
_DECIDED: Final = (CODE, "cap_zcdp", "cap_pure")


def in_force(view: Reading) -> Approvers | None:
    """None as long as none were ever named: then whoever writes policies raises a cap alone."""
    row = view.one("SELECT body FROM record WHERE kind = 'admin' AND code = ? ORDER BY seq DESC LIMIT 1", (CODE,))
    if row is None:
        return None
    named = json.loads(row[0])["terms"]["approvers"]
    return Approvers(named["quorum"], named["keys"])


def first(view: Reading) -> int | None:
    """The record that named the first of them."""
    row = view.one("SELECT min(seq) FROM record WHERE kind = 'admin' AND code = ?", (CODE,))
    return None if row is None or row[0] is None else int(row[0])


def applied(view: Reading, nonce: str) -> bool:
    """Whether a decision of this nonce is on record."""
    rows = view.all("SELECT body FROM record WHERE kind = 'admin' AND code IN (?, ?, ?)", _DECIDED)
    return any(_nonce(json.loads(row[0])) == nonce for row in rows)


def _nonce(record: dict[str, Any]) -> str | None:
    nonce = record.get("terms", {}).get("decision", {}).get("nonce")
    return None if nonce is None else str(nonce)
