"""By which right a query is decided: mode, the dataset's supply, and licence and purpose, where they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from gateway.errors import Refusal
from policies.model import Licence, Mode, Supply


@dataclass(frozen=True, slots=True)
class Right:
    """`licence` is None where none is needed: an open dataset, or mode `open`."""

    mode: Mode
    supply: Supply
    licence: Licence | None
    purpose: str | None = None

    def has_own_share(self, dataset: str) -> bool:
        """Whether the licence gives the purpose a share of its own in the budget of `dataset`."""
        share = None if self.licence is None else self.licence.budget.get(dataset)
        return share is not None and self.purpose in share.purposes

    def require_valid(self, time: str) -> None:
        """At the record's own time: admission looked some moments before. Raises Refusal(licence_expired)."""
        if self.licence is not None and not self.licence.valid_on(date.fromisoformat(time[:10])):
            message = f"your licence `{self.licence.licence}` is not valid today"
            raise Refusal("licence_expired", message, hint="ask the owner of the dataset to renew it")
