"""What crosses the data domain's door: a question in, released values out. Frozen, versioned, nothing else.

HTTP/JSON over a Unix socket. Bodies are `codec.dumps` of these records. Routes of the door:

    POST /v1/prepare   Prepare            -> Prepared | Refused
    POST /v1/run       Run                -> Released | Failed | Refused (the ticket was not accepted: nothing was read)
    POST /v1/fetch     Fetch              -> Released | Refused
    POST /v1/cancel    Cancel             -> Cancelled
    GET  /v1/status                       -> Status

The status of the HTTP reply is 200 whenever a record comes back, 400 when the body is none of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Literal

from policies.model import Mode
from policies.types import Type, Value
from sandbox.codec import digest, dumps
from sandbox.notes import Note
from sandbox.relational.expressions import Position
from sandbox.relational.nodes import Output, find_release, private_part

VERSION = 1
ColumnKind = Literal["key", "noisy", "protected", "exact"]
Interval = tuple[Value, Value]


@dataclass(frozen=True, slots=True)
class Price:
    """Privacy loss in integers: rho and epsilon in 1e-12, delta in 1e-24.

    Under `zcdp`, `rho` and `delta` compose and `epsilon` is what the operator asked for; under `pure`, `epsilon`
    composes and rho is 0. `delta` is 0 unless private keys are selected.
    """

    epsilon: int
    delta: int
    rho: int


FREE = Price(0, 0, 0)
"""Of an answer that was given before, and of one without noise."""


@dataclass(frozen=True)  # without slots: it remembers its digest and its bytes
class Question:
    """A question, and all that its meaning depends on. `epsilon` is in 1e-12."""

    dataset: str
    policy_digest: str
    mode: Mode
    epsilon: int
    plan: Output
    version: int = VERSION

    @cached_property
    def plan_digest(self) -> str:
        """The digest of the private part: post-processing and names do not count, so they are free to differ. Of open
        rows nothing is private, and all counts."""
        if self.mode == "open":
            return digest(self.plan)
        return digest(private_part(self.plan) if self.mode == "aggregate" else find_release(self.plan))

    @cached_property
    def canonical(self) -> bytes:
        """As the codec writes it. No text, which takes four times as much as soon as one letter in it is a rare one."""
        return dumps(self)


@dataclass(frozen=True, slots=True)
class OutputColumn:
    name: str
    type: Type
    kind: ColumnKind


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How close every noisy number of the answer is to be expected, with probability `confidence`.

    One of the two is given: `absolute`, a half-width in the number's own unit, or `relative`, a part of the number.
    """

    relative: Decimal | None
    absolute: Decimal | None
    confidence: Decimal


@dataclass(frozen=True, slots=True)
class Prepare:
    """With `reserve`, a warm worker is held for 10 s, or Refused(code="busy").

    With `accuracy`, the question's epsilon is the most that may be spent, and the reply's price is the smallest that
    suffices, or Refused(code="accuracy_unaffordable" or "accuracy_unknown"). The question that is run names that price.
    """

    question: Question
    reserve: bool
    accuracy: Accuracy | None = None
    deadline_ms: int | None = None
    """The question may be given more time than it has by itself: the first of the dataset's deadlines from here on."""
    fetch: bool = False
    """A stored release that answers is told at once, as `Fetch` tells it; where an accuracy is asked for it is not."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The price, fixed. Functions of question, policy and public metadata only."""

    plan_digest: str
    price: Price
    columns: tuple[OutputColumn, ...]
    expected: tuple[Value, ...]
    """Expected half-width of the 95 % interval per column, from declared counts; None where there is none."""
    expected_values: tuple[Value, ...]
    """What each number is expected to be near to, from declared counts and ranges alone; a relative accuracy is a part
    of it. None where nothing is declared."""
    steps: tuple[str, ...]
    """The plan in words, one step each."""
    snapshot: str
    """Salted commitment to the snapshot's bytes (hex SHA-256)."""
    release: str | None
    """A stored release that answers this question at no cost."""
    release_hash: str | None
    reservation: str | None
    degraded: tuple[str, ...]
    """Isolation layers that the custodian does without."""
    audience: str
    """Names this run of the data domain's service; the ticket must carry it."""
    cells: int | None = None
    """Of mode `aggregate`: how many numbers the answer has, shown or withheld; None where groups are private."""
    deadline_ms: int | None = None
    """When the answer comes, counted from the run, however soon it is found; None where it comes as soon as it is."""
    released: Released | None = None
    """What `release` says to this question, where that was asked for."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The gateway's word that `price` was charged for this very question. Single use, 60 s."""

    id: str
    query: str
    dataset: str
    plan_digest: str
    policy_digest: str
    snapshot: str
    mode: Mode
    price: Price
    audience: str
    """The run of the service that prepared the question: no other one takes this ticket, whatever it has forgotten."""
    issued: int
    """UTC, ms since 1970."""
    expires: int


@dataclass(frozen=True, slots=True)
class Run:
    ticket: Ticket
    signature: str
    """Hex Ed25519 over `b"bpk-ticket-v1\\n" + codec.dumps(ticket)`."""
    question: Question
    reservation: str | None
    deadline_ms: int | None = None
    """As it was prepared; the answer comes no sooner."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A stored release again, with this question's post-processing, uncharged."""

    release: str
    question: Question


@dataclass(frozen=True, slots=True)
class Cancel:
    ticket: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Says nothing of whether anything ran."""

    ticket: str


@dataclass(frozen=True, slots=True)
class Released:
    """What may leave. `rows`, `intervals` and `notes` are parallel, after post-processing."""

    release: str
    """Id of the stored release: `rel_` and 32 hex digits."""
    release_hash: str
    """Hex SHA-256 over the stored release's canonical bytes and its salt."""
    price: Price
    """What the stored release cost when it was made."""
    columns: tuple[OutputColumn, ...]
    rows: tuple[tuple[Value, ...], ...]
    intervals: tuple[tuple[Interval | None, ...], ...]
    notes: tuple[tuple[tuple[Note, ...] | None, ...], ...]
    confidence: str = "0.95"
    cells_released: int = 0
    """Of `aggregate` mode: how many numbers the stored release says, and how many it withholds."""
    cells_withheld: int = 0
    more: bool = False
    """Of `open` mode: whether there are rows behind this page."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The one failure after the charge, whatever caused it."""

    code: Literal["query_failed"] = "query_failed"


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was read and nothing spent. `detail` and `hint` are in the operator's words."""

    code: str
    detail: str
    hint: str | None = None
    at: Position | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    name: str
    required: bool
    active: bool
    reason: str


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    dataset: str
    state: Literal["ready", "ingesting", "refused"]
    reason: str
    snapshot_name: str
    snapshot: str | None
    policy_digest: str
    deadlines_ms: tuple[int, ...] = ()
    """When its questions may be answered; empty where answers leave when they are ready."""


@dataclass(frozen=True, slots=True)
class Status:
    ready: bool
    datasets: tuple[DatasetStatus, ...]
    layers: tuple[Layer, ...]
    degraded: tuple[str, ...]
    writable: bool = True
    """Whether tickets and releases can be kept."""
    places: int | None = None
    """How many questions are worked on at once."""
    version: int = VERSION


Reply = Prepared | Released | Failed | Refused | Cancelled | Status
Request = Prepare | Run | Fetch | Cancel

LENGTH_MIN, LENGTH_STEP = 1024, 65_536


def padded(body: bytes) -> bytes:
    """JSON with white space behind it, so that its length is one of few: who sees sealed bytes pass learns no digits.

    A power of two from 1 KiB to 64 KiB, above that a multiple of 64 KiB.
    """
    length = max(LENGTH_MIN, len(body))
    whole = 1 << (length - 1).bit_length() if length <= LENGTH_STEP else -(-length // LENGTH_STEP) * LENGTH_STEP
    return body.ljust(whole)


CONFIDENCE_MIN = Decimal("0.5")
CONFIDENCE_MAX = Decimal("0.999")
TICKET_CONTEXT = b"bpk-ticket-v1\n"
RESERVATION_S = 10
TICKET_S = 60
