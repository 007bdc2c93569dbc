"""A stored answer that comes along with the price is told without another exchange; whose it is is asked before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gateway.home import Home
from policies.types import BIGINT
from sandbox.protocol import OutputColumn, Prepared, Price, Question, Released
from tests.gateway_world import ScriptedDomain, gateway_world
from tests.served_home import POLICY

NAME, HASH = "rel_" + "0" * 32, "ab" * 32


class Storing(ScriptedDomain):
    """Has an answer to everything."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.exchanges: list[str] = []

    def prepare(self, question: Question, *, reserve: bool, fetch: bool = False, **_: object) -> Prepared:
        self.exchanges.append("prepare with its answer" if fetch else "prepare")
        found = super().prepare(question, reserve=reserve)
        told = self._answer(question) if fetch else None
        return replace(found, release=NAME, release_hash=HASH, released=told)

    def fetch(self, release: str, question: Question) -> Released:
        self.exchanges.append("fetch")
        return self._answer(question)

    def _answer(self, question: Question) -> Released:
        price = Price(question.epsilon, 0, 1_000_000)
        return Released(NAME, HASH, price, (OutputColumn("n", BIGINT, "noisy"),), ((1505,),), ((None,),), (((),),))


def test_one_exchange_gives_a_stored_answer(tmp_path: Path) -> None:
    with gateway_world(tmp_path, kind=Storing) as world:
        begun = world.pipeline.ask(world.asking())
        assert begun.verdict == "reused"
        assert isinstance(begun.result, dict)
        assert begun.result["rows"] == [[1505]]
        assert isinstance(world.domain, Storing)
        assert world.domain.exchanges == ["prepare with its answer"]
        assert world.records()[-1]["decision"] == "reused"


def test_what_is_kept_with_its_operator_does_not_come_along(tmp_path: Path) -> None:
    assert "reuse_across_operators = true" in POLICY
    kept = POLICY.replace("reuse_across_operators = true", "reuse_across_operators = false")
    with gateway_world(tmp_path, kind=Storing, policy=kept) as world:
        assert world.pipeline.ask(world.asking()).verdict == "run"
        assert isinstance(world.domain, Storing)
        assert world.domain.exchanges == ["prepare"]
