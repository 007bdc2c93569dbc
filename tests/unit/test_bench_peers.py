"""The comparison with other libraries reckons right: bounds, errors, who is ahead, and what is measured again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import bench
from bench import markdown, variants
from bench.cells import NOT_INSTALLED, Cells
from bench.data import Dataset
from bench.peers import ours
from bench.peers.ask import ask, summary
from bench.peers.libraries import measure
from bench.peers.libraries.measure import Job
from bench.peers.questions import BY_NAME, DELTA, EPSILON, QUESTIONS, Question
from bench.peers.show import Board, Entrant, best_of_others, board, standing
from bench.peers.venvs import PEERS, Peer
from gateway.errors import Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.load import load_policy, load_text
from policies.model import Policy

TPCH = Path(next(iter(bench.__path__))) / "tpch"
DATA = Dataset("tpch", TPCH, {}, {})
OURS, THEM, LOOSE = Entrant("ours", "ours", ours=True), Entrant("them", "them"), Entrant("l", "l", enforces=False)


def policy(keys: Any = "private", accountant: Any = "zcdp", **caps: object) -> Policy:
    return load_text(ours.policy(DATA, keys, accountant, 26, **caps), "test")


@pytest.mark.parametrize("folder", [TPCH])
def test_a_policy_that_is_written_anew_is_the_same_policy(folder: Path) -> None:
    file = folder / "policy.toml"

    assert load_text(variants.text(variants.read(file)), "copy").digest == load_policy(file).digest


def test_every_library_is_told_the_same_bounds_and_nothing_besides() -> None:
    found = policy()

    orders, lines = found.tables["orders"], found.tables["lineitem"]
    assert (orders.rows_per_unit_max, lines.rows_per_unit_max) == (30, 106)
    totals = [c.total_per_unit_max for table in (orders, lines) for c in table.columns.values()]
    assert set(totals) == {None}
    assert orders.columns["o_orderstatus"].values is None
    assert policy("public").tables["orders"].columns["o_orderstatus"].values == ("F", "O", "P")


def test_a_question_costs_what_the_others_pay() -> None:
    dp = policy().release.dp

    assert dp is not None
    assert float(dp.delta / 2 + dp.delta_per_query) == pytest.approx(DELTA)
    assert float(dp.epsilon_per_query_max) >= EPSILON


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_every_run_over_http_asks_what_no_run_before_asked(question: Question) -> None:
    policies = {"tpch": policy()}
    texts = [question.ours.format(where=ours.condition(question, run)) for run in (None, 0, 1)]

    try:
        plans = {read(text, {}, policies, SqlLimits()).plan for text in texts}
    except Refusal as refusal:
        assert refusal.code == "aggregate_not_allowed"  # noqa: PT017  # said in the table, and not to be measured
    else:
        assert len(plans) == 3


def test_wider_bounds_are_wider_by_the_factor_and_keys_stay_as_they_are() -> None:
    document = variants.read(TPCH / "policy.toml")
    found = load_text(variants.text(variants.wider(document, 10)), "wider")

    orders = found.tables["orders"]
    price = orders.columns["o_totalprice"]
    assert orders.rows_per_unit_max == 320
    assert price.range is not None
    assert [int(edge) for edge in price.range if not hasattr(edge, "year")] == [0, 6_000_000]
    assert price.total_per_unit_max == 50_000_000
    assert orders.columns["o_orderdate"] == load_policy(TPCH / "policy.toml").tables["orders"].columns["o_orderdate"]


def test_without_bounds_only_what_the_format_asks_for_is_left() -> None:
    document = variants.read(TPCH / "policy.toml")

    bare = load_text(variants.text(variants.unbounded(document, ranges=False)), "bare").tables["orders"]
    ranged = load_text(variants.text(variants.unbounded(document, ranges=True)), "ranged").tables["orders"]

    assert bare.rows_per_unit_max == ranged.rows_per_unit_max == variants.ROWS_MAX
    assert bare.columns["o_totalprice"].range is None
    assert ranged.columns["o_totalprice"].range is not None
    assert ranged.columns["o_totalprice"].total_per_unit_max is None


def test_a_cell_is_the_median_over_all_runs_and_groups() -> None:
    exact = [("a", 100), ("b", 200)]
    answers = [[["a", 110], ["b", 200]], [["a", 100]], [["a", 90], ["b", 220]]]

    found = summary({"seconds": [0.3, 0.1, 0.2], "answers": answers}, exact, keys=1)

    assert found["ms"] == [200.0, 300.0]
    assert found["error"] == pytest.approx([0.1, 1.0])
    assert (found["runs"], found["groups"], found["lost"]) == (3, 2, 0)


def test_who_does_not_answer_says_why() -> None:
    assert summary({"seconds": [], "why": "no medians"}, [], keys=0)["why"] == "no medians"


def shown(**medians: float | str) -> Board:
    cells = {
        (name, "a"): {"why": at}
        if isinstance(at, str)
        else {"error": [at / 100, at], "ms": [at, at], "lost": 0, "runs": 2}
        for name, at in medians.items()
    }
    return Board("0.1", "private", 2, (BY_NAME["a"],), (OURS, THEM, LOOSE), cells)


def test_the_best_of_the_others_is_neither_ours_nor_one_that_enforces_nothing() -> None:
    assert best_of_others(shown(ours=1.0, them=2.0, l=0.5), BY_NAME["a"], "ms") == ("them", 2.0)
    assert best_of_others(shown(ours=1.0, them="no", l=0.5), BY_NAME["a"], "ms") is None


def test_an_answer_that_is_altogether_wrong_is_no_answer_however_fast() -> None:
    assert best_of_others(shown(ours=1.0, them=100.0, l=0.5), BY_NAME["a"], "ms") is None


@pytest.mark.parametrize(("own", "verdict"), [(1.0, "×0.5 ahead"), (2.0, "×1 even"), (40.0, "×20 behind")])
def test_the_standing_says_who_is_ahead(own: float, verdict: str) -> None:
    assert verdict in standing(shown(ours=own, them=2.0, l=0.1))


def test_what_was_not_answered_is_in_the_tables_with_its_reason() -> None:
    text = board(shown(ours=1.0, them=f"{NOT_INSTALLED}: no wheel", l="timeout after 9 s"))

    assert "not installed" in text
    assert "- them, Q-a: `cannot be installed: no wheel`" in text
    assert "timeout" in text


def test_a_cell_is_measured_again_only_when_what_made_it_changed(tmp_path: Path) -> None:
    counted = iter(range(10))

    def at(made_by: str) -> int:
        cells = Cells.open(tmp_path / "cells.json", fresh=False)
        return int(cells.cell("one", made_by, lambda: {"n": next(counted)})["n"])

    assert [at("a"), at("a"), at("b"), at("b")] == [0, 0, 1, 1]
    assert [at("c+"), at("c+")] == [2, 3], "a changed tree is always measured"


def test_what_could_not_be_installed_is_tried_again(tmp_path: Path) -> None:
    cells = Cells.open(tmp_path / "cells.json", fresh=False)
    cells.cell("one", "a", lambda: {"why": f"{NOT_INSTALLED}: no network"})

    assert cells.cell("one", "a", lambda: {"n": 1})["n"] == 1


def job(**changes: Any) -> Job:
    return Job(
        **{"question": BY_NAME["a"], "keys": "private", "data": Path("data"), "runs": 5, "seconds": 0.0} | changes
    )


def test_a_script_stops_after_its_seconds_but_never_before_three_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["script", job().text()])

    measure.main(lambda _: lambda: [(7,)], "pytest", "no-such-package")

    found = json.loads(capsys.readouterr().out.removeprefix(measure.MARK))
    assert found["answers"] == [[[7]]] * 3
    assert found["versions"]["no-such-package"] == "missing"


def test_a_script_that_fails_says_so_and_ends_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(asked: Job) -> measure.Ask:
        raise measure.NotExpressible(asked.question.name)

    monkeypatch.setattr(sys, "argv", ["script", job().text()])
    measure.main(prepare)

    assert json.loads(capsys.readouterr().out.removeprefix(measure.MARK))["why"] == "NotExpressible: a"


def test_a_script_that_dies_is_a_cell_with_its_last_words() -> None:
    found = ask(Peer("none", "none", "no_such_script"), Path(sys.executable), job())

    assert "no_such_script" in found["why"]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_library_has_pinned_requirements_and_a_script(peer: Peer) -> None:
    lines = [line for line in peer.requirements.read_text().splitlines() if line and not line.startswith("#")]

    assert all(">=" in line and "://" not in line for line in lines)
    assert (peer.requirements.parent.parent / "libraries" / f"{peer.script}.py").is_file()


@pytest.mark.parametrize(("part", "text"), [(0.00012, "0.012 %"), (0.034, "3.4 %"), (1.2, "120 %"), (0.0, "0 %")])
def test_shares_are_written_with_two_digits(part: float, text: str) -> None:
    assert markdown.percent(part) == text
