"""Answers as plain JSON data, exactly as contracts.md has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from gateway.budget.account import Budget
from gateway.budget.loss import words
from gateway.budget.queries import QueryRow
from policies.model import Policy
from policies.privacy_loss import EPSILON_UNIT, text
from policies.types import Value
from sandbox.protocol import OutputColumn, Prepared, Price, Released

FREE = Price(0, 0, 0)


def value(item: Value) -> Any:
    """Integers and doubles as numbers, decimals as strings, dates and timestamps as ISO 8601."""
    if item is None or isinstance(item, bool | int | float | str):
        return item
    if isinstance(item, Decimal):
        return format(item, "f")
    if isinstance(item, datetime | date):
        return item.isoformat()
    raise TypeError("a value of no known kind")


def columns(found: tuple[OutputColumn, ...]) -> list[dict[str, str]]:
    return [{"name": column.name, "type": str(column.type), "kind": column.kind} for column in found]


def cost(price: Price) -> dict[str, str]:
    amounts = words(price)
    return {"epsilon": amounts["epsilon"], "delta": amounts["delta"], "rho": amounts["rho"]}


def budget(policy: Policy, budgets: tuple[Budget, ...]) -> dict[str, Any] | None:
    """What is left after the answer; null where nothing is counted."""
    if not budgets:
        return None
    found: dict[str, Any] = {}
    for each in budgets:
        left = {"epsilon_left": text(each.epsilon_left, EPSILON_UNIT), "answers_left": each.answers_left}
        if each.scope.operator is None:
            found["dataset"] = {"name": policy.dataset, **left}
        else:
            found["operator"] = left
    return found


def answered(
    row: QueryRow, released: Released, left: dict[str, Any] | None, receipt: Mapping[str, Any]
) -> dict[str, Any]:
    """The answer of a query that has ended well."""
    return {
        "id": row.id,
        "status": "answered",
        "mode": row.mode,
        "columns": columns(released.columns),
        "rows": [[value(cell) for cell in line] for line in released.rows],
        "intervals": [
            [None if cell is None else [value(cell[0]), value(cell[1])] for cell in line] for line in released.intervals
        ],
        "confidence": float(released.confidence),
        "notes": [[None if cell is None else list(cell) for cell in line] for line in released.notes],
        "cost": cost(row.cost),
        "budget": left,
        "reused": row.reused,
        "receipt": dict(receipt),
    }


def failed(query_id: str) -> dict[str, Any]:
    """The constant failure: the same whatever broke after the charge."""
    return {"id": query_id, "status": "failed", "code": "query_failed"}


def state(row: QueryRow) -> dict[str, Any]:
    """Where a query stands, without its answer."""
    return failed(row.id) if row.state == "failed" else {"id": row.id, "status": row.state}


def checked(mode: str, prepared: Prepared, left: dict[str, Any] | None, *, reused: bool) -> dict[str, Any]:
    """The verdict of a check that found nothing against the question."""
    return {
        "verdict": "answer",
        "mode": mode,
        "plan": list(prepared.steps),
        "columns": columns(prepared.columns),
        "cost": cost(FREE if reused else prepared.price),
        "intervals_expected": [value(width) for width in prepared.expected],
        "values_expected": [value(number) for number in prepared.expected_values],
        "budget": left,
        "reused": reused,
    }
