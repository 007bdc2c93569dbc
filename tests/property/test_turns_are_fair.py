"""Turns over random days of questions, by a clock of our own: whoever asks little is not behind those who ask much."""

from __future__ import annotations

import heapq
import os
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from gateway.turns import Turn, TurnLimits, Turns, Wish
from policies.model import Mode

SEEDS = range(3000 if os.environ.get("BPK_LONG") else 45)
HELD_S = 10.0
"""The longest that a place is held."""


class Fifo(Turns):
    """Planted: questions in the order in which they came."""

    def _rank(self, turn: Turn) -> tuple[int, int, int]:
        return 0, 0, turn.arrived


class ByRounds(Turns):
    """Planted: round after round, whoever holds how many places already."""

    def _rank(self, turn: Turn) -> tuple[int, int, int]:
        return 0, *super()._rank(turn)[1:]


class Forgetful(Turns):
    """Planted: who comes back at once counts as somebody who has never been served."""

    def _serve(self, operator: str) -> None:
        super()._serve(operator)
        if len(self._queues[operator]) == 1:
            del self._served[operator]


@dataclass
class Asked:
    wish: Wish
    came: float
    held_s: float
    turn: Turn | None = None
    began: float | None = None


class Day:
    """What happens: questions come, begin, end."""

    def __init__(self, turns: Turns, asked: Iterable[Asked]) -> None:
        self.turns = turns
        self.asked = sorted(asked, key=lambda each: each.came)
        self.now = 0.0
        self._ends: list[tuple[float, int, Asked]] = []
        self._running: list[Asked] = []
        self._waiting: list[Asked] = []
        self.passed: dict[str, Counter[str]] = {}
        """Of an operator who waits and has nothing that runs: how many questions of each other one began meanwhile."""
        self.passed_most = 0

    def run(self) -> None:
        coming = list(self.asked)
        while coming or self._ends:
            if coming and (not self._ends or coming[0].came <= self._ends[0][0]):
                each = coming.pop(0)
                self.now = each.came
                each.turn = self.turns.enter(each.wish)
                self._waiting.append(each)
            else:
                self.now, _, each = heapq.heappop(self._ends)
                self._running.remove(each)
                assert each.turn is not None
                each.turn.leave()
            self._look()
        assert not self._waiting
        assert self.turns.counts() == (Counter(), Counter())

    def _look(self) -> None:
        begun = [each for each in self._waiting if each.turn is not None and each.turn.begun]
        assert len(begun) <= 1 or self.turns.places > 1
        for each in begun:
            self._waiting.remove(each)
            each.began = self.now
            self._running.append(each)
            heapq.heappush(self._ends, (self.now + each.held_s, id(each), each))
        idle = {each.wish.operator for each in self._waiting} - {each.wish.operator for each in self._running}
        self.passed = {name: self.passed.get(name, Counter()) for name in idle}
        for name in idle:
            self.passed[name].update(each.wish.operator for each in begun)
            self.passed_most = max([self.passed_most, *self.passed[name].values()])
        self._within_limits()

    def _within_limits(self) -> None:
        assert len(self._running) <= self.turns.places
        for each in self._running:
            beside = [o.wish for o in self._running if (o.wish.operator, o.wish.dataset) == _whose(each)]
            assert sum(wish.mode != "open" for wish in beside) <= each.wish.together_max
        open_ones = [each.wish.operator for each in self._running if each.wish.mode == "open"]
        assert len(open_ones) <= max(1, min(self.turns.limits.open_max, self.turns.places - 1))
        if len(self._running) < self.turns.places:  # no place lies idle while somebody could use it
            assert not any(self.turns._may_begin(each.turn) for each in self._waiting if each.turn is not None)


def _whose(asked: Asked) -> tuple[str, str]:
    return asked.wish.operator, asked.wish.dataset


def limits(places: int) -> TurnLimits:
    return TurnLimits(places, 2, 1024, 1024, 30, 2)


def question(dice: random.Random, operator: str, came: float, modes: tuple[Mode, ...] = ("dp",)) -> Asked:
    dataset, together_max = dice.choice((("clinic", 1), ("income", 2), ("tpch", 4)))
    return Asked(Wish(operator, dataset, dice.choice(modes), together_max), came, dice.uniform(0.1, HELD_S))


def a_day(dice: random.Random) -> list[Asked]:
    """Some who ask without end, some who ask now and then, in all modes."""
    modes: tuple[Mode, ...] = ("dp", "dp", "aggregate", "open")
    found = []
    for number in range(dice.randint(1, 4)):
        begin = dice.uniform(0, 20)
        found += [question(dice, f"flood{number}", begin + 0.01 * i, modes) for i in range(dice.randint(5, 40))]
    for number in range(dice.randint(1, 4)):
        found += [question(dice, f"single{number}", dice.uniform(0, 60), modes) for _ in range(dice.randint(1, 4))]
    return found


def waits_for_one_place(kind: type[Turns], seed: int) -> None:
    """One operator floods every place; another asks one question now and then."""
    dice = random.Random(seed)
    turns = kind(limits(places := dice.randint(1, 5)))
    flood = [Asked(Wish("flood", "clinic", "dp", 64), 0.01 * i, dice.uniform(0.1, HELD_S)) for i in range(60)]
    singles = [Asked(Wish("single", "clinic", "dp", 1), 11.0 * i, dice.uniform(0.1, HELD_S)) for i in range(1, 8)]
    Day(turns, flood + singles).run()
    for each in singles:
        assert each.began is not None
        ends = [o.began + o.held_s for o in flood if o.began is not None and o.began < each.came]
        ends += [o.began + o.held_s for o in singles if o is not each and o.began is not None and o.began < each.came]
        running = sorted(end for end in ends if end > each.came)
        assert each.began <= (running[0] if len(running) >= places else each.came) or _own_runs(each, singles), each


def _own_runs(each: Asked, own: list[Asked]) -> bool:
    """Whether an earlier question of its own was on its way when this one came."""
    return any(
        other is not each and other.came < each.came and (other.began or 0) + other.held_s > each.came for other in own
    )


def each_other_goes_before_once(kind: type[Turns], seed: int) -> None:
    """Many, who ask of several datasets: nobody is served twice before one who waits and has nothing that runs."""
    dice = random.Random(seed)
    turns = kind(limits(dice.randint(1, 6)))
    asked = [
        Asked(Wish(f"op{dice.randrange(6)}", f"data{i}", "dp", 1), dice.uniform(0, 60), dice.uniform(0.1, HELD_S))
        for i in range(120)
    ]
    day = Day(turns, asked)
    day.run()
    assert day.passed_most <= 1


def short_ones_keep_their_share(kind: type[Turns]) -> None:
    """Four places, all taken by long questions of one operator, who asks more of them; another asks many short ones."""
    long_ones = [Asked(Wish("long", "clinic", "dp", 64), 2.5 * i, 10) for i in range(4)]
    long_ones += [Asked(Wish("long", "clinic", "dp", 64), 7.6, 10) for _ in range(60)]
    short_ones = [Asked(Wish("short", "clinic", "dp", 64), 7.7, 0.1) for _ in range(60)]
    Day(kind(limits(4)), long_ones + short_ones).run()
    assert max(each.began or 0 for each in short_ones) < 20


def on_all_days(kind: type[Turns]) -> None:
    for seed in SEEDS:
        each_other_goes_before_once(kind, seed)
        waits_for_one_place(kind, seed)
    short_ones_keep_their_share(kind)


@pytest.mark.parametrize("part", range(3))
def test_every_question_of_a_day_has_its_turn_within_the_limits(part: int) -> None:
    for seed in SEEDS[part::3]:
        dice = random.Random(seed)
        Day(Turns(limits(dice.randint(1, 6))), a_day(dice)).run()


def test_a_flood_delays_another_operator_by_one_place_and_nobody_is_served_twice_before_one_who_waits() -> None:
    on_all_days(Turns)


def test_a_queue_in_the_order_of_arrival_is_noticed() -> None:
    with pytest.raises(AssertionError):
        waits_for_one_place(Fifo, 0)
    with pytest.raises(AssertionError):
        each_other_goes_before_once(Fifo, 0)


@pytest.mark.parametrize("planted", [ByRounds, Forgetful])
def test_a_rule_that_is_left_out_is_noticed(planted: type[Turns]) -> None:
    with pytest.raises(AssertionError):
        on_all_days(planted)


def test_two_who_come_back_at_once_do_not_keep_out_a_third() -> None:
    """Each leaves nothing waiting behind when it is served, and comes again before the next place is free."""
    turns = Turns(limits(1))
    third = [turns.enter(Wish("third", "clinic", "dp", 64)) for _ in range(3)]
    ring = [turns.enter(Wish(name, "clinic", "dp", 1)) for name in ("one", "two")]
    running, order = third[0], []
    for _ in range(8):
        running.leave()
        running = next(turn for turn in (*third, *ring) if turn.begun)
        order.append(running.wish.operator)
        if running.wish.operator != "third":
            ring.append(turns.enter(running.wish))
    assert order.count("third") >= 2, order
