"""The command that signs outside: how it is run and bounded, and that nothing which it answers is used unseen."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway.audit import command as commands
from gateway.audit import plugged
from gateway.audit.checkpoint import Signer
from gateway.audit.command import OUTPUT_BYTES_MAX, Command, CommandFailed
from gateway.audit.note import parse_key
from gateway.audit.plugged import PluggedKey, SignerFailed
from gateway.audit.public_key import PublicKey
from gateway.audit.suites import SHA256, SM3_SM2
from tests import second_sm2
from tests.sm2_world import script

SECRET = 5**99
TEXT = b"origin\n3\nroot\n"
LONG_S = 600.0


def ran(program: Path, content: bytes = TEXT, timeout_s: float = LONG_S, more: Sequence[str] = ()) -> bytes:
    return Command((str(program),), timeout_s).run(more, content)


# one run


def test_it_is_given_the_text_and_the_words_as_they_are(tmp_path: Path) -> None:
    program = script(tmp_path, "signer", 'for each; do printf "%s|" "$each"; done; cat; pwd')
    words = ("$HOME", "; touch it", "*", "a b")
    told = Command((str(program), "first"), LONG_S).run(words, TEXT)
    assert told == b"first|$HOME|; touch it|*|a b|" + TEXT + b"/\n"


def test_it_sees_nothing_of_our_environment_but_where_programs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    told = ran(script(tmp_path, "signer", "env"))
    assert b"secret" not in told
    assert f"PATH={os.environ['PATH']}".encode() in told


def test_open_files_of_ours_are_not_its(tmp_path: Path) -> None:
    secret = os.open(__file__, os.O_RDONLY)
    os.set_inheritable(secret, True)  # noqa: FBT003  # of the library
    try:
        assert ran(script(tmp_path, "signer", f"( cat <&{secret} ) 2>/dev/null || echo shut")) == b"shut\n"
    finally:
        os.close(secret)


def test_it_need_not_read(tmp_path: Path) -> None:
    assert ran(script(tmp_path, "signer", "exec <&-; printf x"), b"y" * commands.INPUT_BYTES_MAX) == b"x"


FAILING = {
    "ends with the code 3": "echo no such key >&2; exit 3",
    "ends with the code -9": "kill -9 $$",
    "says too much": f"head -c {OUTPUT_BYTES_MAX + 1} /dev/zero",
    "says too much, for ever": "cat /dev/zero",
    "says too much besides": "cat /dev/zero >&2",
}


@pytest.mark.parametrize("why", FAILING)
def test_what_goes_wrong_is_an_error(why: str, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=why.split(",", maxsplit=1)[0].removesuffix(" besides")):
        ran(script(tmp_path, "signer", FAILING[why]))


def test_its_own_words_are_kept_apart_and_made_harmless(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed) as failed:
        ran(script(tmp_path, "signer", "printf 'the pin\\033[2J\\nis 1' >&2; exit 1"))
    assert str(failed.value) == "ends with the code 1"
    assert failed.value.said == "the pin [2J is 1"


def test_a_program_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x", encoding="utf-8")
    for name in ("none", "text"):
        with pytest.raises(CommandFailed, match="cannot be started"):
            ran(tmp_path / name)
    with pytest.raises(CommandFailed, match="is given too much"):
        ran(script(tmp_path, "signer", "cat"), b"x" * (commands.INPUT_BYTES_MAX + 1))


HANGING = {
    "it hangs": "sleep 600",
    "its child hangs": "sleep 600 & exit 0",
    "it hangs with nothing to say": "exec >&- 2>&-; sleep 600",
    "it says a little now and then": "while :; do printf x; sleep 1; done",
}


@pytest.mark.parametrize("name", HANGING)
def test_one_that_takes_too_long_is_ended(name: str, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="takes too long"):
        ran(script(tmp_path, "signer", HANGING[name]), timeout_s=0.3)


ENDS = {"says too much": "cat /dev/zero", "ends with the code 3": "exit 3", "": "printf ok"}


def outlived(tmp_path: Path, wait_s: float, why: str = "says too much") -> bool:
    """Whether a child of the program is there so long after its end. It holds a pipe open until it is gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        child = f'sleep 600 </dev/null >/dev/null 2>&1 & echo $! >"{tmp_path}/child"'
        program = script(tmp_path, "signer", f'exec 9>"{pipe}"; {child}; {ENDS[why]}')
        if why:
            with pytest.raises(CommandFailed, match=why):
                ran(program)
        else:
            assert ran(program) == b"ok"
        return not select.select([reader], [], [], wait_s)[0]
    finally:
        os.close(reader)


@pytest.mark.parametrize("why", ENDS)
def test_what_it_started_is_ended_with_it(why: str, tmp_path: Path) -> None:
    assert not outlived(tmp_path, wait_s=60, why=why)


def test_a_runner_that_ends_the_program_alone_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.os, "killpg", os.kill)
    assert outlived(tmp_path, wait_s=1)
    os.kill(int((tmp_path / "child").read_text()), 9)


def test_a_runner_that_waits_for_the_program_first_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is no other way."""
    monkeypatch.delattr(commands.os, "waitid")
    assert outlived(tmp_path, wait_s=1, why="")
    os.kill(int((tmp_path / "child").read_text()), 9)


# the key


class Answers:
    """A command that answers what it is told to, and keeps what it was asked."""

    def __init__(self, *answers: bytes | str) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[tuple[str, ...], bytes]] = []

    def run(self, more: Sequence[str], content: bytes) -> bytes:
        self.asked.append((tuple(more), content))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            raise CommandFailed(answer, "said besides")
        return answer


ED25519 = Ed25519PrivateKey.from_private_bytes(b"e" * 32)
KEYS = {
    "sm2": PublicKey("sm2", second_sm2.public_of(SECRET)),
    "ed25519": PublicKey("ed25519", ED25519.public_key().public_bytes_raw()),
}


def key(algorithm: str, *answers: bytes | str) -> tuple[PluggedKey, Answers]:
    command: Any = Answers(*answers)
    return PluggedKey(KEYS[algorithm], command), command


def signature(algorithm: str, content: bytes = TEXT) -> bytes:
    return second_sm2.sign(SECRET, content) if algorithm == "sm2" else ED25519.sign(content)


def der(raw: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugged, "RETRY_S", -1.0)


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_signature_is_asked_for_by_algorithm_and_fingerprint(algorithm: str) -> None:
    good = signature(algorithm)
    signer, command = key(algorithm, good)
    assert signer.sign(TEXT) == good
    assert command.asked == [((algorithm, KEYS[algorithm].fingerprint), TEXT)]
    suite = SM3_SM2 if algorithm == "sm2" else SHA256
    assert parse_key(Signer("baopingkou/test", signer, suite).vkey).public == KEYS[algorithm].raw


def test_sm2_may_be_answered_in_der() -> None:
    good = signature("sm2")
    assert key("sm2", der(good))[0].sign(TEXT) == good


LIES = {
    "nothing": lambda good: b"",
    "of another text": lambda good: b"other",
    "all zero": lambda good: bytes(64),
    "a line more": lambda good: good + b"\n",
    "cut off": lambda good: good[:-1],
    "one bit": lambda good: good[:5] + bytes([good[5] ^ 1]) + good[6:],
    "in hex": lambda good: good.hex().encode(),
    "of another key": lambda good: second_sm2.sign(SECRET + 1, TEXT),
    "in DER with more behind it": lambda good: der(good) + b"\0",
    "numbers that are too large, in DER": lambda good: encode_dss_signature(2**300, 2**300),
    "negative numbers, in DER": lambda good: bytes.fromhex("30060201ff0201ff"),
}


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("lie", LIES)
def test_what_is_no_signature_of_the_known_key_over_the_text_is_not_used(algorithm: str, lie: str) -> None:
    answer = signature(algorithm, b"other") if lie == "of another text" else LIES[lie](signature(algorithm))
    with pytest.raises(SignerFailed, match="no signature of the log's key"):
        key(algorithm, answer)[0].sign(TEXT)


def test_a_key_that_believes_its_signer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugged.PublicKey, "holds", lambda *_: True)
    with pytest.raises(pytest.fail.Exception):
        test_what_is_no_signature_of_the_known_key_over_the_text_is_not_used("sm2", "of another key")


def test_a_failure_is_logged_once_and_without_the_signers_own_words(caplog: pytest.LogCaptureFixture) -> None:
    signer, _ = key("ed25519", "takes too long", "takes too long", "ends with the code 1", signature("ed25519"))
    for why in ("takes too long", "takes too long", "ends with the code 1"):
        with pytest.raises(SignerFailed) as failed:
            signer.sign(TEXT)
        assert str(failed.value) == f"the log's signer {why}"
    signer.sign(TEXT)
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [("takes too long" in line, "ends with" in line) for line in told] == [(True, False), (False, True)]
    assert "said besides" not in caplog.text
    with pytest.raises(SignerFailed) as failed:
        key("ed25519", "takes too long")[0].sign(TEXT)
    assert failed.value.said == "said besides"


def test_whether_it_signs_is_tried_where_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugged, "FRESH_S", 1e9)
    signer, command = key("ed25519", "takes too long", "takes too long", signature("ed25519"))
    assert signer.unready(TEXT) == signer.unready(TEXT) == "the log's signer takes too long"
    assert signer.unready(TEXT) is None
    assert len(command.asked) == 3
    assert signer.unready(TEXT) is None, "it has just signed"
    assert len(command.asked) == 3


def test_one_signature_is_asked_for_at_a_time() -> None:
    inside = [0, 0]

    class Counting(Answers):
        def run(self, more: Sequence[str], content: bytes) -> bytes:
            inside[0] += 1
            inside[1] = max(inside)
            time.sleep(0.01)
            inside[0] -= 1
            return super().run(more, content)

    command: Any = Counting(signature("ed25519"))
    signer = PluggedKey(KEYS["ed25519"], command)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(signer.sign, [TEXT] * 8))
    assert (inside[1], len(command.asked)) == (1, 8)


def test_nobody_waits_in_line_for_a_signer_that_has_just_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugged, "RETRY_S", 1e9)
    signer, command = key("ed25519", "takes too long", signature("ed25519"))
    for _ in range(3):
        with pytest.raises(SignerFailed, match="takes too long"):
            signer.sign(TEXT)
        assert signer.unready(TEXT) == "the log's signer takes too long"
    assert len(command.asked) == 1
