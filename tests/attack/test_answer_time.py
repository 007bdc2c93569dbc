"""Answer deadlines: nobody can tell by the clock, nor by a place that is free again, how long a question took."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.deadlines import Due
from sandbox.protocol import Failed, Prepare, Prepared, Question, Refused, Released, Run
from sandbox.regimes import noisy
from sandbox.relational.expressions import Column
from sandbox.relational.nodes import Measure
from sandbox.release.store import TooLate
from sandbox.runs import Runs
from tests.domain_world import DomainWorld, domain_world
from tests.isolation.test_pool import gone
from tests.waiting import eventually

DEADLINE_S = 1.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DomainWorld]:
    with domain_world(tmp_path_factory.mktemp("timed"), None, f"deadlines_s = [{DEADLINE_S}]", workers_max=1) as found:
        yield found


def question(world: DomainWorld, name: str) -> Question:
    """One that was not asked before, for each name: each wants more than all before it."""
    asked[name] = len(asked)
    return world.question(Measure("count", Column("0.sex")), epsilon=epsilon_of(name))


def epsilon_of(name: str) -> str:
    return f"0.0{100 + asked[name]}"


asked: dict[str, int] = {}


def prepared(world: DomainWorld, question: Question) -> Prepared:
    found = world.door.prepare(Prepare(question, reserve=True))
    assert isinstance(found, Prepared), found
    return found


def timed(world: DomainWorld, asked: Question, at: Prepared) -> tuple[object, float]:
    ticket = world.ticket(asked, at)
    run = Run(ticket, world.signed(ticket, asked).signature, asked, at.reservation)
    began = time.monotonic()
    return world.door.run(run), time.monotonic() - began


def place_free(world: DomainWorld, name: str) -> bool:
    found = world.door.prepare(Prepare(question(world, name), reserve=True))
    if isinstance(found, Refused):
        assert found.code == "busy"
        return False
    assert found.reservation is not None
    world.door.cancel(found.reservation)
    return True


def slowed(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
    made = noisy.make

    def make(*arguments: Any) -> object:
        wait()
        return made(*arguments)

    monkeypatch.setattr(noisy, "make", make)


def test_a_quick_answer_waits_for_its_deadline(world: DomainWorld) -> None:
    asked = question(world, "quick")
    at = prepared(world, asked)
    assert at.deadline_ms == DEADLINE_S * 1000
    reply, took = timed(world, asked, at)
    assert isinstance(reply, Released)
    assert took >= DEADLINE_S


def test_a_quick_failure_waits_for_the_same_deadline(world: DomainWorld) -> None:
    asked = question(world, "killed")
    at = prepared(world, asked)
    assert at.reservation is not None
    os.kill(world.pool._places._held[at.reservation].worker.pid, signal.SIGKILL)
    reply, took = timed(world, asked, at)
    assert reply == Failed()
    assert took >= DEADLINE_S


def test_a_late_answer_is_the_same_failure_and_is_never_kept(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = question(world, "late")
    at, before, go_on = prepared(world, asked), world.spent()[0], threading.Event()
    slowed(monkeypatch, go_on.wait)
    reply, took = timed(world, asked, at)
    assert reply == Failed()
    assert took >= DEADLINE_S
    go_on.set()  # it ends long after its deadline, and comes to keep its release
    assert eventually(lambda: place_free(world, "after late"))
    assert world.spent()[0] == before + at.price.rho
    assert world.prepared(asked).release is None


def test_a_release_that_is_given_up_cannot_be_kept(world: DomainWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[type[BaseException]] = []
    sealed = world.store.seal

    def seal(*arguments: Any) -> object:
        try:
            return sealed(*arguments)
        except BaseException as error:
            ends.append(type(error))
            raise

    asked = question(world, "given up")
    at, go_on = prepared(world, asked), threading.Event()
    slowed(monkeypatch, go_on.wait)
    monkeypatch.setattr(world.store, "seal", seal)
    monkeypatch.setattr(world.door._runs, "_stop", lambda _: None)  # the worker is not killed: it answers all the same
    reply, _ = timed(world, asked, at)
    assert reply == Failed()
    go_on.set()
    assert eventually(lambda: ends == [TooLate])


def test_a_place_is_taken_until_the_deadline_though_its_worker_is_gone(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = question(world, "place")
    at, free = prepared(world, asked), world.door._runs._free
    assert at.reservation is not None
    worker = world.pool._places._held[at.reservation].worker
    seen: list[tuple[float, bool, str | None]] = []

    def freed(ticket: str) -> None:
        seen.append((time.monotonic(), gone(worker.pid), world.pool.reserve("clinic")))
        free(ticket)

    monkeypatch.setattr(world.door._runs, "_free", freed)
    began = time.monotonic()
    timed(world, asked, at)
    assert eventually(lambda: seen)
    when, worker_gone, place = seen[0]
    assert when - began >= DEADLINE_S
    assert (worker_gone, place) == (True, None)
    assert eventually(lambda: place_free(world, "after place"))


def cancelled_when(world: DomainWorld, name: str, *, ready: bool) -> tuple[bool, bool, bool]:
    """A question that is cancelled once its release is kept, or before: whether it came at its deadline, was answered,
    and shows afterwards."""
    asked = question(world, name)
    at = prepared(world, asked)
    ticket = world.ticket(asked, at)
    run = Run(ticket, world.signed(ticket, asked).signature, asked, at.reservation)
    with pytest.MonkeyPatch.context() as patch:
        if ready:
            answer = world.door._runs._answer
            patch.setattr(
                world.door._runs, "_answer", lambda *said: (world.door.cancel(ticket.id), answer(*said))[1]
            )  # fmt: skip
        else:
            slowed(patch, lambda: world.door.cancel(ticket.id))
        began = time.monotonic()
        reply = world.door.run(run)
    in_time = time.monotonic() - began >= DEADLINE_S
    assert eventually(lambda: place_free(world, f"after {name}"))
    after = world.door.prepare(Prepare(asked, reserve=False))
    assert isinstance(after, Prepared)
    return in_time, isinstance(reply, Released), after.release is not None


def test_a_word_to_cancel_does_not_tell_whether_the_answer_was_ready(world: DomainWorld) -> None:
    """Its release is there afterwards as if nothing had been said: it is paid for, and free to whoever asks again."""
    found = [cancelled_when(world, f"cancelled {ready}", ready=ready) for ready in (False, True)]
    assert found == [(True, True, True)] * 2


def test_a_word_before_the_ticket_does_not_tell_it_either(world: DomainWorld) -> None:
    asked = question(world, "cancelled first")
    at = prepared(world, asked)
    ticket = world.ticket(asked, at)
    world.door.cancel(ticket.id)
    run = Run(ticket, world.signed(ticket, asked).signature, asked, at.reservation)
    assert isinstance(world.door.run(run), Released)


def test_a_word_that_ends_a_job_before_its_deadline_would_be_noticed(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_once(runs: Runs, ticket: str) -> None:
        runs._give_up(ticket)

    monkeypatch.setattr(Runs, "cancel", at_once)
    assert cancelled_when(world, "ended early", ready=False) != cancelled_when(world, "ended late", ready=True)


def test_an_answer_that_is_kept_in_time_is_given_however_long_its_writing_takes(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows the keeping hangs on released numbers alone, and must not lose a paid answer."""
    asked = question(world, "long writing")
    at, answer = prepared(world, asked), world.door._runs._answer

    def slow(*arguments: Any) -> Released:
        time.sleep(DEADLINE_S + 0.1)
        return answer(*arguments)

    monkeypatch.setattr(world.door._runs, "_answer", slow)
    reply, took = timed(world, asked, at)
    assert isinstance(reply, Released)
    assert took > DEADLINE_S


def told_early(world: DomainWorld, name: str) -> set[str]:
    """By which ways a release showed while its question was on its way, though it was kept."""
    measures = Measure("count", Column("0.sex")), Measure("count_rows", None)
    fewer = question(world, name)
    wide = world.question(*measures, epsilon=epsilon_of(name))
    at = prepared(world, wide)
    ticket = world.ticket(wide, at)
    run = Run(ticket, world.signed(ticket, wide).signature, wide, at.reservation)
    outcome: list[object] = []
    going = threading.Thread(target=lambda: outcome.append(world.door.run(run)))
    sealed, seal = threading.Event(), world.store.seal

    def sealing(*arguments: Any) -> object:
        found = seal(*arguments)
        sealed.set()
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(world.store, "seal", sealing)
        going.start()
        assert sealed.wait(10)
    ways = {
        "the same question": lambda: world.prepared(wide).release,
        "a question that it answers too": lambda: world.prepared(fewer).release,
        "a replay": lambda: isinstance(world.door.run(run), Released),
    }
    found = {way for way, look in ways.items() if look()}
    assert going.is_alive(), "it was looked at too late"
    going.join()
    assert isinstance(outcome[0], Released)
    assert {way for way, look in ways.items() if look()} == set(ways)  # afterwards all of them tell
    assert eventually(lambda: place_free(world, f"after {name}"))
    return found


def test_a_kept_release_shows_to_nobody_before_its_deadline(world: DomainWorld) -> None:
    assert told_early(world, "held") == set()


def test_a_release_that_shows_when_it_is_kept_would_be_noticed(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defence planted broken."""
    monkeypatch.setattr(world.store, "held", lambda _: contextlib.nullcontext())
    assert told_early(world, "shown") == {"the same question", "a question that it answers too", "a replay"}


def test_a_job_that_gets_its_worker_after_it_was_given_up_does_not_run(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = question(world, "no worker")
    at, take, go_on = prepared(world, asked), world.pool.take, threading.Event()
    ran: list[object] = []

    def slow(*arguments: Any) -> object:
        go_on.wait(10)
        return take(*arguments)

    monkeypatch.setattr(world.pool, "take", slow)
    monkeypatch.setattr(noisy, "make", lambda *arguments: ran.append(arguments))
    reply, took = timed(world, asked, at)
    go_on.set()
    assert reply == Failed()
    assert took >= DEADLINE_S
    assert eventually(lambda: place_free(world, "after no worker"))
    assert not ran


def test_what_is_answered_before_its_deadline_would_be_noticed(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defence planted broken: an answer that leaves when it is ready."""
    monkeypatch.setattr(Due, "answer", lambda self, began, deadline_ms: self.work())
    asked = question(world, "planted")
    _, took = timed(world, asked, prepared(world, asked))
    assert took < DEADLINE_S
    for worker in list(world.pool._places._workers):
        worker.close()


def test_where_the_custodian_wants_no_deadlines_it_is_said(tmp_path: Path) -> None:
    with domain_world(tmp_path) as world:
        asked = question(world, "off")
        at = world.prepared(asked)
        assert at.deadline_ms is None
        assert at.degraded == ("answer_deadlines",)
        assert world.door.status().degraded == ("answer_deadlines",)
        assert world.door.isolated
        assert world.door.status().datasets[0].deadlines_ms == ()


def test_with_deadlines_nothing_is_done_without(world: DomainWorld) -> None:
    assert world.prepared(question(world, "on")).degraded == ()
    assert world.door.status().degraded == ()
    assert world.door.status().datasets[0].deadlines_ms == (1000,)


def test_a_late_answer_whose_failure_cannot_be_written_leaves_at_the_deadline_too(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: str) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    asked = question(world, "disk full")
    at, go_on = prepared(world, asked), threading.Event()
    slowed(monkeypatch, go_on.wait)
    monkeypatch.setattr(world.store, "lose", full)
    reply, took = timed(world, asked, at)
    go_on.set()
    assert reply == Failed()
    assert took >= DEADLINE_S
