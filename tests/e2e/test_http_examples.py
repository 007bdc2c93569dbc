"""The examples of the API's document run against a served home, and the document is complete."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.http import replies
from gateway.http.example import QUERY, Example
from gateway.http.examples import EXAMPLES
from tests.served_home import Served

SENT = [example for example in EXAMPLES if example.sent]
SUBJECTS: dict[str, tuple[str | None, Any]] = {
    "operator": ("op-a", "operator"),
    "stranger": ("poor", "operator"),
    "auditor": ("aud", "auditor"),
    "nobody": (None, "operator"),
    "forger": (None, "operator"),
}


def send(served: Served, example: Example) -> httpx.Response:
    path = dict(example.path)
    if example.after is not None:
        before = next(each for each in SENT if each.name == example.after)
        first = send(served, before).json()
        path = {name: first["id"] if value == QUERY else value for name, value in path.items()}
    route = example.route[1].format(**path) + (f"?{example.query}" if example.query else "")
    subject, role = SUBJECTS[example.who]
    headers = {name.replace("-", "_"): value for name, value in example.headers.items()}
    if example.who == "forger":
        headers["Authorization"] = f"Bearer {served.token('op-a')[:-6]}AAAAAA"
    body = example.body.encode() if isinstance(example.body, str) else example.body
    return served.call(example.route[0], route, body, subject, role, **headers)


def told(problem: dict[str, Any]) -> dict[str, Any]:
    """A problem without what differs from query to query and from policy to policy."""
    return {name: value for name, value in problem.items() if name not in ("policy", "query_id", "alternatives")}


def checked(verdict: dict[str, Any]) -> dict[str, Any]:
    """A verdict without what is left of the budget: that depends on who asked what before. Answers of this home leave
    when they are ready."""
    problem = {"problem": told(verdict["problem"])} if "problem" in verdict else {}
    return {name: value for name, value in verdict.items() if name not in ("budget", "deadline_s")} | problem


@pytest.mark.parametrize("example", SENT, ids=lambda each: f"{' '.join(each.route)} {each.name}")
def test_an_example_gets_the_reply_that_the_document_shows(served: Served, example: Example) -> None:
    reply = send(served, example)
    assert reply.status_code == example.status, reply.text
    if not isinstance(example.reply, dict):
        assert reply.text
        return
    body = reply.json()
    if example.status >= 400:
        assert reply.headers["content-type"] == "application/problem+json"
        assert told(body) == example.reply
        replies.Problem.model_validate(body)
    elif example.route != ("GET", "/openapi.json"):
        assert set(body) == set(example.reply)
        if example.route == ("POST", "/v1/queries/check"):
            assert checked(body) == checked(example.reply)


@pytest.mark.parametrize("mode", ["dp", "aggregate"])
def test_an_answer_has_the_shape_of_the_document(served: Served, mode: str) -> None:
    body = served.ask("SELECT COUNT(*) AS n FROM people", mode=mode).json()
    assert ("rules" in body) == (mode == "aggregate")
    assert replies.Answer.model_validate(body).model_dump(exclude={"receipt"}, exclude_unset=True) == {
        name: value for name, value in body.items() if name != "receipt"
    }


def test_every_route_is_in_the_document_with_an_example_of_every_reply(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert routes == {example.route for example in EXAMPLES}
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                for content in response["content"].values():
                    assert content["examples"]
                    assert content["schema"]


def test_every_reference_of_the_document_resolves(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            here = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return here.union(*(references(value) for value in node.values()))
        return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()

    assert references(document) <= known


def test_the_page_of_the_document_needs_no_other_host(served: Served) -> None:
    reply = served.client.get("/docs")
    assert "://" not in reply.text
    assert "script-src 'sha256-" in reply.headers["content-security-policy"]
    assert "default-src 'none'" in reply.headers["content-security-policy"]
