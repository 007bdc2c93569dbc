"""Examples of asking, and of what is said about a query afterwards."""

from __future__ import annotations

from typing import Final

from gateway.http import problems
from gateway.http.example import COST, DIGEST, LEFT, QUERY, RECEIPT, Example, no_role, no_token, problem, wrong
from sandbox.relational.expressions import Position

ASK: Final = ("POST", "/v1/queries")
HISTORY: Final = ("GET", "/v1/queries")
CHECK: Final = ("POST", "/v1/queries/check")
AGAIN: Final = ("GET", "/v1/queries/{query_id}")
CANCEL: Final = ("DELETE", "/v1/queries/{query_id}")

_OTHER: Final = "qry_ffffffffffffffffffffffffffffffff"
_ANSWER: Final = {
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
    "cost": COST,
    "budget": LEFT,
    "reused": False,
    "receipt": RECEIPT,
    "opening": DIGEST,
}
_EXACT: Final = {
    **_ANSWER,
    "mode": "aggregate",
    "columns": [
        {"name": "sex", "type": "text", "kind": "key"},
        {"name": "n", "type": "bigint", "kind": "protected"},
    ],
    "rows": [["F", 1505], ["M", 1490], ["X", None]],
    "intervals": [[None, [1503, 1507]], [None, [1488, 1492]], [None, None]],
    "confidence": 1.0,
    "notes": [[None, ["rounded"]], [None, ["rounded"]], [None, ["withheld"]]],
    "cost": {"epsilon": "0", "delta": "0", "rho": "0"},
    "budget": {"cells": {"name": "clinic", "cells_left": 9_998, "withheld_left": 999}},
    "rules": [
        {"name": "units", "text": "at least 10 units contribute to every number that is shown"},
        {"name": "rounding", "text": "counts are rounded to 5, sums and means to match"},
    ],
}
_OPEN: Final = {
    **_ANSWER,
    "mode": "open",
    "columns": [
        {"name": "id", "type": "integer", "kind": "exact"},
        {"name": "level", "type": "text", "kind": "exact"},
    ],
    "rows": [[0, "county"], [1, "city"]],
    "intervals": [[None, None], [None, None]],
    "confidence": 1.0,
    "notes": [[None, None], [None, None]],
    "cost": {"epsilon": "0", "delta": "0", "rho": "0"},
    "budget": None,
    "cursor": "2.0123456789abcdef01234567",
}
_RUNNING: Final = {"id": QUERY, "status": "running"}
_INTERNAL: Final = problems.problem(problems.internal())
_NOT_READY: Final = problem(
    "not_ready", "the data domain is not ready", hint="nothing was charged; ask again in a moment"
)
_HIDDEN: Final = problem(
    "column_hidden",
    "`name` is hidden: it cannot be asked for, filtered by or grouped by",
    hint="columns here: `pid`, `sex`, `income`",
    at=Position(1, 8, 4),
)
_NOT_THERE: Final = problem("not_found", "you have no query under this id", hint="your queries: GET /v1/queries")
_BODY_HINT: Final = "see /docs for what the body may hold"
_COUNT: Final = {"sql": "SELECT sex, COUNT(*) AS n FROM people GROUP BY sex", "purpose": "research", "epsilon": "0.5"}
_COUNT_EXACTLY: Final = {
    "sql": "SELECT sex, COUNT(*) AS n FROM people GROUP BY sex",
    "purpose": "research",
    "mode": "aggregate",
}
_ACCURATE: Final = {
    "sql": "SELECT COUNT(*) AS n FROM people WHERE sex = 'F'",
    "purpose": "research",
    "accuracy": {"relative": "0.05"},
}
_SUM: Final = {"sql": "SELECT SUM(cost) AS total FROM visits WHERE cost > $least", "purpose": "research"}

QUERIES: Final = (
    Example(ASK, "answered", 200, _ANSWER, body=_COUNT, headers={"Idempotency-Key": "monday-1"}),
    Example(ASK, "answered exactly", 200, _EXACT, body=_COUNT_EXACTLY),
    Example(
        ASK,
        "open rows, a page",
        200,
        _OPEN,
        body={"sql": "SELECT id, level FROM hospitals", "mode": "open", "limit": 2},
    ),
    Example(
        ASK,
        "a page of a question that comes whole",
        422,
        wrong("`limit` and `cursor` are of mode `open`: other answers come whole", hint="write LIMIT in the question"),
        body={**_COUNT, "limit": 2},
    ),
    Example(
        ASK,
        "noise named where there is none",
        422,
        problem(
            "epsilon_invalid",
            "`epsilon` is of mode `dp`: an exact answer has no noise, and costs none",
            hint="leave `epsilon` out, or ask in mode `dp` where it is offered",
        ),
        body={**_COUNT_EXACTLY, "epsilon": "0.5"},
    ),
    Example(
        ASK,
        "an aggregate that is not answered exactly",
        403,
        problem(
            "aggregate_not_allowed",
            "a quantile is not answered exactly: it is not known who stands behind the number",
            hint="COUNT, COUNT(DISTINCT unit), SUM and AVG are; or ask in mode `dp`",
            at=Position(1, 8, 13),
        ),
        body={"sql": "SELECT MEDIAN(income) AS m FROM people", "purpose": "research", "mode": "aggregate"},
    ),
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
        problem(
            "sql_unreadable",
            "the text is not readable as SQL near `1`",
            hint="the dialect is DuckDB's; a query is one SELECT",
            at=Position(1, 7, 1),
        ),
        body={"sql": "SELEC 1", "purpose": "research"},
    ),
    no_token(ASK, body=_COUNT),
    Example(
        ASK,
        "forged token",
        401,
        problem(
            "token_invalid",
            "the bearer token is not accepted",
            hint="ask your identity provider, or whoever runs this gateway, for a new one",
        ),
        who="forger",
        body=_COUNT,
    ),
    Example(
        ASK,
        "a hidden column",
        403,
        _HIDDEN,
        body={"sql": "SELECT name FROM people", "purpose": "research"},
    ),
    Example(
        ASK,
        "an accuracy beyond the price of one question",
        403,
        problem(
            "accuracy_unaffordable",
            "this accuracy costs more than an epsilon of 2, the most that a query of this dataset may cost",
            hint="`absolute` 7 is affordable at this confidence; coarser groups are more accurate for the same price",
        ),
        body={**_ACCURATE, "accuracy": {"absolute": 2}},
    ),
    no_role(ASK, "ask", body=_COUNT),
    Example(
        ASK,
        "another request under the same key",
        409,
        problem(
            "idempotency_conflict",
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
            "body_invalid",
            "`sql` must be text; `shoe` is not known here",
            hint=_BODY_HINT,
            places=[{"at": "sql", "problem": "must be text"}, {"at": "shoe", "problem": "is not known here"}],
        ),
        body={"sql": 5, "purpose": "research", "shoe": 1},
    ),
    Example(
        ASK,
        "a parameter without a value",
        422,
        problem("parameter_missing", "`$least` has no value", hint="send it in `parameters`", at=Position(1, 45, 4)),
        body=_SUM,
    ),
    Example(
        ASK,
        "the budget is used up",
        429,
        problem(
            "budget_exhausted",
            "your licence's budget for `clinic` does not hold this question: epsilon 0.050000000077 is left",
            hint="the largest epsilon that still fits is 0.050000000077; stored answers stay free",
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
            "plan": [
                "read `people`, at most 1 row per person counting in full",
                "group by `people.sex`: 3 public groups, all of them answered",
                "sum, with discrete Gaussian noise sized for one whole person; the most that one person counts for, "
                "chosen first for a part of the price",
            ],
            "columns": [
                {"name": "sex", "type": "text", "kind": "key"},
                {"name": "s", "type": "bigint", "kind": "noisy"},
            ],
            "cost": COST,
            "intervals_expected": [None, 2439732],
            "values_expected": [None, 6666667],
            "deadline_s": 0.5,
            "budget": LEFT,
            "reused": False,
        },
        body={"sql": "SELECT sex, SUM(income) AS s FROM people GROUP BY sex", "purpose": "research", "epsilon": "0.5"},
    ),
    Example(
        CHECK,
        "the price of an accuracy",
        200,
        {
            "verdict": "answer",
            "mode": "dp",
            "plan": [
                "read `people`, at most 1 row per person counting in full",
                "keep the rows that meet the conditions",
                "count rows, with discrete Gaussian noise sized for one whole person",
            ],
            "columns": [{"name": "n", "type": "bigint", "kind": "noisy"}],
            "cost": {"epsilon": "0.579591672346", "delta": "0", "rho": "0.005046979309"},
            "intervals_expected": [20],
            "values_expected": [400],
            "deadline_s": 0.5,
            "budget": LEFT,
            "reused": False,
        },
        body=_ACCURATE,
    ),
    Example(
        CHECK,
        "it would be refused",
        200,
        {
            "verdict": "refuse",
            "problem": _HIDDEN,
        },
        body={"sql": "SELECT name FROM people", "purpose": "research"},
    ),
    Example(
        CHECK,
        "a body that is not JSON",
        400,
        problem("body_unreadable", "the body is not JSON", hint="send UTF-8 JSON in which no member is named twice"),
        body="not JSON",
    ),
    no_token(CHECK, body=_COUNT),
    no_role(CHECK, "ask", body=_COUNT),
    Example(
        CHECK,
        "a field that is not known",
        422,
        problem(
            "body_invalid",
            "`shoe` is not known here",
            hint=_BODY_HINT,
            places=[{"at": "shoe", "problem": "is not known here"}],
        ),
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
                    "cost": COST,
                    "reused": False,
                }
            ],
            "cursor": None,
        },
        query="limit=20",
        after="answered",
    ),
    no_token(HISTORY),
    no_role(HISTORY, "ask"),
    Example(HISTORY, "a limit that is none", 422, wrong("`limit` must be a whole number"), query="limit=many"),
    Example(AGAIN, "the same answer", 200, _ANSWER, path={"query_id": QUERY}, after="answered"),
    no_token(AGAIN, path={"query_id": QUERY}),
    no_role(AGAIN, "ask", path={"query_id": QUERY}),
    Example(
        AGAIN,
        "not there, or somebody else's",
        404,
        _NOT_THERE,
        path={"query_id": _OTHER},
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
    no_token(CANCEL, path={"query_id": QUERY}),
    no_role(CANCEL, "ask", path={"query_id": QUERY}),
    Example(
        CANCEL,
        "not there, or somebody else's",
        404,
        _NOT_THERE,
        path={"query_id": _OTHER},
    ),
)
