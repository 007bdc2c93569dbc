"""Cancelled means ended: the worker is killed in the middle of what it does, and its place is given to others."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from policies.types import BIGINT
from sandbox.door import Door
from sandbox.pool import Pool, Worker
from sandbox.protocol import Cancelled, Failed, Prepare, Prepared, Question, Released, Run
from sandbox.regimes.noisy import Noisy
from sandbox.relational.expressions import Column
from sandbox.relational.nodes import Measure
from tests.domain_world import DomainWorld, domain_world
from tests.isolation.test_pool import gone
from tests.waiting import eventually

BURN: Final = "SELECT count(*) FROM range(1000000000000) r(i) WHERE md5(i::VARCHAR) < 'a'"
"""Days of work for every processor."""
WAIT_S: Final = 20
asked: list[Question] = []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DomainWorld]:
    """One place, and answers that leave when they are ready."""
    with domain_world(tmp_path_factory.mktemp("cancelled"), workers_max=1) as found:
        yield found


def run_of(world: DomainWorld) -> Run:
    """A question that was not asked before, with a place that is held for it."""
    asked.append(world.question(Measure("count", Column("0.sex")), epsilon=f"0.00{len(asked) + 1:03}"))
    assert eventually(lambda: world.pool._places._warm.get("clinic"), WAIT_S)
    at = world.door.prepare(Prepare(asked[-1], reserve=True))
    assert isinstance(at, Prepared), at
    ticket = world.ticket(asked[-1], at)
    return Run(ticket, world.signed(ticket, asked[-1]).signature, asked[-1], at.reservation)


class Burning:
    """Every job is one statement that does not end; the workers that began it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workers: list[Worker] = []

        def burn(_: Noisy, job: object, ticket: object, worker: Worker, served: object) -> Any:
            self.workers.append(worker)
            return worker.query(BURN, (BIGINT,), 1)

        monkeypatch.setattr(Noisy, "run", burn)


def place_is_free(world: DomainWorld) -> bool:
    token = world.pool.reserve("clinic")
    if token is not None:
        world.pool.release(token)
    return token is not None


def test_a_statement_that_burns_the_processor_ends_when_it_is_cancelled(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    burning, run = Burning(monkeypatch), run_of(world)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(world.door.run, run)
        assert eventually(lambda: burning.workers, WAIT_S)
        time.sleep(0.1)
        assert not reply.done()
        assert world.door.cancel(run.ticket.id) == Cancelled(run.ticket.id)
        assert reply.result(WAIT_S) == Failed()
    assert eventually(lambda: gone(burning.workers[0].pid), WAIT_S)
    assert eventually(lambda: place_is_free(world), WAIT_S)
    assert world.door.run(run) == Failed()  # its ticket is spent


class Late:
    """A worker that comes when it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taking, self.go = threading.Event(), threading.Event()
        take = Pool.take

        def later(pool: Pool, token: str | None, dataset: str) -> Worker | None:
            self.taking.set()
            assert self.go.wait(WAIT_S)
            return take(pool, token, dataset)

        monkeypatch.setattr(Pool, "take", later)


def cancelled_before_its_worker(world: DomainWorld, late: Late) -> None:
    run = run_of(world)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(world.door.run, run)
        assert late.taking.wait(WAIT_S)
        world.door.cancel(run.ticket.id)
        late.go.set()
        assert reply.result(WAIT_S) == Failed()


def test_a_word_that_comes_before_the_worker_ends_it_too(world: DomainWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    burning = Burning(monkeypatch)
    cancelled_before_its_worker(world, Late(monkeypatch))
    assert not burning.workers
    assert eventually(lambda: place_is_free(world), WAIT_S)


def test_a_word_that_comes_before_the_ticket_ends_it_too(world: DomainWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    burning, run = Burning(monkeypatch), run_of(world)
    world.door.cancel(run.ticket.id)
    assert world.door.run(run) == Failed()
    assert not burning.workers


def test_a_door_that_forgets_such_a_word_is_noticed(world: DomainWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(door: Door, ticket: str) -> Cancelled:
        door._runs._stop(ticket)
        return Cancelled(ticket)

    monkeypatch.setattr(Door, "cancel", forgetful)
    with pytest.raises(AssertionError):
        assert isinstance(_outcome(world, monkeypatch), Failed)


def _outcome(world: DomainWorld, monkeypatch: pytest.MonkeyPatch) -> object:
    late, run = Late(monkeypatch), run_of(world)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(world.door.run, run)
        assert late.taking.wait(WAIT_S)
        world.door.cancel(run.ticket.id)
        late.go.set()
        return reply.result(WAIT_S)


def test_no_more_words_are_kept_than_may_be(world: DomainWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.runs.CANCELLED_MAX", 5)
    for number in range(50):
        world.door.cancel(f"none {number}")
    assert len(world.door._runs._cancelled) <= 6


def test_a_word_that_races_with_the_end_gives_one_outcome_and_loses_no_place(world: DomainWorld) -> None:
    dice, kinds = random.Random(5), set()
    for _ in range(25):
        run = run_of(world)
        with ThreadPoolExecutor(2) as pool:
            reply = pool.submit(world.door.run, run)
            time.sleep(dice.uniform(0, 0.03))
            pool.submit(world.door.cancel, run.ticket.id).result(WAIT_S)
            first = reply.result(WAIT_S)
        kinds.add(type(first))
        assert type(world.door.run(run)) is type(first)  # whatever it was, it stays
        assert not world.door._runs._running
    assert kinds <= {Released, Failed}
    assert eventually(lambda: place_is_free(world), WAIT_S)
    assert eventually(lambda: len(world.pool._places._workers) <= 1, WAIT_S)
