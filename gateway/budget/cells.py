"""What exact answers cost: cells. How many one operator was told of a dataset, and how many were withheld, for life.

A withheld number tells a little as well, so both are limited by the policy. They are counted when an answer is
recorded, by what it shows; a limit that is reached ends exact questions of that operator, and reads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.errors import Refusal
from gateway.store import Reading, Transaction
from policies.model import Policy


@dataclass(frozen=True, slots=True)
class Cells:
    """Of one operator and dataset."""

    released: int
    withheld: int
    released_max: int
    withheld_max: int

    @property
    def left(self) -> int:
        return max(0, self.released_max - self.released)

    @property
    def withheld_left(self) -> int:
        return max(0, self.withheld_max - self.withheld)

    def require_left(self, dataset: str) -> None:
        """Raises Refusal(budget_exhausted)."""
        if self.left and self.withheld_left:
            return
        what = "shown" if not self.left else "withheld from you"
        most = self.released_max if not self.left else self.withheld_max
        message = f"of `{dataset}` {most:,} numbers were {what}, which is the policy's limit for exact answers"
        raise Refusal("budget_exhausted", message, hint="what was answered is answered again, free")

    def as_json(self, policy: Policy) -> dict[str, Any]:
        return {
            "dataset": policy.dataset,
            "cap": {"released": self.released_max, "withheld": self.withheld_max},
            "spent": {"released": self.released, "withheld": self.withheld},
            "cells_left": self.left,
            "withheld_left": self.withheld_left,
        }


def cells_of(view: Reading, policy: Policy, operator: str) -> Cells | None:
    """None where the dataset gives no exact answers."""
    rules = policy.release.aggregate
    if rules is None or "aggregate" not in policy.release.modes:
        return None
    row = view.one(
        "SELECT coalesce(sum(released), 0), coalesce(sum(withheld), 0) FROM cells WHERE operator = ? AND dataset = ?",
        (operator, policy.dataset),
    )
    released, withheld = (0, 0) if row is None else row
    return Cells(released, withheld, rules.cells_max, rules.withheld_max)


def book(tx: Transaction, query_id: str, operator: str, dataset: str, shown: tuple[int, int]) -> None:
    """Counts what an answer shows: (released, withheld)."""
    tx.write("INSERT INTO cells VALUES (?, ?, ?, ?, ?)", (query_id, operator, dataset, *shown))
