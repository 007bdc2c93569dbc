"""The data domain's door over HTTP: JSON on a Unix socket that only its owner can reach, or over mutual TLS, or both.

The Unix socket is bound here, with mode 0600 in a 0700 folder, and handed to uvicorn: uvicorn's own is open to
everybody.
"""

from __future__ import annotations

import contextlib
import gc
import grp
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox import logs
from sandbox.asked import Lately
from sandbox.codec import CodecError, dumps, loads
from sandbox.datasets import Datasets
from sandbox.domain import Domain, DomainError
from sandbox.door import Door, Unaskable
from sandbox.entrance import Entrance
from sandbox.peers import PEER, Peer
from sandbox.pool import Pool, PoolSettings
from sandbox.protocol import Cancel, Fetch, Prepared, Run, padded
from sandbox.release import layouts
from sandbox.release.store import FILE_NAME, Store
from sandbox.seed import seed_of
from sandbox.server import Server
from sandbox.tickets import TicketVerifier

log = logs.logger("bpk.domain")
BODY_BYTES_MAX: Final = 4 * 2**20
RESULT_BYTES_MAX: Final = 64 * 2**20
"""Of one statement's rows: about a quarter of a million private keys of the greatest length."""
RUNS_MAX: Final = 1024
"""Threads that wait for deadlines, more than places; those that price questions are others."""
SOCKET_PATH_MAX: Final = 100
PARENT_LOOK_S: Final = 0.3


Answer = Callable[[Scope, Receive], Awaitable[Response]]


def application(door: Door) -> ASGIApp:
    """The routes of `sandbox.protocol` over `door`."""

    async def status(_: Scope, __: Receive) -> Response:
        return _reply(dumps(await run_in_threadpool(door.status)))

    running = CapacityLimiter(RUNS_MAX)
    routes = {
        "/v1/prepare": ("POST", _to(_prepares(door))),
        "/v1/run": ("POST", _to(lambda body, _: _named(loads(body, Run), door), running)),
        "/v1/fetch": ("POST", _to(lambda body, _: dumps(door.fetch(loads(body, Fetch))))),
        "/v1/cancel": ("POST", _to(lambda body, _: dumps(door.cancel(loads(body, Cancel).ticket)))),
        "/v1/status": ("GET", status),
    }
    return _ConstantFaults(_Routes(routes))


Act = Callable[[bytes, Peer | None], bytes]
"""From one body to the other, for whoever asks, in a thread of its own. Raises CodecError, Unaskable."""


def _to(act: Act, threads: CapacityLimiter | None = None) -> Answer:
    async def answer(scope: Scope, receive: Receive) -> Response:
        body = await _body(receive)
        if body is None:
            return Response(status_code=400)
        peer = scope.get("state", {}).get(PEER)
        try:
            return _reply(await to_thread.run_sync(act, body, peer, limiter=threads))
        except (CodecError, Unaskable):
            return Response(status_code=400)

    return answer


def _prepares(door: Door) -> Act:
    lately = Lately()

    def prepare(body: bytes, peer: Peer | None) -> bytes:
        asked = lately.read(body)
        told = door.prepare(asked)
        if peer is not None and isinstance(told, Prepared) and told.reservation is not None:
            peer.hold(partial(door.lapse, told.reservation))  # for whoever asked, no longer than it is there
        return asked.written(told)

    return prepare


class _Routes:
    """By path and method, each of one form. Pure ASGI: layers that do nothing for five routes cost as much as what is
    asked."""

    def __init__(self, routes: Mapping[str, tuple[str, Answer]]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, answer = self._routes.get(scope["path"], ("", None))
        if answer is None:
            response: Response = JSONResponse({"detail": "Not Found"}, 404)
        elif scope["method"] != method:
            response = JSONResponse({"detail": "Method Not Allowed"}, 405, {"Allow": method})
        else:
            response = await answer(scope, receive)
        await response(scope, receive, send)


def _named(run: Run, door: Door) -> bytes:
    """Runs it, and names it in every line of the log meanwhile."""
    with logs.bound(query_id=run.ticket.query, ticket=run.ticket.id):
        return dumps(door.run(run))


async def _body(receive: Receive) -> bytes | None:
    """A request's body, or None when it is larger than anything of ours. Raises ClientDisconnect."""
    found = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        found += message.get("body", b"")
        if len(found) > BODY_BYTES_MAX:
            return None
        more = message.get("more_body", False)
    return bytes(found)


class _ConstantFaults:
    """A bug of ours says nothing to the outside; its class is logged, its text may hold data and is not. Pure ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def out(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, out)
        except Exception as error:  # the last fence: whatever it is, nothing of it may leave
            log.error("a request failed", error=type(error).__name__, at=logs.lines_of(error.__traceback__))
            if not begun:
                await Response(status_code=500)(scope, receive, send)


def _reply(body: bytes) -> Response:
    return Response(padded(body), media_type="application/json")


def serve(home: Path, socket_path: Path | None, socket_group: str | None = None) -> None:
    """Serves the domain of `home` until it is told to stop. Raises DomainError, OSError, ValueError at start.

    Listens on `socket_path`, where `socket_group` may connect too, and where domain.toml says so; on one of the two.
    """
    domain = Domain.load(home)
    if socket_path is None and domain.remote is None:
        raise DomainError("nothing to listen on: name a Unix socket with --socket, or fill in `[gateway.tls]`")
    entrance = None if domain.remote is None else Entrance(domain.remote)
    verifier = TicketVerifier(domain.ticket_key, domain.ticket_key_next)
    state = domain.state
    layouts.inspect(state / FILE_NAME)  # before anything is started
    pool = Pool(_pool_settings(domain))
    store = Store(state / FILE_NAME, domain.tally)
    datasets = Datasets(domain)
    door = Door(datasets, store, pool, verifier, seed_of(state))
    door.degraded = tuple(sorted(domain.allow_degraded))
    threading.Thread(target=_begin, args=(datasets, pool, door), name="bpk-ingest", daemon=True).start()
    listeners = [] if socket_path is None else [bind(socket_path, socket_group)]
    try:
        Server(application(door), entrance).run(sockets=listeners)
    finally:
        pool.close()
        store.close()
        if socket_path is not None:
            socket_path.unlink(missing_ok=True)


def _pool_settings(domain: Domain) -> PoolSettings:
    limits = domain.worker
    return PoolSettings(
        spill=domain.state / "spill",
        threads=limits.threads,
        memory_mb=limits.memory_mb,
        wall_ms=limits.wall_s * 1000,
        warm=limits.warm,
        result_bytes_max=RESULT_BYTES_MAX,
        workers_max=limits.max,
        allow_degraded=domain.allow_degraded,
    )


def _begin(datasets: Datasets, pool: Pool, door: Door) -> None:
    prepare(datasets, pool, door)
    gc.collect()
    gc.freeze()  # else the collector looks through all that stays for ever, while every question waits


def prepare(datasets: Datasets, pool: Pool, door: Door) -> None:
    """Lets a worker attack its own walls, then publishes the snapshots; until both are done nothing is answered."""
    try:
        door.layers = pool.selftest()
        datasets.ingest_all(pool.serve)
    except Exception as error:  # a thread that dies silently would look like a slow start
        log.error("the start failed", error=type(error).__name__, at=logs.lines_of(error.__traceback__))


def bind(path: Path, group: str | None = None) -> socket.socket:
    """A listening Unix socket with mode 0600 in a folder that only its owner may enter.

    With `group`, for a gateway under an account of its own: mode 0660 and of that group, in a folder of that group
    which its members may enter and nobody but the owner may change. Raises DomainError.
    """
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise DomainError(f"{path}: longer than a socket's path may be; choose a shorter folder with --socket")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder, gid = path.parent.stat(), -1 if group is None else _group(group)
    if group is None and folder.st_mode & 0o077:
        raise DomainError(f"{path.parent}: others may enter this folder; the socket needs one of mode 0700")
    if group is not None and (folder.st_mode & 0o027 or folder.st_gid != gid):
        raise DomainError(f"{path.parent}: the socket needs a folder of group `{group}` and of mode 0750")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    if group is not None:
        os.chown(path, -1, gid)
        path.chmod(0o660)
    listener.listen(128)
    return listener


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise DomainError(f"there is no group `{name}` on this machine") from None


def follow_parent(pid: int) -> None:
    """Ends this process at once when process `pid`, which started it, is gone: an orphan would keep data open."""

    def watch() -> None:
        while os.getppid() == pid:
            time.sleep(PARENT_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, name="bpk-parent", daemon=True).start()
