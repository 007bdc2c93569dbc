"""Time stamps of others: asked for beside the answers, kept where they hold, checked offline by anybody."""

from __future__ import annotations

import base64
import contextlib
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

pytest.importorskip("rfc3161_client", reason="time stamps need `pip install baopingkou[timestamps]`")

from gateway.audit import stamping as stamping_module
from gateway.audit import stamps
from gateway.audit.note import parse_checkpoint, size_of
from gateway.audit.offline import main
from gateway.audit.stamping import Authority, Stamping, kept
from gateway.errors import Fault, Misconfigured
from gateway.settings import Timestamps
from tests.gateway_world import gateway_world
from tests.ledger_world import SIGNER, World
from tests.served_home import make_home
from tests.time_authority import TimeAuthority, authority, needed
from tests.unit.test_backup_commands import run
from tests.unit.test_log_keys import THIEF, ended, gone_on
from tests.waiting import eventually

pytestmark = needed


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimeAuthority]:
    with authority(tmp_path_factory.mktemp("authority") / "a") as found:
        yield found


@pytest.fixture
def tsa(shared: TimeAuthority) -> Iterator[TimeAuthority]:
    yield shared
    shared.change, shared.status, shared.drip_s = lambda reply: reply, 200, 0
    shared.certify()


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "log")
    world.answer(world.charge().id)
    return world


@contextlib.contextmanager
def asking(world: World, tsa: TimeAuthority, trusted: Path | None = None, timeout_s: float = 20) -> Iterator[Stamping]:
    found = Stamping(world.log, world.store, Authority(tsa.url, trusted or tsa.root, 3600, timeout_s))
    try:
        yield found
    finally:
        found.stop()


def written(world: World) -> list[stamps.Stamp]:
    with world.store.reading() as view:
        return kept(view)


def judged(world: World, tsa: TimeAuthority, folder: Path, *more: str, lines: list[bytes] | None = None) -> int:
    """By `bpk audit verify`, with the stamps that the log's store keeps."""
    export, tokens = folder / "export", folder / "stamps"
    export.write_bytes(b"".join(lines or world.export()))
    tokens.write_text("".join(f"{stamp.line()}\n" for stamp in written(world)), encoding="utf-8")
    return main([str(export), "--timestamps", str(tokens), "--authority", str(tsa.root), *more])


def test_a_stamp_is_kept_and_shows_offline_that_the_records_were_there(
    world: World, tsa: TimeAuthority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    with asking(world, tsa) as stamping:
        assert stamping.once()
        asked = tsa.asked
        assert stamping.once(), "a log that has not grown is not stamped again"
        assert tsa.asked == asked
        size = len(world.records())
        assert stamping.gauges == {"bpk_stamped_records": size, "bpk_stamp_failures": 0}
        world.charge()
        assert stamping.once()
    (stamp,) = written(world)
    assert size_of(stamp.note) > size, "the newest of the day"
    world.charge()
    assert judged(world, tsa, tmp_path) == 0
    assert "by 1 time stamps" in capsys.readouterr().out
    assert judged(world, tsa, tmp_path, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)["stamped"]
    assert told["records"] == size_of(stamp.note)
    assert before <= datetime.fromisoformat(told["time"]) <= datetime.now(UTC) + timedelta(seconds=2)


def flipped(token: bytes, bit: int) -> bytes:
    changed = bytearray(token)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_token_that_was_changed_or_is_of_other_records_does_not_hold(
    world: World, tsa: TimeAuthority, tmp_path: Path
) -> None:
    with asking(world, tsa) as stamping:
        assert stamping.once()
    (stamp,) = written(world)
    trusted, checkpoint = stamps.certificates(tsa.root), parse_checkpoint(stamp.note)
    moment = stamps.time_of(checkpoint, stamp.token, trusted)
    dice = random.Random(5)
    for _ in range(300):  # a bit outside of what is signed may change nothing: never the time, nor the records
        changed = flipped(stamp.token, dice.randrange(8 * len(stamp.token)))
        with contextlib.suppress(ValueError):
            assert stamps.time_of(checkpoint, changed, trusted) == moment
    world.charge()
    with pytest.raises(ValueError, match="does not hold"):
        stamps.time_of(parse_checkpoint(world.log.checkpoint()), stamp.token, trusted)
    with pytest.raises(ValueError, match="does not hold"):
        stamps.time_of(checkpoint, stamp.token, trusted, nonce=7)
    for junk in (b"", b"0", b"\x30\x80", stamp.token[:-1], stamp.token * 100):
        with pytest.raises(ValueError, match="time stamp"):
            stamps.time_of(checkpoint, junk, trusted)
    with authority(tmp_path / "other") as other, pytest.raises(ValueError, match="does not hold"):
        stamps.time_of(checkpoint, stamp.token, stamps.certificates(other.root))


def replayed(tsa: TimeAuthority) -> Callable[[bytes], bytes]:
    """What it said the first time, again."""
    first: list[bytes] = []

    def change(reply: bytes) -> bytes:
        first.append(reply)
        return first[0]

    return change


def test_an_authority_that_is_wrong_slow_or_away_stops_nothing_and_is_told_of(
    world: World, tsa: TimeAuthority, tmp_path: Path
) -> None:
    with asking(world, tsa) as stamping:
        tsa.change = replayed(tsa)
        assert stamping.once()
        kept_before = written(world)
        world.charge()
        assert not stamping.once()
        assert "does not hold" in (stamping.state or "")
        for change in (lambda _: b"x", lambda reply: reply[:-9], lambda reply: reply + b"x" * 70_000):
            tsa.change = change
            assert not stamping.once()
        for status in (302, 500, 204):
            tsa.status = status
            assert not stamping.once()
            assert stamping.state == f"answers {status}"
        assert stamping.gauges["bpk_stamp_failures"] == 7
        tsa.status, tsa.change = 200, lambda reply: reply
        assert written(world) == kept_before
        assert stamping.once()
        assert stamping.state == "ready"
    with asking(world, tsa, timeout_s=1.0) as slow:
        tsa.drip_s = 0.01
        world.charge()
        assert not slow.once()
        assert slow.state in ("takes too long", "does not answer")
    with asking(world, TimeAuthority(tmp_path, "http://127.0.0.1:1/"), tsa.root) as away:
        assert not away.once()
        assert away.state == "does not answer"
    world.answer(world.charge().id)


class Told:
    """What the gateway's own log was told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, str]]] = []

    def warning(self, event: str, **about: str) -> None:
        self.lines.append(("warning", event, about))

    def error(self, event: str, **about: str) -> None:
        self.lines.append(("error", event, about))


def test_an_authority_that_is_away_is_told_of_once(
    world: World, tsa: TimeAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    monkeypatch.setattr(stamping_module, "_log", told)
    with asking(world, TimeAuthority(tmp_path, "http://127.0.0.1:1/"), tsa.root) as away:
        assert (away.once(), away.once()) == (False, False)
        assert away.gauges["bpk_stamp_failures"] == 2
    about = {"authority": "http://127.0.0.1:1/", "reason": "does not answer"}
    assert told.lines == [("warning", "no time stamp", about)]


@pytest.mark.parametrize(("every_s", "waits"), [(3600, [60, 60, 60, 3600]), (5, [5, 5, 5, 5])])
def test_after_a_failure_it_is_asked_again_soon_and_else_now_and_then(
    world: World, tsa: TimeAuthority, monkeypatch: pytest.MonkeyPatch, every_s: float, waits: list[float]
) -> None:
    told, waited, outcomes = Told(), [], iter((Fault("the disk is full"), False, True))

    class Stops:
        def wait(self, seconds: float) -> bool:
            waited.append(seconds)
            return len(waited) == len(waits)

        def set(self) -> None: ...

    def once() -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, Fault):
            raise outcome
        return outcome

    monkeypatch.setattr(stamping_module, "_log", told)
    found = Stamping(world.log, world.store, Authority(tsa.url, tsa.root, every_s, 1))
    monkeypatch.setattr(found, "_stopped", Stops())
    monkeypatch.setattr(found, "once", once)
    found._run()
    found.stop()
    assert waited == waits
    assert told.lines == [("error", "nothing was stamped", {"reason": "the disk is full"})]


def test_it_is_asked_beside_the_gateway_and_keeps_it_from_no_end(world: World, tsa: TimeAuthority) -> None:
    with asking(world, tsa) as stamping:
        stamping.start()
        assert stamping._thread is not None
        assert (stamping._thread.name, stamping._thread.daemon) == ("stamping", True)
    assert not stamping._thread.is_alive()


def test_a_stamp_by_a_certificate_that_had_ended_is_not_taken(world: World, tsa: TimeAuthority) -> None:
    tsa.certify(until=datetime.now(UTC) - timedelta(days=1))
    with asking(world, tsa) as stamping:
        assert not stamping.once()
    assert written(world) == []


def test_a_log_that_does_not_extend_what_was_stamped_is_a_fork(
    world: World, tsa: TimeAuthority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with asking(world, tsa) as stamping:
        assert stamping.once()
    lines = world.export()
    fork = ended(gone_on(lines, len(lines) - 2), SIGNER, [])
    assert judged(world, tsa, tmp_path, lines=fork) == 1
    assert "fork" in capsys.readouterr().out
    assert judged(world, tsa, tmp_path, lines=ended(lines[:-2], SIGNER, [])) == 1
    assert "truncated" in capsys.readouterr().out
    assert judged(World(tmp_path / "other", held=THIEF), tsa, tmp_path, lines=lines) == 0, "no stamp, nothing to say"


def test_verify_needs_both_stamps_and_certificates(world: World, tsa: TimeAuthority, tmp_path: Path) -> None:
    with asking(world, tsa) as stamping:
        assert stamping.once()
    assert judged(world, tsa, tmp_path) == 0
    export, tokens = str(tmp_path / "export"), tmp_path / "stamps"
    assert main([export, "--timestamps", str(tokens)]) == 2
    assert main([export, "--authority", str(tsa.root)]) == 2
    (stamp,) = written(world)
    for bad in (
        '{"checkpoint": 1, "token": "x"}\n',
        "[]\n",
        "x\n",
        '{"checkpoint": "x", "token": ""}\n',
        json.dumps({"checkpoint": stamp.note, "token": base64.b64encode(stamp.token[:-1]).decode()}) + "\n",
    ):
        tokens.write_text(bad, encoding="utf-8")
        assert main([export, "--timestamps", str(tokens), "--authority", str(tsa.root)]) == 1, bad


def test_a_verifier_that_believes_any_token_is_noticed(
    world: World, tsa: TimeAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "time_of", lambda *_, **__: datetime.now(UTC))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_a_token_that_was_changed_or_is_of_other_records_does_not_hold(world, tsa, tmp_path)


# a home


def stamping_home(folder: Path, tsa: TimeAuthority) -> Path:
    root = make_home(folder).root
    (root / "keys" / "tsa.pem").write_bytes(tsa.root.read_bytes())
    with (root / "gateway.toml").open("a") as settings:
        settings.write(f'\n[audit.timestamps]\nurl = "{tsa.url}"\ncertificates = "keys/tsa.pem"\n')
    return root


def test_a_gateway_has_its_log_stamped_and_shows_how_that_goes(
    tmp_path: Path, tsa: TimeAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.audit.stamping.AGAIN_S", 0.05)
    from gateway.home import open_home

    root = stamping_home(tmp_path / "home", tsa)
    with gateway_world(root, home=open_home(root)) as world:
        assert eventually(lambda: world.service.stamping.gauges["bpk_stamped_records"] > 0, 30)
        assert world.call("GET", "/readyz").json()["timestamps"] == "ready"
        assert "bpk_stamped_records " in world.call("GET", "/metrics").text
    told = run("audit", "timestamps", "--home", root, "--output", tmp_path / "stamps")
    assert told["stamps"] == 1
    run("audit", "export", "--home", root, "--output", tmp_path / "log")
    options = ("--timestamps", tmp_path / "stamps", "--authority", tsa.root)
    found: dict[str, Any] = run("audit", "verify", tmp_path / "log", *options)
    assert len(found["stamped"]) == 1


def test_without_an_authority_nothing_is_asked_or_shown(tmp_path: Path) -> None:
    with gateway_world(tmp_path / "home") as world:
        assert world.call("GET", "/readyz").json()["timestamps"] is None
        assert "bpk_stamp" not in world.call("GET", "/metrics").text


@pytest.mark.parametrize("url", ["http://tsa.example/", "ftp://tsa.example", "https://a@b/", "nowhere"])
def test_an_authority_is_asked_over_https_or_on_this_machine(url: str) -> None:
    assert Timestamps(url="https://tsa.example/tsr", certificates="a.pem")
    with pytest.raises(ValidationError):
        Timestamps(url=url, certificates="a.pem")


def test_certificates_that_cannot_be_used_are_told_of_at_start(world: World, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("x")
    for name in ("junk", "nowhere"):
        with pytest.raises(Misconfigured, match=name):
            Stamping(world.log, world.store, Authority("https://tsa.example", tmp_path / name, 60, 1))
