"""Who runs next: places are given out by operator, not by question.

A question takes its turn before the data domain holds anything for it, and keeps it until its outcome is on record.
When a place is free, it goes to the operator who has the fewest questions on their way, of those to the one who was
served the longest ago. So whoever asks once waits for one place, however many questions of one other operator wait.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Event, Lock
from typing import Final, Literal, get_args

from gateway.errors import Refusal
from gateway.settings import Limits
from policies.model import Mode

RETRY_S_MAX: Final = 60
SERVED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Numbers of questions; times in seconds. `about_s` is for `Retry-After` alone: how long a place is held."""

    running_max: int
    open_max: int
    waiting_max: int
    waiting_per_operator_max: int
    wait_s_max: float
    about_s: float

    @classmethod
    def of(cls, limits: Limits) -> TurnLimits:
        return cls(
            running_max=limits.running_max,
            open_max=limits.open_running_max,
            waiting_max=limits.waiting_max,
            waiting_per_operator_max=limits.waiting_per_operator_max,
            wait_s_max=limits.turn_wait_s_max,
            about_s=limits.turn_about_s,
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose turn it is to be, for what. `together_max`: as many questions of this operator on this dataset at once."""

    operator: str
    dataset: str
    mode: Mode
    together_max: int


class Gone:
    """Whether the caller has hung up. Thread-safe."""

    def __init__(self) -> None:
        self.hung_up = False
        self._wake: Callable[[], None] = lambda: None

    def hang_up(self) -> None:
        self.hung_up = True
        self._wake()

    def wakes(self, waiter: Callable[[], None]) -> None:
        """`waiter` is called when the caller hangs up, or at once where that has happened."""
        self._wake = waiter
        if self.hung_up:
            waiter()


class Turn:
    """A question's place among those that wait, then among those that run. Given back by `leave`, once or again."""

    def __init__(self, turns: Turns, wish: Wish, arrived: int) -> None:
        self.wish = wish
        self.arrived = arrived
        self.state: Literal["waiting", "begun", "put off", "over"] = "waiting"
        self.woken = Event()
        self._turns = turns

    @property
    def begun(self) -> bool:
        return self.state == "begun"

    def wait(self, gone: Gone) -> None:
        """Until it begins. Raises Refusal(busy, caller_gone, not_ready); then it is over."""
        gone.wakes(self.woken.set)
        self.woken.wait(self._turns.limits.wait_s_max)
        self._turns.require(self, gone)

    def leave(self) -> None:
        self._turns.leave(self)


class Turns:
    """Thread-safe. `places` tells how many questions the data domain works on at once, None where it is not known."""

    def __init__(self, limits: TurnLimits, places: Callable[[], int | None] = lambda: None) -> None:
        self.limits = limits
        self._places = places
        self._lock = Lock()
        self._queues: dict[str, deque[Turn]] = {}
        self._running: set[Turn] = set()
        self._arrivals = 0
        self._begun = 0
        self._served: dict[str, int] = {}
        """operator -> which of all turns was the last that it began, in this order."""
        self._closing = False

    @property
    def places(self) -> int:
        told = self._places()
        return self.limits.running_max if told is None else max(1, min(told, self.limits.running_max))

    def enter(self, wish: Wish) -> Turn:
        """A turn that has begun, or one that waits. Raises Refusal(busy, not_ready)."""
        with self._lock:
            if self._closing:
                raise _closing()
            turn = Turn(self, wish, self._arrivals)
            self._arrivals += 1
            self._queues.setdefault(wish.operator, deque()).append(turn)
            try:
                self._begin()
                if not turn.begun:
                    self._require_room(turn)
            except Refusal:
                self._leave(turn)
                raise
            return turn

    def require(self, turn: Turn, gone: Gone) -> None:
        """Raises Refusal, and ends the turn, where it has not begun or nobody wants it any more."""
        with self._lock:
            if turn.begun and not gone.hung_up:
                return
            put_off = turn.state == "put off"
            self._leave(turn)
            if gone.hung_up:
                raise Refusal("caller_gone", "the caller hung up before it was this question's turn")
            if self._closing:
                raise _closing()
            if put_off:
                raise self._busy("questions of others, who had fewer, were let in before")
            raise self._busy(f"it was not this question's turn within {self.limits.wait_s_max:g} s")

    def leave(self, turn: Turn) -> None:
        with self._lock:
            self._leave(turn)

    def close(self) -> None:
        """Gives out no more turns; whoever waits is told so."""
        with self._lock:
            self._closing = True
            for turn in self._waiting():
                turn.woken.set()

    def gauges(self) -> dict[str, float]:
        waiting, running = self.counts()
        return {
            f'bpk_questions_{name}{{mode="{mode}"}}': float(counted[mode])
            for name, counted in (("waiting", waiting), ("running", running))
            for mode in get_args(Mode)
        }

    def counts(self) -> tuple[Counter[Mode], Counter[Mode]]:
        """Of each mode, how many wait, and how many run."""
        with self._lock:
            return Counter(turn.wish.mode for turn in self._waiting()), Counter(t.wish.mode for t in self._running)

    # With the lock held.

    def _leave(self, turn: Turn) -> None:
        if turn.state == "over":
            return
        turn.state = "over"
        self._running.discard(turn)
        self._unqueue(turn)
        self._begin()

    def _unqueue(self, turn: Turn) -> None:
        queue = self._queues.get(turn.wish.operator)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[turn.wish.operator]

    def _begin(self) -> None:
        """Gives out every place that is free."""
        places = self.places
        while len(self._running) < places and not self._closing:
            of_each = [next((turn for turn in queue if self._may_begin(turn)), None) for queue in self._queues.values()]
            able = [turn for turn in of_each if turn is not None]
            if not able:
                return
            first = min(able, key=self._rank)
            self._serve(first.wish.operator)
            self._unqueue(first)
            self._running.add(first)
            first.state = "begun"
            first.woken.set()

    def _rank(self, turn: Turn) -> tuple[int, int, int]:
        operator = turn.wish.operator
        on_their_way = sum(other.wish.operator == operator for other in self._running)
        return on_their_way, self._served.get(operator, 0), turn.arrived

    def _serve(self, operator: str) -> None:
        self._begun += 1
        self._served.pop(operator, None)
        self._served[operator] = self._begun
        if len(self._served) > SERVED_MAX:
            del self._served[next(iter(self._served))]

    def _may_begin(self, turn: Turn) -> bool:
        wish = turn.wish
        if wish.mode == "open":
            return self._open_room(wish.operator)
        mine = [other.wish for other in self._running if other.wish.operator == wish.operator]
        return sum(other.dataset == wish.dataset and other.mode != "open" for other in mine) < wish.together_max

    def _open_room(self, operator: str) -> bool:
        """Open questions cost nothing, so they leave a place to those that do, and an operator leaves one to others."""
        open_max = max(1, min(self.limits.open_max, self.places - 1))
        asking = [turn.wish.operator for turn in self._running if turn.wish.mode == "open"]
        return len(asking) < open_max and asking.count(operator) < max(1, open_max - 1)

    def _require_room(self, turn: Turn) -> None:
        """Whether one more may wait: where all places to wait are taken, whoever has most of them gives one up."""
        limits, wish = self.limits, turn.wish
        if len(self._queues[wish.operator]) > limits.waiting_per_operator_max:
            raise self._busy("as many of your questions as may wait for their turn already", wish.operator)
        waiting = list(self._waiting())
        if wish.mode == "open" and sum(each.wish.mode == "open" for each in waiting) > (limits.waiting_max + 1) // 2:
            raise self._busy("as many open questions as may wait for their turn already")
        if len(waiting) > limits.waiting_max:
            longest = max(self._queues.values(), key=len)
            if len(longest) <= len(self._queues[wish.operator]):
                raise self._busy("as many questions as may wait for their turn already")
            last = longest[-1]
            self._unqueue(last)
            last.state = "put off"
            last.woken.set()

    def _busy(self, why: str, operator: str | None = None) -> Refusal:
        """`Retry-After` is reckoned from how many wait and from settings: never from how long anybody's data took."""
        places = self.places if operator is None else 1
        waiting = sum(operator in (None, turn.wish.operator) for turn in self._waiting())
        seconds = min(RETRY_S_MAX, max(1, round(self.limits.about_s * -(-waiting // places))))
        hint = f"nothing was charged; ask again in {seconds} s"
        return Refusal("busy", why, hint=hint, retry_after_s=seconds)

    def _waiting(self) -> Iterable[Turn]:
        return (turn for queue in self._queues.values() for turn in queue)


def _closing() -> Refusal:
    return Refusal("not_ready", "the gateway is about to stop", hint="nothing was charged; ask again in a moment")
