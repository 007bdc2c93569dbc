"""What the domain keeps of a request is only what its bytes and the policy say: all else is looked at every time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from policies.model import Mode
from sandbox import asked
from sandbox.asked import Asked, Lately, Terms
from sandbox.codec import CodecError, decode, dumps, parse
from sandbox.protocol import Prepare, Prepared, Question, Refused, Released, Reply
from tests.attack.test_door_fuzz import EXACT
from tests.domain_world import DomainWorld, domain_world


@dataclass
class Again:
    """A door that is asked by bytes, and remembers."""

    world: DomainWorld
    lately: Lately = field(default_factory=Lately)

    def question(self, mode: Mode = "dp", epsilon: str = "0.5") -> Question:
        found = self.world.question(epsilon=epsilon)
        return found if mode == "dp" else dataclasses.replace(found, mode=mode, epsilon=0)

    def bytes_of(self, question: Question, *, reserve: bool = False, lately: Lately | None = None) -> bytes:
        body = dumps(Prepare(question, reserve, fetch=True))
        request = (lately or self.lately).read(body)
        return request.written(self.world.door.prepare(request))

    def ask(self, question: Question, *, reserve: bool = False) -> Reply:
        return decode(parse(self.bytes_of(question, reserve=reserve)), Reply)  # type: ignore[arg-type]

    def stored(self, question: Question) -> Prepared:
        """What is said to it twice, with its answer."""
        assert isinstance(self.world.run(question), Released)
        found = [self.ask(question), self.ask(question)]
        assert isinstance(found[0], Prepared)
        assert found[0].released is not None
        assert found[0] == found[1]
        return found[0]


@pytest.fixture
def again(tmp_path: Path) -> Iterator[Again]:
    with domain_world(tmp_path, EXACT) as world:
        yield Again(world)


def forgets(again: Again) -> None:
    """Raises AssertionError where a release is still said that is not there any more."""
    question = again.question()
    again.stored(question)
    with again.world.store._transaction() as tx:
        tx.execute("UPDATE ticket SET release = NULL")
        tx.execute("DELETE FROM release")
    found = again.ask(question)
    assert isinstance(found, Prepared)
    assert (found.release, found.released) == (None, None)


@pytest.mark.parametrize("mode", ["dp", "aggregate"])
def test_the_same_bytes_are_told_the_same_bytes(again: Again, mode: Mode) -> None:
    question = again.question(mode)
    assert again.bytes_of(question) == again.bytes_of(question) == again.bytes_of(question, lately=Lately())
    again.stored(question)
    assert again.bytes_of(question) == again.bytes_of(question) == again.bytes_of(question, lately=Lately())


def test_a_release_is_looked_for_every_time(again: Again) -> None:
    forgets(again)


def test_a_release_that_is_said_from_memory_alone_is_noticed(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    find = again.world.door._find
    seen: list[tuple[str, str]] = []

    def once(request: Prepare, terms: Terms) -> tuple[str, str] | None:
        found = find(request, terms)
        seen.extend([] if found is None else [found])
        return seen[-1] if seen else None

    monkeypatch.setattr(again.world.door, "_find", once)
    with pytest.raises(AssertionError):
        forgets(again)


def test_a_release_that_nobody_sees_yet_is_not_said(again: Again) -> None:
    question = again.question()
    release = again.stored(question).release
    again.world.store._held["tkt_x"] = release
    found = again.ask(question)
    assert isinstance(found, Prepared)
    assert (found.release, found.released) == (None, None)


def test_whether_anything_is_answered_is_looked_at_every_time(again: Again) -> None:
    question, door = again.question(), again.world.door
    again.stored(question)
    layers, door.layers = door.layers, ()
    refused = again.ask(question)
    assert isinstance(refused, Refused)
    assert refused.code == "not_ready"
    door.layers, door.degraded = layers, ("landlock",)
    told = again.ask(question)
    assert isinstance(told, Prepared)
    assert "landlock" in told.degraded


def test_what_is_left_is_looked_at_every_time(again: Again) -> None:
    question, price = again.question(epsilon="0.5"), again.world.prepared(again.question(epsilon="0.5")).price
    assert isinstance(again.ask(question), Prepared)
    with again.world.store._transaction() as tx:
        tx.execute("INSERT INTO spent VALUES ('clinic', 'zcdp', ?, 0)", (price.rho * 10**6,))
    refused = again.ask(question)
    assert isinstance(refused, Refused)
    assert refused.code == "budget_exhausted"


def test_what_was_said_before_counts_for_exact_answers_every_time(again: Again) -> None:
    question = again.question("aggregate")
    assert isinstance(again.ask(question), Prepared)
    with again.world.store._transaction() as tx:
        tx.execute("INSERT INTO forgotten VALUES ('clinic')")
    refused = again.ask(question)
    assert isinstance(refused, Refused)
    assert refused.code == "dataset_not_ready"


def test_a_place_is_held_anew_every_time(again: Again) -> None:
    places = set()
    for _ in range(2):
        found = again.ask(again.question(), reserve=True)
        assert isinstance(found, Prepared)
        assert found.reservation is not None
        places.add(found.reservation)
        again.world.door.cancel(found.reservation)
    assert len(places) == 2


def test_another_snapshot_or_policy_makes_terms_anew(again: Again) -> None:
    question = again.question()
    before = again.stored(question)
    served = again.world.door._datasets.find("clinic")
    assert served is not None
    moved = dataclasses.replace(served, snapshot=dataclasses.replace(served.snapshot, commitment="0" * 64))
    again.world.door._datasets._served["clinic"] = moved
    found = again.ask(question)
    assert isinstance(found, Prepared)
    assert (found.snapshot, found.release) == ("0" * 64, None) != (before.snapshot, before.release)
    other = dataclasses.replace(served.policy, digest="1" * 64)
    again.world.door._datasets._served["clinic"] = dataclasses.replace(served, policy=other)
    refused = again.ask(question)
    assert isinstance(refused, Refused)
    assert refused.code == "policy_changed"


def test_bytes_that_are_no_request_are_none_every_time(again: Again) -> None:
    body = dumps(Prepare(again.question(), reserve=False))
    assert again.lately.read(body) is again.lately.read(body)
    for _ in range(2):
        with pytest.raises(CodecError):
            again.lately.read(body.replace(b'"reserve":false', b'"reserve":0'))


def test_little_is_kept(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    body = dumps(Prepare(again.question(), reserve=False))
    long = body.ljust(asked.BYTES_MAX + 1)
    assert again.lately.read(long) is not again.lately.read(long)
    first = again.lately.read(body)
    for more in range(asked.REQUESTS_MAX):
        again.lately.read(body + b" " * (more + 1))
    assert again.lately.read(body) is not first
    monkeypatch.setattr(asked, "BYTES_MAX", 2_000)
    question = again.question()
    again.stored(question)
    request: Asked = again.lately.read(dumps(Prepare(question, reserve=False, fetch=True)))
    assert request._terms is not None
    again.bytes_of(question)
    kept = request._said is not None
    monkeypatch.setattr(asked, "BYTES_MAX", 100)
    long_one = Asked(request.request)
    long_one.written(again.world.door.prepare(long_one))
    assert (kept, long_one._said) == (True, None)
