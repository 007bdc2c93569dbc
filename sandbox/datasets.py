"""The datasets of a domain as the service holds them: policy, snapshot, shadow, ceiling, and whether they answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from policies import privacy_loss
from policies.load import load_policy
from policies.model import Dp, Policy
from sandbox import logs
from sandbox.deadlines import Deadlines
from sandbox.domain import Ceiling as CustodiansCap
from sandbox.domain import Domain, DomainError
from sandbox.engine.shadow import Shadow
from sandbox.ingest.ensure import ensure
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.snapshot import Snapshot, drop_superseded, under
from sandbox.protocol import DatasetStatus
from sandbox.publics import NO_PUBLICS, Publics
from sandbox.relational.facts import Schema
from sandbox.release.store import Ceiling

log = logs.logger("bpk.domain")
State = Literal["ready", "ingesting", "refused"]


@dataclass(frozen=True, slots=True)
class Served:
    """A dataset that may be asked."""

    policy: Policy
    dp: Dp | None
    count_max: int
    """Units; 0 where all tables are public."""
    snapshot: Snapshot
    schema: Schema
    publics: Publics
    """Rows of its small public tables."""
    shadow: Shadow
    ceiling: Ceiling | None
    """Of privacy loss; None where mode `dp` is not offered."""
    deadlines: Deadlines


class Datasets:
    """Loads policies at once and ingests in a thread of its own; `status` says how far it is. Thread-safe."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._lock = threading.Lock()
        self._served: dict[str, Served] = {}
        self._states: dict[str, tuple[State, str]] = {}
        self._policies: dict[str, Policy] = {}
        for name in domain.datasets:
            path = domain.home / "policies" / name / "policy.toml"
            try:
                self._policies[name] = load_policy(path)
                self._states[name] = ("ingesting", "not published yet")
            except ValueError as error:
                log.error("the policy cannot be read", dataset=name, reason=str(error))
                self._states[name] = ("refused", f"the policy of `{name}` cannot be read")

    def ingest_all(self, publish: Callable[[str, Path], None]) -> None:
        """Publishes every dataset in turn; `publish(name, path)` is told of each snapshot that is ready."""
        for name, policy in self._policies.items():
            try:
                served = self._serve(name, policy)
            except (IngestRefused, DomainError) as error:
                log.error("a dataset is not published", dataset=name, reason=str(error))
                self._set(name, None, "refused", f"the data of `{name}` was not published")
                continue
            except ValueError as error:  # of whom, and with what in it, nobody knows
                at = logs.lines_of(error.__traceback__)
                log.error("a dataset is not published", dataset=name, error=type(error).__name__, at=at)
                self._set(name, None, "refused", f"the data of `{name}` was not published")
                continue
            publish(name, served.snapshot.path)
            self._set(name, served, "ready", "")

    def _set(self, name: str, served: Served | None, state: State, reason: str) -> None:
        with self._lock:
            self._states[name] = (state, reason)
            if served is not None:
                self._served[name] = served

    def _serve(self, name: str, policy: Policy) -> Served:
        if policy.dataset != name:
            raise DomainError(f"the policy in folder `{name}` is that of `{policy.dataset}`")
        snapshot = ensure(self._domain, self._policies, name)
        drop_superseded(self._domain.state, name)  # no worker of an earlier service can still be reading
        schema = Schema(policy, snapshot.public_keys)
        own, dp = self._domain.datasets[name].ceiling, policy.release.dp
        return Served(
            policy=policy,
            dp=dp,
            count_max=0 if policy.unit is None else policy.unit.count_max,
            snapshot=snapshot,
            schema=schema,
            publics=snapshot.publics,
            shadow=Shadow(policy),
            ceiling=None if dp is None else _ceiling(dp, own),
            deadlines=self._domain.datasets[name].deadlines,
        )

    def find(self, name: str) -> Served | None:
        with self._lock:
            return self._served.get(name)

    def publics(self, dataset: str, commitment: str) -> Publics:
        """Rows of public tables as they were in the snapshot of an answer: shown again, it says what it said."""
        served = self.find(dataset)
        if served is not None and served.snapshot.commitment == commitment:
            return served.publics
        try:
            earlier = under(self._domain.state, dataset, commitment)
            return NO_PUBLICS if earlier is None else earlier.publics
        except (IngestRefused, OSError, ValueError) as error:
            log.error(
                "public tables of an earlier snapshot cannot be read", dataset=dataset, error=type(error).__name__
            )
            return NO_PUBLICS

    def statuses(self) -> tuple[DatasetStatus, ...]:
        with self._lock:
            return tuple(self._status(name) for name in sorted(self._states))

    def _status(self, name: str) -> DatasetStatus:
        state, reason = self._states[name]
        served, policy = self._served.get(name), self._policies.get(name)
        return DatasetStatus(
            dataset=name,
            state=state,
            reason=reason,
            snapshot_name=self._domain.datasets[name].snapshot,
            snapshot=served.snapshot.commitment if served else None,
            policy_digest=policy.digest if policy else "",
            deadlines_ms=self._domain.datasets[name].deadlines.choices_ms,
        )


def _ceiling(dp: Dp, own: CustodiansCap) -> Ceiling:
    """The custodian's cap in the accountant's own loss, rounded down; the policy's where the file names none."""
    epsilon = min(dp.epsilon, own.epsilon) if own.epsilon is not None else dp.epsilon
    delta = min(dp.delta, own.delta) if own.delta is not None else dp.delta
    tighter = (epsilon, delta) != (dp.epsilon, dp.delta)
    units = privacy_loss.units_down(epsilon, privacy_loss.EPSILON_UNIT)
    whole = privacy_loss.units_down(delta, privacy_loss.DELTA_UNIT)
    if dp.accountant == "zcdp":
        return Ceiling("zcdp", privacy_loss.rho_for(units, whole // 2), whole // 2, tighter)
    return Ceiling("pure", units, whole, tighter)
