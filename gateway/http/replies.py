"""Bodies of answers, as the gateway writes them. They are read by nobody here but the API's document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field


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
