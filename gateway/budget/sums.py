"""What was charged, answered for nothing and refused, added up by day; kept, since rows that have ended never change.

Only what is new is read, a page at a time, so that nobody who asks for a history holds up those who charge.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from threading import Lock
from typing import Final

from gateway.budget.loss import Loss
from gateway.store import Reading, Store

PAGE: Final = 5000
_DAY_MS: Final = 86_400_000
_Asked = tuple[str, str, date]
"""Dataset, operator, day."""


@dataclass(frozen=True, slots=True)
class Charged:
    """What a scope was charged on a day."""

    spent: Loss = field(default_factory=Loss)
    charges: int = 0
    answers: int = 0

    def __add__(self, other: Charged) -> Charged:
        return Charged(self.spent + other.spent, self.charges + other.charges, self.answers + other.answers)


@dataclass(frozen=True, slots=True)
class Added:
    """By scope and day what was charged; by dataset, operator and day what cost nothing."""

    charged: dict[tuple[str, date], Charged] = field(default_factory=dict)
    reused: dict[_Asked, int] = field(default_factory=dict)
    refused: dict[_Asked, int] = field(default_factory=dict)

    def copy(self) -> Added:
        return Added(dict(self.charged), dict(self.reused), dict(self.refused))

    def add_queries(self, view: Reading, after: int, until: int, *, ended: bool = False) -> None:
        """Those of the places after+1..until, or of these only the ones that have `ended`."""
        which = "q.state <> 'running'" if ended else "1 = 1"
        for scope, day, rho, epsilon, delta, charges, answers in view.all(
            f"SELECT g.scope, q.created / {_DAY_MS}, sum(g.rho), sum(g.epsilon), sum(g.delta), count(*),"  # noqa: S608  # our own text
            " sum(CASE WHEN q.state = 'answered' THEN 1 ELSE 0 END) FROM query q JOIN charge g ON g.query = q.id"
            f" WHERE q.place > ? AND q.place <= ? AND {which} GROUP BY g.scope, q.created / {_DAY_MS}",
            (after, until),
        ):
            key = (scope, _date(day))
            more = Charged(Loss(int(rho), int(epsilon), int(delta)), int(charges), int(answers))
            self.charged[key] = self.charged.get(key, Charged()) + more
        for dataset, operator, day, count in view.all(
            f"SELECT dataset, operator, created / {_DAY_MS}, count(*) FROM query"  # noqa: S608  # our own text
            " WHERE place > ? AND place <= ? AND reused = 1 AND mode = 'dp'"
            f" GROUP BY dataset, operator, created / {_DAY_MS}",
            (after, until),
        ):
            _count(self.reused, (dataset, operator, _date(day)), count)

    def add_refusals(self, view: Reading, after: int, until: int) -> None:
        """Those of the records after+1..until whose dataset was known."""
        for dataset, operator, day, count in view.all(
            "SELECT dataset, actor, substr(time, 1, 10), count(*) FROM record WHERE seq > ? AND seq <= ?"
            " AND decision = 'refused' AND dataset IS NOT NULL GROUP BY dataset, actor, substr(time, 1, 10)",
            (after, until),
        ):
            _count(self.refused, (dataset, operator, date.fromisoformat(day)), count)


class Sums:
    """Of one store, for as long as the process runs. Thread-safe."""

    def __init__(self, store: Store, page: int = PAGE) -> None:
        self._store = store
        self._page = page
        self._lock = Lock()
        self._ended = Added()
        """Of the queries up to `_place` but for those in `_open`, and of the records up to `_seq`."""
        self._place = 0
        self._open: frozenset[int] = frozenset()
        """Places up to `_place` of queries that ran still: a frozen dataset's may do so for ever."""
        self._seq = -1

    @contextmanager
    def reading(self) -> Iterator[tuple[Reading, Added]]:
        """A view, and everything added up as of it. Not to be nested."""
        with self._lock:
            while self._behind():
                pass
            with self._store.reading() as view:
                found = self._ended.copy()
                for place in self._open:
                    found.add_queries(view, place - 1, place)
                found.add_queries(view, self._place, _top(view, "SELECT max(place) FROM query", 0))
                found.add_refusals(view, self._seq, _top(view, "SELECT max(seq) FROM record", -1))
                yield view, found

    def _behind(self) -> bool:
        """Takes a page of what is new in; whether there is more."""
        with self._store.reading() as view:
            asked = _top(view, "SELECT max(place) FROM query", 0)
            written = _top(view, "SELECT max(seq) FROM record", -1)
            place, seq = min(asked, self._place + self._page), min(written, self._seq + self._page)
            running = frozenset(int(row[0]) for row in view.all("SELECT place FROM query WHERE state = 'running'"))
            more = self._ended.copy()
            for late in self._open - running:
                more.add_queries(view, late - 1, late)
            more.add_queries(view, self._place, place, ended=True)
            more.add_refusals(view, self._seq, seq)
            still = frozenset(each for each in running if each <= place)
            # all of a page, or none where reading it broke
            self._ended, self._place, self._open, self._seq = more, place, still, seq
        return place < asked or seq < written


def _top(view: Reading, sql: str, default: int) -> int:
    row = view.one(sql)
    return default if row is None or row[0] is None else int(row[0])


def _count(counts: dict[_Asked, int], key: _Asked, more: int) -> None:
    counts[key] = counts.get(key, 0) + int(more)


def _date(day: int) -> date:
    return datetime.fromtimestamp(int(day) * 86_400, UTC).date()
