"""The scopes of the ledger as rows: the cap in force, and what was charged. Only within an open transaction.

A block of a scope is a row of its own, from its first charge on. Its cap is that of its base, and is written with it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gateway.budget.account import purpose_id, split_block
from gateway.budget.loss import Cap, Loss, most
from gateway.errors import Fault
from gateway.store import Reading, Transaction
from policies.model import Policy


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """A scope as it stands."""

    cap: Cap
    spent: Loss


def find(view: Reading, scope: str) -> ScopeRow | None:
    return find_all(view, (scope,)).get(scope)


def find_all(view: Reading, scopes: Collection[str]) -> dict[str, ScopeRow]:
    """Those of `scopes` that there are, by id."""
    if not scopes:
        return {}
    rows = view.all(
        "SELECT id, accountant, cap_rho, cap_epsilon, cap_delta, charged_rho, charged_epsilon, charged_delta"  # noqa: S608  # our own text
        f" FROM scope WHERE id IN ({_marks(scopes)})",
        tuple(scopes),
    )
    return {row[0]: ScopeRow(Cap(*row[1:5]), Loss(*row[5:])) for row in rows}


def is_open(view: Reading, purpose: str | None, operator: str, dataset: str) -> bool:
    """Whether the operator's purpose ever had a share of its own."""
    return purpose is not None and find(view, purpose_id(purpose, operator, dataset)) is not None


def opened(view: Reading, policy: Policy, operator: str) -> tuple[str, ...]:
    """The operator's purposes that ever had a share of their own, of those that may be asked for."""
    ids = {purpose: purpose_id(purpose, operator, policy.dataset) for purpose in policy.purposes}
    found = find_all(view, ids.values())
    return tuple(purpose for purpose, each in ids.items() if each in found)


def spent_at(view: Reading, scope: str, dataset: str, records: int) -> Loss:
    """What had been charged when the log had so many records; where it has blocks, on the fullest of them."""
    rows = view.all(
        "SELECT g.scope, sum(g.rho), sum(g.epsilon), sum(g.delta) FROM charge g JOIN scope s ON s.id = g.scope"
        " JOIN record r ON r.query = g.query AND r.kind = 'charge' WHERE s.dataset = ? AND r.seq < ? GROUP BY g.scope",
        (dataset, records),
    )
    return most(Loss(*map(int, each)) for found, *each in rows if split_block(found)[0] == scope)


def fullest(view: Reading, scope: str, dataset: str) -> Loss:
    """What was charged; where the scope has blocks, on the fullest of them."""
    rows = view.all("SELECT id, charged_rho, charged_epsilon, charged_delta FROM scope WHERE dataset = ?", (dataset,))
    return most(Loss(*each) for found, *each in rows if split_block(found)[0] == scope)


def charged_blocks(view: Reading, dataset: str) -> tuple[str, ...]:
    """The blocks that anything was ever charged to. Every charge is one to the dataset as well."""
    rows = view.all(
        "SELECT id FROM scope WHERE dataset = ? AND operator IS NULL AND (charged_rho > 0 OR charged_epsilon > 0)",
        (dataset,),
    )
    found = (split_block(scope)[1] for (scope,) in rows)
    return tuple(sorted(block for block in found if block is not None))


def charged_to(view: Reading, query_id: str) -> tuple[str, ...]:
    """The blocks that a query was charged to, in order; none where its dataset has none, or nothing was charged."""
    rows = view.all("SELECT scope FROM charge WHERE query = ?", (query_id,))
    found = {split_block(scope)[1] for (scope,) in rows}
    return tuple(sorted(block for block in found if block is not None))


def put_cap(tx: Transaction, scope: str, dataset: str, operator: str | None, cap: Cap) -> None:
    """Opens the scope, or changes its cap and that of its blocks. What is spent stays spent.

    Guarantee: the row of every block has the cap of its base.
    """
    amounts, blocks = (cap.rho, cap.epsilon, cap.delta), f"{scope}#"
    if find(tx, scope) is None:
        tx.write(
            "INSERT INTO scope (id, dataset, operator, accountant, cap_rho, cap_epsilon, cap_delta)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (scope, dataset, operator, cap.accountant, *amounts),
        )
    else:
        tx.write(
            "UPDATE scope SET cap_rho = ?, cap_epsilon = ?, cap_delta = ?"
            " WHERE id = ? OR (dataset = ? AND coalesce(operator, '') = ? AND substr(id, 1, ?) = ?)",
            (*amounts, scope, dataset, operator or "", len(blocks), blocks),  # another's name may begin like these ids
        )


def book(tx: Transaction, query_id: str, scopes: Sequence[str], amount: Loss) -> None:
    """Charges `amount` to each. A block is opened by its first charge. Raises Fault."""
    parts: dict[str, list[str]] = {}
    for scope in scopes:
        parts.setdefault(split_block(scope)[0], []).append(scope)
    for base, each in parts.items():
        _open_blocks(tx, base, each)
        _add(tx, base, each, amount)
    lines = [value for scope in scopes for value in (query_id, scope, amount.rho, amount.epsilon, amount.delta)]
    tx.write(f"INSERT INTO charge VALUES {', '.join(['(?, ?, ?, ?, ?)'] * len(scopes))}", lines)  # noqa: S608  # our own text


def _open_blocks(tx: Transaction, base: str, scopes: Sequence[str]) -> None:
    """Those of `scopes` that were never charged yet, with the cap of `base`."""
    known = find_all(tx, scopes)
    for scope in scopes:
        if scope != base and scope not in known:
            tx.write(
                "INSERT INTO scope (id, dataset, operator, accountant, cap_rho, cap_epsilon, cap_delta)"
                " SELECT ?, dataset, operator, accountant, cap_rho, cap_epsilon, cap_delta FROM scope WHERE id = ?",
                (scope, base),
            )


def _add(tx: Transaction, base: str, scopes: Sequence[str], amount: Loss) -> None:
    """The second fence: the statement itself adds only below the cap, whatever was computed before. Raises Fault.

    The cap of the base binds, and that in each block's own row as well.
    """
    each = (amount.rho, amount.epsilon, amount.delta)
    grown = tx.write(
        "UPDATE scope SET charged_rho = charged_rho + ?, charged_epsilon = charged_epsilon + ?,"  # noqa: S608  # our own text
        f" charged_delta = charged_delta + ? WHERE id IN ({_marks(scopes)}) AND NOT EXISTS (SELECT 1 FROM scope c"
        " WHERE c.id IN (scope.id, ?) AND (scope.charged_delta + ? > c.cap_delta OR CASE c.accountant"
        " WHEN 'zcdp' THEN scope.charged_rho + ? > c.cap_rho ELSE scope.charged_epsilon + ? > c.cap_epsilon END))",
        (*each, *scopes, base, amount.delta, amount.rho, amount.epsilon),
    )
    if grown != len(scopes):
        raise Fault("the ledger and its own arithmetic disagree")


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))
