"""A commit of a charge of which nobody knows whether it holds: nothing runs, the caller is told so, and asks again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway import keeper
from gateway.answer import failed
from gateway.ask import NotAnswered
from gateway.budget.queries import QueryRow
from gateway.errors import Fault
from gateway.outcomes import Outcomes
from gateway.pipeline import Pipeline
from gateway.running import Running
from gateway.store import InDoubt
from gateway.stores.sqlite import SqliteStore
from sandbox.protocol import Prepared, Question, Released, Ticket
from tests.gateway_world import COUNT, GatewayWorld, ScriptedDomain, gateway_world
from tests.waiting import eventually

CHARGE = 1_000_000


class Counting(ScriptedDomain):
    """Knows which tickets it was sent."""

    ran: tuple[str, ...] = ()

    def run(self, ticket: Ticket, question: Question, prepared: Prepared) -> Released | None:
        self.ran = (*self.ran, ticket.query)
        return None


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayWorld]:
    """Nothing is recorded later but on demand."""
    monkeypatch.setattr(keeper, "BEAT_S", 3600.0)
    with gateway_world(tmp_path, kind=Counting) as made:
        yield made


def doubt(patch: pytest.MonkeyPatch, *, holds: bool) -> None:
    """The commit of the next charge, and of no other transaction, is in doubt."""
    commit, charge = SqliteStore._commit, Pipeline._charge
    charging: list[bool] = []

    def _commit(store: SqliteStore) -> None:
        if not charging:
            commit(store)
            return
        charging.clear()
        if holds:
            commit(store)
        raise InDoubt("planned")

    def _charge(pipeline: Pipeline, *arguments: object) -> object:
        charging.append(True)
        patch.setattr(Pipeline, "_charge", charge)
        return charge(pipeline, *arguments)  # type: ignore[arg-type]

    patch.setattr(SqliteStore, "_commit", _commit)
    patch.setattr(Pipeline, "_charge", _charge)


def test_another_process_that_writes_meanwhile_hides_no_charge(tmp_path: Path) -> None:
    """The journal was cut, then the sync failed: before one has looked again, another one's transaction is the last."""
    put = (
        "INSERT INTO scope (id, dataset, accountant, cap_rho, cap_epsilon, cap_delta) VALUES (?, 'd', 'zcdp', 1, 1, 1)"
    )
    with closing(SqliteStore(tmp_path / "s.sqlite")) as mine, closing(SqliteStore(tmp_path / "s.sqlite")) as other:
        reconnect = mine._reconnect

        def late() -> None:
            mine._let_go()
            with other.transaction() as tx:
                tx.write(put, ("theirs",))
            reconnect()

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(mine, "_reconnect", late)
            patched.setattr(mine, "_writer", FailsAfterCommit(mine._writer))
            with mine.transaction() as tx:
                tx.write(put, ("mine",))
        with mine.reading() as view:
            assert view.all("SELECT id FROM scope ORDER BY id") == [("mine",), ("theirs",)]


class FailsAfterCommit:
    """A connection whose commit holds, and says that it does not."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
        found = self._connection.execute(sql, *more)
        if sql == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def ran(world: GatewayWorld) -> tuple[str, ...]:
    assert isinstance(world.domain, Counting)
    return world.domain.ran


def spent(world: GatewayWorld) -> int:
    with world.pipeline.store.reading() as view:
        (found,) = view.one("SELECT coalesce(max(charged_rho), 0) FROM scope WHERE operator IS NULL") or (0,)
    return int(found)


def asked_again(world: GatewayWorld, key: str) -> tuple[str, str]:
    begun = world.pipeline.ask(world.asking(key=key))
    result = begun.result if isinstance(begun.result, dict) else begun.result.result(10)
    assert result["code" if "code" in result else "status"]
    return begun.verdict, begun.id


@pytest.mark.parametrize("holds", [True, False])
def test_a_charge_in_doubt_does_not_run_and_is_charged_once_when_asked_again(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    doubt(monkeypatch, holds=holds)
    with pytest.raises(NotAnswered) as caught:
        world.pipeline.ask(world.asking(key="k"))
    assert caught.value.refusal.code == "outcome_unknown"
    assert ran(world) == ()
    assert spent(world) == (CHARGE if holds else 0)
    verdict, query_id = asked_again(world, "k")
    assert spent(world) == CHARGE
    if holds:
        assert (verdict, query_id) == ("repeated", caught.value.query_id)
        assert ran(world) == ()
    else:
        assert verdict == "run"
        assert ran(world) == (query_id,)
    kinds = [record["kind"] for record in world.records()]
    assert (kinds.count("charge"), kinds.count("failure")) == (1, 1)
    assert "refused" not in [record.get("decision") for record in world.records()]


@pytest.mark.parametrize("holds", [True, False])
def test_a_charge_in_doubt_is_settled_though_nobody_asks(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    doubt(monkeypatch, holds=holds)
    with pytest.raises(NotAnswered):
        world.pipeline.ask(world.asking(key="k"))
    for _ in range(2):
        world.outcomes.settle()
    kinds = [record["kind"] for record in world.records()]
    assert kinds.count("charge") == kinds.count("failure") == holds
    with world.pipeline.store.reading() as view:
        assert view.all("SELECT 1 FROM query WHERE state = 'running'") == []


def told_at_the_end(world: GatewayWorld, patch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A charge in doubt, which holds: what those are told who wait for its promise, and who ask as that ends."""
    doubt(patch, holds=True)
    withdraw, promised, asking = Running.withdraw, [], []

    def looked(running: Running, query_id: str, outcome: dict[str, Any]) -> None:
        live = running.find(query_id)
        assert live is not None
        promised.append(live.outcome)
        withdraw(running, query_id, outcome)
        asking.append(world.outcomes.latest(query_id))

    patch.setattr(Running, "withdraw", looked)
    with pytest.raises(NotAnswered):
        world.pipeline.ask(world.asking(key="k"))
    return promised[0].result(0), asking


def test_whoever_asks_for_a_charge_in_doubt_is_never_told_that_it_runs(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    promised, (asking,) = told_at_the_end(world, monkeypatch)
    assert promised == asking
    assert (asking["status"], asking["code"]) == ("failed", "query_failed")


def test_planted_a_promise_that_ends_before_the_failure_is_noticed(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(pipeline: Pipeline, query_id: str) -> None:
        pipeline.running.withdraw(query_id, failed(query_id))
        pipeline.outcomes.leave(query_id)

    monkeypatch.setattr(Pipeline, "_give_up", late)
    _, (asking,) = told_at_the_end(world, monkeypatch)
    assert asking["status"] == "running"


def broken_records(world: GatewayWorld, patch: pytest.MonkeyPatch, broken: str) -> tuple[str, str]:
    """Two charges whose failure could not be recorded; of `broken` (`both`, `first`) it still cannot."""
    record, ids = Outcomes.record, []

    def _record(outcomes: Outcomes, query_id: str, released: Released | None) -> QueryRow:
        if query_id not in ids:
            ids.append(query_id)
            raise Fault("the disk is full")
        if broken == "both" or query_id == min(ids):
            raise Fault("the disk is full")
        return record(outcomes, query_id, released)

    patch.setattr(Outcomes, "record", _record)
    for _ in range(2):
        begun = world.pipeline.ask(world.asking())
        assert not isinstance(begun.result, dict)
        assert begun.result.result(10)["status"] == "failed"
    first, second = sorted(ids)
    return first, second


def running(world: GatewayWorld) -> set[str]:
    with world.pipeline.store.reading() as view:
        return {row[0] for row in view.all("SELECT id FROM query WHERE state = 'running'")}


def test_an_outcome_that_cannot_be_recorded_holds_up_no_other(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = broken_records(world, monkeypatch, "first")
    assert running(world) == {first, second}
    assert world.outcomes.settle() == {first: "the disk is full"}
    assert running(world) == {first}


def test_a_gateway_that_serves_alone_records_what_it_could_not_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "BEAT_S", 0.01)
    with monkeypatch.context() as patched, gateway_world(tmp_path, kind=Counting) as world:
        ids = broken_records(world, patched, "both")
        assert running(world) == set(ids)
        patched.undo()
        assert eventually(lambda: not running(world), 60)
        assert [record["kind"] for record in world.records()].count("failure") == 2


@pytest.mark.parametrize("holds", [True, False])
def test_over_http_a_charge_in_doubt_says_how_to_find_out(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    doubt(monkeypatch, holds=holds)
    body = {"sql": COUNT, "purpose": "research"}
    told = world.call("POST", "/v1/queries", body, Idempotency_Key="k-1")
    assert told.status_code == 500
    problem = told.json()
    assert problem["code"] == "outcome_unknown"
    assert "nothing was charged" not in told.text
    found = world.call("GET", f"/v1/queries/{problem['query_id']}")
    assert found.status_code == (200 if holds else 404)
    if holds:
        assert found.json()["status"] == "failed"
    again = world.call("POST", "/v1/queries", body, Idempotency_Key="k-1")
    assert again.status_code == 200
    assert again.json()["status"] == "failed"
    assert spent(world) == CHARGE
