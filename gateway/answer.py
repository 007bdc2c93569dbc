"""Answers as plain JSON data, exactly as contracts.md has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from gateway.admission.paging import next_cursor
from gateway.audit.told import OPENING
from gateway.budget.account import Budget, Scope
from gateway.budget.cells import cells_of
from gateway.budget.ledger import Ledger
from gateway.budget.loss import words
from gateway.budget.queries import QueryRow
from gateway.store import Reading
from policies.model import Mode, Policy
from policies.privacy_loss import EPSILON_UNIT, text
from policies.types import Value
from sandbox import codec
from sandbox.protocol import FREE, OutputColumn, Prepared, Price, Question, Released


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
        left: dict[str, Any] = _left(each)
        if each.blocks:
            left["blocks"] = [{"name": block.scope.block, **_left(block)} for block in each.blocks]
        if each.scope.operator is None:
            found["dataset"] = {"name": policy.dataset, **left}
        elif each.scope.purpose is not None:
            found.setdefault("purposes", []).append({"name": each.scope.purpose, **left})
        else:
            found["operator"] = left
    return found


def _left(budget: Budget) -> dict[str, Any]:
    return {"epsilon_left": text(budget.epsilon_left, EPSILON_UNIT), "answers_left": budget.answers_left}


def left(  # noqa: PLR0913, PLR0917  # whose budgets, in which currency
    view: Reading,
    ledger: Ledger,
    policy: Policy,
    mode: Mode,
    scopes: Sequence[Scope],
    price: Price,
    operator: str,
    blocks: Sequence[str] = (),
) -> dict[str, Any] | None:
    """What is left after the answer: privacy loss of mode `dp`, in each of `blocks` where there are some; cells of mode
    `aggregate`."""
    if mode != "aggregate":
        return budget(policy, ledger.budgets(view, scopes, price, blocks))
    cells = cells_of(view, policy, operator)
    if cells is None:
        return None
    return {"cells": {"name": policy.dataset, "cells_left": cells.left, "withheld_left": cells.withheld_left}}


def rules(policy: Policy) -> list[dict[str, str]]:
    """The rules that an exact answer keeps, in words that a reader can cite. Functions of the policy alone."""
    found = policy.release.aggregate
    if found is None:
        return []
    most, share = found.dominance_units, format(found.dominance_share * 100, "f").rstrip("0").rstrip(".")
    largest = "the largest contribution makes" if most == 1 else f"the largest {most} contributions together make"
    percent = format(found.p_percent, "f")
    words = {
        "units": f"at least {found.units_min} units contribute to every number that is shown",
        "dominance": f"{largest} less than {share} % of it",
        "p_percent": f"no contribution can be told from it to within {percent} % by another contributor",
        "homogeneous": "no group is shown in which all, or all but a few, share a sensitive value",
        "difference": f"it differs from any number shown before in no unit or in {found.difference_units_min} and more",
        "complementary": "nothing that is withheld can be reckoned from all numbers shown",
    }
    if found.rounding:
        words["rounding"] = f"counts are rounded to {found.rounding}, sums and means to match"
    return [{"name": name, "text": text_} for name, text_ in words.items()]


def told(released: Released) -> dict[str, Any]:
    """The numbers, and what has to be known to read them: the record of an answer commits to this."""
    return {
        "columns": columns(released.columns),
        "rows": [[value(cell) for cell in line] for line in released.rows],
        "intervals": [
            [None if cell is None else [value(cell[0]), value(cell[1])] for cell in line] for line in released.intervals
        ],
        "confidence": float(released.confidence),
        "notes": [[None if cell is None else list(cell) for cell in line] for line in released.notes],
    }


def answered(  # noqa: PLR0913, PLR0917  # the parts of an answer
    row: QueryRow,
    released: Released,
    left: dict[str, Any] | None,
    receipt: Mapping[str, Any],
    opening: str | None,
    policy: Policy | None,
) -> dict[str, Any]:
    """The answer of a query that has ended well."""
    also: dict[str, Any] = {}
    if row.mode == "aggregate" and policy is not None:
        also["rules"] = rules(policy)
    if row.mode == "open":
        question = codec.loads(row.question.encode(), Question)
        also["cursor"] = next_cursor(question, row.snapshot, len(released.rows)) if released.more else None
    return {
        "id": row.id,
        "status": "answered",
        "mode": row.mode,
        **told(released),
        "cost": cost(row.cost),
        "budget": left,
        "reused": row.reused,
        **also,
        "receipt": dict(receipt),
        OPENING: opening,
    }


def read(blocks: Sequence[str]) -> dict[str, list[str]]:
    """What an answer says of the blocks that it is of, where there are any."""
    return {"blocks": list(blocks)} if blocks else {}


def failed(query_id: str) -> dict[str, Any]:
    """The constant failure: the same whatever broke after the charge."""
    return {"id": query_id, "status": "failed", "code": "query_failed"}


def state(row: QueryRow) -> dict[str, Any]:
    """Where a query stands, without its answer."""
    return failed(row.id) if row.state == "failed" else {"id": row.id, "status": row.state}


def checked(
    policy: Policy, mode: Mode, prepared: Prepared, left: dict[str, Any] | None, *, reused: bool
) -> dict[str, Any]:
    """The verdict of a check that found nothing against the question."""
    cited = {"rules": rules(policy)} if mode == "aggregate" else {}
    return {
        **cited,
        "verdict": "answer",
        "mode": mode,
        "plan": list(prepared.steps),
        "columns": columns(prepared.columns),
        "cost": cost(FREE if reused else prepared.price),
        "intervals_expected": [value(width) for width in prepared.expected],
        "values_expected": [value(number) for number in prepared.expected_values],
        "deadline_s": None if prepared.deadline_ms is None else prepared.deadline_ms / 1000,
        "budget": left,
        "reused": reused,
    }
