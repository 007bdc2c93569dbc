"""The log's routes, for auditors. Reading is itself recorded, before anything is shown."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final, get_args

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from gateway.audit.export import lines
from gateway.audit.log import Filter
from gateway.audit.record import Decision, Kind
from gateway.errors import Refusal
from gateway.http.request import admit, caller_of, limit, parameters, service_of

FILTERS: Final = ("actor", "dataset", "kind", "decision", "code", "query_id", "since", "until")
_WORDS: Final = {"kind": get_args(Kind), "decision": get_args(Decision)}
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{3})?Z)?")


async def records(request: Request) -> Response:
    service, caller = service_of(request), caller_of(request)
    admit(service, caller, "read the audit log")
    wanted = parameters(request, "limit", "cursor", *FILTERS)
    for name in ("since", "until"):
        if name in wanted and not _TIME.fullmatch(wanted[name]):
            raise Refusal("parameter_invalid", f"`{name}` must be a day or a UTC time such as 2026-11-23T22:04:36.123Z")
    for name, words in _WORDS.items():
        if name in wanted and wanted[name] not in words:
            raise Refusal("parameter_invalid", f"`{name}` is one of {', '.join(words)}")
    most = limit(wanted, 100)
    chosen = Filter(**{name: wanted[name] for name in FILTERS if name in wanted})

    def work() -> dict[str, object]:
        with service.store.transaction() as tx:
            service.log.note_read(tx, caller.subject, "records", wanted)
        with service.store.reading() as view:
            page = service.log.records(view, chosen, limit=most, cursor=wanted.get("cursor"))
        return {"records": list(page.records), "cursor": page.cursor}

    return JSONResponse(await run_in_threadpool(work))


async def checkpoint(request: Request) -> Response:
    service, caller = service_of(request), caller_of(request)
    admit(service, caller, "read the audit log")
    parameters(request)

    def work() -> dict[str, str]:
        with service.store.transaction() as tx:
            service.log.note_read(tx, caller.subject, "checkpoint")
        return {"checkpoint": service.log.checkpoint(), "key": service.log.vkey}

    return JSONResponse(await run_in_threadpool(work))


async def export(request: Request) -> Response:
    service, caller = service_of(request), caller_of(request)
    admit(service, caller, "read the audit log")
    parameters(request)

    def note() -> None:
        with service.store.transaction() as tx:
            service.log.note_read(tx, caller.subject, "export")

    await run_in_threadpool(note)
    body: AsyncIterator[bytes] = iterate_in_threadpool(lines(service.log))
    return StreamingResponse(body, media_type="application/x-ndjson")
