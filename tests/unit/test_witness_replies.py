"""Whatever a witness answers, the log goes on: what is wrong is told once, and nothing of it is kept."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import witnessing as module
from gateway.audit.climbing import extends
from gateway.audit.handover import Held
from gateway.audit.note import cosigned_text, parse_checkpoint, size_of
from gateway.audit.witnessing import REPLY_BYTES_MAX, Disagrees, NoCosignature, Remote, Witnessing
from gateway.errors import Fault, Misconfigured
from tests.ledger_world import NEXT, SIGNER, World

KEY = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
NAME = "w.example/1"
PUBLIC = b"\x04" + KEY.public_key().public_bytes_raw()
KEY_ID = hashlib.sha256(NAME.encode() + b"\n" + PUBLIC).digest()[:4]
REMOTE = Remote("http://w.example/", f"{NAME}+{KEY_ID.hex()}+{base64.b64encode(PUBLIC).decode()}")
Reply = Callable[[httpx.Request], httpx.Response]


def cosignature(note: str, moment: int = 1) -> str:
    blob = KEY_ID + moment.to_bytes(8, "big") + KEY.sign(cosigned_text(moment, parse_checkpoint(note).signed))
    return f"— {NAME} {base64.b64encode(blob).decode()}\n"


class Scripted:
    """A log with one witness, which answers as it is told and remembers what it was asked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[httpx.Request] = []
        self.replies: list[Reply] = []
        self.witnessing = Witnessing(world.log, world.store, [REMOTE], every_s=0.01)
        self.witnessing._client = httpx.Client(transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.replies.pop(0)(request)

    def once(self, *replies: Reply | httpx.Response) -> int:
        self.replies = [reply if callable(reply) else (lambda _, reply=reply: reply) for reply in replies]
        done = self.witnessing.once()
        assert self.replies == [], "it asks no less often than it is answered"
        return done

    @property
    def told(self) -> str | None:
        return self.witnessing.problems.get(REMOTE.url)

    def grow(self) -> int:
        with self.world.store.transaction() as tx:
            return self.world.log.note_read(tx, "auditor", "records") + 1


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    found = Scripted(World(tmp_path))
    yield found
    found.witnessing.stop()


def signed(request: httpx.Request) -> httpx.Response:
    """As a witness does that agrees."""
    assert str(request.url) == "http://w.example/add-checkpoint"
    head, _, note = request.content.decode().partition("\n\n")
    assert head.startswith("old ")
    return httpx.Response(200, text=cosignature(note))


def test_each_size_is_sent_once_and_proven_to_extend_the_last(scripted: Scripted) -> None:
    assert scripted.once(signed) == 1
    assert scripted.once() == 1, "nothing new is sent"
    first = scripted.world.log.checkpoint()
    size = scripted.grow()
    assert scripted.once(signed) == 1
    lines, _, note = scripted.asked[-1].content.decode().partition("\n\n")
    assert lines.startswith("old 1\n")
    steps = [base64.b64decode(line) for line in lines.split("\n")[1:]]
    roots = [parse_checkpoint(each).root for each in (first, note)]
    assert extends(1, size, roots[0], roots[1], steps)
    kept = scripted.world.log.cosigned()
    assert kept == note + cosignature(note)
    assert scripted.told is None


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (httpx.Response(500), "answers 500"),
        (httpx.Response(403), "answers 403"),
        (httpx.Response(200, text=""), "answers without a cosignature of its key"),
        (httpx.Response(200, text="nonsense\n"), "answers without a cosignature of its key"),
        (httpx.Response(200, text="— other AAAAAAA=\n"), "answers without a cosignature of its key"),
        (httpx.Response(200, content=b"a" * (REPLY_BYTES_MAX + 1)), "answers with too much"),
        (httpx.Response(200, content=b"a" * REPLY_BYTES_MAX), "answers without a cosignature of its key"),
        (httpx.Response(409, text="x"), "answers with no size"),
        (httpx.Response(409, text=""), "answers with no size"),
        (httpx.Response(409, text="-1\n"), "answers with no size"),
        (httpx.Response(409, text="٣\n"), "answers with no size"),
        (httpx.Response(409, text="1" * 19), "answers with no size"),
        (
            httpx.Response(409, text="9\n"),
            "has cosigned 9 records of this log, which has 1: it was put back or forked",
        ),
        (httpx.Response(422), "has cosigned other 0 records under this log's name: one of the two is a fork"),
    ],
)
def test_what_is_no_cosignature_is_told_and_not_kept(scripted: Scripted, reply: httpx.Response, words: str) -> None:
    assert scripted.once(reply) == 0
    assert scripted.told == words
    assert scripted.world.log.cosigned() is None
    assert scripted.once(signed) == 1
    assert scripted.told is None


def test_a_cosignature_is_found_among_other_lines(scripted: Scripted) -> None:
    def among(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="nonsense\n— other AAAAAAA=\n" + signed(request).text)

    assert scripted.once(among) == 1


def test_a_witness_that_says_what_it_saw_last_is_asked_again_from_there(scripted: Scripted) -> None:
    size = scripted.grow()
    assert scripted.once(httpx.Response(409, text="1\n"), signed) == 1
    assert [request.content.split(b"\n")[0] for request in scripted.asked] == [b"old 0", b"old 1"]
    scripted.grow()
    assert scripted.once(httpx.Response(409, text=str(size)), httpx.Response(422)) == 0
    assert scripted.told == f"has cosigned other {size} records under this log's name: one of the two is a fork"
    assert scripted.once(httpx.Response(409, text=str(size)), httpx.Response(409, text=str(size))) == 0
    assert scripted.told == "answers 409"


def test_a_witness_that_is_away_is_told_of_once(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str, dict[str, object]]] = []

    class Said:
        def warning(self, event: str, **about: object) -> None:
            said.append(("warning", event, about))

        def error(self, event: str, **about: object) -> None:
            said.append(("error", event, about))

    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("no")

    monkeypatch.setattr(module, "_log", Said())
    for _ in range(3):
        assert scripted.once(away) == 0
    assert scripted.once(slow) == 0
    assert scripted.once(httpx.Response(409, text="9")) == 0
    about = {"witness": REMOTE.url}
    assert said == [
        ("warning", "a witness did not cosign", {**about, "reason": "does not answer"}),
        ("warning", "a witness did not cosign", {**about, "reason": "takes too long"}),
        ("error", "a witness contradicts this log", {**about, "reason": scripted.told}),
    ]


def newest(scripted: Scripted, reply: httpx.Response) -> str | None:
    scripted.replies = [lambda _: reply]
    return scripted.witnessing.newest(REMOTE)


def test_what_a_witness_saw_last_is_signed_by_both_or_nothing(scripted: Scripted) -> None:
    note = scripted.world.log.checkpoint()
    both = note + cosignature(note)
    assert newest(scripted, httpx.Response(200, text=both)) == both
    origin = hashlib.sha256(SIGNER.origin.encode()).hexdigest()
    assert str(scripted.asked[-1].url) == f"http://w.example/{origin}/checkpoint"
    assert scripted.asked[-1].method == "GET"
    assert newest(scripted, httpx.Response(404)) is None
    text, _, _ = note.partition("\n\n")
    for reply, words in (
        (httpx.Response(500), r"^answers 500$"),
        (httpx.Response(204), r"^answers 204$"),
        (httpx.Response(200, text="nonsense"), r"^answers with no checkpoint$"),
        (httpx.Response(200, text=note), r"^answers with a checkpoint that is not signed by both$"),
        (httpx.Response(200, text=f"{text}\n\n{cosignature(note)}"), r"not signed by both$"),
    ):
        with pytest.raises(NoCosignature, match=words) as found:
            newest(scripted, reply)
        assert not isinstance(found.value, Disagrees)


def test_a_newer_word_of_a_witness_is_put_down_and_an_older_is_not(scripted: Scripted, tmp_path: Path) -> None:
    folder = tmp_path / "witnessed"
    older = scripted.world.log.checkpoint()
    scripted.grow()
    newer = scripted.world.log.checkpoint()

    def fetch(*replies: httpx.Response) -> None:
        scripted.replies = [lambda _, reply=reply: reply for reply in replies]
        scripted.witnessing.fetch(folder)

    fetch(httpx.Response(404))
    assert not folder.exists()
    for note, kept in ((older, older), (newer, newer), (older, newer)):
        fetch(httpx.Response(200, text=note + cosignature(note)))
        (file,) = folder.iterdir()
        assert file.name == f"{hashlib.sha256(REMOTE.vkey.encode()).hexdigest()[:16]}.checkpoint"
        assert size_of(file.read_text("utf-8")) == size_of(kept)
        assert folder.stat().st_mode & 0o077 == 0
    later = newer + cosignature(newer, 2)
    fetch(httpx.Response(200, text=later))
    assert file.read_text("utf-8") == later, "of the same size the later one"
    fetch(httpx.Response(500))
    assert scripted.told == "answers 500"
    assert file.read_text("utf-8") == later


def test_a_place_that_is_no_folder_is_asked_for_nothing(scripted: Scripted, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for place in (None, file):
        scripted.witnessing.fetch(place)
    assert scripted.asked == []
    note = scripted.world.log.checkpoint()
    scripted.replies = [lambda _: httpx.Response(200, text=note + cosignature(note))]
    with pytest.raises(Misconfigured, match=r"cannot be written \(Not a directory\)"):
        scripted.witnessing.fetch(file / "folder")


def test_the_thread_stands_a_fault_of_the_log_and_ends_when_it_is_told(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def fails() -> int:
        tries.append(len(tries))
        if len(tries) == 3:
            scripted.witnessing._stopped.set()
        raise Fault("not now")

    monkeypatch.setattr(scripted.witnessing, "once", fails)
    scripted.witnessing.start()
    assert scripted.witnessing._thread is not None
    scripted.witnessing._thread.join(60)
    assert tries == [0, 1, 2]


def test_without_a_witness_there_is_no_thread(scripted: Scripted) -> None:
    none = Witnessing(scripted.world.log, scripted.world.store, [], every_s=0.01)
    none.start()
    assert none._thread is None
    assert none.once() == 0
    none.stop()


def test_a_witness_that_knows_an_older_key_is_led_to_the_newest(tmp_path: Path) -> None:
    scripted = Scripted(World(tmp_path, held=Held(SIGNER, lambda: [NEXT])))
    scripted.world.hand_over()
    size = scripted.grow()
    unknown, took = httpx.Response(403), httpx.Response(200)
    assert scripted.once(unknown, signed, took, signed) == 1
    assert [str(request.url).rpartition("/")[2] for request in scripted.asked] == [
        "add-checkpoint",
        "add-checkpoint",
        "add-key",
        "add-checkpoint",
    ]
    (link,) = scripted.world.log.handovers(size)
    assert json.loads(scripted.asked[2].content) == link
    assert scripted.asked[1].content.decode().endswith(link["checkpoint"])
    for words, *replies in (
        ("answers 403", unknown, signed, unknown),
        ("is a fork", unknown, httpx.Response(422)),
        ("was put back or forked", unknown, httpx.Response(409, text="99\n")),
    ):
        scripted.grow()
        scripted.asked.clear()
        assert scripted.once(*replies) == 0
        assert scripted.told is not None
        assert scripted.told.endswith(words)
        assert len(scripted.asked) == len(replies), "where no key is taken up it is not asked again"
    scripted.witnessing.stop()
