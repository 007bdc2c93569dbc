"""The gateway over HTTP, on a home that is really served."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import STATUS
from tests.served_home import CASES, POLICY, Served, make_home, serving


def decisions(served: Served) -> list[dict[str, Any]]:
    return served.records(kind="decision")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "body_unreadable"),
        (b"{", 400, "body_unreadable"),
        (b"\xff\xfe{}", 400, "body_unreadable"),
        (b'{"sql": "SELECT 1", "sql": "SELECT 2"}', 400, "body_unreadable"),
        (b'{"sql": "SELECT 1", "epsilon": NaN}', 400, "body_unreadable"),
        (b'{"sql": "SELECT 1", "parameters": {"a": 1' + b"0" * 5000 + b"}}", 400, "body_unreadable"),
        (b'{"sql":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "body_unreadable"),
        (b'{"sql": "' + b"x" * 70_000 + b'"}', 400, "body_too_large"),
        (b'{"sql": "SELECT 1 -- ' + b"x" * 25_000 + b'"}', 400, "sql_too_large"),
        (b'{"sql": "SELECT \\ud800 FROM people"}', 400, "body_unreadable"),
        (b'{"sql": "SELECT 1", "\\udfff": 1}', 400, "body_unreadable"),
        (b"[]", 422, "body_invalid"),
        (b'"x"', 422, "body_invalid"),
        (b"{}", 422, "body_invalid"),
        (b'{"sql": null}', 422, "body_invalid"),
        (b'{"sql": 5}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "purpose": 5}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "mode": "raw"}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "wait_s": 61}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "wait_s": -1}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "wait_s": "5"}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "wait_s": true}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "parameters": {"a": null}}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "epsilon": true}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "epsilon": "Infinity"}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "epsilon": "1_0"}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "epsilon": 1e999}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "parameters": {"a": [1]}}', 422, "body_invalid"),
        (b'{"sql": "SELECT 1", "shoe": 1}', 422, "body_invalid"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "epsilon": 0}', 422, "epsilon_invalid"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "epsilon": -0.5}', 422, "epsilon_invalid"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "epsilon": 0.1234567890123}', 422, "epsilon_invalid"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "epsilon": 2.000000000001}', 403, "epsilon_too_large"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "accuracy": {}}', 422, "body_invalid"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "accuracy": 0.05}', 422, "body_invalid"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "accuracy": {"relative": 0.1, "absolute": 5}}', 422, "body_invalid"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "accuracy": {"relative": 0.1}, "epsilon": 1}', 422, "body_invalid"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "accuracy": {"relative": 0}}', 422, "body_invalid"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "accuracy": {"relative": 1.01}}', 422, "body_invalid"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "accuracy": {"absolute": -1}}', 422, "body_invalid"),
        (
            b'{"sql": "SELECT COUNT(*) FROM people", "accuracy": {"absolute": 9, "confidence": 1}}',
            422,
            "body_invalid",
        ),
        (b'{"sql": "SELECT COUNT(*) FROM people", "accuracy": {"absolute": 0.5}}', 403, "accuracy_unaffordable"),
        (
            b'{"sql": "SELECT sex FROM people GROUP BY sex HAVING COUNT(*) > 1", "accuracy": {"absolute": 5}}',
            403,
            "accuracy_unknown",
        ),
        (b'{"sql": "SELECT COUNT(*) FROM people", "mode": "open"}', 403, "mode_not_offered"),
        (b'{"sql": "SELECT COUNT(*) FROM people", "purpose": "ads"}', 403, "purpose_not_licensed"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_bad_body_is_refused_by_its_code_and_recorded_once(
    served: Served, body: bytes, status: int, code: str
) -> None:
    before = len(decisions(served))
    reply = served.call("POST", "/v1/queries", body)
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    after = decisions(served)
    assert len(after) == before + 1
    assert (after[-1]["decision"], after[-1]["code"]) == ("refused", code)
    assert after[-1]["query_id"] == reply.json()["query_id"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "token_missing"),
        ({"Authorization": ""}, "token_missing"),
        ({"Authorization": "Basic b3AtYTp4"}, "token_missing"),
        ({"Authorization": "Bearer"}, "token_missing"),
        ({"Authorization": "Bearer nonsense"}, "token_invalid"),
        ({"Authorization": "Bearer a.b.c"}, "token_invalid"),
        ({"Authorization": "Bearer  x"}, "token_invalid"),
    ],
    ids=str,
)
def test_nobody_is_let_in_without_a_token(served: Served, headers: dict[str, str], code: str) -> None:
    before = len(decisions(served))
    reply = served.call("POST", "/v1/queries", {"sql": "SELECT COUNT(*) FROM people"}, None, **headers)
    assert (reply.status_code, reply.json()["code"]) == (401, code)
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert len(decisions(served)) == before


def test_a_token_in_two_headers_is_refused(served: Served) -> None:
    token = f"Bearer {served.token('op-a')}"
    reply = served.client.get("/v1/budgets", headers=[("Authorization", token), ("Authorization", token)])
    assert reply.status_code == 401


def test_every_reply_carries_the_headers_that_keep_it_out_of_caches_and_pages(served: Served) -> None:
    for route in ("/healthz", "/nowhere", "/v1/budgets", "/metrics"):
        headers = served.client.get(route).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"].startswith("req_")
        assert "server" not in headers


@pytest.mark.parametrize(
    ("method", "route", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/datasets/", 404, "not_found"),
        ("PUT", "/v1/queries", 405, "method_not_allowed"),
        ("GET", "/v1/queries/check", 404, "not_found"),
        ("GET", "/v1/queries/qry_nothing", 404, "not_found"),
        ("GET", "/v1/datasets/other", 404, "not_found"),
        ("GET", "/v1/queries?limit=0", 422, "parameter_invalid"),
        ("GET", "/v1/queries?limit=5&limit=6", 422, "parameter_invalid"),
        ("GET", "/v1/queries?cursor=qry_x", 422, "parameter_invalid"),
        ("GET", "/v1/queries?shoe=1", 422, "parameter_invalid"),
    ],
)
def test_every_error_is_a_problem_document(served: Served, method: str, route: str, status: int, code: str) -> None:
    reply = served.call(method, route)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code"} <= set(reply.json())
    assert STATUS[code] == status


def test_a_hidden_column_is_refused_with_its_place(served: Served) -> None:
    problem = served.ask("SELECT\n  name FROM people").json()
    assert problem["code"] == "column_hidden"
    assert problem["position"] == {"line": 2, "column": 3, "length": 4}


def test_who_holds_no_licence_is_told_so_and_nothing_of_the_policy(served: Served) -> None:
    for sql in ("SELECT COUNT(*) FROM people", "SELECT COUNT(*) FROM nowhere", "SELECT name FROM people"):
        problem = served.ask(sql, "stranger").json()
        assert problem["code"] == "licence_missing"
        assert "policy" not in problem
    assert served.ask("SELECT COUNT(*) FROM people", "late").json()["code"] == "licence_expired"
    seen = served.call("GET", "/v1/datasets", None, "stranger").json()["datasets"]
    assert [(each["tables"], each["modes"]) for each in seen] == [(["hospitals"], ["open"])]


def test_a_number_and_a_decimal_string_are_the_same_epsilon(served: Served) -> None:
    one = served.ask("SELECT COUNT(*) AS n FROM visits WHERE cost > 50", epsilon=0.1).json()
    two = served.ask("SELECT COUNT(*) AS n FROM visits WHERE cost > 50", epsilon="0.1").json()
    assert one["cost"]["epsilon"] == "0.1"
    assert two["reused"] is True


def test_an_accuracy_costs_what_the_check_says_and_is_had_again_for_nothing(served: Served) -> None:
    sql = "SELECT COUNT(*) AS n FROM visits WHERE cost > 77"
    wanted = {"absolute": 400, "confidence": "0.9"}
    told = served.call("POST", "/v1/queries/check", {"sql": sql, "accuracy": wanted}).json()
    assert told["intervals_expected"][0] >= 400  # said at 95 %, asked for at 90 %
    first = served.ask(sql, accuracy=wanted).json()
    assert (first["reused"], first["cost"]) == (False, told["cost"])
    charge = served.records(kind="charge", query_id=first["id"])
    assert {each["charges"][0]["epsilon"] for each in charge} == {told["cost"]["epsilon"]}
    for looser in (wanted, {"absolute": 401, "confidence": 0.9}, {"absolute": 400, "confidence": 0.8}):
        again = served.ask(sql, accuracy=looser).json()
        assert (again["reused"], again["rows"]) == (True, first["rows"])
    assert served.ask(sql, accuracy={"absolute": 300, "confidence": "0.9"}).json()["reused"] is False


def test_an_answer_beside_a_public_table_costs_what_the_answer_costs(served: Served) -> None:
    inner = "SELECT h.level, COUNT(*) AS n FROM visits v JOIN hospitals h ON v.hospital = h.id GROUP BY h.level"
    sql = f"SELECT r.level, r.n, SUM(r.n) OVER () AS whole FROM ({inner}) r JOIN hospitals h ON r.level = h.level"
    told = served.call("POST", "/v1/queries/check", {"sql": sql}).json()
    assert told["plan"][-2:] == [
        "join the released rows with the public table `hospitals`",
        "look over the released rows around each",
    ]
    bare = served.ask(inner).json()
    found = served.ask(sql).json()
    assert (bare["reused"], found["reused"]) == (False, True)
    numbers = dict(bare["rows"])
    levels = ["city"] * 2 + ["county"] * 3  # one row for each hospital of the level
    assert [row[:2] for row in found["rows"]] == [[level, numbers[level]] for level in levels]
    assert {row[2] for row in found["rows"]} == {sum(numbers[level] for level in levels)}
    assert found["intervals"][0][1] == bare["intervals"][[row[0] for row in bare["rows"]].index("city")][1]
    assert served.call("GET", f"/v1/queries/{found['id']}").json()["rows"] == found["rows"]


def test_an_accuracy_is_part_of_what_a_key_stands_for(served: Served) -> None:
    sql = "SELECT COUNT(*) AS n FROM visits WHERE cost > 78"
    body = {"sql": sql, "accuracy": {"absolute": 500}}
    first = served.call("POST", "/v1/queries", body, Idempotency_Key="accurate").json()
    assert served.call("POST", "/v1/queries", body, Idempotency_Key="accurate").json()["id"] == first["id"]
    other = served.call("POST", "/v1/queries", {**body, "accuracy": {"absolute": 501}}, Idempotency_Key="accurate")
    assert other.json()["code"] == "idempotency_conflict"


def test_a_parameter_fills_its_place_in_the_text(served: Served) -> None:
    sql = "SELECT COUNT(*) AS n FROM visits WHERE cost > $least"
    written = served.ask("SELECT COUNT(*) AS n FROM visits WHERE cost > 60").json()
    filled = served.ask(sql, parameters={"least": 60}).json()
    assert filled["reused"] is True
    assert filled["rows"] == written["rows"]
    assert served.ask(sql).json()["code"] == "parameter_missing"


def test_the_same_key_gives_the_same_query_and_costs_once(served: Served) -> None:
    body = {"sql": "SELECT SUM(income) AS s FROM people", "purpose": "research"}
    first = served.call("POST", "/v1/queries", body, Idempotency_Key="same")
    spent = served.call("GET", "/v1/budgets").json()
    again = served.call("POST", "/v1/queries", {**body, "wait_s": 5}, Idempotency_Key="same")
    fresh = {"receipt": None}  # signed anew, over a log that has grown
    assert first.json() | fresh == again.json() | fresh
    assert served.call("GET", "/v1/budgets").json() == spent
    assert decisions(served)[-1]["decision"] == "repeated"
    other = served.call("POST", "/v1/queries", {**body, "epsilon": 0.2}, Idempotency_Key="same")
    assert other.json()["code"] == "idempotency_conflict"
    elsewhere = served.call("POST", "/v1/queries", body, "op-b", Idempotency_Key="same").json()
    assert elsewhere["id"] != first.json()["id"], "a key belongs to its operator"


def test_another_operators_query_is_not_there(served: Served) -> None:
    query = served.ask("SELECT COUNT(*) AS n FROM people").json()["id"]
    mine = served.call("GET", f"/v1/queries/{query}")
    assert mine.json()["id"] == query
    nobody = served.call("GET", "/v1/queries/qry_00000000000000000000000000000000", None, "op-b")
    for method in ("GET", "DELETE"):
        reply = served.call(method, f"/v1/queries/{query}", None, "op-b")
        assert (reply.status_code, reply.json()) == (404, nobody.json())
    assert query not in served.call("GET", "/v1/queries", None, "op-b").text


def test_a_question_goes_on_when_nobody_waits(served: Served) -> None:
    reply = served.ask("SELECT AVG(cost) AS c FROM visits WHERE cost < 300", wait_s=0)
    assert reply.status_code == 202
    assert reply.json() == {"id": reply.json()["id"], "status": "running"}
    end = time.monotonic() + 20
    while (found := served.call("GET", reply.headers["location"]).json())["status"] == "running":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert found["status"] == "answered"
    assert found["receipt"]["record"]["query_id"] == reply.json()["id"]


def test_a_cancelled_question_stays_charged(served: Served) -> None:
    before = len(served.records(kind="charge"))
    query = served.ask("SELECT SUM(cost) AS c FROM visits WHERE cost < 310", wait_s=0).json()["id"]
    ended = served.call("DELETE", f"/v1/queries/{query}").json()
    assert ended["status"] in ("cancelled", "answered")
    assert len(served.records(kind="charge")) == before + 1
    end = time.monotonic() + 20
    while served.call("GET", f"/v1/queries/{query}").json()["status"] == "running":
        assert time.monotonic() < end
    assert served.call("GET", f"/v1/queries/{query}").json()["status"] == ended["status"]


def test_a_check_leaves_no_record_and_spends_nothing(served: Served) -> None:
    before = (served.call("GET", "/v1/budgets").json(), len(decisions(served)))
    body = {"sql": "SELECT sex, AVG(income) AS m FROM people GROUP BY sex", "purpose": "research", "epsilon": 1}
    found = served.call("POST", "/v1/queries/check", body).json()
    assert found["verdict"] == "answer"
    assert found["cost"]["epsilon"] == "1"
    assert len(found["intervals_expected"]) == 2
    assert (served.call("GET", "/v1/budgets").json(), len(decisions(served))) == before
    poor = served.call("POST", "/v1/queries/check", body, "poor").json()
    assert (poor["verdict"], poor["problem"]["code"]) == ("refuse", "budget_exhausted")


def test_the_history_pages_through_ones_own_queries(served: Served) -> None:
    for weight in range(3):
        served.ask(f"SELECT SUM(CASE WHEN sex = 'F' THEN {weight + 2} ELSE 0 END) AS s FROM people", "op-b")
    seen: list[str] = []
    route = "/v1/queries?limit=2"
    while route:
        page = served.call("GET", route, None, "op-b").json()
        seen += [each["id"] for each in page["queries"]]
        route = f"/v1/queries?limit=2&cursor={page['cursor']}" if page["cursor"] else ""
    assert len(seen) == len(set(seen)) >= 3


def test_reading_the_log_is_recorded(served: Served) -> None:
    before = len(served.records(kind="read"))
    served.call("GET", "/v1/audit/export", None, "aud", "auditor")
    after = served.records(kind="read")
    assert len(after) == before + 2
    assert [each["code"] for each in after[-2:]] == ["export", "records"]


@pytest.mark.parametrize("wanted", ["kind=decisions", "decision=no", "since=yesterday"])
def test_a_misspelt_filter_is_not_an_empty_log(served: Served, wanted: str) -> None:
    reply = served.call("GET", f"/v1/audit/records?{wanted}", None, "aud", "auditor")
    assert (reply.status_code, reply.json()["code"]) == (422, "parameter_invalid")


def test_counters_tell_of_requests_and_nothing_else(served: Served) -> None:
    served.ask("SELECT COUNT(*) AS n FROM people")
    text = served.client.get("/metrics").text
    assert 'bpk_requests_total{route="/v1/queries",method="POST",status="200"}' in text
    assert "bpk_queries_total{verdict=" in text
    for word in ("op-a", "clinic", "people", "epsilon"):
        assert word not in text


def test_no_word_of_a_question_and_no_token_is_in_the_server_log(served: Served) -> None:
    served.ask("SELECT COUNT(*) AS very_special_name FROM people WHERE sex = 'F'")
    served.ask("SELECT very_special_column FROM people")
    assert "very_special" not in served.log()
    assert served.token("op-a")[:40] not in served.log()
    assert "Secretname" not in served.log()


def test_a_data_domain_that_dies_costs_nothing_and_comes_back(tmp_path: Path) -> None:
    with serving(make_home(tmp_path / "home")) as served:
        assert served.ask("SELECT COUNT(*) AS n FROM people").json()["status"] == "answered"
        before = served.call("GET", "/v1/budgets").json()
        found = subprocess.run(["pgrep", "-P", str(served.process.pid)], capture_output=True, text=True, check=True)
        for child in found.stdout.split():
            os.kill(int(child), signal.SIGKILL)
        reply = served.ask("SELECT SUM(income) AS s FROM people")
        if reply.status_code != 200:
            assert (reply.status_code, reply.json()["code"]) in {(503, "not_ready"), (503, "dataset_not_ready")}
            assert served.call("GET", "/v1/budgets").json() == before
        end = time.monotonic() + 20
        while (again := served.ask("SELECT COUNT(*) AS n FROM people")).status_code != 200:
            assert again.json()["code"] in ("not_ready", "dataset_not_ready")
            assert time.monotonic() < end, served.log()
            time.sleep(0.1)
        assert again.json()["reused"] is True


def test_a_dataset_whose_examples_fail_is_closed_and_named(tmp_path: Path) -> None:
    wrong = CASES + '[[case]]\nname = "names are open"\nsql = "SELECT name FROM people"\nexpect = "answer"\n'
    with serving(make_home(tmp_path / "home", cases=wrong), ready=False) as served:
        end = time.monotonic() + 30
        while (seen := served.client.get("/readyz").json()["datasets"][0])["state"] != "refused":
            assert time.monotonic() < end, seen
            time.sleep(0.05)
        assert "names are open" in seen["reason"]
        assert served.client.get("/readyz").status_code == 503
        reply = served.ask("SELECT COUNT(*) AS n FROM people")
        assert (reply.status_code, reply.json()["code"]) == (503, "dataset_not_ready")
        assert served.records(kind="charge") == []
        assert "names are open" in served.log()


def test_a_killed_gateway_forgets_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    with serving(home) as served:
        first = served.ask("SELECT COUNT(*) AS n FROM people").json()
        before = served.call("GET", "/v1/budgets").json()
        os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait()
    with serving(home) as served:
        assert served.call("GET", "/v1/budgets").json() == before
        assert served.call("GET", f"/v1/queries/{first['id']}").json()["rows"] == first["rows"]
        assert json.loads(home.address_file.read_text())["url"] == served.url


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
def test_a_gateway_that_is_told_to_stop_leaves_nothing_behind(tmp_path: Path, order: signal.Signals) -> None:
    home = make_home(tmp_path / "home")
    with serving(home) as served:
        door = Path(json.loads(home.address_file.read_text())["door"])
        query = served.ask("SELECT AVG(income) AS m FROM people", wait_s=0).json()["id"]
        served.process.send_signal(order)
        assert served.process.wait(30) == 0
        assert not home.address_file.exists()
        assert not door.parent.exists()
    with serving(home) as served:
        assert served.call("GET", f"/v1/queries/{query}").json()["status"] == "answered"


def test_a_stored_answer_stays_with_its_operator_where_the_policy_says_so(tmp_path: Path) -> None:
    policy = POLICY.replace("reuse_across_operators = true", "reuse_across_operators = false")
    with serving(make_home(tmp_path / "home", policy=policy)) as served:
        sql = "SELECT COUNT(*) AS n FROM people"
        assert served.ask(sql).json()["reused"] is False
        assert served.ask(sql).json()["reused"] is True
        other = served.ask(sql, "op-b").json()
        assert (other["status"], other["reused"]) == ("answered", False)
        assert other["cost"]["epsilon"] == "0.1"
        assert served.ask(sql, "op-b").json()["reused"] is True


def test_many_at_once_are_all_heard_and_charged_once_each(served: Served) -> None:
    before = len(served.records(kind="charge", dataset="clinic"))
    served.token("op-b")
    with ThreadPoolExecutor(12) as pool:
        asked = [f"SELECT COUNT(*) AS n FROM visits WHERE cost > {100 + each // 2}.5" for each in range(24)]
        replies = list(pool.map(lambda sql: served.ask(sql, "op-b", epsilon="0.01"), asked))
    answered = [reply.json() for reply in replies if reply.status_code == 200]
    busy = [reply.json()["code"] for reply in replies if reply.status_code != 200]
    assert {each["status"] for each in answered} == {"answered"}
    assert set(busy) <= {"busy"}
    charged = served.records(kind="charge", dataset="clinic")[before:]
    fresh = {each["id"] for each in answered if not each["reused"]}
    assert {each["query_id"] for each in charged} == fresh
