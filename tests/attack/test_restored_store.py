"""An older copy of the data domain's store is put back, and a gateway gone wrong wants what it had once more.

How much can be spent over restores is shown on the store alone, in `tests/unit/test_tally.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox.protocol import Failed, Prepare, Price, Question, Refused, Released
from sandbox.relational.expressions import Column
from sandbox.relational.nodes import Measure
from sandbox.release import tally
from sandbox.release.store import Store
from tests.builders import policy_text
from tests.domain_world import DomainWorld, opened, write_home

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="workers are confined on Linux only")
EXACT = (
    policy_text()
    .replace('modes = ["dp"]', 'modes = ["dp", "aggregate"]')
    .replace("[tables.people]", "[release.aggregate]\nunits_min = 10\n[tables.people]", 1)
)
Reply = Released | Failed | Refused


class Place:
    """A domain's home, whose store can be copied, and put back while the domain is down."""

    def __init__(self, home: Path) -> None:
        self.home, self.key = home, Ed25519PrivateKey.generate()
        write_home(home, self.key, EXACT)
        self.store, self.tally = home / "state/domain/domain.sqlite", home / "state/domain/domain.tally"
        self.backup, self.newest = home / "backup", home / "newest"

    def open(self) -> contextlib.AbstractContextManager[DomainWorld]:
        return opened(self.home, self.key)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "home")


def replayed(place: Place) -> Reply:
    """One ticket, run before an older store was put back, and again afterwards."""
    with place.open() as world:
        shutil.copy2(place.store, place.backup)
        question = world.question(Measure("sum", Column("0.income")))
        run = world.signed(world.ticket(question, world.prepared(question)), question)
        assert isinstance(world.door.run(run), Released)
        spent = world.spent()
    shutil.copy2(place.backup, place.store)
    with place.open() as world:
        assert world.spent() == spent
        return world.door.run(run)


def test_a_ticket_of_an_earlier_run_is_dead_although_the_store_forgot_it(place: Place) -> None:
    found = replayed(place)
    assert isinstance(found, Refused)
    assert found.code == "ticket_refused"


def test_a_domain_whose_runs_all_have_one_name_takes_the_ticket_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.tickets.secrets", type("Fixed", (), {"token_hex": lambda self, size: "one"})())
    assert isinstance(replayed(place), Released)


def exact(world: DomainWorld, key: str) -> Question:
    return dataclasses.replace(world.question(keys=(Column(f"0.{key}"),)), mode="aggregate", epsilon=0)


def after_a_forgotten_answer(place: Place) -> Reply:
    """An exact answer is given, an older store put back, and another exact question run that was never prepared."""
    with place.open() as world:
        shutil.copy2(place.store, place.backup)
        assert isinstance(world.run(exact(world, "sex")), Released)
    shutil.copy2(place.store, place.newest)
    shutil.copy2(place.backup, place.store)
    with place.open() as world:
        noisy = world.question(epsilon="0.1")
        assert isinstance(world.run(noisy), Released)  # noise needs no memory
        question, free = exact(world, "active"), dataclasses.replace(world.prepared(noisy), price=Price(0, 0, 0))
        return world.door.run(world.signed(world.ticket(question, free), question))


def test_exact_answers_end_where_the_store_forgot_some_until_the_newest_is_put_back(place: Place) -> None:
    found = after_a_forgotten_answer(place)
    assert isinstance(found, Refused)
    assert found.code == "dataset_not_ready"
    with place.open() as world:  # they do not begin again by themselves
        assert isinstance(world.door.prepare(Prepare(exact(world, "active"), reserve=False)), Refused)
        spent = world.spent()
    shutil.copy2(place.newest, place.store)
    with place.open() as world:
        assert isinstance(world.run(exact(world, "active")), Released)
        assert world.spent() == spent > (0, 0)  # what the older copy spent is spent all the same


def test_a_store_that_does_not_know_that_it_forgot_answers_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "forgotten", lambda self, dataset: False)
    assert isinstance(after_a_forgotten_answer(place), Released)


def overwritten(place: Place, *, moved: bool) -> Reply:
    """A question after an older copy took the place of the store, under the running service."""
    with place.open() as world:
        shutil.copy2(place.store, place.backup)
        assert isinstance(world.run(world.question(epsilon="4")), Released)
        if moved:
            place.store.rename(place.home / "away")
            shutil.copy2(place.backup, place.store)
        else:
            place.store.write_bytes(place.backup.read_bytes())
        question = world.question(Measure("count", Column("0.age")))
        found = world.run(question)
        refused = world.door.prepare(Prepare(question, reserve=False))
        if not isinstance(found, Released):
            assert not world.door.status().writable
            assert isinstance(refused, Refused)
            assert refused.code == "not_ready"
        return found


@pytest.mark.parametrize("moved", [True, False])
def test_a_store_that_is_replaced_under_the_service_takes_no_ticket(place: Place, *, moved: bool) -> None:
    assert overwritten(place, moved=moved) == Failed()


def test_a_service_that_does_not_look_takes_tickets_into_an_older_store(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "_require_newest", lambda self: None)
    assert isinstance(overwritten(place, moved=False), Released)


def test_the_tally_says_what_is_spent_before_a_worker_starts_or_nothing_leaves(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, found: tally.Tally) -> None:
        raise OSError(28, "No space left on device")

    with place.open() as world:
        for audience in ("", "baopingkou-domain", "0" * 32):
            assert isinstance(world.run(world.question(), audience=audience), Refused)
        seen, real = [], world.door._runs._run

        def run(*given: object) -> object:
            seen.append(tally.read(place.tally))
            return real(*given)

        monkeypatch.setattr(world.door._runs, "_run", run)
        assert isinstance(world.run(world.question(epsilon="4")), Released)
        assert [each and dict(each.spent) for each in seen] == [{("clinic", "zcdp"): world.spent()}]
        with monkeypatch.context() as planted:
            planted.setattr(tally, "write", full)
            assert world.run(world.question(Measure("count", Column("0.age")))) == Failed()
            assert len(seen) == 1
            assert not world.door.status().writable
        assert world.door.status().writable
        kept = tally.read(place.tally)
        assert kept is not None
        assert kept.spent[("clinic", "zcdp")] == world.spent()
