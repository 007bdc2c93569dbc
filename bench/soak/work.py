"""Mixed work of some clients: answers, reuse, refusals, cancels, callers who hang up, workers that die."""

from __future__ import annotations

import http.client
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from bench.client import Client, Reply
from bench.home import PURPOSES
from bench.questions import REFUSED, SMALL
from bench.soak.watch import children

EPSILON: Final = "0.0005"
PAUSE_S: Final = 0.02
KILL_EVERY_S: Final = 7.0


class Work:
    """`start`, then `stop`. Of each kind, `done` counts how often it came out as it should, `wrong` what else came."""

    def __init__(self, client: Client, tokens: Sequence[str], zygote: Callable[[], int]) -> None:
        self.done: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self._client = client
        self._zygote = zygote
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n, token)) for n, token in enumerate(tokens)]
        self._threads.append(threading.Thread(target=self._kill))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int, token: str) -> None:
        dice, client = random.Random(number), self._client.another(token)
        kinds: list[tuple[Callable[[Client], str | None], int]] = [
            (self._new, 40), (self._reused, 20), (self._refused, 15), (self._checked, 10), (self._cancelled, 10),
            (self._hung_up, 5),
        ]  # fmt: skip
        acts, weights = zip(*kinds, strict=True)
        while not self._over.is_set():
            act = dice.choices(acts, weights)[0]
            name = act.__name__.removeprefix("_")
            try:
                wrong = act(client)
            except (OSError, http.client.HTTPException, ValueError) as error:
                wrong = type(error).__name__
                client.close()
            if wrong is None:
                self.done[name] += 1
            else:
                self.wrong[f"{name}: {wrong}"] += 1
            self._over.wait(PAUSE_S)
        client.close()

    def _fresh(self) -> str:
        return SMALL.ask(next(self._numbers))

    def _new(self, client: Client) -> str | None:
        return _said(client.ask(self._fresh(), PURPOSES[SMALL.dataset], EPSILON), None, "query_failed")

    def _reused(self, client: Client) -> str | None:
        return _said(client.ask(SMALL.ask(0), PURPOSES[SMALL.dataset], EPSILON), None, "query_failed")

    def _refused(self, client: Client) -> str | None:
        return _said(client.ask(REFUSED, PURPOSES[SMALL.dataset]), "aggregate_not_allowed")

    def _checked(self, client: Client) -> str | None:
        reply = client.check(self._fresh(), PURPOSES[SMALL.dataset])
        return None if reply.status == 200 else str(reply.status)

    def _cancelled(self, client: Client) -> str | None:
        reply = client.ask(self._fresh(), PURPOSES[SMALL.dataset], EPSILON, wait_s=0)
        if reply.status != 202:
            return _said(reply, None)
        ended = client.call("DELETE", f"/v1/queries/{reply.body['id']}", None).body.get("status")
        return None if ended in ("cancelled", "answered", "failed") else str(ended)

    def _hung_up(self, client: Client) -> str | None:
        client.hang_up(self._fresh(), PURPOSES[SMALL.dataset], EPSILON, after_s=0.01)
        return None

    def _kill(self) -> None:
        """A worker that dies is the one failure after the charge."""
        while not self._over.wait(KILL_EVERY_S):
            workers = children(self._zygote())
            if workers:
                with suppress(ProcessLookupError):
                    os.kill(random.choice(workers), signal.SIGKILL)
                    self.done["worker killed"] += 1


def _said(reply: Reply, *expected: str | None) -> str | None:
    """None where it is one of `expected`, or where the queue was full."""
    if reply.status == 503:
        time.sleep(min(5, reply.retry_after_s or 1))
    return None if reply.code in (*expected, "busy") else reply.code
