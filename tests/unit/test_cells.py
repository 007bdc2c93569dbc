"""What exact answers cost: cells, counted once for each operator and release, and told by the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.replay import Broken, Replay
from gateway.audit.verify import verify
from gateway.budget.cells import Shown, cells_of, running
from gateway.errors import Fault, Refusal
from sandbox.protocol import FREE
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
    with pytest.raises(Fault, match="without a scope"), world.store.transaction() as tx:
        world.ledger.charge(tx, world.asked(), (), FREE)
