"""Turns over HTTP: two operators, two places, and a deadline that every place is held until."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Final

import httpx
import pytest

from tests.deployment import below, processes
from tests.homes import Licensed, make
from tests.isolation.test_pool import gone
from tests.served_home import POLICY, Served, clinic_files, serving
from tests.waiting import eventually

DEADLINE_S: Final = 1
LONG_S: Final = 8
WAIT_S: Final = 40
FLOOD: Final = 18
numbers = iter(range(10_000))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    policy = POLICY.replace("[release]\n", "[release]\nconcurrent_max = 16\n")
    who = (Licensed("op-a", "6"), Licensed("op-b", "6"))
    files = clinic_files(200, policy=policy, licences=who, worker="[worker]\nthreads = 1\nwarm = 2\nmax = 2\n")
    files = replace(files, dataset=f"deadlines_s = [{DEADLINE_S}, {LONG_S}]\n")
    with serving(make(tmp_path_factory.mktemp("turns") / "home", files)) as found:
        for name in ("op-a", "op-b"):
            found.token(name)
        yield found


def fresh() -> str:
    return f"SELECT SUM(CASE WHEN sex = 'F' THEN {next(numbers)} ELSE 0 END) AS s FROM people"


def gauge(served: Served, name: str) -> int:
    found = re.search(rf'^bpk_questions_{name}{{mode="dp"}} (\d+)$', served.client.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return int(found[1])


@contextmanager
def flood(served: Served, many: int = FLOOD) -> Iterator[list[Future[httpx.Response]]]:
    """Both places are held for some seconds, and `op-a` asks so many questions at once; afterwards all are answered."""
    hold(served)
    with ThreadPoolExecutor(many) as pool:
        asked = [pool.submit(served.ask, fresh(), "op-a", epsilon="0.001") for _ in range(many)]
        assert eventually(lambda: gauge(served, "waiting") >= 6, WAIT_S)
        yield asked
    assert eventually(lambda: gauge(served, "running") == gauge(served, "waiting") == 0, WAIT_S)


def hold(served: Served) -> None:
    """Both places are taken for `LONG_S`."""
    for _ in range(2):
        assert served.ask(fresh(), "op-a", epsilon="0.001", deadline_s=LONG_S, wait_s=0).status_code == 202


def charged(served: Served) -> list[str]:
    return [each["actor"] for each in served.records(kind="charge")]


def test_a_single_question_is_not_behind_the_flood_of_another_operator(served: Served) -> None:
    before = len(charged(served)) + 2
    with flood(served) as asked:
        reply = served.ask(fresh(), "op-b", epsilon="0.001").json()
        assert reply["status"] == "answered"
        since = charged(served)[before:]
        assert since.index("op-b") <= 4, since  # by the order of arrival eight were before it
    replies = [each.result() for each in asked]
    busy = [each for each in replies if each.status_code == 503]
    assert {each.json()["code"] for each in busy} == {"busy"}
    assert busy
    for each in busy:
        assert 1 <= int(each.headers["retry-after"]) <= 60
        assert "nothing was charged" in each.json()["hint"]
    answered = [each for each in replies if each.status_code == 200]
    assert len(answered) + len(busy) == FLOOD
    refused = [each for each in served.records(kind="decision") if each["code"] == "busy"]
    assert len(refused) == len(busy)


def test_what_is_stored_waits_for_nobody(served: Served) -> None:
    sql = fresh()
    first = served.ask(sql, "op-b", epsilon="0.001").json()
    with flood(served) as asked:
        again = served.ask(sql, "op-b", epsilon="0.001").json()
        assert sum(each.done() for each in asked) < FLOOD
        assert gauge(served, "waiting") >= 4
    assert again["reused"]
    assert again["rows"] == first["rows"]


def test_whoever_hangs_up_leaves_the_queue_and_is_not_charged(served: Served) -> None:
    """Both places are held for some seconds; the client gives up before."""
    before = charged(served).count("op-b")
    hold(served)
    headers = {"Authorization": f"Bearer {served.token('op-b')}"}
    body = {"sql": fresh(), "purpose": "research", "epsilon": "0.001"}
    with (
        httpx.Client(base_url=served.url, trust_env=False, timeout=LONG_S / 3) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.post("/v1/queries", json=body, headers=headers)
    assert eventually(
        lambda: [each for each in served.records(kind="decision") if each["code"] == "caller_gone"], WAIT_S
    )
    assert gauge(served, "waiting") == 0
    assert eventually(lambda: gauge(served, "running") == 0, WAIT_S)
    assert charged(served).count("op-b") == before


def workers_of(served: Served) -> list[int]:
    zygotes = [each for each in below(served.process.pid, processes()) if "sandbox.zygote" in each.command]
    return [each.pid for each in zygotes if each.parent in {other.pid for other in zygotes}]


def test_a_cancelled_question_is_ended_for_its_caller_and_runs_on_to_its_deadline(served: Served) -> None:
    assert eventually(lambda: len(workers_of(served)) == 2, WAIT_S)
    time.sleep(0.5)  # one that has just come is not ready yet
    workers, asked = workers_of(served), fresh()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)  # whoever is asked now would not answer for days
    begun = served.ask(asked, "op-a", epsilon="0.001", wait_s=0)
    assert begun.status_code == 202, begun.text
    cancelled = served.call("DELETE", f"/v1/queries/{begun.json()['id']}").json()
    assert cancelled["status"] == "cancelled"
    assert not any(gone(pid) for pid in workers)
    assert eventually(lambda: any(gone(pid) for pid in workers), WAIT_S)  # at nine tenths of its deadline
    for pid in workers:
        if not gone(pid):
            os.kill(pid, signal.SIGCONT)
    assert served.call("GET", f"/v1/queries/{begun.json()['id']}").json()["status"] == "cancelled"
    assert eventually(lambda: gauge(served, "running") == 0, WAIT_S)
    assert served.ask(fresh(), "op-a", epsilon="0.001").json()["status"] == "answered"


def test_what_was_cancelled_and_paid_for_is_free_to_whoever_asks_again(served: Served) -> None:
    asked = fresh()
    begun = served.ask(asked, "op-a", epsilon="0.001", wait_s=0)
    served.call("DELETE", f"/v1/queries/{begun.json()['id']}")
    assert eventually(lambda: gauge(served, "running") == 0, WAIT_S)
    again = served.ask(asked, "op-a", epsilon="0.001").json()
    assert (again["status"], again["reused"]) == ("answered", True)


def test_the_places_that_are_shown_have_no_names(served: Served) -> None:
    text = served.client.get("/metrics").text
    assert "op-a" not in text
    assert set(re.findall(r"^bpk_questions_\w+\{(.*?)\}", text, re.MULTILINE)) == {
        f'mode="{mode}"' for mode in ("dp", "aggregate", "open")
    }


def test_whoever_waits_when_the_gateway_stops_is_told_so_at_once(served: Served) -> None:
    """The last of this file: the gateway ends."""
    hold(served)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(served.ask, fresh(), "op-b", epsilon="0.001") for _ in range(3)]
        assert eventually(lambda: gauge(served, "waiting") == 3, LONG_S)
        served.process.send_signal(signal.SIGTERM)
        replies = [each.result(WAIT_S) for each in waiting]
    assert [(each.status_code, each.json()["code"]) for each in replies] == [(503, "not_ready")] * 3
    assert all(int(each.headers["retry-after"]) for each in replies)
    assert served.process.wait(WAIT_S) is not None
    with closing(sqlite3.connect(served.home.ledger_file)) as ledger:
        (kept,) = ledger.execute("SELECT count(*) FROM query WHERE operator = 'op-b' AND state = 'running'").fetchone()
    assert kept == 0
