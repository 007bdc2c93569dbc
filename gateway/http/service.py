"""What the routes need of the gateway. `app` builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from gateway.audit.log import Log
from gateway.audit.stamping import Stamping
from gateway.budget.ledger import Ledger
from gateway.budget.sums import Sums
from gateway.catalog import Catalog
from gateway.http.health import Readiness
from gateway.http.lanes import Lanes
from gateway.http.limits import LockOut, Rate, Strangers
from gateway.http.metrics import Metrics
from gateway.http.proxy import Ends
from gateway.http.readings import Readings
from gateway.identity.issuer import Issuer
from gateway.identity.proof import Proofs
from gateway.identity.token import Verifier
from gateway.outcomes import Outcomes
from gateway.pipeline import Pipeline
from gateway.settings import Limits
from gateway.store import Store
from gateway.turns import Turns


@dataclass(frozen=True, slots=True)
class Service:
    verifier: Verifier
    issuer: Issuer | None
    stamping: Stamping
    """Where the keys of tokens are published, if they are."""
    proofs: Proofs
    ends: Ends
    url: str | None
    """What callers call this gateway, where that is not the address that it listens on."""
    pipeline: Pipeline
    outcomes: Outcomes
    catalog: Catalog
    store: Store
    ledger: Ledger
    sums: Sums
    log: Log
    readiness: Readiness
    metrics: Metrics
    turns: Turns
    lanes: Lanes
    rate: Rate
    strangers: Strangers
    lock_out: LockOut
    readings: Readings
    limits: Limits
    today: Callable[[], date]
    stop: Callable[[], None]
    """Ends what runs beside the requests; called once, after the last one."""
