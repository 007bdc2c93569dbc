"""Bodies of requests, as they look on the wire. They are strict: nothing unknown, nothing guessed."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from gateway.errors import Refusal
from gateway.http.accuracy import AccuracyBody, problems_of
from gateway.http.exact import Body, Number, Scalar, Seconds
from sandbox.relational.nodes import PAGE_ROWS_MAX

DEPTH_MAX: Final = 20
DEADLINE_S_MAX: Final = 3600
_WORDS: Final = {
    "extra_forbidden": "is not known here",
    "missing": "is missing",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "decimal_type": "must be a number",
    "literal_error": "is none of the allowed words",
}


class AskBody(Body):
    """A question."""

    sql: Annotated[str, Field(description="One SELECT. `$name` stands for a parameter.")]
    purpose: Annotated[
        str | None,
        Field(max_length=200, description="What the answer is for; may be left out where your licences name one only."),
    ] = None
    mode: Annotated[
        Literal["dp", "aggregate", "open"] | None, Field(description="One of the policy's modes; its first by default.")
    ] = None
    parameters: Annotated[dict[str, Scalar] | None, Field(max_length=100)] = None
    blocks: Annotated[
        list[Annotated[str, Field(max_length=100)]] | None,
        Field(max_length=100, description="The policy's blocks that are asked, and charged; all by default."),
    ] = None
    epsilon: Annotated[Number | None, Field(description="What the question may cost; the policy's by default.")] = None
    accuracy: Annotated[
        AccuracyBody | None, Field(description="In place of `epsilon`: the smallest price that is expected to give it.")
    ] = None
    limit: Annotated[
        int | None, Field(description=f"Rows of a page in mode `open`: 1 to {PAGE_ROWS_MAX}, 1000 by default.")
    ] = None
    cursor: Annotated[
        str | None, Field(max_length=100, description="In mode `open`: that of the page before, for the next one.")
    ] = None
    deadline_s: Annotated[
        Seconds | None,
        Field(description="More time for the question: its answer comes no sooner, in seconds after the charge."),
    ] = None
    wait_s: Annotated[Seconds | None, Field(description="How long to wait for the answer, 0 to 60; 30 by default.")] = (
        None
    )


def read_json(content: bytes) -> object:
    """Strict JSON: UTF-8, no member twice, no NaN, numbers exact. Raises Refusal(`body_unreadable`)."""
    try:
        value = json.loads(
            content.decode("utf-8"), parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_members
        )
    except (ValueError, ArithmeticError, RecursionError):
        raise Refusal(
            "body_unreadable", "the body is not JSON", hint="send UTF-8 JSON in which no member is named twice"
        ) from None
    if not _all_text_is_text(content):
        raise Refusal("body_unreadable", "the body holds half a character (a lone surrogate)")
    if _depth(value) > DEPTH_MAX:
        raise Refusal("body_unreadable", f"the body is nested more than {DEPTH_MAX} levels deep")
    return value


def read_ask(content: bytes) -> AskBody:
    """Raises Refusal(`body_unreadable`) or Invalid(`body_invalid`) with the places."""
    value = read_json(content)
    if not isinstance(value, dict):
        raise Invalid([{"at": "", "problem": "the body must be an object"}])
    try:
        body = AskBody.model_validate(value)
    except ValidationError as error:
        raise Invalid([_place(item) for item in error.errors(include_url=False, include_context=False)]) from None
    if body.wait_s is not None and not 0 <= body.wait_s <= 60:
        raise Invalid([{"at": "wait_s", "problem": "must be from 0 to 60"}])
    if body.deadline_s is not None and not 0 <= body.deadline_s <= DEADLINE_S_MAX:
        raise Invalid([{"at": "deadline_s", "problem": f"must be from 0 to {DEADLINE_S_MAX}"}])
    if body.accuracy is not None and (places := problems_of(body.accuracy, with_epsilon=body.epsilon is not None)):
        raise Invalid(places)
    return body


class Invalid(Refusal):
    """422, with every place of the body that is wrong."""

    def __init__(self, places: list[dict[str, str]]) -> None:
        named = "; ".join(
            f"`{place['at']}` {place['problem']}" if place["at"] else place["problem"] for place in places
        )
        super().__init__("body_invalid", named[:2000], hint="see /docs for what the body may hold")
        self.places = places


def _place(item: Any) -> dict[str, str]:
    at = ".".join(str(part)[:100] for part in item["loc"])
    text = str(item["msg"])
    words = _WORDS.get(item["type"]) or text.removeprefix("Value error, ").replace("Input should", "should")
    return {"at": at, "problem": f"{words[:1].lower()}{words[1:]}"}


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member twice")
    return found


def _no_constant(_: str) -> object:
    raise ValueError("not JSON")


def _all_text_is_text(content: bytes) -> bool:
    """JSON can write half a character as an escape; no file, log or hash could hold it."""
    if b"\\u" not in content:
        return True
    try:
        json.dumps(json.loads(content), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _depth(value: object) -> int:
    level, depth = [value], 0
    while level and depth <= DEPTH_MAX:
        depth += 1
        inner: list[object] = []
        for item in level:
            inner.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        level = inner
    return depth
