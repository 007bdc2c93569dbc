"""The benchmark measures what it says: its questions are read, its steps exist, its errors count what was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.client import Reply
from bench.questions import EVERY, SMALL, Question
from bench.stages import shares
from bench.stats import errors, spread
from bench.steps import SHARES, STEPS, WHOLE, Step
from bench.tracer import find
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies import examples
from policies.load import load_policy
from policies.model import Policy

SHIPPED = Path(next(iter(examples.__path__)))
FOLDERS = {
    "tpch": Path(next(iter(bench.__path__))) / "tpch",
    "income": SHIPPED / "income",
    "clinic": SHIPPED / "clinic",
}


@pytest.fixture(scope="module")
def policies() -> dict[str, Policy]:
    return {name: load_policy(folder / "policy.toml") for name, folder in FOLDERS.items()}


@pytest.mark.parametrize("question", [*EVERY, SMALL], ids=lambda question: question.name)
def test_every_question_is_read_and_means_something_else_in_each_run(
    question: Question, policies: dict[str, Policy]
) -> None:
    asked = [read(question.ask(run), {}, policies, SqlLimits()) for run in range(3)]

    assert {each.dataset for each in asked} == {question.dataset}
    assert len({each.plan for each in asked}) == 3


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_step_that_is_timed_exists(step: Step) -> None:
    holder, name = find(step.place)

    assert callable(getattr(holder, name))


def test_a_step_that_has_moved_is_noticed() -> None:
    with pytest.raises(AttributeError):
        find("gateway.pipeline:Pipeline.no_such_step")


def test_the_shares_name_known_steps_and_add_up_to_the_whole() -> None:
    names = {step.name for step in STEPS} | {WHOLE}
    assert all(name in names for share in SHARES for name in (*share.plus, *share.minus))
    spans = [(1.0 + i / 1000, step.name, (i + 1) / 1000) for i, step in enumerate(STEPS)]

    found = shares([Reply(200, {"status": "answered"}, 10.0, 0.5)], spans)

    inside = {"plan"}  # measured within two others, and in no line of its own
    assert sum(found[share.words] for share in SHARES) == pytest.approx(found[WHOLE], abs=0.2)
    assert names - {name for share in SHARES for name in share.plus} == inside


def test_a_lost_group_counts_as_wrong_by_all_of_it() -> None:
    found = errors([("a", 10, 4), ("b", 20, 0)], [("a", 11, "4.00")], keys=1)

    assert found.relative == pytest.approx([0.1, 0.0, 1.0])
    assert (found.groups, found.lost) == (2, 1)


def test_a_spread_is_the_median_and_the_95th_percentile() -> None:
    found = spread([float(n) for n in range(1, 101)])

    assert (found.median, found.p95) == (50.5, 96.0)
