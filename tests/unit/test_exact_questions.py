"""The gateway's way of an exact question: no price, cells, limits, and what its answer says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from gateway import charging, pipeline
from gateway.audit.verify import verify
from gateway.budget.cells import Cells
from gateway.home import Home
from gateway.http import replies
from policies.types import BIGINT
from sandbox.protocol import FREE, OutputColumn, Prepared, Question, Released, Ticket
from tests.gateway_world import GatewayWorld, ScriptedDomain, gateway_world
from tests.second_verifier import sound
from tests.served_home import EXACT, POLICY

SQL = "SELECT COUNT(*) AS n FROM people"
ASK = {"sql": SQL, "purpose": "research", "mode": "aggregate"}
LIMITS = "cells_max = 30\nwithheld_max = 5\n[tables.people]\n"


class ExactDomain(ScriptedDomain):
    """Answers every question by a release of its own, or by the one that it holds for the question's text."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.shows = (12, 2)
        self.cells: int | None = None
        self.runs: list[Ticket] = []
        self.stored: dict[str, str] = {}
        self.fails = False
        self.gate = Event()
        self.gate.set()

    def prepare(self, question: Question, *, reserve: bool, **_: object) -> Prepared:
        found = self.stored.get(question.plan_digest)
        known = None if found is None else "ab" * 32
        return Prepared(
            question.plan_digest,
            FREE,
            (),
            (),
            (),
            ("a step",),
            "0" * 64,
            found,
            known,
            None,
            (),
            "this run",
            self.cells,
        )

    def run(self, ticket: Ticket, question: Question, prepared: Prepared) -> Released | None:
        self.runs.append(ticket)
        assert self.gate.wait(30)
        self.stored[question.plan_digest] = f"rel_{len(self.runs)}"
        return None if self.fails else self.fetch(self.stored[question.plan_digest], question)

    def fetch(self, release: str, question: Question) -> Released:
        return Released(
            release=release,
            release_hash="ab" * 32,
            price=FREE,
            columns=(OutputColumn("n", BIGINT, "protected"),),
            rows=((1505,), (None,)),
            intervals=(((1503, 1507),), (None,)),
            notes=((("rounded",),), (("withheld",),)),
            confidence="1",
            cells_released=self.shows[0],
            cells_withheld=self.shows[1],
        )


def policy_with_limits(text: str) -> str:
    return text.replace("[tables.people]\n", LIMITS, 1).replace("[release]\n", "[release]\nconcurrent_max = 16\n")


@pytest.fixture(params=[POLICY, EXACT], ids=["both modes", "exact alone"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path / "home", policy=policy_with_limits(request.param), kind=ExactDomain) as found:
        yield found


def domain_of(world: GatewayWorld) -> ExactDomain:
    assert isinstance(world.domain, ExactDomain)
    return world.domain


def ask(world: GatewayWorld, sql: str = SQL, subject: str = "op-a", **more: Any) -> tuple[int, dict[str, Any]]:
    reply = world.call("POST", "/v1/queries", {**ASK, "sql": sql, **more}, subject)
    return reply.status_code, reply.json()


def numbered(i: int) -> str:
    return f"SELECT COUNT(*) AS n FROM visits WHERE cost > {i}"


def test_an_answer_costs_cells_and_cites_the_rules_of_the_policy(world: GatewayWorld) -> None:
    status, body = ask(world)
    assert status == 200
    replies.Answer.model_validate(body)
    assert (body["mode"], body["columns"][0]["kind"], body["confidence"]) == ("aggregate", "protected", 1.0)
    assert body["rows"] == [[1505], [None]]
    assert body["intervals"] == [[[1503, 1507]], [None]]
    assert body["notes"] == [[["rounded"]], [["withheld"]]]
    assert body["cost"] == {"epsilon": "0", "delta": "0", "rho": "0"}
    assert body["budget"] == {"cells": {"name": "clinic", "cells_left": 18, "withheld_left": 3}}
    assert {rule["name"] for rule in body["rules"]} == {
        "units",
        "dominance",
        "p_percent",
        "homogeneous",
        "difference",
        "complementary",
        "rounding",
    }
    assert all(rule["text"] and not rule["text"].endswith(".") for rule in body["rules"])


def test_the_rules_are_the_same_whatever_is_answered(world: GatewayWorld) -> None:
    first = ask(world)[1]["rules"]
    domain_of(world).shows = (1, 0)
    assert ask(world, numbered(1))[1]["rules"] == first
    verdict = world.call("POST", "/v1/queries/check", {**ASK, "sql": numbered(2)}).json()
    assert verdict["rules"] == first
    replies.Check.model_validate(verdict)


def test_it_is_recorded_as_run_and_charged_nothing(world: GatewayWorld) -> None:
    body = ask(world)[1]
    records = [r for r in world.records() if r["query_id"] == body["id"]]
    assert [(r["kind"], r["decision"], r["code"]) for r in records] == [
        ("decision", "run", None),
        ("charge", None, None),
        ("release", None, "cells_12_2"),
    ]
    assert records[1]["charges"] == []
    assert verify(world.export()).ok
    assert sound(world.export())


def test_the_same_question_again_is_free_and_a_repeat_is_told_as_one(world: GatewayWorld) -> None:
    first = ask(world)[1]
    again = ask(world)[1]
    assert (again["reused"], again["budget"]) == (True, first["budget"])
    assert (again["rows"], again["notes"], again["rules"]) == (first["rows"], first["notes"], first["rules"])
    assert len(domain_of(world).runs) == 1
    decisions = [r["decision"] for r in world.records() if r["kind"] == "decision"]
    assert decisions == ["run", "reused"]
    fetched = world.call("GET", f"/v1/queries/{first['id']}").json()
    assert (fetched["rows"], fetched["budget"]) == (first["rows"], first["budget"])


@pytest.mark.parametrize(
    ("shows", "words"), [((30, 0), "30 numbers were shown"), ((0, 5), "5 numbers were withheld from you")]
)
def test_a_limit_that_is_reached_refuses_and_reads_nothing(
    world: GatewayWorld, shows: tuple[int, int], words: str
) -> None:
    domain_of(world).shows = shows
    assert ask(world)[0] == 200
    status, problem = ask(world, numbered(1))
    assert (status, problem["code"]) == (429, "budget_exhausted")
    assert words in problem["detail"]
    assert len(domain_of(world).runs) == 1
    assert world.records()[-1]["code"] == "budget_exhausted"
    check = world.call("POST", "/v1/queries/check", {**ASK, "sql": numbered(1)}).json()
    assert check["problem"]["code"] == "budget_exhausted"
    assert ask(world)[1]["reused"]
    assert ask(world, numbered(1), "op-b")[0] == 200


@pytest.mark.parametrize(("cells", "status"), [(18, 200), (19, 429), (None, 200)])
def test_an_answer_that_is_known_to_pass_the_limit_is_refused_and_reads_nothing(
    world: GatewayWorld, cells: int | None, status: int
) -> None:
    assert ask(world)[1]["budget"]["cells"]["cells_left"] == 18
    domain_of(world).cells = cells
    found, body = ask(world, numbered(1))
    assert found == status
    if status == 429:
        assert (body["code"], len(domain_of(world).runs)) == ("budget_exhausted", 1)
        assert "the answer has 19 numbers, and of `clinic` 18 more may be shown to you" in body["detail"]


def test_planted_without_the_limit_a_search_by_trial_goes_on(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain_of(world).shows = (0, 5)
    assert [ask(world, numbered(i))[0] for i in range(3)] == [200, 429, 429]
    monkeypatch.setattr(Cells, "require_left", lambda *_: None)
    assert [ask(world, numbered(i))[0] for i in range(1, 4)] == [200, 200, 200]


def test_nobody_outruns_a_limit_by_asking_at_once(world: GatewayWorld) -> None:
    domain = domain_of(world)
    domain.shows = (0, 1)
    assert ask(world, SQL, "op-b")[0] == 200
    domain.gate.clear()
    statuses = [ask(world, numbered(i), wait_s=0)[0] for i in range(8)]
    status, problem = ask(world)  # what others were told is told at once, but not beside what is on its way
    domain.gate.set()
    assert statuses == [202] * 5 + [503] * 3
    assert (status, problem["code"]) == (503, "busy")
    world.service.pipeline.running.drain(30)
    assert spent(world) == {"released": 0, "withheld": 5}


def test_planted_without_counting_what_runs_a_limit_is_outrun(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charging, "running", lambda *_: 0)
    domain = domain_of(world)
    domain.shows = (0, 1)
    domain.gate.clear()
    assert [ask(world, numbered(i), wait_s=0)[0] for i in range(8)] == [202] * 8
    domain.gate.set()
    world.service.pipeline.running.drain(30)
    assert spent(world) == {"released": 0, "withheld": 8}


def spent(world: GatewayWorld) -> Any:
    return world.call("GET", "/v1/budgets").json()["cells"][0]["spent"]


def test_another_operators_answer_counts_when_it_is_shown_first(world: GatewayWorld) -> None:
    ask(world)
    first, again = ask(world, subject="op-b")[1], ask(world, subject="op-b")[1]
    assert first["reused"]
    assert first["budget"] == again["budget"] == {"cells": {"name": "clinic", "cells_left": 18, "withheld_left": 3}}


def test_nobody_reads_on_in_others_answers_beyond_the_limit(world: GatewayWorld) -> None:
    domain_of(world).shows = (30, 0)
    ask(world, numbered(1))
    ask(world, SQL, "op-b")
    assert ask(world)[0] == 429
    verdict = world.call("POST", "/v1/queries/check", ASK).json()
    assert verdict["problem"]["code"] == "budget_exhausted"


def test_planted_without_counting_what_is_reused_others_answers_are_free(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charging, "seen", lambda *_: True)
    domain_of(world).shows = (30, 0)
    ask(world, numbered(1))
    ask(world, SQL, "op-b")
    assert ask(world)[0] == 200


def test_a_failure_is_constant_and_what_was_stored_counts_when_it_is_shown(world: GatewayWorld) -> None:
    domain_of(world).fails = True
    body = ask(world)[1]
    assert body == {"id": body["id"], "status": "failed", "code": "query_failed"}
    assert ask(world)[1]["budget"]["cells"]["cells_left"] == 18


def test_epsilon_and_accuracy_are_refused_and_recorded(world: GatewayWorld) -> None:
    for more in ({"epsilon": "0.5"}, {"accuracy": {"absolute": 5}}):
        status, problem = ask(world, **more)
        assert (status, problem["code"]) == (422, "epsilon_invalid")
        assert world.records()[-1]["code"] == "epsilon_invalid"
    assert not domain_of(world).runs


def test_budgets_tell_what_was_shown_and_what_is_left(world: GatewayWorld) -> None:
    ask(world)
    body = world.call("GET", "/v1/budgets").json()
    replies.Budgets.model_validate(body)
    assert body["cells"] == [
        {
            "dataset": "clinic",
            "cap": {"released": 30, "withheld": 5},
            "spent": {"released": 12, "withheld": 2},
            "cells_left": 18,
            "withheld_left": 3,
        }
    ]
    noisy = "dp" in world.service.catalog.policies["clinic"].release.modes
    assert bool(body["budgets"]) == noisy


def test_the_catalogue_shows_the_rules(world: GatewayWorld) -> None:
    body = world.call("GET", "/v1/datasets/clinic").json()
    assert body["release"]["aggregate"] == {
        "units_min": 10,
        "dominance": {"units": 2, "share": "0.85"},
        "p_percent": "10",
        "rounding": 5,
        "difference_units_min": 10,
        "cells_max": 30,
        "withheld_max": 5,
    }
    assert "aggregate" in body["modes"]


def test_history_and_the_list_of_datasets_know_the_mode(world: GatewayWorld) -> None:
    ask(world)
    (line,) = world.call("GET", "/v1/queries").json()["queries"]
    assert (line["mode"], line["cost"]["epsilon"]) == ("aggregate", "0")
    assert world.call("GET", "/v1/datasets").status_code == 200


def test_a_price_that_the_domain_names_for_an_exact_answer_is_not_charged(world: GatewayWorld) -> None:
    """Two fences: the client refuses such a reply, and admission admits no such price."""
    with pytest.raises(AssertionError, match="above what was admitted"):
        admitted(world).priced(1)


def admitted(world: GatewayWorld) -> Any:
    asking = replace(world.asking(SQL), mode="aggregate")
    return world.pipeline._admit(asking, pipeline._Trail())
