"""The command line, as its users start it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.home import init
from tests.served_home import Served, make_home

COUNT = "SELECT sex, COUNT(*) AS n FROM people GROUP BY sex"


def bpk(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BPK_")}
    command = [sys.executable, "-m", "gateway", *(str(each) for each in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**clean, **env})


def asked(served: Served, *arguments: object, subject: str = "op-a") -> subprocess.CompletedProcess[str]:
    return bpk(*arguments, BPK_URL=served.url, BPK_TOKEN=served.token(subject))


def test_every_command_explains_itself() -> None:
    groups = ("sandbox", "token", "policy", "audit")
    for command in ("init", "serve", "demo", "query", "check", "datasets", "budget", "doctor", *groups):
        done = bpk(command, "--help")
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout


def test_help_is_there_at_once() -> None:
    begin = time.perf_counter()
    bpk("--help")
    assert time.perf_counter() - begin < 2
    done = subprocess.run(
        [sys.executable, "-c", "import sys, gateway.cli.command; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"fastapi", "duckdb", "opendp", "sqlglot", "uvicorn"} & set(done.stdout.split())


def test_a_question_is_answered_with_intervals(served: Served) -> None:
    done = asked(served, "query", COUNT)
    assert done.returncode == 0, done.stderr
    assert "[" in done.stdout
    assert "left to you: epsilon" in done.stdout
    found = json.loads(asked(served, "query", COUNT, "--json").stdout)
    assert [row[0] for row in found["rows"]] == ["F", "M", "X"]


def test_an_answer_that_is_kept_proves_its_numbers_as_the_tutorial_says(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    sql = "SELECT sex, COUNT(*) AS n, AVG(income) AS mean FROM people WHERE sex <> 'X' GROUP BY sex"
    file.write_text(asked(served, "query", sql, "--json").stdout, encoding="utf-8")
    printed = bpk("audit", "checkpoint", "--home", str(served.home.root), "--json").stdout
    verified = ("audit", "verify", str(file), "--key", json.loads(printed)["key"])
    assert "and the numbers are those that it commits to\nit does not cover" in bpk(*verified).stdout
    file.write_text(file.read_text(encoding="utf-8").replace('"mean"', '"total"'), encoding="utf-8")
    done = bpk(*verified)
    assert (done.returncode, done.stdout) == (1, "NOT SOUND: the numbers are not those that the record commits to\n")


def test_a_question_may_come_from_a_file_and_have_parameters(served: Served, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(served.token("op-a") + "\n")
    sql = "SELECT COUNT(*) AS n FROM visits WHERE cost > $least"
    arguments = ("query", sql, "--param", "least=70.5", "--token-file", token, "--home", served.home.root, "--json")
    done = bpk(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["status"] == "answered"


def test_a_refusal_shows_code_place_and_way_out_and_exits_with_1(served: Served) -> None:
    done = asked(served, "query", "SELECT name FROM people")
    assert done.returncode == 1
    assert "refused (column_hidden)" in done.stderr
    assert "       ^^^^" in done.stderr
    assert json.loads(asked(served, "query", "SELECT name FROM people", "--json").stdout)["code"] == "column_hidden"


def test_a_check_prices_and_exits_by_its_verdict(served: Served) -> None:
    done = asked(served, "check", "SELECT AVG(income) AS m FROM people", "--epsilon", "0.3")
    assert (done.returncode, "would cost" in done.stdout) == (0, True), done.stdout + done.stderr
    assert asked(served, "check", "SELECT name FROM people").returncode == 1


def test_an_accuracy_is_named_in_percent_or_in_the_numbers_own_unit(served: Served) -> None:
    sql = "SELECT COUNT(*) AS n FROM people"
    done = asked(served, "check", sql, "--accuracy", "10%", "--confidence", "90%")
    assert (done.returncode, "± 48" in done.stdout, "± 12 %" in done.stdout) == (0, True, True), done.stdout
    relative = json.loads(asked(served, "check", sql, "--accuracy", "10%", "--confidence", "90%", "--json").stdout)
    absolute = json.loads(asked(served, "check", sql, "--accuracy", "40", "--confidence", "0.9", "--json").stdout)
    assert relative["cost"] == absolute["cost"]
    assert asked(served, "query", sql, "--accuracy", "40", "--confidence", "0.9").returncode == 0
    assert "accuracy_unaffordable" in asked(served, "query", sql, "--accuracy", "0.1%").stderr
    for wrong in (("--accuracy", "much"), ("--confidence", "0.9"), ("--accuracy", "nan")):
        assert asked(served, "check", sql, *wrong).returncode == 2


def test_catalogue_and_budget_are_shown(served: Served) -> None:
    assert "clinic" in asked(served, "datasets").stdout
    columns = asked(served, "datasets", "clinic")
    assert "aggregate" in columns.stdout
    assert "0 to 100000" in columns.stdout
    assert "operator:op-a/clinic" in asked(served, "budget").stdout
    assert json.loads(asked(served, "budget", "--json").stdout)["budgets"]
    assert asked(served, "datasets", "nowhere").returncode == 1


def test_an_exported_log_verifies_and_a_changed_one_does_not(served: Served, tmp_path: Path) -> None:
    served.ask(COUNT)
    file = tmp_path / "log.ndjson"
    assert bpk("audit", "export", "--home", served.home.root, "--output", file).returncode == 0
    assert bpk("audit", "verify", file).returncode == 0
    text = file.read_text(encoding="utf-8")
    assert "FROM people" not in text
    file.write_text(text.replace('"op-a"', '"op-b"', 1), encoding="utf-8")
    assert bpk("audit", "verify", file).returncode == 1
    assert "decision" in bpk("audit", "list", "--home", served.home.root, "--kind", "decision").stdout
    assert "—" in bpk("audit", "checkpoint", "--home", served.home.root).stdout


def test_policies_are_linted_and_their_examples_run(served: Served, tmp_path: Path) -> None:
    assert bpk("policy", "lint", "--home", served.home.root).returncode == 0
    done = bpk("policy", "test", "--home", served.home.root, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["datasets"]["clinic"]["depth"] == "priced"
    bad = tmp_path / "policy.toml"
    bad.write_text("format = 1\nshoe = 3\n")
    found = bpk("policy", "lint", bad)
    assert found.returncode == 1
    assert "shoe" in found.stdout
    assert json.loads(bpk("policy", "schema").stdout)["properties"]["dataset"]


def test_a_busy_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    home = init(tmp_path / "home")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = bpk("serve", "--home", home.root, "--port", taken.getsockname()[1])
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_tells_its_address_as_json_too(tmp_path: Path) -> None:
    home = init(tmp_path / "home")
    command = [sys.executable, "-m", "gateway", "serve", "--home", str(home.root), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["docs"] == f"{told['url']}/docs"
        assert httpx.get(f"{told['url']}/readyz", trust_env=False).json()["datasets"] == []
        process.terminate()
    assert process.returncode == 0


def test_a_home_is_served_by_one_gateway_only(served: Served) -> None:
    done = bpk("serve", "--home", served.home.root, "--port", "0")
    assert done.returncode == 1
    assert "another gateway serves this home" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("query", "SELECT 1"), 2, "--url"),
        (("query",), 2, "Missing argument"),
        (("nonsense",), 2, "No such command"),
        (("serve",), 2, "--home"),
        (("token", "issue"), 2, "--subject"),
        (("serve", "--home", "/nonexistent/home"), 1, "bpk init"),
        (("audit", "verify", "/nonexistent/log"), 1, "cannot be read"),
        (("query", "SELECT 1", "--epsilon", "abc"), 2, "--epsilon: `abc` is no number"),
        (("check", "SELECT 1", "--epsilon", "nan"), 2, "--epsilon: `nan` is no number"),
        (("query", "SELECT 1", "--mode", "raw"), 2, "--mode: `raw` is none of dp, aggregate, open"),
        (("audit", "list", "--kind", "zz"), 2, "`zz` is none of genesis, decision,"),
    ],
    ids=str,
)
def test_wrong_usage_exits_with_2_and_a_failure_with_1(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = bpk(*arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_is_issued_for_known_roles_only(tmp_path: Path) -> None:
    home = init(tmp_path / "home").root
    done = bpk("token", "issue", "--home", home, "--subject", "op-a", "--role", "operator")
    assert done.returncode == 0
    assert done.stdout.strip().count(".") == 2
    assert bpk("token", "issue", "--home", home, "--subject", "op-a", "--role", "root").returncode == 2
    assert bpk("token", "issue", "--home", home, "--subject", "op-a", "--hours", "1000").returncode == 2


def test_init_says_where_the_home_is_and_refuses_other_folders(tmp_path: Path) -> None:
    made = bpk("init", tmp_path / "home", "--json")
    assert json.loads(made.stdout)["home"] == str(tmp_path / "home")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    done = bpk("init", tmp_path / "mine")
    assert (done.returncode, "not a home" in done.stderr) == (1, True)


def test_a_broken_policy_stops_the_start_and_is_named(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    file = home.policies / "clinic" / "policy.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("epsilon = 8", "epsilon = -8"), encoding="utf-8")
    done = bpk("serve", "--home", home.root, "--port", "0")
    assert done.returncode == 1
    assert "policy.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_nobody_answers_is_said_so(served: Served) -> None:
    done = bpk("budget", BPK_URL="http://127.0.0.1:9", BPK_TOKEN=served.token("op-a"))
    assert (done.returncode, "no gateway answers" in done.stderr) == (1, True)
    odd = bpk("budget", BPK_URL="nonsense", BPK_TOKEN="x")
    assert odd.returncode == 2


def test_the_doctor_says_what_holds(served: Served) -> None:
    found: dict[str, Any] = json.loads(bpk("doctor", "--home", served.home.root, "--json").stdout)
    assert {each["name"] for each in found["isolation"]} >= {"rlimits"}
    assert all(each["ok"] for each in found["home"])


def test_a_layer_that_does_not_exist_is_refused_by_doctor_ingest_and_serve(tmp_path: Path) -> None:
    home = init(tmp_path / "home").root
    (home / "domain.toml").write_text('[isolation]\nallow_degraded = ["landlock"]\n', encoding="utf-8")
    done = bpk("doctor", "--home", home)
    assert (done.returncode, "domain.toml can be served, without landlock" in done.stdout) == (0, True), done.stdout
    (home / "domain.toml").write_text('[isolation]\nallow_degraded = ["foo"]\n', encoding="utf-8")
    for command in (("doctor",), ("sandbox", "ingest"), ("serve", "--port", "0")):
        done = bpk(*command, "--home", home)
        said = done.stdout + done.stderr
        assert (done.returncode, "there is no layer `foo`" in said, "landlock" in said) == (1, True, True), said
        assert "Traceback" not in said


def test_a_question_is_asked_with_a_token_that_is_bound_to_a_key(served: Served, tmp_path: Path) -> None:
    """DPoP: the first try is told a nonce, the second is answered; without the key the token is worth nothing."""
    key = tmp_path / "me.key"
    assert bpk("token", "key", "--output", key).returncode == 0
    grant = ("--subject", "op-a", "--role", "operator", "--bind", key)
    token = bpk("token", "issue", "--home", served.home.root, *grant).stdout.strip()
    bound = {"BPK_URL": served.url, "BPK_TOKEN": token}
    for command in (("query", COUNT), ("check", COUNT), ("datasets",), ("budget",)):
        done = bpk(*command, BPK_DPOP_KEY=str(key), **bound)
        assert done.returncode == 0, done.stdout + done.stderr
    stolen = bpk("budget", **bound)
    assert stolen.returncode == 1
    assert "proof_invalid" in stolen.stderr
    other = tmp_path / "other.key"
    assert bpk("token", "key", "--output", other).returncode == 0
    assert "proof_invalid" in bpk("budget", BPK_DPOP_KEY=str(other), **bound).stderr
