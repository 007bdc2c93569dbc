"""Blocks, asked of a served home: rows of the named blocks alone, paid there alone, and new budget for a new year."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.verify import verify
from tests.homes import Licensed, make
from tests.second_verifier import sound
from tests.served_home import CASES, Served, clinic_files, serving
from tests.unit.test_blocks_asked import YEARS, policy_text

PEOPLE = 400
"""Of each of the years 2020 and 2021 a quarter, of none a half."""
COUNT = "SELECT COUNT(*) AS n FROM people"
NOISE = 50
"""Beyond seven standard deviations of a count at epsilon 1."""
IN_BLOCK = '\n[[case]]\nname = "of a year"\nsql = "SELECT COUNT(*) FROM people"\nblocks = ["2021"]\nexpect = "answer"\n'
NO_BLOCK = '[[case]]\nname = "of no year"\nsql = "SELECT COUNT(*) FROM people"\nblocks = ["1999"]\nexpect = "refuse"\n'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    licences = (Licensed("op-a", "4"), Licensed("op-b", "4"))
    files = clinic_files(PEOPLE, policy=policy_text(), cases=CASES + IN_BLOCK + NO_BLOCK, licences=licences)
    header, rows = files.tables["clinic"]["people"]
    since = {0: "2020-05-01", 1: "2021-05-01"}
    people = [*header, "since"], [[*row, since.get(place % 4, "")] for place, row in enumerate(rows)]
    tables = {"clinic": {**files.tables["clinic"], "people": people}}
    with serving(make(tmp_path_factory.mktemp("blocks") / "home", replace(files, tables=tables))) as found:
        yield found


def ask(served: Served, *blocks: str, sql: str = COUNT, epsilon: str = "1", **more: Any) -> dict[str, Any]:
    named = {"blocks": [*blocks]} if blocks else {}
    found: dict[str, Any] = served.ask(sql, epsilon=epsilon, **named, **more).json()
    return found


def test_an_answer_is_of_the_units_of_its_blocks(served: Served) -> None:
    told = {blocks: ask(served, *blocks) for blocks in ((), ("2020",), ("2022",), ("2021", "rest"))}
    counts = {blocks: answer["rows"][0][0] for blocks, answer in told.items()}
    for blocks, people in (((), 400), (("2020",), 100), (("2022",), 0), (("2021", "rest"), 300)):
        assert abs(counts[blocks] - people) < NOISE
    assert told[()]["blocks"] == list(YEARS)
    assert told["2021", "rest"]["blocks"] == ["2021", "rest"]
    again = ask(served, "2020")
    assert (again["reused"], again["rows"], again["blocks"]) == (True, told["2020",]["rows"], ["2020"])
    assert ask(served, *YEARS[::-1])["reused"]


def test_linked_tables_are_of_the_same_blocks(served: Served) -> None:
    visits = "SELECT COUNT(DISTINCT pid) AS n FROM visits"
    counts = [ask(served, *blocks, sql=visits, subject="op-b")["rows"][0][0] for blocks in (("2020",), ("2022",))]
    assert abs(counts[0] - 100) < NOISE
    assert abs(counts[1]) < NOISE


def test_a_block_at_its_end_leaves_the_others_what_they_have(served: Served) -> None:
    used = 0
    while True:
        answer = ask(served, "2021", sql=f"SELECT COUNT(*) AS n FROM visits WHERE cost > {used}", subject="op-b")
        if "rows" not in answer:
            break
        used += 1
    assert 0 < used < 40
    assert answer["code"] == "budget_exhausted"
    whole = ask(served, sql=f"SELECT COUNT(*) AS n FROM visits WHERE cost > {used}", subject="op-b")
    assert whole["code"] == "budget_exhausted"
    assert "in block `2021`" in whole["detail"]
    others = json.loads(whole["hint"].rpartition('"blocks": ')[2])
    assert others == ["2020", "2022", "rest"]
    answer = ask(served, *others, sql=f"SELECT COUNT(*) AS n FROM visits WHERE cost > {used}", subject="op-b")
    assert answer["status"] == "answered"


def test_the_command_line_asks_of_blocks_and_tells_of_them(served: Served, tmp_path: Path) -> None:
    token = {**os.environ, "BPK_TOKEN": served.token("op-a"), "BPK_URL": served.url, "COLUMNS": "160"}

    def bpk(*words: str) -> str:
        command = [sys.executable, "-m", "gateway", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=token, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "on each of 2020, 2022" in bpk("check", COUNT, "--blocks", "2020, 2022")
    assert "on each of 2020, 2022" in bpk("query", COUNT, "--blocks", "2020,2022")
    assert "blocks by people.since: 2020, 2021, 2022, rest" in bpk("datasets", "clinic")
    budget = bpk("budget")
    assert "operator:op-a/clinic" in budget
    assert "in each block" in budget
    assert "on the fullest of" in bpk("budget", "--over-time")


def test_the_log_of_all_that_is_sound(served: Served) -> None:
    export = served.call("GET", "/v1/audit/export", role="auditor").content.splitlines(keepends=True)
    report = verify(export)
    assert report.ok, report.text()
    assert sound(export)
    assert report.scopes["dataset:clinic"]["charges"] == 0
    assert report.scopes["dataset:clinic#2021"]["charges"] > 0
