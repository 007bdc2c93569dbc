"""The log tells by itself which policy and which licence each decision rests on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from gateway.audit.verify import verify
from gateway.errors import Refusal
from gateway.right import Right
from policies.model import Licence
from tests.ledger_world import World, licensed
from tests.second_verifier import sound


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def until(year: int, month: int, day: int) -> Licence:
    return licensed("acme", "clinic", until=date(year, month, day))


def sayings(world: World) -> list[tuple[str, str | None]]:
    told = ("policy", "licence", "licence_ended")
    return [(record["code"], record["licence"]) for record in world.records() if record["code"] in told]


def test_policy_and_licence_are_on_record_once_before_the_first_decision(world: World) -> None:
    world.charge()
    world.charge()
    assert sayings(world) == [("policy", None), ("licence", "L-acme")]
    decisions = [record for record in world.records() if record["kind"] == "decision"]
    assert [(record["mode"], record["licence"]) for record in decisions] == [("dp", "L-acme")] * 2
    assert verify(world.export()).ok


def test_a_changed_licence_or_policy_is_told_again_also_by_another_gateway(world: World) -> None:
    world.charge()
    world.reopen()
    renewed = replace(world.asked(), right=Right("dp", "authorised", until(2098, 1, 1)))
    world.charge(asked=renewed)
    world.charge(asked=replace(world.asked(), policy_digest="cd" * 32))  # and this gateway has the older licence
    assert sayings(world) == [
        ("policy", None),
        ("licence", "L-acme"),
        ("licence", "L-acme"),
        ("policy", None),
        ("licence", "L-acme"),
    ]
    assert verify(world.export()).ok
    assert sound(world.export())


def test_a_licence_that_was_taken_away_ends_on_record_and_comes_back_when_it_is_used(world: World) -> None:
    world.charge()
    for held in (frozenset({"L-acme"}), frozenset[str](), frozenset[str]()):
        with world.store.transaction() as tx:
            world.log.end_licences(tx, held)
    world.charge()
    assert sayings(world)[1:] == [("licence", "L-acme"), ("licence_ended", "L-acme"), ("licence", "L-acme")]
    assert verify(world.export()).ok


def test_a_licence_that_ends_between_admission_and_charge_charges_nothing(world: World) -> None:
    world.clock.moment = datetime(2026, 11, 23, 23, 59, 59, 998_000, tzinfo=UTC)
    asked = replace(world.asked(), right=Right("dp", "authorised", until(2026, 11, 23)))
    before = world.records()
    with pytest.raises(Refusal) as caught:
        world.charge(asked=asked)
    assert caught.value.code == "licence_expired"
    assert world.records() == before
    assert [world.spent(scope) for scope in world.scopes()] == [0, 0]
    assert verify(world.export()).ok


def test_a_lost_memory_of_what_was_told_makes_the_log_tell_it_again(world: World) -> None:
    world.charge()
    with world.store.transaction() as tx:
        tx.write("DELETE FROM declared")
    world.charge()
    assert len(sayings(world)) == 4
    assert verify(world.export()).ok
