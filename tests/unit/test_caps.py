"""A cap rises by a decision that enough approvers have signed, or not at all; lowering needs nobody."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import decided
from gateway.audit import replay_caps
from gateway.audit.broken import Broken
from gateway.audit.record import RECORD_BYTES_MAX, Entry, body
from gateway.audit.verify import verify
from gateway.budget.caps import meet
from gateway.budget.loss import Cap, Loss, words
from gateway.budget.queries import Stored
from gateway.budget.recovery import recover
from gateway.decided import Approvers, Decided, Draft, Line, dumps, loads, propose_approvers, propose_caps
from gateway.errors import Fault, Misconfigured, Refusal
from gateway.store import Store
from tests.ledger_world import EYES, HASH, SIGNER, World, dp, price, signed_by
from tests.second_verifier import sound

EACH = price("0.5")


def begun(world: World) -> World:
    """A share of 2 that was charged once, and three approvers of whom two have to sign."""
    world.fail(world.charge(EACH).id)
    world.name_approvers()
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return begun(World(tmp_path))


@pytest.fixture
def stored(tmp_path: Path, open_store: Callable[[], Store]) -> World:
    """The same in each kind of store."""
    return begun(World(tmp_path, open_store=open_store))


def share(world: World, epsilon: str) -> Any:
    return world.scopes(share=epsilon)[1]


def approvers(world: World) -> Approvers:
    with world.store.reading() as view:
        found = world.log.approvers(view)
    assert found is not None
    return found


def judge(world: World, decided: Decided) -> None:
    decided.require(SIGNER.origin, approvers(world), world.clock())


# what is in force

amounts = st.integers(0, 1000)
limits = st.builds(lambda rho, epsilon, delta: Cap("zcdp", rho, epsilon, delta), amounts, amounts, amounts)


@given(limits, limits, st.builds(Loss, amounts, st.just(0), amounts))
def test_what_two_caps_let_through_together_each_lets_through(one: Cap, other: Cap, spent: Loss) -> None:
    assert meet(one, other).admits(spent) == (one.admits(spent) and other.admits(spent))


def test_a_higher_cap_waits_and_the_one_in_force_goes_on(world: World) -> None:
    higher = world.scopes(share="4")
    with world.store.reading() as view:
        dataset, mine = world.ledger.budgets(view, higher, EACH)
        (waiting,) = world.ledger.waiting(view, higher)
    assert (mine.answers_left, dataset.answers_left) == (13, 186)
    assert mine.as_json()["cap_waiting"] == words(higher[1].cap)
    assert dataset.as_json()["cap_waiting"] is None
    assert (waiting.scope, waiting.in_force, waiting.named) == (higher[1].id, share(world, "2").cap, higher[1].cap)
    assert waiting.spent.rho == EACH.rho
    for _ in range(13):
        world.fail(world.charge(EACH, higher).id)
    with pytest.raises(Refusal) as refused:
        world.charge(EACH, higher)
    assert refused.value.code == "budget_exhausted"
    assert verify(world.export()).ok


def test_two_signatures_put_it_in_force_and_both_stand_on_record(stored: World) -> None:
    index = stored.raise_cap(share(stored, "4"), share(stored, "2").cap)
    record = stored.records()[index]
    assert sorted(record["terms"]["signatures"]) == ["ann", "bo"]
    assert record["commitments"] == {"reason": record["terms"]["decision"]["reason"]}
    with stored.store.reading() as view:
        assert stored.log.opened(view, index)["reason"][1] == "the board decided on more"
        assert stored.ledger.waiting(view, stored.scopes(share="4")) == ()
        assert stored.ledger.budgets(view, stored.scopes(share="4"), EACH)[1].answers_left > 13
    report = verify(stored.export())
    assert report.ok
    assert sound(stored.export())
    assert report.scopes["operator:acme/clinic"]["raises_decided"] == 1
    assert report.approvers == {"quorum": 2, "names": ["ann", "bo", "cy"], "changes": 0}
    assert "caps rise by 2 of ann, bo, cy" in report.text()
    stored.reopen()
    assert recover(stored.store, stored.ledger, stored.log).frozen == {}
    assert stored.log.closed is None


def test_without_approvers_a_raise_counts_at_once_and_is_told_as_one_pair_of_eyes(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.charge(EACH)
    world.charge(EACH, world.scopes(share="4"))
    report = verify(world.export())
    assert report.scopes["operator:acme/clinic"]["raises_undecided"] == 1
    assert "raised 1 times by one pair of eyes" in report.text()
    assert report.ok


def test_lowering_needs_nobody_and_is_on_record(world: World) -> None:
    world.fail(world.charge(price("0.1"), world.scopes(share="1.5")).id)
    caps = [record for record in world.records() if (record["code"] or "").startswith("cap_")]
    assert caps[-1]["charges"][0]["epsilon"] == "1.5"
    assert "terms" not in caps[-1]
    with world.store.reading() as view:  # and back up it waits
        assert [each.scope for each in world.ledger.waiting(view, world.scopes())] == ["operator:acme/clinic"]
    assert verify(world.export()).ok


def test_a_cap_that_is_lowered_under_what_is_spent_freezes_all_but_stored_answers(world: World) -> None:
    low = world.scopes(share="0.1", whole=dp("0.2"))
    with world.store.transaction() as tx:
        world.ledger.declare(tx, low, HASH)
    for scopes in (low, world.scopes()):  # also for a gateway that still has the older policy
        with pytest.raises(Refusal):
            world.charge(price("0.01"), scopes)
    with world.store.transaction() as tx:
        row = world.ledger.reuse(tx, world.asked(), Stored("rel_1", HASH))
    assert row.state == "answered"
    assert verify(world.export()).ok


def test_what_is_lowered_beside_a_raise_counts_at_once(world: World) -> None:
    found = share(world, "2")
    mixed = replace(found, cap=Cap("zcdp", found.cap.rho * 2, found.cap.epsilon * 2, found.cap.delta - 5))
    with world.store.reading() as view:
        (waiting,) = world.ledger.waiting(view, [mixed])
    assert waiting.in_force == replace(found.cap, delta=found.cap.delta - 5)
    world.raise_cap(mixed, waiting.in_force)
    assert verify(world.export()).ok
    assert sound(world.export())


steps = st.tuples(st.sampled_from(["charge", "decide", "by one"]), st.sampled_from(["0.5", "1", "2", "3", "4"]))


@settings(max_examples=200 if os.environ.get("BPK_LONG") else 6, deadline=None)
@given(st.lists(steps, min_size=1, max_size=8))
def test_no_life_of_caps_lets_one_rise_without_its_decision(
    tmp_path_factory: pytest.TempPathFactory, life: list[tuple[str, str]]
) -> None:
    """The model is one number: what is named lowers it when somebody asks, and a decision alone raises it."""
    world = begun(World(tmp_path_factory.mktemp("life")))
    in_force = share(world, "2").cap
    for act, epsilon in life:
        scope = share(world, epsilon)
        with world.store.transaction() as tx:
            world.ledger.declare(tx, [scope], HASH)
        in_force = min(in_force, scope.cap, key=lambda each: each.rho)
        if act == "charge":
            with contextlib.suppress(Refusal):  # where the share is spent
                world.fail(world.charge(price("0.05"), world.scopes(share=epsilon)).id)
        elif scope.cap != in_force:
            decided = signed_by(world.proposed(scope, in_force), *(["bo", "cy"] if act == "decide" else ["bo"]))
            if act == "decide":
                judge(world, decided)
                world.raise_cap(scope, in_force, decided)
                in_force = scope.cap
            else:
                with pytest.raises(Misconfigured):
                    judge(world, decided)
        with world.store.reading() as view:
            assert world.ledger.account(view, share(world, "8")).scope.cap == in_force
    assert verify(world.export()).ok
    assert sound(world.export())
    world.reopen()
    assert recover(world.store, world.ledger, world.log).frozen == {}
    assert world.log.closed is None
    world.store.close()


# what a decision is


def test_a_decision_with_enough_good_signatures_is_one(world: World) -> None:
    decided = world.proposed(share(world, "4"), share(world, "2").cap)
    again = loads(dumps(signed_by(decided, "ann", "cy")).encode())
    judge(world, again)
    assert again.decision == decided.decision


def altered(decided: Decided, **other: Any) -> Decided:
    return replace(decided, decision={**decided.decision, **other})


def raised_after_signing(decided: Decided) -> Decided:
    (line,) = decided.decision["lines"]
    return altered(decided, lines=[{**line, "after": {**line["after"], "rho": "0.7"}}])


def twice_the_same(decided: Decided) -> Decided:
    return decided.signed_by("ann", EYES["ann"]).signed_by("bo", EYES["ann"])


def a_stranger(decided: Decided) -> Decided:
    return decided.signed_by("ann", EYES["ann"]).signed_by("dee", Ed25519PrivateKey.generate())


NOT_ENOUGH: dict[str, tuple[Callable[[Decided], Decided], str]] = {
    "nobody": (lambda decided: decided, "0 of 2 signatures"),
    "one": (lambda decided: signed_by(decided, "ann"), "1 of 2 signatures"),
    "one, twice": (lambda decided: signed_by(decided, "ann", "ann"), "1 of 2 signatures"),
    "one, in two names": (twice_the_same, "`bo` does not hold"),
    "a stranger": (a_stranger, "`dee` is none of the approvers"),
    "altered": (lambda decided: raised_after_signing(signed_by(decided, "ann", "bo")), "does not hold"),
    "another log": (lambda decided: signed_by(altered(decided, ledger="other"), "ann", "bo"), "for the log `other`"),
    "too late": (
        lambda decided: signed_by(altered(decided, until=decided.decision["made"]), "ann", "bo"),
        "this decision holds from",
    ),
    "garbled": (lambda decided: replace(signed_by(decided, "ann"), signatures={"bo": "!"}), "does not hold"),
}


@pytest.mark.parametrize("case", NOT_ENOUGH)
def test_what_is_not_enough_is_refused_with_what_is_missing(world: World, case: str) -> None:
    spoil, words_ = NOT_ENOUGH[case]
    decided = spoil(world.proposed(share(world, "4"), share(world, "2").cap))
    world.clock.moment += timedelta(seconds=1)
    with pytest.raises(Misconfigured, match=words_):
        judge(world, decided)


def test_a_decision_from_another_cap_than_the_one_in_force_is_refused(world: World) -> None:
    world.raise_cap(share(world, "3"), share(world, "2").cap)
    with pytest.raises(Misconfigured, match="another cap by now"):
        world.raise_cap(share(world, "4"), share(world, "2").cap)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff", b'{"decision": {"act": "x"}, "reason": {}, "signatures": {}}', b"1" * 200_000],
)
def test_a_file_that_is_no_decision_is_named_so(content: bytes) -> None:
    with pytest.raises(Misconfigured, match="no decision"):
        loads(content)


def test_a_reason_that_is_not_the_signed_one_is_noticed(world: World) -> None:
    told = json.loads(dumps(world.proposed(share(world, "4"), share(world, "2").cap)))
    told["reason"]["text"] = "a small correction"
    with pytest.raises(Misconfigured, match="the reason in the file"):
        loads(json.dumps(told).encode())


@pytest.mark.parametrize(
    ("quorum", "names", "words_"),
    [(1, "ann bo", "at least 2"), (3, "ann bo", "at most as many"), (2, "ann Bo", "no name"), (2, "ann", "at most")],
)
def test_fewer_than_two_pairs_of_eyes_are_no_approvers(quorum: int, names: str, words_: str) -> None:
    keys = {name: Ed25519PrivateKey.generate().public_key() for name in names.split()}
    with pytest.raises(ValueError, match=words_):
        Approvers.of(quorum, keys)


def test_one_key_in_two_names_is_one_approver() -> None:
    key = EYES["ann"].public_key()
    with pytest.raises(ValueError, match="same key"):
        Approvers.of(2, {"ann": key, "bo": key})


# what somebody slips past the judge, into the log: the verifiers and the next start see it


def slip(world: World, decided: Decided | None) -> None:
    """As somebody would who writes into the database, or has the gateway's own key."""
    with world.store.transaction() as tx:
        world.ledger._put_cap(tx, share(world, "4"), HASH, decided)


def from_lower(world: World) -> Decided:
    return signed_by(world.proposed(share(world, "4"), share(world, "1").cap), "ann", "bo")


def spent(decided: Decided, rho: str) -> Decided:
    (line,) = decided.decision["lines"]
    return altered(decided, lines=[{**line, "spent": {**line["spent"], "rho": rho}}])


def good(world: World) -> Decided:
    return world.proposed(share(world, "4"), share(world, "2").cap)


SLIPPED: dict[str, tuple[Callable[[World], Decided | None], str]] = {
    "no decision": (lambda _: None, "cap_undecided"),
    "nobody": (good, "cap_signature"),
    "one": (lambda world: signed_by(good(world), "ann"), "cap_signature"),
    "one, in two names": (lambda world: twice_the_same(good(world)), "cap_signature"),
    "a stranger": (lambda world: a_stranger(good(world)), "cap_signature"),
    "altered": (lambda world: raised_after_signing(signed_by(good(world), "ann", "bo")), "cap_signature"),
    "of another cap": (from_lower, "cap_decision"),
    "of another scope": (
        lambda world: signed_by(world.proposed(world.scopes("beta", "4")[1], share(world, "2").cap), "ann", "bo"),
        "cap_decision",
    ),
    "of another log": (lambda world: signed_by(altered(good(world), ledger="other"), "ann", "bo"), "cap_decision"),
    "too late": (
        lambda world: signed_by(altered(good(world), until=good(world).decision["made"][:10]), "ann", "bo"),
        "cap_decision",
    ),
    "another reason": (
        lambda world: replace(signed_by(good(world), "ann", "bo"), reason="a small correction"),
        "cap_decision",
    ),
}


@pytest.mark.parametrize("case", SLIPPED)
def test_a_raise_that_was_slipped_in_is_unsound_and_freezes_everything(world: World, case: str) -> None:
    make, code = SLIPPED[case]
    slip(world, make(world))
    report = verify(world.export())
    assert code in report.kinds, report.text()
    assert not sound(world.export())
    world.reopen()
    recover(world.store, world.ledger, world.log)
    assert world.log.closed is not None
    with pytest.raises(Refusal) as refused:
        world.charge(EACH)
    assert refused.value.code == "dataset_frozen"


def test_the_loss_that_a_decision_shows_is_the_one_of_its_moment(world: World) -> None:
    decided = signed_by(good(world), "ann", "bo")
    world.fail(world.charge(EACH).id)  # meanwhile
    world.raise_cap(share(world, "4"), share(world, "2").cap, decided)
    assert verify(world.export()).ok
    assert sound(world.export())


@pytest.mark.parametrize("lost", ["0.7", "0", "0.001"])
@pytest.mark.parametrize("meanwhile", [0, 1])
def test_a_decision_that_tells_of_another_loss_than_there_was_is_noticed(
    world: World, lost: str, meanwhile: int
) -> None:
    slipped = signed_by(spent(good(world), lost), "ann", "bo")
    for _ in range(meanwhile):
        world.fail(world.charge(EACH).id)
    slip(world, slipped)
    assert verify(world.export()).kinds == {"cap_decision": 1}
    assert not sound(world.export())


@pytest.mark.parametrize("records", [0, 5, 10_000, -1, "7", None])
def test_a_decision_of_another_moment_is_noticed(world: World, records: object) -> None:
    slip(world, signed_by(altered(good(world), records=records), "ann", "bo"))
    assert verify(world.export()).kinds == {"cap_decision": 1}
    assert not sound(world.export())


def test_a_decision_counts_once(stored: World) -> None:
    decided = signed_by(good(stored), "ann", "bo")
    stored.raise_cap(share(stored, "4"), share(stored, "2").cap, decided)
    with stored.store.transaction() as tx:
        assert stored.log.applied(tx, decided.nonce)
        assert not stored.log.applied(tx, "0" * 32)
        stored.ledger.declare(tx, stored.scopes(), HASH)  # lowered again, by the policy
    assert verify(stored.export()).ok
    slip(stored, decided)
    assert verify(stored.export()).kinds == {"cap_decision": 1}
    assert not sound(stored.export())


def test_a_raise_in_the_table_alone_freezes_the_dataset(stored: World) -> None:
    with stored.store.transaction() as tx:
        tx.write("UPDATE scope SET cap_rho = cap_rho * 2 WHERE operator IS NOT NULL")
    stored.reopen()
    assert list(recover(stored.store, stored.ledger, stored.log).frozen) == ["clinic"]


@pytest.mark.parametrize(
    ("case", "defence", "without"),
    [
        ("one, in two names", "_holds", lambda *_: True),
        ("a stranger", "Caps._check_signatures", lambda *_: None),
        ("one", "Caps._check_signatures", lambda *_: None),
        ("no decision", "Caps.raised", lambda *_, **__: False),
        ("of another cap", "Caps.raised", lambda *_, **__: True),
    ],
)
def test_a_verifier_that_does_not_look_is_found_out(
    world: World, monkeypatch: pytest.MonkeyPatch, case: str, defence: str, without: Callable[..., Any]
) -> None:
    """The twin: with the check gone the slip passes, and the second verifier disagrees."""
    slip(world, SLIPPED[case][0](world))
    assert not verify(world.export()).ok
    owner, _, name = defence.rpartition(".")
    monkeypatch.setattr(replay_caps.Caps if owner else replay_caps, name, without)
    assert verify(world.export()).ok
    assert not sound(world.export())


# who approves


def others() -> Approvers:
    keys = {
        "dee": Ed25519PrivateKey.from_private_bytes(b"d" * 32),
        "eve": Ed25519PrivateKey.from_private_bytes(b"e" * 32),
    }
    return Approvers.of(2, {name: key.public_key() for name, key in keys.items()})


def change(world: World, before: Approvers, after: Approvers) -> Decided:
    return propose_approvers(SIGNER.origin, before, after, Draft("ann leaves", world.clock()))


def test_approvers_change_by_the_word_of_those_in_force_and_then_only_the_new_ones_count(world: World) -> None:
    decided = signed_by(change(world, approvers(world), others()), "bo", "cy")
    judge(world, decided)
    with world.store.transaction() as tx:
        world.log.name_approvers(tx, others(), decided)
    assert verify(world.export()).ok
    assert sound(world.export())
    assert verify(world.export()).approvers == {"quorum": 2, "names": ["dee", "eve"], "changes": 1}
    slip(world, signed_by(good(world), "ann", "bo"))
    assert verify(world.export()).kinds == {"cap_signature": 1}
    assert not sound(world.export())


SWAPPED: dict[str, Callable[[World], Decided | None]] = {
    "quietly": lambda _: None,
    "by one": lambda world: signed_by(change(world, approvers(world), others()), "ann"),
    "by the new ones": lambda world: (
        change(world, approvers(world), others())
        .signed_by("dee", Ed25519PrivateKey.from_private_bytes(b"d" * 32))
        .signed_by("eve", Ed25519PrivateKey.from_private_bytes(b"e" * 32))
    ),
    "from others": lambda world: signed_by(change(world, others(), others()), "ann", "bo"),
    "to others": lambda world: signed_by(change(world, approvers(world), approvers(world)), "ann", "bo"),
    "by a raise": lambda world: signed_by(good(world), "ann", "bo"),
}


@pytest.mark.parametrize("case", SWAPPED)
def test_approvers_that_were_swapped_are_unsound_and_freeze_everything(world: World, case: str) -> None:
    decided = SWAPPED[case](world)
    with world.store.transaction() as tx:
        world.log.name_approvers(tx, others(), decided)
    assert not verify(world.export()).ok
    assert not sound(world.export())
    world.reopen()
    recover(world.store, world.ledger, world.log)
    assert world.log.closed is not None


@pytest.mark.parametrize(
    "spoilt",
    [
        {"quorum": 1, "keys": {"a": "A" * 43 + "=", "b": "B" * 43 + "="}},
        {"quorum": 2, "keys": {"a": "A" * 43 + "=", "b": "A" * 43 + "="}},
        {"quorum": 3, "keys": {"a": "A" * 43 + "=", "b": "E" * 43 + "="}},
        {"quorum": 2, "keys": {"a": "A" * 43 + "=", "b": "E" * 39 + "="}},
        {"quorum": 2, "keys": []},
        {"quorum": True, "keys": {}},
        None,
    ],
)
def test_a_set_that_is_none_is_judged_so_by_the_verifier(spoilt: Any) -> None:
    record = {"terms": {"approvers": spoilt}, "commitments": None, "ledger": "l", "time": ""}
    with pytest.raises(Broken):
        replay_caps.Caps().name(record)


def longest(count: int, letters: int) -> list[Line]:
    """Lines of scopes whose names are so long, with amounts of every digit there is."""
    most = {"rho": f"{9 * 10**18 - 1}.{'9' * 12}", "epsilon": f"{9 * 10**18 - 1}.{'9' * 12}", "delta": f"0.{'9' * 23}1"}
    return [Line(f"operator:{number:0{letters}d}/clinic", most, most, most) for number in range(count)]


def drawn_up(world: World, count: int, letters: int) -> Decided:
    return propose_caps(SIGNER.origin, 1, longest(count, letters), Draft("long names", world.clock()))


def test_a_decision_that_no_record_could_hold_is_refused_before_anybody_signs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Misconfigured, match=r"longer than the 24576 bytes .* fewer scopes"):
        drawn_up(world, 50, 200)
    monkeypatch.setattr(decided, "DECISION_BYTES_MAX", 10**6)
    file = dumps(drawn_up(world, 50, 200)).encode()
    monkeypatch.undo()
    with pytest.raises(Misconfigured, match=r"longer than the 24576 bytes .* fewer scopes"):
        loads(file)


def test_the_longest_decision_fits_into_its_record_with_all_signatures(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = f"purpose:{'p' * 900}/{'o' * 900}/{'d' * 64}"

    def record(letters: int) -> bytes:
        made = drawn_up(world, 40, letters)
        signed = replace(made, signatures={f"{number:064d}": "s" * 88 for number in range(decided.APPROVERS_MAX)})
        entry = Entry(
            kind="admin",
            code="cap_zcdp",
            dataset="d" * 64,
            policy_digest=HASH,
            charges=({"scope": scope, **longest(1, 1)[0].after},),
            hashes=(("reason", HASH),),
            degraded=tuple(f"{number:032d}".replace("0", "a").replace("1", "b") for number in (0, 1, 10, 100)),
            terms=signed.terms(),
        )
        return body(entry, ledger=SIGNER.origin, seq=10**9, time=made.decision["made"])

    letters = next(n for n in range(400, 0, -1) if fits(world, n))
    assert len(record(letters)) <= RECORD_BYTES_MAX
    monkeypatch.setattr(decided, "DECISION_BYTES_MAX", 10**6)
    with pytest.raises(Fault, match="beyond its limit"):
        record(2_000)


def fits(world: World, letters: int) -> bool:
    try:
        drawn_up(world, 40, letters)
    except Misconfigured:
        return False
    return True
