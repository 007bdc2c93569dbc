"""A policy's examples, run through the same steps as a query up to the price; and which datasets are open.

A dataset answers nothing before its examples have come out as its author wrote: a policy that says something else than
its author thinks is worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from threading import Event, Lock, Thread
from typing import Final, Literal

from gateway.admission.admit import admit
from gateway.domain import Domain
from gateway.errors import Fault, NotReady, Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.model import Case, Licence, Policy
from sandbox import logs

PAUSE_S: Final = 0.1
AUTHOR: Final = "the policy's author"
_log = logs.logger("bpk.cases")
Try = Callable[[str, Case], None]
"""(dataset, example): takes it through the steps of a query up to its price. Raises Refusal, NotReady."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an example: the code it was refused with, if it was, and what is wrong with that."""

    case: Case
    code: str | None
    problem: str | None


def run(dataset: str, cases: tuple[Case, ...], attempt: Try) -> tuple[Outcome, ...]:
    """Every example's outcome, in order. Raises NotReady when the data domain cannot be asked."""
    return tuple(_outcome(case, _code(dataset, case, attempt)) for case in cases)


def _code(dataset: str, case: Case, attempt: Try) -> Refusal | None:
    try:
        attempt(dataset, case)
    except Refusal as refusal:
        if refusal.status == 503:  # says nothing of the policy
            raise NotReady(refusal.message) from refusal
        return refusal
    return None


def _outcome(case: Case, refusal: Refusal | None) -> Outcome:
    if refusal is None:
        problem = None if case.expect == "answer" else "would be answered, but a refusal is expected"
        return Outcome(case, None, problem)
    if case.expect == "answer":
        return Outcome(case, refusal.code, f"is refused as `{refusal.code}`: {refusal.message}")
    if case.code is not None and case.code != refusal.code:
        return Outcome(case, refusal.code, f"is refused as `{refusal.code}`, but `{case.code}` is expected")
    return Outcome(case, refusal.code, None)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Takes an example through the steps of a query, as somebody whose licence allows all that the policy offers.

    Without a data domain it goes as far as admission.
    """

    policies: Mapping[str, Policy]
    domain: Domain | None
    limits: SqlLimits = field(default_factory=SqlLimits)

    def __call__(self, dataset: str, case: Case) -> None:
        """Raises Refusal, NotReady."""
        policy = replace(self.policies[dataset], supply="authorised")
        licence = Licence("examples", AUTHOR, (dataset,), policy.purposes, date.min, date.max, {})
        query = read(case.sql, {}, {dataset: policy}, self.limits, case.mode)
        admitted = admit(
            query,
            policy,
            operator=AUTHOR,
            licences=(licence,),
            purpose=next(iter(policy.purposes), None),
            mode=case.mode,
            epsilon=None,
            blocks=case.blocks,
            day=datetime.now(UTC).date(),
        )
        if self.domain is not None:
            self.domain.prepare(admitted.question, reserve=False)


@dataclass(frozen=True, slots=True)
class DoorState:
    state: Literal["checking", "open", "refused"]
    reason: str = ""
    mend: str = "its policy and its own examples disagree, which its author has to mend"
    """What a caller is told of a refused one."""


class Doors:
    """Which datasets are open. All are closed until their examples have been run."""

    def __init__(self) -> None:
        self._states: dict[str, DoorState] = {}
        self._lock = Lock()

    def of(self, dataset: str) -> DoorState:
        with self._lock:
            return self._states.get(dataset, DoorState("checking", "its examples have not been run yet"))

    def put(self, dataset: str, state: DoorState) -> None:
        with self._lock:
            self._states[dataset] = state

    def require_open(self, dataset: str) -> None:
        """Raises Refusal(`dataset_not_ready`)."""
        door = self.of(dataset)
        if door.state == "open":
            return
        if door.state == "checking":
            hint = "nothing was charged; ask again in a moment"
            raise Refusal("dataset_not_ready", f"`{dataset}` is not ready yet", hint=hint)
        hint = f"nothing was charged; {door.mend}"
        raise Refusal("dataset_not_ready", f"`{dataset}` is closed", hint=hint)


class Opening:
    """Runs the examples of each dataset as soon as the data domain holds it, and opens what passes. In a thread."""

    def __init__(self, domain: Domain, doors: Doors, cases: Mapping[str, tuple[Case, ...]], attempt: Try) -> None:
        self._domain = domain
        self._doors = doors
        self._cases = dict(cases)
        self._attempt = attempt
        self._stop = Event()
        self._thread = Thread(target=self._work, name="opening", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """May be called again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _work(self) -> None:
        left = dict(self._cases)
        while left and not self._stop.is_set():
            try:
                status = self._domain.status()
                for each in status.datasets:
                    if each.state == "ready" and each.dataset in left:
                        self._doors.put(each.dataset, self._judge(each.dataset, left[each.dataset]))
                        del left[each.dataset]
            except NotReady:  # it starts, or was restarted; /readyz says so
                pass
            except Fault as fault:
                _log.error("the examples were not run", reason=str(fault))
            except Exception as error:  # a thread that dies silently would look like a slow start
                _log.error("the examples were not run", error=type(error).__name__)
                return
            self._stop.wait(PAUSE_S)

    def _judge(self, dataset: str, cases: tuple[Case, ...]) -> DoorState:
        wrong = [outcome for outcome in run(dataset, cases, self._attempt) if outcome.problem is not None]
        for outcome in wrong:
            _log.error(
                "an example does not come out as written",
                dataset=dataset,
                case=outcome.case.name,
                reason=outcome.problem,
            )
        if wrong:
            names = ", ".join(f"`{outcome.case.name}`" for outcome in wrong[:5])
            return DoorState("refused", f"examples that do not come out as written: {names}")
        return DoorState("open")
