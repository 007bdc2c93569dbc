"""A store, a ledger and a log for tests, with the short words that tests need."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import export
from gateway.audit.anchors import Anchors
from gateway.audit.checkpoint import Signer
from gateway.audit.handover import Held
from gateway.audit.log import Log
from gateway.budget import queries
from gateway.budget.account import Scope
from gateway.budget.cells import Shown, cells_of
from gateway.budget.ledger import Ledger
from gateway.budget.loss import Cap, cap, words
from gateway.budget.queries import Asked, QueryRow, Stored
from gateway.decided import Approvers, Decided, Draft, Line, propose_caps
from gateway.right import Right
from gateway.store import Store, Transaction
from gateway.stores.sqlite import SqliteStore
from policies.load import load_text
from policies.model import Accountant, BudgetShare, Dp, Licence, Mode, Policy
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, rho_for, units_down
from sandbox.protocol import FREE, Price
from tests.policy_head import head

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
SIGNER = Signer("baopingkou/test", KEY)
NEXT = Signer(SIGNER.origin, Ed25519PrivateKey.from_private_bytes(b"n" * 32))
"""The key that follows."""
HASH = "ab" * 32
EYES = {name: Ed25519PrivateKey.from_private_bytes(name[:1].encode() * 32) for name in ("ann", "bo", "cy")}
"""The keys of three approvers."""
DELTA = units_down(Decimal("1e-9"), DELTA_UNIT)


def dp(epsilon: str = "8", accountant: Accountant = "zcdp") -> Dp:
    one = Decimal(1)
    return Dp(accountant, Decimal(epsilon), Decimal("1e-9"), one / 2, one, Decimal("5e-13"), 8, 1)


def price(epsilon: str, delta: int = 0, accountant: Accountant = "zcdp") -> Price:
    loss = units_down(Decimal(epsilon), EPSILON_UNIT)
    return Price(loss, delta, rho_for(loss, DELTA // 2) if accountant == "zcdp" else 0)


@cache
def exact_policy() -> Policy:
    """At most 30 numbers shown, and 5 withheld."""
    text = head().replace('["dp"]', '["aggregate"]')
    rules = "[release.aggregate]\nunits_min = 10\ncells_max = 30\nwithheld_max = 5\n"
    columns = '[tables.people.columns]\npid = { type = "integer", role = "unit" }\n'
    return load_text(text[: text.index("[release.dp]")] + rules + "[tables.people]\n" + columns, "clinic")


def licensed(
    operator: str, *datasets: str, until: date = date(2099, 12, 31), parts: Mapping[str, Decimal] | None = None
) -> Licence:
    """`parts` are purposes with a share of their own; `research` and `actuarial` may be asked for in any case."""
    budget = {dataset: BudgetShare(Decimal(2), parts) for dataset in datasets} if parts else {}
    purposes = dict.fromkeys(("research", "actuarial", *(parts or ())))
    return Licence(f"L-{operator}", operator, datasets, tuple(purposes), date(2020, 1, 1), until, budget)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
        self.lock = threading.Lock()

    def __call__(self) -> datetime:
        with self.lock:
            self.moment += timedelta(milliseconds=7)
            return self.moment


class World:
    """`charge` and its like are one transaction each."""

    def __init__(
        self,
        folder: Path,
        dataset: str = "clinic",
        open_store: Callable[[], Store] | None = None,
        witnessed: Path | None = None,
        held: Signer | Held = SIGNER,
    ) -> None:
        self.path = folder / "gateway" / "ledger.sqlite"
        self.witnessed = witnessed
        self.held = held
        self.dataset = dataset
        self.parts: Mapping[str, Decimal] = {}
        """Purposes with a share of their own, in the licences of all operators."""
        self.clock = Clock()
        self.open_store = open_store or (lambda: SqliteStore(self.path))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.open()

    def open(self) -> None:
        self.store: Store = self.open_store()
        self.log = Log(self.store, self.held, Anchors(self.path.with_suffix(".checkpoint"), self.witnessed), self.clock)
        self.ledger = Ledger(self.log, self.clock)
        self.sit()

    def sit(self, ledger: Ledger | None = None) -> None:
        """Takes a seat, for another ledger where one is given."""
        self.ledger = ledger or self.ledger
        if self.log.closed is None:
            with self.store.transaction() as tx:
                self.ledger.sit(tx)

    def reopen(self) -> None:
        self.store.close()
        self.open()

    def scopes(
        self, operator: str = "acme", share: str = "2", whole: Dp | None = None, purpose: str | None = None
    ) -> tuple[Scope, ...]:
        rule = whole or dp()
        both = (Scope(self.dataset, None, cap(rule)), Scope(self.dataset, operator, cap(rule, Decimal(share))))
        if purpose not in self.parts:
            return both
        return (*both, Scope(self.dataset, operator, cap(rule, self.parts[purpose]), purpose))

    def counted_scopes(self, operator: str, answers: int, each: Price) -> tuple[Scope, ...]:
        """Caps that hold exactly `answers` questions at `each`."""
        limit = Cap("zcdp", each.rho * answers, 0, DELTA // 2)
        return (Scope(self.dataset, None, limit), Scope(self.dataset, operator, limit))

    def asked(
        self,
        operator: str = "acme",
        key: str | None = None,
        request: str = "r",
        mode: Mode = "dp",
        purpose: str = "research",
    ) -> Asked:
        new = queries.new_query_id()
        right = Right(mode, "authorised", licensed(operator, self.dataset, parts=self.parts), purpose)
        return Asked(new, operator, key, request, self.dataset, mode, HASH, HASH, json.dumps({"sql": "x"}), "t", right)

    def exact(self, shown: Shown, release: str = "rel_exact", operator: str = "acme") -> QueryRow:
        """An exact question, answered."""
        with self.store.transaction() as tx:
            row = self.ledger.charge(tx, self.asked(operator, mode="aggregate"), (), FREE)
            return self.ledger.answer(tx, row.id, Stored(release, HASH), shown)

    def exact_again(self, shown: Shown, release: str = "rel_exact", operator: str = "acme") -> QueryRow:
        """An exact question that a stored release answers."""
        with self.store.transaction() as tx:
            asked = self.asked(operator, mode="aggregate")
            return self.ledger.reuse(tx, asked, Stored(release, HASH), shown=shown)

    def cells(self, operator: str = "acme") -> tuple[int, int]:
        with self.store.reading() as view:
            found = cells_of(view, exact_policy(), operator)
        assert found is not None
        return found.released, found.withheld

    def charge(
        self,
        cost: Price | None = None,
        scopes: tuple[Scope, ...] | None = None,
        asked: Asked | None = None,
    ) -> QueryRow:
        question = asked or self.asked()
        due = scopes or self.scopes(question.operator, purpose=question.right.purpose)
        with self.store.transaction() as tx:
            return self.ledger.charge(tx, question, due, cost or price("0.5"), texts={"sql": "SELECT 1"})

    def name_approvers(self) -> Approvers:
        """Two of EYES have to sign from now on."""
        named = Approvers.of(2, {name: key.public_key() for name, key in EYES.items()})
        with self.store.transaction() as tx:
            self.log.name_approvers(tx, named)
        return named

    def proposed(self, scope: Scope, before: Cap, reason: str = "the board decided on more") -> Decided:
        """A decision that nobody has signed yet, on the cap that `scope` carries."""
        with self.store.reading() as view:
            spent, records = self.ledger.account(view, scope).spent, self.log.size(view)
        line = Line(scope.id, words(before), words(scope.cap), words(spent))
        return propose_caps(SIGNER.origin, records, [line], Draft(reason, self.clock()))

    def raise_cap(self, scope: Scope, before: Cap, decided: Decided | None = None) -> int:
        """Without a word of whether the decision is a good one: that is the caller's to judge."""
        if decided is None:
            decided = signed_by(self.proposed(scope, before), "ann", "bo")
        with self.store.transaction() as tx:
            return self.ledger.raise_cap(tx, scope, before, HASH, decided)

    def answer(self, query_id: str, stored: Stored | None = None, told: str | None = None) -> QueryRow:
        with self.store.transaction() as tx:
            return self.ledger.answer(tx, query_id, stored or Stored("rel_1", HASH), told=told)

    def fail(self, query_id: str) -> QueryRow:
        with self.store.transaction() as tx:
            return self.ledger.fail(tx, query_id)

    def spent(self, scope: Scope) -> int:
        with self.store.reading() as view:
            loss = self.ledger.account(view, scope).spent
        return loss.rho or loss.epsilon

    def hand_over(self, to: Signer = NEXT) -> int:
        """The log goes over to another key, which this world holds from now on as well."""
        with self.store.transaction() as tx:
            return self.log.hand_over(tx, to)

    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.export()[:-1]]

    def export(self) -> list[bytes]:
        return list(export.lines(self.log))


def signed_by(decided: Decided, *names: str) -> Decided:
    for name in names:
        decided = decided.signed_by(name, EYES[name])
    return decided


def unfence(world: World, tx: Transaction) -> None:
    """Takes the database's own fences away, as somebody with a database tool would."""
    if isinstance(world.store, SqliteStore):
        for (name,) in tx.all("SELECT name FROM sqlite_schema WHERE type = 'trigger'"):
            tx.write(f"DROP TRIGGER {name}")
    else:
        tx.write("SET LOCAL session_replication_role = replica")


def tamper(world: World, statement: str) -> int:
    """The number of rows that `statement` changes past all fences."""
    if isinstance(world.store, SqliteStore):
        world.store._writer.execute("PRAGMA foreign_keys = 0")
    with world.store.transaction() as tx:
        unfence(world, tx)
        return tx.write(statement)


def a_world_that_changed_its_key(folder: Path, open_store: Callable[[], Store] | None = None) -> World:
    """Some records under the first key, and some under the next."""
    world = World(folder, open_store=open_store, held=Held(SIGNER, lambda: [NEXT]))
    world.answer(world.charge().id)
    world.hand_over()
    world.answer(world.charge().id)
    return world


def a_busy_world(folder: Path, open_store: Callable[[], Store] | None = None, held: Signer | Held = SIGNER) -> World:
    """Some of everything that a log can hold."""
    world = World(folder, open_store=open_store, held=held)
    for number in range(6):
        row = world.charge(price("0.25", delta=number), asked=world.asked(("acme", "beta")[number % 2], f"k{number}"))
        if number % 3 == 2:
            world.fail(row.id)
        else:
            world.answer(row.id)
    with world.store.transaction() as tx:
        world.ledger.reuse(tx, world.asked(), Stored("rel_1", HASH), texts={"sql": "SELECT 2"})
        world.ledger.refuse(tx, query_id=queries.new_query_id(), actor="acme", code="column_hidden")
        world.ledger.repeat(tx, row)
        world.log.note_read(tx, "auditor", "records", {"kind": "charge"})
        world.ledger.declare(tx, world.scopes(share="3"), HASH)
    world.exact(Shown(12, 2))
    world.exact_again(Shown(12, 2), operator="beta")
    world.exact_again(Shown(12, 2))
    with world.store.transaction() as tx:
        world.ledger.cancel(tx, world.ledger.charge(tx, world.asked(), world.scopes(share="3"), price("0.1")).id)
    world.parts = {"actuarial": Decimal("0.5")}
    due = world.scopes(share="3", purpose="actuarial")
    world.answer(world.charge(price("0.2"), due, world.asked(purpose="actuarial")).id)
    world.name_approvers()
    world.raise_cap(world.scopes(share="4")[1], world.scopes(share="3")[1].cap)
    world.fail(world.charge(price("0.1"), world.scopes(share="4")).id)
    return world
