"""Bugs of other libraries around the numbers, planted here once: budgets that never end, charges that come too late.

Each fence is taken away in turn; the next one holds, and the last is whoever reads the log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.verify import verify
from gateway.budget import account as accounts
from gateway.budget import scopes
from gateway.budget.loss import counted
from gateway.errors import Fault, Refusal
from gateway.pipeline import Pipeline
from gateway.store import Transaction
from sandbox.protocol import Question, Ticket
from tests.gateway_world import GatewayWorld, gateway_world
from tests.ledger_world import World as LedgerWorld
from tests.ledger_world import price
from tests.second_verifier import sound

ANSWERS, TRIES = 3, 6
SECRET = "Conversion Error: could not cast 'Ada Lovelace'"


# SmartNoise: fifty repeats reported an epsilon of 106, and were all answered.


def granted(world: LedgerWorld) -> tuple[int, str]:
    """How many of six questions are charged where three fit, and what stops the next one."""
    each = price("0.25")
    scopes = world.counted_scopes("acme", ANSWERS, each)
    for number in range(TRIES):
        try:
            world.charge(each, scopes)
        except (Refusal, Fault) as stopped:
            return number, str(stopped)
    return TRIES, ""


def _never_refuses(account: accounts.Account, cost: Any) -> Any:
    return counted(account.scope.cap.accountant, cost)


def _books_anything(tx: Transaction, query_id: str, charged: Sequence[str], amount: Any) -> None:
    each = (amount.rho, amount.epsilon, amount.delta)
    for scope in charged:
        tx.write(
            "UPDATE scope SET charged_rho = charged_rho + ?, charged_epsilon = charged_epsilon + ?,"
            " charged_delta = charged_delta + ? WHERE id = ?",
            (*each, scope),
        )
        tx.write("INSERT INTO charge VALUES (?, ?, ?, ?, ?)", (query_id, scope, *each))


def test_a_budget_that_never_refuses_is_stopped_by_three_fences_and_shown_by_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fences = ["used up", "its own arithmetic", "the cap"]
    for number, fence in enumerate(fences):
        if number == 1:
            monkeypatch.setattr(accounts.Account, "charge", _never_refuses)
        if number == 2:
            monkeypatch.setattr(scopes, "book", _books_anything)
        world = LedgerWorld(tmp_path / str(number))
        answered, words = granted(world)
        assert answered == ANSWERS
        assert fence in words
        assert verify(world.export()).ok
        assert sound(world.export())
    broken = LedgerWorld(tmp_path / "file")
    with sqlite3.connect(broken.path) as file:
        file.execute("DROP TRIGGER scope_within_cap")
    assert granted(broken) == (TRIES, "")
    assert not verify(broken.export()).ok
    assert not sound(broken.export())


# lomas: charged after the run, and told the caller why it failed.


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayWorld]:
    """A gateway whose data domain breaks on a row of the data."""

    def breaks(domain: object, ticket: Ticket, question: Question, reservation: str | None) -> None:
        raise RuntimeError(SECRET)

    with gateway_world(tmp_path / "home") as found:
        monkeypatch.setattr(type(found.domain), "run", breaks)
        yield found


def charges(world: GatewayWorld) -> int:
    with world.gateway.store.reading() as view:
        (count,) = view.one("SELECT count(*) FROM charge") or (0,)
    return int(count)


def ask(world: GatewayWorld) -> dict[str, Any]:
    begun = world.pipeline.ask(world.asking())
    return begun.result.result(20) if isinstance(begun.result, Future) else begun.result


def free_and_told(world: GatewayWorld) -> tuple[bool, bool]:
    """Whether a question that broke on the data cost nothing, and whether the caller was told why."""
    before = charges(world)
    try:
        told = str(ask(world))
    except Exception as error:
        told = str(error)
    return charges(world) == before, "Ada" in told


def test_a_question_that_breaks_on_the_data_costs_and_tells_nothing(world: GatewayWorld) -> None:
    assert free_and_told(world) == (False, False)


def test_a_charge_after_the_run_is_noticed(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Pipeline._charge

    def after_the_run(pipeline: Pipeline, *given: Any) -> Any:
        charged_later = honest
        pipeline.domain.run(None, None, None)  # type: ignore[arg-type]
        return charged_later(pipeline, *given)

    monkeypatch.setattr(Pipeline, "_charge", after_the_run)
    assert free_and_told(world)[0]


def test_a_cause_that_is_told_to_the_caller_is_noticed(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def telling(pipeline: Pipeline, charged: Any) -> dict[str, Any]:
        try:
            pipeline.domain.run(charged.ticket, charged.question, charged.prepared)
        except RuntimeError as error:
            return {"status": "failed", "detail": str(error)}
        raise AssertionError

    monkeypatch.setattr(Pipeline, "_finish", telling)
    assert free_and_told(world) == (False, True)
