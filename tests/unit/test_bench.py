"""The benchmark measures what it says: its questions are read, its steps exist, its errors count what was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench import growth, show
from bench.aims import Verdict, ranks, verdict
from bench.client import Reply
from bench.questions import EVERY, SMALL, Question
from bench.stages import shares
from bench.stats import errors, over, spread
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


def test_a_run_is_within_the_aim_up_to_three_times_its_own_twin_and_100_ms() -> None:
    assert over([0.2, 0.5, 0.1], [0.1, 0.1, 0.2]) == [-100.0, 200.0, -500.0]


ANSWERED = {
    "a": {"over_ms": [10.0] * 19 + [90.0], "private_ms": [1.0, 2.0], "per_unit_ms": None},
    "b": {"over_ms": [5000.0], "private_ms": [80.0, 90.0], "per_unit_ms": [20.0, 30.0], "ratio_per_unit": 4.0},
    "c": {"failures": ["refused"]},
}


def test_the_aim_is_held_by_questions_without_a_rank_alone() -> None:
    found = verdict(ANSWERED, {"a": False, "b": True}, "over_ms")

    assert found == Verdict(1, 90.0, 1.0)
    assert found.holds
    ranked_too = verdict(ANSWERED, {}, "over_ms")
    assert ranked_too is not None
    assert ranked_too.within == pytest.approx(20 / 21)
    assert verdict({"c": ANSWERED["c"]}, {}, "over_ms") is None


def test_questions_that_rank_are_shown_apart() -> None:
    text = show.ranked(ANSWERED, {"a": False, "b": True})

    assert "b" in text.splitlines()[-1]
    assert "4.0" in text
    assert show.ranked(ANSWERED, {}) == "no question of the suite ranks units"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT *, row_number() OVER (PARTITION BY u ORDER BY d) AS place FROM p", True),
        ("SELECT u, sum(n) FROM t GROUP BY u", False),
    ],
)
def test_a_rank_over_units_is_seen_in_the_statement(statement: str, *, expected: bool) -> None:
    assert ranks([statement]) is expected


def test_growth_is_measured_at_a_tenth_and_three_tenths() -> None:
    assert growth.scales("1") == ("0.1", "0.3")
    assert growth.scales("0.1") == ("0.01", "0.03")
    assert growth.scales("10") == ("1", "3")


def test_growth_shows_the_factor_from_scale_to_scale() -> None:
    at = [{"q": {"private_ms": [ms, ms], "snapshot_ms": [1.0, 1.0]}} for ms in (10.0, 20.0, 80.0)]

    assert "2.0 4.0" in show.growth(dict(zip(("0.1", "0.3", "1"), at, strict=True)))
