"""The witness over HTTP: add-checkpoint, and the newest checkpoint of each log (C2SP tlog-witness).

Beside the standard, add-key: a log that goes over to another key says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import sys
import time
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.listening import address_of, listen
from gateway.witness import submission
from gateway.witness.home import WitnessHome
from gateway.witness.memory import Memory
from gateway.witness.submission import Refused
from sandbox import logs

_log = logs.logger("bpk.witness")


class Witness:
    """Thread-safe."""

    def __init__(self, home: WitnessHome, memory: Memory, now: Callable[[], int] = lambda: int(time.time())) -> None:
        self._home = home
        self._memory = memory
        self._now = now

    def add(self, body: bytes) -> str:
        """The cosignature line. Raises Refused."""
        sent = submission.read(body)
        return self._memory.extend(
            sent, self._home.logs, self._now(), lambda moment: self._home.cosigner.line(sent.checkpoint, moment)
        )

    def follow(self, body: bytes) -> str:
        """Knows the log by its new key from now on, if the log itself has handed it over. Raises Refused."""
        self._memory.follow(submission.read_handover(body), self._home.logs)
        return ""

    def newest(self, origin_hash: str) -> str | None:
        found = (
            each for each in self._memory.newest() if hashlib.sha256(each.origin.encode()).hexdigest() == origin_hash
        )
        return next((each.note for each in found), None)


def create(witness: Witness) -> Starlette:
    async def add(request: Request) -> Response:
        return await judged(request, witness.add)

    async def follow(request: Request) -> Response:
        return await judged(request, witness.follow)

    async def judged(request: Request, judge: Callable[[bytes], str]) -> Response:
        try:
            line = await run_in_threadpool(judge, await _body(request))
        except Refused as refused:
            _log.info("a submission was refused", status=refused.status, reason=refused.words.strip())
            return Response(refused.words, refused.status, media_type=refused.kind)
        return PlainTextResponse(line)

    async def newest(request: Request) -> Response:
        note = await run_in_threadpool(witness.newest, request.path_params["origin_hash"])
        return PlainTextResponse("never cosigned\n", 404) if note is None else PlainTextResponse(note)

    return Starlette(
        routes=[
            Route("/add-checkpoint", add, methods=["POST"]),
            Route("/add-key", follow, methods=["POST"]),
            Route("/{origin_hash}/checkpoint", newest, methods=["GET"]),
        ]
    )


async def _body(request: Request) -> bytes:
    """Raises Refused(400)."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > submission.BYTES_MAX:
                raise Refused(400, "longer than any submission\n")
    except ClientDisconnect:
        raise Refused(400, "cut off\n") from None
    return bytes(body)


def serve(home: WitnessHome, port: int | None, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT. `ready` is told the address. Raises Misconfigured."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    settings = home.settings
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(
            contextlib.closing(listen(settings.host, settings.port if port is None else port))
        )
        memory = stack.enter_context(contextlib.closing(Memory(home.memory_file)))
        ready(address_of(listener))
        config = uvicorn.Config(
            create(Witness(home, memory)),
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        uvicorn.Server(config).run(sockets=[listener])
