"""A clinic to ask, and a school beside it, for tests of reading and admission. No data: neither ever needs any."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache

from gateway.admission.admit import AdmittedQuery, admit
from gateway.errors import Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import Query, read
from policies.load import load_text
from policies.model import Licence, Policy
from sandbox.codec import digest
from sandbox.relational.nodes import find_release
from sandbox.relational.normal import normal
from tests.policy_head import head

LIMITS = SqlLimits()
DAY = date(2026, 11, 23)

_PURPOSES = ("research", "actuarial")
CLINIC = (
    head(purposes=_PURPOSES)
    + """
[tables.people]
[tables.people.columns]
pid        = { type = "integer", role = "unit" }
name       = { type = "text", role = "hidden" }
sex        = { type = "text", role = "dimension", values = ["F", "M"], nullable = true }
age        = { type = "integer", role = "dimension", range = [0, 99], aggregates = ["count", "avg"] }
"收入"     = { type = "integer", role = "measure", range = [0, 1000] }
income     = { type = "decimal(12,2)", role = "measure", range = [0, 200000], step = 1 }
weight     = { type = "double", role = "measure", range = [0, 250], bins = [0, 50, 100, 250], filter = "range" }
birth_date = { type = "date", role = "dimension", range = [1920-01-01, 2026-12-31], via = ["year", "decade"] }
diagnosis  = { type = "text", role = "dimension", sensitive = true, filter = "equality" }
active     = { type = "boolean", role = "dimension" }
[tables.visits]
link = { column = "pid", to = "people.pid" }
rows_per_unit_max = 50
[tables.visits.columns]
pid        = { type = "integer", role = "unit", nullable = true }
visit_id   = { type = "integer", role = "key" }
hospital   = { type = "integer", role = "key", joins = ["hospitals.id"] }
kind       = { type = "text", role = "dimension", values = ["in", "out"] }
cost       = { type = "decimal(10,2)", role = "measure", range = [0, 20000], bins = [0, 100, 1000, 20000] }
visit_date = { type = "date", role = "dimension", range = [2020-01-01, 2026-12-31] }
seen_at    = { type = "timestamp", role = "dimension", range = [2020-01-01T00:00:00, 2026-12-31T00:00:00] }
[tables.items]
link = { column = "visit_id", to = "visits.visit_id" }
rows_per_unit_max = 100
[tables.items.columns]
visit_id   = { type = "integer", role = "key" }
price      = { type = "decimal(10,2)", role = "measure", range = [0, 500] }
hospital   = { type = "integer", role = "key", joins = ["hospitals.id"] }
[tables.hospitals]
public = true
key = "id"
[tables.hospitals.columns]
id         = { type = "integer", role = "key" }
level      = { type = "text", role = "dimension" }
region     = { type = "integer", role = "key", joins = ["regions.code"] }
[tables.regions]
public = true
key = "code"
[tables.regions.columns]
code       = { type = "integer", role = "key" }
title      = { type = "text", role = "dimension" }
"""
)

SCHOOL = (
    head("school", unit="pupils.id", purposes=_PURPOSES)
    + """
[tables.pupils]
[tables.pupils.columns]
id    = { type = "integer", role = "unit" }
grade = { type = "integer", role = "dimension", range = [1, 12] }
[tables.people]
link = { column = "id", to = "pupils.id" }
rows_per_unit_max = 4
[tables.people.columns]
id    = { type = "integer", role = "unit" }
age   = { type = "integer", role = "dimension", range = [0, 99] }
"""
)


@cache
def clinic() -> Policy:
    return load_text(CLINIC, "clinic.toml")


@cache
def school() -> Policy:
    return load_text(SCHOOL, "school.toml")


ONLY_CLINIC: Mapping[str, Policy] = {"clinic": clinic()}
BOTH: Mapping[str, Policy] = {"clinic": clinic(), "school": school()}


def licence(
    *,
    operator: str = "acme",
    datasets: tuple[str, ...] = ("clinic",),
    purposes: tuple[str, ...] = ("research",),
    valid_from: date = date(2026, 1, 1),
    valid_until: date = date(2026, 12, 31),
) -> Licence:
    return Licence("L-1", operator, datasets, purposes, valid_from, valid_until, {})


def ask(
    sql: str, parameters: Mapping[str, object] | None = None, policies: Mapping[str, Policy] = ONLY_CLINIC
) -> Query:
    return read(sql, parameters or {}, policies, LIMITS)


def admitted(
    sql: str, parameters: Mapping[str, object] | None = None, policies: Mapping[str, Policy] = ONLY_CLINIC
) -> AdmittedQuery:
    query = ask(sql, parameters, policies)
    return admit(
        query,
        policies[query.dataset],
        operator="acme",
        licences=(licence(datasets=tuple(policies)),),
        purpose=None,
        mode=None,
        epsilon=None,
        day=DAY,
    )


def refusal(
    sql: str, parameters: Mapping[str, object] | None = None, policies: Mapping[str, Policy] = ONLY_CLINIC
) -> Refusal:
    """How `sql` is refused; an AssertionError where it is not."""
    try:
        query = admitted(sql, parameters, policies)
    except Refusal as refused:
        return refused
    raise AssertionError(f"was admitted: {sql!r} as {query.question.plan}")


def meaning(sql: str, parameters: Mapping[str, object] | None = None) -> str:
    """The digest by which a stored release is found again."""
    return digest(find_release(normal(ask(sql, parameters).plan)))
