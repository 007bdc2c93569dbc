"""The gateway holds the data domain to what it was asked: another plan or another price is not charged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.domain import Domain, Unreachable
from policies.types import BIGINT
from sandbox import codec
from sandbox.protocol import FREE, Accuracy, OutputColumn, Prepare, Prepared, Price, Question, Released
from tests.sql_world import admitted

ACCURACY = Accuracy(None, Decimal(5), Decimal("0.95"))
QUESTION: Question = admitted("SELECT COUNT(*) FROM people").question


class Domains:
    """A domain whose reply to `prepare` is ours to choose."""

    def __init__(self, client: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = client
        self.asked: list[Prepare] = []
        self.reply = Prepared(
            QUESTION.plan_digest,
            Price(QUESTION.epsilon, 0, 1),
            (),
            (),
            (),
            (),
            "0" * 64,
            None,
            None,
            None,
            (),
            "this run",
        )
        monkeypatch.setattr(client, "_exchange", self._exchange)

    def _exchange(self, _route: str, request: Prepare, _seconds: float) -> bytes:
        self.asked.append(request)
        return codec.dumps(self.reply)

    def names(self, epsilon: int) -> None:
        self.reply = replace(self.reply, price=Price(epsilon, 0, 1))


@pytest.fixture
def domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Domains]:
    client = Domain(tmp_path / "door", Ed25519PrivateKey.generate(), prepare_s_max=1, run_s_max=1)
    yield Domains(client, monkeypatch)
    client.close()


def test_an_epsilon_that_was_named_is_the_price(domain: Domains) -> None:
    assert domain.client.prepare(QUESTION, reserve=False).price.epsilon == QUESTION.epsilon
    for other in (QUESTION.epsilon - 1, QUESTION.epsilon + 1, 0):
        domain.names(other)
        with pytest.raises(Unreachable):
            domain.client.prepare(QUESTION, reserve=False)


def test_an_accuracy_costs_at_most_what_the_question_names(domain: Domains) -> None:
    for cheaper in (1, QUESTION.epsilon):
        domain.names(cheaper)
        assert domain.client.prepare(QUESTION, reserve=False, accuracy=ACCURACY).price.epsilon == cheaper
    assert domain.asked[-1] == Prepare(QUESTION, reserve=False, accuracy=ACCURACY)
    for other in (QUESTION.epsilon + 1, 0, -1):
        domain.names(other)
        with pytest.raises(Unreachable):
            domain.client.prepare(QUESTION, reserve=False, accuracy=ACCURACY)


def test_an_exact_question_is_free_or_not_asked(domain: Domains) -> None:
    exact = replace(QUESTION, mode="aggregate", epsilon=0)
    domain.reply = replace(domain.reply, plan_digest=exact.plan_digest, price=FREE)
    assert domain.client.prepare(exact, reserve=False).price == FREE
    for price in (Price(1, 0, 0), Price(0, 1, 0), Price(0, 0, 1)):
        domain.reply = replace(domain.reply, price=price)
        with pytest.raises(Unreachable):
            domain.client.prepare(exact, reserve=False)


def test_another_plan_is_not_priced(domain: Domains) -> None:
    domain.reply = replace(domain.reply, plan_digest="0" * 64)
    with pytest.raises(Unreachable):
        domain.client.prepare(QUESTION, reserve=False)


def test_an_answer_comes_along_where_it_was_asked_for_and_is_the_one_that_is_named(domain: Domains) -> None:
    name, hash_ = "rel_" + "0" * 32, "0" * 64
    columns = tuple(OutputColumn(each, BIGINT, "noisy") for each, _ in QUESTION.plan.columns)
    told = Released(name, hash_, FREE, columns, ((1,),), ((None,),), (((),),))
    domain.reply = good = replace(domain.reply, release=name, release_hash=hash_, released=told)
    assert domain.client.prepare(QUESTION, reserve=False, fetch=True).released == told
    assert domain.asked[-1] == Prepare(QUESTION, reserve=False, fetch=True)
    with pytest.raises(Unreachable, match="not asked for"):
        domain.client.prepare(QUESTION, reserve=False)
    with pytest.raises(Unreachable, match="not asked for"):
        domain.client.prepare(QUESTION, reserve=False, accuracy=ACCURACY, fetch=True)
    for spoiled in (
        replace(good, released=replace(told, release="rel_" + "1" * 32)),
        replace(good, released=replace(told, release_hash="1" * 64)),
        replace(good, released=replace(told, rows=((1, 2),))),
        replace(good, release=None, release_hash=None),
    ):
        domain.reply = spoiled
        with pytest.raises(Unreachable, match="not asked for"):
            domain.client.prepare(QUESTION, reserve=False, fetch=True)
    domain.reply = replace(good, released=None)
    assert domain.client.prepare(QUESTION, reserve=False, fetch=True).released is None
