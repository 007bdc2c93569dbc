"""Bodies of requests and answers, as they look on the wire. Requests are strict: nothing unknown, nothing guessed."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError

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


# Answers. These describe what the gateway writes; they are read by nobody here but the API's document.


class Cost(BaseModel):
    epsilon: str
    delta: str
    rho: str


class AnswerColumn(BaseModel):
    name: str
    type: str
    kind: Literal["key", "noisy", "protected", "exact"]


class BlockBudgetLeft(BaseModel):
    """What is left in one block. Where there are blocks, what stands above them is the least."""

    name: str
    epsilon_left: str
    answers_left: int


class DatasetBudgetLeft(BaseModel):
    name: str
    epsilon_left: str
    answers_left: int
    blocks: list[BlockBudgetLeft] | None = None


class OperatorBudgetLeft(BaseModel):
    epsilon_left: str
    answers_left: int
    blocks: list[BlockBudgetLeft] | None = None


class PurposeBudgetLeft(BaseModel):
    name: str
    epsilon_left: str
    answers_left: int
    blocks: list[BlockBudgetLeft] | None = None


class BudgetLeft(BaseModel):
    dataset: DatasetBudgetLeft
    operator: OperatorBudgetLeft
    purposes: Annotated[
        list[PurposeBudgetLeft] | None, Field(description="There where the licence gives purposes shares of their own.")
    ] = None


class CellsOfDataset(BaseModel):
    name: str
    cells_left: int
    withheld_left: int


class CellsLeft(BaseModel):
    """What is left to the caller of exact answers: numbers that may be shown, and that may be withheld."""

    cells: CellsOfDataset


class Rule(BaseModel):
    """A rule that an exact answer keeps, in words that a reader can cite."""

    name: str
    text: str


class Receipt(BaseModel):
    """Proves the answer's record under a signed checkpoint, offline. `handovers` are there once the log has changed its
    key: they lead from each older key to that of the checkpoint."""

    index: int
    record: dict[str, Any]
    leaf_hash: str
    proof: list[str]
    checkpoint: str
    handovers: list[dict[str, Any]] = []


class Answer(BaseModel):
    """An answered question. Decimals are strings, dates ISO 8601."""

    id: str
    status: Literal["answered"]
    mode: Literal["dp", "aggregate", "open"]
    columns: list[AnswerColumn]
    rows: list[list[Any]]
    intervals: list[list[list[Any] | None]]
    confidence: float
    notes: list[list[list[str] | None]]
    cost: Cost
    budget: BudgetLeft | CellsLeft | None
    reused: bool
    rules: list[Rule] | None = None
    blocks: Annotated[
        list[str] | None, Field(description="Where the policy has blocks: those asked, and charged unless reused.")
    ] = None
    cursor: Annotated[
        str | None, Field(description="In mode `open`: asks for the next page; null where this is the last.")
    ] = None
    receipt: Receipt
    opening: Annotated[
        str | None,
        Field(description="Salt (hex) by which these numbers open the commitment `answer` of the receipt's record."),
    ]


class Failure(BaseModel):
    """The one failure after the charge, whatever caused it."""

    id: str
    status: Literal["failed"]
    code: Literal["query_failed"]


class Unfinished(BaseModel):
    """A question that is worked on, or was cancelled."""

    id: str
    status: Literal["running", "cancelled"]


class Ended(BaseModel):
    """How a query stands after a cancel."""

    id: str
    status: Literal["running", "answered", "failed", "cancelled"]
    code: str | None = None


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    position: dict[str, int] | None = None
    alternatives: list[dict[str, str]] | None = None
    policy: dict[str, str] | None = None
    query_id: str | None = None
    errors: list[dict[str, str]] | None = None


class Check(BaseModel):
    """What a question would cost and give. No data was read."""

    verdict: Literal["answer", "refuse"]
    problem: Problem | None = None
    mode: str | None = None
    plan: list[str] | None = None
    columns: list[AnswerColumn] | None = None
    cost: Cost | None = None
    intervals_expected: list[Any] | None = None
    values_expected: list[Any] | None = None
    deadline_s: float | None = None
    budget: BudgetLeft | CellsLeft | None = None
    reused: bool | None = None
    rules: list[Rule] | None = None
    blocks: list[str] | None = None


class QueryLine(BaseModel):
    id: str
    status: Literal["running", "answered", "failed", "cancelled"]
    dataset: str
    mode: str
    created: str
    cost: Cost
    reused: bool


class History(BaseModel):
    queries: list[QueryLine]
    cursor: str | None


class DatasetLine(BaseModel):
    name: str
    title: dict[str, str]
    owner: str
    version: str
    tables: list[str]
    modes: list[str]
    purposes: list[str]
    supply: str
    grade: str
    state: str
    deadlines_s: list[float] | None


class DatasetDetail(BaseModel):
    """A dataset with its tables; in each table its columns."""

    name: str
    title: dict[str, str]
    owner: str
    version: str
    digest: str
    modes: list[str]
    purposes: list[str]
    supply: str
    grade: str
    state: str
    deadlines_s: list[float] | None
    unit: dict[str, Any] | None
    release: dict[str, Any]
    tables: list[dict[str, Any]]
    budgets: list[dict[str, Any]]


class Datasets(BaseModel):
    datasets: list[DatasetLine]


class Budgets(BaseModel):
    """`budgets` of mode `dp`, `cells` of mode `aggregate`."""

    budgets: list[dict[str, Any]]
    cells: list[dict[str, Any]]


class Period(BaseModel):
    """What a scope lost in a period, and all in all by its end. Counts are null where they are others'."""

    begin: str
    spent: dict[str, str]
    spent_by_then: dict[str, str]
    charges: int | None
    answers: int | None
    reused: int | None
    refusals: int | None


class SpendOfScope(BaseModel):
    """`answers_left` at `answer_epsilon`, which a question costs whose caller names nothing. Where it has `blocks`,
    what is left is of the fullest of them; each of them is a scope beside it, and nothing is charged to it itself."""

    scope: str
    blocks: list[str] | None = None
    dataset: str
    operator: str | None
    accountant: Literal["zcdp", "pure"]
    cap: dict[str, str]
    spent: dict[str, str]
    epsilon_left: str
    answers_left: int | None
    answer_epsilon: str | None
    periods: list[Period]


class SpendOverTime(BaseModel):
    """Rho adds up over time; the epsilon beside it is what so much rho is worth. Periods in which nothing happened are
    left out."""

    by: Literal["day", "week", "month"]
    scopes: list[SpendOfScope]


class Records(BaseModel):
    records: list[dict[str, Any]]
    cursor: str | None


class LogKey(BaseModel):
    key: str
    since: int = Field(alias="from")


class Checkpoint(BaseModel):
    """`cosigned` is the newest one that witnesses have signed too; `keys` are all that the log had, each with the
    number of records from which on it signs."""

    checkpoint: str
    cosigned: str | None
    key: str
    keys: list[LogKey]


class Inclusion(BaseModel):
    """Proves that a record is under a checkpoint of `size` records; hashes in hex."""

    index: int
    size: int
    leaf_hash: str
    proof: list[str]
    checkpoint: str | None


class Consistency(BaseModel):
    """Proves that the log of `old` records begins that of `new`."""

    old: int
    new: int
    proof: list[str]
    checkpoint: str | None


class Ready(BaseModel):
    ready: bool
    leaving: bool
    store: str
    domain: str
    issuer: dict[str, Any] | None
    caps: dict[str, Any] | None
    domain_reason: str
    isolation: list[dict[str, Any]]
    degraded: list[str]
    datasets: list[dict[str, Any]]


class Health(BaseModel):
    status: Literal["ok"]
