"""A second memory of what was spent: a small file that a restored backup of the store does not take back with it.

It holds, of every dataset, the privacy loss that was spent and the number of exact answers that were given, as the
store had them after its last step. It is durable before anything that it counts is released, so nothing that ever
left is missing in it. A store that says less than its tally is an older copy.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.synced import sync

MARK: Final = "tallied"
"""A table that is there once the store has had a tally at its side: from then on it is missed."""
FORMATS: Final = (1, 2)
"""The second one counts blocks of datasets: a release that does not know them must not begin to count anew."""
BYTES_MAX: Final = 16 << 20


class TallyUnreadable(ValueError):
    """A file that is no tally. The text names it and says what would do."""


class TallyNewer(TallyUnreadable):
    """A tally of a newer release."""


@dataclass(frozen=True, slots=True)
class Tally:
    """(dataset, accountant) -> (loss, delta), and dataset -> exact answers."""

    spent: Mapping[tuple[str, str], tuple[int, int]]
    exact: Mapping[str, int]

    def beyond(self, store: Tally) -> tuple[str, ...]:
        """The datasets of which `store` says less than this."""
        nothing = (0, 0)
        short = {key[0] for key, amounts in self.spent.items() if _less(store.spent.get(key, nothing), amounts)}
        short |= {dataset for dataset, answers in self.exact.items() if store.exact.get(dataset, 0) < answers}
        return tuple(sorted(short))


NOTHING: Final = Tally({}, {})


def of(connection: sqlite3.Connection) -> Tally:
    """What the store says."""
    spent = {(str(row[0]), str(row[1])): (int(row[2]), int(row[3])) for row in connection.execute(_SPENT)}
    exact = {str(row[0]): int(row[1]) for row in connection.execute("SELECT dataset, answers FROM exact")}
    return Tally(spent, exact)


_SPENT: Final = "SELECT dataset, accountant, loss, delta FROM spent ORDER BY dataset, accountant"


def catch_up(connection: sqlite3.Connection, tally: Tally) -> tuple[str, ...]:
    """Raises what an older store says to what its tally does; the datasets of which it said less.

    What was spent is spent again. Exact answers that nobody remembers cannot be held against new ones, so a dataset
    that lacks some is marked as `forgotten`.
    """
    store = of(connection)
    for (dataset, accountant), (loss, delta) in tally.spent.items():
        connection.execute(
            "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT (dataset, accountant) "
            "DO UPDATE SET loss = max(loss, excluded.loss), delta = max(delta, excluded.delta)",
            (dataset, accountant, loss, delta),
        )
    for dataset, answers in tally.exact.items():
        if store.exact.get(dataset, 0) < answers:
            connection.execute("INSERT OR IGNORE INTO forgotten VALUES (?)", (dataset,))
            connection.execute(
                "INSERT INTO exact VALUES (?, ?) ON CONFLICT (dataset) DO UPDATE SET answers = excluded.answers",
                (dataset, answers),
            )
    return tally.beyond(store)


def read(path: Path) -> Tally | None:
    """The tally in `path`, None where there is no such file. Raises TallyUnreadable, OSError."""
    try:
        with path.open("rb") as file:
            body = file.read(BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    try:
        plain = json.loads(body)
        if type(plain["format"]) is int and plain["format"] > FORMATS[-1]:
            raise TallyNewer(f"{path}: written by a newer release (format {plain['format']}); install that one again")
        if len(body) > BYTES_MAX or plain["format"] not in FORMATS:
            raise ValueError("of another format")
        spent = {(_text(d), _text(a)): (_count(loss), _count(delta)) for d, a, loss, delta in plain["spent"]}
        exact = {_text(dataset): _count(answers) for dataset, answers in plain["exact"]}
    except TallyNewer:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TallyUnreadable(f"{path}: not a tally of what was spent; put back the newest copy of it") from error
    return Tally(spent, exact)


def write(path: Path, tally: Tally) -> None:
    """Durable when it returns, and never half-written. Raises OSError."""
    spent = [[*key, *amounts] for key, amounts in tally.spent.items()]
    version = FORMATS[any("#" in dataset for dataset, _ in tally.spent)]
    body = json.dumps({"format": version, "spent": spent, "exact": sorted(tally.exact.items())}, ensure_ascii=False)
    beside = path.with_name(f"{path.name}.new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(body)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)
    sync(path.parent)


def _less(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[0] or one[1] < other[1]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("not a count")
    return value
