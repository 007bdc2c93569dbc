"""Whether this gateway answers questions, and if not, what is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from gateway.audit.log import Log
from gateway.budget.ledger import Ledger
from gateway.cases import Doors
from gateway.catalog import Catalog
from gateway.domain import Domain, Unreachable
from gateway.errors import Fault
from gateway.identity.issuer import Issuer, Published
from gateway.store import NotWritten, Store
from sandbox import logs
from sandbox.protocol import Status

FRESH_S: Final = 0.5
_log = logs.logger("bpk.ready")


@dataclass(frozen=True, slots=True)
class Ready:
    """The answer of /readyz."""

    ready: bool
    body: dict[str, Any]


class Readiness:
    """Looks at the data domain and the store at most twice a second, whoever asks how often."""

    def __init__(  # noqa: PLR0913, PLR0917  # everything that can be missing
        self,
        domain: Domain,
        store: Store,
        catalog: Catalog,
        doors: Doors,
        ledger: Ledger,
        log: Log,
        issuer: Issuer | None = None,
        caps: Callable[[], Mapping[str, Any]] = dict,
        stamps: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._domain = domain
        self._store = store
        self._catalog = catalog
        self._doors = doors
        self._ledger = ledger
        self._log = log
        self._issuer = issuer
        self._caps = caps
        self._stamps = stamps
        self._told: tuple[float, Mapping[str, Any] | None] = (float("-inf"), None)
        self._leaving = False
        self._lock = Lock()
        self._seen: tuple[float, Status | None] = (float("-inf"), None)
        self._silent = ""
        """Why the data domain did not tell its status, in words for whoever runs the gateway."""
        self._writing = Lock()
        self._tried: tuple[float, str] = (float("-inf"), "ready")

    def leave(self) -> None:
        """From now on whoever spreads requests over gateways is told to send none here."""
        self._leaving = True

    def look(self) -> Ready:
        status, store = self._status(), self._try_store()
        datasets = [self._dataset(name, status) for name in sorted(self._catalog.policies)]
        waiting = any(each["state"] in ("ingesting", "checking", "unknown") for each in datasets)
        every_one_refused = bool(datasets) and all(each["state"] in ("refused", "frozen") for each in datasets)
        layers = () if status is None else status.layers
        degraded = () if status is None else status.degraded
        walls = [layer for layer in layers if layer.required and not layer.active and layer.name not in degraded]
        isolated = (bool(layers) and not walls) or not datasets
        writable = status is not None and status.writable
        answering = writable and isolated and not (waiting or every_one_refused or self._leaving)
        issuer = None if self._issuer is None else self._issuer.look()
        log = self._log.unready() or "ready"
        ready = answering and store == log == "ready" and (issuer is None or issuer.state != "none")
        body = {
            "ready": ready,
            "leaving": self._leaving,
            "store": store,
            "log": log,
            "timestamps": self._stamps(),
            "domain": _domain(status, isolated=isolated),
            "issuer": _issuer(issuer),
            "caps": self._look_at_caps(),
            "domain_reason": self._silent,
            "isolation": [
                {"name": layer.name, "required": layer.required, "active": layer.active, "reason": layer.reason}
                for layer in layers
            ],
            "degraded": list(degraded),
            "datasets": datasets,
        }
        return Ready(ready, body)

    def of(self, dataset: str) -> dict[str, Any]:
        """What the catalogue says of it: `state` in one word, and `deadlines_s`."""
        found = self._dataset(dataset, self._status())
        return {name: found[name] for name in ("state", "deadlines_s")}

    def _status(self) -> Status | None:
        with self._lock:
            when, status = self._seen
            if time.monotonic() - when > FRESH_S:
                try:
                    status, silent = self._domain.status(), ""
                except Unreachable as error:
                    status, silent = None, str(error)
                if silent and silent != self._silent:
                    _log.error("not ready", reason=silent)
                self._silent = silent
                self._seen = (time.monotonic(), status)
            return status

    def _try_store(self) -> str:
        """`ready`, or in words for whoever runs the gateway why no charge can be written. The log says it at length."""
        with self._writing:
            when, before = self._tried
            if time.monotonic() - when <= FRESH_S and (before != "ready" or not self._store.failing):
                return before
            found = "ready"
            try:
                self._store.try_writing()
            except Fault as fault:
                cause = fault.cause if isinstance(fault, NotWritten) else "the log of the gateway says why"
                found = f"cannot be written: {cause}"
                if found != before:
                    _log.error("not ready", reason=str(fault))
            self._tried = (time.monotonic(), found)
            return found

    def _look_at_caps(self) -> Mapping[str, Any] | None:
        """Approvers, and raises that wait for them; None where that cannot be read."""
        with self._writing:
            when, told = self._told
            if time.monotonic() - when > FRESH_S:
                try:
                    told = self._caps()
                except Fault:
                    told = None
                self._told = (time.monotonic(), told)
            return told

    def _dataset(self, name: str, status: Status | None) -> dict[str, Any]:
        found = next((each for each in status.datasets if each.dataset == name), None) if status else None
        state, reason = "unknown", "the data domain does not answer" if status is None else ""
        if status is not None and found is None:
            state, reason = "refused", "the data domain does not hold it; see domain.toml"
        elif found is not None:
            state, reason = found.state, found.reason
            if found.state == "ready" and found.policy_digest != self._catalog.policies[name].digest:
                state, reason = "refused", "the data domain holds another policy for it; restart both sides"
        if state == "ready":
            state, reason = self._door(name)
        frozen = self._ledger.why_frozen(name)
        if frozen is not None:
            state, reason = "frozen", frozen
        return {
            "name": name,
            "state": state,
            "reason": reason,
            "policy_digest": self._catalog.policies[name].digest,
            "snapshot": found.snapshot_name if found else None,
            "deadlines_s": [each / 1000 for each in found.deadlines_ms] if found else None,
        }

    def _door(self, name: str) -> tuple[str, str]:
        door = self._doors.of(name)
        return ("ready" if door.state == "open" else door.state), door.reason


def _issuer(published: Published | None) -> dict[str, Any] | None:
    """The keys of the issuer, where it publishes them: how many, how old, and why they are not newer."""
    if published is None:
        return None
    age_s = None if published.age_s is None else int(published.age_s)
    return {"state": published.state, "keys": published.keys, "age_s": age_s, "reason": published.reason}


def _domain(status: Status | None, *, isolated: bool) -> str:
    if status is None:
        return "unreachable"
    if not isolated:
        return "not isolated"
    return "ready" if status.writable else "cannot write its store"
