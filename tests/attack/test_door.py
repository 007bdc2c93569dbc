"""The data domain's door against a gateway that is broken, stolen or replayed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.budget.account import Account, Scope, Shortfall, shortfall_words
from gateway.budget.loss import Loss, cap
from policies.privacy_loss import EPSILON_UNIT
from sandbox import codec, datasets, door
from sandbox.domain import Ceiling as CustodiansCap
from sandbox.protocol import Accuracy, Failed, Fetch, Prepare, Prepared, Price, Question, Refused, Released, Run
from sandbox.relational.expressions import Column
from sandbox.relational.nodes import Join, Limit, Measure, Output, Public, Relation, Release, Scan, find_release
from sandbox.release.store import Stored
from tests import ledger_world
from tests.builders import policy_text
from tests.domain_world import PEOPLE, DomainWorld, domain_world
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="workers are confined on Linux only")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DomainWorld]:
    with domain_world(tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DomainWorld]:
    """One whose ceiling no other test comes near."""
    with domain_world(tmp_path_factory.mktemp("roomy")) as found:
        yield found


def nothing_was_spent(world: DomainWorld, before: tuple[int, int]) -> bool:
    return world.spent() == before


def test_a_charged_question_is_answered_near_the_truth(world: DomainWorld) -> None:
    found = world.run(world.question(epsilon="1"))
    assert isinstance(found, Released)
    assert abs(int(found.rows[0][0]) - PEOPLE) < 60
    ((low, high),) = found.intervals[0]
    assert low < found.rows[0][0] < high


def test_a_replayed_ticket_gives_the_same_release_and_buys_nothing(world: DomainWorld) -> None:
    question = world.question(Measure("sum", Column("0.income")))
    run = world.signed(world.ticket(question, world.prepared(question)), question)
    first, spent = world.door.run(run), world.spent()
    assert world.door.run(run) == first
    assert nothing_was_spent(world, spent)


def test_a_replayed_ticket_answers_no_other_question(world: DomainWorld) -> None:
    question, other = world.question(table="visits"), world.question(table="items")
    ticket = world.ticket(question, world.prepared(question))
    assert isinstance(world.door.run(world.signed(ticket, question)), Released)
    assert isinstance(world.door.run(world.signed(ticket, other)), Refused)


@pytest.mark.parametrize(
    "change",
    [
        {"price": Price(1, 0, 1)},
        {"price": Price(0, 0, 0)},
        {"dataset": "other"},
        {"plan_digest": "0" * 64},
        {"policy_digest": "0" * 64},
        {"snapshot": "0" * 64},
        {"mode": "aggregate"},
        {"expires": 1},
        {"issued": 1, "expires": 60_000},
        {"expires": 2**53},
    ],
    ids="-".join,
)
def test_a_ticket_for_anything_else_is_refused_and_costs_nothing(world: DomainWorld, change: dict[str, object]) -> None:
    before = world.spent()
    question = world.question(Measure("avg", Column("0.income")))
    assert isinstance(world.run(question, **change), Refused)
    assert nothing_was_spent(world, before)


def test_a_ticket_signed_by_another_key_is_refused(world: DomainWorld) -> None:
    question = world.question(Measure("avg", Column("0.age")))
    ticket = world.ticket(question, world.prepared(question))
    found = world.door.run(world.signed(ticket, question, Ed25519PrivateKey.generate()))
    assert isinstance(found, Refused)
    assert found.code == "ticket_refused"


def test_a_bent_signature_is_refused(world: DomainWorld) -> None:
    question = world.question(Measure("avg", Column("0.age")))
    run = world.signed(world.ticket(question, world.prepared(question)), question)
    for bad in ("", "zz", run.signature[:-2], "00" * 64):
        assert isinstance(world.door.run(dataclasses.replace(run, signature=bad)), Refused)


def test_an_epsilon_beyond_the_policy_is_refused_by_the_domain_itself(world: DomainWorld) -> None:
    for epsilon in ("51", "1000000"):
        found = world.door.prepare(Prepare(world.question(epsilon=epsilon), reserve=False))
        assert isinstance(found, Refused)
        assert found.code == "epsilon_too_large"


def test_another_policy_digest_is_refused(world: DomainWorld) -> None:
    question = dataclasses.replace(world.question(), policy_digest="0" * 64)
    found = world.door.prepare(Prepare(question, reserve=False))
    assert isinstance(found, Refused)
    assert found.code == "policy_changed"


def test_hidden_tables_and_columns_do_not_exist_for_the_domain(world: DomainWorld) -> None:
    for measure in (
        Measure("count", Column("0.name")),
        Measure("sum", Column("0.__unit")),
        Measure("avg", Column("x")),
    ):
        found = world.door.prepare(Prepare(world.question(measure), reserve=False))
        assert isinstance(found, Refused)


def test_a_stored_release_comes_along_only_where_it_is_asked_for_and_answers_everybody(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = world.question(Measure("count", Column("0.weight")), epsilon="0.25")
    before = world.door.prepare(Prepare(question, reserve=False, fetch=True))
    assert isinstance(before, Prepared)
    assert (before.release, before.released) == (None, None)
    made = world.run(question)
    spent = world.spent()
    told = world.door.prepare(Prepare(question, reserve=True, fetch=True))
    assert isinstance(told, Prepared)
    assert (told.released, told.reservation) == (made, None)
    assert world.prepared(question).released is None
    near = world.door.prepare(Prepare(question, reserve=False, accuracy=ACCURACY, fetch=True))
    assert not isinstance(near, Prepared) or near.released is None
    assert world.spent() == spent
    served = world.door._datasets.find("clinic")
    assert served is not None
    release = dataclasses.replace(served.policy.release, reuse_across_operators=False)
    own = dataclasses.replace(served, policy=dataclasses.replace(served.policy, release=release))
    monkeypatch.setattr(world.door._datasets, "find", lambda _: own)
    kept = world.door.prepare(Prepare(question, reserve=False, fetch=True))
    assert isinstance(kept, Prepared)
    assert kept.released is None


def test_a_stored_answer_that_is_slow_to_write_does_not_hold_up_its_price(
    world: DomainWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a gateway would give up on what it may have for nothing."""
    question = world.question(Measure("count_units", None), keys=(Column("0.active"),))
    made = world.run(question)
    assert isinstance(made, Released)
    answer, go_on = world.door._answer, threading.Event()

    def slow(stored: Stored, asked: Question) -> Released:
        go_on.wait(60)
        return answer(stored, asked)

    monkeypatch.setattr(world.door, "_answer", slow)
    monkeypatch.setattr(door, "ALONG_S", 0.05)
    found = world.door.prepare(Prepare(question, reserve=False, fetch=True))
    assert not go_on.is_set()
    assert isinstance(found, Prepared)
    assert (found.release, found.released) == (made.release, None)
    go_on.set()
    assert world.door.fetch(Fetch(made.release, question)) == made
    assert eventually(lambda: not world.door._soon._late, 20)
    monkeypatch.setattr(door, "ALONG_S", 60.0)
    along = world.door.prepare(Prepare(question, reserve=False, fetch=True))
    assert isinstance(along, Prepared)
    assert along.released == made


def test_a_fetch_gives_a_release_only_to_the_question_that_it_answers(world: DomainWorld) -> None:
    question = world.question(Measure("count", Column("0.income")))
    made = world.run(question)
    assert isinstance(made, Released)
    assert world.door.fetch(Fetch(made.release, question)) == made
    assert isinstance(world.door.fetch(Fetch(made.release, world.question(table="items"))), Refused)
    assert isinstance(world.door.fetch(Fetch("rel_" + "0" * 32, question)), Refused)


def test_the_same_question_finds_the_stored_release_at_no_more_than_its_epsilon(world: DomainWorld) -> None:
    asked = world.question(Measure("count", Column("0.born")), epsilon="2")
    made = world.run(asked)
    assert isinstance(made, Released)
    weaker = dataclasses.replace(asked, epsilon=EPSILON_UNIT)
    assert world.prepared(weaker).release == made.release
    assert world.prepared(dataclasses.replace(asked, epsilon=3 * EPSILON_UNIT)).release is None


def test_what_can_be_told_from_a_stored_release_is_free_and_agrees_with_it(world: DomainWorld) -> None:
    sex, income = Column("0.sex"), Column("0.income")
    parts = (Measure("sum", income), Measure("count", income), Measure("count", Column("0.diagnosis")))
    made = world.run(world.question(*parts, keys=(sex,), epsilon="3"))
    assert isinstance(made, Released)
    fewer = world.question(parts[2], epsilon="1")
    mean = world.question(Measure("avg", income), keys=(sex,), epsilon="1")
    assert world.prepared(fewer).release == world.prepared(mean).release == made.release
    total = world.door.fetch(Fetch(made.release, fewer))
    assert isinstance(total, Released)
    assert total.rows == ((sum(int(row[3] or 0) for row in made.rows),),)
    means = world.door.fetch(Fetch(made.release, mean))
    assert isinstance(means, Released)
    for (_, mean_of), (_, total_of, count_of, _) in zip(means.rows, made.rows, strict=True):
        assert mean_of == (pytest.approx(int(total_of or 0) / int(count_of)) if int(count_of or 0) > 0 else None)
    assert world.prepared(dataclasses.replace(fewer, epsilon=4 * EPSILON_UNIT)).release is None
    finer = world.question(parts[2], keys=(sex, Column("0.active")), epsilon="1")
    assert world.prepared(finer).release is None


def test_a_release_that_others_may_not_share_does_not_replace_a_place(world: DomainWorld) -> None:
    """The gateway may have to run it again for another operator: place and ceiling are looked at before the charge."""
    served = world.door._datasets.find("clinic")
    assert served is not None
    asked = world.question(Measure("count", Column("0.age")))
    assert isinstance(world.run(asked), Released)
    assert world.prepared(asked, reserve=True).reservation is None
    release = dataclasses.replace(served.policy.release, reuse_across_operators=False)
    policy = dataclasses.replace(served.policy, release=release)
    world.door._datasets._served["clinic"] = dataclasses.replace(served, policy=policy)
    try:
        prepared = world.prepared(asked, reserve=True)
        assert prepared.release is not None
        assert prepared.reservation is not None
        world.door.cancel(prepared.reservation)
    finally:
        world.door._datasets._served["clinic"] = served


def test_a_worker_killed_in_the_middle_is_the_constant_failure_and_stays_paid(world: DomainWorld) -> None:
    question = world.question(Measure("count", Column("0.weight")))
    prepared, before = world.prepared(question, reserve=True), world.spent()
    assert prepared.reservation is not None
    worker = world.pool._places._held[prepared.reservation].worker
    os.kill(worker._process.pid, signal.SIGKILL)
    ticket = world.ticket(question, prepared)
    run = Run(ticket, world.signed(ticket, question).signature, question, prepared.reservation)
    assert world.door.run(run) == Failed()
    assert world.spent()[0] == before[0] + prepared.price.rho
    assert world.door.run(run) == Failed()
    assert world.spent()[0] == before[0] + prepared.price.rho


def test_a_lost_reservation_is_the_constant_failure(world: DomainWorld) -> None:
    question = world.question(Measure("count", Column("0.sex")))
    ticket = world.ticket(question, world.prepared(question))
    run = Run(ticket, world.signed(ticket, question).signature, question, "no such place")
    assert world.door.run(run) == Failed()


def test_the_ceiling_holds_whatever_the_tickets_say(world: DomainWorld) -> None:
    """A gateway that lost its ledger signs and signs; the custodian's 20 is all it gets."""
    refusals = 0
    for age in range(400):
        question = world.question(Measure("count", Column("0.active")), epsilon="7", keys=(Column("0.sex"),))
        question = dataclasses.replace(question, epsilon=question.epsilon - age)
        found = world.door.prepare(Prepare(question, reserve=False))
        if isinstance(found, Prepared) and found.release is not None:
            question = world.question(Measure("count_rows", None), epsilon=str(9 + age / 100), keys=(Column("0.age"),))
            found = world.door.prepare(Prepare(question, reserve=False))
        if isinstance(found, Refused):
            assert found.code == "budget_exhausted"
            refusals += 1
            break
        assert isinstance(found, Prepared)
        assert isinstance(world.door.run(world.signed(world.ticket(question, found), question)), Released)
    assert refusals == 1
    dp = world.policy.release.dp
    assert dp is not None
    served = world.door._datasets.find("clinic")
    assert served is not None
    assert world.spent()[0] <= served.ceiling.loss


@pytest.mark.parametrize("left", [0, 1, 100_000_000])
def test_a_ceiling_that_is_the_policys_speaks_as_the_gateway_does(world: DomainWorld, left: int) -> None:
    served, question = world.door._datasets.find("clinic"), world.question(epsilon="0.25", table="items")
    assert served is not None
    spent = world.spent()[0]
    whole = Scope("clinic", None, dataclasses.replace(cap(served.dp), rho=spent + left))
    with pytest.raises(Shortfall) as short:
        Account(whole, Loss(rho=spent)).charge(_priced(world, question).price)
    message, hint = shortfall_words([short.value], [whole])
    for custodians, words in ((False, message), (True, message.replace("dataset's budget", "custodian's ceiling"))):
        with _with_ceiling(world, loss=spent + left, custodians=custodians):
            found = world.door.prepare(Prepare(question, reserve=False))
        assert found == Refused("budget_exhausted", words, hint)


def test_only_a_ceiling_below_the_policys_cap_is_the_custodians() -> None:
    dp = ledger_world.dp()
    named = {None: False, "8": False, "9": False, "7.9": True}
    for epsilon, custodians in named.items():
        own = CustodiansCap(None if epsilon is None else Decimal(epsilon), None)
        assert datasets._ceiling(dp, own).custodians is custodians
    assert datasets._ceiling(dp, CustodiansCap(None, Decimal("1e-10"))).custodians


def test_a_ticket_prepared_before_the_ceiling_was_reached_is_refused_at_the_run(world: DomainWorld) -> None:
    question = world.question(epsilon="0.25", table="items")
    loss, _ = world.spent()
    ticket = world.ticket(question, _priced(world, question))
    with _with_ceiling(world, loss=loss):
        found = world.door.run(world.signed(ticket, question))
    assert isinstance(found, Refused)
    assert found.code == "budget_exhausted"
    assert world.spent()[0] == loss


def _priced(world: DomainWorld, question: Question) -> Prepared:
    """A Prepared for a question although the ceiling leaves no room: price and snapshot do not hang on it."""
    with _with_ceiling(world, loss=2**62):
        return world.prepared(question)


@contextlib.contextmanager
def _with_ceiling(world: DomainWorld, **changes: Any) -> Iterator[None]:
    served = world.door._datasets.find("clinic")
    assert served is not None
    other = dataclasses.replace(served, ceiling=dataclasses.replace(served.ceiling, **changes))
    world.door._datasets._served["clinic"] = other
    try:
        yield
    finally:
        world.door._datasets._served["clinic"] = served


def test_without_a_required_layer_nothing_is_answered(world: DomainWorld) -> None:
    standing = world.door.layers
    world.door.layers = tuple(
        dataclasses.replace(layer, active=False) if layer.name == "seccomp" else layer for layer in standing
    )
    try:
        found = world.door.prepare(Prepare(world.question(), reserve=False))
        assert isinstance(found, Refused)
        assert found.code == "not_ready"
        assert not world.door.status().ready
    finally:
        world.door.layers = standing


def test_records_of_a_stranger_are_not_decoded() -> None:
    for body in (
        b"",
        b"[]",
        b"{}",
        b'{"@":"Prepare"}',
        b'{"@":"Run","ticket":1}',
        b'{"@":"Prepare","question":{"@":"Ticket"},"reserve":true}',
    ):
        with pytest.raises(codec.CodecError):
            codec.loads(body, Prepare)


ACCURACY = Accuracy(None, Decimal(30), Decimal("0.95"))
"""Of a count: 30 people more or less."""


def _by_accuracy(world: DomainWorld, question: Question) -> Prepared:
    found = world.door.prepare(Prepare(question, reserve=False, accuracy=ACCURACY))
    assert isinstance(found, Prepared), found
    return found


def test_an_accuracy_is_priced_at_most_at_what_the_question_names(roomy: DomainWorld) -> None:
    most = roomy.question(epsilon="50")
    prepared = _by_accuracy(roomy, most)
    assert prepared.expected == (30,)
    assert 0 < prepared.price.epsilon < most.epsilon
    tight = dataclasses.replace(most, epsilon=prepared.price.epsilon - 1)
    refused = roomy.door.prepare(Prepare(tight, reserve=False, accuracy=ACCURACY))
    assert isinstance(refused, Refused)
    assert refused.code == "accuracy_unaffordable"


def test_a_question_runs_at_the_price_of_its_accuracy_and_at_no_other(roomy: DomainWorld) -> None:
    most = roomy.question(Measure("count", Column("0.age")), epsilon="50")
    prepared, before = _by_accuracy(roomy, most), roomy.spent()
    for epsilon in (most.epsilon, prepared.price.epsilon + 1, prepared.price.epsilon - 1):
        other = dataclasses.replace(most, epsilon=epsilon)
        found = roomy.door.run(roomy.signed(roomy.ticket(most, prepared), other))
        assert isinstance(found, Refused)
        assert found.code == "ticket_refused"
    assert roomy.spent() == before
    question = dataclasses.replace(most, epsilon=prepared.price.epsilon)
    found = roomy.door.run(roomy.signed(roomy.ticket(question, prepared), question))
    assert isinstance(found, Released)
    assert roomy.spent()[0] == before[0] + prepared.price.rho


def test_a_stored_release_that_meets_the_accuracy_is_named(roomy: DomainWorld) -> None:
    most = roomy.question(Measure("count", Column("0.weight")), epsilon="50")
    assert _by_accuracy(roomy, most).release is None
    needed = _by_accuracy(roomy, most).price.epsilon
    made = roomy.run(dataclasses.replace(most, epsilon=needed))
    assert isinstance(made, Released)
    assert _by_accuracy(roomy, most).release == made.release
    finer = dataclasses.replace(ACCURACY, absolute=Decimal(29))
    found = roomy.door.prepare(Prepare(most, reserve=False, accuracy=finer))
    assert isinstance(found, Prepared)
    assert found.release is None


def _beside_levels(world: DomainWorld, *, kind: str = "left", epsilon: str = "0.5") -> Question:
    """Visits by level of the hospital, and beside each the hospitals of that level: no row of a unit is near them."""
    rows = Join(Scan("visits", 0), Public("hospitals", 1), "inner", (("0.hospital", "1.id"),))
    release = Release(rows, (Column("1.level"),), (Measure("count_rows"),))
    joined = Join(release, Public("hospitals", 2), kind, (("k0", "2.level"),))
    columns = (("id", Column("2.id")), ("level", Column("2.level")), ("n", Column("m0")))
    return dataclasses.replace(world.question(epsilon=epsilon), plan=Output(joined, columns))


def test_an_answer_is_joined_with_a_public_table_at_no_price_of_its_own(roomy: DomainWorld) -> None:
    question = _beside_levels(roomy)
    made = roomy.run(question)
    assert isinstance(made, Released)
    assert [(row[0], row[1]) for row in made.rows] == [(1, "city"), (3, "city"), (0, "county"), (2, "county")]
    assert [column.kind for column in made.columns] == ["key", "key", "noisy"]
    assert made.rows[0][2] == made.rows[1][2]
    assert made.intervals[0][2] is not None
    spent = roomy.spent()
    bare = dataclasses.replace(question, plan=Output(find_release(question.plan), (("n", Column("m0")),)))
    assert roomy.prepared(bare).release == made.release
    assert roomy.spent() == spent


def test_an_answer_that_is_shown_again_says_what_it_said(roomy: DomainWorld) -> None:
    """The public table of its own snapshot is read, not that of the one in force."""
    question = _beside_levels(roomy, epsilon="0.6")
    made = roomy.run(question)
    assert isinstance(made, Released)
    served = roomy.door._datasets.find("clinic")
    assert served is not None
    snapshot = dataclasses.replace(served.snapshot, commitment="f" * 64)
    newer = dataclasses.replace(served, snapshot=snapshot, publics={})
    roomy.door._datasets._served["clinic"] = newer
    try:
        assert roomy.door.fetch(Fetch(made.release, question)) == made
        refused = roomy.door.prepare(Prepare(question, reserve=False))
        assert isinstance(refused, Refused)
        assert refused.code == "join_not_allowed"
    finally:
        roomy.door._datasets._served["clinic"] = served


@pytest.mark.parametrize(
    ("table", "on"),
    [("people", ("k0", "2.sex")), ("hospitals", ("k0", "2.name")), ("nowhere", ("k0", "2.level"))],
)
def test_an_answer_is_joined_with_nothing_but_public_rows(roomy: DomainWorld, table: str, on: tuple[str, str]) -> None:
    question = _beside_levels(roomy)
    for right in (Public(table, 2), Scan(table, 2)):
        joined = Join(find_release(question.plan), right, "inner", (on,))
        plan = Output(joined, (("n", Column("m0")),))
        found = roomy.door.prepare(Prepare(dataclasses.replace(question, plan=plan), reserve=False))
        assert isinstance(found, Refused)
        assert found.code in ("join_not_allowed", "column_unknown")


def test_a_full_disk_takes_one_question_and_refuses_the_next_before_it_is_charged(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with domain_world(tmp_path_factory.mktemp("full")) as world:
        connection = world.store._connection
        assert world.door.status().writable
        connection.execute("PRAGMA max_page_count = 1").fetchall()  # SQLite takes the number of pages that it has
        for _ in range(200):  # the last pages have some room left
            try:
                if isinstance(world.run(world.question(epsilon="0.01")), Failed):
                    break
            except sqlite3.OperationalError:
                break
        else:
            raise AssertionError("the disk never was full")
        status = world.door.status()
        assert (status.ready, status.writable) == (False, False)
        refused = world.door.prepare(Prepare(world.question(), reserve=True))
        assert isinstance(refused, Refused)
        assert refused.code == "not_ready"
        with monkeypatch.context() as planted:  # a store that believes what it is told
            planted.setattr(type(world.store), "failing", False)
            assert isinstance(world.door.prepare(Prepare(world.question(), reserve=False)), Prepared)
        connection.execute("PRAGMA max_page_count = 1000000").fetchall()
        assert isinstance(world.door.prepare(Prepare(world.question(), reserve=False)), Prepared)
        assert world.door.status().ready
        assert isinstance(world.run(world.question(epsilon="0.01")), Released)


OPENED = policy_text().replace('modes = ["dp"]', 'modes = ["dp", "open"]')


def rows_of(world: DomainWorld, relation: Relation, column: str) -> Question:
    """Rows as they are, asked by a gateway gone wrong."""
    plan = Output(Limit(relation, 5, 0), (("x", Column(column)),))
    return Question("clinic", world.policy.digest, "open", 0, plan)


def test_open_rows_are_of_public_tables_and_their_tickets_buy_nothing_else(tmp_path: Path) -> None:
    with domain_world(tmp_path, OPENED) as world:
        shown, noisy = rows_of(world, Public("hospitals", 0), "0.level"), world.question()
        found = world.run(shown)
        assert isinstance(found, Released)
        assert len(found.rows) == 4
        for relation in (Scan("people", 0), Public("people", 0)):
            assert isinstance(world.door.prepare(Prepare(rows_of(world, relation, "0.sex"), reserve=False)), Refused)
        before, ticket = world.spent(), world.ticket(shown, world.prepared(shown))
        for question in (noisy, dataclasses.replace(noisy, mode="open")):
            for named in ("open", "dp"):
                changed = dataclasses.replace(ticket, mode=named, plan_digest=question.plan_digest)
                assert isinstance(world.door.run(world.signed(changed, question)), Refused)
        assert nothing_was_spent(world, before)
        stored = world.run(noisy)
        assert isinstance(stored, Released)
        for release, question in ((stored.release, shown), (found.release, noisy)):
            assert isinstance(world.door.fetch(Fetch(release, question)), Refused)


def test_a_withheld_dataset_runs_nothing_whatever_the_gateway_says(tmp_path: Path) -> None:
    with domain_world(tmp_path, OPENED.replace('supply = "authorised"', 'supply = "withheld"')) as world:
        shown = rows_of(world, Public("hospitals", 0), "0.level")
        for question in (world.question(), shown):
            refused = world.run(question)
            assert isinstance(refused, Refused)
            assert refused.code == "dataset_not_ready"
        assert world.spent() == (0, 0)
