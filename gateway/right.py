"""By which right a query is decided: the mode, the dataset's supply, and the licence, where one is needed."""

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

    def require_valid(self, time: str) -> None:
        """At the record's own time: admission looked some moments before. Raises Refusal(licence_expired)."""
        if self.licence is not None and not self.licence.valid_on(date.fromisoformat(time[:10])):
            message = f"your licence `{self.licence.licence}` is not valid today"
            raise Refusal("licence_expired", message, hint="ask the owner of the dataset to renew it")
