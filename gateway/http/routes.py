"""The routes. Each one says who may, does one thing, and lets refusals through to `problems`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from gateway import answer, spans
from gateway.ask import NotAnswered
from gateway.budget.account import scopes_of
from gateway.budget.cells import cells_of
from gateway.budget.queries import QueryRow
from gateway.budget.scopes import opened
from gateway.errors import Fault, NotReady, Refusal
from gateway.http import audit, catalogue, describe, docs, problems, spending, wire
from gateway.http.entry import admit, caller_of, service_of
from gateway.http.padding import Padded
from gateway.http.problems import Context
from gateway.http.request import body_of, key_of, limit, listening, parameters, question_of
from gateway.http.route import Handler, Route
from gateway.http.security import Envelope
from gateway.http.service import Service
from gateway.identity.proof import NonceNeeded
from gateway.identity.roles import ROUTES, Caller
from policies.model import Policy
from sandbox import logs

WAIT_S: Final = 30.0
LOOK_S: Final = 0.2
_log = logs.logger("bpk.http")


def create(service: Service) -> FastAPI:
    """The HTTP application. Documentation and its document are served by our own routes, without any outside host."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.stop)

    app = FastAPI(
        title="Baopingkou",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service = service
    routes: list[tuple[str, str, Handler]] = [
        ("POST", "/v1/queries", ask),
        ("GET", "/v1/queries", history),
        ("POST", "/v1/queries/check", check),
        ("GET", "/v1/queries/{query_id}", again),
        ("DELETE", "/v1/queries/{query_id}", cancel),
        ("GET", "/v1/datasets", datasets),
        ("GET", "/v1/datasets/{name}", dataset),
        ("GET", "/v1/budgets", budgets),
        ("GET", "/v1/budgets/history", spending.over_time),
        ("GET", "/v1/audit/records", audit.records),
        ("GET", "/v1/audit/checkpoint", audit.checkpoint),
        ("GET", "/v1/audit/report", audit.report),
        ("GET", "/v1/audit/bundle/{query_id}", audit.bundle),
        ("GET", "/v1/audit/proof/inclusion", audit.inclusion),
        ("GET", "/v1/audit/proof/consistency", audit.consistency),
        ("GET", "/v1/audit/tlog/{path:path}", audit.tile),
        ("GET", "/v1/audit/export", audit.export),
        ("GET", "/healthz", healthz),
        ("GET", "/readyz", readyz),
        ("GET", "/metrics", metrics),
        ("GET", "/openapi.json", openapi),
        ("GET", "/docs", page),
    ]
    if {(method, path) for method, path, _ in routes} != ROUTES.keys():
        raise Fault("a route without its place in the matrix of roles, or a place without its route")
    app.router.routes.extend(Route(*route) for route in routes)
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(NotAnswered, _on_not_answered)
    app.add_exception_handler(NotReady, _on_not_ready)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_middleware(Padded)
    app.add_middleware(Envelope, metrics=service.metrics)
    return app


async def ask(request: Request) -> Response:
    """Every authenticated one leaves exactly one decision on record, whatever is wrong with it."""
    service, caller = service_of(request), await caller_of(request)
    try:
        admit(request, caller)
        body = wire.read_ask(await body_of(request))
        question = question_of(caller, body, key_of(request))
    except Refusal as refusal:
        service.metrics.query("refused")
        service.lock_out.refused(caller.subject, refusal.status)
        raise await service.lanes.run(caller.subject, service.pipeline.refused, caller, refusal) from refusal
    try:
        async with listening(request) as gone:
            begun = await service.lanes.run(caller.subject, service.pipeline.ask, question, gone)
    except NotAnswered as not_answered:
        service.metrics.query("refused")
        service.lock_out.refused(caller.subject, not_answered.refusal.status)
        raise
    service.metrics.query(begun.verdict)
    spans.say({"bpk.verdict": begun.verdict})
    wait = WAIT_S if body.wait_s is None else float(body.wait_s)
    if isinstance(begun.result, dict):
        return await _elsewhere(service, begun.id, begun.result, wait)
    try:
        return JSONResponse(await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(begun.result)), wait))
    except TimeoutError:
        return _accepted(begun.id)


async def check(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    body = wire.read_ask(await body_of(request))
    try:
        return JSONResponse(await run_in_threadpool(service.pipeline.check, question_of(caller, body, None)))
    except NotAnswered as not_answered:
        if not_answered.refusal.status >= 500:
            raise
        return JSONResponse({"verdict": "refuse", "problem": _problem(not_answered.refusal, not_answered)})


async def again(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    return JSONResponse(await run_in_threadpool(service.outcomes.again, caller, request.path_params["query_id"]))


async def cancel(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    return JSONResponse(await run_in_threadpool(service.outcomes.cancel, caller, request.path_params["query_id"]))


async def history(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    wanted = parameters(request, "limit", "cursor")
    found = await run_in_threadpool(service.outcomes.history, caller, limit(wanted, 50), wanted.get("cursor"))
    return JSONResponse({"queries": [_line(row) for row in found.rows], "cursor": found.cursor})


async def datasets(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    parameters(request)

    def work() -> list[dict[str, Any]]:
        visible = service.catalog.visible_to(caller.subject, service.today())
        return [catalogue.line(policy, service.readiness.of(name)) for name, policy in visible.items()]

    return JSONResponse({"datasets": await run_in_threadpool(work)})


async def dataset(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    parameters(request)
    name = request.path_params["name"]
    policy = service.catalog.visible_to(caller.subject, service.today()).get(name)
    if policy is None:
        raise Refusal("not_found", "you have no dataset of this name", hint="those you may ask: GET /v1/datasets")

    def work() -> dict[str, Any]:
        left = _budgets(service, caller, [policy]) if caller.may("see budgets") else []
        return catalogue.detail(policy, service.readiness.of(name), left)

    return JSONResponse(await run_in_threadpool(work))


async def budgets(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    parameters(request)
    visible = list(service.catalog.visible_to(caller.subject, service.today()).values())
    return JSONResponse(
        {
            "budgets": await run_in_threadpool(_budgets, service, caller, visible),
            "cells": await run_in_threadpool(_cells, service, caller, visible),
        }
    )


async def healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    found = await run_in_threadpool(service_of(request).readiness.look)
    if found.ready:
        return JSONResponse(found.body)
    return JSONResponse(found.body, 503, {"Retry-After": str(problems.RETRY_AFTER_S["not_ready"])})


async def metrics(request: Request) -> Response:
    service = service_of(request)
    keys = {} if service.issuer is None else service.issuer.look().gauges
    return PlainTextResponse(
        service.metrics.text(keys | service.stamping.gauges | service.turns.gauges()),
        media_type="text/plain; version=0.0.4",
    )


async def openapi(_: Request) -> Response:
    return JSONResponse(describe.document())


async def page(_: Request) -> Response:
    return Response(docs.PAGE, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": docs.POLICY})


async def _elsewhere(service: Service, query_id: str, outcome: dict[str, Any], wait_s: float) -> Response:
    """The outcome of a query that another gateway runs, as soon as it is on record."""
    until = monotonic() + wait_s
    while outcome["status"] == "running" and monotonic() < until:
        await asyncio.sleep(LOOK_S)
        outcome = await run_in_threadpool(service.outcomes.latest, query_id)
    return _accepted(query_id) if outcome["status"] == "running" else JSONResponse(outcome)


def _accepted(query_id: str) -> Response:
    return JSONResponse({"id": query_id, "status": "running"}, 202, {"Location": f"/v1/queries/{query_id}"})


def _line(row: QueryRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "status": row.state,
        "dataset": row.dataset,
        "mode": row.mode,
        "created": datetime.fromtimestamp(row.created / 1000, UTC).isoformat(timespec="milliseconds"),
        "cost": answer.cost(row.cost),
        "reused": row.reused,
    }


def _budgets(service: Service, caller: Caller, policies: Sequence[Policy]) -> list[dict[str, Any]]:
    found = []
    for policy in policies:
        licence = service.catalog.licence_for(caller.subject, policy.dataset, service.today())
        with service.store.reading() as view:
            known = opened(view, policy, caller.subject)
            scopes = scopes_of(policy, caller.subject, licence, known)
            found += [budget.as_json() for budget in service.ledger.budgets(view, scopes, among=policy.blocks)]
    return found


def _cells(service: Service, caller: Caller, policies: Sequence[Policy]) -> list[dict[str, Any]]:
    """What exact answers have told the caller, and may still tell."""
    with service.store.reading() as view:
        found = [(policy, cells_of(view, policy, caller.subject)) for policy in policies]
        return [cells.as_json(policy) for policy, cells in found if cells is not None]


def _problem(refusal: Refusal, about: NotAnswered | None = None) -> dict[str, Any]:
    places = refusal.places if isinstance(refusal, wire.Invalid) else None
    context = None if about is None else Context(about.policy, about.query_id)
    return problems.problem(refusal, context, places)


def _headers(refusal: Refusal) -> dict[str, str]:
    nonce = {"DPoP-Nonce": refusal.nonce} if isinstance(refusal, NonceNeeded) else {}
    return nonce if refusal.retry_after_s is None else nonce | {"Retry-After": str(refusal.retry_after_s)}


async def _on_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101  # registered for this type
    spans.say({"bpk.code": error.code})
    return problems.respond(_problem(error), _headers(error))


async def _on_not_answered(_: Request, error: Exception) -> Response:
    assert isinstance(error, NotAnswered)  # noqa: S101  # registered for this type
    spans.say({"bpk.code": error.refusal.code, "bpk.verdict": "refused"})
    return problems.respond(_problem(error.refusal, error), _headers(error.refusal))


async def _on_not_ready(_: Request, error: Exception) -> Response:
    _log.warning("not ready", reason=str(error))
    return problems.respond(problems.problem(problems.not_ready()))


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type
    return problems.respond(problems.problem(problems.of_status(error.status_code)))
