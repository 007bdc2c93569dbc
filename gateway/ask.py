"""What a caller asks, off the wire, and the two ways it is heard: begun, or not answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateway import answer
from gateway.admission.paging import Page
from gateway.errors import Refusal
from gateway.identity.roles import Caller
from policies.model import Policy
from policies.types import Value
from sandbox.protocol import Accuracy


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller asks, off the wire."""

    caller: Caller
    sql: str
    purpose: str | None
    mode: str | None
    parameters: Mapping[str, Value]
    epsilon: Decimal | None
    accuracy: Accuracy | None
    """In place of `epsilon`."""
    page: Page | None
    key: str | None
    """The idempotency key."""
    request_hash: str
    """Of everything in the body that shapes the answer."""
    blocks: tuple[str, ...] | None = None
    """As the caller names them; all where it names none."""
    deadline_ms: int | None = None
    """The answer comes no sooner than so long after the charge."""

    @property
    def texts(self) -> dict[str, str]:
        """What the record commits to."""
        parameters = {name: answer.value(value) for name, value in sorted(self.parameters.items())}
        found = {
            "sql": self.sql,
            "purpose": self.purpose,
            "parameters": json.dumps(parameters) if parameters else None,
            "blocks": None if self.blocks is None else json.dumps(self.blocks),
        }
        return {name: text for name, text in found.items() if text is not None}


@dataclass(frozen=True, slots=True)
class Begun:
    """A query that was heard: its answer, or the promise of one."""

    id: str
    result: dict[str, Any] | Future[dict[str, Any]]
    verdict: str


class NotAnswered(Exception):
    """A refusal with what is known of its query; on record already, but for `outcome_unknown`."""

    def __init__(self, refusal: Refusal, query_id: str | None, policy: Policy | None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.query_id = query_id
        self.policy = policy
