"""A policy may cut its units into blocks: each has the whole cap for itself, and a question pays in each of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import replay_blocks
from gateway.audit.replay import Replay, ScopeSum
from gateway.audit.replay_blocks import Blocks
from gateway.audit.verify import verify
from gateway.budget import ledger as ledger_module
from gateway.budget import rebuild
from gateway.budget import scopes as scopes_table
from gateway.budget.account import Scope, in_blocks, split_block
from gateway.budget.blocks import at_odds
from gateway.budget.history import Window, every, history
from gateway.budget.ledger import Ledger
from gateway.budget.loss import Cap, Loss, cap, words
from gateway.budget.queries import QueryRow
from gateway.budget.recovery import recover
from gateway.budget.sums import Sums
from gateway.decided import Draft, Line, propose_caps
from gateway.errors import Fault, Misconfigured, Refusal
from gateway.oversight.report import as_text, signed
from gateway.store import Store, Transaction
from policies.load import load_text
from policies.model import Policy
from sandbox.protocol import Price
from tests.attack.test_export_mutations import renumbered, sign
from tests.ledger_world import SIGNER, World, dp, price, signed_by, tamper
from tests.policy_head import head
from tests.second_verifier import sound

EACH = price("0.5")
NAMES = ("2022", "2023", "2024", "rest")


@pytest.fixture
def world(tmp_path: Path, open_store: Callable[[], Store]) -> World:
    return World(tmp_path, open_store=open_store)


def policy(first: int | None = 2022, last: int = 2024, by: str = "year") -> Policy:
    """The blocks are the years from `first` on; none without one."""
    text = head()
    columns = '[tables.people]\n[tables.people.columns]\npid = { type = "integer", role = "unit" }\n'
    if first is not None:
        text = text.replace("[release]\n", f'blocks = {{ column = "since", by = "{by}" }}\n[release]\n', 1)
        columns += f'since = {{ type = "date", role = "dimension", range = [{first}-01-01, {last}-12-31] }}\n'
    return load_text(text + columns, "c")


def ask(
    world: World, *blocks: str, operator: str = "acme", purpose: str = "research", share: str = "2", cost: Price = EACH
) -> QueryRow:
    scopes = in_blocks(world.scopes(operator, share, purpose=purpose), blocks)
    return world.charge(cost, scopes, world.asked(operator, purpose=purpose))


def spent(world: World, *blocks: str) -> list[int]:
    """What each block lost of the dataset, and of acme's share."""
    return [world.spent(scope) for scope in in_blocks(world.scopes(), blocks)]


def ask_to_the_end(world: World, *blocks: str) -> int:
    for number in range(50):
        try:
            ask(world, *blocks)
        except Refusal:
            return number
    return 50


# charged


def test_the_policy_of_these_tests_has_these_blocks() -> None:
    assert policy().blocks == NAMES
    assert policy(None).blocks == ()


def test_a_question_is_charged_to_each_of_its_blocks_and_to_no_other(world: World) -> None:
    both, one = ask(world, "2022", "2023"), ask(world, "2023")
    assert spent(world, *NAMES) == [EACH.rho, 2 * EACH.rho, 0, 0] * 2
    with world.store.reading() as view:
        assert scopes_table.charged_to(view, both.id) == ("2022", "2023")
        assert scopes_table.charged_to(view, one.id) == ("2023",)
        assert scopes_table.charged_to(view, "qry_0") == ()
    assert spent(world) == [0, 0]
    first, _ = [record["charges"] for record in world.records() if record["kind"] == "charge"]
    ids = ("dataset:clinic#2022", "dataset:clinic#2023", "operator:acme/clinic#2022", "operator:acme/clinic#2023")
    assert first == [{"scope": scope, **words(EACH)} for scope in ids]
    capped = [record["charges"][0]["scope"] for record in world.records() if record["code"] == "cap_zcdp"]
    assert capped == ["dataset:clinic", "operator:acme/clinic"]


def test_each_block_has_the_whole_cap_for_itself(world: World) -> None:
    whole = cap(dp(), None).rho // EACH.rho
    mine = cap(dp(), dp("2").epsilon).rho // EACH.rho
    assert 0 < mine < whole
    assert ask_to_the_end(world, "2022") == mine
    assert ask_to_the_end(world, "2022", "2023") == 0
    assert ask_to_the_end(world, "2023") == mine
    assert verify(world.export()).ok
    assert sound(world.export())


def test_a_refusal_names_the_blocks_that_are_short_and_those_that_are_not(world: World) -> None:
    ask_to_the_end(world, "2022")
    before = world.export()
    with pytest.raises(Refusal, match="your licence's budget for `clinic` in block `2022` does not hold") as refused:
        ask(world, *NAMES)
    assert refused.value.code == "budget_exhausted"
    assert refused.value.hint is not None
    assert "the largest epsilon that still fits is" in refused.value.hint
    assert refused.value.hint.endswith('"blocks": ["2023", "2024", "rest"]')
    with pytest.raises(Refusal, match="`2022`") as alone:
        ask(world, "2022")
    assert "still hold" not in str(alone.value.hint)
    assert world.export() == before


def test_a_refusal_over_several_scopes_names_the_dataset_s_blocks_and_what_fits_all(world: World) -> None:
    rule = Cap("zcdp", 3 * EACH.rho, 0, 0)
    scopes = (Scope("clinic", None, rule), Scope("clinic", "acme", replace(rule, rho=2 * EACH.rho)))
    world.charge(EACH, in_blocks(scopes, ("2022",)))
    world.charge(EACH, in_blocks(scopes, ("2022", "2023")))
    with pytest.raises(Refusal, match="your licence's budget for `clinic` in block `2022` is used up") as refused:
        world.charge(EACH, in_blocks(scopes, ("2022", "2023")))
    assert '"blocks": ["2023"]' in str(refused.value.hint)
    other = (scopes[0], replace(scopes[1], operator="beta"))
    world.charge(EACH, in_blocks(other, ("2022",)), world.asked("beta"))
    with pytest.raises(Refusal, match="the dataset's budget for `clinic` in block `2022` is used up") as refused:
        world.charge(EACH, in_blocks(scopes, ("2022", "2023")))
    assert '"blocks": ["2023"]' in str(refused.value.hint)


def test_a_purpose_is_charged_in_the_same_blocks(world: World) -> None:
    world.parts = {"actuarial": dp("0.6").epsilon}
    ask(world, "2022", "2024", purpose="actuarial")
    purpose = world.scopes(purpose="actuarial")[2]
    assert [world.spent(scope) for scope in in_blocks([purpose], NAMES)] == [EACH.rho, 0, EACH.rho, 0]
    assert purpose.base is purpose
    assert replace(purpose, block="rest").id == "purpose:actuarial/acme/clinic#rest"
    assert verify(world.export()).ok
    assert sound(world.export())


@pytest.mark.parametrize(
    "change",
    [
        lambda scopes: scopes[1:],
        lambda scopes: scopes[:-1],
        lambda scopes: (*scopes[:3], replace(scopes[3], block="2024")),
        lambda scopes: (scopes[1], scopes[0], *scopes[2:]),
        lambda scopes: (scopes[0], scopes[0], scopes[2], scopes[2]),
        lambda scopes: (scopes[0].base, *scopes[1:]),
        lambda scopes: (scopes[0].base, scopes[0], scopes[2].base, scopes[2]),
        lambda scopes: (*scopes[:2], *(each.base for each in scopes[2:])),
    ],
)
def test_a_charge_that_is_not_alike_in_every_scope_is_a_fault(world: World, change: Callable[[Any], Any]) -> None:
    with pytest.raises(Fault, match="a charge"):
        world.charge(EACH, change(in_blocks(world.scopes(), ("2022", "2023"))))
    assert not [record for record in world.records() if record["kind"] == "charge"]


@given(
    operator=st.text(min_size=1, max_size=12),
    dataset=st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
    purpose=st.none() | st.text(min_size=1, max_size=8),
    block=st.none() | st.sampled_from(NAMES),
)
def test_an_id_says_of_which_block_it_is(operator: str, dataset: str, purpose: str | None, block: str | None) -> None:
    limit = Cap("zcdp", 1, 1, 1)
    for owner in (None, operator):
        scope = Scope(dataset, owner, limit, purpose if owner else None, block)
        assert split_block(scope.id) == (scope.base.id, block) == replay_blocks.split_block(scope.id)
        assert rebuild._operator(split_block(scope.id)[0], dataset) == owner


def test_a_charge_that_no_record_could_hold_is_refused_with_a_way_out(world: World) -> None:
    world.parts = {"actuarial " * 20: dp("0.6").epsilon}
    (purpose,) = world.parts
    months = [f"{year}-{month:02}" for year in range(2020, 2026) for month in range(1, 13)][:64]
    with pytest.raises(Refusal, match="do not fit into one record") as refused:
        ask(world, *months, operator="很长" * 100, purpose=purpose, cost=price("0.01"))
    assert (refused.value.code, "fewer" in str(refused.value.hint)) == ("blocks_invalid", True)
    ask(world, *months, operator="很长" * 20, purpose="research", cost=price("0.01"))
    ask(world, *months[:30], operator="很长" * 100, purpose=purpose, cost=price("0.01"))
    assert verify(world.export()).ok


# the cap in force


def row_of(world: World, scope: str) -> Cap:
    with world.store.reading() as view:
        found = scopes_table.find(view, scope)
    assert found is not None
    return found.cap


@pytest.mark.parametrize("share", ["1", "3"])
def test_a_cap_that_changes_changes_for_every_block(world: World, share: str) -> None:
    ask(world, "2022")
    ask(world, "2023", share=share)
    limit = world.scopes(share=share)[1].cap
    for name in ("operator:acme/clinic", "operator:acme/clinic#2022", "operator:acme/clinic#2023"):
        assert row_of(world, name) == limit
    assert row_of(world, "dataset:clinic#2022") == world.scopes()[0].cap
    assert recover(world.store, world.ledger, world.log).frozen == {}
    report = verify(world.export())
    assert report.ok, report.text()
    assert report.scopes["operator:acme/clinic#2022"]["cap"]["rho"] == words(limit)["rho"]


def test_other_operators_blocks_keep_their_caps(world: World) -> None:
    """Also of one whose name begins like another's id."""
    for operator in ("acme", "acme/clinic#2022", "b"):
        ask(world, "2022", operator=operator)
    ask(world, "2022", share="3")
    assert row_of(world, "operator:acme/clinic#2022/clinic") == row_of(world, "operator:b/clinic#2022")
    assert row_of(world, "operator:b/clinic#2022") == world.scopes()[1].cap
    assert recover(world.store, world.ledger, world.log).frozen == {}
    assert verify(world.export()).ok
    assert sound(world.export())


def test_approvers_raise_a_cap_for_all_blocks_and_are_told_of_the_fullest(world: World) -> None:
    ask(world, "2022", "2023")
    ask(world, "2023")
    world.name_approvers()
    higher, before = world.scopes(share="3")[1], world.scopes()[1].cap
    with world.store.reading() as view:
        (waiting,) = world.ledger.waiting(view, [higher])
        records = world.log.size(view)
        assert scopes_table.spent_at(view, higher.id, "clinic", records) == waiting.spent
    assert waiting.spent == Loss(rho=2 * EACH.rho)
    ask(world, "2023", share="3")
    assert row_of(world, "operator:acme/clinic#2023") == before
    for told, holds in ((waiting.spent, True), (Loss(rho=3 * EACH.rho), False)):
        line = Line(higher.id, words(before), words(higher.cap), words(told))
        decided = signed_by(propose_caps(SIGNER.origin, records, [line], Draft("more", world.clock())), "ann", "bo")
        if holds:
            lines = world.export()
            world.raise_cap(higher, before, decided)
            assert row_of(world, "operator:acme/clinic#2023") == higher.cap
            report = verify(world.export())
            assert report.ok, report.text()
            assert sound(world.export())
        else:
            forged = [*world.records()[: len(lines) - 1], _raised(world, decided)]
            assert not verify(sign(renumbered(forged))).ok
            assert not sound(sign(renumbered(forged)))


def _raised(world: World, decided: Any) -> dict[str, Any]:
    record = world.records()[-1]
    return {**record, "terms": decided.terms(), "commitments": {"reason": decided.decision["reason"]}}


def test_a_planted_store_whose_blocks_keep_their_cap_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(world, "2022")

    def put_cap(tx: Transaction, scope: str, *_: object) -> None:
        limit = world.scopes(share="1")[1].cap if scope.startswith("operator") else world.scopes()[0].cap
        tx.write("UPDATE scope SET cap_rho = ?, cap_epsilon = ? WHERE id = ?", (limit.rho, limit.epsilon, scope))

    monkeypatch.setattr(ledger_module.scopes_table, "put_cap", put_cap)
    ask(world, "2022", share="1", cost=price("0.1"))
    assert "cap of operator:acme/clinic#2022" in recover(world.store, world.ledger, world.log).frozen["clinic"]


@pytest.mark.parametrize("row", ["operator:acme/clinic", "operator:acme/clinic#2022"])
def test_the_second_fence_holds_to_the_cap_of_the_base_and_of_the_block(world: World, row: str) -> None:
    query = ask(world, "2022").id
    tamper(world, f"UPDATE scope SET cap_rho = charged_rho + {EACH.rho} - 1 WHERE id = '{row}'")
    with pytest.raises(Fault, match="arithmetic"), world.store.transaction() as tx:
        scopes_table.book(tx, query, ["operator:acme/clinic#2022"], Loss(rho=2 * EACH.rho))


def test_a_block_without_a_base_is_not_charged(world: World) -> None:
    query = ask(world, "2022").id
    with pytest.raises(Fault, match="arithmetic"), world.store.transaction() as tx:
        scopes_table.book(tx, query, ["operator:nobody/clinic#2022"], Loss(rho=1))


# for life


def test_a_dataset_is_charged_by_blocks_or_as_a_whole_for_life(world: World, tmp_path: Path) -> None:
    ask(world, "2022")
    with pytest.raises(Fault, match="as a whole and by its blocks"):
        ask(world)
    with pytest.raises(Fault, match="as a whole and by its blocks"):
        ask(world, operator="beta")
    ask(world, "2023", operator="beta")
    whole = World(tmp_path / "other")
    ask(whole)
    with pytest.raises(Fault, match="as a whole and by its blocks"):
        ask(whole, "2022")
    ask(whole)
    assert verify(world.export()).ok
    assert verify(whole.export()).ok


def test_a_dataset_is_charged_by_years_or_by_months_for_life(world: World) -> None:
    """The same units lie in both."""
    ask(world, "2022", "rest")
    for blocks in (("2023-05",), ("2022", "2022-05"), ("2022-05", "rest")):
        with pytest.raises(Fault, match="by years and by months"):
            ask(world, *blocks)
    ask(world, "2023")
    assert verify(world.export()).ok


@pytest.mark.parametrize(
    ("charged", "now", "why"),
    [
        ((), policy(), None),
        ((), policy(None), None),
        (("2023",), policy(), None),
        (("2023",), policy(2020, 2030), None),
        (("2023",), policy(None), "put `unit.blocks` back"),
        (("2022", "2023"), policy(2023), "on block `2022`"),
        (("2023",), policy(by="month"), "on block `2023`"),
        (None, policy(None), None),
        (None, policy(), "before it had blocks"),
    ],
)
def test_a_policy_fits_what_was_charged(
    world: World, charged: tuple[str, ...] | None, now: Policy, why: str | None
) -> None:
    if charged is None:
        ask(world)
    elif charged:
        ask(world, *charged)
    with world.store.reading() as view:
        found = at_odds(view, now)
    assert found is None if why is None else why in str(found)


def test_a_policy_without_budgets_is_at_odds_with_nothing(world: World) -> None:
    ask(world)
    bare = replace(policy(), release=replace(policy().release, dp=None))
    with world.store.reading() as view:
        assert at_odds(view, bare) is None


# recovered, restored


def busy(world: World) -> World:
    world.parts = {"actuarial": dp("0.6").epsilon}
    world.answer(ask(world, "2022", "2023").id)
    world.fail(ask(world, "2023", "rest", operator="beta").id)
    world.answer(ask(world, "2024", purpose="actuarial", share="3").id)
    world.answer(ask(world, *NAMES, share="3").id)
    return world


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE scope SET charged_rho = 0 WHERE id = 'dataset:clinic#2023'", "what dataset:clinic#2023 has spent"),
        ("UPDATE scope SET cap_rho = 1 + cap_rho WHERE id = 'dataset:clinic#2023'", "cap of dataset:clinic#2023"),
        ("UPDATE charge SET scope = 'dataset:clinic#2022' WHERE scope = 'dataset:clinic#rest' AND "
         "query NOT IN (SELECT query FROM charge WHERE scope = 'dataset:clinic#2022')", "charge of"),
        ("DELETE FROM scope WHERE id = 'purpose:actuarial/acme/clinic#2024'", "is in the log and not in the ledger"),
    ],
)  # fmt: skip
def test_a_block_that_differs_from_the_log_freezes_its_dataset(tmp_path: Path, statement: str, why: str) -> None:
    world = busy(World(tmp_path))
    assert recover(world.store, world.ledger, world.log).frozen == {}
    assert tamper(world, statement) == 1
    assert why in recover(world.store, world.ledger, world.log).frozen["clinic"]


def test_records_that_are_put_back_make_the_same_blocks(world: World, tmp_path: Path) -> None:
    busy(world)
    empty = World(tmp_path / "empty")
    before: dict[str, Any] = {}
    with empty.store.transaction() as tx:
        rebuild.begin(tx)
        for record in world.records():
            rebuild.take_back(tx, record, before)
            before = record
    for name in ("scope", "charge"):
        sql = f"SELECT * FROM {name} ORDER BY 1, 2"
        with world.store.reading() as one, empty.store.reading() as other:
            assert [tuple(row) for row in one.all(sql)] == [tuple(row) for row in other.all(sql)]


# told


def test_a_budget_is_told_as_its_fullest_block_with_each_block_below(world: World) -> None:
    ask(world, "2022", "2023")
    ask(world, "2023")
    with world.store.reading() as view:
        dataset, mine = world.ledger.budgets(view, world.scopes(), EACH, NAMES)
        alone = world.ledger.budgets(view, in_blocks(world.scopes(), ("2023",)), EACH)
    assert dataset.spent == mine.spent == Loss(rho=2 * EACH.rho)
    assert mine.answers_left == alone[1].answers_left
    told = mine.as_json()
    assert told["scope"] == "operator:acme/clinic"
    assert [(each["name"], each["scope"]) for each in told["blocks"]] == [
        (name, f"operator:acme/clinic#{name}") for name in NAMES
    ]
    assert [each["answers_left"] for each in told["blocks"]] == [
        mine.answers_left + 1, mine.answers_left, mine.answers_left + 2, mine.answers_left + 2
    ]  # fmt: skip
    assert "blocks" not in alone[1].as_json()


def test_spend_over_time_is_told_by_block_and_what_cost_nothing_of_the_whole(world: World) -> None:
    ask(world, "2022", "2023")
    ask(world, "2023")
    with world.store.transaction() as tx:
        world.ledger.refuse(tx, query_id="qry_1", actor="acme", code="column_hidden", dataset="clinic")
    with Sums(world.store).reading() as (view, added):
        scopes = every(view, {"clinic": dp()}, "clinic", None)
        found = {each["scope"]: each for each in history(added, scopes, Window())}
    assert set(found) == {
        *("dataset:clinic", "dataset:clinic#2022", "dataset:clinic#2023"),
        *("operator:acme/clinic", "operator:acme/clinic#2022", "operator:acme/clinic#2023"),
    }
    base, part = found["dataset:clinic"], found["dataset:clinic#2023"]
    assert base["blocks"] == ["2022", "2023"]
    assert (base["spent"]["rho"], base["answers_left"]) == ("0", part["answers_left"])
    assert [(each["charges"], each["refusals"]) for each in part["periods"]] == [(2, None)]
    assert [(each["charges"], each["refusals"]) for each in base["periods"]] == [(0, 1)]
    assert "blocks" not in part


def test_a_period_s_report_adds_up_each_block(world: World) -> None:
    busy(world)
    report = signed(world.log, world.store, "auditor", None, None)
    told = report["report"]["operators"]["acme"]
    assert {name: each["epsilon"] for name, each in told["spent_of_blocks"].items()} == {
        "clinic#2022": "1", "clinic#2023": "1", "clinic#2024": "1", "clinic#rest": "0.5"
    }  # fmt: skip
    assert told["spent"]["clinic"]["epsilon"] == "1.5"
    assert "spent of clinic#2024: rho" in as_text(report)


def test_the_verifier_tells_people_of_the_fullest_block(world: World) -> None:
    busy(world)
    report = verify(world.export())
    (line,) = [line for line in report.text().splitlines() if line.startswith("dataset:clinic")]
    assert "on 2023, the fullest of 4 blocks, 3 charges" in line
    assert report.scopes["dataset:clinic"]["charges"] == 0
    assert report.scopes["dataset:clinic#2023"]["charges"] == 3


# on record


def charge(place: int, change: Callable[[list[dict[str, str]]], object]) -> Callable[[list[dict[str, Any]]], None]:
    """Of the charges on record that at `place`, with other lines."""

    def apply(records: list[dict[str, Any]]) -> None:
        change([record["charges"] for record in records if record["kind"] == "charge"][place])

    return apply


def rename(number: int, scope: str) -> Callable[[list[dict[str, str]]], object]:
    return lambda lines: lines[number].update(scope=scope)


def second(block: str) -> Callable[[list[dict[str, str]]], object]:
    """The second of two blocks gets another name, in both scopes."""
    return lambda lines: [line.update(scope=f"{split_block(line['scope'])[0]}#{block}") for line in lines[1::2]]


def whole(lines: list[dict[str, str]]) -> None:
    for line in lines:
        line["scope"] = split_block(line["scope"])[0]
    del lines[1::2]


def caps(place: int, **line: str) -> Callable[[list[dict[str, Any]]], None]:
    def apply(records: list[dict[str, Any]]) -> None:
        record = [each for each in records if each["code"] == "cap_zcdp"][place]
        record["charges"][0].update(line)

    return apply


def of_another_dataset(records: list[dict[str, Any]]) -> None:
    """A cap of a block that passes for a dataset's."""
    place = next(i for i, each in enumerate(records) if each["code"] == "cap_zcdp")
    line = {**records[place]["charges"][0], "scope": "dataset:clinic#2022"}
    records.insert(place + 1, {**records[place], "dataset": "clinic#2022", "charges": [line]})


def _in_a_month(line: dict[str, str]) -> None:
    line["scope"] = f"{split_block(line['scope'])[0]}#2023-05"


OTHER = "purpose:actuarial/acme/clinic#2025"
# the first charge has the lines dataset 2022, dataset 2023, operator 2022, operator 2023
FORGERIES: dict[str, Callable[[list[dict[str, Any]]], None]] = {
    "a block of the operator alone": charge(0, lambda lines: lines.pop(0)),
    "a block of the dataset alone": charge(0, lambda lines: lines.pop()),
    "another block of the operator": charge(0, rename(3, "operator:acme/clinic#2024")),
    "another block of the dataset": charge(0, rename(1, "dataset:clinic#2024")),
    "the whole in place of a block": charge(0, rename(1, "dataset:clinic")),
    "the operator as a whole": charge(0, lambda lines: (lines.pop(), rename(2, "operator:acme/clinic")(lines))),
    "a block twice": charge(0, second("2022")),
    "blocks out of order": charge(0, lambda lines: (lines.insert(0, lines.pop(1)), lines.append(lines.pop(2)))),
    "blocks in another order beside it": charge(0, lambda lines: lines.append(lines.pop(2))),
    "a block that is none": charge(0, second("x")),
    "a month that is none": charge(0, second("2023-13")),
    "a month beside a year": charge(0, second("2023-05")),
    "a month in place of a year": charge(1, lambda lines: [_in_a_month(line) for line in lines]),
    "a block without a name": charge(0, second("")),
    "a cheaper block": charge(0, lambda lines: lines[1].update(rho="0.000000000001")),
    "a cheaper block everywhere": charge(0, lambda lines: (lines[1].update(rho="0.001"), lines[3].update(rho="0.001"))),
    "a charge of the whole among blocks": charge(0, whole),
    "a purpose in no block": charge(2, rename(2, "purpose:actuarial/acme/clinic")),
    "a purpose in another block": charge(2, rename(2, "purpose:actuarial/acme/clinic#2023")),
    "a purpose in more blocks": charge(2, lambda lines: lines.append({**lines[2], "scope": OTHER})),
    "a block beyond its cap": charge(1, lambda lines: [line.update(rho="9") for line in lines]),
    "a cap under what the fullest block has spent": caps(0, rho="0.01"),
    "a cap of a block": caps(0, scope="dataset:clinic#2022"),
    "a cap of a dataset called like a block": of_another_dataset,
}  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> World:
    return busy(World(tmp_path_factory.mktemp("blocks")))


@pytest.mark.parametrize("name", FORGERIES)
def test_who_holds_the_key_cannot_forge_blocks(name: str, records: World) -> None:
    """Either verifier finds it out."""
    forged = records.records()
    assert verify(sign(renumbered(forged))).ok
    assert sound(sign(renumbered(forged)))
    FORGERIES[name](forged)
    lines = sign(renumbered(forged))
    assert (verify(lines).ok, sound(lines)) == (False, False)


def test_the_fullest_block_was_near_the_cap_that_is_forged(records: World) -> None:
    """Else the forgery of a cap would be found out for another reason."""
    assert int(verify(records.export()).scopes["dataset:clinic#2023"]["spent"]["rho"].partition(".")[2][:2]) > 0


def blind(self: Blocks, _: str, scopes: Sequence[str]) -> list[str]:
    """Planted: a verifier that does not look at blocks."""
    return list(dict.fromkeys(split_block(scope)[0] for scope in scopes))


def base_alone(self: Replay, name: str, _: object) -> bool:
    """Planted: a verifier that adds nothing up in a block."""
    self.scopes.setdefault(name, ScopeSum("zcdp", {"rho": 0, "epsilon": 0, "delta": 0}))
    return True


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("another block of the operator", (Blocks, "check", blind)),
        ("a charge of the whole among blocks", (Blocks, "check", blind)),
        ("a block beyond its cap", (Replay, "_book", base_alone)),
    ],
)
def test_a_planted_verifier_that_ignores_blocks_is_noticed(
    name: str, planted: tuple[Any, str, Any], records: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*planted)
    with pytest.raises(AssertionError):
        test_who_holds_the_key_cannot_forge_blocks(name, records)


class FirstBlock(Ledger):
    """Planted: of several blocks only the first is charged."""

    def charge(self, tx: Transaction, asked: Any, scopes: Any, price: Price, **more: Any) -> QueryRow:
        first = tuple(scope for scope in scopes if scope.block == scopes[0].block)
        return super().charge(tx, asked, first, price, **more)


def test_a_planted_ledger_that_charges_the_first_block_alone_is_noticed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sit(FirstBlock(world.log, world.clock))
    with pytest.raises(AssertionError):
        test_a_question_is_charged_to_each_of_its_blocks_and_to_no_other(world)


def test_nothing_waits_at_a_block(world: World) -> None:
    ask(world, "2022")
    world.name_approvers()
    with pytest.raises(Misconfigured, match="another cap by now"):
        world.raise_cap(world.scopes(share="3")[1], world.scopes(share="4")[1].cap)


@pytest.mark.parametrize("seed", range(150))
def test_the_verifiers_agree_about_lines_that_were_changed_at_random(seed: int, records: World) -> None:
    """Whatever somebody with the key does to the lines of charges and caps: one judges as the other."""
    dice, forged = random.Random(seed), records.records()
    names = sorted({line["scope"] for record in forged for line in record["charges"] or ()})
    for _ in range(dice.randint(1, 2)):
        lines = dice.choice([record["charges"] for record in forged if record["charges"]])
        place, other = dice.randrange(len(lines)), dice.randrange(len(lines))
        match dice.randrange(6):
            case 0:
                lines[place]["scope"] = dice.choice(names)
            case 1:
                lines[place], lines[other] = lines[other], lines[place]
            case 2:
                lines.insert(other, dict(lines[place]))
            case 3:
                del lines[place]
            case 4:
                base = split_block(lines[place]["scope"])[0]
                lines[place]["scope"] = dice.choice((base, f"{base}#2021", f"{base}#", f"{base}#rest#rest"))
            case _:
                lines[place]["rho"] = dice.choice(("0.01", "0.4", lines[other]["rho"]))
    told = sign(renumbered(forged))
    assert verify(told).ok == sound(told), verify(told).text()
