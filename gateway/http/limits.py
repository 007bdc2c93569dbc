"""How often somebody may ask, fail to say who they are, or be refused. Whoever passes a limit is held up alone."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network
from threading import Lock
from typing import Final

from gateway.errors import Refusal

NAMES_MAX: Final = 10_000
MINUTE_S: Final = 60
REFUSALS_S: Final = 600
COUNTED: Final = frozenset({400, 403, 422})
"""Statuses of refusals that say something of the question; those of load and budget do not count."""
IPV6_PREFIX: Final = 64
"""An IPv6 address is one of very many that its holder has; the network is what counts."""


class Window:
    """So many events of one name in so many seconds, counted in whole windows. Thread-safe, bounded in memory.

    With more than NAMES_MAX names the one that was seen longest ago is forgotten.
    """

    def __init__(self, most: int, seconds: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._seconds = seconds
        self._clock = clock
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._lock = Lock()

    def add(self, name: str) -> bool:
        """Whether `name` is over its limit, with this one."""
        with self._lock:
            window = int(self._clock() // self._seconds)
            before = self._counts.pop(name, (window, 0))
            count = before[1] + 1 if before[0] == window else 1
            self._counts[name] = (window, count)
            if len(self._counts) > NAMES_MAX:
                self._counts.popitem(last=False)
            return count > self.most

    def over(self, name: str) -> bool:
        """Whether one more would be over."""
        with self._lock:
            window, count = self._counts.get(name, (-1, 0))
            return window == int(self._clock() // self._seconds) and count >= self.most

    def forget(self, name: str) -> None:
        with self._lock:
            self._counts.pop(name, None)

    @property
    def left_s(self) -> int:
        """Until the window ends, rounded up."""
        return max(1, math.ceil(self._seconds - self._clock() % self._seconds))


class Rate:
    """Requests of one caller in a minute."""

    def __init__(self, per_minute_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = Window(per_minute_max, MINUTE_S, clock)

    def count(self, subject: str) -> None:
        """Raises Refusal(`rate_limited`)."""
        if self._window.add(subject):
            raise Refusal(
                "rate_limited",
                f"more than {self._window.most} requests in a minute",
                hint="wait a minute; this spent no budget",
                retry_after_s=self._window.left_s,
            )


class Strangers:
    """Requests of one address in a minute whose token was not accepted.

    A good token is never held up: else whoever shares an address with others could keep them out.
    """

    def __init__(self, per_minute_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = Window(per_minute_max, MINUTE_S, clock)

    def over(self, address: IPv4Address | IPv6Address | None) -> bool:
        return self._window.over(_network(address))

    def count(self, address: IPv4Address | IPv6Address | None) -> None:
        """Raises Refusal(`rate_limited`) in place of the reason why the token was not accepted."""
        if self._window.add(_network(address)):
            raise Refusal(
                "rate_limited",
                f"more than {self._window.most} requests in a minute from your network without a good token",
                hint="wait a minute; requests with a good token are not held up",
                retry_after_s=self._window.left_s,
            )


class LockOut:
    """Questions of one caller that were refused, in ten minutes; too many, and for a while none is looked at.

    It is the subject of an accepted token that is locked out, so nobody can bring it about for somebody else.
    """

    def __init__(self, refusals_max: int, lock_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = Window(refusals_max, REFUSALS_S, clock)
        self._lock_s = lock_s
        self._clock = clock
        self._locked: dict[str, float] = {}
        self._lock = Lock()

    def refused(self, subject: str, status: int) -> None:
        """A question was refused, with this HTTP status."""
        if status in COUNTED and self._window.add(subject):
            self._window.forget(subject)
            now = self._clock()
            with self._lock:
                self._locked = {name: until for name, until in self._locked.items() if until > now}
                self._locked[subject] = now + self._lock_s

    def require(self, subject: str) -> None:
        """Raises Refusal(`locked_out`)."""
        with self._lock:
            left_s = self._locked.get(subject, 0.0) - self._clock()
        if left_s > 0:
            raise Refusal(
                "locked_out",
                f"more than {self._window.most} of your questions were refused within {REFUSALS_S // 60} minutes",
                hint="wait; then try with `POST /v1/queries/check`, which asks nothing. This spent no budget",
                retry_after_s=math.ceil(left_s),
            )


def _network(address: IPv4Address | IPv6Address | None) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)
