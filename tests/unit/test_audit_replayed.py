"""What the verifier says of a log that its own holder wrote wrong: which rule is broken, at which record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import cosigned, export, rights, soundness
from gateway.audit.broken import Broken
from gateway.audit.log import Log
from gateway.audit.older import canonical
from gateway.audit.record import Entry
from gateway.audit.replay import Replay
from gateway.audit.report import Report
from gateway.audit.shapes import check_fields
from gateway.audit.suites import sha256
from gateway.audit.tiled import _path, lines_of
from gateway.audit.verify import verify
from gateway.budget import queries
from gateway.errors import Fault, Misconfigured, Refusal, Unsound
from gateway.right import Right
from tests.ledger_world import HASH, SIGNER, World, a_busy_world, licensed, price, tamper
from tests.unit.test_audit_handed_on import edit, of

Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> World:
    return a_busy_world(tmp_path_factory.mktemp("busy"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def all_broken(records: Records) -> list[tuple[str, str, int]]:
    replay, found = Replay(), []
    for seq, record in enumerate(records):
        try:
            replay.take(seq, {**record, "seq": seq})
        except Broken as broken:
            found.append((broken.code, broken.words, seq))
    return found


def first_broken(records: Records) -> tuple[str, str, int] | None:
    return next(iter(all_broken(records)), None)


def also(kind: str, **fields: object) -> Callable[[Records], None]:
    """A second record like the first of its kind, at the end."""
    return lambda records: records.append({**of(records, kind), "time": records[-1]["time"], **fields})


RULES: dict[str, tuple[Callable[[Records], object], str]] = {
    "a refusal heard again": (
        lambda records: also("repeated", **{name: of(records, "refused")[name] for name in ("query_id",)})(records),
        "query_differs",
    ),
    "no line of a cap": (edit("cap_zcdp", charges=[]), "cap"),
    "two lines of a cap": (lambda records: (c := of(records, "cap_zcdp"))["charges"].append(c["charges"][0]), "cap"),
    "a mode that there is not": (edit("run", mode="other"), "fields"),
    "cells of a charged loss": (edit("release", code="cells_1_1"), "cells"),
    "a release with a commitment, and none after it": (
        lambda records: of(records, "release")["commitments"].update(answer=HASH),
        "answer_missing",
    ),
    "cells as words": (edit("reused", code="cells_one"), "cells"),
    "cells with a zero before": (edit("reused", code="cells_01_1"), "cells"),
    "more cells than there are": (edit("reused", code=f"cells_{10**12}_1"), "cells"),
}


@pytest.mark.parametrize("name", RULES)
def test_each_rule_names_itself(busy: World, name: str) -> None:
    records = busy.records()
    assert first_broken(records) is None
    change, code = RULES[name]
    change(records)
    broken = first_broken(records)
    assert broken is not None
    assert broken[0] == code, broken


def test_a_decision_is_followed_by_its_own_charge(busy: World) -> None:
    records = busy.records()
    first, _, third = [place for place, record in enumerate(records) if record["decision"] == "run"][:3]
    records.insert(first + 1, {**records.pop(third), "time": records[first]["time"]})
    assert all_broken(records)[:2] == [
        ("charge_missing", "the record before it decided to run a query, and this is not its charge", first + 1),
        ("charge_missing", "the record before it decided to run a query, and this is not its charge", first + 2),
    ]


def test_a_refusal_is_not_heard_again(world: World) -> None:
    refused, asked = queries.new_query_id(), world.asked()
    about = {"actor": asked.operator, "dataset": asked.dataset, "policy_digest": HASH, "snapshot": HASH}
    with world.store.transaction() as tx:
        world.ledger.refuse(tx, query_id=refused, code="column_hidden", **about)
        world.log.append(tx, kind="decision", decision="repeated", query_id=refused, **about)
    assert first_broken(world.records()) == ("repeated", "repeats a query that was refused", 2)


def test_open_data_needs_no_licence_and_other_data_does(world: World) -> None:
    asked = world.asked()
    for supply, mode, code in (
        ("open", "dp", None),
        ("shared", "open", None),
        ("shared", "dp", "licence_missing"),
        ("withheld", "open", "withheld"),
    ):
        right = Right(mode, supply, None)  # type: ignore[arg-type]
        question = replace(asked, id=queries.new_query_id(), mode=mode, right=right)  # type: ignore[arg-type]
        with world.store.transaction() as tx:
            world.ledger.reuse(tx, question, queries.Stored("rel_1", HASH))
        broken = first_broken(world.records())
        assert (broken and broken[0]) == code, supply
        if broken is not None:
            return
    raise AssertionError("nothing was broken")


def test_every_day_of_a_licence_is_in_it_and_no_other(busy: World) -> None:
    day = "2026-11-23"
    for begin, end, code in (
        (day, day, None),
        ("2026-11-22", "2026-11-24", None),
        ("2026-11-24", "2026-11-25", "licence_expired"),
        ("2026-11-21", "2026-11-22", "licence_expired"),
        ("2026-11-31", "2026-12-01", "terms"),
        ("20261123", day, "terms"),
        (day, "2026-11-23 ", "terms"),
    ):
        records = busy.records()
        of(records, "licence")["terms"].update({"from": begin, "until": end})
        broken = first_broken(records)
        assert (broken and broken[0]) == code, (begin, end)


@pytest.mark.parametrize(
    "terms",
    [None, {}, {"supply": "free"}, {"supply": "open", "more": 1}, ["supply"], {"supply": None}],
)
def test_a_policy_says_its_supply_and_nothing_else(busy: World, terms: object) -> None:
    records = busy.records()
    of(records, "policy")["terms"] = terms
    broken = first_broken(records)
    assert broken is not None
    assert broken[0] == "terms"


@pytest.mark.parametrize(
    "change",
    [{"operator": 1}, {"datasets": ["b", "a"]}, {"datasets": ["a", "a"]}, {"purposes": [1]}, {"more": ""}],
)
def test_the_terms_of_a_licence_are_lists_of_names_in_order(busy: World, change: dict[str, object]) -> None:
    records = busy.records()
    of(records, "licence")["terms"].update(change)
    broken = first_broken(records)
    assert broken is not None
    assert broken[0] == "terms"


def test_last_lines_that_are_none_leave_an_export_without_its_checkpoint(busy: World) -> None:
    *records, end = busy.export()
    more = json.loads(end)
    for last in (
        b"[]\n",
        b"{}\n",
        b"{ }\n",
        b'"x"\n',
        end[:-1],
        canonical({**more, "more": "x"}) + b"\n",
        canonical({**more, "cosigned": "x"}) + b"\n",
        canonical({**more, "key": 1}) + b"\n",
        canonical({**more, "pad": "x" * 70_000}) + b"\n",
    ):
        report = verify([*records, last])
        assert [problem.code for problem in report.problems] == ["checkpoint_missing"], last[:40]
    assert verify([*records, end]).ok


def test_what_stands_cosigned_is_this_log_s_own_and_begins_it(busy: World) -> None:
    *records, end = busy.export()
    whole = json.loads(end)
    size = len(records)
    with busy.store.reading() as view:
        note = SIGNER.sign(3, soundness.root_of(view, 3, sha256))
    proof = [step.hex() for step in busy.log.consistency(3, size)]
    stranger = replace(SIGNER, origin="baopingkou/other").sign(3, b"r" * 32)
    for cosigned_note, steps, code in (
        (note, proof, None),
        (whole["checkpoint"], [], None),
        (stranger, proof, "cosigned_signature"),
        (SIGNER.sign(3, b"r" * 32), proof, "fork"),
        (note, proof[:-1], "fork"),
        (note, ["x"], "cosigned_unreadable"),
        (note, None, "cosigned_unreadable"),
        ("x", proof, "cosigned_unreadable"),
    ):
        last = canonical({**whole, "cosigned": cosigned_note, "consistency": steps}) + b"\n"
        problems = [(problem.code, problem.record) for problem in verify([*records, last]).problems]
        assert problems == ([] if code is None else [(code, None)])


def test_what_an_older_checkpoint_covers_must_be_there(busy: World) -> None:
    lines, size = busy.export(), len(busy.records())
    other = SIGNER.sign(3, b"r" * 32)
    more = SIGNER.sign(size + 1, b"r" * 32)
    stranger = replace(SIGNER, origin="baopingkou/other").sign(3, b"r" * 32)
    receipt = busy.log.receipt(4)
    for since, receipts, code, at in (
        ([other], [], "fork", None),
        ([more], [], "truncated", None),
        ([stranger], [], "older_signature", None),
        (["x"], [], "older_unreadable", None),
        ([], [{**receipt, "index": "4"}], "older_unreadable", None),
        ([], [{**receipt, "index": True}], "older_unreadable", None),
        ([], [{**receipt, "leaf_hash": "00" * 32}], "receipt_differs", None),
    ):
        problems = verify(lines, since=since, receipts=receipts).problems
        assert (problems[0].code, problems[0].record) == (code, at)
    assert verify(lines, since=[busy.log.checkpoint()], receipts=[receipt]).consistent_with == 2


def test_a_receipt_of_another_log_under_the_same_checkpoint_is_a_fork(busy: World) -> None:
    receipt = {**busy.log.receipt(4), "index": 5}
    problems = verify(busy.export(), receipts=[receipt]).problems
    assert [(problem.code, problem.record) for problem in problems] == [("receipt_differs", None), ("fork", 5)]


def test_signatures_of_one_checkpoint_come_together_and_of_another_do_not() -> None:
    first, second = SIGNER.sign(3, b"r" * 32), SIGNER.sign(3, b"q" * 32)
    one, two, later = "— w.example/1 AAAAAQ==\n", "— w.example/2 AAAAAQ==\n", "— w.example/1 AAAAAg==\n"
    assert cosigned.merged(first + one, second + two) == second + two
    assert cosigned.merged(first + one, first + two) == first + one + two
    assert cosigned.merged(first + one, first + one) == first + one
    assert cosigned.merged(first + one, first + later) == first + later


def test_a_log_that_ends_before_its_checkpoint_is_not_exported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "bodies", lambda *_: [])
    with pytest.raises(Fault, match=r"^the log ends before its checkpoint$"):
        list(export.lines(world.log))


def test_only_the_next_record_of_this_log_is_taken_back(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    row = world.charge()
    body = world.log.bodies(row.record, row.record + 1)[0]
    for content, why in (
        (body, "a record that is not the next one of this log"),
        (
            canonical({**json.loads(body), "seq": 1, "ledger": "baopingkou/other"}),
            "a record that is not the next one of this log",
        ),
        (b"{}", "a stored log record is not in canonical form"),
    ):
        with other.store.transaction() as tx, pytest.raises(Fault, match=f"^{why}$"):
            other.log.take_back(tx, content)


def test_a_decision_by_right_names_its_dataset_and_its_policy(world: World) -> None:
    right = Right("dp", "authorised", licensed("acme", "clinic"))
    about: dict[str, Any] = {"kind": "decision", "decision": "run", "query_id": "qry_1", "right": right}
    for missing in ({"dataset": "clinic"}, {"policy_digest": HASH}, {}):
        with (
            world.store.transaction() as tx,
            pytest.raises(Fault, match=r"^a decision by right names its dataset and its policy$"),
        ):
            world.log.append(tx, **about, **missing)


def test_what_was_signed_and_is_gone_closes_the_log(world: World) -> None:
    world.charge()
    world.log.checkpoint()
    tamper(world, "DELETE FROM node WHERE level = 0 AND place = (SELECT max(seq) FROM record)")
    with pytest.raises(Unsound, match="no longer holds what was signed before"):
        world.charge()
    with pytest.raises(Refusal, match="frozen"):
        world.charge()
    with pytest.raises(Unsound, match="no longer holds what was signed before"):
        world.log.checkpoint()
    world.log.close("something else")
    assert world.log.closed == "the log no longer holds what was signed before"


class Elsewhere:
    """A store whose connections are made anew, as after a fail-over."""

    def __init__(self, world: World) -> None:
        self._store, self.sessions = world.store, 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_after_a_fail_over_the_log_is_held_against_what_others_signed(tmp_path: Path) -> None:
    witnessed = tmp_path / "witnessed"
    world = World(tmp_path, witnessed=witnessed)
    elsewhere = Elsewhere(world)
    world.log._store = elsewhere  # type: ignore[assignment]
    world.log._sessions = 1
    elsewhere.sessions = 2
    world.charge()
    assert world.log._sessions == 2
    witnessed.write_text(SIGNER.sign(10_000, b"r" * 32), encoding="utf-8")
    world.charge()
    elsewhere.sessions = 3
    with pytest.raises(Unsound, match="are missing"):
        world.charge()
    assert "are missing" in str(world.log.closed)


def test_a_closed_log_that_was_empty_is_not_begun(tmp_path: Path) -> None:
    witnessed = tmp_path / "witnessed"
    witnessed.write_text(SIGNER.sign(5, b"r" * 32), encoding="utf-8")
    world = World(tmp_path, witnessed=witnessed)
    assert world.log.closed == (
        "records 0 to 4 are missing that witnessed was signed over; `bpk restore` puts them back from an export"
    )
    assert world.log.bodies(0, 10) == []


def test_a_log_is_begun_once_whoever_comes_first(world: World) -> None:
    world.log._begin()
    assert len(world.records()) == 1


def test_a_log_that_another_wrote_does_not_open(world: World) -> None:
    with pytest.raises(Misconfigured, match="that of `baopingkou/test`, not `baopingkou/other`"):
        Log(world.store, replace(SIGNER, origin="baopingkou/other"), world.log._anchors)


def test_only_what_has_terms_is_remembered(world: World) -> None:
    with world.store.transaction() as tx:
        rights.remember(tx, "policy:x", Entry(kind="admin", code="policy", terms={"supply": "open"}))
        rights.remember(tx, "policy:y", Entry(kind="admin", code="policy"))
        assert [name for (name,) in tx.all("SELECT name FROM declared WHERE name LIKE 'policy:%'")] == ["policy:x"]
        rights.remember(tx, "policy:x", Entry(kind="admin", code="policy"))
        assert tx.all("SELECT name FROM declared") == []
        open_data = Right("dp", "open", None)
        names = [name for name, _ in rights.undeclared(tx, "clinic", HASH, open_data)]
        assert names == ["policy:clinic"]


def test_a_tree_with_a_hole_gives_no_proof(world: World) -> None:
    for _ in range(3):
        world.charge()
    tamper(world, "DELETE FROM node WHERE level = 1 AND place = 0")
    with world.store.reading() as view:
        with pytest.raises(Unsound, match=r"^the log's tree has a hole$"):
            soundness.root_of(view, 2, sha256)
        with pytest.raises(Unsound, match=r"^the log's tree is damaged$"):
            soundness.check_tree(view, sha256)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record SET body = CAST(body || ' ' AS BLOB) WHERE seq = 3",
        "UPDATE record SET actor = 'mallory' WHERE seq = 3",
        "UPDATE node SET hash = zeroblob(32) WHERE level = 0 AND place = 3",
        "DELETE FROM node WHERE level = 0 AND place = 3",
        "DELETE FROM node WHERE level = 0 AND place >= 3",
    ],
)
def test_a_damaged_record_is_named(world: World, statement: str) -> None:
    world.charge()
    tamper(world, statement)
    with world.store.reading() as view, pytest.raises(Unsound, match=r"the log is damaged at record 3$"):
        list(soundness.records(view, sha256))


def test_a_subtree_that_belongs_to_none_is_damage(world: World) -> None:
    world.charge()
    tamper(world, "INSERT INTO node VALUES (30, 0, zeroblob(32))")
    with world.store.reading() as view, pytest.raises(Unsound, match=r"^the log's tree is damaged$"):
        soundness.check_tree(view, sha256)


def test_tiles_lie_where_the_standard_says() -> None:
    assert _path("0", 0, 256) == "tile/0/000"
    assert _path("entries", 1234067, 7) == "tile/entries/x001/x234/067.p/7"
    assert _path("2", 1000, 256) == "tile/2/x001/000"


@pytest.mark.parametrize("size", ["", "x", "-1", "1" * 19, "٣"])
def test_a_folder_s_checkpoint_has_a_size(tmp_path: Path, size: str) -> None:
    (tmp_path / "key").write_text(f"{SIGNER.vkey}\n")
    for note in (f"origin\n{size}\n", "origin"):
        (tmp_path / "checkpoint").write_text(note)
        with pytest.raises(ValueError, match=r"^a checkpoint without a size$"):
            list(lines_of(tmp_path))


def test_a_record_of_several_lines_is_none(tmp_path: Path) -> None:
    entry = b"a\nb"
    (tmp_path / "key").write_text(f"{SIGNER.vkey}\n")
    (tmp_path / "checkpoint").write_text("origin\n1\n")
    (tmp_path / "tile/entries").mkdir(parents=True)
    (tmp_path / "tile/entries/000.p").mkdir()
    for content, why in (
        (len(entry).to_bytes(2, "big") + entry, "a record of several lines"),
        (b"\0\1a\0\1b", "a tile of records that is cut off, or too long"),
        (b"\0\2a", "a tile of records that is cut off, or too long"),
        (b"", "a tile of records that is cut off, or too long"),
    ):
        (tmp_path / "tile/entries/000.p/1").write_bytes(content)
        with pytest.raises(ValueError, match=f"^{why}$"):
            list(lines_of(tmp_path))


def test_a_report_tells_people_all_that_it_counts() -> None:
    amounts = {"rho": "0.5", "epsilon": "2", "delta": "0"}
    pure = {"accountant": "pure", "cap": amounts, "spent": amounts, "charges": 3, "cap_changes": 2}
    pure |= {"raises_decided": 1, "raises_undecided": 4}
    still = {"cap_changes": 0, "raises_decided": 0, "raises_undecided": 0}
    report = Report(
        size=9,
        root="ab",
        ledger="x",
        key="k",
        keys=[(0, "j"), (4, "k")],
        approvers={"quorum": 2, "names": ["ann", "bo"]},
        counts={"read": 2, "charge": 7},
        scopes={"dataset:a": pure, "dataset:b": {**pure, "accountant": "zcdp", **still}},
        cells={"operator:o/d": {"released": 4, "withheld": 1}},
        unsettled=1,
        without_budget=2,
        reused_from_elsewhere=3,
        degraded={"seccomp": 5},
        witnessed=8,
        witnesses={"w2": 1, "w1": 2},
        consistent_with=4,
    )
    assert report.text().splitlines() == [
        "log x: sound",
        "9 records (7 charge, 2 read)",
        "root ab",
        "signed by k",
        "its key was changed after 4 records, to k",
        "dataset:a: epsilon 2 of 2, delta 0 of 0, in 3 charges, cap changed 2 times, raised 1 times by approvers, "
        "raised 4 times by one pair of eyes",
        "dataset:b: rho 0.5 of 0.5, delta 0 of 0, in 3 charges",
        "caps rise by 2 of ann, bo",
        "operator:o/d: 4 exact numbers shown, 1 withheld",
        "5 records were written while the data domain did without `seccomp`",
        "8 records are witnessed by w1, w2",
        "1 charged queries without an outcome yet",
        "2 queries run in modes that spend no budget",
        "3 reused answers whose release is not in this log",
        "4 older checkpoints and receipts checked",
    ]
    assert Report().text().splitlines() == ["log : sound", "0 records ()", "root "]
    report.stamped.append((7, "2026-11-23T12:00:00Z"))
    assert "7 records were there at 2026-11-23T12:00:00Z, by 1 time stamps of the authority" in report.text()
    report.add("fork", None, "it is another one")
    assert report.text().splitlines()[0] == "log x: NOT SOUND: 1 problem(s)"
    assert report.as_json() == {
        "ok": False,
        "records": 9,
        "root": "ab",
        "ledger": "x",
        "key": "k",
        "keys": [{"key": "j", "from": 0}, {"key": "k", "from": 4}],
        "counts": {"read": 2, "charge": 7},
        "scopes": report.scopes,
        "cells": report.cells,
        "approvers": {"quorum": 2, "names": ["ann", "bo"]},
        "degraded": {"seccomp": 5},
        "unsettled": 1,
        "without_budget": 2,
        "reused_from_elsewhere": 3,
        "consistent_with": 4,
        "witnessed": 8,
        "witnesses": {"w2": 1, "w1": 2},
        "stamped": [{"records": 7, "time": "2026-11-23T12:00:00Z"}],
        "problems_total": 1,
        "problems": [{"code": "fork", "record": None, "detail": "it is another one"}],
    }


@pytest.mark.parametrize("layers", [[], ["seccomp", "landlock"], ["seccomp", "seccomp"], ["A"], [1], "seccomp", None])
def test_layers_that_are_done_without_are_named_in_one_way(busy: World, layers: object) -> None:
    record = busy.records()[0]
    check_fields({**record, "degraded": ["landlock", "seccomp"]})
    with pytest.raises(Broken) as broken:
        check_fields({**record, "degraded": layers})
    assert (broken.value.code, broken.value.words) == ("fields", "`degraded` is no list of layers")


def test_an_export_of_nothing_names_no_log() -> None:
    report = verify([])
    assert (report.ok, report.size, report.ledger) == (False, 0, "")


def test_a_whole_export_adds_up_to_what_the_ledger_says(busy: World) -> None:
    report = verify(busy.export(), key=SIGNER.vkey)
    assert (report.ok, report.ledger, report.key, report.size) == (
        True,
        SIGNER.origin,
        SIGNER.vkey,
        len(busy.records()),
    )
    assert report.counts == dict(Counter(record["kind"] for record in busy.records()))
    assert (report.unsettled, report.without_budget, report.reused_from_elsewhere) == (0, 1, 0)
    assert report.cells == {
        "operator:acme/clinic": {"released": 12, "withheld": 2},
        "operator:beta/clinic": {"released": 12, "withheld": 2},
    }
    whole = report.scopes["dataset:clinic"]
    spent = busy.spent(busy.scopes()[0])
    charged = sum(bool(record["charges"]) for record in busy.records() if record["kind"] == "charge")
    assert (whole["accountant"], whole["charges"], whole["cap_changes"]) == ("zcdp", charged, 0)
    assert whole["spent"]["rho"] == queries_text(spent)
    own = "operator:acme/clinic"
    caps = sum(record["charges"][0]["scope"] == own for record in busy.records() if record["code"] == "cap_zcdp")
    assert report.scopes[own]["cap_changes"] == caps - 1
    running = world_with_a_running_query(busy)
    assert verify(running, key=SIGNER.vkey).unsettled == 1


def queries_text(amount: int) -> str:
    return f"{amount // 10**12}.{amount % 10**12:012d}".rstrip("0").rstrip(".")


def world_with_a_running_query(busy: World) -> list[bytes]:
    busy.charge(price("0.1"), busy.scopes(share="3"))
    return busy.export()
