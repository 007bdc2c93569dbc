"""A home that offers exact answers alone, really served: asked over HTTP and from the command line, and verified."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.served_home import EXACT, Served, make_home, serving

BY_SEX = "SELECT sex, COUNT(*) AS n, AVG(income) AS mean FROM people GROUP BY sex ORDER BY sex"
DEAR = "SELECT COUNT(DISTINCT pid) AS n FROM visits WHERE cost > {}"


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(make_home(tmp_path_factory.mktemp("exact") / "home", policy=EXACT)) as found:
        yield found


def bpk(served: Served, *words: str) -> subprocess.CompletedProcess[str]:
    token = served.home.root / "token"
    token.write_text(served.token("op-a"), encoding="utf-8")
    token.chmod(0o600)
    command = [sys.executable, "-m", "gateway", *words, "--url", served.url, "--token-file", str(token)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_numbers_are_those_of_the_data_or_withheld(exact: Served) -> None:
    body = exact.ask(BY_SEX).json()
    assert body["status"] == "answered", body
    assert [row[:2] for row in body["rows"]] == [["F", 200], ["M", 200], ["X", None]]
    assert body["notes"][2] == [None, ["withheld"], ["withheld"]]
    assert body["rows"][2] == ["X", None, None]
    assert all(low <= 200 <= high for low, high in (line[1] for line in body["intervals"][:2]))
    assert 20_000 < body["rows"][0][2] < 90_000


def test_the_same_question_in_other_words_is_free(exact: Served) -> None:
    first = exact.ask(BY_SEX).json()
    again = exact.ask("SELECT AVG(income) AS m, COUNT(*) AS k, sex FROM people GROUP BY 3 ORDER BY 3").json()
    assert again["reused"]
    assert [row[::-1] for row in again["rows"]] == first["rows"]
    assert again["budget"] == first["budget"]


def test_limits_and_order_act_on_what_is_protected(exact: Served) -> None:
    body = exact.ask("SELECT sex, COUNT(*) AS n FROM people GROUP BY sex HAVING COUNT(*) < 100").json()
    assert body["rows"] == []


def test_noise_is_not_on_offer(exact: Served) -> None:
    assert exact.ask(BY_SEX, mode="dp").json()["code"] == "mode_not_offered"
    assert exact.ask(BY_SEX, epsilon="0.5").json()["code"] == "epsilon_invalid"
    problem = exact.ask("SELECT MEDIAN(income) FROM people").json()
    assert problem["code"] == "aggregate_not_allowed"
    assert "alternatives" not in problem or all("dp" not in one["why"] for one in problem["alternatives"])


def test_what_one_operator_was_told_is_held_against_another_one(exact: Served) -> None:
    """All 400 are dearer than 0; of those dearer than 30 some are missing, and so on in small steps."""
    told = [exact.ask(DEAR.format(least), ("op-a", "op-b")[least % 2]).json() for least in range(40)]
    shown = [body["rows"][0][0] for body in told]
    assert shown[0] == 400
    assert None in shown
    numbers = [number for number in shown if number is not None]
    assert all(first == second or abs(first - second) >= 5 for first in numbers for second in numbers)


def test_a_policy_without_privacy_loss_has_no_such_budget(exact: Served) -> None:
    body = exact.call("GET", "/v1/budgets").json()
    assert body["budgets"] == []
    assert body["cells"][0]["cap"] == {"released": 10_000, "withheld": 1_000}
    detail = exact.call("GET", "/v1/datasets/clinic").json()
    assert (detail["modes"], detail["budgets"]) == (["aggregate"], [])
    assert "epsilon" not in detail["release"]


def test_the_command_line_prints_what_is_withheld_and_by_which_rules(exact: Served) -> None:
    done = bpk(exact, "query", BY_SEX)
    assert done.returncode == 0, done.stderr
    assert "withheld" in done.stdout
    assert "at least 10 units contribute to every number that is shown" in done.stdout
    assert "exact numbers" in done.stdout
    assert "epsilon" not in done.stdout.replace("no epsilon", "")
    for words in (("budget",), ("datasets",), ("datasets", "clinic"), ("check", BY_SEX)):
        shown = bpk(exact, *words)
        assert shown.returncode == 0, (words, shown.stderr)
        assert shown.stdout
    assert "numbers shown to you" in bpk(exact, "budget").stdout


def test_the_log_is_sound_and_tells_the_cells(exact: Served, tmp_path: Path) -> None:
    exact.ask(BY_SEX)
    export = tmp_path / "audit.ndjson"
    for words in (("export", "--home", str(exact.home.root), "--output", str(export)), ("verify", str(export))):
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "audit", *words], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "sound" in done.stdout
    assert "exact numbers shown" in done.stdout
    assert "queries run in modes that spend no budget" in done.stdout
