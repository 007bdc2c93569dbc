"""Examples of the API's document: requests that can be sent, and what comes back. The tests send them to a served home.

They speak of the policy in docs/how-to/write-a-policy.md: `clinic` with people, visits and hospitals.
"""

from __future__ import annotations

from typing import Final

from gateway.http.everywhere import completed
from gateway.http.example import DIGEST, RECEIPT, RECORD, Example, no_role, no_token, problem, wrong
from gateway.http.query_examples import QUERIES

DATASETS: Final = ("GET", "/v1/datasets")
DATASET: Final = ("GET", "/v1/datasets/{name}")
BUDGETS: Final = ("GET", "/v1/budgets")
HISTORY: Final = ("GET", "/v1/budgets/history")
RECORDS: Final = ("GET", "/v1/audit/records")
CHECKPOINT: Final = ("GET", "/v1/audit/checkpoint")
REPORT: Final = ("GET", "/v1/audit/report")
BUNDLE: Final = ("GET", "/v1/audit/bundle/{query_id}")
INCLUSION: Final = ("GET", "/v1/audit/proof/inclusion")
CONSISTENCY: Final = ("GET", "/v1/audit/proof/consistency")
TLOG: Final = ("GET", "/v1/audit/tlog/{path}")
EXPORT: Final = ("GET", "/v1/audit/export")
HEALTHZ: Final = ("GET", "/healthz")
READYZ: Final = ("GET", "/readyz")
METRICS: Final = ("GET", "/metrics")
OPENAPI: Final = ("GET", "/openapi.json")
DOCS: Final = ("GET", "/docs")

_LINE: Final = {
    "name": "clinic",
    "title": {"en": "Clinic", "zh": "门诊"},
    "owner": "Health Commission",
    "version": "1",
    "tables": ["people", "visits", "hospitals"],
    "modes": ["dp"],
    "purposes": ["research"],
    "supply": "authorised",
    "grade": "general-3",
    "state": "ready",
    "deadlines_s": [0.5, 1, 2, 4, 8, 16, 32],
}
_BUDGET: Final = {
    "scope": "operator:acme-actuaries/clinic",
    "dataset": "clinic",
    "purpose": None,
    "accountant": "zcdp",
    "cap": {"rho": "0.05", "epsilon": "2", "delta": "0.0000000005"},
    "cap_waiting": None,
    "spent": {"rho": "0.0038", "epsilon": "0.5", "delta": "0"},
    "left": {"rho": "0.0462", "epsilon": "1.92", "delta": "0.0000000005"},
    "epsilon_left": "1.92",
    "answers_left": None,
}

_SPEND: Final = {
    "scope": "operator:acme-actuaries/clinic",
    "dataset": "clinic",
    "operator": "acme-actuaries",
    "accountant": "zcdp",
    "cap": {"rho": "0.05", "epsilon": "2", "delta": "0.0000000005"},
    "spent": {"rho": "0.0038", "epsilon": "0.5", "delta": "0"},
    "epsilon_left": "1.92",
    "answers_left": 12,
    "answer_epsilon": "0.5",
    "periods": [
        {
            "begin": "2026-11-23",
            "spent": {"rho": "0.0038", "epsilon": "0.5", "delta": "0"},
            "spent_by_then": {"rho": "0.0038", "epsilon": "0.5", "delta": "0"},
            "charges": 1,
            "answers": 1,
            "reused": 3,
            "refusals": 2,
        }
    ],
}
_CELLS: Final = {
    "dataset": "clinic",
    "cap": {"released": 10_000, "withheld": 1_000},
    "spent": {"released": 34, "withheld": 2},
    "cells_left": 9_966,
    "withheld_left": 998,
}

OTHERS: Final = (
    Example(DATASETS, "what you may ask", 200, {"datasets": [_LINE]}),
    no_token(DATASETS),
    Example(DATASETS, "a parameter that is not known", 422, wrong("`shoe` is not known here"), query="shoe=1"),
    Example(
        DATASET,
        "tables and columns",
        200,
        {
            **_LINE,
            "digest": DIGEST,
            "unit": {"name": "person", "column": "people.pid", "count_about": 3000},
            "release": {"modes": ["dp"], "accountant": "zcdp", "epsilon": "8"},
            "tables": [
                {
                    "name": "people",
                    "public": False,
                    "key": None,
                    "link": None,
                    "rows_per_unit_max": 1,
                    "columns": [
                        {
                            "name": "sex",
                            "type": "text",
                            "role": "dimension",
                            "use": "group and filter",
                            "filter": "range",
                            "aggregates": ["count"],
                            "nullable": False,
                            "sensitive": False,
                            "values": ["F", "M", "X"],
                        }
                    ],
                }
            ],
            "budgets": [_BUDGET],
        },
        path={"name": "clinic"},
    ),
    no_token(DATASET, path={"name": "clinic"}),
    Example(
        DATASET,
        "not there, or not yours",
        404,
        problem("not_found", "you have no dataset of this name", hint="those you may ask: GET /v1/datasets"),
        path={"name": "nowhere"},
    ),
    Example(BUDGETS, "caps, spent, left", 200, {"budgets": [_BUDGET], "cells": [_CELLS]}),
    no_token(BUDGETS),
    no_role(BUDGETS, "see budgets"),
    Example(HISTORY, "of a dataset, by day", 200, {"by": "day", "scopes": [_SPEND]}, query="dataset=clinic&by=day"),
    Example(HISTORY, "of all operators", 200, {"by": "month", "scopes": []}, who="auditor", query="by=month"),
    no_token(HISTORY),
    Example(
        HISTORY,
        "of a dataset that is not there, or not yours",
        404,
        problem("not_found", "you have no dataset of this name", hint="those you may ask: GET /v1/datasets"),
        query="dataset=nowhere",
    ),
    Example(HISTORY, "by what is no period", 422, wrong("`by` is one of day, week, month"), query="by=hour"),
    Example(
        RECORDS, "decisions", 200, {"records": [RECORD], "cursor": "42"}, who="auditor", query="limit=1&kind=decision"
    ),
    no_token(RECORDS),
    no_role(RECORDS, "read the audit log"),
    Example(
        RECORDS,
        "a time that is none",
        422,
        wrong("`since` must be a day or a UTC time such as 2026-11-23T22:04:36.123Z"),
        who="auditor",
        query="since=monday",
    ),
    Example(
        CHECKPOINT,
        "signed now",
        200,
        {
            "checkpoint": RECEIPT["checkpoint"],
            "cosigned": None,
            "key": "baopingkou/3f7a3f7a3f7a+0a1b2c3d+AX…=",
            "keys": [{"key": "baopingkou/3f7a3f7a3f7a+0a1b2c3d+AX…=", "from": 0}],
        },
        who="auditor",
    ),
    no_token(CHECKPOINT),
    no_role(CHECKPOINT, "read the audit log"),
    Example(
        REPORT,
        "of a day",
        200,
        {
            "report": {
                "format": 1,
                "ledger": "baopingkou/3f7a3f7a3f7a",
                "period": {"since": "2026-11-23", "until": "2026-11-24", "first": 1, "last": 41},
                "kinds": {"decision": 9, "read": 2},
                "verdicts": {"run": 5, "refused": 4},
                "refusals": {"column_hidden": 4},
                "operators": {},
                "readers": {"auditor-1": {"records": 2}},
                "acts": [],
                "probing": [],
            },
            "receipt": RECEIPT,
        },
        who="auditor",
        query="since=2026-11-23&until=2026-11-24",
    ),
    no_token(REPORT),
    no_role(REPORT, "read the audit log"),
    Example(
        REPORT,
        "a time that is none",
        422,
        wrong("`until` must be a day or a UTC time such as 2026-11-23T22:04:36.123Z"),
        who="auditor",
        query="until=now",
    ),
    Example(
        BUNDLE,
        "no such query",
        404,
        problem("not_found", "the log has no query of this id"),
        who="auditor",
        path={"query_id": f"qry_{'0' * 32}"},
    ),
    no_token(BUNDLE, path={"query_id": f"qry_{'0' * 32}"}),
    no_role(BUNDLE, "read the audit log", path={"query_id": f"qry_{'0' * 32}"}),
    Example(
        BUNDLE,
        "of an answer",
        200,
        {"bundle": 1, "query_id": "qry_…", "key": "…", "checkpoint": "…", "records": [], "opened": {}, "answer": {}},
        who="auditor",
        path={"query_id": "qry_…"},
        sent=False,
    ),
    Example(
        INCLUSION,
        "under a checkpoint that you hold",
        200,
        {"index": 0, "size": 2, "leaf_hash": DIGEST, "proof": [DIGEST], "checkpoint": None},
        who="auditor",
        query="index=0&size=2",
    ),
    no_token(INCLUSION),
    no_role(INCLUSION, "read the audit log"),
    Example(
        INCLUSION,
        "a log that is not so long",
        404,
        problem("not_found", "the log has no 999999999 records"),
        who="auditor",
        query="index=0&size=999999999",
    ),
    Example(
        INCLUSION, "no place", 422, problem("parameter_missing", "`index` is missing"), who="auditor", query="size=2"
    ),
    Example(
        CONSISTENCY,
        "since an older checkpoint",
        200,
        {"old": 1, "new": 2, "proof": [DIGEST], "checkpoint": None},
        who="auditor",
        query="old=1&new=2",
    ),
    no_token(CONSISTENCY),
    no_role(CONSISTENCY, "read the audit log"),
    Example(
        CONSISTENCY,
        "backwards",
        404,
        problem("not_found", "sizes must be 0 < old <= new"),
        who="auditor",
        query="old=2&new=1",
    ),
    Example(
        CONSISTENCY, "a size that is none", 422, wrong("`old` must be a whole number"), who="auditor", query="old=-1"
    ),
    Example(TLOG, "the checkpoint", 200, RECEIPT["checkpoint"], who="auditor", path={"path": "checkpoint"}),
    Example(TLOG, "hashes of two records", 200, "…", who="auditor", path={"path": "tile/0/000.p/2"}),
    no_token(TLOG, path={"path": "checkpoint"}),
    no_role(TLOG, "read the audit log", path={"path": "checkpoint"}),
    Example(
        TLOG,
        "no tile",
        404,
        problem("not_found", "there is no tile of this name", hint="tile/0/000, tile/entries/x001/234.p/17"),
        who="auditor",
        path={"path": "tile/0/1"},
    ),
    Example(EXPORT, "records, then the checkpoint", 200, '{"actor":null,…}\n{"checkpoint":"…","key":"…"}\n', "auditor"),
    no_token(EXPORT),
    no_role(EXPORT, "read the audit log"),
    Example(HEALTHZ, "the process is up", 200, {"status": "ok"}, who="nobody"),
    Example(
        READYZ,
        "questions are answered",
        200,
        {
            "ready": True,
            "leaving": False,
            "store": "ready",
            "log": "ready",
            "timestamps": None,
            "domain": "ready",
            "issuer": None,
            "caps": {"approvers": 3, "quorum": 2, "as_settings": True, "waiting": {"clinic": 1}},
            "domain_reason": "",
            "isolation": [{"name": "landlock", "required": True, "active": True, "reason": ""}],
            "degraded": [],
            "datasets": [
                {
                    "name": "clinic",
                    "state": "ready",
                    "reason": "",
                    "policy_digest": DIGEST,
                    "snapshot": "1",
                    "deadlines_s": [0.5, 1, 2, 4, 8, 16, 32],
                }
            ],
        },
        who="nobody",
    ),
    Example(
        READYZ,
        "not yet",
        503,
        {
            "ready": False,
            "leaving": False,
            "store": "cannot be written: database or disk is full",
            "log": "ready",
            "timestamps": None,
            "domain": "unreachable",
            "issuer": {"state": "none", "keys": 0, "age_s": None, "reason": "https://id.example/keys: ConnectTimeout"},
            "caps": None,
            "domain_reason": "the data domain cannot be asked: its certificate has expired",
            "isolation": [],
            "degraded": [],
            "datasets": [],
        },
        who="nobody",
        sent=False,
    ),
    Example(METRICS, "counters", 200, 'bpk_queries_total{verdict="run"} 12\n', who="nobody"),
    Example(OPENAPI, "this document", 200, {"openapi": "3.1.0"}, who="nobody"),
    Example(DOCS, "the page", 200, "<!doctype html>…", who="nobody"),
)
EXAMPLES: Final = completed((*QUERIES, *OTHERS))
