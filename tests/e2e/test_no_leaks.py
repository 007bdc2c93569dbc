"""After a day's work of a served home: what lies in logs, counters, exports and the gateway's state tells no row."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.domain_door import open_domain
from sandbox import logs
from tests.attack.test_hostile_over_http import PRIVATE_KEYS, QUESTIONS, SMUGGLED, STATEMENTS
from tests.deployment import below, processes
from tests.homes import make
from tests.served_home import Served, serving
from tests.twin_homes import SECRETS, twin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers behind walls are there on Linux only")

ENGINE_WORDS = ("duckdb", "Binder Error", "Conversion Error", "Catalog Error", "Parser Error", "sqlglot", "opendp",
                "sqlite3", "pydantic", "Traceback", ".py", "<class")  # fmt: skip
SQL_WORDS = ("SELECT", "__unit", "FROM people", "GROUP BY", "sum(", "read_only")
SUMS = ("SELECT SUM(收入) AS s FROM people", "SELECT SUM(cost) AS s FROM visits", "SELECT SUM(price) AS s FROM items")


@dataclass
class Day:
    """A served home that was asked many things, and every reply it gave."""

    served: Served
    replies: list[httpx.Response] = field(default_factory=list)
    exact: tuple[str, ...] = ()
    """Exact sums, as digits."""

    sums: list[dict[str, Any]] = field(default_factory=list)
    """The answers to SUMS, in order."""

    @property
    def state(self) -> Path:
        return self.served.home.root / "state"

    def processes(self) -> list[str]:
        return [each.command for each in below(self.served.process.pid, processes())]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    files = twin(poisoned=True)
    with serving(make(tmp_path_factory.mktemp("day") / "home", files)) as served:
        tables = files.tables["clinic"]
        day = Day(served, exact=tuple(_clamped(tables[name][1], *place) for name, *place in _EXACT))
        for sql in STATEMENTS[::12] + [str(each["sql"]) for each in SMUGGLED]:
            day.replies.append(served.ask(sql))
        for question in QUESTIONS[::3]:
            day.replies.append(served.call("POST", "/v1/queries", {"epsilon": "0.05", **question}))
        for sql in (*SUMS, *PRIVATE_KEYS):
            day.replies.append(served.ask(sql, epsilon="0.05"))
        day.sums = [reply.json() for reply in day.replies[-len(SUMS) - len(PRIVATE_KEYS) :][: len(SUMS)]]
        _kill_workers(served)
        day.replies += [served.ask(f"SELECT SUM(收入 + {n}) AS s FROM people", epsilon="0.01") for n in range(4)]
        routes = ("/v1/queries", "/v1/datasets", "/v1/datasets/clinic", "/v1/budgets", "/nowhere")
        day.replies += [served.call("GET", route) for route in routes]
        day.replies += [
            served.client.get(route) for route in ("/metrics", "/readyz", "/healthz", "/docs", "/openapi.json")
        ]
        yield day


_EXACT = (("people", 4, 0, 1000), ("visits", 4, 0, 20_000), ("items", 1, 0, 500))


def _clamped(rows: list[list[object]], column: int, low: int, high: int) -> str:
    total = sum(min(max(Decimal(str(row[column])), Decimal(low)), Decimal(high)) for row in rows)
    return str(total)


def _kill_workers(served: Served) -> None:
    """Jobs whose workers die are the ones that have something to say in a log."""
    for each in below(served.process.pid, processes()):
        if "sandbox.zygote" in each.command:
            os.kill(each.pid, signal.SIGKILL)


def export(served: Served) -> str:
    return served.call("GET", "/v1/audit/export", None, "aud", "auditor").text


def found(text: str, words: tuple[str, ...]) -> list[str]:
    """Words that stand in the text, as they are or as JSON writes them."""
    return [word for word in words if word in text or json.dumps(word, ensure_ascii=False)[1:-1] in text]


def numbers(text: str) -> set[str]:
    """Every number of a text, without what stands behind a final point of zeros."""
    return set(re.findall(r"(?<![0-9a-zA-Z.])\d+(?:\.\d+)?(?![0-9a-zA-Z])", text))


def test_the_days_questions_were_answered_and_refused(day: Day) -> None:
    said = {reply.json().get("status") for reply in day.replies if reply.headers["content-type"].endswith("json")}
    assert {"answered", 400, 403} <= said
    assert len(day.sums) == len(day.exact)
    for body, exact in zip(day.sums, day.exact, strict=True):
        low, high = (Decimal(str(edge)) for edge in body["intervals"][0][0])
        assert abs(Decimal(str(body["rows"][0][0])) - Decimal(exact)) < 4 * (high - low)
        assert str(body["rows"][0][0]) != exact
    assert not [reply.text for reply in day.replies if reply.status_code >= 500 and reply.json()["code"] != "busy"]


def test_no_reply_holds_a_secret_or_a_word_of_the_engine(day: Day) -> None:
    for reply in day.replies:
        asked = reply.request.content.decode()
        text = reply.text + repr(reply.headers.multi_items())
        if reply.status_code >= 400:
            asked += reply.headers.get("content-type", "")
            told = [word for word in found(text, ENGINE_WORDS) if word not in asked]
            assert not told, (asked, text)
        assert not [secret for secret in found(text, SECRETS) if secret not in asked], (asked, text)


def kept_from_logs(day: Day) -> tuple[str, ...]:
    """Every statement and literal that was asked, every token, private key and salt, every exact sum, who asked."""
    asked = [json.loads(reply.request.content) for reply in day.replies if reply.request.content.startswith(b"{")]
    literals = [str(value) for each in asked for value in (each.get("parameters") or {}).values()]
    keys = [line for path in (day.served.home.root / "keys").glob("*.key") for line in path.read_text().splitlines()]
    salts = []
    for place, sql in (("gateway/ledger", "SELECT salt FROM secret"), ("domain/domain", "SELECT salt FROM release")):
        with sqlite3.connect(day.state / f"{place}.sqlite") as store:
            salts += [salt for (salt,) in store.execute(sql)]
        store.close()
    return (
        *(each["sql"] for each in asked if "sql" in each),
        *(literal for literal in literals if len(literal) > 8),
        *(line for line in keys if not line.startswith("---")),
        *(form for salt in salts for form in (salt.hex(), base64.b64encode(salt).decode(), repr(salt))),
        *(part for token in day.served.tokens.values() for part in token.split(".")),
        *day.exact,
        *SECRETS,
        *SQL_WORDS,
        *ENGINE_WORDS[:5],
        "Traceback",
        "op-a",
    )


def test_the_log_of_the_process_holds_no_statement_no_value_no_key_and_nobody(day: Day) -> None:
    log, words = day.served.log(), kept_from_logs(day)
    assert not found(log, words)
    said = [json.loads(line) for line in log.splitlines()]
    assert len(said) > len(day.replies)
    fields = {"time", "level", "logger", "event", "left_out", *logs.FIELDS}
    assert {field for line in said for field in line} <= fields
    assert not [line for line in said if "left_out" in line]
    requests = [line for line in said if line["event"] == "request"]
    assert {"POST /v1/queries 200", "POST /v1/queries 403"} <= {
        f"{x['method']} {x['route']} {x['status']}" for x in requests
    }
    assert len({line["request_id"] for line in requests}) == len(requests)
    failed = [line for line in said if line["event"] == "a job failed"]
    assert all(line["query_id"].startswith("qry_") and line["ticket"].startswith("tkt_") for line in failed)
    assert words[0].startswith("SELECT") or len(words[0]) > 8


@pytest.mark.parametrize("kind", range(8))
def test_planted_one_careless_line_is_found(day: Day, kind: int) -> None:
    words = kept_from_logs(day)
    planted = words[kind * len(words) // 8]
    assert planted in found(day.served.log() + json.dumps({"event": f"asked {planted}"}, ensure_ascii=False), words)


def test_the_counters_hold_nothing_but_counts_of_routes_and_verdicts(day: Day) -> None:
    text = day.served.client.get("/metrics").text
    labels = set(re.findall(r'(\w+)="([^"]*)"', text))
    assert {name for name, _ in labels} <= {"route", "method", "status", "verdict", "code", "mode", "le"}
    assert not found(text, (*SECRETS, "clinic", "people", "op-a"))


def test_the_export_holds_commitments_and_no_text(day: Day) -> None:
    text = export(day.served)
    assert not found(text, (*SECRETS, *SQL_WORDS, "diagnosis"))
    assert not numbers(text) & set(day.exact)


def test_the_gateways_state_holds_no_exact_sum_and_no_row(day: Day) -> None:
    names = [
        secret
        for secret in SECRETS
        if not any(secret in str(each["sql"]) + str(each.get("parameters")) for each in QUESTIONS)
    ]
    assert names
    for path in (day.state / "gateway").rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            assert not found(text, (*names, *day.exact)), path
    with sqlite3.connect(day.state / "gateway" / "ledger.sqlite") as ledger:
        dump = "\n".join(ledger.iterdump())
    ledger.close()
    assert not numbers(dump) & set(day.exact)


def test_the_data_domain_keeps_released_values_only(day: Day) -> None:
    """An exact sum is in a worker's memory and in the snapshot's rows, never written down as a sum."""
    with sqlite3.connect(day.state / "domain" / "domain.sqlite") as store:
        bodies = [body.decode() for (body,) in store.execute("SELECT body FROM release")]
    store.close()
    assert len(bodies) > 10
    whole = {each.replace(".", "") for each in day.exact} | set(day.exact)
    assert not [body for body in bodies if numbers(body) & whole or found(body, SECRETS[:1])]


def test_a_hidden_name_is_in_no_file_of_the_state(day: Day) -> None:
    hidden = SECRETS[0].encode()
    assert [path for path in (day.served.home.root / "data").rglob("*.csv") if hidden in path.read_bytes()]
    assert not [path for path in day.state.rglob("*") if path.is_file() and hidden in path.read_bytes()]


def test_no_token_and_no_statement_is_on_a_command_line(day: Day) -> None:
    lines = "\n".join(day.processes())
    assert "sandbox serve" in lines
    assert not found(lines, (*SECRETS, "SELECT", day.served.token("op-a")[:30], "BEGIN PRIVATE KEY"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_state_and_socket_are_closed_to_others(day: Day) -> None:
    root = day.served.home.root
    assert mode(root) == 0o700
    assert {mode(path) for path in (root / "keys").glob("*.key")} == {0o600}
    for folder in ("keys", "state", "state/gateway", "state/domain"):
        assert mode(root / folder) & 0o066 == 0, folder
    private = [path for path in (root / "state").rglob("*") if path.suffix in (".sqlite", ".seed", ".lock", ".json")]
    assert {path.name for path in private} >= {"ledger.sqlite", "domain.sqlite", "bounding.seed", "address.json"}
    shown = {path.name: oct(mode(path)) for path in private if mode(path) & 0o077}
    assert not {name for name in shown if name not in ("manifest.json", "current.json")}, shown
    door = Path(json.loads(day.served.home.address_file.read_text())["door"])
    assert (mode(door), mode(door.parent)) == (0o600, 0o700)
    assert stat.S_ISSOCK(door.stat().st_mode)


def test_the_door_says_nothing_to_who_speaks_another_language(day: Day) -> None:
    """Whoever gets to the socket gets plans and prices; rows, sums and texts of errors never."""
    door = Path(json.loads(day.served.home.address_file.read_text())["door"])
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(door)), base_url="http://domain", trust_env=False
    ) as client:
        for body in (b"", b"{", b"null", b'{"@":"Run"}', b'{"@":"Ticket"}', b"[" * 10_000, b"\xff"):
            for route in ("/v1/prepare", "/v1/run", "/v1/fetch", "/v1/cancel"):
                reply = client.post(route, content=body)
                assert (reply.status_code, reply.content) == (400, b"")
        for route in ("/docs", "/openapi.json", "/v1/rows", "/"):
            assert client.get(route).status_code == 404
    domain = open_domain(day.served.home, door)
    assert not found(repr(domain.status()), (*SECRETS, "SELECT", *day.exact))
    domain.close()


def test_nothing_of_a_home_may_be_written_by_others(day: Day) -> None:
    others = subprocess.run(
        ["find", str(day.served.home.root), "-perm", "/o+w", "-not", "-type", "l"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert others.stdout == ""


# Planted: what is looked for is found when it is there.


def test_planted_a_value_in_the_gateways_state_is_seen(day: Day) -> None:
    planted = f'{{"exact": {day.exact[1]}, "name": "{SECRETS[0]}"}}'
    assert found(planted, SECRETS) == [SECRETS[0]]
    assert numbers(planted) & set(day.exact)
