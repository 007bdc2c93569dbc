"""Series of questions at random, each over everything that was said before: a linear solver looks for what leaked.

`BPK_LONG` plays more and longer series, `BPK_SEED` others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence

import pytest

from policies.load import load_text
from policies.model import Aggregate
from tests.disclosure.asked import Asked, Measured, Part, Rows, column, differs, equals
from tests.disclosure.auditor import audit
from tests.disclosure.made import DISTRICTS, careless, question
from tests.disclosure.planted import policy_text, town
from tests.disclosure.world import Reply, town_world

LONG = "BPK_LONG" in os.environ
FIRST = 1000 * int(os.environ.get("BPK_SEED", "1"))
SERIES = range(FIRST, FIRST + (40 if LONG else 4))
ANSWERS = 50 if LONG else 25
SHOWN_LEAST = 0.25 if LONG else 0.5
RULES = load_text(policy_text(), "town").release.aggregate
assert RULES is not None


@pytest.mark.parametrize("seed", SERIES)
def test_no_series_of_answers_tells_more_than_is_promised(seed: int) -> None:
    rounding = 5 if seed % 2 else 0
    dice = random.Random(seed)
    parts: list[Part] = []
    with town_world(rounding=rounding) as world:
        rows, rules = Rows(world.town), world.policy.release.aggregate
        assert rules is not None
        answered = 0
        for _ in range(4 * ANSWERS):
            asked = question(dice)
            reply = world.ask(asked.sql, dice.choice(["op-a", "op-b"]))
            parts += asked.parts(reply, rows)
            answered += reply.answered
            if answered == ANSWERS:
                break
    found = [str(one) for one in audit(parts, rules)]
    shown, clear = sum(part.shown is not None for part in parts), sum(not breaks(part, rules) for part in parts)
    print(f"seed {seed}: {answered} answers, {shown} of {clear} numbers that break no rule by themselves are shown")
    assert answered == ANSWERS
    assert not found, f"seed {seed}: {len(found)} in all"
    assert shown > SHOWN_LEAST * clear, "little was shown, so little was judged"


def breaks(part: Part, rules: Aggregate) -> bool:
    """Whether too few units stand behind a number, or one or two have nearly all of it."""
    sizes = sorted((abs(value) for value in part.by_unit.values()), reverse=True)
    if len(sizes) < rules.units_min or sum(sizes[: rules.dominance_units]) >= rules.dominance_share * sum(sizes):
        return True
    return (sum(sizes) - sum(sizes[:2])) * 100 < rules.p_percent * sizes[0]


def _all(_: Part) -> bool:
    return True


def _few(part: Part) -> bool:
    return len(part.by_unit) < RULES.units_min


def _none(_: Part) -> bool:
    return False


ROWS = Rows(town())
BY_DISTRICT = (column("district"),)


def _said(withheld: Callable[[Part], bool], *questions: Asked) -> list[Part]:
    return [part for one in questions for part in one.parts(careless(one, ROWS, withheld), ROWS)]


def _found(parts: Sequence[Part]) -> list[str]:
    return [str(one) for one in audit(parts, RULES)]


def test_the_solver_finds_nothing_where_nothing_was_said() -> None:
    dice = random.Random(3)
    assert not _found(_said(_all, *(question(dice) for _ in range(20))))


def test_the_solver_finds_a_small_group_that_was_said() -> None:
    found = _found(_said(_none, Asked("people", (Measured("income"),), BY_DISTRICT)))
    assert any("what 3 units add" in one for one in found)


def test_the_solver_finds_a_small_group_by_the_total() -> None:
    found = _found(_said(_few, Asked("people", (Measured("rows"),), BY_DISTRICT, sets="rollup")))
    assert any("[3, 3] around 3" in one for one in found)


def test_the_solver_leaves_two_withheld_groups_alone_that_hide_each_other() -> None:
    hidden = ("Hamlet", "West")
    asked = Asked("people", (Measured("rows"), Measured("income")), BY_DISTRICT, sets="rollup")
    parts = _said(lambda part: any(name in part.name for name in hidden), asked)
    shown = [part for part in parts if not any(name in part.name for name in hidden)]
    withheld = [Part(p.name, p.quantity, p.values, p.owners, None) for p in parts if p not in shown]
    assert not _found([*shown, *withheld])


def test_the_solver_finds_a_difference_of_one_person() -> None:
    west = equals("district", "West")
    found = _found(_said(_few, Asked("people", (Measured("income"),), (), (west,)), _west_without_the_lone_one()))
    assert any("around 12345789" in one for one in found)


@pytest.mark.parametrize(("most", "found"), [(1000, True), (3, False)])
def test_the_solver_finds_one_that_holds_almost_all_of_a_difference(most: int, found: bool) -> None:
    """Eleven units more are enough by number; but where one of them has nearly all that they add, it is his."""
    some = dict.fromkeys(range(100, 200), 50)
    every = {**some, 0: most, **dict.fromkeys(range(1, 11), 1)}
    parts = [
        Part(name, "income of people", values, {unit: unit for unit in values}, (sum(values.values()),) * 2)
        for name, values in (("all", every), ("most", some))
    ]
    assert any("what unit 0 adds" in one for one in _found(parts)) == found


def _west_without_the_lone_one() -> Asked:
    return Asked("people", (Measured("income"),), (), (equals("district", "West"), differs("age", 97)))


def test_the_solver_allows_for_rounding() -> None:
    """Two numbers that differ by three may round to the same, or to two that differ by ten."""
    counts = (285, 235, 185, 105, 20, None, 835)
    asked = Asked("people", (Measured("rows"),), BY_DISTRICT, sets="rollup")
    told = Reply(
        asked.sql,
        kinds=("key", "protected"),
        rows=tuple(zip((*DISTRICTS, None), counts, strict=True)),
        intervals=tuple((None, None if count is None else (count - 2.5, count + 2.5)) for count in counts),
    )
    assert not _found(list(asked.parts(told, ROWS)))
