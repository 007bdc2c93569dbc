"""Who serves from this store: each gateway holds a seat for as long as its beat goes on.

No clock is held against another one's: whoever watches measures by its own how long a beat has stood still. A gateway
that was silent for `LEASE_S` loses its seat, and what it ran has failed, in one transaction. Whatever it still writes
of these queries finds them ended, and it charges nothing until it has taken another seat.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from gateway.errors import Fault, NotReady
from gateway.store import Reading, Transaction

BEAT_S: Final = 2.0
LEASE_S: Final = 10.0
NOBODY: Final = "none"
"""The seat of whatever nobody runs."""


class Watch:
    """How long others have been silent, as one gateway sees it.

    While it does not look itself, as when the database stands still for all, others are not to blame: between two looks
    no more than two beats count.
    """

    def __init__(self, lease_s: float = LEASE_S) -> None:
        self._lease_s = lease_s
        self._looked: float | None = None
        self._quiet: dict[str, tuple[int, float]] = {}
        """Seat -> its beat, and for how many seconds it was that."""

    def silent(self, beats: Mapping[str, int], now: float) -> tuple[str, ...]:
        """The seats of `beats` that have been silent for a lease; `now` in seconds of a clock that never runs back."""
        step = 0.0 if self._looked is None else min(now - self._looked, 2 * BEAT_S)
        before, self._looked, self._quiet = self._quiet, now, {}
        for seat, beat in beats.items():
            known, quiet = before.get(seat, (None, 0.0))
            self._quiet[seat] = (beat, quiet + step if known == beat else 0.0)
        return tuple(seat for seat, (_, quiet) in self._quiet.items() if quiet >= self._lease_s)


def take(tx: Transaction) -> str:
    """A new seat."""
    seat = f"gw_{secrets.token_hex(8)}"
    tx.write("INSERT INTO seat (id, beat, lost) VALUES (?, 0, 0)", (seat,))
    return seat


def beat(tx: Transaction, seat: str) -> bool:
    """Goes on holding `seat`; whether it is still held."""
    return tx.write("UPDATE seat SET beat = beat + 1 WHERE id = ? AND lost = 0", (seat,)) == 1


def beats(view: Reading, but: str | None) -> dict[str, int]:
    """The other seats that are held."""
    rows = view.all("SELECT id, beat FROM seat WHERE lost = 0 AND id <> ? ORDER BY id", (but or "",))
    return {str(seat): int(number) for seat, number in rows}


def orphaned(view: Reading) -> tuple[str, ...]:
    """Seats that were lost and have queries that run all the same: of records that were put back, for one."""
    rows = view.all(
        "SELECT DISTINCT q.seat FROM query q JOIN seat s ON s.id = q.seat WHERE q.state = 'running' AND s.lost = 1"
        " ORDER BY q.seat"
    )
    return tuple(str(row[0]) for row in rows)


def lose(tx: Transaction, seat: str) -> None:
    tx.write("UPDATE seat SET lost = 1 WHERE id = ? AND lost = 0", (seat,))


def require(view: Reading, seat: str | None) -> str:
    """`seat`, if it is held. Raises NotReady where it was lost, and Fault for a process that never took one."""
    if seat is None:
        raise Fault("a charge by a process that does not serve")
    if view.one("SELECT 1 FROM seat WHERE id = ? AND lost = 0", (seat,)) is None:
        raise NotReady("this gateway was silent for too long, and others took over what it ran")
    return seat
