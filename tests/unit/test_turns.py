"""Turns: how many may wait and for how long, who gives way, and that no place is ever lost."""

from __future__ import annotations

import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Lock, Thread
from typing import Final

import pytest

from gateway.errors import Refusal
from gateway.turns import Gone, Turn, TurnLimits, Turns, Wish
from policies.model import Mode
from tests.waiting import eventually

LIMITS: Final = TurnLimits(
    running_max=2, open_max=1, waiting_max=6, waiting_per_operator_max=3, wait_s_max=20, about_s=3
)
STRESS: Final = 3000 if os.environ.get("BPK_LONG") else 600


def wish(operator: str, dataset: str = "clinic", mode: Mode = "dp", together_max: int = 64) -> Wish:
    return Wish(operator, dataset, mode, together_max)


def full(turns: Turns, operator: str = "flood") -> list[Turn]:
    """Every place taken."""
    return [turns.enter(wish(operator)) for _ in range(turns.places)]


def refused(turns: Turns, asked: Wish) -> Refusal:
    with pytest.raises(Refusal) as found:
        turns.enter(asked)
    return found.value


def test_a_question_begins_at_once_where_a_place_is_free() -> None:
    turns = Turns(LIMITS)
    assert [turn.begun for turn in full(turns)] == [True, True]
    assert not turns.enter(wish("op-a")).begun


def test_there_are_no_more_places_than_the_data_domain_has_nor_than_the_settings_say() -> None:
    told: list[int | None] = [None]
    turns = Turns(replace(LIMITS, running_max=3), lambda: told[0])
    assert turns.places == 3
    for number, places in ((2, 2), (9, 3), (0, 1)):
        told[0] = number
        assert turns.places == places


def test_one_operator_waits_with_its_second_question_on_a_dataset_and_not_on_another() -> None:
    turns = Turns(replace(LIMITS, running_max=9))
    first = turns.enter(wish("op-a", together_max=1))
    second = turns.enter(wish("op-a", together_max=1))
    assert not second.begun
    assert turns.enter(wish("op-a", "income", together_max=1)).begun
    assert turns.enter(wish("op-b", together_max=1)).begun
    assert turns.enter(wish("op-a", mode="open", together_max=1)).begun
    first.leave()
    assert second.begun


def test_a_policy_may_let_several_run_at_once() -> None:
    turns = Turns(replace(LIMITS, running_max=9))
    assert [turns.enter(wish("op-a", together_max=2)).begun for _ in range(3)] == [True, True, False]


def test_no_more_questions_of_one_operator_wait_than_may() -> None:
    turns = Turns(LIMITS)
    full(turns)
    for _ in range(LIMITS.waiting_per_operator_max):
        turns.enter(wish("flood"))
    refusal = refused(turns, wish("flood"))
    assert (refusal.code, refusal.status) == ("busy", 503)
    assert not turns.enter(wish("op-a")).begun  # somebody else still may


def test_a_full_queue_gives_way_to_whoever_has_fewer_in_it() -> None:
    turns = Turns(LIMITS)
    full(turns)
    waiting = [turns.enter(wish(name)) for name in ("one", "two") for _ in range(3)]
    newcomer = turns.enter(wish("op-a"))
    assert [turn.state for turn in waiting] == ["waiting", "waiting", "put off", "waiting", "waiting", "waiting"]
    with pytest.raises(Refusal, match="had fewer") as put_off:
        waiting[2].wait(Gone())
    assert put_off.value.code == "busy"
    turns.enter(wish("op-b"))
    assert [turn.state for turn in waiting].count("put off") == 1
    assert waiting[-1].state == "put off"
    assert newcomer.state == "waiting"
    assert refused(turns, wish("op-b")).message.startswith("as many questions as may wait")  # it would have as many


def test_open_questions_take_half_of_the_places_to_wait_and_no_more() -> None:
    turns = Turns(LIMITS)
    full(turns)
    for name in ("one", "two", "three"):
        turns.enter(wish(name, mode="open"))
    assert "open questions" in refused(turns, wish("four", mode="open")).message
    turns.enter(wish("four"))


def test_open_questions_leave_places_to_others_and_to_each_other() -> None:
    turns = Turns(replace(LIMITS, running_max=4, open_max=3))
    mine = [turns.enter(wish("op-a", mode="open")) for _ in range(3)]
    assert [turn.begun for turn in mine] == [True, True, False]
    assert turns.enter(wish("op-b", mode="open")).begun
    paid = turns.enter(wish("op-a"))
    assert paid.begun
    mine[0].leave()
    assert mine[2].begun


def test_open_questions_leave_a_place_to_others_also_where_the_data_domain_has_few() -> None:
    turns = Turns(replace(LIMITS, running_max=16, open_max=8), lambda: 2)
    assert [turns.enter(wish(name, mode="open")).begun for name in ("op-a", "op-b")] == [True, False]
    assert turns.enter(wish("op-c")).begun


def test_with_one_place_for_open_questions_each_has_its_turn() -> None:
    turns = Turns(replace(LIMITS, running_max=4))
    first = turns.enter(wish("op-a", mode="open"))
    second = turns.enter(wish("op-b", mode="open"))
    assert not second.begun
    first.leave()
    assert second.begun


def test_whoever_waits_too_long_is_told_to_come_back() -> None:
    turns = Turns(replace(LIMITS, wait_s_max=0.01))
    full(turns)
    late = turns.enter(wish("op-a"))
    with pytest.raises(Refusal, match=r"within 0\.01 s") as busy:
        late.wait(Gone())
    assert (busy.value.code, late.state) == ("busy", "over")
    assert turns.counts()[0] == Counter()


def test_whoever_hangs_up_leaves_the_queue() -> None:
    turns = Turns(LIMITS)
    first, _ = full(turns)
    left, next_one, gone = turns.enter(wish("op-a")), turns.enter(wish("op-b")), Gone()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(left.wait, gone)
        gone.hang_up()
        refusal = waiting.exception(20)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "caller_gone"
    first.leave()
    assert next_one.begun


def test_whoever_hung_up_before_gives_a_turn_back_that_has_begun() -> None:
    turns = Turns(LIMITS)
    gone = Gone()
    gone.hang_up()
    turn = turns.enter(wish("op-a"))
    with pytest.raises(Refusal, match="hung up"):
        turn.wait(gone)
    assert turns.counts() == (Counter(), Counter())


def test_when_to_come_back_hangs_on_the_queue_and_on_settings() -> None:
    turns = Turns(LIMITS)
    full(turns)
    for _ in range(LIMITS.waiting_per_operator_max):
        turns.enter(wish("flood"))
    assert refused(turns, wish("flood")).retry_after_s == LIMITS.about_s * 4  # it has four, one after the other
    for _ in range(3):
        turns.enter(wish("op-a"))
    turns.enter(wish("op-b"))  # which puts one off
    turns.enter(wish("op-b"))
    assert refused(turns, wish("op-b")).retry_after_s == LIMITS.about_s * 4  # seven for two places


def test_nobody_is_sent_away_for_longer_than_a_minute() -> None:
    turns = Turns(replace(LIMITS, waiting_max=0, about_s=60))
    full(turns)
    assert refused(turns, wish("op-a")).retry_after_s == 60


def test_a_gateway_that_stops_lets_nobody_wait() -> None:
    turns = Turns(LIMITS)
    running, waiting = full(turns), turns.enter(wish("op-a"))
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(waiting.wait, Gone())
        turns.close()
        refusal = told.exception(20)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "not_ready"
    assert refused(turns, wish("op-b")).code == "not_ready"
    running[0].leave()
    assert turns.counts() == (Counter(), Counter({"dp": 1}))


class Leaky(Turns):
    """Planted: a turn that was given up while it waited is not taken out of the count of those that run."""

    def require(self, turn: Turn, gone: Gone) -> None:
        try:
            super().require(turn, gone)
        except Refusal:
            with self._lock:
                self._running.add(turn)
            raise


def stress(kind: type[Turns], seed: int) -> None:
    """Callers who come, wait, hang up, fail and end, from many threads; afterwards every place is free."""
    turns = kind(replace(LIMITS, running_max=3, wait_s_max=0.02, waiting_max=5))
    at_once, most, begun, counting = Counter[str](), 0, 0, Lock()

    def call(number: int) -> None:
        nonlocal most, begun
        dice = random.Random(seed * 1000 + number)
        operator, gone = f"op-{number % 4}", Gone()
        leaving = Thread(target=gone.hang_up) if dice.random() < 0.3 else None
        try:
            turn = turns.enter(wish(operator, together_max=2))
        except Refusal:
            Event().wait(0.002)
            return
        try:
            if leaving is not None:
                leaving.start()
            turn.wait(gone)
            with counting:
                at_once[operator] += 1
                begun += 1
                most = max(most, at_once.total())
                assert at_once[operator] <= 2
            Event().wait(dice.uniform(0, 0.002))
            with counting:
                at_once[operator] -= 1
            if dice.random() < 0.3:
                raise RuntimeError("a fault of ours")
        except (Refusal, RuntimeError):
            pass
        finally:
            turn.leave()
            if leaving is not None and leaving.ident is not None:
                leaving.join()

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(call, range(STRESS)))
    assert most <= 3
    assert begun > STRESS / 10
    assert turns.counts() == (Counter(), Counter())
    assert all(turns.enter(wish(f"op-{number}")).begun for number in range(3))


@pytest.mark.parametrize("seed", range(3))
def test_no_place_is_lost_whatever_callers_do(seed: int) -> None:
    stress(Turns, seed)


def test_a_place_that_is_lost_is_noticed() -> None:
    with pytest.raises(AssertionError):
        stress(Leaky, 0)


def test_a_turn_is_given_back_once_however_often_that_is_said() -> None:
    turns = Turns(LIMITS)
    first, second = full(turns)
    waiting = [turns.enter(wish("op-a")) for _ in range(2)]
    for _ in range(3):
        first.leave()
    assert [turn.begun for turn in waiting] == [True, False]
    second.leave()
    assert eventually(lambda: waiting[1].begun)
