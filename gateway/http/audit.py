"""The log's routes, for auditors. Reading is itself recorded, before anything is shown."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any, Final, get_args

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from gateway.audit import proofs, tiles
from gateway.audit.export import lines
from gateway.audit.record import Decision, Kind
from gateway.audit.search import Filter, as_csv, as_ndjson, find
from gateway.errors import Refusal
from gateway.http.entry import admit, caller_of, service_of
from gateway.http.request import limit, number, parameters
from gateway.http.service import Service
from gateway.identity.roles import Caller
from gateway.outcomes import numbers_of
from gateway.oversight.bundle import evidence
from gateway.oversight.report import signed
from policies.model import Mode

FILTERS: Final = tuple(field.name for field in fields(Filter))
_WORDS: Final = {
    "kind": get_args(Kind),
    "decision": get_args(Decision),
    "mode": get_args(Mode),
    "format": ("json", "ndjson", "csv"),
}
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{3})?Z)?")


async def records(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    wanted = parameters(request, "limit", "cursor", "format", *FILTERS)
    _require_times(wanted)
    for name, words in _WORDS.items():
        if name in wanted and wanted[name] not in words:
            raise Refusal("parameter_invalid", f"`{name}` is one of {', '.join(words)}")
    most = limit(wanted, 100)
    chosen = Filter(**{name: wanted[name] for name in FILTERS if name in wanted})

    def work() -> Response:
        with service.store.transaction() as tx:
            service.log.note_read(tx, caller.subject, "records", wanted)
        with service.store.reading() as view:
            page = find(view, chosen, limit=most, cursor=wanted.get("cursor"))
        headers = {} if page.cursor is None else {"X-Cursor": page.cursor}
        if wanted.get("format") == "csv":
            return Response(as_csv(page.records), media_type="text/csv; charset=utf-8", headers=headers)
        if wanted.get("format") == "ndjson":
            return Response(as_ndjson(page.records), media_type="application/x-ndjson", headers=headers)
        return JSONResponse({"records": list(page.records), "cursor": page.cursor})

    return await run_in_threadpool(work)


async def report(request: Request) -> Response:
    """Of a period; its hash goes on record."""
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    wanted = parameters(request, "since", "until")
    _require_times(wanted)

    def work() -> dict[str, Any]:
        return signed(service.log, service.store, caller.subject, wanted.get("since"), wanted.get("until"))

    return JSONResponse(await run_in_threadpool(work))


async def bundle(request: Request) -> Response:
    """The evidence of one answer, its numbers included."""
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    parameters(request)
    query_id = request.path_params["query_id"]
    about = (service.log, service.store, caller.subject, query_id, partial(numbers_of, service.outcomes.domain))
    return JSONResponse(await run_in_threadpool(evidence, *about))


def _require_times(wanted: dict[str, str]) -> None:
    for name in ("since", "until"):
        if name in wanted and not _TIME.fullmatch(wanted[name]):
            raise Refusal("parameter_invalid", f"`{name}` must be a day or a UTC time such as 2026-11-23T22:04:36.123Z")


async def checkpoint(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    parameters(request)

    def show() -> dict[str, Any]:
        note, keys = service.log.checkpoint(), service.log.keys()
        listed = [{"key": vkey, "from": start} for start, vkey in keys.chain]
        return {"checkpoint": note, "cosigned": service.log.cosigned(), "key": keys.newest, "keys": listed}

    return await _recorded(service, caller, "checkpoint", None, show)


async def _recorded(
    service: Service, caller: Caller, what: str, wanted: dict[str, str] | None, show: Callable[[], dict[str, Any]]
) -> Response:
    def work() -> dict[str, Any]:
        with service.store.transaction() as tx:
            service.log.note_read(tx, caller.subject, what, wanted)
        return show()

    return JSONResponse(await run_in_threadpool(work))


async def inclusion(request: Request) -> Response:
    """A proof that a record is under a checkpoint."""
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    wanted = parameters(request, "index", "size")
    index, size = number(wanted, "index"), number(wanted, "size") if "size" in wanted else None
    return await _recorded(service, caller, "proof", wanted, lambda: proofs.inclusion(service.log, index, size))


async def consistency(request: Request) -> Response:
    """A proof that a checkpoint extends an older one."""
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    wanted = parameters(request, "old", "new")
    old, new = number(wanted, "old"), number(wanted, "new") if "new" in wanted else None
    return await _recorded(service, caller, "proof", wanted, lambda: proofs.consistency(service.log, old, new))


async def tile(request: Request) -> Response:
    """The tree of C2SP tlog-tiles: `checkpoint`, `tile/…`. Recorded once for each reader and hour, else reading the
    log would make it grow under the reader's eyes."""
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    parameters(request)
    path = request.path_params["path"]
    wanted = None if path == "checkpoint" else tiles.parse(path)

    def work() -> Response:
        if service.readings.first(caller.subject):
            with service.store.transaction() as tx:
                service.log.note_read(tx, caller.subject, "tiles")
        if wanted is None:
            return PlainTextResponse(service.log.published())
        with service.store.reading() as view:
            return Response(tiles.content(view, wanted), media_type="application/octet-stream")

    return await run_in_threadpool(work)


async def export(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    parameters(request)

    def begin() -> Iterator[bytes]:
        with service.store.transaction() as tx:
            service.log.note_read(tx, caller.subject, "export")
        return lines(service.log)

    body: AsyncIterator[bytes] = iterate_in_threadpool(await run_in_threadpool(begin))
    return StreamingResponse(body, media_type="application/x-ndjson")
