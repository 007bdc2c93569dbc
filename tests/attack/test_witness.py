"""A witness cosigns one chain of a log, whatever is sent, in whatever order, however often it is killed."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.checkpoint import Signer
from gateway.audit.note import cosigned_by, parse_checkpoint, signed_by
from gateway.witness import memory as memory_module
from gateway.witness.server import Witness
from gateway.witness.submission import BYTES_MAX, SIZE_TYPE, Refused
from tests.ledger_world import SIGNER
from tests.witness_world import MAIN, Branch, Process, make_witness, serving, witness

KILLS = 200 if os.environ.get("BPK_LONG") else 6
EXAMPLES = 2000 if os.environ.get("BPK_LONG") else 60
FORK = Branch("other", 5)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Witness]:
    with witness(tmp_path / "w") as found:
        yield found


def status(one: Witness, body: bytes) -> int:
    try:
        one.add(body)
    except Refused as refused:
        return refused.status
    return 200


def test_a_cosigned_checkpoint_carries_both_signatures(one: Witness) -> None:
    line = one.add(MAIN.body(0, 7))
    vkey = one._home.cosigner.vkey
    checkpoint = parse_checkpoint(MAIN.note(7) + line)
    moment = cosigned_by(checkpoint, vkey)
    assert moment is not None
    assert abs(moment - time.time()) < 600
    assert signed_by(checkpoint, SIGNER.vkey)
    newest = one._memory.newest()[0]
    assert newest.note == MAIN.note(7) + line


def test_what_grows_is_cosigned_and_what_does_not_is_not(one: Witness) -> None:
    assert status(one, MAIN.body(0, 6)) == 200
    assert status(one, MAIN.body(6, 6)) == 200, "the same again is a new cosignature"
    assert status(one, MAIN.body(6, 11)) == 200
    assert status(one, MAIN.body(6, 13)) == 409, "stale"
    assert status(one, MAIN.body(0, 6)) == 409, "a rollback, or a replay"
    assert status(one, MAIN.body(11, 6)) == 400, "backwards"
    assert status(one, FORK.body(11, 13)) == 422, "a fork"
    assert status(one, FORK.body(11, 11)) == 422, "a fork of the same size"
    assert status(one, FORK.body(0, 20)) == 409, "a fork that claims to begin"
    assert status(one, Branch("other", 11).body(11, 20)) == 200, "no fork: it begins where the last one ended"


def test_a_conflict_says_which_size_was_seen(one: Witness) -> None:
    one.add(MAIN.body(0, 9))
    with pytest.raises(Refused) as caught:
        one.add(MAIN.body(4, 12))
    assert (caught.value.status, caught.value.words, caught.value.kind) == (409, "9\n", SIZE_TYPE)


def test_what_the_log_signed_against_its_own_word_is_kept(one: Witness) -> None:
    one.add(MAIN.body(0, 9))
    for _ in range(2):
        status(one, FORK.body(9, 9))
    (evidence,) = one._memory.evidence()
    assert evidence.note == FORK.note(9)
    assert evidence.seen == 9


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", 400),
        (b"old 0\n", 400),
        (b"old 00\n\n" + MAIN.note(3).encode(), 400),
        (b"old -1\n\n" + MAIN.note(3).encode(), 400),
        (b"old 0\n\n" + MAIN.note(3).encode()[:-1], 400),
        (b"old 0\r\n\r\n" + MAIN.note(3).encode(), 400),
        (b"old 0\nAA==\n\n" + MAIN.note(3).encode(), 400),
        (b"old 0\n" + b"A" * 43 + b"=\n\n" + MAIN.note(3).encode(), 422),
        (b"old 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\n" + MAIN.note(3).encode(), 400),
        (b"\xff" + MAIN.body(0, 3), 400),
        (Branch(signer=Signer("baopingkou/other", SIGNER.key)).body(0, 3), 404),
        (Branch(signer=Signer(SIGNER.origin, Ed25519PrivateKey.generate())).body(0, 3), 403),
        (MAIN.body(0, 3).replace(b"\n3\n", b"\n4\n"), 403),
        (MAIN.body(0, 3) + MAIN.note(4).splitlines(keepends=True)[-1].encode(), 403),
        (b"old 0\n\n" + SIGNER.sign(0, b"r" * 32).encode(), 422),
        (MAIN.body(0, 0), 200),
        (MAIN.body(0, 3) + "— somebody.else AAAAAAAA\n".encode(), 200),
    ],
)
def test_each_submission_has_the_status_of_the_standard(one: Witness, body: bytes, expected: int) -> None:
    assert status(one, body) == expected


def test_signatures_of_others_are_not_passed_on(one: Witness) -> None:
    one.add(MAIN.body(0, 3) + "— somebody.else AAAAAAAA\n".encode())
    assert "somebody" not in one._memory.newest()[0].note


Sent = tuple[Branch, int]


def is_chain(cosigned: list[Sent]) -> bool:
    """Whether the checkpoints that were cosigned, in order, are of one log that only grew."""
    return all(
        old_size <= size and old.root(old_size) == new.root(old_size)
        for (old, old_size), (new, size) in itertools.pairwise(cosigned)
    )


BRANCHES = [MAIN, FORK, Branch("late", 17), Branch("early", 1)]
STEP = st.tuples(st.sampled_from(BRANCHES), st.integers(0, 24), st.integers(0, 24))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(STEP, max_size=25), st.booleans())
def test_all_that_is_ever_cosigned_is_one_chain(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Branch, int, int]], helped: bool
) -> None:
    """`helped`: the sender knows what the witness saw last, as an attacker would."""
    with witness(tmp_path_factory.mktemp("w")) as one:
        cosigned: list[Sent] = []
        for branch, old, size in steps:
            known = cosigned[-1][1] if helped and cosigned else old
            if status(one, branch.body(known, size)) == 200:
                cosigned.append((branch, size))
        assert is_chain(cosigned)


def test_a_witness_that_does_not_judge_is_noticed(one: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "judge", lambda *_: None)
    assert status(one, MAIN.body(0, 6)) == 200
    with pytest.raises(sqlite3.IntegrityError, match="does not go back"):  # the second fence holds alone
        status(one, FORK.body(6, 6))
    one._memory._connection.execute("DROP TRIGGER log_only_grows")
    assert status(one, FORK.body(6, 6)) == 200
    assert not is_chain([(MAIN, 6), (FORK, 6)])


def test_a_memory_that_is_written_past_the_judge_refuses_to_go_back(one: Witness) -> None:
    """The second fence: the file itself."""
    one.add(MAIN.body(0, 9))
    for statement in ("UPDATE log SET size = 3", "UPDATE log SET root = zeroblob(32)", "DELETE FROM log"):
        with pytest.raises(Exception, match="a witness does not"):
            one._memory._connection.execute(statement)


def test_of_submissions_that_race_one_is_cosigned(one: Witness) -> None:
    one.add(MAIN.body(0, 4))
    rivals = [Branch(f"rival {n}", 4) for n in range(8)]
    barrier = threading.Barrier(len(rivals))

    def send(rival: Branch) -> int:
        barrier.wait()
        return status(one, rival.body(4, 9))

    with ThreadPoolExecutor(len(rivals)) as pool:
        statuses = list(pool.map(send, rivals))
    assert sorted(statuses) == [200, *[409] * 7]
    winner = rivals[statuses.index(200)]
    assert one._memory.newest()[0].note.startswith(winner.note(9))


def post(process: Process, body: bytes) -> httpx.Response:
    return httpx.post(f"{process.url}/add-checkpoint", content=body, trust_env=False, timeout=10)


def test_over_http_it_speaks_the_standard(tmp_path: Path) -> None:
    with serving(make_witness(tmp_path)) as process:
        newest = f"{process.url}/{hashlib.sha256(SIGNER.origin.encode()).hexdigest()}/checkpoint"
        assert httpx.get(newest, trust_env=False).status_code == 404
        reply = post(process, MAIN.body(0, 5))
        assert reply.status_code == 200
        note = httpx.get(newest, trust_env=False).text
        assert note == MAIN.note(5) + reply.text
        assert cosigned_by(parse_checkpoint(note), process.home.cosigner.vkey)
        conflict = post(process, MAIN.body(3, 8))
        assert (conflict.status_code, conflict.text) == (409, "5\n")
        assert conflict.headers["content-type"].startswith(SIZE_TYPE)
        assert post(process, b"x" * (BYTES_MAX + 1)).status_code == 400
        assert httpx.get(f"{process.url}/add-checkpoint", trust_env=False).status_code == 405


def test_a_witness_that_is_killed_forgets_nothing_that_it_said(tmp_path: Path) -> None:
    """Killed at random moments between and within submissions: what it told is there again, and forks stay refused."""
    dice = random.Random(int(os.environ.get("BPK_SEED", "7")))
    home = make_witness(tmp_path)
    told = 0
    for _ in range(KILLS):
        with serving(home) as process:
            begin = time.perf_counter()
            reply = post(process, MAIN.body(told, told + 1))
            assert reply.status_code in (200, 409)
            seen = told + 1 if reply.status_code == 200 else int(reply.text)
            assert seen >= told, "it went back"
            told = seen
            rival = Branch("rival", max(told - 1, 0))
            assert post(process, rival.body(told, told)).status_code == 422
            assert post(process, rival.body(told, told + 3)).status_code == 422
            one = (time.perf_counter() - begin) / 3  # submission, however busy the machine is
            moment = threading.Timer(dice.uniform(0, 10) * one, process.kill)
            moment.start()
            try:
                while True:
                    reply = post(process, MAIN.body(told, told + 1))
                    if reply.status_code == 200:
                        told += 1
            except httpx.HTTPError:
                pass
            moment.join()
    assert told > KILLS
