"""Three gateways on one ledger, simulated: crashes, pauses, clocks that jump, repeats, late answers, fail-overs.

Every step is drawn from a seed, so a life that went wrong can be lived again: `BPK_SEED=n`. A model of a few lines says
what must be: nothing overspent, nothing lost, each query ends once, a rolled back ledger grants nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest

from gateway.audit.verify import verify
from gateway.budget import seats
from gateway.budget.account import Scope
from gateway.budget.ledger import Ledger
from gateway.budget.loss import Cap
from gateway.budget.queries import Asked, Repeated, Stored
from gateway.budget.recovery import keep_seat, recover
from gateway.budget.seats import BEAT_S, LEASE_S, Watch
from gateway.errors import Fault, NotReady, Refusal
from gateway.store import Reading, Transaction
from sandbox.protocol import Price
from tests.figures import Record, told
from tests.ledger_world import HASH, World

STEPS = int(os.environ.get("BPK_STEPS", "1000000" if os.environ.get("BPK_LONG") else "100000"))
SEED = os.environ.get("BPK_SEED", "7")
LIFE = 600
"""Steps of one life, each of which begins with an empty ledger."""
CAP = 400
CAPS = {"dataset": CAP, "acme": CAP // 2, "beta": CAP // 2, "actuarial": CAP // 4}
"""`actuarial` is a purpose of acme's, with a share of its own."""
IDS = {
    "dataset": "dataset:clinic",
    "acme": "operator:acme/clinic",
    "beta": "operator:beta/clinic",
    "actuarial": "purpose:actuarial/acme/clinic",
}


@dataclass
class Replica:
    """What a gateway has in memory."""

    ledger: Ledger
    watch: Watch = field(default_factory=Watch)
    now: float = 0.0
    paused: bool = False
    running: list[str] = field(default_factory=list)


class Simulation:
    ledger_class: type[Ledger] = Ledger
    blocks: tuple[str | None, ...] = (None,)
    """Those of the policy; its one None where it has none."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.dice = dice
        self.world = World(folder)
        self.world.parts = {"actuarial": Decimal(1)}
        self.replicas = [self.begin() for _ in range(3)]
        self.spent = dict.fromkeys(product(CAPS, self.blocks), 0)
        self.states: dict[str, str] = {}
        self.keys: dict[tuple[str, str], str] = {}

    def begin(self) -> Replica:
        ledger = self.ledger_class(self.world.log, self.world.clock)
        with self.world.store.transaction() as tx:
            ledger.sit(tx)
        return Replica(ledger)

    def step(self) -> None:
        kind = self.dice.choices(
            (self.charge, self.end, self.beat, self.pause, self.crash, self.jump, self.cancel, self.break_off),
            (14, 14, 24, 12, 1, 24, 2, 3),
        )[0]
        kind(self.dice.choice(self.replicas))

    def charge(self, replica: Replica) -> None:
        """A paused gateway has an old request in hand; it does not know yet that it was given up."""
        operator, key = self.dice.choice(("acme", "beta")), self.dice.choice((None, None, "k1", "k2", "k3"))
        rho = self.dice.randint(1, 30)
        purpose = self.dice.choice(("research", "actuarial")) if operator == "acme" else "research"
        asked = self.world.asked(operator, key, purpose=purpose)
        known = self.keys.get((operator, key or ""))
        among = tuple(sorted(self.dice.sample(self.blocks, self.dice.randint(1, len(self.blocks))), key=str))
        base = self.scopes(operator, purpose)
        scopes = tuple(replace(scope, block=block) for scope in base for block in among)
        parts = [*product(("dataset", operator, purpose)[: len(base)], among)]
        fits = all(self.spent[part] + rho <= CAPS[part[0]] for part in parts)
        held = self.holds_seat(replica)
        outcome = self.charged(replica, asked, scopes, rho)
        if outcome == "charged":
            assert fits
            assert held
            assert known is None
            for part in parts:
                self.spent[part] += rho
            self.states[asked.id] = "running"
            replica.running.append(asked.id)
            if key:
                self.keys[operator, key] = asked.id
        elif outcome == "no seat":
            assert not held
        elif outcome == "budget_exhausted":
            assert not fits
        else:
            assert outcome == known

    def scopes(self, operator: str, purpose: str) -> tuple[Scope, ...]:
        def scope(name: str, who: str | None = None, what: str | None = None) -> Scope:
            return Scope("clinic", who, Cap("zcdp", CAPS[name], 0, 0), what)

        both = scope("dataset"), scope(operator, operator)
        return (*both, scope(purpose, operator, purpose)) if purpose == "actuarial" else both

    def charged(self, replica: Replica, asked: Asked, scopes: tuple[Scope, ...], rho: int) -> str:
        """`charged`, or the query that was sent under the same key, or why not."""
        try:
            with self.world.store.transaction() as tx:
                replica.ledger.charge(tx, asked, scopes, Price(1, 0, rho))
        except Repeated as again:
            return again.row.id
        except Refusal as refusal:
            return refusal.code
        except NotReady:
            return "no seat"
        return "charged"

    def end(self, replica: Replica) -> None:
        """Of a query that it ran: it is recorded at most once, however late it comes."""
        if not replica.running:
            return
        query = replica.running[0] if self.dice.random() < 0.3 else replica.running.pop(0)  # or tried again later
        answer = self.dice.random() < 0.7
        try:
            with self.world.store.transaction() as tx:
                row = (
                    replica.ledger.answer(tx, query, Stored("rel_1", HASH))
                    if answer
                    else replica.ledger.fail(tx, query)
                )
        except Fault:
            assert self.states[query] != "running"
        else:
            assert self.states[query] == "running"
            self.states[query] = row.state

    def cancel(self, replica: Replica) -> None:
        """By its operator, at any gateway."""
        running = [query for query, state in self.states.items() if state == "running"]
        if running:
            query = self.dice.choice(running)
            with self.world.store.transaction() as tx:
                replica.ledger.cancel(tx, query)
            self.states[query] = "cancelled"

    def beat(self, replica: Replica) -> None:
        if replica.paused:
            return
        replica.now += BEAT_S
        kept = keep_seat(self.world.store, replica.ledger, replica.watch, replica.now)
        for query in kept.failed:
            assert self.states[query] == "running"
            self.states[query] = "failed"

    def pause(self, replica: Replica) -> None:
        replica.paused = not replica.paused

    def jump(self, replica: Replica) -> None:
        """Clocks of the wall, in both directions, and a long moment in which nobody looks."""
        self.world.clock.moment += timedelta(seconds=self.dice.uniform(-3600, 3600))
        replica.now += self.dice.uniform(0, 100)

    def crash(self, replica: Replica) -> None:
        """Its memory is gone; its seat stays until others take it."""
        self.replicas[self.replicas.index(replica)] = self.begin()

    def break_off(self, replica: Replica) -> None:
        """A transaction that does not get to its end."""
        asked, base = self.world.asked(purpose="actuarial"), self.scopes("acme", "actuarial")
        scopes = tuple(replace(scope, block=block) for scope in base for block in self.blocks)
        try:
            with self.world.store.transaction() as tx:
                replica.ledger.charge(tx, asked, scopes, Price(1, 0, 1))
                raise ZeroDivisionError
        except (ZeroDivisionError, Refusal, NotReady):
            pass

    def holds_seat(self, replica: Replica) -> bool:
        with self.world.store.reading() as view:
            return view.one("SELECT 1 FROM seat WHERE id = ? AND lost = 0", (replica.ledger.seat,)) is not None

    def check(self) -> None:
        with self.world.store.reading() as view:
            states = dict(view.all("SELECT id, state FROM query"))
            spent = dict(view.all("SELECT id, charged_rho FROM scope"))
        assert states == self.states
        ids = {part: IDS[part[0]] if part[1] is None else f"{IDS[part[0]]}#{part[1]}" for part in self.spent}
        assert {part: spent.get(ids[part], 0) for part in self.spent} == self.spent
        report = verify(self.world.export())
        assert report.ok, report.text()

    def settle(self) -> None:
        """Within a lease of beats everything that nobody runs has ended."""
        last = self.begin()
        for _ in range(int(LEASE_S / BEAT_S) + 2):
            self.beat(last)
        assert "running" not in self.states.values()

    def fail_over(self, copy: Path) -> None:
        """To what is older than what was signed: every gateway is frozen."""
        note = self.world.log.checkpoint()
        self.world.store.close()
        shutil.copy(copy, self.world.path)
        self.world.open()
        recover(self.world.store, self.world.ledger, self.world.log)
        held = len(self.world.log.bodies(0, 10**6))
        signed = int(note.split("\n")[1])
        assert (self.world.log.closed is not None) == (held < signed)
        if held < signed:
            with pytest.raises(Refusal, match="frozen"):
                self.world.charge()


class SimulationInBlocks(Simulation):
    """The same, where units lie in blocks: each has the caps for itself."""

    blocks = ("2023", "2024", "rest")


def live(folder: Path, seed: str, steps: int, simulation: type[Simulation] = Simulation) -> None:
    life = simulation(folder, random.Random(seed))
    copied = life.dice.randrange(steps)
    for number in range(steps):
        life.step()
        if number == copied:
            life.world.store.copy_to(folder / "copy")
        if number % 200 == 199:
            life.check()
    life.settle()
    life.check()
    life.fail_over(folder / "copy")
    life.world.store.close()


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """In memory, where there is such a place: power is not lost here."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="bpk-sim-", dir=place) as folder:
        yield Path(folder)


@pytest.mark.timeout(3600)
def test_no_simulated_life_overspends_or_loses_anything(quick_folder: Path, record_property: Record) -> None:
    lives = max(1, STEPS // LIFE)
    for number in range(lives):
        folder = quick_folder / str(number)
        try:
            live(folder, f"{SEED}-{number}", LIFE, SimulationInBlocks if number % 4 == 3 else Simulation)
        except BaseException as error:
            error.add_note(f"life {SEED}-{number}")
            raise
        shutil.rmtree(folder)
    told(record_property, "simulated steps of 3 gateways", lives * LIFE, {"overspent": 0, "lost": 0}, SEED)


class Refunding(Ledger):
    """Planted: what failed is not paid for."""

    def fail(self, tx: Transaction, query_id: str, code: str = "query_failed") -> object:
        tx.write("DROP TRIGGER IF EXISTS scope_only_grows")
        tx.write("UPDATE scope SET charged_rho = charged_rho - 1 WHERE charged_rho > 0")
        return super().fail(tx, query_id, code)


class FirstBlock(Ledger):
    """Planted: of several blocks only the first is charged."""

    def charge(self, tx: Transaction, asked: Asked, scopes: tuple, price: Price, **more: object) -> object:
        first = tuple(scope for scope in scopes if scope.block == scopes[0].block)
        return super().charge(tx, asked, first, price, **more)


def unfenced(_: Reading, seat: str | None) -> str:
    """Planted: a gateway that lost its seat goes on charging."""
    return seat or ""


def live_often(folder: Path, kind: type[Simulation]) -> None:
    for number in range(20):
        live(folder / str(number), f"planted-{number}", LIFE, kind)


@pytest.mark.parametrize("plant", ["refund", "no fence", "first block"])
def test_a_planted_fault_is_found_by_simulation(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    kind = Simulation
    if plant == "refund":
        kind = type("Planted", (Simulation,), {"ledger_class": Refunding})
    elif plant == "first block":
        kind = type("Planted", (SimulationInBlocks,), {"ledger_class": FirstBlock})
    else:
        monkeypatch.setattr(seats, "require", unfenced)
    with pytest.raises(AssertionError):
        live_often(quick_folder, kind)
