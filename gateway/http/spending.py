"""Spend over time: an operator's own with the totals of its datasets, and all of it for auditors, on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from gateway.budget.account import scopes_of
from gateway.budget.history import BYS, Seen, Window, every, history, usual_price
from gateway.budget.loss import Loss
from gateway.budget.scopes import opened
from gateway.catalog import Catalog
from gateway.errors import Refusal
from gateway.http.entry import admit, caller_of, service_of
from gateway.http.request import parameters
from gateway.http.service import Service
from gateway.identity.roles import Caller
from gateway.store import Reading

_DATE_BYTES: Final = 10


async def over_time(request: Request) -> Response:
    service, caller = service_of(request), await caller_of(request)
    admit(request, caller)
    wanted = parameters(request, "dataset", "operator", "by", "since", "until")
    window = _window(wanted)

    def work() -> dict[str, Any]:
        return {"by": window.by, "scopes": _told(service, caller, wanted, window)}

    return JSONResponse(await run_in_threadpool(work))


def _told(service: Service, caller: Caller, wanted: dict[str, str], window: Window) -> list[dict[str, Any]]:
    dataset, operator = wanted.get("dataset"), wanted.get("operator")
    if caller.may("read the audit log"):
        with service.store.transaction() as tx:
            service.log.note_read(tx, caller.subject, "budgets", wanted)
        found = service.catalog.policies.items()
        rules = {name: policy.release.dp for name, policy in found if policy.release.dp is not None}
        with service.sums.reading() as (view, added):
            return history(added, every(view, rules, dataset, operator), window)
    if operator not in (None, caller.subject):
        raise Refusal("not_found", "you have no such operator", hint="leave `operator` out, or name yourself")
    with service.sums.reading() as (view, added):
        return history(added, _own(service, caller, view, dataset), window)


def _own(service: Service, caller: Caller, view: Reading, dataset: str | None) -> list[Seen]:
    """The caller's scopes, and those of the datasets that it may see. Raises Refusal(`not_found`)."""
    day = service.today()
    visible = service.catalog.visible_to(caller.subject, day)
    if dataset is not None and dataset not in visible:
        raise Refusal("not_found", "you have no dataset of this name", hint="those you may ask: GET /v1/datasets")
    found = []
    for name, policy in visible.items():
        if dataset not in (None, name) or policy.release.dp is None:
            continue
        licence = service.catalog.licence_for(caller.subject, name, day)
        usual = usual_price(policy.release.dp)
        for scope in scopes_of(policy, caller.subject, licence, opened(view, policy, caller.subject)):
            mine = scope.operator is not None
            days = None if mine or policy.supply == "open" else _licensed(service.catalog, caller.subject, name)
            every = (scope, *(replace(scope, block=block) for block in policy.blocks))
            whole, *parts = service.ledger.accounts(view, every)
            charged = [part for part in parts if part.spent != Loss()]
            told = tuple((part.scope.block or "", part.spent) for part in charged)
            for each, blocks in ((whole, told), *((part, ()) for part in charged)):
                limit = each.scope.cap
                found.append(Seen(each.scope.id, name, scope.operator, limit, each.spent, mine, usual, days, blocks))
    return found


def _licensed(catalog: Catalog, operator: str, dataset: str) -> tuple[tuple[date, date], ...]:
    """The days on which the operator might ask: what others spent on other days is none of its business."""
    held = (each for each in catalog.licences if each.operator == operator and dataset in each.datasets)
    return tuple((each.valid_from, each.valid_until) for each in held)


def _window(wanted: dict[str, str]) -> Window:
    by = next((each for each in BYS if each == wanted.get("by", "day")), None)
    if by is None:
        raise Refusal("parameter_invalid", f"`by` is one of {', '.join(BYS)}")
    return Window(by, _day(wanted, "since"), _day(wanted, "until"))


def _day(wanted: dict[str, str], name: str) -> date | None:
    if name not in wanted:
        return None
    try:
        if len(wanted[name]) != _DATE_BYTES or not wanted[name].isascii():
            raise ValueError(name)
        return date.fromisoformat(wanted[name])
    except ValueError:
        raise Refusal("parameter_invalid", f"`{name}` must be a day such as 2026-11-23") from None
