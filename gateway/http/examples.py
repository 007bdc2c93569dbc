"""Examples of the API's document: requests that can be sent, and what comes back. The tests send them to a served home.

They speak of the policy in docs/how-to/write-a-policy.md: `clinic` with people, visits and hospitals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Who = Literal["operator", "auditor", "stranger", "nobody", "forger"]
DIGEST: Final = "3f7a" * 16
QUERY: Final = "qry_0123456789abcdef0123456789abcdef"
OTHER: Final = "qry_ffffffffffffffffffffffffffffffff"


@dataclass(frozen=True, slots=True)
class Example:
    """A request that can be sent, and its reply. `after` names the example whose query id fills `{query_id}`."""

    route: tuple[str, str]
    name: str
    status: int
    reply: Any
    who: Who = "operator"
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    path: dict[str, str] = field(default_factory=dict)
    query: str = ""
    after: str | None = None
    sent: bool = True
    """False where only a broken gateway replies so."""


def problem(status: int, code: str, title: str, detail: str, **more: Any) -> dict[str, Any]:
    return {
        "type": f"urn:baopingkou:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }


_COST: Final = {"epsilon": "0.5", "delta": "0", "rho": "0.003796322952"}
_LEFT: Final = {
    "dataset": {"name": "clinic", "epsilon_left": "7.97", "answers_left": 186},
    "operator": {"epsilon_left": "1.92", "answers_left": 13},
}
_RECORD: Final = {
    "v": 1,
    "ledger": "baopingkou/3f7a3f7a3f7a",
    "seq": 41,
    "time": "2026-11-23T22:04:36.123Z",
    "kind": "release",
    "actor": "acme-actuaries",
    "query_id": QUERY,
    "dataset": "clinic",
    "policy_digest": DIGEST,
    "snapshot": DIGEST,
    "decision": None,
    "code": None,
    "charges": None,
    "commitments": {"release": DIGEST},
}
_RECEIPT: Final = {
    "index": 41,
    "record": _RECORD,
    "leaf_hash": DIGEST,
    "proof": [DIGEST],
    "checkpoint": "baopingkou/3f7a3f7a3f7a\n42\nq83v…=\n\n— baopingkou/3f7a3f7a3f7a q83v…=\n",
}
ANSWER: Final = {
    "id": QUERY,
    "status": "answered",
    "mode": "dp",
    "columns": [
        {"name": "sex", "type": "text", "kind": "key"},
        {"name": "n", "type": "bigint", "kind": "noisy"},
    ],
    "rows": [["F", 1506], ["M", 1489]],
    "intervals": [[None, [1478, 1534]], [None, [1461, 1517]]],
    "confidence": 0.95,
    "notes": [[None, None], [None, None]],
    "cost": _COST,
    "budget": _LEFT,
    "reused": False,
    "receipt": _RECEIPT,
}
_RUNNING: Final = {"id": QUERY, "status": "running"}
_MISSING: Final = problem(
    401,
    "token_missing",
    "Who are you?",
    "this address takes a bearer token",
    hint="send the header `Authorization: Bearer <token>`, once",
)
_FORGED: Final = problem(401, "token_invalid", "Who are you?", "the bearer token is not accepted")
_INTERNAL: Final = problem(
    500,
    "internal_error",
    "Something broke on our side",
    "something broke on our side; whoever runs this gateway finds the cause in its log",
)
_NOT_READY: Final = problem(
    503, "not_ready", "Not ready, nothing was charged", "the data domain is not ready", hint="ask again in a moment"
)


def _no_role(act: str, role: str) -> dict[str, Any]:
    title = "The policy or your licence does not allow this"
    return problem(
        403, "role_missing", title, f"your token does not let you {act}", hint=f"that takes the role `{role}`"
    )


def _wrong(detail: str) -> dict[str, Any]:
    return problem(422, "parameter_invalid", "The request is readable, but wrong", detail)


ASK: Final = ("POST", "/v1/queries")
HISTORY: Final = ("GET", "/v1/queries")
CHECK: Final = ("POST", "/v1/queries/check")
AGAIN: Final = ("GET", "/v1/queries/{query_id}")
CANCEL: Final = ("DELETE", "/v1/queries/{query_id}")
DATASETS: Final = ("GET", "/v1/datasets")
DATASET: Final = ("GET", "/v1/datasets/{name}")
BUDGETS: Final = ("GET", "/v1/budgets")
RECORDS: Final = ("GET", "/v1/audit/records")
CHECKPOINT: Final = ("GET", "/v1/audit/checkpoint")
EXPORT: Final = ("GET", "/v1/audit/export")
HEALTHZ: Final = ("GET", "/healthz")
READYZ: Final = ("GET", "/readyz")
METRICS: Final = ("GET", "/metrics")
OPENAPI: Final = ("GET", "/openapi.json")
DOCS: Final = ("GET", "/docs")

_COUNT: Final = {"sql": "SELECT sex, COUNT(*) AS n FROM people GROUP BY sex", "purpose": "research", "epsilon": "0.5"}
_SUM: Final = {"sql": "SELECT SUM(cost) AS total FROM visits WHERE cost > $least", "purpose": "research"}
_POLICY: Final = {"dataset": "clinic", "version": "1", "digest": DIGEST}

QUERIES: Final = (
    Example(ASK, "answered", 200, ANSWER, body=_COUNT, headers={"Idempotency-Key": "monday-1"}),
    Example(
        ASK,
        "still running",
        202,
        _RUNNING,
        body={"sql": "SELECT AVG(income) AS mean FROM people", "purpose": "research", "wait_s": 0},
    ),
    Example(
        ASK,
        "unreadable SQL",
        400,
        problem(400, "sql_unreadable", "The request cannot be read", "this is not SQL that can be read here"),
        body={"sql": "SELEC 1", "purpose": "research"},
    ),
    Example(ASK, "no token", 401, _MISSING, who="nobody", body=_COUNT),
    Example(ASK, "forged token", 401, _FORGED, who="forger", body=_COUNT),
    Example(
        ASK,
        "a hidden column",
        403,
        problem(
            403,
            "column_hidden",
            "The policy or your licence does not allow this",
            "`name` is hidden by the policy",
            position={"line": 1, "column": 8, "length": 4},
        ),
        body={"sql": "SELECT name FROM people", "purpose": "research"},
    ),
    Example(ASK, "not an operator", 403, _no_role("ask", "operator"), who="auditor", body=_COUNT),
    Example(
        ASK,
        "another request under the same key",
        409,
        problem(
            409,
            "idempotency_conflict",
            "This idempotency key belongs to another request",
            "this `Idempotency-Key` was used for another request",
            hint="send a new key with a new request",
        ),
        body={"sql": "SELECT COUNT(*) AS n FROM visits", "purpose": "research"},
        headers={"Idempotency-Key": "monday-1"},
        after="answered",
    ),
    Example(
        ASK,
        "a body with wrong types",
        422,
        problem(
            422,
            "body_invalid",
            "The request is readable, but wrong",
            "`sql` must be text; `shoe` is not known here",
            errors=[{"at": "sql", "problem": "must be text"}, {"at": "shoe", "problem": "is not known here"}],
        ),
        body={"sql": 5, "purpose": "research", "shoe": 1},
    ),
    Example(
        ASK,
        "a parameter without a value",
        422,
        problem(422, "parameter_missing", "The request is readable, but wrong", "`$least` has no value"),
        body=_SUM,
    ),
    Example(
        ASK,
        "the budget is used up",
        429,
        problem(
            429,
            "budget_exhausted",
            "The budget or the rate is used up",
            "your licence's budget for `clinic` does not hold this question: epsilon 0.4 is left",
        ),
        who="stranger",
        body={"sql": "SELECT COUNT(*) AS n FROM visits", "purpose": "research", "epsilon": 1},
    ),
    Example(ASK, "something broke", 500, _INTERNAL, body=_COUNT, sent=False),
    Example(ASK, "not ready", 503, _NOT_READY, body=_COUNT, sent=False),
    Example(
        CHECK,
        "it would be answered",
        200,
        {
            "verdict": "answer",
            "mode": "dp",
            "plan": ["scan people", "count rows by sex", "add noise"],
            "columns": ANSWER["columns"],
            "cost": _COST,
            "intervals_expected": [None, 29],
            "budget": _LEFT,
            "reused": False,
        },
        body={"sql": "SELECT sex, SUM(income) AS s FROM people GROUP BY sex", "purpose": "research"},
    ),
    Example(
        CHECK,
        "it would be refused",
        200,
        {
            "verdict": "refuse",
            "problem": problem(
                403,
                "column_hidden",
                "The policy or your licence does not allow this",
                "`name` is hidden by the policy",
            ),
        },
        body={"sql": "SELECT name FROM people", "purpose": "research"},
    ),
    Example(
        CHECK,
        "a body that is not JSON",
        400,
        problem(400, "body_unreadable", "The request cannot be read", "the body is not JSON"),
        body="not JSON",
    ),
    Example(CHECK, "no token", 401, _MISSING, who="nobody", body=_COUNT),
    Example(CHECK, "not an operator", 403, _no_role("ask", "operator"), who="auditor", body=_COUNT),
    Example(
        CHECK,
        "a field that is not known",
        422,
        problem(422, "body_invalid", "The request is readable, but wrong", "`shoe` is not known here"),
        body={**_COUNT, "shoe": 1},
    ),
    Example(CHECK, "something broke", 500, _INTERNAL, body=_COUNT, sent=False),
    Example(CHECK, "not ready", 503, _NOT_READY, body=_COUNT, sent=False),
    Example(
        HISTORY,
        "the newest ones",
        200,
        {
            "queries": [
                {
                    "id": QUERY,
                    "status": "answered",
                    "dataset": "clinic",
                    "mode": "dp",
                    "created": "2026-11-23T22:04:36.123+00:00",
                    "cost": _COST,
                    "reused": False,
                }
            ],
            "cursor": None,
        },
        query="limit=20",
        after="answered",
    ),
    Example(HISTORY, "no token", 401, _MISSING, who="nobody"),
    Example(HISTORY, "not an operator", 403, _no_role("ask", "operator"), who="auditor"),
    Example(HISTORY, "a limit that is none", 422, _wrong("`limit` must be a whole number"), query="limit=many"),
    Example(AGAIN, "the same answer", 200, ANSWER, path={"query_id": QUERY}, after="answered"),
    Example(AGAIN, "no token", 401, _MISSING, who="nobody", path={"query_id": QUERY}),
    Example(AGAIN, "not an operator", 403, _no_role("ask", "operator"), who="auditor", path={"query_id": QUERY}),
    Example(
        AGAIN,
        "not there, or somebody else's",
        404,
        problem(404, "not_found", "Nothing here under this name", "you have no query under this id"),
        path={"query_id": OTHER},
    ),
    Example(AGAIN, "not ready", 503, _NOT_READY, path={"query_id": QUERY}, sent=False),
    Example(
        CANCEL,
        "it had ended already",
        200,
        {"id": QUERY, "status": "answered"},
        path={"query_id": QUERY},
        after="answered",
    ),
    Example(CANCEL, "no token", 401, _MISSING, who="nobody", path={"query_id": QUERY}),
    Example(CANCEL, "not an operator", 403, _no_role("ask", "operator"), who="auditor", path={"query_id": QUERY}),
    Example(
        CANCEL,
        "not there, or somebody else's",
        404,
        problem(404, "not_found", "Nothing here under this name", "you have no query under this id"),
        path={"query_id": OTHER},
    ),
)

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
}
_BUDGET: Final = {
    "scope": "operator:acme-actuaries/clinic",
    "dataset": "clinic",
    "accountant": "zcdp",
    "cap": {"rho": "0.05", "epsilon": "2", "delta": "0.0000000005"},
    "spent": {"rho": "0.0038", "epsilon": "0.5", "delta": "0"},
    "left": {"rho": "0.0462", "epsilon": "1.92", "delta": "0.0000000005"},
    "epsilon_left": "1.92",
    "answers_left": None,
}

REST: Final = (
    Example(DATASETS, "what you may ask", 200, {"datasets": [_LINE]}),
    Example(DATASETS, "no token", 401, _MISSING, who="nobody"),
    Example(DATASETS, "a parameter that is not known", 422, _wrong("`shoe` is not known here"), query="shoe=1"),
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
    Example(DATASET, "no token", 401, _MISSING, who="nobody", path={"name": "clinic"}),
    Example(
        DATASET,
        "not there, or not yours",
        404,
        problem(404, "not_found", "Nothing here under this name", "you have no dataset of this name"),
        path={"name": "nowhere"},
    ),
    Example(BUDGETS, "caps, spent, left", 200, {"budgets": [_BUDGET]}),
    Example(BUDGETS, "no token", 401, _MISSING, who="nobody"),
    Example(BUDGETS, "not an operator", 403, _no_role("see budgets", "operator"), who="auditor"),
    Example(
        RECORDS, "decisions", 200, {"records": [_RECORD], "cursor": "42"}, who="auditor", query="limit=1&kind=decision"
    ),
    Example(RECORDS, "no token", 401, _MISSING, who="nobody"),
    Example(RECORDS, "not an auditor", 403, _no_role("read the audit log", "auditor")),
    Example(RECORDS, "a time that is none", 422, _wrong("`since` must be a day"), who="auditor", query="since=monday"),
    Example(
        CHECKPOINT,
        "signed now",
        200,
        {"checkpoint": _RECEIPT["checkpoint"], "key": "baopingkou/3f7a3f7a3f7a+0a1b2c3d+AX…="},
        who="auditor",
    ),
    Example(CHECKPOINT, "no token", 401, _MISSING, who="nobody"),
    Example(CHECKPOINT, "not an auditor", 403, _no_role("read the audit log", "auditor")),
    Example(EXPORT, "records, then the checkpoint", 200, '{"actor":null,…}\n{"checkpoint":"…","key":"…"}\n', "auditor"),
    Example(EXPORT, "no token", 401, _MISSING, who="nobody"),
    Example(EXPORT, "not an auditor", 403, _no_role("read the audit log", "auditor")),
    Example(HEALTHZ, "the process is up", 200, {"status": "ok"}, who="nobody"),
    Example(
        READYZ,
        "questions are answered",
        200,
        {
            "ready": True,
            "domain": "ready",
            "isolation": [{"name": "landlock", "required": True, "active": True, "reason": ""}],
            "degraded": [],
            "datasets": [{"name": "clinic", "state": "ready", "reason": "", "policy_digest": DIGEST, "snapshot": "1"}],
        },
        who="nobody",
    ),
    Example(
        READYZ,
        "not yet",
        503,
        {"ready": False, "domain": "unreachable", "isolation": [], "degraded": [], "datasets": []},
        who="nobody",
        sent=False,
    ),
    Example(METRICS, "counters", 200, 'bpk_queries_total{verdict="run"} 12\n', who="nobody"),
    Example(OPENAPI, "this document", 200, {"openapi": "3.1.0"}, who="nobody"),
    Example(DOCS, "the page", 200, "<!doctype html>…", who="nobody"),
)
EXAMPLES: Final = (*QUERIES, *REST)
