"""Each defence of `aggregate` mode switched off in turn: the suites beside this one must see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from policies.model import Aggregate
from sandbox.disclosure import compared, guard, memory, plan, primary, protect
from tests.attack.test_aggregate_combinations import ALL, told
from tests.attack.test_aggregate_questions import LINES, told_apart
from tests.attack.test_aggregate_sequences import ATTACKS, played
from tests.disclosure.auditor import audit
from tests.disclosure.bare import Bare
from tests.disclosure.judge import Expected, complaints
from tests.disclosure.planted import twin_town
from tests.disclosure.world import TownWorld, town_world

SQL = {number: (expected, sql) for number, expected, sql in LINES}
FAR = 10**6


def by_rules(**changes: object) -> Callable[..., object]:
    """The rules of a cell by itself, under other rules than the policy's."""

    def judged(shares: primary.Shares, rules: Aggregate) -> object:
        return primary.primary(shares, replace(rules, **changes))  # type: ignore[arg-type]  # whatever is named

    return judged


def seen_by_question(*numbers: str, policy: tuple[str, str] = ("", "")) -> list[str]:
    found: list[str] = []
    with town_world(edit=policy) as world:
        bare, rules = Bare(world.town), world.policy.release.aggregate
        assert rules is not None
        for number in numbers:
            expected, sql = SQL[number]
            world.forget()
            reply = world.ask(sql)
            broken = Expected.of(expected).broken(reply)
            found += [broken] if broken else []
            found += complaints(reply, bare, rules)
    return found


def seen_by_sequence(name: str) -> list[str]:
    with town_world() as world:
        rules = world.policy.release.aggregate
        assert rules is not None
        try:
            return [str(one) for one in audit(list(played(world, ATTACKS[name])), rules)]
        except AssertionError as seen:
            return [str(seen)]


def seen_by_combination(name: str) -> list[str]:
    one = next(one for one in ALL if one.name == name)

    def value(world: TownWorld) -> list[str]:
        found = [told(world, list(one.asked)), told(world, list(reversed(one.asked)))]
        return [str(value) for value in found if value is not None]

    with town_world() as world:
        return value(world)


def seen_by_twins() -> list[str]:
    with town_world() as world, town_world(rows=twin_town(world.town)) as twin:
        return told_apart(world, twin)


SMALL = ("group-of-one-01", "group-of-one-21", "weights-04")
Plant = tuple[object, str, object]
PLANTS: dict[str, tuple[tuple[Plant, ...], Callable[[], list[str]]]] = {
    "units": (((protect, "primary", by_rules(units_min=1)),), lambda: seen_by_question(*SMALL)),
    "dominance and p-percent": (
        ((protect, "primary", by_rules(dominance_share=2, p_percent=0)),),
        lambda: seen_by_question("dominance-01", "dominance-04"),
    ),
    "p-percent where dominance is not asked for": (
        ((protect, "primary", by_rules(p_percent=0)),),
        lambda: seen_by_question("dominance-01", policy=("share = 0.85", "share = 1")),
    ),
    "units, where only order and rows are shown": (
        ((protect, "primary", by_rules(units_min=1, dominance_share=2, p_percent=0)),),
        seen_by_twins,
    ),
    "complement": (
        ((protect, "alike", lambda *_: False),),
        lambda: seen_by_question("homogeneous-01", "homogeneous-08", "homogeneous-17"),
    ),
    "homogeneous": (((protect, "one_value", lambda _: False),), lambda: seen_by_question("homogeneous-12")),
    "differences from one number": (
        ((compared, "differing", lambda *_: FAR), (memory, "to_withhold", lambda _: frozenset())),
        lambda: seen_by_sequence("individual tracker"),
    ),
    "differences from unions": (
        ((guard.Beside, "nearest", lambda *_: FAR), (memory, "to_withhold", lambda _: frozenset())),
        lambda: seen_by_sequence("totals of a table, then the town"),
    ),
    "the past after a restart": (
        ((memory.history, "load", lambda *_: ({}, [])),),
        lambda: seen_by_sequence("restart in the middle"),
    ),
    "the past of another snapshot": (
        ((memory.history, "load", lambda *_: ({}, [])),),
        lambda: seen_by_sequence("one person more"),
    ),
    "linear audit": (
        ((memory, "to_withhold", lambda _: frozenset()),),
        lambda: seen_by_sequence("three unions of two"),
    ),
    "one factor between quantities": (
        ((guard, "_agreeing", lambda first, second, same: int((first == second).sum())),),
        lambda: seen_by_combination("a sum per person, less one visit"),
    ),
    "one column in a union": (
        ((plan, "require_one", lambda *_: None),),
        lambda: seen_by_combination("a weighted sum per person, less one visit"),
    ),
    "no weights that are known": (
        ((plan, "require_no_weight", lambda *_: None),),
        lambda: seen_by_combination("incomes times ages against incomes by age"),
    ),
    "no row twice": (
        ((protect, "doubled", lambda *_: False),),
        lambda: seen_by_combination("women twice and men three times, less one person"),
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_service_without_it_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plants, look = PLANTS[name]
    for module, attribute, planted in plants:
        monkeypatch.setattr(module, attribute, planted)
    assert look()
