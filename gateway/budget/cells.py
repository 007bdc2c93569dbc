"""What exact answers cost: cells. How many one operator was told of a dataset, and how many were withheld, for life.

A withheld number tells a little as well, so both are limited by the policy. They are counted when an answer is
recorded, once for each operator and release, also where it was made for somebody else, or for a question of the same
operator that was cancelled. A limit that is reached ends exact questions of that operator, and reads nothing. What is
on its way counts as one number of each kind until then, so that nobody outruns a limit by asking at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import Refusal
from gateway.store import Reading, Transaction
from policies.model import Policy
from sandbox.protocol import Released

CODE: Final = "cells_"


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

    def require_left(self, dataset: str, running: int = 0, asked: int | None = None) -> None:
        """`running` are exact questions of the operator on their way, `asked` the numbers of this one's answer where
        that is known beforehand. Raises Refusal(budget_exhausted, busy)."""
        if running < min(self.left, self.withheld_left):
            if asked is not None and asked > self.left:
                message = f"the answer has {asked:,} numbers, and of `{dataset}` {self.left:,} more may be shown to you"
                hint = "name fewer groups in WHERE, or ask for fewer numbers of each"
                raise Refusal("budget_exhausted", message, hint=hint)
            return
        if self.left and self.withheld_left:
            message = f"as many exact questions of yours about `{dataset}` are on their way as may still be answered"
            raise Refusal("busy", message, hint="nothing was charged; ask again when one of them has ended")
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
        "SELECT CAST(coalesce(sum(released), 0) AS BIGINT), CAST(coalesce(sum(withheld), 0) AS BIGINT) FROM cells"
        " WHERE operator = ? AND dataset = ?",
        (operator, policy.dataset),
    )
    released, withheld = (0, 0) if row is None else row
    return Cells(released, withheld, rules.cells_max, rules.withheld_max)


def running(view: Reading, operator: str, dataset: str) -> int:
    """Exact questions of the operator that have not ended."""
    row = view.one(
        "SELECT count(*) FROM query WHERE state = 'running' AND mode = 'aggregate' AND operator = ? AND dataset = ?",
        (operator, dataset),
    )
    return 0 if row is None else int(row[0])


@dataclass(frozen=True, slots=True)
class Shown:
    """What an exact answer shows, however its question orders or limits it."""

    released: int
    withheld: int

    @classmethod
    def of(cls, released: Released) -> Shown:
        """An answer without any number says that all were kept back: it counts as one withheld."""
        if not released.cells_released + released.cells_withheld:
            return cls(0, 1)
        return cls(released.cells_released, released.cells_withheld)

    @property
    def code(self) -> str:
        """As the log has it."""
        return f"{CODE}{self.released}_{self.withheld}"


def seen(view: Reading, operator: str, release: str) -> bool:
    """Whether this release was counted for the operator before."""
    row = view.one(
        "SELECT 1 FROM cells c JOIN query q ON q.id = c.query WHERE c.operator = ? AND q.release = ? LIMIT 1",
        (operator, release),
    )
    return row is not None


def book(tx: Transaction, query_id: str, operator: str, dataset: str, shown: Shown) -> None:
    tx.write("INSERT INTO cells VALUES (?, ?, ?, ?, ?)", (query_id, operator, dataset, shown.released, shown.withheld))
