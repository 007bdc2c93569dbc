"""Whether this gateway answers questions, and if not, what is missing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from gateway.budget.ledger import Ledger
from gateway.cases import Doors
from gateway.catalog import Catalog
from gateway.domain import Domain, Unreachable
from sandbox.protocol import Status

FRESH_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Ready:
    """The answer of /readyz."""

    ready: bool
    body: dict[str, Any]


class Readiness:
    """Looks at the data domain at most twice a second, whoever asks how often."""

    def __init__(self, domain: Domain, catalog: Catalog, doors: Doors, ledger: Ledger) -> None:
        self._domain = domain
        self._catalog = catalog
        self._doors = doors
        self._ledger = ledger
        self._lock = Lock()
        self._seen: tuple[float, Status | None] = (float("-inf"), None)

    def look(self) -> Ready:
        status = self._status()
        datasets = [self._dataset(name, status) for name in sorted(self._catalog.policies)]
        waiting = any(each["state"] in ("ingesting", "checking", "unknown") for each in datasets)
        every_one_refused = bool(datasets) and all(each["state"] == "refused" for each in datasets)
        layers = () if status is None else status.layers
        degraded = () if status is None else status.degraded
        walls = [layer for layer in layers if layer.required and not layer.active and layer.name not in degraded]
        isolated = (bool(layers) and not walls) or not datasets
        ready = status is not None and isolated and not waiting and not every_one_refused
        body = {
            "ready": ready,
            "domain": "unreachable" if status is None else "not isolated" if not isolated else "ready",
            "isolation": [
                {"name": layer.name, "required": layer.required, "active": layer.active, "reason": layer.reason}
                for layer in layers
            ],
            "degraded": list(degraded),
            "datasets": datasets,
        }
        return Ready(ready, body)

    def state(self, dataset: str) -> str:
        """One word for the catalogue."""
        return str(self._dataset(dataset, self._status())["state"])

    def _status(self) -> Status | None:
        with self._lock:
            when, status = self._seen
            if time.monotonic() - when > FRESH_S:
                try:
                    status = self._domain.status()
                except Unreachable:
                    status = None
                self._seen = (time.monotonic(), status)
            return status

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
        return {
            "name": name,
            "state": state,
            "reason": reason,
            "policy_digest": self._catalog.policies[name].digest,
            "snapshot": found.snapshot_name if found else None,
        }

    def _door(self, name: str) -> tuple[str, str]:
        if name in self._ledger.frozen:
            return "refused", "its ledger and its log disagree"
        door = self._doors.of(name)
        return ("ready" if door.state == "open" else door.state), door.reason
