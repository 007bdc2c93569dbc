"""What was spent when: sums that are those of the budget, each reader's own part, and a picture of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway.budget import queries, sums
from gateway.budget.history import BYS, By, Window, every, history, usual_price
from gateway.budget.queries import Stored
from gateway.budget.sums import PAGE, Added, Sums
from gateway.catalog import Catalog
from gateway.cli.client import Reply
from gateway.cli.command import app
from gateway.cli.over_time import WIDTH, bar
from gateway.http import spending
from gateway.http.service import Service
from gateway.store import Reading, Store
from policies.privacy_loss import EPSILON_UNIT, rho_for
from tests.gateway_world import COUNT, GatewayWorld, gateway_world
from tests.ledger_world import HASH, World, dp, price

EACH = price("0.5")
DAYS = (date(2026, 11, 23), date(2026, 11, 29), date(2026, 11, 30), date(2026, 12, 6))
"""Monday and Sunday of one week, then Monday of the next, in the same month, then Sunday in another one."""


@pytest.fixture
def world(tmp_path: Path, open_store: Callable[[], Store]) -> World:
    """On each of DAYS an answer and a failure of acme, an answer of beta, and what costs nothing."""
    found = World(tmp_path, open_store=open_store)
    for day in DAYS:
        found.clock.moment = datetime(day.year, day.month, day.day, 23, 59, 50, tzinfo=UTC)
        found.answer(found.charge(EACH).id)
        found.fail(found.charge(price("0.25", delta=3)).id)
        found.answer(found.charge(EACH, asked=found.asked("beta")).id)
        with found.store.transaction() as tx:
            found.ledger.reuse(tx, found.asked(), Stored("rel_1", HASH))
            for who in ("acme", "acme", "beta"):
                new = queries.new_query_id()
                found.ledger.refuse(tx, query_id=new, actor=who, code="column_hidden", dataset="clinic")
            found.ledger.refuse(tx, query_id=queries.new_query_id(), actor="acme", code="sql_unreadable")
    return found


def told(world: World, window: Window, **only: str) -> dict[str, dict[str, Any]]:
    with Sums(world.store).reading() as (view, added):
        scopes = every(view, {"clinic": dp()}, only.get("dataset"), only.get("operator"))
        return {each["scope"]: each for each in history(added, scopes, window)}


@pytest.mark.parametrize(
    ("by", "begins"),
    [
        ("day", ["2026-11-23", "2026-11-29", "2026-11-30", "2026-12-06"]),
        ("week", ["2026-11-23", "2026-11-30"]),
        ("month", ["2026-11-01", "2026-12-01"]),
    ],
)
def test_periods_are_days_weeks_from_monday_and_months(world: World, by: By, begins: list[str]) -> None:
    mine = told(world, Window(by))["operator:acme/clinic"]
    assert [period["begin"] for period in mine["periods"]] == begins
    per_day = len(DAYS) // len(begins) if by != "month" else None
    for period, days in zip(mine["periods"], [per_day] * 4 if per_day else [3, 1], strict=False):
        assert (period["charges"], period["answers"]) == (2 * days, days)
        assert (period["reused"], period["refusals"]) == (days, 2 * days)


@pytest.mark.parametrize("by", BYS)
def test_periods_add_up_to_what_the_budget_says(world: World, by: By) -> None:
    for each in told(world, Window(by)).values():
        for unit in ("rho", "delta"):
            total = sum(Fraction(period["spent"][unit]) for period in each["periods"])
            assert total == Fraction(each["spent"][unit]) == Fraction(each["periods"][-1]["spent_by_then"][unit])
    with world.store.reading() as view:
        (budget, mine) = world.ledger.budgets(view, world.scopes(), EACH)
    found = told(world, Window(by))
    assert found["dataset:clinic"]["spent"] == budget.as_json()["spent"]
    assert found["dataset:clinic"]["answers_left"] == budget.answers_left
    assert found["operator:acme/clinic"]["answers_left"] == mine.answers_left
    assert found["operator:acme/clinic"]["answer_epsilon"] == "0.5"


def test_a_day_is_counted_from_1970_on_however_late() -> None:
    assert [sums._date(day) for day in (0, 1, 100_000)] == [date(1970, 1, 1), date(1970, 1, 2), date(2243, 10, 17)]


def test_the_dataset_is_all_operators_together(world: World) -> None:
    found = told(world, Window("month"))
    for name in ("charges", "answers", "refusals"):
        counts = {scope: sum(period[name] for period in each["periods"]) for scope, each in found.items()}
        assert counts["dataset:clinic"] == counts["operator:acme/clinic"] + counts["operator:beta/clinic"]


def test_a_window_narrows_the_periods_and_not_the_sums(world: World) -> None:
    whole = told(world, Window("week"))["dataset:clinic"]
    late = told(world, Window("week", since=date(2026, 12, 2)))["dataset:clinic"]
    early = told(world, Window("week", until=date(2026, 11, 30)))["dataset:clinic"]
    assert late["periods"] == whole["periods"][1:]
    assert early["periods"] == whole["periods"][:1]
    assert late["spent"] == whole["spent"]


@pytest.mark.parametrize("page", [1, 3, PAGE])
def test_what_is_kept_and_what_is_new_are_together_what_a_fresh_look_finds(tmp_path: Path, page: int) -> None:
    """Also of a query that runs while others end, of which the sums must not be kept."""
    world = World(tmp_path)
    kept = Sums(world.store, page)

    def both() -> None:
        with kept.reading() as (_, old):
            pass
        with Sums(world.store).reading() as (_, new):
            assert old == new

    both()
    slow = world.charge(EACH)
    for number in range(7):
        world.clock.moment += timedelta(hours=9)
        row = world.charge(EACH, asked=world.asked(("acme", "beta")[number % 2]))
        both()
        world.answer(row.id)
        with world.store.transaction() as tx:
            world.ledger.reuse(tx, world.asked(), Stored("rel_1", HASH))
            new = queries.new_query_id()
            world.ledger.refuse(tx, query_id=new, actor="beta", code="column_hidden", dataset="clinic")
        both()
    world.answer(slow.id)
    both()
    with kept.reading() as (_, added):
        assert sum(each.charges for each in added.charged.values()) == 16
        assert sum(each.answers for each in added.charged.values()) == 16
        assert (sum(added.reused.values()), sum(added.refused.values())) == (7, 7)


def test_planted_sums_that_are_kept_of_what_still_runs_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Added.add_queries
    monkeypatch.setattr(Added, "add_queries", lambda *given, **_: add(*given))
    with pytest.raises(AssertionError):
        test_what_is_kept_and_what_is_new_are_together_what_a_fresh_look_finds(tmp_path, PAGE)


class _Counted:
    """A store that counts the places that are read again and again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.places = 0
        add = Added.add_queries

        def counted(added: Added, view: Reading, after: int, until: int, *, ended: bool = False) -> None:
            self.places += until - after
            add(added, view, after, until, ended=ended)

        monkeypatch.setattr(Added, "add_queries", counted)


def test_a_query_that_never_ends_does_not_make_each_look_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of a frozen dataset does not."""
    world, counted = World(tmp_path), _Counted(monkeypatch)
    sums_ = Sums(world.store)
    small = price("0.01")
    world.charge(small)
    for _ in range(20):
        world.answer(world.charge(small).id)
    with sums_.reading():
        pass
    counted.places = 0
    with sums_.reading() as (_, added):
        assert sum(each.charges for each in added.charged.values()) == 2 * 21
    assert counted.places == 1, "the one that runs still"


def test_one_operator_or_dataset_alone(world: World) -> None:
    assert list(told(world, Window("day"), operator="beta")) == ["operator:beta/clinic"]
    assert told(world, Window("day"), operator="beta")["operator:beta/clinic"]["periods"][0]["refusals"] == 1
    assert told(world, Window("day"), dataset="other") == {}


def test_a_policy_that_adds_up_something_else_by_now_names_no_usual_price(world: World) -> None:
    with world.store.reading() as view:
        scopes = every(view, {"clinic": dp(accountant="pure")}, None, None)
    assert {scope.usual for scope in scopes} == {None}
    assert usual_price(dp(accountant="pure")) == price("0.5", accountant="pure")
    assert usual_price(dp()) == EACH
    assert usual_price(replace(dp(), delta=Decimal("3e-24"))).rho == rho_for(EPSILON_UNIT // 2, 1)


def test_a_purpose_with_a_share_has_its_charges_and_not_what_cost_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.parts = {"actuarial": Decimal(1)}
    world.answer(world.charge(EACH, asked=world.asked(purpose="actuarial")).id)
    world.fail(world.charge(EACH).id)
    with world.store.transaction() as tx:
        world.ledger.refuse(tx, query_id=queries.new_query_id(), actor="acme", code="column_hidden", dataset="clinic")
    found = told(world, Window("day"))
    (part,), (mine,) = (found[scope]["periods"] for scope in ("purpose:actuarial/acme/clinic", "operator:acme/clinic"))
    assert [part[name] for name in ("charges", "answers", "reused", "refusals")] == [1, 1, None, None]
    assert [mine[name] for name in ("charges", "answers", "reused", "refusals")] == [2, 1, 0, 1]


@given(st.dates(date(1970, 1, 1), date(2100, 1, 1)), st.sampled_from(BYS))
def test_a_day_is_in_the_period_that_begins_no_later_and_ends_after_it(day: date, by: By) -> None:
    begin = Window(by).begin(day)
    length = {"day": 1, "week": 7, "month": 31}[by]
    assert begin <= day < begin + timedelta(days=length)
    assert Window(by).begin(begin) == begin
    assert Window(by, since=day).holds(begin)
    assert not Window(by, until=begin).holds(begin)


# who is told what


@pytest.fixture
def served(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path / "home") as found:
        for who in ("op-a", "op-b", "op-b"):
            body = {"sql": COUNT, "purpose": "research"}
            assert found.call("POST", "/v1/queries", body, subject=who).status_code == 200
        found.call("POST", "/v1/queries", {"sql": "SELECT name FROM people", "purpose": "research"}, subject="op-b")
        yield found


def ask(served: GatewayWorld, query: str = "", role: str = "operator") -> Any:
    token = served.token("op-a", role)  # type: ignore[arg-type]  # one of the roles
    return served.call("GET", f"/v1/budgets/history{query}", Authorization=f"Bearer {token}")


def test_an_operator_is_told_its_own_and_the_sums_of_its_datasets(served: GatewayWorld) -> None:
    whole, mine = ask(served).json()["scopes"]
    assert (whole["scope"], mine["scope"]) == ("dataset:clinic", "operator:op-a/clinic")
    assert Fraction(whole["spent"]["rho"]) == 3 * Fraction(mine["spent"]["rho"])
    assert [period[name] for period in whole["periods"] for name in ("charges", "answers", "reused", "refusals")] == [
        None
    ] * 4
    assert [mine["periods"][0][name] for name in ("charges", "answers", "reused", "refusals")] == [1, 0, 0, 0]
    assert "op-b" not in ask(served).text
    assert ask(served, "?operator=op-b").status_code == 404
    assert ask(served, "?dataset=other").json()["code"] == "not_found"
    assert ask(served, "?dataset=clinic&operator=op-a&by=week").json()["by"] == "week"


def licensed_from_tomorrow(served: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tomorrow, and `op-a` has a licence since then alone."""
    service = served.service
    now = service.today() + timedelta(days=1)
    licences = tuple(
        replace(each, valid_from=now) if each.operator == "op-a" else each for each in service.catalog.licences
    )
    monkeypatch.setattr(Catalog, "licences", licences)
    monkeypatch.setattr(Service, "today", lambda _: now)


def test_days_before_a_licence_are_in_the_datasets_sum_alone(
    served: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ask(served).json()["scopes"]
    licensed_from_tomorrow(served, monkeypatch)
    whole, mine = ask(served).json()["scopes"]
    assert before[0]["periods"]
    assert whole["periods"] == []
    assert whole["spent"] == before[0]["spent"]
    assert mine["periods"] == before[1]["periods"], "its own it is told always"


def test_planted_a_dataset_that_tells_of_every_day_is_noticed(
    served: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "_licensed", lambda *_: None)
    with pytest.raises(AssertionError):
        test_days_before_a_licence_are_in_the_datasets_sum_alone(served, monkeypatch)


def test_a_period_that_is_told_in_part_adds_up_with_what_is_not(world: World) -> None:
    with Sums(world.store).reading() as (view, added):
        (whole,) = every(view, {"clinic": dp()}, "clinic", None)[:1]
        part = replace(whole, days=((DAYS[1], DAYS[2]),))
        (all_days,), (some_days,) = history(added, [whole], Window("week")), history(added, [part], Window("week"))
    assert [period["begin"] for period in some_days["periods"]] == ["2026-11-23", "2026-11-30"]
    for told_all, told_some in zip(all_days["periods"], some_days["periods"], strict=True):
        assert 2 * Fraction(told_some["spent"]["rho"]) == Fraction(told_all["spent"]["rho"])
        assert told_some["spent_by_then"] == told_all["spent_by_then"]


def test_planted_an_operator_who_is_told_of_others_is_noticed(
    served: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "_own", lambda service, caller, view, dataset: every(view, {}, None, None))
    with pytest.raises((AssertionError, ValueError)):
        test_an_operator_is_told_its_own_and_the_sums_of_its_datasets(served)


def test_an_auditor_is_told_everything_and_is_on_record(served: GatewayWorld) -> None:
    found = {each["scope"]: each for each in ask(served, "?by=month", "auditor").json()["scopes"]}
    assert list(found) == ["dataset:clinic", "operator:op-a/clinic", "operator:op-b/clinic"]
    assert found["dataset:clinic"]["periods"][0]["charges"] == 3
    assert found["operator:op-b/clinic"]["periods"][0]["refusals"] == 1
    last = served.records()[-1]
    assert (last["kind"], last["code"], last["actor"]) == ("read", "budgets", "op-a")
    one = ask(served, "?operator=op-b", "auditor").json()["scopes"]
    assert [each["scope"] for each in one] == ["operator:op-b/clinic"]


@pytest.mark.parametrize("role", ["policy_author", "custodian"])
def test_other_roles_are_told_nothing(served: GatewayWorld, role: str) -> None:
    assert ask(served, role=role).json()["code"] == "role_missing"


@pytest.mark.parametrize("query", ["by=hour", "since=monday", "until=2026-02-30", "since=20261123", "shoe=1"])
def test_a_window_that_is_none_is_refused(served: GatewayWorld, query: str) -> None:
    reply = ask(served, f"?{query}")
    assert (reply.status_code, reply.json()["code"]) == (422, "parameter_invalid")


# the picture


def test_a_bar_never_shows_less_than_is_spent() -> None:
    assert bar("0", "8") == "." * WIDTH
    assert bar("0.000000000001", "8") == "#" + "." * (WIDTH - 1)
    assert bar("4", "8") == "#" * (WIDTH // 2) + "." * (WIDTH // 2)
    assert bar("7.999999999999", "8") == bar("9", "8") == bar("0", "0") == "#" * WIDTH


def test_the_command_draws_a_line_for_each_period(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Told:
        def call(self, method: str, route: str) -> Reply:
            asked.append(route)
            return Reply(200, {"by": "week", "scopes": list(told(world, Window("week")).values())})

    monkeypatch.setattr("gateway.cli.client.connect", lambda *_: Told())
    done = CliRunner().invoke(app, ["budget", "--over-time", "--by", "week", "--since", "2026-11-01"])
    assert done.exit_code == 0, done.output
    assert asked == ["/v1/budgets/history?by=week&since=2026-11-01"]
    lines = done.output.splitlines()
    assert any(line.startswith("operator:acme/clinic: epsilon ") and "more" not in line for line in lines)
    assert sum("2026-11-23" in line and "#" in line for line in lines) == 3
    assert any("rho 0.0" in line and "of 0.054131659291, delta 0.000000000000000000000012 of" in line for line in lines)
    done = CliRunner().invoke(app, ["budget", "--over-time", "--json"])
    assert json.loads(done.stdout)["scopes"][0]["scope"] == "dataset:clinic"
    assert CliRunner().invoke(app, ["budget", "--by", "week"]).exit_code == 2
