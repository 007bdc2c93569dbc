"""Decisions on caps and changes of the log's key, as the offline verifier judges them: rule by rule."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import approvers, handover
from gateway.audit.broken import Broken
from gateway.audit.checkpoint import Signer
from gateway.audit.handover import Held
from gateway.audit.keys import Keys, following
from gateway.audit.older import canonical
from gateway.audit.replay_caps import Caps
from gateway.audit.shapes import amounts_of, check_fields, check_shape, shape_of
from gateway.audit.suites import SM3, sha256
from gateway.budget import scopes
from gateway.budget.loss import Loss, cap, words
from gateway.errors import Fault
from tests.ledger_world import EYES, NEXT, SIGNER, World, dp, price

Record = dict[str, Any]
PREFIX = b"baopingkou caps decision v1\n"
WITNESS = "w.example/3+0bf73c72+BAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Of a log whose cap two approvers have raised, from what a share of 2 allows to what one of 4 does."""
    world = World(tmp_path_factory.mktemp("caps"))
    world.fail(world.charge(price("0.5")).id)
    world.name_approvers()
    world.raise_cap(world.scopes(share="4")[1], world.scopes(share="2")[1].cap)
    return world.records()


def judged(records: list[Record], change: Callable[[Record, Record], object], *names: str) -> str | None:
    """What is found in the raise once its decision is changed and signed again by `names`."""
    copy = json.loads(json.dumps(records))
    named = next(record for record in copy if record["code"] == "approvers")
    raised = copy[-1]
    decision = raised["terms"]["decision"]
    change(raised, decision)
    if names:
        text = PREFIX + canonical(decision)
        signatures = {name: base64.b64encode(EYES[name].sign(text)).decode() for name in names}
        raised["terms"]["signatures"] = signatures
    caps = Caps()
    caps.name(named)
    before = amounts_of({**words(cap(dp(), Decimal(2))), "scope": ""})
    spent = amounts_of({**records[-1]["terms"]["decision"]["lines"][0]["spent"], "scope": ""})
    made = records[-1]["terms"]["decision"]["records"]
    try:
        assert caps.raised(raised, before, lambda size: spent if size == made else {}, rises=True)
    except Broken as broken:
        return broken.words
    assert caps.applied == {(decision["nonce"], raised["charges"][0]["scope"])}
    return None


def line(**fields: object) -> Callable[[Record, Record], object]:
    return lambda _, decision: decision["lines"][0].update(fields)


def decision(**fields: object) -> Callable[[Record, Record], object]:
    return lambda _, decision: decision.update(fields)


def nothing(raised: Record, decision: Record) -> None:
    """The decision as it was made."""


FORGED: dict[str, tuple[Callable[[Record, Record], object], str]] = {
    "no lines": (decision(lines=None), "without its lines"),
    "a line that says more": (line(more="1"), "without its lines"),
    "a line that is none": (decision(lines=["scope"]), "without its lines"),
    "amounts that are none": (line(before=[]), "without its amounts"),
    "an amount left out": (line(before={"rho": "0", "epsilon": "0"}), "without its amounts"),
    "spent left out": (line(spent={}), "without its amounts"),
    "another scope": (line(scope="dataset:other"), "on other scopes"),
    "no scope": (decision(lines=[]), "on other scopes"),
    "a scope twice": (lambda _, told: told["lines"].append(told["lines"][0]), "on other scopes"),
    "another cap after": (line(after={"rho": "9", "epsilon": "9", "delta": "0"}), "on another cap"),
    "another cap before": (line(before={"rho": "9", "epsilon": "9", "delta": "0"}), "on another cap"),
    "more spent than there was": (
        line(spent={"rho": f"{10**18}.9", "epsilon": "0", "delta": "0"}),
        "another loss than there was",
    ),
    "from before there were approvers": (decision(records=0), "from before there were approvers"),
    "from later on": (decision(records=10**6), "from before there were approvers, or from later on"),
    "a size that is none": (decision(records="3"), "from before there were approvers"),
    "a short nonce": (decision(nonce="ab"), "what is no decision"),
    "a nonce that is a number": (decision(nonce=1), "what is no decision"),
    "no reason": (decision(reason=None), "what is no decision"),
    "more than a decision": (decision(more="x"), "no decision of its kind"),
    "another act": (decision(act="approvers"), "no decision of its kind"),
    "another log": (decision(ledger="other"), "for another log"),
    "a day in place of a time": (decision(made="2020-01-01"), "did not hold then"),
    "made later": (decision(made="2099-01-01T00:00:00.000Z"), "did not hold then"),
    "over": (decision(until="2020-01-01T00:00:00.000Z"), "did not hold then"),
    "another reason": (decision(reason="cd" * 32), "another reason"),
}


def test_a_decision_that_two_have_signed_raises_a_cap(records: list[Record]) -> None:
    assert judged(records, nothing) is None
    assert judged(records, nothing, "ann", "bo") is None
    assert judged(records, nothing, *EYES) is None


@pytest.mark.parametrize("name", FORGED)
def test_what_approvers_sign_has_to_be_this_decision(records: list[Record], name: str) -> None:
    change, why = FORGED[name]
    told = judged(records, change, "ann", "bo")
    assert told is not None
    assert why in told


@pytest.mark.parametrize("signature", [1, None, "", "x", "AA", "QUJD", "=" * 88, "A" * 86 + "=="])
def test_what_is_no_signature_does_not_hold(records: list[Record], signature: object) -> None:
    def change(raised: Record, _: Record) -> None:
        raised["terms"]["signatures"]["ann"] = signature

    assert judged(records, change) == "has a signature of an approver that does not hold"


def test_fewer_or_other_signatures_are_not_enough(records: list[Record]) -> None:
    assert judged(records, nothing, "ann") == "has not enough signatures of approvers"
    for signatures in (None, [], {"mallory": "x"}):
        told = judged(records, lambda raised, _, s=signatures: raised["terms"].update(signatures=s))
        assert told == "is signed by somebody who is no approver then"
    assert judged(records, lambda raised, _: raised["terms"].pop("signatures")) is not None
    assert judged(records, lambda raised, _: raised["terms"].update(more=1)) is not None


def test_without_terms_a_cap_rises_only_where_nobody_was_named(records: list[Record]) -> None:
    plain = {name: value for name, value in records[-1].items() if name != "terms"}
    nobody = Caps()
    assert not nobody.raised(plain, {}, None, rises=True)
    named = Caps()
    named.name(next(record for record in records if record["code"] == "approvers"))
    assert not named.raised(plain, {}, None, rises=False)
    with pytest.raises(Broken, match=r"^raises a cap, and no approver has signed for it$"):
        named.raised(plain, {}, None, rises=True)


def test_a_cap_has_a_reason_and_a_decision_or_neither(records: list[Record]) -> None:
    raised = records[-1]
    for record in (
        {**raised, "commitments": None},
        {name: value for name, value in raised.items() if name != "terms"},
    ):
        check_fields(record)
        with pytest.raises(Broken, match=r"^a cap has a reason and a decision, or neither$"):
            check_shape(record, shape_of(record))


# the key of the log


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A log that changed its key once, in the middle."""
    found = World(tmp_path, held=Held(SIGNER, lambda: [NEXT]))
    found.charge()
    found.hand_over()
    found.charge()
    return found


def test_only_a_log_s_key_begins_a_chain() -> None:
    assert Keys.of(SIGNER.vkey).chain == ((0, SIGNER.vkey),)
    with pytest.raises(ValueError, match=r"^not a log's key$"):
        Keys.of(WITNESS)


def test_a_chain_goes_on_from_its_newest_key_and_forward(world: World) -> None:
    handed = next(record for record in world.records() if record["code"] == "log_key")
    size = handed["seq"] + 1
    keys = Keys.of(SIGNER.vkey).named(handed)
    assert keys.chain == ((0, SIGNER.vkey), (size, NEXT.vkey))
    assert [keys.at(each) for each in (0, size - 1, size, size + 1)] == [SIGNER.vkey] * 2 + [NEXT.vkey] * 2
    again = {**handed, "terms": {"from": NEXT.vkey, "to": SIGNER.vkey}}
    for before, record, why in (
        (keys, handed, "hands over a key that is not the log's"),
        (Keys.of(NEXT.vkey), handed, "hands over a key that is not the log's"),
        (keys, again, "hands over a key that is not the log's"),
        (keys, {**again, "seq": size}, "goes back to a key that the log had before"),
    ):
        with pytest.raises(Broken, match=f"^{why}$"):
            before.named(record)


def test_a_log_goes_over_to_a_key_of_its_own_algorithms_alone(world: World) -> None:
    handed = next(record for record in world.records() if record["code"] == "log_key")
    other = Signer(SIGNER.origin, Ed25519PrivateKey.from_private_bytes(b"o" * 32), SM3)
    with pytest.raises(Broken, match=r"^hands the log over to a key for another digest$"):
        Keys.of(SIGNER.vkey).named({**handed, "terms": {"from": SIGNER.vkey, "to": other.vkey}})


def test_only_changes_up_to_a_size_are_told_of_it(world: World) -> None:
    size = next(record["seq"] + 1 for record in world.records() if record["code"] == "log_key")
    with world.store.reading() as view:
        assert [len(handover.notes(view, each)) for each in (0, size - 1, size, size + 1)] == [0, 0, 1, 1]
        assert handover.note_at(view, size - 1) is None
        links = handover.links(view, size, sha256)
    assert following(SIGNER.vkey, links).newest == NEXT.vkey
    assert following(NEXT.vkey, links).chain == ((0, NEXT.vkey),)
    with pytest.raises(ValueError, match=r"^a change of the log's key is not proven$"):
        following(SIGNER.vkey, [{**links[0], "proof": []}])


def test_a_home_that_cannot_sign_is_not_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.log.unready() is None
    ring = world.log._ring
    monkeypatch.setattr(ring, "held", Held(SIGNER))
    monkeypatch.setattr(ring, "_found", {SIGNER.key_hash: SIGNER})
    assert world.log.unready() == "the log has gone over to another key, which this home does not hold"

    def fails(_: object) -> None:
        raise Fault("gone")

    monkeypatch.setattr(ring, "signer", fails)
    assert world.log.unready() == "cannot be read: the log of the gateway says why"


def test_what_was_spent_is_told_as_of_a_size_of_the_log(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.store.reading() as view:
        assert approvers.first(view) is None
    row = world.charge(price("0.5"))
    world.name_approvers()
    told, scope = world.records(), world.scopes()[1]
    charge = next(record for record in told if record["kind"] == "charge")
    with world.store.reading() as view:
        first = approvers.first(view)
        assert first is not None
        assert told[first]["code"] == "approvers"
        assert scopes.spent_at(view, scope.id, scope.dataset, charge["seq"]) == Loss()
        assert scopes.spent_at(view, scope.id, scope.dataset, charge["seq"] + 1) == Loss(rho=row.cost.rho)
        assert scopes.spent_at(view, "dataset:other", "other", charge["seq"] + 1) == Loss()
