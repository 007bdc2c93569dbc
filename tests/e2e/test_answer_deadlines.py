"""A home whose answers come at their deadline, asked over HTTP; and the lengths of all replies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.deployment import below, processes
from tests.homes import Licensed, make
from tests.served_home import POLICY, Served, clinic_files, serving

DEADLINE_S = 1.5


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    files = clinic_files(policy=POLICY, licences=(Licensed("op-a", "6"),))
    files = replace(files, dataset=f"deadlines_s = [{DEADLINE_S}]\n")
    with serving(make(tmp_path_factory.mktemp("timed") / "home", files)) as found:
        yield found


def timed(served: Served, sql: str, **more: object) -> tuple[dict[str, object], float]:
    begin = time.monotonic()
    body = served.ask(sql, **more).json()
    return body, time.monotonic() - begin


@pytest.mark.parametrize("mode", ["dp", "aggregate"])
def test_an_answer_comes_at_the_deadline_that_was_told(served: Served, mode: str) -> None:
    sql = "SELECT sex, COUNT(*) AS n FROM people GROUP BY sex"
    check = served.call("POST", "/v1/queries/check", {"sql": sql, "purpose": "research", "mode": mode}).json()
    assert check["deadline_s"] == DEADLINE_S
    body, took = timed(served, sql, mode=mode)
    assert body["status"] == "answered"
    assert took >= DEADLINE_S
    body, took = timed(served, sql, mode=mode)
    assert (body["reused"], took < DEADLINE_S) == (True, True)


def test_open_rows_come_when_they_are_ready(served: Served) -> None:
    sql = "SELECT id, level FROM hospitals"
    check = served.call("POST", "/v1/queries/check", {"sql": sql, "purpose": "research", "mode": "open"}).json()
    assert check["deadline_s"] is None


def test_a_question_whose_worker_is_killed_fails_at_its_deadline(served: Served) -> None:
    """Not when it died: that moment is the worker's own."""
    begin = time.monotonic()
    accepted = served.ask("SELECT COUNT(*) AS n FROM visits WHERE cost >= 30", wait_s=0)
    assert accepted.status_code == 202, accepted.text
    for each in below(served.process.pid, processes()):
        if "sandbox.zygote" in each.command:
            os.kill(each.pid, signal.SIGKILL)
    route = f"/v1/queries/{accepted.json()['id']}"
    while (body := served.call("GET", route).json())["status"] == "running":
        assert time.monotonic() - begin < 30
        time.sleep(0.02)
    assert time.monotonic() - begin >= DEADLINE_S
    assert body["status"] in ("failed", "answered")  # answered where it was done before it was killed


def test_deadlines_are_told_in_the_catalogue_and_to_whoever_runs_the_gateway(served: Served) -> None:
    detail = served.call("GET", "/v1/datasets/clinic").json()
    assert detail["deadlines_s"] == [DEADLINE_S]
    assert served.call("GET", "/v1/datasets").json()["datasets"][0]["deadlines_s"] == [DEADLINE_S]
    ready = served.client.get("/readyz").json()
    assert "answer_deadlines" not in ready["degraded"]
    assert ready["datasets"][0]["deadlines_s"] == [DEADLINE_S]


def test_lengths_of_replies_are_few(served: Served) -> None:
    replies = [
        served.ask("SELECT COUNT(*) AS n FROM people"),
        served.ask("SELECT name FROM people"),
        served.call("GET", "/v1/queries"),
        served.call("GET", "/v1/datasets/clinic"),
        served.call("GET", "/v1/nothing"),
    ]
    for reply in replies:
        length = int(reply.headers["content-length"])
        assert length == len(reply.content)
        assert length in {1024 << i for i in range(7)} or length % 65536 == 0
        assert reply.headers["cache-control"] == "no-store"
        assert "content-encoding" not in reply.headers


def test_answers_are_not_compressed_whatever_is_asked_for(served: Served) -> None:
    reply = served.call("GET", "/v1/datasets/clinic", Accept_Encoding="gzip, br, zstd")
    assert "content-encoding" not in reply.headers
    assert len(reply.content) == int(reply.headers["content-length"])


def test_whoever_asks_may_give_the_question_more_time(tmp_path: Path) -> None:
    files = clinic_files(policy=POLICY, licences=(Licensed("op-a", "6"),))
    files = replace(files, dataset="deadlines_s = [1, 2]\n")
    with serving(make(tmp_path / "home", files)) as served:
        sql = "SELECT COUNT(*) AS n FROM people"

        def told(**more: object) -> object:
            asked = {"sql": sql, "purpose": "research", **more}
            return served.call("POST", "/v1/queries/check", asked).json().get("deadline_s")

        assert [told(), told(deadline_s=0.5), told(deadline_s=1.5), told(deadline_s=100)] == [1, 1, 2, 2]
        body, took = timed(served, sql, deadline_s=1.5)
        assert body["status"] == "answered"
        assert took >= 2
        wrong = served.ask(sql, deadline_s=-1).json()
        assert (wrong["code"], "deadline_s" in wrong["detail"]) == ("body_invalid", True)
