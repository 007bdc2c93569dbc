"""What the door asks of a regime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from policies.types import Value
from sandbox.datasets import Served
from sandbox.deadlines import Work
from sandbox.protocol import OutputColumn, Price, Question, Released, Ticket
from sandbox.publics import Publics
from sandbox.release.store import Ceiling, Stored
from sandbox.supervised import Worker

Job = TypeVar("Job")
"""A question with everything that is fixed before data is touched."""


@dataclass(frozen=True, slots=True)
class Described:
    """A job as it is told before it is paid for. Functions of question, policy and public metadata only."""

    price: Price
    columns: tuple[OutputColumn, ...]
    expected: tuple[Value, ...]
    expected_values: tuple[Value, ...]
    steps: tuple[str, ...]
    cells: int | None = None
    """Of mode `aggregate`: how many numbers the answer has, shown or withheld; None where groups are private."""


class Regime(Protocol, Generic[Job]):
    """Thread-safe."""

    lasting: bool
    """Whether `job`, `describe` and `work` are functions of the question and of what is served, and of nothing that was
    said or spent before."""

    def job(self, question: Question, served: Served) -> Job:
        """Raises Refuse."""

    def describe(self, job: Job, served: Served) -> Described:
        """Raises Refuse for what the answer cannot be made into."""

    def price(self, job: Job, served: Served) -> Price:
        """What `describe` says it costs, without the rest. Raises Refuse likewise."""

    def work(self, job: Job, served: Served) -> Work | None:
        """How much there is to do, which a deadline is chosen by; None where it comes as soon as it is found."""

    def find(self, question: Question, served: Served) -> tuple[str, str] | None:
        """(id, hash) of a stored release that answers."""

    def ceiling(self, served: Served) -> Ceiling | None:
        """The most that the dataset may spend in this mode; None where it spends nothing."""

    def require_left(self, job: Job, served: Served) -> None:
        """Raises Refuse (`budget_exhausted`) where the domain itself holds that too much was said already."""

    def run(self, job: Job, ticket: Ticket, worker: Worker, served: Served) -> Stored:
        """Runs a job whose ticket was accepted, and keeps what may be said. Raises on anything out of order."""

    def answers(self, stored: Stored, question: Question) -> bool:
        """Whether `question` means what was released, or something that can be told from it."""

    def answer(self, stored: Stored, question: Question, publics: Publics) -> Released:
        """What leaves. Raises Refuse."""
