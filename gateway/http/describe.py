"""The API's document (OpenAPI 3.1), made of the wire models and of the examples that the tests send."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.http import replies, wire
from gateway.http.example import Example
from gateway.http.examples import EXAMPLES
from gateway.http.problems import MEDIA_TYPE, TITLES
from gateway.http.schemes import CURSOR, HEADERS, SCHEMES

_REF: Final = "#/components/schemas/{model}"
_TEXT: Final[dict[tuple[str, str], str]] = {
    ("GET", "/v1/audit/tlog/{path}"): "application/octet-stream",
    ("GET", "/v1/audit/export"): "application/x-ndjson",
    ("GET", "/metrics"): "text/plain; version=0.0.4",
    ("GET", "/docs"): "text/html; charset=utf-8",
}
_ALSO: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("GET", "/v1/audit/tlog/{path}"): ("text/plain; charset=utf-8",),
    ("GET", "/v1/audit/records"): ("application/x-ndjson", "text/csv; charset=utf-8"),
}
"""Other types of a reply, by what was asked for."""
_READ: Final = "Reading is itself recorded."
_WORDS: Final[dict[tuple[str, str], tuple[str, str, str]]] = {
    # route -> tag, summary, description
    ("POST", "/v1/queries"): (
        "Questions",
        "Ask",
        "200 when the answer is there within `wait_s`, else 202 with its address. Charged before it runs, never paid "
        "back; the same question again is free. The same `Idempotency-Key` with the same body is the same query.",
    ),
    ("GET", "/v1/queries"): ("Questions", "Your own history, newest first", "No answers: those are at their ids."),
    ("POST", "/v1/queries/check"): (
        "Questions",
        "Verdict, plan and price, free",
        "The same body as a query. No data is read, and nothing is charged.",
    ),
    ("GET", "/v1/queries/{query_id}"): ("Questions", "The same answer again, free", ""),
    ("DELETE", "/v1/queries/{query_id}"): ("Questions", "Cancel", "What was charged stays charged."),
    ("GET", "/v1/datasets"): ("Catalogue", "The datasets you may ask", ""),
    ("GET", "/v1/datasets/{name}"): ("Catalogue", "A dataset: tables, columns, what each is for, what is left", ""),
    ("GET", "/v1/budgets"): ("Catalogue", "Caps, spent, left: per dataset and for you", ""),
    ("GET", "/v1/budgets/history"): (
        "Catalogue",
        "What was spent when",
        "Yours, with the totals of your datasets. Auditors are told of all operators, and their reading is recorded.",
    ),
    ("GET", "/v1/audit/records"): ("Audit", "Records, oldest first", _READ),
    ("GET", "/v1/audit/checkpoint"): ("Audit", "A signed checkpoint over every record", _READ),
    ("GET", "/v1/audit/report"): (
        "Audit",
        "What was asked, refused, spent, read and changed in a period, and what looks like probing",
        "The report's hash goes on record: the receipt proves it offline.",
    ),
    ("GET", "/v1/audit/bundle/{query_id}"): (
        "Audit",
        "The evidence of one answer, for a third party",
        "Its records and those that it rests on, proven, with the question's texts and the numbers. "
        "Reading is itself recorded.",
    ),
    ("GET", "/v1/audit/proof/inclusion"): ("Audit", "Proof that a record is under a checkpoint", _READ),
    ("GET", "/v1/audit/proof/consistency"): ("Audit", "Proof that a checkpoint extends an older one", _READ),
    ("GET", "/v1/audit/tlog/{path}"): (
        "Audit",
        "The log in the files of C2SP tlog-tiles",
        "`checkpoint`, `tile/<level>/<place>`, `tile/entries/<place>`, each with `.p/<width>` where it is not full. "
        "Reading is recorded once an hour.",
    ),
    ("GET", "/v1/audit/export"): ("Audit", "The whole log for `bpk audit verify`", _READ),
    ("GET", "/healthz"): ("Operation", "The process is up", ""),
    ("GET", "/readyz"): ("Operation", "Whether questions are answered, and what holds", ""),
    ("GET", "/metrics"): ("Operation", "Counters in Prometheus' format", ""),
    ("GET", "/openapi.json"): ("Operation", "This document", ""),
    ("GET", "/docs"): ("Operation", "This document as a page", ""),
}
_MODELS: Final[dict[tuple[str, str], tuple[type[BaseModel], ...]]] = {
    ("POST", "/v1/queries"): (replies.Answer, replies.Failure, replies.Unfinished),
    ("GET", "/v1/queries/{query_id}"): (replies.Answer, replies.Failure, replies.Unfinished),
    ("DELETE", "/v1/queries/{query_id}"): (replies.Ended,),
    ("GET", "/v1/queries"): (replies.History,),
    ("POST", "/v1/queries/check"): (replies.Check,),
    ("GET", "/v1/datasets"): (replies.Datasets,),
    ("GET", "/v1/datasets/{name}"): (replies.DatasetDetail,),
    ("GET", "/v1/budgets"): (replies.Budgets,),
    ("GET", "/v1/budgets/history"): (replies.SpendOverTime,),
    ("GET", "/v1/audit/records"): (replies.Records,),
    ("GET", "/v1/audit/checkpoint"): (replies.Checkpoint,),
    ("GET", "/v1/audit/proof/inclusion"): (replies.Inclusion,),
    ("GET", "/v1/audit/proof/consistency"): (replies.Consistency,),
    ("GET", "/healthz"): (replies.Health,),
    ("GET", "/readyz"): (replies.Ready,),
}
_PARAMETERS: Final[dict[tuple[str, str], tuple[tuple[str, str], ...]]] = {
    ("GET", "/v1/queries"): (("limit", "at most so many, up to 200"), ("cursor", "from the page before")),
    ("GET", "/v1/budgets/history"): (
        ("dataset", "name of a dataset"),
        ("operator", "the token's subject; for auditors, another one's"),
        ("by", "day, week (it begins on Monday), month; UTC"),
        ("since", "a day: periods from the one that holds it"),
        ("until", "a day: periods that begin before it"),
    ),
    ("GET", "/v1/audit/proof/inclusion"): (
        ("index", "place of the record"),
        ("size", "of the checkpoint that you hold; without it one is signed now"),
    ),
    ("GET", "/v1/audit/proof/consistency"): (
        ("old", "size of the older checkpoint"),
        ("new", "size of the newer one; without it one is signed now"),
    ),
    ("GET", "/v1/audit/records"): (
        ("limit", "at most so many, up to 1000"),
        ("cursor", "from the page before"),
        ("actor", "the token's subject"),
        ("dataset", "name of a dataset"),
        ("kind", "genesis, decision, charge, release, failure, admin, read"),
        ("decision", "run, reused, repeated, refused"),
        ("code", "the code of a refusal"),
        ("query_id", "id of a query"),
        ("since", "a day or UTC time, included"),
        ("until", "a day or UTC time, not included"),
        ("purpose", "of the question"),
        ("words", "of the SQL, all of them, in any case"),
        ("mode", "dp, aggregate, open"),
        ("cost_min", "questions that cost at least so much epsilon"),
        ("format", "json, ndjson or csv; of the latter two `X-Cursor` is the cursor"),
    ),
    ("GET", "/v1/audit/report"): (
        ("since", "a day or UTC time, included"),
        ("until", "a day or UTC time, not included"),
    ),
}
_PATH_WORDS: Final = {
    "query_id": "id of a query, `qry_` and 32 hex digits",
    "name": "name of a dataset",
    "path": "`checkpoint`, or the path of a tile",
}


@cache
def document() -> dict[str, Any]:
    """The whole document; the same for every caller, and free of anything of this home."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path in _WORDS:
        paths.setdefault(path, {})[method.lower()] = _operation((method, path))
    used = {model for models in _MODELS.values() for model in models} | {wire.AskBody, replies.Problem}
    pairs = [(model, "validation") for model in sorted(used, key=lambda model: model.__name__)]
    _, definitions = models_json_schema(pairs, ref_template=_REF)  # type: ignore[arg-type]  # the literal "validation"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Baopingkou",
            "version": "1",
            "description": "A privacy-preserving compute gateway: ask in SQL, get protected answers.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": SCHEMES,
        },
    }


def _operation(route: tuple[str, str]) -> dict[str, Any]:
    tag, summary, words = _WORDS[route]
    examples = [example for example in EXAMPLES if example.route == route]
    found: dict[str, Any] = {"tags": [tag], "summary": summary, "operationId": _name(route)}
    if words:
        found["description"] = words
    if route[1].startswith("/v1/"):
        found["security"] = [{"bearer": []}, {"dpop": []}, {"bearer": [], "mutualTLS": []}]
    if parameters := _parameters(route):
        found["parameters"] = parameters
    if route[0] == "POST":
        bodies = {each.name: {"value": each.body} for each in examples if isinstance(each.body, dict)}
        content = {"schema": _ref(wire.AskBody), "examples": bodies}
        found["requestBody"] = {"required": True, "content": {"application/json": content}}
    statuses = sorted({each.status for each in examples})
    found["responses"] = {
        str(status): _response(route, status, [each for each in examples if each.status == status])
        for status in statuses
    }
    return found


def _response(route: tuple[str, str], status: int, examples: list[Example]) -> dict[str, Any]:
    shown = {each.name: {"value": each.reply} for each in examples}
    words = TITLES.get(status, HTTPStatus(status).phrase)
    listed = CURSOR if (route, status) == (("GET", "/v1/audit/records"), 200) else HEADERS.get(status)
    headers = {} if listed is None else {"headers": listed}
    if status >= 400 and route != ("GET", "/readyz"):
        problem = {"schema": _ref(replies.Problem), "examples": shown}
        return {"description": words, **headers, "content": {MEDIA_TYPE: problem}}
    kind = _TEXT.get(route, "application/json")
    content: dict[str, Any] = {
        "examples": shown,
        "schema": {"type": "string"} if route in _TEXT else {"type": "object"},
    }
    if route in _MODELS:
        refs = [_ref(model) for model in _MODELS[route]]
        content["schema"] = refs[0] if len(refs) == 1 else {"oneOf": refs}
    if status == 202:
        content["schema"] = _ref(replies.Unfinished)
    as_text = {"schema": {"type": "string"}, "examples": shown}
    more = dict.fromkeys(_ALSO.get(route, ()), as_text)
    return {"description": words, **headers, "content": {kind: content, **more}}


def _parameters(route: tuple[str, str]) -> list[dict[str, Any]]:
    text = {"schema": {"type": "string"}}
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "description": words, **text}
        for name, words in _PATH_WORDS.items()
        if f"{{{name}}}" in route[1]
    ]
    found += [{"name": name, "in": "query", "description": words, **text} for name, words in _PARAMETERS.get(route, ())]
    if route == ("POST", "/v1/queries"):
        words = "the same key with the same body is the same query; 1 to 255 printable characters"
        found.append({"name": "Idempotency-Key", "in": "header", "description": words, **text})
    return found


def _name(route: tuple[str, str]) -> str:
    parts = [part.strip("{}") for part in route[1].removeprefix("/v1").replace(".", "_").split("/") if part]
    return "_".join([route[0].lower(), *parts])


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
