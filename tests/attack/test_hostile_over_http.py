"""Hostile statements against two served homes that differ in their private data alone: nothing may tell them apart."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.attack.test_hostile_sql_reading import corpus
from tests.homes import make
from tests.served_home import Served, serving
from tests.twin_homes import SECRETS, twin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers behind walls are there on Linux only")

OWN_HEADERS = frozenset({"date", "x-request-id"})
STATEMENTS = sorted({sql for _, _, sql in corpus()})
CHECKED = STATEMENTS if os.environ.get("BPK_LONG") else STATEMENTS[::4]
Twins = tuple[Served, Served]

SMUGGLED = [
    {"sql": "SELECT COUNT(*) FROM people WHERE sex = $a", "parameters": {"a": "F' OR name LIKE 'G%' --"}},
    {"sql": "SELECT COUNT(*) FROM people WHERE sex = $a", "parameters": {"a": "F'); COPY people TO 'x'; --"}},
    {"sql": "SELECT COUNT(*) FROM people WHERE sex = $a", "parameters": {"a": "\x00\x1b]0;x\x07"}},
    {"sql": "SELECT COUNT(*) FROM people WHERE sex = $a", "parameters": {"a": "\ud800"}},
    {"sql": "SELECT COUNT(*) FROM people WHERE sex = $a", "parameters": {"a": "x" * 30_000}},
    {"sql": "SELECT COUNT(*) FROM people WHERE sex = $a", "parameters": {"a; DROP TABLE people": "F"}},
    {"sql": "SELECT COUNT(*) FROM people WHERE sex = $a", "parameters": {"a": 7}},
    {"sql": "SELECT COUNT(*) FROM people WHERE sex = $a", "parameters": {"a": "F", "b": "never used"}},
    {"sql": "SELECT COUNT(*) FROM people WHERE weight > $a", "parameters": {"a": "read_csv('/etc/passwd')"}},
    {"sql": "SELECT COUNT(*) FROM people WHERE weight > $a", "parameters": {"a": 10**37}},
    {"sql": "SELECT COUNT(*) FROM people WHERE weight > $a", "parameters": {"a": 1e-99}},
    {"sql": "SELECT COUNT(*) FROM $t", "parameters": {"t": "people"}},
    {"sql": "SELECT $c FROM people", "parameters": {"c": "name"}},
    {"sql": "SELECT COUNT(*) FROM people LIMIT $n", "parameters": {"n": 1}},
    {"sql": "SELECT COUNT(*) FROM people GROUP BY $k", "parameters": {"k": "name"}},
    {"sql": "SELECT COUNT(*) AS $k FROM people", "parameters": {"k": "name"}},
    {"sql": "SELECT COUNT(*) FROM people WHERE diagnosis = ?", "parameters": {"1": SECRETS[1]}},
    {"sql": 'SELECT COUNT(*) AS "$a" FROM people', "parameters": {"a": "F"}},
    {"sql": "SELECT COUNT(*) FROM people WHERE sex = '$a'", "parameters": {"a": "F"}},
]
ALIASES = [
    '"quoted ""twice"" "',
    '"two\nlines"',
    '"tab\there"',
    '"back\\slash"',
    '"<script>alert(1)</script>"',
    '"\u202eright to left"',
    '"zero\u200bwidth"',
    '"[bold red]rich[/]"',
    '"%s %(n)s {0}"',
    '"../../etc/passwd"',
    '"constructor"',
    '"__proto__"',
    '"k0"',
    '"m0"',
    '"__unit"',
    '"people"',
    '"名字"',
    '"' + "x" * 5_000 + '"',
    '""',
    '" "',
    '"\x1b[31mred"',
    '"\x9b31mred"',
    '"\x00"',
]
QUESTIONS = [
    *({"sql": f"SELECT COUNT(*) AS {alias} FROM people"} for alias in ALIASES),
    *SMUGGLED,
    {"sql": "SELECT COUNT(*) AS n, COUNT(*) AS n FROM people"},
    {"sql": "SELECT COUNT(*), COUNT(*) FROM people"},
    {"sql": "SELECT sex AS n, COUNT(*) AS n FROM people GROUP BY sex ORDER BY n"},
    {"sql": "SELECT sex, SUM(收入) AS s, AVG(income) AS a FROM people GROUP BY sex"},
    {"sql": "SELECT SUM(收入 * 收入 * 收入) AS s FROM people"},
    {"sql": "SELECT SUM(收入 + 2147483647) AS s FROM people"},
    {"sql": "SELECT SUM(CASE WHEN age = 0 THEN 1 ELSE 收入 END) AS s FROM people"},
    {"sql": "SELECT SUM(weight) AS s, AVG(weight) AS a FROM people"},
    {"sql": "SELECT SUM(abs(收入 - 1000)) AS s FROM people"},
    {"sql": "SELECT COUNT(*) AS n FROM people WHERE age / 0 = 1"},
    {"sql": "SELECT COUNT(*) AS n FROM people WHERE 1 / age > 0.5"},
    {"sql": "SELECT COUNT(*) AS n FROM people WHERE age * age * age * age > 5"},
    {"sql": "SELECT COUNT(*) AS n FROM people WHERE weight / (weight - weight) > 1"},
    {"sql": "SELECT COUNT(*) / 0 AS z, 1 / (COUNT(*) - COUNT(*)) AS y FROM people"},
    {"sql": "SELECT COUNT(*) * 9999999999999999999999999999999999999 AS z FROM people"},
    {"sql": "SELECT year(birth_date) AS y, COUNT(*) AS n FROM people GROUP BY 1 ORDER BY 1"},
    {"sql": "SELECT COUNT(*) AS n FROM people WHERE year(birth_date) = 1923"},
    {"sql": "SELECT bin(weight) AS b, COUNT(*) AS n FROM people GROUP BY bin(weight)"},
    {"sql": "SELECT active, sex, COUNT(*) AS n FROM people GROUP BY active, sex ORDER BY 1, 2"},
    {"sql": "SELECT COUNT(DISTINCT pid) AS n FROM visits"},
    {"sql": f"SELECT COUNT(*) AS n FROM people WHERE diagnosis = '{SECRETS[1]}'"},
    {"sql": f"SELECT COUNT(*) AS n FROM people WHERE diagnosis IN ('{SECRETS[1]}', '1e400', '')"},
    {"sql": "SELECT SUM(CASE WHEN diagnosis = 'flu' THEN 1 ELSE 0 END) AS n FROM people"},
    {"sql": "SELECT h.level, SUM(v.cost) AS s FROM visits v JOIN hospitals h ON v.hospital = h.id GROUP BY h.level"},
    {"sql": "SELECT r.title, COUNT(*) AS n FROM visits v JOIN hospitals h ON v.hospital = h.id "
            "JOIN regions r ON h.region = r.code GROUP BY r.title"},
    {"sql": "SELECT SUM(i.price) AS s FROM items i JOIN visits v ON i.visit_id = v.visit_id "
            "JOIN people p ON v.pid = p.pid WHERE p.sex = 'F'"},
    {"sql": "SELECT date_trunc('year', visit_date) AS y, COUNT(*) AS n FROM visits GROUP BY 1"},
    {"sql": "SELECT COALESCE(SUM(收入), 0) AS s FROM people WHERE sex IS NULL"},
    {"sql": "SELECT COUNT(*) AS n FROM people", "epsilon": "0.000000000001"},
    {"sql": "SELECT COUNT(*) AS n FROM people", "epsilon": 1e-30},
    {"sql": "SELECT COUNT(*) AS n FROM people", "purpose": "actuarial"},
    {"sql": "SELECT COUNT(*) AS n FROM people", "purpose": "RESEARCH"},
    {"sql": "SELECT COUNT(*) AS n FROM people", "purpose": ""},
    {"sql": "SELECT COUNT(*) AS n FROM people", "purpose": "research' OR 'a' = 'a"},
    {"sql": "SELECT COUNT(*) AS n FROM people", "mode": "open"},
    {"sql": "SELECT COUNT(*) AS n FROM people", "mode": "aggregate"},
    {"sql": "SELECT COUNT(*) AS n FROM school.pupils"},
    {"sql": "SELECT COUNT(*) AS n FROM pupils"},
    {"sql": "SELECT COUNT(*) AS n FROM clinic.people"},
]  # fmt: skip
PRIVATE_KEYS = [
    "SELECT diagnosis, COUNT(*) AS n FROM people GROUP BY diagnosis",
    "SELECT diagnosis, SUM(收入) AS s FROM people WHERE sex = 'F' GROUP BY diagnosis ORDER BY s DESC LIMIT 3",
    "SELECT sex, COUNT(*) AS n FROM people GROUP BY sex HAVING COUNT(*) > 100",
]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    root = tmp_path_factory.mktemp("twins")
    with contextlib.ExitStack() as stack:
        one, two = (
            stack.enter_context(serving(make(root / name, twin(poisoned=name == "poisoned")), ready=False))
            for name in ("poisoned", "plain")
        )
        for served in (one, two):
            served.wait_until_ready()
            served.token("op-a")
        yield one, two


def both(twins: Twins, act: Callable[[Served], list[httpx.Response]]) -> list[tuple[httpx.Response, httpx.Response]]:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(act, twins)
    return list(zip(one, two, strict=True))


def seen(reply: httpx.Response, *, rows: bool = True) -> dict[str, Any]:
    """All of a reply that must not depend on private data."""
    headers = {name: text for name, text in reply.headers.items() if name not in OWN_HEADERS}
    body = reply.json()
    assert isinstance(body, dict)
    if body.get("status") == "answered":
        headers.pop("content-length")
        body = _without_values(body, rows=rows)
    for own in ("id", "query_id", "receipt", "opening"):
        body.pop(own, None)
    return {"status": reply.status_code, "headers": headers, "body": body}


def _without_values(body: dict[str, Any], *, rows: bool) -> dict[str, Any]:
    kinds = [column["kind"] for column in body["columns"]]
    keys = [[cell for cell, kind in zip(row, kinds, strict=True) if kind == "key"] for row in body["rows"]]
    intervals = [[cell is None for cell in row] for row in body["intervals"]]
    notes = [[[note for note in cell or () if note != "near_threshold"] for cell in row] for row in body["notes"]]
    kept = {name: value for name, value in body.items() if name not in ("rows", "intervals", "notes")}
    return kept | ({"keys": keys, "intervals": intervals, "notes": notes} if rows else {})


def told(reply: httpx.Response) -> list[str]:
    """The planted secrets that a reply holds, unless its question named them."""
    text = reply.text + repr(reply.headers.multi_items())
    return [secret for secret in SECRETS if secret in text and secret not in reply.request.content.decode()]


def faults(one: httpx.Response, two: httpx.Response, *, rows: bool = True) -> list[str]:
    found = [f"says {secret}" for reply in (one, two) for secret in told(reply)]
    found += [f"HTTP {reply.status_code}" for reply in (one, two) if reply.status_code >= 500]
    if seen(one, rows=rows) != seen(two, rows=rows):
        found.append(f"differ: {seen(one, rows=rows)} {seen(two, rows=rows)}")
    return found


def report(pairs: list[tuple[httpx.Response, httpx.Response]], *, rows: bool = True) -> str:
    return "\n".join(
        f"{one.request.content.decode()}: {fault}" for one, two in pairs for fault in faults(one, two, rows=rows)
    )


def test_no_hostile_statement_is_answered_fails_or_shows_a_difference_of_data(twins: Twins) -> None:
    pairs = both(twins, lambda served: [served.ask(sql) for sql in STATEMENTS])
    assert len(pairs) >= 600
    assert not report(pairs)
    assert {reply.headers["content-type"] for pair in pairs for reply in pair} == {"application/problem+json"}
    assert {reply.status_code for pair in pairs for reply in pair} <= {400, 403, 422}


def test_checking_a_hostile_statement_shows_no_difference_either(twins: Twins) -> None:
    def check(served: Served) -> list[httpx.Response]:
        return [served.call("POST", "/v1/queries/check", {"sql": sql}) for sql in CHECKED]

    pairs = both(twins, check)
    assert not report(pairs)
    assert {reply.json()["verdict"] for pair in pairs for reply in pair} == {"refuse"}


def test_shapes_prices_and_notes_of_answers_do_not_depend_on_data(twins: Twins) -> None:
    def ask(served: Served) -> list[httpx.Response]:
        found = []
        for question in QUESTIONS:
            body = {"purpose": "research", "epsilon": "0.05", **question}
            found.append(served.call("POST", "/v1/queries/check", body))
            found.append(served.call("POST", "/v1/queries", body))
        return found

    pairs = both(twins, ask)
    assert not report(pairs)
    charged = [one.json() for one, _ in pairs if one.status_code == 200 and "id" in one.json()]
    assert {each["status"] for each in charged} == {"answered"}
    assert len(charged) >= 40


def test_private_keys_show_no_key_of_a_few_and_nothing_else_that_depends_on_data(twins: Twins) -> None:
    pairs = both(twins, lambda served: [served.ask(sql, epsilon="0.05") for sql in PRIVATE_KEYS])
    assert not report(pairs, rows=False)
    assert all(one.json()["status"] == "answered" for one, _ in pairs)


def test_neither_log_nor_counters_say_a_value_a_name_or_a_statement(twins: Twins) -> None:
    for served in twins:
        text = served.log() + served.client.get("/metrics").text + served.client.get("/readyz").text
        for word in (*SECRETS, "SELECT", "FROM people", "diagnosis", "Traceback", "duckdb", "sqlglot", "op-a"):
            assert word not in text, word


def test_both_logs_of_records_tell_the_same_story(twins: Twins) -> None:
    """What an auditor sees of refused questions must not depend on data either."""

    def story(served: Served) -> list[tuple[Any, ...]]:
        kept = ("kind", "decision", "code", "actor", "dataset")
        return [tuple(record.get(name) for name in kept) for record in served.records(decision="refused")]

    assert story(twins[0]) == story(twins[1])


# Planted faults: what the comparison is there for, it sees.


def test_planted_values_that_differ_are_seen(twins: Twins) -> None:
    (pair,) = both(twins, lambda served: [served.ask("SELECT SUM(income) AS s FROM people", epsilon="0.05")])
    assert not report([pair])
    assert pair[0].json()["rows"] != pair[1].json()["rows"]
    bodies = [reply.json() for reply in pair]
    planted = [{**body, "columns": [{"name": str(body["rows"]), "kind": "noisy"}]} for body in bodies]
    one, two = (
        httpx.Response(200, json=body, request=reply.request) for body, reply in zip(planted, pair, strict=True)
    )
    assert "differ" in report([(one, two)])


@pytest.mark.parametrize("place", ["body", "header"])
def test_planted_a_secret_in_a_reply_is_seen(place: str) -> None:
    request = httpx.Request("POST", "http://gateway/v1/queries", json={"sql": "SELECT 1"})
    body = {"detail": f"cannot cast {SECRETS[0]}" if place == "body" else ""}
    headers = {"X-Hint": SECRETS[1]} if place == "header" else {}
    reply = httpx.Response(403, json=body, headers=headers, request=request)
    assert "says" in report([(reply, reply)])
    assert "HTTP 500" in report([(httpx.Response(500, json={}, request=request),) * 2])
