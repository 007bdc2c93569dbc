"""The ledger: charged before anything runs, never beyond a cap, never given back, every change with its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.audit.checkpoint import Signer
from gateway.audit.suites import SM3_SM2
from gateway.budget import queries
from gateway.budget.account import Account, Scope, Shortfall, advance, dataset_scopes, scopes_of, shortfall_words
from gateway.budget.loss import AMOUNT_MAX, Cap, Loss, answers, as_epsilon, cap, counted, left, most, words
from gateway.budget.queries import Repeated, Stored
from gateway.errors import Fault, Misconfigured, Refusal
from gateway.store import Store
from policies.model import BudgetShare
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, rho_for, text
from sandbox.protocol import Price
from tests.ledger_world import DELTA, HASH, SIGNER, World, dp, price
from tests.sm2_world import Inside

EACH = price("0.5")


@pytest.fixture
def world(tmp_path: Path, open_store: Callable[[], Store]) -> World:
    return World(tmp_path, open_store=open_store)


# what composes


def test_a_cap_of_8_holds_187_answers_at_one_half_and_a_share_of_2_holds_14() -> None:
    assert answers("zcdp", left(cap(dp()), Loss()), EACH) == 187
    assert answers("zcdp", left(cap(dp(), Decimal(2)), Loss()), EACH) == 14
    assert answers("pure", left(cap(dp(accountant="pure")), Loss()), price("0.5", accountant="pure")) == 16


def test_half_of_delta_pays_for_private_keys_under_zcdp_and_all_of_it_under_pure() -> None:
    assert cap(dp()).delta == DELTA // 2
    assert cap(dp(accountant="pure")) == Cap("pure", 0, 8 * EPSILON_UNIT, DELTA)
    assert cap(dp()).rho == rho_for(8 * EPSILON_UNIT, DELTA // 2)


def test_a_share_is_never_more_than_the_dataset_has() -> None:
    assert cap(dp("1"), Decimal(2)) == cap(dp("1"))


@pytest.mark.parametrize(
    "bad",
    [
        Price(1, 0, 0),
        Price(0, 5, 0),
        Price(0, 0, -1),
        Price(1, -1, 1),
        Price(1, 0, 2**62),
        Price(1, 2**200, 1),
        Price(1, 0, True),  # noqa: FBT003  # the fault
        Price(1, 0, 1.5),
    ],
)
def test_a_price_that_buys_nothing_or_is_none_is_no_price(bad: Price, world: World) -> None:
    with pytest.raises(ValueError, match="price"):
        counted("zcdp", bad)
    with pytest.raises(Fault):
        world.charge(bad)
    assert len(world.records()) == 1


def test_the_largest_amount_is_still_one() -> None:
    assert counted("zcdp", Price(0, AMOUNT_MAX, AMOUNT_MAX)) == Loss(rho=AMOUNT_MAX, delta=AMOUNT_MAX)
    with pytest.raises(ValueError, match=r"^a price outside its range$"):
        counted("zcdp", Price(0, 0, AMOUNT_MAX + 1))
    with pytest.raises(ValueError, match=r"^a price of nothing$"):
        counted("pure", Price(0, 0, 1))


def test_what_is_left_is_never_negative() -> None:
    limit = Cap("zcdp", 5, 0, 5)
    assert left(limit, Loss(rho=9, delta=9)) == Loss()
    assert as_epsilon(limit, Loss()) == 0
    with pytest.raises(Shortfall, match=r"^dataset:d$"):
        Account(Scope("d", None, limit), Loss(rho=9)).charge(Price(1, 0, 1))


def test_what_is_left_is_the_cap_without_what_is_spent() -> None:
    zcdp, pure = Cap("zcdp", 9, 1, 7), Cap("pure", 0, 9, 7)
    assert left(zcdp, Loss(rho=2, delta=3)) == Loss(rho=7, delta=4)
    assert left(pure, Loss(epsilon=2, delta=3)) == Loss(epsilon=7, delta=4)
    for limit in (zcdp, pure):
        assert left(limit, Loss(10, 10, 10)) == Loss()
    assert left(pure, Loss(epsilon=9, delta=7)) == Loss()
    assert as_epsilon(pure, Loss(epsilon=7, delta=4)) == 7


@pytest.mark.parametrize(
    ("limit", "full"),
    [(Cap("zcdp", 9, 1, 7), Loss(rho=9, delta=7)), (Cap("pure", 0, 9, 7), Loss(epsilon=9, delta=7))],
)
def test_a_cap_admits_itself_and_not_one_step_more_of_anything(limit: Cap, full: Loss) -> None:
    assert limit.admits(full)
    step = Loss(rho=1) if limit.accountant == "zcdp" else Loss(epsilon=1)
    assert not limit.admits(full + step)
    assert not limit.admits(full + Loss(delta=1))
    other = Loss(epsilon=99) if limit.accountant == "zcdp" else Loss(rho=99)
    assert limit.admits(full + other), "what this accountant does not count"


def test_the_most_of_several_losses_is_that_of_each_amount() -> None:
    assert most([]) == Loss()
    assert most([Loss(1, 5, 2), Loss(3, 2, 9)]) == most([Loss(3, 2, 9), Loss(1, 5, 2)]) == Loss(3, 5, 9)


def test_a_price_counts_by_what_its_accountant_adds_up() -> None:
    cost = Price(epsilon=5, delta=2, rho=9)
    assert counted("zcdp", cost) == Loss(rho=9, delta=2)
    assert counted("pure", cost) == Loss(epsilon=5, delta=2)
    assert (answers("zcdp", Loss(rho=30, delta=99), cost), answers("zcdp", Loss(rho=99, delta=5), cost)) == (3, 2)
    assert (answers("pure", Loss(epsilon=30, delta=99), cost), answers("pure", Loss(epsilon=99, delta=5), cost)) == (
        6,
        2,
    )
    assert answers("pure", Loss(epsilon=30), Price(epsilon=5, delta=0, rho=9)) == 6
    assert answers("zcdp", Loss(rho=8), Price(epsilon=5, delta=0, rho=9)) == 0


def test_a_share_is_rounded_down_and_keeps_the_whole_delta() -> None:
    assert cap(dp(accountant="pure"), Decimal("2.0000000000009")) == Cap("pure", 0, 2 * EPSILON_UNIT, DELTA)
    odd = replace(dp("1"), delta=Decimal("7.9e-24"))
    assert cap(odd) == Cap("zcdp", rho_for(EPSILON_UNIT, 3), EPSILON_UNIT, 3)
    assert cap(replace(odd, accountant="pure")) == Cap("pure", 0, EPSILON_UNIT, 7)


def test_amounts_are_exact_decimals() -> None:
    assert words(Price(5 * 10**11, DELTA_UNIT // 10**9, 3796322952)) == {
        "epsilon": "0.5",
        "delta": "0.000000001",
        "rho": "0.003796322952",
    }


@pytest.mark.parametrize("ended", ["answered", "failed", "cancelled"])
@pytest.mark.parametrize("to", ["running", "answered", "failed", "cancelled"])
def test_a_query_ends_once(ended: str, to: str) -> None:
    with pytest.raises(Fault):
        advance(ended, to)


# charging


def test_a_charge_is_in_both_scopes_and_in_the_log(world: World) -> None:
    row = world.charge(EACH)
    assert (row.state, row.cost, row.reused) == ("running", EACH, False)
    assert [world.spent(scope) for scope in world.scopes()] == [EACH.rho, EACH.rho]
    decision, charge = world.records()[-2:]
    assert (decision["kind"], decision["decision"], decision["query_id"]) == ("decision", "run", row.id)
    assert charge["charges"] == [{"scope": scope.id, **words(EACH)} for scope in world.scopes()]
    caps = [each for each in world.records() if str(each["code"]).startswith("cap_")]
    assert [record["charges"][0]["scope"] for record in caps] == [scope.id for scope in world.scopes()]
    assert caps[0]["charges"][0]["rho"] == "0.711056042979"


def test_the_cap_is_reached_exactly_and_never_passed(world: World) -> None:
    scopes = world.counted_scopes("acme", 3, EACH)
    for _ in range(3):
        world.charge(EACH, scopes)
    before = world.export()
    with pytest.raises(Refusal) as refused:
        world.charge(EACH, scopes)
    assert refused.value.code == "budget_exhausted"
    assert "used up" in refused.value.message
    assert world.export() == before


def test_a_refusal_says_what_is_left_and_what_still_fits(world: World) -> None:
    for _ in range(14):
        world.charge(EACH)
    with pytest.raises(Refusal) as refused:
        world.charge(EACH)
    assert "your licence's budget for `clinic`" in refused.value.message
    fits = refused.value.hint.split("fits is ")[1].split(";")[0]
    world.charge(price(fits))
    assert world.spent(world.scopes()[1]) <= world.scopes()[1].cap.rho


def test_all_operators_together_stay_within_the_dataset(world: World) -> None:
    scopes = {name: (world.counted_scopes("x", 3, EACH)[0], world.scopes(name)[1]) for name in ("a", "b")}
    world.charge(EACH, scopes["a"], world.asked("a"))
    world.charge(EACH, scopes["b"], world.asked("b"))
    world.charge(EACH, scopes["a"], world.asked("a"))
    with pytest.raises(Refusal, match="the dataset's budget"):
        world.charge(EACH, scopes["b"], world.asked("b"))
    assert world.spent(scopes["b"][1]) == EACH.rho


def test_delta_has_a_cap_of_its_own(world: World) -> None:
    world.charge(price("0.1", delta=DELTA // 2))
    with pytest.raises(Refusal, match="no delta left"):
        world.charge(price("0.1", delta=1))
    world.charge(price("0.1"))


def test_a_pure_budget_adds_up_epsilon(world: World) -> None:
    scopes = world.scopes(whole=dp(accountant="pure"), share="1")
    each = price("0.5", accountant="pure")
    world.charge(each, scopes)
    world.charge(each, scopes)
    with pytest.raises(Refusal):
        world.charge(each, scopes)
    assert world.spent(scopes[0]) == EPSILON_UNIT


def test_a_pure_budget_tells_its_epsilon(world: World) -> None:
    scopes = world.scopes(whole=dp(accountant="pure"), share="1")
    each = price("0.25", accountant="pure", delta=DELTA // 4)
    world.charge(each, scopes)
    with world.store.reading() as view:
        shown = world.ledger.budgets(view, scopes, each)[1].as_json()
    told = {name: shown[name] for name in ("accountant", "cap", "spent", "left", "epsilon_left", "answers_left")}
    assert told == {
        "accountant": "pure",
        "cap": {"rho": "0", "epsilon": "1", "delta": "0.000000001"},
        "spent": {"rho": "0", "epsilon": "0.25", "delta": "0.00000000025"},
        "left": {"rho": "0", "epsilon": "0.75", "delta": "0.00000000075"},
        "epsilon_left": "0.75",
        "answers_left": 3,
    }


def test_private_keys_are_paid_from_delta_under_pure_too(world: World) -> None:
    scopes = world.scopes(whole=dp(accountant="pure"), share="1")
    world.charge(price("0.1", accountant="pure", delta=DELTA), scopes)
    with pytest.raises(Refusal, match="no delta left"):
        world.charge(price("0.1", accountant="pure", delta=1), scopes)
    world.charge(price("0.1", accountant="pure"), scopes)


def test_a_budget_never_changes_what_it_adds_up(world: World) -> None:
    world.charge()
    with pytest.raises(Misconfigured, match="zcdp for life"):
        world.charge(price("0.5", accountant="pure"), world.scopes(whole=dp(accountant="pure")))


def test_a_failure_a_cancel_and_an_answer_all_cost(world: World) -> None:
    rows = [world.charge(EACH) for _ in range(3)]
    world.answer(rows[0].id)
    world.fail(rows[1].id)
    with world.store.transaction() as tx:
        assert world.ledger.cancel(tx, rows[2].id).state == "cancelled"
    assert world.spent(world.scopes()[0]) == 3 * EACH.rho
    assert [record["kind"] for record in world.records()[-3:]] == ["release", "failure", "failure"]
    for row in rows:
        with pytest.raises(Fault):
            world.fail(row.id)
        with pytest.raises(Fault):
            world.answer(row.id)


def test_a_lowered_cap_grants_nothing_more_and_takes_nothing_back(world: World) -> None:
    for _ in range(3):
        world.charge(EACH)
    spent = world.spent(world.scopes()[0])
    low = world.scopes(share="0.1", whole=dp("0.2"))
    with world.store.transaction() as tx:
        world.ledger.declare(tx, low, HASH)
    with pytest.raises(Refusal):
        world.charge(price("0.01"), low)
    with world.store.reading() as view:
        dataset, operator = world.ledger.budgets(view, low, EACH)
    assert (dataset.epsilon_left, operator.answers_left, dataset.spent.rho) == (0, 0, spent)
    world.charge(EACH)
    assert world.spent(world.scopes()[0]) == spent + EACH.rho


def test_a_charge_names_the_dataset_and_the_operator_and_nobody_else(world: World) -> None:
    mine, others = world.scopes(), world.scopes("beta")
    for scopes in (mine[:1], mine[1:], mine[::-1], (mine[0], others[1]), (*mine, others[1])):
        with pytest.raises(Fault):
            world.charge(EACH, scopes)
    with pytest.raises(Fault, match=r"^a dp question without a scope$"), world.store.transaction() as tx:
        world.ledger.charge(tx, world.asked(), (), EACH)


def test_budgets_tell_cap_spent_and_left(world: World) -> None:
    with world.store.reading() as view:
        fresh = world.ledger.budgets(view, world.scopes(), EACH)
    assert [budget.answers_left for budget in fresh] == [187, 14]
    assert fresh[0].epsilon_left >= 8 * EPSILON_UNIT
    world.charge(EACH)
    with world.store.reading() as view:
        dataset, operator = world.ledger.budgets(view, world.scopes(), EACH)
        (unpriced,) = world.ledger.budgets(view, world.scopes()[:1])
    shown = dataset.as_json()
    assert shown == {
        "scope": "dataset:clinic",
        "dataset": "clinic",
        "purpose": None,
        "accountant": "zcdp",
        "cap": {"rho": "0.711056042979", "epsilon": "8", "delta": "0.0000000005"},
        "cap_waiting": None,
        "spent": words(EACH) | {"epsilon": text(as_epsilon(dataset.scope.cap, Loss(EACH.rho)), EPSILON_UNIT)},
        "left": words(dataset.left) | {"epsilon": text(dataset.epsilon_left, EPSILON_UNIT)},
        "epsilon_left": text(dataset.epsilon_left, EPSILON_UNIT),
        "answers_left": 186,
    }
    assert Decimal(shown["left"]["rho"]) + Decimal(shown["spent"]["rho"]) == Decimal("0.711056042979")
    assert (dataset.answers_left, operator.answers_left, unpriced.answers_left) == (186, 13, None)


def test_a_frozen_dataset_grants_nothing_and_others_do(world: World) -> None:
    world.ledger.freeze("clinic", "test")
    with pytest.raises(Refusal) as refused:
        world.charge()
    assert refused.value.code == "dataset_frozen"
    with pytest.raises(Refusal), world.store.transaction() as tx:
        world.ledger.reuse(tx, world.asked(), Stored("rel_1", HASH))
    assert world.ledger.why_frozen("clinic") == "its ledger and its log disagree"
    assert world.ledger.why_frozen("income") is None
    assert not world.ledger.closed


def test_while_the_log_cannot_be_signed_nothing_is_begun(tmp_path: Path) -> None:
    key = Inside(7**80)
    ledger = World(tmp_path, held=Signer(SIGNER.origin, key, SM3_SM2)).ledger
    ledger.require_signed()
    key.broken = "the log's signer is out"
    with pytest.raises(Refusal) as refused:
        ledger.require_signed()
    assert (refused.value.code, refused.value.message) == ("not_ready", "the log cannot be signed now")
    assert "is out" not in str(refused.value.hint)


def test_where_the_log_is_closed_every_dataset_is_frozen(world: World) -> None:
    world.ledger.require_thawed()
    world.log.close("test")
    assert world.ledger.closed
    assert world.ledger.why_frozen("income") == "the log is damaged, or lacks records that were signed"
    for dataset, what in (("income", "`income`"), (None, "every dataset")):
        with pytest.raises(Refusal) as refused:
            world.ledger.require_thawed(dataset)
        assert refused.value.message == f"{what} is frozen until its custodian has put its ledger right"
        assert refused.value.hint == "nothing was charged; /readyz says when it is open again"


# requests, history


def test_the_same_key_and_request_is_heard_once(world: World) -> None:
    row = world.charge(asked=world.asked(key="k", request="a"))
    with pytest.raises(Repeated) as repeated:
        world.charge(asked=world.asked(key="k", request="a"))
    assert repeated.value.row == row
    with pytest.raises(Refusal) as refused:
        world.charge(asked=world.asked(key="k", request="b"))
    assert refused.value.code == "idempotency_conflict"
    world.charge(asked=world.asked("beta", key="k", request="b"))
    assert world.spent(world.scopes()[0]) == 2 * EACH.rho
    with world.store.transaction() as tx:
        assert queries.find_repeat(tx, "acme", "k", "a") == row
        assert queries.find_repeat(tx, "acme", "other", "a") is None
        world.ledger.repeat(tx, row)
    assert world.records()[-1]["decision"] == "repeated"


@pytest.mark.parametrize("key", ["", "x" * 256, "\ud800", "a\nb"])
def test_a_key_out_of_bounds_is_refused(world: World, key: str) -> None:
    with pytest.raises(Refusal, match="bytes"):
        world.charge(asked=world.asked(key=key))


def test_a_stored_release_answers_for_nothing(world: World) -> None:
    with world.store.transaction() as tx:
        row = world.ledger.reuse(tx, world.asked(), Stored("rel_1", HASH))
    assert (row.state, row.reused, row.release, row.cost) == ("answered", True, "rel_1", Price(0, 0, 0))
    record = world.records()[-1]
    assert (record["decision"], record["charges"], record["commitments"]) == ("reused", None, {"release": HASH})


def test_the_history_is_the_operators_own_newest_first(world: World) -> None:
    mine = []
    for _ in range(5):
        mine.insert(0, world.charge(price("0.1")))
        world.charge(price("0.1"), asked=world.asked("beta"))
    shown, cursor = [], None
    while True:
        with world.store.reading() as view:
            page = queries.history(view, "acme", limit=2, cursor=cursor)
        shown += page.rows
        cursor = page.cursor
        if cursor is None:
            break
    assert shown == mine
    with world.store.reading() as view:
        theirs = queries.history(view, "beta", limit=1).rows[0].id
    for bad in ({"cursor": theirs}, {"cursor": "x"}, {"limit": 0}, {"limit": 1000}):
        with pytest.raises(Refusal), world.store.reading() as view:
            queries.history(view, "acme", **bad)


def test_a_query_that_is_not_there_is_not_found(world: World) -> None:
    with world.store.reading() as view:
        assert queries.find(view, "qry_0") is None
    with pytest.raises(Fault):
        world.fail("qry_0")


# the fences in the file itself


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE scope SET charged_rho = charged_rho - 1",
        "UPDATE scope SET charged_rho = 0",
        "UPDATE scope SET charged_rho = cap_rho + 1",
        "UPDATE scope SET charged_delta = cap_delta + 1",
        "UPDATE scope SET charged_epsilon = 1",
        "UPDATE scope SET accountant = 'pure'",
        "DELETE FROM scope",
        "INSERT OR REPLACE INTO scope (id, dataset, accountant, cap_rho, cap_epsilon, cap_delta)"
        " VALUES ('dataset:clinic', 'clinic', 'zcdp', 1, 1, 1)",
        "INSERT INTO scope VALUES ('x', 'x', NULL, 'zcdp', 9, 9, 9, 1, 0, 0)",
        "UPDATE charge SET rho = 1",
        "DELETE FROM charge",
        "UPDATE query SET state = 'running'",
        "UPDATE query SET state = 'answered', release = 'r', release_hash = 'h'",
        "DELETE FROM query",
    ],
)
def test_the_file_itself_forbids_refunds(world: World, statement: str) -> None:
    world.fail(world.charge().id)
    with pytest.raises(Fault), world.store.transaction() as tx:
        tx.write(statement)


def test_the_scopes_of_a_policy_carry_the_caps_in_force(make_policy: object) -> None:
    policy, licence = make_policy("zcdp", {"clinic": BudgetShare(Decimal(2))})
    dataset, operator = scopes_of(policy, "acme", licence, ())
    assert (dataset.id, operator.id) == ("dataset:clinic", "operator:acme/clinic")
    assert (dataset.cap, operator.cap) == (cap(dp()), cap(dp(), Decimal(2)))
    assert scopes_of(policy, "acme", None, ())[1].cap == dataset.cap
    assert scopes_of(policy, "acme", make_policy("zcdp", {})[1], ())[1].cap == dataset.cap
    assert dataset_scopes(policy) == (dataset,)
    open_policy, _ = make_policy(None, {})
    assert scopes_of(open_policy, "acme", None, ()) == dataset_scopes(open_policy) == ()


@pytest.fixture
def make_policy() -> object:
    from datetime import date

    from policies.model import Licence, Policy, Release

    def make(accountant: str | None, budget: dict) -> tuple[Policy, Licence]:
        rule = None if accountant is None else dp()
        release = Release(("dp",) if rule else ("open",), reuse_across_operators=True, dp=rule, aggregate=None)
        policy = Policy("clinic", "1", {}, "o", "open", "g", (), None, release, {}, HASH)
        day = date(2026, 1, 1)
        return policy, Licence("L", "acme", ("clinic",), (), day, day, budget)

    return make


@pytest.mark.parametrize(
    ("operator", "purpose", "whose"),
    [
        (None, None, "the dataset's budget"),
        ("acme", None, "your licence's budget"),
        ("acme", "research", "your licence's budget of the purpose `research`"),
    ],
)
def test_a_shortfall_names_whose_budget_is_short(operator: str | None, purpose: str | None, whose: str) -> None:
    scope = Scope("clinic", operator, cap(dp()), purpose)
    message, _ = shortfall_words([Shortfall(scope, 1, delta_only=False)], [scope])
    assert message.startswith(f"{whose} for `clinic` ")
