"""The ledger against a model of a few lines, over random lives: charges, ends, new caps, crashes, restarts."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.audit.verify import verify
from gateway.budget.account import Account, Scope
from gateway.budget.ledger import Ledger
from gateway.budget.loss import Cap
from gateway.budget.queries import Asked, Repeated, Stored
from gateway.budget.recovery import recover
from gateway.budget.scopes import fullest
from gateway.errors import Fault, Refusal
from gateway.store import Reading, Transaction
from sandbox.protocol import Price
from tests.ledger_world import HASH, World

LIVES = 300 if os.environ.get("BPK_LONG") else 40
OPERATORS = ("acme", "beta")
SPENDERS = (("acme", "research"), ("acme", "actuarial"), ("beta", "research"))


class Life(RuleBasedStateMachine):
    """The model: what is spent per scope, the caps, and the state of every query."""

    ledger_class: type[Ledger] = Ledger
    blocks: tuple[str | None, ...] = (None,)
    """Those of the policy; its one None where it has none."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name))
        self.plant()
        self.shared, self.opened = True, False
        """Whether the licence gives the purpose a share, and whether it ever was charged to one."""
        self.give_or_take_the_share(shared=True)
        self.caps = {"dataset": (100, 50), "acme": (60, 30), "beta": (80, 50), "actuarial": (40, 30)}
        self.spent = dict.fromkeys(product(self.caps, self.blocks), (0, 0))
        self.states: dict[str, str] = {}
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}
        self.records = 1

    def plant(self) -> None:
        self.world.sit(self.ledger_class(self.world.log, self.world.clock))

    def teardown(self) -> None:
        self.world.store.close()
        self.folder.cleanup()

    def names(self, operator: str, purpose: str) -> tuple[str, ...]:
        """What a question of the operator for that purpose is charged to."""
        both = ("dataset", operator)
        return (*both, purpose) if purpose != "research" and (self.shared or self.opened) else both

    def scopes(self, operator: str, purpose: str = "research") -> tuple[Scope, ...]:
        def scope(name: str, who: str | None, what: str | None = None) -> Scope:
            rho, delta = self.cap_of(name)
            return Scope(self.world.dataset, who, Cap("zcdp", rho, 0, delta), what)

        both = scope("dataset", None), scope(operator, operator)
        return (*both, scope(purpose, operator, purpose)) if purpose in self.names(operator, purpose) else both

    def among(self, chosen: int) -> tuple[str | None, ...]:
        """Some of the blocks, by the bits of a number."""
        return tuple(block for place, block in enumerate(self.blocks) if chosen >> place & 1) or self.blocks

    def cap_of(self, name: str) -> tuple[int, int]:
        """A purpose whose share was taken away may spend what its operator may."""
        return self.caps["acme" if name == "actuarial" and not self.shared else name]

    @rule(
        spender=st.sampled_from(SPENDERS),
        rho=st.integers(1, 40),
        delta=st.sampled_from((0, 0, 1, 20)),
        key=st.none() | st.sampled_from("kl"),
        request=st.sampled_from("rs"),
        chosen=st.integers(1, 7),
    )
    def charge(  # all that a question hangs on
        self, *, spender: tuple[str, str], rho: int, delta: int, key: str | None, request: str, chosen: int
    ) -> None:
        operator, purpose = spender
        known = self.keys.get((operator, key)) if key else None
        among = self.among(chosen)
        after = {
            part: (self.spent[part][0] + rho, self.spent[part][1] + delta)
            for part in product(self.names(operator, purpose), among)
        }
        fits = all(total <= cap for part in after for total, cap in zip(after[part], self.cap_of(part[0]), strict=True))
        asked = self.world.asked(operator, key, request, purpose=purpose)
        try:
            row = self.world.charge(Price(1, delta, rho), parts(self.scopes(operator, purpose), among), asked)
        except Repeated as repeated:
            outcome = repeated.row.id
        except Refusal as refusal:
            outcome = refusal.code
        else:
            outcome = "charged"
            self.spent |= after
            self.opened |= purpose in self.names(operator, purpose)
            self.states[row.id] = "running"
            if key:
                self.keys[operator, key] = (row.id, request)
        if known:
            assert outcome == (known[0] if known[1] == request else "idempotency_conflict")
        else:
            assert outcome == ("charged" if fits else "budget_exhausted")

    @rule(data=st.data(), end=st.sampled_from(("answer", "fail", "cancel")))
    def end(self, data: st.DataObject, end: str) -> None:
        if not self.states:
            return
        place = data.draw(st.integers(0, len(self.states) - 1))  # ids are random: by its place a life can be repeated
        query = list(self.states)[place]
        arguments = (Stored("rel_1", HASH),) if end == "answer" else ()
        running = self.states[query] == "running"
        try:
            with self.world.store.transaction() as tx:
                row = getattr(self.world.ledger, end)(tx, query, *arguments)
        except Fault:
            assert not running
        else:
            assert running
            self.states[query] = row.state

    @rule(name=st.sampled_from(("dataset", *OPERATORS, "actuarial")), rho=st.integers(0, 200))
    def change_cap(self, name: str, rho: int) -> None:
        self.caps[name] = (rho, self.caps[name][1])

    @rule(shared=st.booleans())
    def give_or_take_the_share(self, *, shared: bool) -> None:
        self.shared = shared
        self.world.parts = {"actuarial": Decimal(1)} if shared else {}

    @rule()
    def crash_in_the_middle(self) -> None:
        try:
            with self.world.store.transaction() as tx:
                scopes = parts(self.scopes("acme"), self.blocks)
                self.world.ledger.charge(tx, self.world.asked(), scopes, Price(1, 0, 1))
                raise ZeroDivisionError
        except (ZeroDivisionError, Refusal):
            pass

    @rule()
    def restart(self) -> None:
        self.world.reopen()
        self.plant()
        recovered = recover(self.world.store, self.world.ledger, self.world.log)
        lost = {query for query, state in self.states.items() if state == "running"}
        assert recovered.frozen == {}
        assert set(recovered.failed) == lost
        self.states |= dict.fromkeys(lost, "failed")

    @invariant()
    def the_ledger_holds_what_the_model_holds(self) -> None:
        with self.world.store.reading() as view:
            for spender in SPENDERS:
                due = product(self.names(*spender), self.blocks)
                for scope, part in zip(parts(self.scopes(*spender), self.blocks), due, strict=True):
                    loss = self.world.ledger.account(view, scope).spent
                    assert (loss.rho, loss.delta) == self.spent[part]
            found = dict(view.all("SELECT id, state FROM query"))
            charged = dict(view.all("SELECT scope, sum(rho) FROM charge GROUP BY scope"))
        assert found == self.states
        for scope, part in self.dataset_parts():
            assert charged.get(scope, 0) == self.spent[part][0]

    def dataset_parts(self) -> list[tuple[str, tuple[str, str | None]]]:
        """The ids of the dataset's scopes, and what the model calls them."""
        return [(f"dataset:clinic#{block}" if block else "dataset:clinic", ("dataset", block)) for block in self.blocks]

    @invariant()
    def the_log_is_sound_and_adds_up_to_the_same(self) -> None:
        report = verify(self.world.export())
        assert report.ok, report.text()
        totals = {name: scope["spent"]["rho"] for name, scope in report.scopes.items()}
        for scope, part in self.dataset_parts():
            assert int(totals.get(scope, "0").partition(".")[2].ljust(12, "0")) == self.spent[part][0]
        assert report.size >= self.records
        self.records = report.size


def parts(scopes: tuple[Scope, ...], among: tuple[str | None, ...]) -> tuple[Scope, ...]:
    return tuple(replace(scope, block=block) for scope in scopes for block in among)


class LifeInBlocks(Life):
    """The same, where units lie in blocks: each has the caps for itself."""

    blocks = ("2023", "2024", "rest")


class RefundingLedger(Ledger):
    """Planted: a failure gives its budget back."""

    def fail(self, tx: Transaction, query_id: str, code: str = "query_failed") -> object:
        tx.write("DROP TRIGGER IF EXISTS scope_only_grows")
        tx.write("UPDATE scope SET charged_rho = charged_rho - 1 WHERE charged_rho > 0")
        return super().fail(tx, query_id, code)


class ForgetfulLedger(Ledger):
    """Planted: the operator's own scope is not charged."""

    def charge(self, tx: Transaction, asked: object, scopes: tuple, price: Price, **more: object) -> object:
        row = super().charge(tx, asked, scopes, price, **more)
        tx.write("DROP TRIGGER IF EXISTS scope_only_grows")
        tx.write("UPDATE scope SET charged_rho = 0 WHERE operator IS NOT NULL")
        return row


class PurposelessLedger(Ledger):
    """Planted: what a purpose spends is not counted against its own share."""

    def charge(self, tx: Transaction, asked: Asked, scopes: tuple, price: Price, **more: object) -> object:
        nameless = replace(asked, right=replace(asked.right, purpose="research"))
        return super().charge(tx, nameless, scopes[:2], price, **more)


def live(machine: type[Life], lives: int) -> None:
    rules = settings(
        max_examples=lives,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        report_multiple_bugs=False,
        print_blob=False,
        phases=(Phase.generate,) if machine not in (Life, LifeInBlocks) else tuple(Phase),
    )
    run_state_machine_as_test(machine, settings=rules)


@pytest.mark.parametrize("life", [Life, LifeInBlocks])
def test_no_life_of_the_ledger_differs_from_the_model(life: type[Life]) -> None:
    live(life, LIVES)


class FirstBlockLedger(Ledger):
    """Planted: of several blocks only the first is charged."""

    def charge(self, tx: Transaction, asked: object, scopes: tuple, price: Price, **more: object) -> object:
        first = tuple(scope for scope in scopes if scope.block == scopes[0].block)
        return super().charge(tx, asked, first, price, **more)


class SharedCapLedger(Ledger):
    """Planted: what is spent on one block is taken from all."""

    def accounts(self, view: Reading, scopes: tuple[Scope, ...]) -> tuple[Account, ...]:
        found = super().accounts(view, scopes)
        return tuple(replace(each, spent=fullest(view, each.scope.base.id, each.scope.dataset)) for each in found)


@pytest.mark.parametrize(
    ("planted", "life"),
    [
        (RefundingLedger, Life),
        (ForgetfulLedger, Life),
        (PurposelessLedger, Life),
        (RefundingLedger, LifeInBlocks),
        (FirstBlockLedger, LifeInBlocks),
        (SharedCapLedger, LifeInBlocks),
    ],
)
def test_a_ledger_planted_broken_is_noticed(planted: type[Ledger], life: type[Life]) -> None:
    broken = type("BrokenLife", (life,), {"ledger_class": planted})
    with pytest.raises(AssertionError):
        live(broken, 50)
