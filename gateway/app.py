"""The composition root: a home becomes a running gateway. The only place that builds its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from fastapi import FastAPI

from gateway.audit import witnessing
from gateway.audit.log import Log
from gateway.audit.stamping import Authority, Stamping
from gateway.books import open_log
from gateway.budget import blocks
from gateway.budget.ledger import Ledger
from gateway.budget.recovery import Recovered, recover
from gateway.budget.sums import Sums
from gateway.caps import Caps, introduce, named
from gateway.cases import Attempt, Doors, DoorState, Opening
from gateway.catalog import Catalog
from gateway.domain import Domain
from gateway.erasing import Retention
from gateway.home import Home
from gateway.http.health import Readiness
from gateway.http.lanes import Lanes
from gateway.http.limits import LockOut, Rate, Strangers
from gateway.http.metrics import Metrics
from gateway.http.proxy import Ends, read_secret
from gateway.http.readings import Readings
from gateway.http.routes import create
from gateway.http.service import Service
from gateway.identity.fetch import fetcher
from gateway.identity.issuer import Issuer, KeyRing
from gateway.identity.keys import load_keys
from gateway.identity.proof import Proofs
from gateway.identity.token import Verifier
from gateway.keeper import Keeper
from gateway.outcomes import Outcomes
from gateway.pipeline import Pipeline
from gateway.running import Running
from gateway.sql.known import Known
from gateway.sql.limits import SqlLimits
from gateway.store import Store
from gateway.turns import TurnLimits, Turns
from sandbox import logs

DRAIN_S: Final = 8.0
"""How long running questions may go on after the order to stop."""
SPARE_LANES: Final = 4
SPARE_THREADS: Final = 40
"""For questions that do not wait."""
_log = logs.logger("bpk.app")


def today() -> date:
    return datetime.now(UTC).date()


def open_issuer(home: Home) -> Issuer | None:
    """Where the home's tokens come from, if it publishes its keys; not fetched yet. Raises Misconfigured."""
    tokens = home.settings.tokens
    if tokens.jwks is None:
        return None
    ca_file = None if tokens.jwks.ca_file is None else home.path(tokens.jwks.ca_file)
    return Issuer(tokens, fetcher(tokens.jwks.timeout_s, ca_file))


def open_ends(home: Home) -> Ends:
    """Raises Misconfigured for a secret that is none."""
    proxy = home.settings.server.proxy
    return Ends(None) if proxy is None else Ends(proxy, read_secret(home.path(proxy.secret_file)))


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything of a running gateway that has to be started and ended."""

    app: FastAPI
    readiness: Readiness
    turns: Turns
    running: Running
    store: Store
    domain: Domain
    opening: Opening
    keeper: Keeper
    issuer: Issuer | None
    witnesses: witnessing.Witnessing
    stamping: Stamping
    retention: Retention

    def start(self, *, recording: bool) -> None:
        """`recording` is whether the log takes records."""
        self.opening.start()
        self.keeper.start()
        if self.issuer is not None:
            self.issuer.start()
        if recording:
            for each in (self.witnesses, self.stamping, self.retention):
                each.start()

    def close(self) -> None:
        """After the last request, and after the data domain's own end."""
        if self.issuer is not None:
            self.issuer.stop()
        self.witnesses.stop()
        self.stamping.stop()
        self.retention.stop()
        self.opening.stop()
        self.running.join()
        self.keeper.stop()
        self.domain.close()
        self.store.close()


@dataclass(frozen=True, slots=True)
class _Callers:
    """How to tell who calls."""

    issuer: Issuer | None
    verifier: Verifier
    proofs: Proofs
    ends: Ends


@dataclass(frozen=True, slots=True)
class _Books:
    """What is written down for good, and what looks after it."""

    store: Store
    log: Log
    ledger: Ledger
    caps: Caps
    retention: Retention
    witnesses: witnessing.Witnessing
    stamping: Stamping
    alone: bool
    """Whether no other gateway can serve from this store."""

    def look_at_caps(self) -> Mapping[str, Any]:
        with self.store.reading() as view:
            return self.caps.look(view, today())


@dataclass(frozen=True, slots=True)
class _Work:
    """All that a question meets between its policy and its answer."""

    catalog: Catalog
    domain: Domain
    doors: Doors
    opening: Opening
    turns: Turns
    running: Running
    outcomes: Outcomes
    pipeline: Pipeline
    metrics: Metrics


def build(home: Home, domain: Domain) -> Gateway:
    """The gateway of `home`, over a data domain that may still be starting. Raises Misconfigured, NotReady."""
    catalog = Catalog.load(home.policies)
    callers = _callers(home)
    books = _open_books(home, catalog, domain)
    work = _work(home, catalog, domain, books)
    readiness = _readiness(callers, books, work)
    service = _service(home, callers, books, work, readiness)
    gateway = Gateway(
        create(service),
        readiness,
        work.turns,
        work.running,
        books.store,
        domain,
        work.opening,
        Keeper(books.store, books.ledger, work.outcomes.settle, alone=books.alone),
        callers.issuer,
        books.witnesses,
        books.stamping,
        books.retention,
    )
    gateway.start(recording=books.log.closed is None)
    return gateway


def _callers(home: Home) -> _Callers:
    tokens, issuer = home.settings.tokens, open_issuer(home)
    verifier = Verifier(tokens, KeyRing(load_keys(tokens.keys, home.path), issuer))
    return _Callers(issuer, verifier, Proofs(tokens.leeway_s), open_ends(home))


def _open_books(home: Home, catalog: Catalog, domain: Domain) -> _Books:
    """As they were left, and then as the files of the home have it."""
    wanted = named(home)
    store, log = open_log(home, lambda: domain.degraded)
    retention = Retention(log, store, home.settings.audit.retention_days)
    witnesses, stamping = _witnessing(home, store, log), _stamping(home, store, log)
    witnesses.fetch(home.anchors[1])
    ledger = Ledger(log)
    recovered = _recover(store, ledger, log)
    caps = Caps(catalog, ledger, log, wanted)
    if log.closed is None:
        with store.transaction() as tx:
            log.end_licences(tx, frozenset(licence.licence for licence in catalog.licences))
            introduce(tx, log, wanted)
        _warn_of_caps(store, caps)
    return _Books(store, log, ledger, caps, retention, witnesses, stamping, recovered.alone)


def _recover(store: Store, ledger: Ledger, log: Log) -> Recovered:
    recovered = recover(store, ledger, log)
    if log.closed is not None:
        _log.error("every dataset is frozen", reason=log.closed)
    for dataset, why in recovered.frozen.items():
        _log.error("a dataset is frozen", dataset=dataset, reason=why)
    return recovered


def _work(home: Home, catalog: Catalog, domain: Domain, books: _Books) -> _Work:
    store, ledger, limits = books.store, books.ledger, home.settings.limits
    doors, metrics = Doors(), Metrics()
    shut = _shut(store, catalog, doors)
    turns = Turns(TurnLimits.of(limits), lambda: domain.places)
    running = Running(limits.running_max)
    outcomes = Outcomes(catalog, domain, store, ledger, books.log, running, today)
    sql_limits = SqlLimits(bytes_max=limits.sql_bytes_max)
    steps = (catalog, domain, store, ledger, doors, turns, running, outcomes, sql_limits, Known(sql_limits))
    pipeline = Pipeline(*steps, today, metrics.charged)
    tried = {dataset: cases for dataset, cases in catalog.cases.items() if dataset not in shut}
    opening = Opening(domain, doors, tried, Attempt(catalog.policies, domain))
    return _Work(catalog, domain, doors, opening, turns, running, outcomes, pipeline, metrics)


def _readiness(callers: _Callers, books: _Books, work: _Work) -> Readiness:
    return Readiness(
        work.domain,
        books.store,
        work.catalog,
        work.doors,
        books.ledger,
        books.log,
        callers.issuer,
        books.look_at_caps,
        lambda: books.stamping.state,
    )


def _service(home: Home, callers: _Callers, books: _Books, work: _Work, readiness: Readiness) -> Service:
    limits = home.settings.limits

    def stop() -> None:
        if callers.issuer is not None:
            callers.issuer.stop()
        work.opening.stop()
        work.turns.close()
        work.running.drain(DRAIN_S)

    return Service(
        verifier=callers.verifier,
        issuer=callers.issuer,
        stamping=books.stamping,
        proofs=callers.proofs,
        ends=callers.ends,
        url=home.settings.server.url,
        pipeline=work.pipeline,
        outcomes=work.outcomes,
        catalog=work.catalog,
        store=books.store,
        ledger=books.ledger,
        sums=Sums(books.store),
        log=books.log,
        readiness=readiness,
        metrics=work.metrics,
        turns=work.turns,
        lanes=Lanes(limits.waiting_per_operator_max + SPARE_LANES, limits.waiting_max + SPARE_THREADS),
        rate=Rate(limits.requests_per_minute_max),
        strangers=Strangers(limits.strangers_per_minute_max),
        lock_out=LockOut(limits.refusals_max, limits.lock_out_s),
        readings=Readings(),
        limits=limits,
        today=today,
        stop=stop,
    )


def _shut(store: Store, catalog: Catalog, doors: Doors) -> frozenset[str]:
    """The datasets whose policy cuts blocks in another way than they were charged: they are not served."""
    with store.reading() as view:
        found = {name: blocks.at_odds(view, policy) for name, policy in catalog.policies.items()}
    shut = {name: why for name, why in found.items() if why is not None}
    for dataset, why in shut.items():
        _log.error("a dataset is not served", dataset=dataset, reason=why)
        mend = "its policy and what was charged disagree on blocks, which its custodian has to mend"
        doors.put(dataset, DoorState("refused", why, mend))
    return frozenset(shut)


def _warn_of_caps(store: Store, caps: Caps) -> None:
    """Says at start what is not as the files of the home have it."""
    with store.reading() as view:
        told = caps.look(view, today())
    if not told["as_settings"]:
        _log.warning("gateway.toml names other approvers than are on record, which stay in force")
    for dataset, count in told["waiting"].items():
        reason = f"{count} scopes stay at the cap in force until {told['quorum']} approvers have signed"
        _log.warning("a higher cap waits for its approvers", dataset=dataset, reason=reason)


def _witnessing(home: Home, store: Store, log: Log) -> witnessing.Witnessing:
    settings = home.settings.audit
    remotes = [witnessing.Remote(each.url, each.key) for each in settings.witnesses]
    return witnessing.Witnessing(log, store, remotes, settings.witness_every_s)


def _stamping(home: Home, store: Store, log: Log) -> Stamping:
    wanted, authority = home.settings.audit.timestamps, None
    if wanted is not None:
        authority = Authority(wanted.url, home.path(wanted.certificates), wanted.every_s, wanted.timeout_s)
    return Stamping(log, store, authority)
