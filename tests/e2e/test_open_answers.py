"""Open rows over HTTP and from the command line: without a licence, page by page, beside a dataset that is not open."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.homes import Files, Licensed, make
from tests.second_verifier import sound
from tests.served_home import CASES, Served, clinic_files, serving

ROWS = 2_500
PARKS = """
format = 1
dataset = "parks"
version = "1"
title = { en = "Parks" }
owner = "City Gardens"
supply = "open"
purposes = ["leisure", "research"]
[release]
modes = ["open"]
[tables.parks]
public = true
key = "id"
[tables.parks.columns]
id = { type = "integer", role = "key" }
name = { type = "text", role = "dimension" }
hectares = { type = "decimal(8,2)", role = "measure", nullable = true }
keeper = { type = "text", role = "hidden" }
"""
PARK_CASES = """
[[case]]
name = "parks"
sql = "SELECT name FROM parks"
expect = "answer"
[[case]]
name = "no keepers"
sql = "SELECT keeper FROM parks"
expect = "refuse"
code = "column_hidden"
"""
BY_LEVEL = "SELECT level, COUNT(*) AS n FROM hospitals GROUP BY level ORDER BY level"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    clinic = clinic_files(
        licences=(Licensed("op-a", "6"),),
    )
    parks = [[i, f"Park {i}", None if i % 7 == 0 else f"{i / 4:.2f}", "Secretkeeper"] for i in range(ROWS)]
    files = Files(
        {**clinic.policies, "parks": PARKS},
        {"clinic": CASES, "parks": PARK_CASES},
        {**clinic.tables, "parks": {"parks": (["id", "name", "hectares", "keeper"], parks)}},
        clinic.licences,
        clinic.worker,
    )
    with serving(make(tmp_path_factory.mktemp("open") / "home", files)) as found:
        yield found


def body_of(served: Served, sql: str, subject: str = "nobody", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = served.call("POST", "/v1/queries", {"sql": sql, **more}, subject).json()
    return found


def test_rows_come_as_they_are_without_a_licence(opened: Served) -> None:
    body = body_of(opened, "SELECT id, name, hectares FROM parks WHERE id BETWEEN 6 AND 8 ORDER BY id")
    assert body["status"] == "answered", body
    assert body["mode"] == "open"
    assert body["rows"] == [[6, "Park 6", "1.50"], [7, "Park 7", None], [8, "Park 8", "2.00"]]
    assert [column["kind"] for column in body["columns"]] == ["exact"] * 3
    assert (body["cost"], body["budget"]) == ({"epsilon": "0", "delta": "0", "rho": "0"}, None)
    assert body["cursor"] is None
    assert body["receipt"]["record"]["kind"] == "release"
    again = opened.call("GET", f"/v1/queries/{body['id']}", None, "nobody").json()
    assert again["rows"] == body["rows"]


def test_pages_fit_together(opened: Served) -> None:
    sql, found, cursor = "SELECT id FROM parks ORDER BY hectares DESC NULLS LAST, id", list[int](), None
    for _ in range(10):
        more = {"limit": 1200} | ({} if cursor is None else {"cursor": cursor})
        body = body_of(opened, sql, **more)
        found += [row[0] for row in body["rows"]]
        cursor = body["cursor"]
        if cursor is None:
            break
    assert sorted(found) == list(range(ROWS))
    assert found[0] == ROWS - 2  # the last one's hectares are not known
    first = body_of(opened, sql)
    assert len(first["rows"]) == 1000
    assert first["cursor"] is not None
    whole = body_of(opened, sql, limit=ROWS)
    assert (len(whole["rows"]), whole["cursor"]) == (ROWS, None)


def test_a_cursor_of_another_question_is_refused_and_so_are_pages_of_other_modes(opened: Served) -> None:
    cursor = body_of(opened, "SELECT id FROM parks", limit=10)["cursor"]
    for more in ({"cursor": cursor}, {"cursor": "soon"}, {"limit": 0}, {"limit": 10_001}):
        assert body_of(opened, "SELECT name FROM parks", **more)["code"] == "parameter_invalid"
    for more in ({"limit": True}, {"limit": "10"}, {"cursor": 5}):
        assert body_of(opened, "SELECT name FROM parks", **more)["code"] == "body_invalid"
    refused = opened.ask("SELECT sex, COUNT(*) FROM people GROUP BY sex", limit=5).json()
    assert refused["code"] == "parameter_invalid"
    assert body_of(opened, "SELECT name FROM parks", epsilon="0.5")["code"] == "epsilon_invalid"


def test_public_tables_of_a_guarded_dataset_are_open_and_nothing_else_of_it(opened: Served) -> None:
    body = body_of(opened, BY_LEVEL, mode="open")
    assert body["rows"] == [["city", 2], ["county", 3]]
    unknown = body_of(opened, "SELECT COUNT(*) FROM nowhere", mode="open")
    private = body_of(opened, "SELECT COUNT(*) FROM people", mode="open")
    assert (private["code"], unknown["code"]) == ("licence_missing", "licence_missing")
    assert private["detail"] == unknown["detail"]
    assert private["hint"] == unknown["hint"]
    assert body_of(opened, BY_LEVEL)["mode"] == "open"  # to them it offers nothing else
    assert opened.ask(BY_LEVEL).json()["code"] == "construct_not_allowed"
    for mode in ("dp", "aggregate"):
        assert body_of(opened, BY_LEVEL, mode=mode)["code"] in ("mode_not_offered", "construct_not_allowed")
    licensed = opened.ask("SELECT name FROM people", mode="open").json()
    assert (licensed["code"], licensed["position"]["line"]) == ("mode_not_offered", 1)
    hint = opened.ask(BY_LEVEL).json()["hint"]
    assert "mode `open`" in hint


def test_the_catalogue_shows_what_is_open_alone(opened: Served) -> None:
    lines = opened.call("GET", "/v1/datasets", None, "nobody").json()["datasets"]
    assert [(line["name"], line["tables"], line["modes"]) for line in lines] == [
        ("clinic", ["hospitals"], ["open"]),
        ("parks", ["parks"], ["open"]),
    ]
    text = json.dumps(opened.call("GET", "/v1/datasets/clinic", None, "nobody").json())
    assert "people" not in text
    assert "epsilon" not in text
    assert opened.call("GET", "/v1/budgets", None, "nobody").json() == {"budgets": [], "cells": []}
    whole = opened.call("GET", "/v1/datasets/clinic").json()
    assert {table["name"] for table in whole["tables"]} == {"people", "visits", "hospitals"}


def test_a_check_says_what_would_happen_and_reads_nothing(opened: Served) -> None:
    body = opened.call("POST", "/v1/queries/check", {"sql": BY_LEVEL, "mode": "open"}, "nobody").json()
    assert body["verdict"] == "answer"
    assert body["plan"][0] == "read the public table `hospitals`"
    assert [column["kind"] for column in body["columns"]] == ["exact", "exact"]
    assert body["budget"] is None


def test_hidden_columns_and_the_engines_own_tables_stay_away(opened: Served) -> None:
    for sql in (
        "SELECT keeper FROM parks",
        "SELECT * FROM parks WHERE keeper = 'x'",
        "SELECT * FROM __units",
        "SELECT __unit FROM parks",
        "SELECT rowid FROM parks",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM 'parks.csv'",
        "SELECT * FROM information_schema.tables",
    ):
        body = body_of(opened, sql, mode="open")
        assert "rows" not in body, sql
        assert 400 <= body["status"] < 500, body
    assert "Secretkeeper" not in json.dumps(body_of(opened, "SELECT * FROM parks"))


def test_every_page_is_on_record_and_the_export_is_verified(opened: Served, tmp_path: Path) -> None:
    before = len(opened.records(kind="decision"))
    first = body_of(opened, "SELECT name FROM parks", limit=100)
    body_of(opened, "SELECT name FROM parks", limit=100, cursor=first["cursor"])
    body_of(opened, "SELECT keeper FROM parks")
    decisions = opened.records(kind="decision")[before:]
    assert [(each["decision"], each["charges"]) for each in decisions] == [
        ("run", None),
        ("run", None),
        ("refused", None),
    ]
    exported = tmp_path / "export.ndjson"
    for words in (("export", "--home", str(opened.home.root), "--output", str(exported)), ("verify", str(exported))):
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "audit", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert sound(exported.read_bytes().splitlines(keepends=True))


def test_the_command_line_prints_rows_and_the_way_to_the_next_page(opened: Served) -> None:
    token = opened.home.root / "token"
    token.write_text(opened.token("nobody"), encoding="utf-8")
    token.chmod(0o600)

    def bpk(*words: str) -> str:
        command = [sys.executable, "-m", "gateway", *words, "--url", opened.url, "--token-file", str(token)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = bpk("query", "SELECT id, name FROM parks ORDER BY id DESC", "--limit", "3")
    assert "2499" in shown  # as it is, not 2,499
    words = shown[shown.index("--limit") :].split()
    after = bpk("query", "SELECT id, name FROM parks ORDER BY id DESC", *words[:4])
    assert "Park 2496" in after
    assert "open data" in after
    assert "rows would be shown as they are" in bpk("check", "SELECT id FROM parks")
    assert "parks" in bpk("datasets")
    assert "keeper" in bpk("datasets", "parks")
