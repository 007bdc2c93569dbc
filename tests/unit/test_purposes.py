"""A purpose may have a share of its own: charged with the dataset and the operator, refused by name, told on record."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.offline import main
from gateway.audit.verify import verify
from gateway.budget import ledger as ledger_module
from gateway.budget import rebuild
from gateway.budget import scopes as scopes_table
from gateway.budget.account import Scope, scopes_for, scopes_of
from gateway.budget.loss import cap, words
from gateway.budget.recovery import recover
from gateway.caps import Caps
from gateway.cli import show
from gateway.decided import Approvers
from gateway.errors import Fault, Refusal
from gateway.http import replies
from gateway.oversight.bundle import evidence
from gateway.right import Right
from gateway.store import Store
from policies.load import load_text
from policies.model import BudgetShare, Policy
from policies.types import BIGINT
from sandbox.protocol import OutputColumn, Question, Released, Ticket
from tests.attack.test_export_mutations import renumbered, sign
from tests.gateway_world import GatewayWorld, ScriptedDomain, gateway_world
from tests.ledger_world import EYES, SIGNER, World, dp, licensed, price
from tests.policy_head import head
from tests.second_verifier import sound
from tests.served_home import make_home

EACH = price("0.1")
PART = Decimal("0.2")
ODD = "a/b%2F 精算"
"""A purpose that would pass for another scope's name."""


@pytest.fixture
def world(tmp_path: Path, open_store: Callable[[], Store]) -> World:
    found = World(tmp_path, open_store=open_store)
    found.parts = {"actuarial": PART}
    return found


def ask(world: World, purpose: str = "actuarial", operator: str = "acme") -> str:
    return world.charge(EACH, asked=world.asked(operator, purpose=purpose)).id


def ask_to_the_end(world: World) -> tuple[int, str]:
    """How many questions the purpose's share holds, and what the next one is told."""
    for number in range(20):
        try:
            ask(world)
        except Refusal as refused:
            return number, refused.message
    return 20, ""


def policy() -> Policy:
    return load_text(
        head() + '[tables.people]\n[tables.people.columns]\npid = { type = "integer", role = "unit" }\n', "c"
    )


def test_a_question_is_charged_to_dataset_operator_and_purpose_at_once(world: World) -> None:
    ask(world)
    ask(world, "research")
    dataset, operator, purpose = world.scopes(purpose="actuarial")
    assert [world.spent(scope) for scope in (dataset, operator, purpose)] == [2 * EACH.rho, 2 * EACH.rho, EACH.rho]
    charges = [record["charges"] for record in world.records() if record["kind"] == "charge"]
    assert charges[0] == [{"scope": scope.id, **words(EACH)} for scope in (dataset, operator, purpose)]
    assert charges[1] == charges[0][:2]
    assert purpose.id == "purpose:actuarial/acme/clinic"
    report = verify(world.export())
    assert report.ok, report.text()
    assert report.scopes[purpose.id]["charges"] == 1
    assert sound(world.export())


def test_a_share_that_is_used_up_refuses_its_purpose_by_name_charges_nothing_and_leaves_others(world: World) -> None:
    answered, told = ask_to_the_end(world)
    assert answered == cap(dp(), PART).rho // EACH.rho
    assert "your licence's budget of the purpose `actuarial` for `clinic`" in told
    before = world.export()
    with pytest.raises(Refusal, match="actuarial"):
        ask(world)
    assert world.export() == before
    ask(world, "research")
    ask(world, operator="beta")
    assert verify(world.export()).ok


def test_a_share_keeps_what_is_spent_when_its_cap_changes_or_comes_back(world: World) -> None:
    ask(world)
    parts, world.parts = world.parts, {}
    world.charge(EACH)
    world.parts = {**parts, "actuarial": Decimal("0.1")}
    with pytest.raises(Refusal, match="actuarial"):
        ask(world)
    assert world.spent(world.scopes(purpose="actuarial")[2]) == EACH.rho
    assert verify(world.export()).ok
    assert sound(world.export())


def kept(world: World, purpose: str = "actuarial") -> tuple[Scope, ...]:
    """The scopes of a question whose purpose has no share any more: it may spend what the operator may."""
    both = world.scopes()
    return (*both, replace(both[1], purpose=purpose))


def test_a_purpose_whose_share_is_taken_away_keeps_its_scope_and_what_it_spent(world: World) -> None:
    ask_to_the_end(world)
    world.parts = {}
    with pytest.raises(Fault, match="other scopes"):
        ask(world)
    scopes = kept(world)
    spent = world.spent(scopes[2])
    world.charge(EACH, scopes, world.asked(purpose="actuarial"))
    assert world.spent(scopes[2]) == spent + EACH.rho
    with world.store.reading() as view:
        rules = replace(policy(), purposes=("research", "actuarial"))
        assert scopes_table.opened(view, rules, "acme") == ("actuarial",)
        assert scopes_table.opened(view, rules, "beta") == ()
    report = verify(world.export())
    assert report.ok, report.text()
    assert report.scopes["purpose:actuarial/acme/clinic"]["cap_changes"] == 1
    assert sound(world.export())


def test_where_caps_have_approvers_a_share_that_is_taken_away_waits_for_them(world: World) -> None:
    world.name_approvers()
    ask_to_the_end(world)
    world.parts = {}
    scopes = kept(world)
    with pytest.raises(Refusal, match="the purpose `actuarial`"):
        world.charge(EACH, scopes, world.asked(purpose="actuarial"))
    with world.store.reading() as view:
        assert [each.scope for each in world.ledger.waiting(view, scopes)] == [scopes[2].id]
    world.raise_cap(scopes[2], cap(dp(), PART))
    world.charge(EACH, scopes, world.asked(purpose="actuarial"))
    assert verify(world.export()).ok
    assert sound(world.export())


def test_a_share_is_kept_where_the_data_were_opened_and_no_licence_is_left(world: World) -> None:
    ask(world)
    ask(world, operator="beta")
    opened = {
        purpose: replace(world.asked(), right=Right("dp", "open", None, purpose)) for purpose in (None, "actuarial")
    }
    with pytest.raises(Fault, match="other scopes"):
        world.charge(EACH, world.scopes(), opened["actuarial"])
    world.charge(EACH, world.scopes(), opened[None])
    world.charge(EACH, kept(world), opened["actuarial"])
    assert verify(world.export()).ok
    assert sound(world.export())
    for scope in ("purpose:actuarial/beta/clinic", "purpose:research/acme/clinic", "operator:beta/clinic"):
        records = world.records()
        records[-1]["charges"][2]["scope"] = scope
        forged = sign(renumbered(records))
        assert list(verify(forged).kinds) == ["charge_scopes"], scope
        assert not sound(forged)


def test_planted_without_its_memory_a_share_that_is_taken_away_opens_the_operators(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.name_approvers()
    answered, _ = ask_to_the_end(world)
    assert answered < 20
    world.parts = {}
    monkeypatch.setattr(scopes_table, "is_open", lambda *_: False)
    assert ask_to_the_end(world) == (20, "")
    world.charge(EACH)
    assert verify(world.export()).ok, "the log does not tell the purpose: the evidence of an answer does"


@pytest.mark.parametrize("purpose", ["research", "actuarial"])
def test_a_charge_to_other_scopes_than_are_due_is_a_fault(world: World, purpose: str) -> None:
    other = {"research": "actuarial", "actuarial": "research"}[purpose]
    before = world.export()
    with pytest.raises(Fault, match="other scopes"):
        world.charge(EACH, world.scopes(purpose=other), world.asked(purpose=purpose))
    assert world.export() == before


def test_planted_without_the_purposes_scope_its_share_never_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module.charges, "require_due", lambda *_: None)
    both = World.scopes
    monkeypatch.setattr(World, "scopes", lambda self, *given, **named: both(self, *given, **named)[:2])
    assert ask_to_the_end(world) == (20, "")
    assert verify(world.export()).ok, "the log does not tell the purpose: the evidence of an answer does"


@pytest.mark.parametrize("taken", [False, True])
def test_where_each_purpose_has_a_share_the_log_alone_tells_that_one_was_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    world.parts = {"actuarial": PART, "research": PART}
    ask(world)
    ask(world, "research")
    assert verify(world.export()).ok
    world.parts = {} if taken else world.parts
    monkeypatch.setattr(ledger_module.charges, "require_due", lambda *_: None)
    world.charge(EACH, world.scopes(), world.asked(purpose="actuarial"))
    report = verify(world.export())
    assert list(report.kinds) == ["charge_scopes"]
    assert not sound(world.export())


def with_evidence(world: World, file: Path, texts: dict[str, str], scopes: tuple[Scope, ...]) -> int:
    """The verdict on the evidence of an answer that was charged to `scopes`."""
    with world.store.transaction() as tx:
        row = world.ledger.charge(tx, world.asked(purpose="actuarial"), scopes, EACH, texts=texts)
    world.answer(row.id)
    file.write_text(json.dumps(evidence(world.log, world.store, None, row.id)), encoding="utf-8")
    return main([str(file), "--key", SIGNER.vkey])


def test_the_evidence_of_an_answer_shows_the_purpose_and_its_charge(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, texts = world.scopes(purpose="actuarial"), {"sql": "SELECT 1", "purpose": "actuarial"}
    assert with_evidence(world, tmp_path / "bundle", texts, whole) == 0
    assert with_evidence(world, tmp_path / "bundle", {"sql": "SELECT 1"}, whole) == 0
    assert with_evidence(world, tmp_path / "bundle", {**texts, "purpose": "research"}, whole) == 1
    monkeypatch.setattr(ledger_module.charges, "require_due", lambda *_: None)
    assert with_evidence(world, tmp_path / "bundle", texts, whole[:2]) == 1


def test_a_ledger_that_is_built_again_from_its_log_has_the_shares_too(world: World, tmp_path: Path) -> None:
    world.parts = {ODD: PART}
    ask(world, ODD)
    world.answer(ask(world, ODD, "b/c"))
    again = World(tmp_path / "again")
    records = world.records()
    with again.store.transaction() as tx:
        rebuild.begin(tx)
        for before, record in pairwise(records):
            rebuild.take_back(tx, record, before)

    def held(store: Store) -> list[tuple[object, ...]]:
        with store.reading() as view:
            return [
                *view.all("SELECT * FROM scope ORDER BY id"),
                *view.all("SELECT * FROM charge ORDER BY query, scope"),
            ]

    assert held(again.store) == held(world.store)


def test_a_share_that_differs_from_the_log_freezes_the_dataset(world: World) -> None:
    ask(world)
    recovered = recover(world.store, world.ledger, world.log)
    assert recovered.frozen == {}
    with world.store.transaction() as tx:
        tx.write("UPDATE scope SET cap_rho = cap_rho + 1 WHERE id LIKE 'purpose:%'")
    world.reopen()
    assert "purpose:actuarial/acme/clinic" in recover(world.store, world.ledger, world.log).frozen["clinic"]


NAMES = st.text(st.sampled_from("ab/%2F:"), min_size=1, max_size=6)
SCOPES = st.builds(Scope, st.sampled_from(("a", "b")), NAMES, st.just(cap(dp())), st.none() | NAMES) | st.builds(
    Scope, st.sampled_from(("a", "b")), st.none(), st.just(cap(dp()))
)


@given(SCOPES, SCOPES)
def test_no_two_scopes_have_one_id(one: Scope, other: Scope) -> None:
    assert (one.id == other.id) == (one == other)
    assert rebuild._operator(one.id, one.dataset) == one.operator


def test_planted_without_the_escape_two_scopes_have_one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = property(lambda scope: f"purpose:{scope.purpose}/{scope.operator}/{scope.dataset}")
    monkeypatch.setattr(Scope, "id", plain)
    with pytest.raises(AssertionError):
        test_no_two_scopes_have_one_id()


def test_the_scopes_of_a_question_are_those_of_its_purpose_and_an_operator_sees_all() -> None:
    rules, parts = policy(), {"teaching": Decimal(5), "actuarial": PART}
    licence = replace(licensed("acme", "clinic", parts=parts), budget={"clinic": BudgetShare(Decimal(2), parts)})
    seen = [(scope.purpose, scope.cap.epsilon) for scope in scopes_of(rules, "acme", licence, ("old",))]
    whole, dp_all = cap(dp(), Decimal(2)).epsilon, cap(dp()).epsilon
    part = cap(dp(), PART).epsilon
    assert seen[1:] == [(None, whole), ("actuarial", part), ("old", whole), ("teaching", whole)]
    assert [scope.purpose for scope in scopes_for(rules, "acme", licence, "actuarial", ())] == [None, None, "actuarial"]
    assert [scope.purpose for scope in scopes_for(rules, "acme", licence, "research", ("old",))] == [None, None]
    assert [scope.cap.epsilon for scope in scopes_for(rules, "acme", None, "old", ("old",))][1:] == [dp_all, dp_all]
    for mode in ("aggregate", "open"):
        assert (
            scopes_for(rules, "acme", licence, "actuarial", (), mode)
            == scopes_of(rules, "acme", licence, (), mode)
            == ()
        )
    assert scopes_of(rules, "acme", licence, (), "aggregate") == ()


# over HTTP


class AnsweringDomain(ScriptedDomain):
    def run(self, ticket: Ticket, question: Question, prepared: object) -> Released:
        column, row = OutputColumn("n", BIGINT, "noisy"), ((7,),)
        nothing = ((None,),)
        return Released("rel_1", "ab" * 32, ticket.price, (column,), row, nothing, nothing, "0.95")


@contextlib.contextmanager
def served(folder: Path, part: str) -> Iterator[GatewayWorld]:
    """A gateway where `op-a` may spend `part` for the purpose `research`."""
    home = make_home(folder)
    file = home.root / "policies" / "licences" / "op-a.toml"
    text = file.read_text(encoding="utf-8")
    assert text.count("epsilon = 6 ") == 1
    share = f"epsilon = 6, purposes = {{ research = {{ epsilon = {part} }} }} "
    file.write_text(text.replace("epsilon = 6 ", share), encoding="utf-8")
    with gateway_world(folder, kind=AnsweringDomain, home=home) as found:
        yield found


BODY = {"sql": "SELECT COUNT(*) AS n FROM people", "purpose": "research"}


def test_answers_checks_and_budgets_tell_what_is_left_to_a_purpose(tmp_path: Path) -> None:
    with served(tmp_path / "home", "0.6") as world:
        checked = world.call("POST", "/v1/queries/check", BODY).json()
        answer = replies.Answer.model_validate(world.call("POST", "/v1/queries", BODY).json())
        told = world.call("GET", "/v1/budgets").json()["budgets"]
        other = world.call("GET", "/v1/budgets", subject="op-b").json()["budgets"]
    (before,) = replies.Check.model_validate(checked).budget.purposes
    (left,) = answer.budget.purposes
    assert f"more such answers; for research: epsilon {show.shorter(before.epsilon_left)}, " in show.left(
        checked["budget"]
    )
    assert (left.name, left.answers_left) == ("research", before.answers_left - 1)
    assert left.answers_left < answer.budget.operator.answers_left
    assert [(each["scope"], each["purpose"]) for each in told] == [
        ("dataset:clinic", None),
        ("operator:op-a/clinic", None),
        ("purpose:research/op-a/clinic", "research"),
    ]
    assert {each["spent"]["rho"] for each in told} == {"0.000001"}
    assert [each["scope"] for each in other] == ["dataset:clinic", "operator:op-b/clinic"]


def test_a_share_that_the_licence_takes_away_is_still_counted_and_waits_for_approvers(tmp_path: Path) -> None:
    with served(tmp_path / "home", "0.6") as world:
        assert world.call("POST", "/v1/queries", BODY).json()["status"] == "answered"
        home = world.home
    file = home.root / "policies" / "licences" / "op-a.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(", purposes = { research = { epsilon = 0.6 } }", ""), encoding="utf-8")
    with gateway_world(home.root, kind=AnsweringDomain, home=home) as world:
        store, log = world.gateway.store, world.outcomes.log
        with store.transaction() as tx:
            log.name_approvers(tx, Approvers.of(2, {name: key.public_key() for name, key in EYES.items()}))
        with store.reading() as view:
            waiting = Caps(world.service.catalog, world.service.ledger, log, None).waiting(view, world.service.today())
        answer = world.call("POST", "/v1/queries", {**BODY, "epsilon": 0.4}).json()
        told = world.call("GET", "/v1/budgets").json()["budgets"]
        report, second = verify(world.export()), sound(world.export())
    assert [each["name"] for each in answer["budget"]["purposes"]] == ["research"]
    assert [each.scope for each in waiting] == ["purpose:research/op-a/clinic"]
    assert [(each["purpose"], each["cap"]["epsilon"], each["spent"]["rho"]) for each in told[1:]] == [
        (None, "6", "0.000002"),
        ("research", "0.6", "0.000002"),
    ]
    assert told[2]["cap_waiting"] == told[1]["cap"]
    assert (report.ok, second) == (True, True), report.text()


def test_a_purpose_without_budget_is_refused_over_http_and_another_operator_is_not(tmp_path: Path) -> None:
    with served(tmp_path / "home", "0.001") as world:
        for route in ("/v1/queries/check", "/v1/queries"):
            body = world.call("POST", route, BODY).json()
            problem = body.get("problem", body)
            assert (problem["status"], problem["code"]) == (429, "budget_exhausted")
            assert "the purpose `research`" in problem["detail"]
        assert world.call("POST", "/v1/queries", BODY, subject="op-b").json()["status"] == "answered"
