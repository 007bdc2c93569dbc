"""What exact answers cost: cells, counted once for each operator and release, and told by the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.replay import Broken, Replay
from gateway.audit.verify import verify
from gateway.budget.cells import Cells, Shown, cells_of, running
from gateway.errors import Fault, Refusal
from sandbox.protocol import FREE, Released
from tests.ledger_world import World, exact_policy
from tests.second_verifier import sound


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def refusal(world: World, operator: str = "acme") -> Refusal | None:
    with world.store.reading() as view:
        found = cells_of(view, exact_policy(), operator)
    assert found is not None
    try:
        found.require_left("clinic")
    except Refusal as refused:
        return refused
    return None


def test_an_exact_answer_costs_cells_and_no_privacy_loss(world: World) -> None:
    row = world.exact(Shown(12, 2))
    assert (row.cost.rho, row.cost.epsilon, row.cost.delta) == (0, 0, 0)
    assert world.cells() == (12, 2)
    assert world.cells("beta") == (0, 0)
    charge, release = world.records()[-2:]
    assert (charge["kind"], charge["charges"]) == ("charge", [])
    assert (release["kind"], release["code"]) == ("release", "cells_12_2")


def test_what_was_shown_before_is_shown_again_free(world: World) -> None:
    world.exact(Shown(12, 2))
    world.exact_again(Shown(12, 2))
    assert world.cells() == (12, 2)
    assert world.records()[-1]["code"] is None


def test_what_somebody_else_was_shown_counts_when_it_is_shown_first(world: World) -> None:
    world.exact(Shown(12, 2))
    world.exact_again(Shown(12, 2), operator="beta")
    world.exact_again(Shown(12, 2), operator="beta")
    assert world.cells("beta") == (12, 2)
    assert [record["code"] for record in world.records()[-2:]] == ["cells_12_2", None]


def test_a_question_that_was_cancelled_and_asked_again_counts(world: World) -> None:
    """Its release may be stored: whoever cancels in time must not see it for nothing."""
    with world.store.transaction() as tx:
        row = world.ledger.charge(tx, world.asked(mode="aggregate"), (), FREE)
        world.ledger.cancel(tx, row.id)
    assert world.cells() == (0, 0)
    world.exact_again(Shown(12, 2))
    assert world.cells() == (12, 2)


@pytest.mark.parametrize(
    ("shown", "words"),
    [(Shown(29, 4), None), (Shown(30, 0), "30 numbers were shown"), (Shown(0, 5), "5 numbers were withheld")],
)
def test_either_limit_ends_exact_questions(world: World, shown: Shown, words: str | None) -> None:
    world.exact(shown)
    found = refusal(world)
    assert refusal(world, "beta") is None
    if words is None:
        assert found is None
    else:
        assert found is not None
        assert (found.code, found.status) == ("budget_exhausted", 429)
        assert words in found.message


def test_what_runs_are_exact_questions_of_the_operator_that_have_not_ended(world: World) -> None:
    world.exact(Shown(12, 2))
    world.charge()
    assert on_their_way(world) == 0
    with world.store.transaction() as tx:
        row = world.ledger.charge(tx, world.asked(mode="aggregate"), (), FREE)
    assert (on_their_way(world), on_their_way(world, "beta"), on_their_way(world, dataset="other")) == (1, 0, 0)
    with world.store.transaction() as tx:
        world.ledger.fail(tx, row.id)
    assert on_their_way(world) == 0


def on_their_way(world: World, operator: str = "acme", dataset: str = "clinic") -> int:
    with world.store.reading() as view:
        return running(view, operator, dataset)


def test_an_answer_without_a_number_counts_as_one_withheld() -> None:
    class Nothing:
        cells_released = cells_withheld = 0

    assert Shown.of(Nothing()) == Shown(0, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["DELETE FROM cells", "UPDATE cells SET released = 0"])
def test_the_file_itself_keeps_what_was_counted(world: World, change: str) -> None:
    world.exact(Shown(12, 2))
    with pytest.raises(Fault, match="rows stay"), world.store.transaction() as tx:
        tx.write(change)
    assert world.cells() == (12, 2)


def test_an_auditor_adds_the_cells_up_again(world: World) -> None:
    world.exact(Shown(12, 2))
    world.exact(Shown(3, 0), "rel_2")
    world.exact_again(Shown(12, 2), operator="beta")
    world.exact_again(Shown(12, 2))
    report = verify(world.export())
    assert report.ok
    assert sound(world.export())
    assert report.cells == {
        "operator:acme/clinic": {"released": 15, "withheld": 2},
        "operator:beta/clinic": {"released": 12, "withheld": 2},
    }
    assert report.without_budget == 2
    assert "operator:acme/clinic: 15 exact numbers shown, 2 withheld" in report.text()


@pytest.mark.parametrize("code", ["cells_1", "cells_01_2", "cells_-1_2", "cells_1_2_3", "cells_1_x", "shown_1_2", ""])
def test_cells_that_are_written_otherwise_are_no_record(world: World, code: str) -> None:
    world.exact(Shown(12, 2))
    assert broken(world, lambda record: record | {"code": code} if record["kind"] == "release" else record) == "cells"


def test_cells_of_a_query_that_paid_in_privacy_are_no_record(world: World) -> None:
    world.answer(world.charge().id)
    cells = {"code": "cells_1_0"}
    assert broken(world, lambda record: record | cells if record["kind"] == "release" else record) == "cells"


def broken(world: World, change: Callable[[dict[str, Any]], dict[str, Any]]) -> str | None:
    """The rule that the log breaks, its records changed."""
    replay = Replay()
    try:
        for seq, record in enumerate(world.records()):
            replay.take(seq, change(json.loads(json.dumps(record))))
    except Broken as found:
        return found.code
    return None


def test_the_log_as_it_is_breaks_no_rule(world: World) -> None:
    world.exact(Shown(12, 2))
    world.answer(world.charge().id)
    assert broken(world, lambda record: record) is None


def test_a_question_with_noise_is_never_without_a_scope(world: World) -> None:
    with pytest.raises(Fault, match=r"^a dp question without a scope$"), world.store.transaction() as tx:
        world.ledger.charge(tx, world.asked(), (), FREE)


LIMITS = Cells(released=12, withheld=2, released_max=30, withheld_max=5)


def why_not(cells: Cells, running: int = 0, asked: int | None = None) -> tuple[str, str, str | None] | None:
    try:
        cells.require_left("clinic", running, asked)
    except Refusal as refused:
        return refused.code, refused.message, refused.hint
    return None


def test_what_is_left_is_never_less_than_nothing() -> None:
    assert (LIMITS.left, LIMITS.withheld_left) == (18, 3)
    lowered = replace(LIMITS, released_max=11, withheld_max=1)
    assert (lowered.left, lowered.withheld_left) == (0, 0)
    assert (replace(LIMITS, released=30).left, replace(LIMITS, withheld=5).withheld_left) == (0, 0)


def test_an_answer_of_known_size_must_fit_whole() -> None:
    assert why_not(LIMITS) is None
    assert why_not(LIMITS, asked=0) is None
    assert why_not(LIMITS, asked=18) is None
    assert why_not(LIMITS, asked=1019) == (
        "budget_exhausted",
        "the answer has 1,019 numbers, and of `clinic` 18 more may be shown to you",
        "name fewer groups in WHERE, or ask for fewer numbers of each",
    )
    assert why_not(LIMITS, asked=19) is not None


def test_questions_on_their_way_count_as_one_number_of_each_kind() -> None:
    busy = (
        "busy",
        "as many exact questions of yours about `clinic` are on their way as may still be answered",
        "nothing was charged; ask again when one of them has ended",
    )
    assert why_not(LIMITS, running=2) is None
    assert why_not(LIMITS, running=3) == busy
    assert why_not(LIMITS, running=3, asked=1) == busy
    assert why_not(replace(LIMITS, released=28), running=1) is None
    assert why_not(replace(LIMITS, released=28), running=2) == busy


@pytest.mark.parametrize("running", [0, 1])
def test_a_limit_that_is_reached_names_itself(running: int) -> None:
    again = "what was answered is answered again, free"
    limit = "which is the policy's limit for exact answers"
    many = replace(LIMITS, released=30_000, released_max=30_000)
    shown = ("budget_exhausted", f"of `clinic` 30,000 numbers were shown, {limit}", again)
    withheld = ("budget_exhausted", f"of `clinic` 5 numbers were withheld from you, {limit}", again)
    assert why_not(many, running) == shown
    assert why_not(replace(LIMITS, withheld=5), running) == withheld
    assert why_not(replace(many, withheld=5), running) == shown


def test_cells_are_told_with_their_limits() -> None:
    assert LIMITS.as_json(exact_policy()) == {
        "dataset": "clinic",
        "cap": {"released": 30, "withheld": 5},
        "spent": {"released": 12, "withheld": 2},
        "cells_left": 18,
        "withheld_left": 3,
    }


def test_a_dataset_without_exact_answers_has_no_cells(world: World) -> None:
    only_dp = replace(exact_policy(), release=replace(exact_policy().release, aggregate=None))
    not_now = replace(exact_policy(), release=replace(exact_policy().release, modes=("dp",)))
    with world.store.reading() as view:
        assert cells_of(view, only_dp, "acme") is None
        assert cells_of(view, not_now, "acme") is None
        assert cells_of(view, exact_policy(), "acme") == Cells(0, 0, 30, 5)


@pytest.mark.parametrize(("told", "shown"), [((12, 2), Shown(12, 2)), ((0, 3), Shown(0, 3)), ((0, 0), Shown(0, 1))])
def test_an_answer_without_any_number_counts_as_one_withheld(told: tuple[int, int], shown: Shown) -> None:
    released, withheld = told
    answer = Released("rel_1", "ab" * 32, FREE, (), (), (), (), cells_released=released, cells_withheld=withheld)
    assert Shown.of(answer) == shown
    assert shown.code == f"cells_{shown.released}_{shown.withheld}"
