"""The composition root: a home becomes a running gateway. The only place that builds its parts."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from gateway import spans
from gateway.audit import witnessing
from gateway.audit.log import Log
from gateway.audit.stamping import Authority, Stamping
from gateway.books import open_log
from gateway.budget import blocks
from gateway.budget.ledger import Ledger
from gateway.budget.recovery import recover
from gateway.budget.sums import Sums
from gateway.caps import Caps, introduce, named
from gateway.cases import Attempt, Doors, DoorState, Opening
from gateway.catalog import Catalog
from gateway.domain import Domain
from gateway.erasing import Retention
from gateway.errors import NotReady
from gateway.home import Home, read_private_key
from gateway.http.health import Readiness
from gateway.http.lanes import Lanes
from gateway.http.limits import LockOut, Rate, Strangers
from gateway.http.metrics import Metrics
from gateway.http.proxy import Ends, read_secret
from gateway.http.readings import Readings
from gateway.http.routes import create
from gateway.http.server import Server
from gateway.http.service import Service
from gateway.identity.fetch import fetcher
from gateway.identity.issuer import Issuer, KeyRing
from gateway.identity.keys import load_keys
from gateway.identity.proof import Proofs
from gateway.identity.token import Verifier
from gateway.keeper import Keeper
from gateway.line import Place, Remote
from gateway.listening import address_of, listen
from gateway.outcomes import Outcomes
from gateway.pipeline import Pipeline
from gateway.running import Running
from gateway.sql.known import Known
from gateway.sql.limits import SqlLimits
from gateway.store import Store
from gateway.supervisor import Supervisor
from gateway.turns import TurnLimits, Turns
from sandbox import logs, tls

SWITCH_S: Final = 0.0005
"""How long a thread may keep the others from going on. Who writes lets go of the interpreter at every statement, while
others wait for its transaction: at the usual 5 ms for each that would be most of what they wait for."""
DRAIN_S: Final = 8.0
"""How long running questions may go on after the order to stop."""
FOLDER: Final = "bpk-"
SPARE_LANES: Final = 4
SPARE_THREADS: Final = 40
"""For questions that do not wait."""
_log = logs.logger("bpk.app")


def today() -> date:
    return datetime.now(UTC).date()


def open_domain(home: Home, door: Place) -> Domain:
    """Raises Misconfigured."""
    settings = home.settings.domain
    key = read_private_key(home.path(settings.ticket_key))
    return Domain(door, key, prepare_s_max=settings.prepare_s_max, run_s_max=settings.run_s_max)


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
    """Everything of a running gateway that has to be ended."""

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


def build(home: Home, domain: Domain) -> Gateway:
    """The gateway of `home`, over a data domain that may still be starting. Raises Misconfigured, NotReady."""
    catalog = Catalog.load(home.policies)
    tokens, issuer = home.settings.tokens, open_issuer(home)
    wanted = named(home)
    verifier = Verifier(tokens, KeyRing(load_keys(tokens.keys, home.path), issuer))
    store, log = open_log(home, lambda: domain.degraded)
    retention = Retention(log, store, home.settings.audit.retention_days)
    witnesses, stamping = _witnessing(home, store, log), _stamping(home, store, log)
    witnesses.fetch(home.anchors[1])
    ledger = Ledger(log)
    recovered = recover(store, ledger, log)
    if log.closed is not None:
        _log.error("every dataset is frozen", reason=log.closed)
    for dataset, why in recovered.frozen.items():
        _log.error("a dataset is frozen", dataset=dataset, reason=why)
    if log.closed is None:
        with store.transaction() as tx:
            log.end_licences(tx, frozenset(licence.licence for licence in catalog.licences))
            introduce(tx, log, wanted)
    caps = Caps(catalog, ledger, log, wanted)
    if log.closed is None:
        _warn_of_caps(store, caps)
    doors, metrics, limits = Doors(), Metrics(), home.settings.limits
    shut = _shut(store, catalog, doors)
    turns = Turns(TurnLimits.of(limits), lambda: domain.places)
    running = Running(limits.running_max)
    outcomes = Outcomes(catalog, domain, store, ledger, log, running, today)
    sql_limits = SqlLimits(bytes_max=limits.sql_bytes_max)
    steps = (catalog, domain, store, ledger, doors, turns, running, outcomes, sql_limits, Known(sql_limits))
    pipeline = Pipeline(*steps, today, metrics.charged)
    tried = {dataset: cases for dataset, cases in catalog.cases.items() if dataset not in shut}
    opening = Opening(domain, doors, tried, Attempt(catalog.policies, domain))

    def stop() -> None:
        if issuer is not None:
            issuer.stop()
        opening.stop()
        turns.close()
        running.drain(DRAIN_S)

    def look_at_caps() -> Mapping[str, Any]:
        with store.reading() as view:
            return caps.look(view, today())

    readiness = Readiness(domain, store, catalog, doors, ledger, log, issuer, look_at_caps, lambda: stamping.state)
    service = Service(
        verifier=verifier,
        issuer=issuer,
        stamping=stamping,
        proofs=Proofs(tokens.leeway_s),
        ends=open_ends(home),
        url=home.settings.server.url,
        pipeline=pipeline,
        outcomes=outcomes,
        catalog=catalog,
        store=store,
        ledger=ledger,
        sums=Sums(store),
        log=log,
        readiness=readiness,
        metrics=metrics,
        turns=turns,
        lanes=Lanes(limits.waiting_per_operator_max + SPARE_LANES, limits.waiting_max + SPARE_THREADS),
        rate=Rate(limits.requests_per_minute_max),
        strangers=Strangers(limits.strangers_per_minute_max),
        lock_out=LockOut(limits.refusals_max, limits.lock_out_s),
        readings=Readings(),
        limits=limits,
        today=today,
        stop=stop,
    )
    opening.start()
    keeper = Keeper(store, ledger, outcomes.settle, alone=recovered.alone)
    keeper.start()
    if issuer is not None:
        issuer.start()
    if log.closed is None:
        for each in (witnesses, stamping, retention):
            each.start()
    app = create(service)
    return Gateway(
        app, readiness, turns, running, store, domain, opening, keeper, issuer, witnesses, stamping, retention
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


def serve(home: Home, port: int | None, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT. `ready` is told the address. Raises Misconfigured, NotReady.

    All that can be wrong with the home is found before the data domain's service is started. At the end that service
    goes first, so that a question that still runs fails at once; then what it left is recorded.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # uvicorn puts these back and raises the signal again when it has ended
    with contextlib.ExitStack() as stack:
        server = home.settings.server
        stack.callback(spans.start(home.settings.telemetry))
        listener = stack.enter_context(contextlib.closing(listen(server.host, server.port if port is None else port)))
        door = _door(home, stack)
        domain = open_domain(home, door)
        gateway = stack.enter_context(contextlib.closing(build(home, domain)))
        if isinstance(door, Path) and not home.settings.domain.elsewhere:
            supervisor = Supervisor(home.root, door)
            stack.callback(supervisor.stop)
            supervisor.start(domain)
        address = address_of(listener)
        _drop_old_door(home)
        _leave_address(home, address, None if home.settings.domain.elsewhere else door)
        stack.callback(home.address_file.unlink, missing_ok=True)
        ready(address)
        gc.collect()
        gc.freeze()  # else the collector looks through all that stays for ever, while every request waits
        sys.setswitchinterval(SWITCH_S)
        Server(
            gateway.app,
            drain_s=DRAIN_S,
            notice_s=server.notice_s,
            connections_max=home.settings.limits.connections_max,
            leaving=gateway.readiness.leave,
            ending=gateway.turns.close,
        ).run(sockets=[listener])


def _leave(*_: object) -> None:
    sys.exit(0)


def _door(home: Home, stack: contextlib.ExitStack) -> Place:
    """Where the data domain listens: elsewhere, or in a folder of our own that only we can enter."""
    return elsewhere(home) or stack.enter_context(_own_folder()) / "door"


def elsewhere(home: Home) -> Place | None:
    """Where a data domain listens that `bpk serve` does not start."""
    settings = home.settings.domain
    if settings.socket is not None:
        return home.path(settings.socket)
    if settings.tls is None:
        return None
    host, port = tls.address(settings.tls.address)
    files = (home.path(file) for file in (settings.tls.certificate, settings.tls.key, settings.tls.authority))
    return Remote(host, port, tls.Files(*files), settings.tls.server)


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=FOLDER))  # mode 0700, and short: a socket's path has at most 104 bytes
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def own_domain(home: Home) -> Iterator[Domain]:
    """A data domain's service of our own for as long as the block lasts. Raises Misconfigured."""
    with _own_folder() as folder:
        supervisor, domain = Supervisor(home.root, folder / "door"), open_domain(home, folder / "door")
        try:
            supervisor.start(domain)
            yield domain
        finally:
            supervisor.stop()
            domain.close()


def served_door(home: Home) -> Domain | None:
    """The data domain that serves this home now, or None."""
    try:
        door = elsewhere(home) or Path(json.loads(home.address_file.read_text(encoding="utf-8"))["door"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    domain = open_domain(home, door)
    try:
        domain.status()
    except NotReady:
        domain.close()
        return None
    return domain


def _drop_old_door(home: Home) -> None:
    """What a gateway of this home that was killed left behind: an empty socket in a folder of its own."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        door = Path(json.loads(home.address_file.read_text(encoding="utf-8"))["door"])
        folder = door.parent
        if folder.name.startswith(FOLDER) and folder.parent == Path(tempfile.gettempdir()):
            door.unlink(missing_ok=True)
            folder.rmdir()


def _leave_address(home: Home, address: str, own_door: Place | None) -> None:
    """For the command line of the same user: where this home is served. A door that is not ours is never dropped."""
    home.address_file.parent.mkdir(parents=True, exist_ok=True)
    beside = home.address_file.with_suffix(f".{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        json.dump({"url": address, "pid": os.getpid(), "door": str(own_door) if own_door else None}, out)
    beside.replace(home.address_file)
