"""The scopes of the ledger as rows: the cap in force, and what was charged. Only within an open transaction."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.budget.account import purpose_id
from gateway.budget.loss import Cap, Loss
from gateway.errors import Fault
from gateway.store import Reading, Transaction
from policies.model import Policy


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """A scope as it stands."""

    cap: Cap
    spent: Loss


def find(view: Reading, scope: str) -> ScopeRow | None:
    row = view.one(
        "SELECT accountant, cap_rho, cap_epsilon, cap_delta, charged_rho, charged_epsilon, charged_delta"
        " FROM scope WHERE id = ?",
        (scope,),
    )
    return None if row is None else ScopeRow(Cap(*row[:4]), Loss(*row[4:]))


def is_open(view: Reading, purpose: str | None, operator: str, dataset: str) -> bool:
    """Whether the operator's purpose ever had a share of its own."""
    return purpose is not None and find(view, purpose_id(purpose, operator, dataset)) is not None


def opened(view: Reading, policy: Policy, operator: str) -> tuple[str, ...]:
    """The operator's purposes that ever had a share of their own, of those that may be asked for."""
    return tuple(purpose for purpose in policy.purposes if is_open(view, purpose, operator, policy.dataset))


def spent_at(view: Reading, scope: str, records: int) -> Loss:
    """What had been charged when the log had so many records."""
    row = view.one(
        "SELECT sum(g.rho), sum(g.epsilon), sum(g.delta) FROM charge g"
        " JOIN record r ON r.query = g.query AND r.kind = 'charge' WHERE g.scope = ? AND r.seq < ?",
        (scope, records),
    )
    return Loss() if row is None or row[0] is None else Loss(*map(int, row))


def put_cap(tx: Transaction, scope: str, dataset: str, operator: str | None, cap: Cap) -> None:
    """Opens the scope, or changes its cap. What is spent stays spent."""
    amounts = (cap.rho, cap.epsilon, cap.delta)
    if find(tx, scope) is None:
        tx.write(
            "INSERT INTO scope (id, dataset, operator, accountant, cap_rho, cap_epsilon, cap_delta)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (scope, dataset, operator, cap.accountant, *amounts),
        )
    else:
        tx.write("UPDATE scope SET cap_rho = ?, cap_epsilon = ?, cap_delta = ? WHERE id = ?", (*amounts, scope))


def book(tx: Transaction, query_id: str, scope: str, amount: Loss) -> None:
    """The second fence: the statement itself adds only below the cap, whatever was computed before. Raises Fault."""
    each = (amount.rho, amount.epsilon, amount.delta)
    grown = tx.write(
        "UPDATE scope SET charged_rho = charged_rho + ?, charged_epsilon = charged_epsilon + ?,"
        " charged_delta = charged_delta + ? WHERE id = ? AND charged_delta + ? <= cap_delta AND CASE accountant"
        " WHEN 'zcdp' THEN charged_rho + ? <= cap_rho ELSE charged_epsilon + ? <= cap_epsilon END",
        (*each, scope, amount.delta, amount.rho, amount.epsilon),
    )
    if grown != 1:
        raise Fault("the ledger and its own arithmetic disagree")
    tx.write("INSERT INTO charge VALUES (?, ?, ?, ?, ?)", (query_id, scope, *each))
