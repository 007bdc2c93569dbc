"""A gateway that falls silent loses its seat and what it ran; when it wakes up it can do no harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.verify import verify
from gateway.budget import queries, seats
from gateway.budget.ledger import Ledger
from gateway.budget.recovery import Kept, keep_seat, recover
from gateway.budget.seats import BEAT_S, LEASE_S, Watch
from gateway.errors import Fault, NotReady
from gateway.store import Reading, Store
from tests.ledger_world import World

Open = Callable[[], Store]


class Replica:
    """A gateway of its own over the shared store, with a clock of its own."""

    def __init__(self, folder: Path, open_store: Open) -> None:
        self.world = World(folder, open_store=open_store)
        self.watch = Watch()
        self.now = 0.0

    def beat(self, times: int = 1) -> tuple[str, ...]:
        """The queries that failed with those who were silent."""
        failed: tuple[str, ...] = ()
        for _ in range(times):
            self.now += BEAT_S
            failed += keep_seat(self.world.store, self.world.ledger, self.watch, self.now).failed
        return failed

    def state(self, query_id: str) -> str:
        with self.world.store.reading() as view:
            return queries.get(view, query_id).state


@pytest.fixture
def pair(tmp_path: Path, open_store: Open) -> tuple[Replica, Replica]:
    return Replica(tmp_path / "a", open_store), Replica(tmp_path / "b", open_store)


LEASE_IN_BEATS = int(LEASE_S / BEAT_S) + 1


def test_what_a_silent_gateway_ran_has_failed_after_a_lease_and_stays_charged(pair: tuple[Replica, Replica]) -> None:
    paused, other = pair
    row = paused.world.charge()
    spent = other.world.spent(other.world.scopes()[0])
    assert other.beat(LEASE_IN_BEATS - 1) == ()
    assert other.beat(2) == (row.id,)
    assert other.state(row.id) == "failed"
    assert other.world.spent(other.world.scopes()[0]) == spent > 0
    assert [record["code"] for record in other.world.records()[-1:]] == ["query_interrupted"]


def test_a_gateway_that_wakes_up_too_late_answers_nothing_and_charges_nothing(pair: tuple[Replica, Replica]) -> None:
    paused, other = pair
    row = paused.world.charge()
    other.beat(LEASE_IN_BEATS + 2)
    with pytest.raises(Fault, match="cannot become answered"):
        paused.world.answer(row.id)
    with pytest.raises(NotReady, match=r"^this gateway was silent for too long, and others took over what it ran$"):
        paused.world.charge()
    paused.beat()
    again = paused.world.charge()
    paused.world.answer(again.id)
    assert (other.state(row.id), other.state(again.id)) == ("failed", "answered")
    report = verify(other.world.export())
    assert report.ok, report.text()


def test_a_gateway_that_goes_on_beating_keeps_its_queries(pair: tuple[Replica, Replica]) -> None:
    one, other = pair
    row = one.world.charge()
    for _ in range(4 * LEASE_IN_BEATS):
        assert (one.beat(), other.beat()) == ((), ())
    one.world.answer(row.id)


def test_nobody_answers_a_query_that_another_one_runs(pair: tuple[Replica, Replica]) -> None:
    one, other = pair
    row = one.world.charge()
    with pytest.raises(Fault, match=r"^an answer to a query that another gateway runs$"):
        other.world.answer(row.id)
    assert other.state(row.id) == "running"


def test_a_gateway_that_ends_in_order_is_waited_for_by_nobody(pair: tuple[Replica, Replica]) -> None:
    one, other = pair
    row = one.world.charge()
    with one.world.store.transaction() as tx:
        one.world.ledger.rise(tx)
    assert other.state(row.id) == "failed"
    with pytest.raises(NotReady):
        one.world.charge()


def test_whoever_never_took_a_seat_charges_nothing(pair: tuple[Replica, Replica]) -> None:
    pair[0].world.ledger = Ledger(pair[0].world.log)
    with pytest.raises(Fault, match=r"^a charge by a process that does not serve$"):
        pair[0].world.charge()


def test_a_start_leaves_alone_what_others_run_where_others_may_run(pair: tuple[Replica, Replica]) -> None:
    one, other = pair
    row = one.world.charge()
    recovered = recover(other.world.store, other.world.ledger, other.world.log)
    assert recovered.failed == ((row.id,) if recovered.alone else ())
    assert one.state(row.id) == ("failed" if recovered.alone else "running")


def test_without_a_look_at_its_seat_a_late_gateway_charges_for_what_it_can_never_answer(
    pair: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the fence is left out. What was charged is still swept away."""

    def unfenced(_: Reading, seat: str | None) -> str:
        assert seat is not None
        return seat

    paused, other = pair
    other.beat(LEASE_IN_BEATS + 2)
    monkeypatch.setattr(seats, "require", unfenced)
    row = paused.world.charge()
    assert other.state(row.id) == "running"
    assert other.beat() == (row.id,)


def test_a_beat_says_whose_seat_was_lost_and_what_failed_with_it(pair: tuple[Replica, Replica]) -> None:
    paused, other = pair
    row, lost = paused.world.charge(), paused.world.ledger.seat

    def beat(replica: Replica) -> Kept:
        replica.now += BEAT_S
        return keep_seat(replica.world.store, replica.world.ledger, replica.watch, replica.now)

    with other.world.store.transaction() as tx:
        seats.lose(tx, seats.NOBODY)
    assert [beat(other) for _ in range(LEASE_IN_BEATS - 1)] == [Kept(False, (), ())] * (LEASE_IN_BEATS - 1)  # noqa: FBT003
    assert beat(other) == Kept(False, (lost,), (row.id,))  # noqa: FBT003
    assert beat(other) == Kept(False, (), ())  # noqa: FBT003
    assert beat(paused) == Kept(True, (), ())  # noqa: FBT003
    assert beat(paused) == Kept(False, (), ())  # noqa: FBT003
    assert paused.world.ledger.seat not in (None, lost)


def test_a_seat_is_never_given_back(pair: tuple[Replica, Replica]) -> None:
    one, other = pair
    other.beat(LEASE_IN_BEATS + 2)
    with pytest.raises(Fault, match="lost for good"), one.world.store.transaction() as tx:
        tx.write("UPDATE seat SET lost = 0")


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.booleans()), max_size=60))
def test_nobody_is_silent_before_a_lease_of_looks_without_a_beat(steps: list[tuple[float, bool]]) -> None:
    """However long it takes from one look to the next, and whatever clocks do meanwhile."""
    watch, now, beat = Watch(), 0.0, 0
    quiet = 0.0
    watch.silent({"other": 0}, now)
    for wait, beats in steps:
        now += wait
        beat += beats
        quiet = 0.0 if beats else quiet + min(wait, 2 * BEAT_S)
        assert watch.silent({"other": beat}, now) == (("other",) if quiet >= LEASE_S else ())


def test_a_process_that_never_sat_has_nothing_to_rise_from(tmp_path: Path) -> None:
    world = World(tmp_path)
    row = world.charge()
    with world.store.transaction() as tx:
        Ledger(world.log).rise(tx)
    with world.store.reading() as view:
        assert queries.get(view, row.id).state == "running"
    with world.store.transaction() as tx:
        world.ledger.rise(tx)
        assert queries.get(tx, row.id).state == "failed"
        assert set(seats.beats(tx, None)) == {seats.NOBODY}
