"""Wrong input of every kind: a clear word that names the thing and the way out; nothing half-written, nothing spent."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway.cli.tokens import issue_token
from sandbox.seed import seed_of
from tests.deployment import below, processes
from tests.served_home import POLICY, Served, make_home, serving
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers behind walls are there on Linux only")

COUNT = "SELECT COUNT(*) AS n FROM people"
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(make_home(tmp_path_factory.mktemp("bad") / "home")) as found:
        yield found


def budgets(served: Served) -> Any:
    return served.call("GET", "/v1/budgets").json()


# Over HTTP.


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELECT COUNT(*)\x00 FROM people", 400, "sql_unreadable"),
        ('SELECT COUNT(*) FROM "people\x00"', 400, "sql_unreadable"),
        ("SELECT COUNT(*) FROM people WHERE sex = '\ud800'", 400, "body_unreadable"),
        ("\ufeffSELECT COUNT(*) FROM people WHERE", 400, "sql_unreadable"),
        ("SELECT COUNT(*) FROM visits WHERE cost > " + "9" * 400, 403, "type_mismatch"),
        ("SELECT COUNT(*) FROM visits WHERE cost > 1e400", 403, "type_mismatch"),
        ("SELECT COUNT(*) FROM visits WHERE cost > 0." + "9" * 400, 403, "type_mismatch"),
        ("SELECT COUNT(*) FROM visits LIMIT 99999999999999999999999999", 403, "construct_not_allowed"),
        ("x" * 20_001, 400, "sql_too_large"),
        ("", 400, "sql_unreadable"),
        (" \n\t", 400, "sql_unreadable"),
        ("-- nothing", 400, "sql_unreadable"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_statement_that_cannot_be_taken_is_a_problem_document(
    served: Served, sql: str, status: int, code: str
) -> None:
    before = budgets(served)
    reply = served.ask(sql)
    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (status, code), reply.text
    assert problem["detail"][-1] != "."
    assert "Traceback" not in reply.text
    assert budgets(served) == before


def test_a_body_of_ten_megabytes_is_refused_and_not_taken_in(served: Served) -> None:
    reply = served.call("POST", "/v1/queries", b'{"sql": "' + b"x" * 10_000_000 + b'"}')
    assert (reply.status_code, reply.json()["code"]) == (400, "body_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""])
def test_another_kind_of_content_is_refused_with_the_way_out(served: Served, kind: str) -> None:
    problem = served.call("POST", "/v1/queries", {"sql": COUNT}, Content_Type=kind).json()
    assert (problem["code"], problem["hint"]) == ("body_unreadable", "send `Content-Type: application/json`")


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PATCH", "PUT", "CONNECTED"])
def test_an_unknown_method_is_refused(served: Served, method: str) -> None:
    reply = served.call(method, "/v1/queries/check")
    assert (reply.status_code, reply.json()["code"]) == (405, "method_not_allowed")


ODD_ROUTES = [
    "/v1/datasets/..%2f..%2fetc%2fpasswd",
    "/v1/datasets/%00",
    "/v1/datasets/clinic%00",
    "/v1/queries/" + "x" * 5000,
    "/v1/queries/%ff",
    "/v1/queries/%00",
    "/v1/queries/qry_%27%20OR%201=1",
    "//v1/queries",
    "/static/../keys/log.key",
    "/%2e%2e/keys/log.key",
]


@pytest.mark.parametrize("route", ["/v1/queries?cursor=%00", "/v1/queries?limit=%00"])
def test_a_parameter_that_cannot_be_written_is_refused(served: Served, route: str) -> None:
    reply = served.call("GET", route)
    assert (reply.status_code, reply.json()["code"]) == (422, "parameter_invalid")


@pytest.mark.parametrize("route", ODD_ROUTES, ids=lambda route: route[:30])
def test_an_unknown_address_is_not_found(served: Served, route: str) -> None:
    reply = served.call("GET", route)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("subject", ["expired", "forged", "for another home"])
def test_a_token_that_does_not_hold_is_refused_and_nothing_is_recorded(
    served: Served, subject: str, tmp_path: Path
) -> None:
    if subject == "expired":
        claims = jwt.decode(served.token("op-a"), options={"verify_signature": False})
        claims |= {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600}
        head = {name: text for name, text in jwt.get_unverified_header(served.token("op-a")).items() if name != "alg"}
        key = (served.home.root / "keys/token.key").read_text(encoding="ascii")
        token = jwt.encode(claims, key, "EdDSA", headers=head)
    elif subject == "forged":
        head, body, signature = served.token("op-a").split(".")
        token = f"{head}.{body}.{signature[:-8]}AAAAAAA{signature[-1]}"
    else:
        token = issue_token(make_home(tmp_path / "other"), "op-a", ("operator",), timedelta(hours=1))
    before = len(served.records(kind="decision"))
    reply = served.call("POST", "/v1/queries", {"sql": COUNT}, Authorization=f"Bearer {token}")
    assert reply.status_code == 401
    assert reply.json()["code"] == ("token_expired" if subject == "expired" else "token_invalid")
    assert len(served.records(kind="decision")) == before


@contextlib.contextmanager
def half_requests(served: Served, count: int) -> Iterator[None]:
    """Open connections with half a head or half a body."""
    host = ("127.0.0.1", int(served.url.rpartition(":")[2]))
    head = (
        "POST /v1/queries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
        f"Authorization: Bearer {served.token('op-a')}\r\n"
    )
    with contextlib.ExitStack() as stack:
        for number in range(count):
            half = stack.enter_context(socket.create_connection(host))
            half.sendall((head + ("\r\n{" if number % 2 else "")).encode())
        yield


def test_half_requests_keep_nobody_waiting_and_leave_no_trace_of_an_error(served: Served) -> None:
    served.ask(COUNT)
    refused = len(served.records(decision="refused"))
    with half_requests(served, 200):
        begin = time.monotonic()
        assert served.ask(COUNT).json()["reused"] is True
        assert time.monotonic() - begin < 2
    assert eventually(lambda: len(served.records(decision="refused")) == refused + 100, 10)
    assert "ClientDisconnect" not in served.log()


def test_what_is_no_http_gets_no_answer_of_ours_and_does_no_harm(served: Served) -> None:
    host = ("127.0.0.1", int(served.url.rpartition(":")[2]))
    junk = [b"\x16\x03\x01\x00garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 70_000, b"GET /healthz\r\n\r\n",
            b"POST /v1/queries HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"]  # fmt: skip
    for each in junk:
        with socket.create_connection(host, timeout=10) as raw, contextlib.suppress(ConnectionError):
            raw.sendall(each)
            raw.shutdown(socket.SHUT_WR)
            said = raw.recv(65536)
            assert b" 200 " not in said
            assert b"Traceback" not in said
    assert served.client.get("/healthz").status_code == 200


# Tricks with what is kept: keys, ids, budgets, cancelling.


def test_a_key_with_another_body_is_refused_whatever_differs(served: Served) -> None:
    body = {"sql": "SELECT SUM(income) AS s FROM people", "purpose": "research", "parameters": None, "epsilon": "0.1"}
    first = served.call("POST", "/v1/queries", body, Idempotency_Key="mine").json()
    for change in ({"epsilon": "0.2"}, {"epsilon": None}, {"purpose": None}, {"parameters": {}}, {"mode": "dp"},
                   {"sql": body["sql"] + " "}):  # fmt: skip
        reply = served.call("POST", "/v1/queries", body | change, Idempotency_Key="mine")
        assert (reply.status_code, reply.json()["code"]) == (409, "idempotency_conflict"), change
    assert served.call("POST", "/v1/queries", body, Idempotency_Key="mine").json()["id"] == first["id"]


def test_one_key_sent_many_times_at_once_is_one_query(served: Served) -> None:
    body = {"sql": "SELECT AVG(income) AS a FROM people", "purpose": "research"}
    served.token("op-b")
    charges = len(served.records(kind="charge"))
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(served.call, "POST", "/v1/queries", body, "op-b", Idempotency_Key="once") for _ in range(16)
        ]
        found = [each.result().json() for each in asked]
    ids = {each["id"] for each in found if "id" in each}
    assert len(ids) == 1
    assert {each.get("code", "busy") for each in found if "id" not in each} <= {"busy"}
    assert len(served.records(kind="charge")) == charges + 1


def test_cancelling_and_asking_again_at_the_same_time_keeps_one_story(served: Served) -> None:
    for number in range(12):
        sql = f"SELECT SUM(CASE WHEN sex = 'F' THEN {number + 100} ELSE 0 END) AS s FROM people"
        while (reply := served.ask(sql, epsilon="0.01", wait_s=0)).status_code != 202:
            assert reply.json()["code"] == "busy", reply.text
        query = reply.json()["id"]
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(served.call, "DELETE", f"/v1/queries/{query}") for _ in range(2)]
            asked += [pool.submit(served.call, "GET", f"/v1/queries/{query}") for _ in range(2)]
            assert {each.result().status_code for each in asked} == {200}
        assert "running" not in {each.result().json()["status"] for each in asked[:2]}
        assert eventually(lambda q=query: served.call("GET", f"/v1/queries/{q}").json()["status"] != "running", 20)
        ended = served.call("GET", f"/v1/queries/{query}").json()["status"]
        outcomes = [each["kind"] for each in served.records(query_id=query) if each["kind"] in ("release", "failure")]
        assert outcomes == ["release" if ended == "answered" else "failure"]


def test_many_clients_at_the_edge_of_a_budget_never_overspend_it(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    poor = home.policies / "licences" / "poor.toml"
    poor.write_text(poor.read_text(encoding="utf-8").replace("0.05", "0.35"), encoding="utf-8")
    with serving(home) as served:
        served.token("poor")
        asked = [f"SELECT SUM(CASE WHEN sex = 'F' THEN {n} ELSE 0 END) AS s FROM people" for n in range(16)]
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda sql: served.ask(sql, "poor", epsilon="0.2"), asked))
        answered = [reply for reply in replies if reply.status_code == 200]
        exhausted = [reply for reply in replies if reply.status_code == 429]
        assert {reply.json()["code"] for reply in exhausted} == {"budget_exhausted"}
        assert answered
        (mine,) = (
            each for each in served.call("GET", "/v1/budgets", None, "poor").json()["budgets"] if "poor" in str(each)
        )
        assert "-" not in str(mine.get("epsilon_left", mine))
        charged = [each for each in served.records(kind="charge") if each["actor"] == "poor"]
        assert len(charged) == len(answered)
        for reply in answered:  # what was paid for stays free, also at the end
            again = served.call("GET", f"/v1/queries/{reply.json()['id']}", None, "poor").json()
            assert again["rows"] == reply.json()["rows"]


def test_who_has_no_budget_left_cannot_keep_the_places_of_others(served: Served) -> None:
    """A place is reserved before the charge; a charge that is refused gives it back at once."""
    for number in range(12):
        sql = f"SELECT SUM(CASE WHEN sex = 'M' THEN {number} ELSE 0 END) AS s FROM people"
        assert served.ask(sql, "poor", epsilon="1").json()["code"] == "budget_exhausted"
    begin = time.monotonic()
    assert served.ask("SELECT SUM(cost) AS s FROM visits", "op-b", epsilon="0.01").json()["status"] == "answered"
    assert time.monotonic() - begin < 5


def test_who_asks_during_the_ingest_is_told_to_wait_and_pays_nothing(tmp_path: Path) -> None:
    with serving(make_home(tmp_path / "home"), ready=False) as served:
        seen = set()
        while (reply := served.ask(COUNT)).status_code != 200:
            seen.add(reply.json()["code"])
            assert reply.headers["retry-after"]
            assert served.records(kind="charge") == []
        assert seen <= {"not_ready", "dataset_not_ready"}


# A full disk. A limit on the size of files is one: the same writes fail in the same place.


def test_a_full_disk_before_a_charge_costs_nothing_and_is_named_in_the_log(tmp_path: Path) -> None:
    with serving(make_home(tmp_path / "home")) as served:
        served.ask(COUNT)
        before = budgets(served)
        room = 32_768  # enough for the log of the process, too little for the ledger, which is larger already
        assert 2 * len(served.log()) < room < served.home.ledger_file.stat().st_size
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        for sql in ("SELECT SUM(income) AS s FROM people", "SELECT name FROM people", COUNT):
            reply = served.ask(sql)
            assert (reply.status_code, reply.json()["code"]) == (503, "not_ready"), reply.text
            assert "nothing was charged" in reply.json()["hint"]
            ready = served.client.get("/readyz")
            assert (ready.status_code, ready.json()["ready"]) == (503, False)
            assert ready.json()["store"].startswith("cannot be written: ")
            assert "ledger.sqlite" not in reply.text + ready.text
        assert "ledger.sqlite: not written" in served.log()
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        served.wait_until_ready(5)
        assert budgets(served) == before
        assert served.ask(COUNT).json()["reused"] is True
        assert served.ask("SELECT SUM(income) AS s FROM people").json()["status"] == "answered"


def test_a_disk_that_fills_between_charge_and_outcome_is_a_failure_that_stays_one(tmp_path: Path) -> None:
    with serving(make_home(tmp_path / "home")) as served:
        served.ask(COUNT)
        failed: list[str] = []
        for number in range(40):
            size = served.home.ledger_file.stat().st_size + number % 10 * 4096  # room for a charge, in one of the turns
            resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            sql = f"SELECT SUM(CASE WHEN sex = 'F' THEN {number} ELSE 0 END) AS s FROM people"
            reply = served.ask(sql, epsilon="0.01").json()
            resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, UNLIMITED)
            assert reply.get("code") in (None, "query_failed", "not_ready"), reply
            if reply.get("code") == "query_failed":
                failed.append(reply["id"])
                break
            served.ask(sql, epsilon="0.01")
        assert failed
        assert served.call("GET", f"/v1/queries/{failed[0]}").json()["status"] == "failed"
        kinds = [each["kind"] for each in served.records(query_id=failed[0])]
        assert kinds == ["decision", "charge", "failure"]


def test_a_full_disk_of_the_data_domain_is_the_constant_failure_and_stays_charged(tmp_path: Path) -> None:
    with serving(make_home(tmp_path / "home")) as served:
        (service,) = (each for each in below(served.process.pid, processes()) if " sandbox serve " in each.command)
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        failed = served.ask(COUNT).json()
        assert failed == {"id": failed["id"], "status": "failed", "code": "query_failed"}
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        assert [each["kind"] for each in served.records(query_id=failed["id"])] == ["decision", "charge", "failure"]
        assert served.ask(COUNT).json()["status"] == "answered"


# Homes, policies and data files.


def bpk(*arguments: object, file_bytes_max: int | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *(str(each) for each in arguments)]
    if file_bytes_max is not None:
        limit = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({file_bytes_max},) * 2); "
        command = [sys.executable, "-c", limit + "os.execv(sys.argv[1], sys.argv[1:])", *command]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BPK_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=clean)


def replaced(file: str, old: str, new: str) -> Change:
    def change(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def junk(file: str) -> Change:
    def change(root: Path) -> None:
        (root / file).write_bytes(b"junk" * 2000)
        (root / file).chmod(0o600)

    return change


def said(done: subprocess.CompletedProcess[str]) -> str:
    text = done.stdout + done.stderr
    assert done.returncode == 1, text
    assert "Traceback" not in text
    assert "[Errno" not in text
    return text


_POLICY = "policies/clinic/policy.toml"
_PEOPLE = "data/clinic/people.csv"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replaced(_POLICY, "owner =", "shoe = 1\nowner ="), ("policy.toml", "`shoe`")),
        (replaced(_POLICY, "[0, 100000]", "[100000, 0]"), ("people.columns.income.range", "above")),
        (replaced(_POLICY, "epsilon_per_query = 0.1", "epsilon_per_query = 3"), ("epsilon_per_query_max",)),
        (replaced("policies/licences/op-a.toml", "clinic", "nowhere"), ("op-a.toml", "budget.clinic", "`datasets`")),
        (replaced("policies/licences/op-a.toml", "licence =", "licence "), ("op-a.toml", "TOML")),
        (replaced("gateway.toml", "[tokens]", "[tokens]\nshoe = 1"), ("gateway.toml", "`tokens.shoe`")),
        (replaced("domain.toml", "engine =", "shoe = 1\nengine ="), ("domain.toml", "`datasets.clinic.shoe`")),
        (lambda root: (root / "gateway.toml").unlink(), ("gateway.toml", "bpk init")),
        (lambda root: (root / "domain.toml").unlink(), ("domain.toml", "bpk init")),
        (lambda root: shutil.rmtree(root / "keys"), ("keys/log.key", "bpk init")),
        (lambda root: (root / "keys/ticket.pub").unlink(), ("keys/ticket.pub", "copy")),
        (junk("keys/ticket.pub"), ("keys/ticket.pub", "PEM")),
        (junk("keys/log.key"), ("keys/log.key", "PEM")),
        (lambda root: (root / "keys/log.key").chmod(0o644), ("keys/log.key", "chmod 600")),
        (junk("state/gateway/ledger.sqlite"), ("ledger.sqlite", "gateway's store")),
        (junk("state/domain/domain.sqlite"), ("domain.sqlite", "data domain's store")),
        (lambda root: (root / "state/gateway/ledger.sqlite").mkdir(), ("ledger.sqlite", "cannot be opened")),
    ],
)  # fmt: skip
def test_a_home_that_cannot_be_served_says_which_file_and_what_would_do(
    tmp_path: Path, change: Change, words: tuple[str, ...]
) -> None:
    home = make_home(tmp_path / "home")
    change(home.root)
    told = said(bpk("serve", "--home", home.root, "--port", "0"))
    for word in words:
        assert word in told, told
    assert not home.address_file.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replaced(_PEOPLE, "income", "wages"), ("people.csv", "`income`")),
        (replaced(_PEOPLE, "Secretname 0,F,", "Secretname 0,F,Geheim"), ("`income`", "`integer`", "1 row")),
        (replaced(_PEOPLE, "\n1,", "\n0,"), ("`pid`", "more than one row")),
        (replaced("data/clinic/hospitals.csv", "\n1,", "\n0,"), ("`hospitals`", "more than one row")),
        (lambda root: (root / "data/clinic/people.csv").unlink(), ("there is no file `data/clinic/people.csv`",)),
        (lambda root: (root / "data/clinic/people.csv").write_text(""), ("people.csv", "is empty")),
        (replaced("domain.toml", 'visits = "data/clinic/visits.csv", ', ""), ("`visits`", "domain.toml")),
    ],
)  # fmt: skip
def test_data_that_does_not_match_its_policy_is_named_without_a_value(
    tmp_path: Path, change: Change, words: tuple[str, ...]
) -> None:
    home = make_home(tmp_path / "home")
    change(home.root)
    told = said(bpk("sandbox", "ingest", "--home", home.root))
    for word in words:
        assert word in told, told
    assert "Secretname" not in told
    assert "Geheim" not in told
    assert not list((home.root / "state").rglob("*.duckdb"))


def test_a_dataset_whose_data_does_not_match_is_closed_and_the_others_go_on(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    second = home.policies / "second"
    shutil.copytree(home.policies / "clinic", second)
    replaced("policies/second/policy.toml", 'dataset = "clinic"', 'dataset = "second"')(home.root)
    with (home.root / "domain.toml").open("a", encoding="utf-8") as out:
        out.write('[datasets.second]\nsnapshot = "1"\n[datasets.second.tables]\npeople = "data/clinic/hospitals.csv"\n')
    with serving(home) as served:
        states = {each["name"]: each["state"] for each in served.client.get("/readyz").json()["datasets"]}
        assert states == {"clinic": "ready", "second": "refused"}
        assert served.ask(COUNT).json()["status"] == "answered"


def test_a_full_disk_at_the_start_or_during_the_ingest_leaves_nothing_half_there(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    assert "the disk is full" in said(bpk("sandbox", "ingest", "--home", home.root, file_bytes_max=50_000))
    left = [path for path in (home.root / "state/domain").rglob("*") if path.is_file() and path.name != ".lock"]
    assert [path.name for path in left] == ["bounding.seed"]  # whole, and the one that is used from now on
    seed = seed_of(home.root / "state/domain")
    told = said(bpk("serve", "--home", home.root, "--port", "0", file_bytes_max=20_000))
    assert "ledger.sqlite" in told
    assert "disk" in told
    with serving(home) as served:
        assert served.ask(COUNT).json()["status"] == "answered"
    assert seed_of(home.root / "state/domain") == seed


def test_a_busy_port_stops_the_start_before_anything_is_opened(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = said(bpk("serve", "--home", home.root, "--port", taken.getsockname()[1]))
    assert "--port" in told
    assert not home.ledger_file.exists()


def test_an_operators_answer_is_not_given_to_another_where_the_policy_says_so(tmp_path: Path) -> None:
    """Neither by asking, by checking, by key nor by id."""
    policy = POLICY.replace("reuse_across_operators = true", "reuse_across_operators = false")
    with serving(make_home(tmp_path / "home", policy=policy)) as served:
        body = {"sql": COUNT, "purpose": "research"}
        first = served.call("POST", "/v1/queries", body, Idempotency_Key="same").json()
        assert served.call("POST", "/v1/queries/check", body, "op-b").json()["reused"] is False
        assert served.call("GET", f"/v1/queries/{first['id']}", None, "op-b").status_code == 404
        other = served.call("POST", "/v1/queries", body, "op-b", Idempotency_Key="same").json()
        assert other["id"] != first["id"]
        assert (other["reused"], other["cost"]) == (False, first["cost"])
