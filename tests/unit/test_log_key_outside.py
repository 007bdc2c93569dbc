"""A home whose log's key is with a signer outside: made, served, changed; and what is told while it does not sign."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import pipeline as pipelines
from gateway import rotating
from gateway.audit import plugged
from gateway.audit.log import Log
from gateway.audit.note import parse_key
from gateway.audit.suites import SHA256, SM3, SM3_SM2
from gateway.audit.verify import verify_receipt
from gateway.books import open_log
from gateway.errors import Misconfigured
from gateway.home import Home, open_home
from sandbox.protocol import Prepared, Question, Released, Ticket
from tests.gateway_world import COUNT, GatewayWorld, gateway_world
from tests.served_home import make_home
from tests.sm2_world import SCRIPT, Moody, needs_openssl, new_key, plug, script
from tests.unit.test_backup_commands import run
from tests.unit.test_log_keys import judged
from tests.unit.test_replicas import Shared, SharedDomain

pytestmark = needs_openssl
BODY = {"sql": COUNT, "purpose": "research"}
SUITES = {"sha256-ed25519": "ed25519", "sm3-ed25519": "ed25519", "sm3-sm2": "sm2"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signer is asked whenever it is not known to sign, and not where it is."""
    monkeypatch.setattr(plugged, "RETRY_S", -1.0)
    monkeypatch.setattr(plugged, "FRESH_S", 1e9)


# a home


@pytest.mark.parametrize("suite", SUITES)
def test_a_home_with_a_signer_holds_no_private_key_of_the_log_and_its_log_is_sound(suite: str, tmp_path: Path) -> None:
    public = new_key(tmp_path / "vault", SUITES[suite])
    home = tmp_path / "home"
    run("init", home, "--suite", suite, "--log-key", public, "--signer", f"{SCRIPT} '{tmp_path / 'vault'}'")
    assert not list((home / "keys").glob("log*.key"))
    checks = {each["name"]: each for each in run("doctor", "--home", home)["home"]}
    assert checks["log signer"]["ok"]
    told = run("audit", "checkpoint", "--home", home)
    assert parse_key(told["key"]).suite == suite
    assert told["key"] in checks["log signer"]["detail"]
    shutil.copy(new_key(tmp_path / "vault", SUITES[suite]), home / "keys" / "log-next.pub")
    rotated = run("audit", "rotate-key", "--home", home)
    assert rotated["key"] != told["key"]
    assert Path(rotated["kept"]).read_bytes() == public.read_bytes()
    run("audit", "export", "--home", home, "--output", tmp_path / "log")
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert judged(lines, told["key"], [told["checkpoint"]])
    assert judged(lines, rotated["key"])
    assert not list((home / "keys").glob("log*.key"))


def test_init_says_what_a_key_outside_takes(tmp_path: Path) -> None:
    key = new_key(tmp_path / "vault", "ed25519")
    for words, why in (
        (["--suite", SM3_SM2], "does not sign with SM2"),
        (["--log-key", key], "both --log-key and --signer"),
        (["--signer", "x"], "both --log-key and --signer"),
        (["--log-key", key, "--signer", " "], "both --log-key and --signer"),
        (["--log-key", key, "--signer", "'x"], "both --log-key and --signer"),
        (["--suite", SM3_SM2, "--log-key", key, "--signer", "x"], "no key of the suite"),
    ):
        with pytest.raises(AssertionError, match=why):
            run("init", tmp_path / "home", *words)
    assert not (tmp_path / "home").exists()


def settings(home: Path, old: str, new: str) -> None:
    file = home / "gateway.toml"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_home_whose_signer_cannot_be_is_not_opened(tmp_path: Path) -> None:
    signer = Moody(tmp_path / "vault")
    home = plug(make_home(tmp_path / "home"), signer.public, signer.command)
    public = home.log_key.with_suffix(".pub")
    kept = public.read_bytes()
    for content, why in ((None, "incomplete"), (b"x", "public key of Ed25519 or SM2")):
        public.unlink() if content is None else public.write_bytes(content)
        with pytest.raises(Misconfigured, match=why):
            open_log(open_home(home.root))
    public.write_bytes(kept)
    signer.program.chmod(0o600)
    with pytest.raises(Misconfigured, match="no program"):
        open_log(home)
    settings(home.root, "[audit.signer]", "[audit.signer_]")
    with pytest.raises(Misconfigured, match="signer_"):
        open_home(home.root)


def test_a_new_log_is_begun_with_the_suite_that_is_asked_for_or_not_at_all(tmp_path: Path) -> None:
    signer = Moody(tmp_path / "vault", "ed25519")
    home = plug(make_home(tmp_path / "home"), signer.public, signer.command)
    with pytest.raises(Misconfigured, match="cannot have a key of `sm3-ed25519`"):
        open_log(home)
    other = Moody(tmp_path / "other", "sm2")
    home = plug(make_home(tmp_path / "plain"), other.public, other.command, suite=SHA256)
    with pytest.raises(Misconfigured, match="signs no log that is hashed with `sha256`"):
        open_log(home)
    settings(tmp_path / "plain", "timeout_s = 60", "timeout_s = 0")
    with pytest.raises(Misconfigured, match="timeout_s"):
        open_home(tmp_path / "plain")


def test_doctor_tells_the_signers_own_words(tmp_path: Path) -> None:
    signer = Moody(tmp_path / "vault")
    home = plug(make_home(tmp_path / "home"), signer.public, signer.command)
    signer.told("echo the card is out >&2; exit 1")
    (found,) = [each for each in run("doctor", "--home", home.root, code=1)["home"] if each["name"] == "log signer"]
    assert found["detail"] == "the log's signer ends with the code 1: the card is out"


def test_the_key_goes_out_of_the_home_and_back_and_over_to_sm2(tmp_path: Path) -> None:
    """From a file to a signer, to SM2, and to a file again, in one log."""
    home = make_home(tmp_path / "home")
    settings(home.root, f'suite = "{SHA256}"', f'suite = "{SM3}"')
    first = run("audit", "checkpoint", "--home", home.root)
    vault, keys = tmp_path / "vault", home.root / "keys"
    with (home.root / "gateway.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[audit.signer]\ncommand = ["{SCRIPT}", "{vault}"]\n')
    with pytest.raises(Misconfigured, match="let the signer make a key"):
        run("audit", "rotate-key", "--home", home.root, "--prepare")
    seen = [first["key"]]
    for algorithm, suite in (("ed25519", SM3), ("sm2", SM3_SM2), ("sm2", SM3_SM2)):
        shutil.copy(new_key(vault, algorithm), keys / "log-next.pub")
        assert run("audit", "rotate-key", "--home", home.root, "--prepare")["next"] not in seen
        seen.append(run("audit", "rotate-key", "--home", home.root)["key"])
        assert parse_key(seen[-1]).suite == suite
        assert not (keys / "log.key").exists()
    assert len(list(keys.glob("log-*.key"))) == 1, "the first one, kept for a restore"
    rotating.write_key_pair(keys, "log-next")
    seen.append(run("audit", "rotate-key", "--home", home.root)["key"])
    assert parse_key(seen[-1]).suite == SM3
    settings(home.root, f'command = ["{SCRIPT}", "{vault}"]', 'command = ["/nowhere"]')  # no longer needed
    told = run("audit", "checkpoint", "--home", home.root)
    assert [each["key"] for each in told["keys"]] == seen
    assert not list(keys.glob("log-next*"))
    run("audit", "export", "--home", home.root, "--output", tmp_path / "log")
    for key in seen:
        assert judged((tmp_path / "log").read_bytes().splitlines(keepends=True), key, [first["checkpoint"]])


@pytest.mark.parametrize("step", ["hand_over", "checkpoint", "_change_places", "sync"])
def test_a_change_that_was_cut_off_is_taken_up_again(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Moody(tmp_path / "vault")
    home = plug(make_home(tmp_path / "home"), signer.public, signer.command)
    shutil.copy(new_key(signer.keys), home.next_log_key.with_suffix(".pub"))
    store, log = open_log(home)
    with contextlib.closing(store), monkeypatch.context() as cut:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        cut.setattr(*((rotating, step, die) if step in ("_change_places", "sync") else (log, step, die)))
        with pytest.raises(KeyboardInterrupt):
            rotating.rotate(home, store, log)
    store, log = open_log(home)
    with contextlib.closing(store):
        rotating.rotate(home, store, log)
        assert len(log.keys().chain) == 2
    assert not list((home.root / "keys").glob("log-next*"))
    assert run("audit", "checkpoint", "--home", home.root)["keys"]


def test_a_change_that_one_of_the_keys_does_not_sign_never_was(tmp_path: Path) -> None:
    signer = Moody(tmp_path / "vault")
    home = plug(make_home(tmp_path / "home"), signer.public, signer.command)
    before = run("audit", "checkpoint", "--home", home.root)
    following = new_key(signer.keys)
    shutil.copy(following, home.next_log_key.with_suffix(".pub"))
    name = sorted(signer.keys.glob("*.pem"), key=lambda file: file.stat().st_mtime_ns)[-1]
    name.rename(tmp_path / "away")
    with pytest.raises(plugged.SignerFailed):
        run("audit", "rotate-key", "--home", home.root)
    told = run("audit", "checkpoint", "--home", home.root)
    assert told["keys"] == before["keys"]
    (tmp_path / "away").rename(name)
    assert run("audit", "rotate-key", "--home", home.root)["key"] != before["key"]


@pytest.fixture(params=[0, 1], ids=["the key of now", "the next one"])
def dead(tmp_path: Path, request: pytest.FixtureRequest) -> Home:
    """A home with one of whose two keys its signer does not sign."""
    signer = Moody(tmp_path / "vault")
    home = plug(make_home(tmp_path / "home"), signer.public, signer.command)
    run("audit", "checkpoint", "--home", home.root)
    shutil.copy(new_key(signer.keys), home.next_log_key.with_suffix(".pub"))
    sorted(signer.keys.glob("*.pem"), key=lambda file: file.stat().st_mtime_ns)[request.param].unlink()
    return home


def locked(home: Home, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a change of the key took the lock of the ledger, only to find that a signer is out."""
    store, log = open_log(home)
    begun: list[int] = []
    transaction = store.transaction
    with contextlib.closing(store):
        monkeypatch.setattr(store, "transaction", lambda: (begun.append(1), transaction())[1])
        with pytest.raises(plugged.SignerFailed):
            rotating.rotate(home, store, log)
        assert len(log.keys().chain) == 1
    return bool(begun)


def test_a_signer_that_is_out_is_found_before_the_ledger_is_locked(dead: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not locked(dead, monkeypatch)


def test_a_change_that_tries_no_key_before_is_noticed(dead: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "try_out", lambda *_: None)
    assert locked(dead, monkeypatch)


# a gateway


@pytest.fixture
def signer(tmp_path: Path) -> Moody:
    return Moody(tmp_path / "vault")


class Dying(SharedDomain):
    """Its runs are answered, and take the signer with them where `last` says so."""

    signer: Moody
    last = False

    def run(self, ticket: Ticket, question: Question, prepared: Prepared) -> Released | None:
        released = super().run(ticket, question, prepared)
        if self.last:
            self.signer.told("exit 1")
        return released


@pytest.fixture
def world(tmp_path: Path, signer: Moody) -> Iterator[GatewayWorld]:
    shared = Shared()
    shared.gate.set()

    def domain(home: Home) -> Dying:
        found = Dying(home)
        found.shared, found.signer = shared, signer
        return found

    home = plug(make_home(tmp_path / "home"), signer.public, signer.command)
    with gateway_world(home.root, home=home, kind=domain) as found:
        yield found


def ask(world: GatewayWorld, sql: str = COUNT) -> tuple[int, dict[str, Any]]:
    reply = world.call("POST", "/v1/queries", {**BODY, "sql": sql})
    return reply.status_code, reply.json()


def kinds(world: GatewayWorld) -> list[str]:
    return [record["decision"] or record["kind"] for record in world.records()]


def test_a_gateway_answers_with_receipts_of_sm2(world: GatewayWorld) -> None:
    status, told = ask(world)
    assert (status, told["status"]) == (200, "answered")
    assert verify_receipt(told["receipt"], world.service.log.vkey) == []
    assert judged(world.export(), world.service.log.vkey, receipts=[told["receipt"]])
    assert world.call("GET", "/readyz").json()["log"] == "ready"


BROKEN = {
    "exit 1": "the log's signer ends with the code 1",
    "cat; exit 0": "the log's signer answers with what is no signature of the log's key",
    "cat /dev/zero": "the log's signer says too much",
}


@pytest.mark.parametrize("mood", BROKEN)
def test_while_the_signer_is_out_nothing_is_charged_and_readyz_says_why(
    mood: str, world: GatewayWorld, signer: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugged, "FRESH_S", -1.0)
    assert ask(world)[0] == 200
    before = kinds(world)
    signer.told(mood)
    ready = world.call("GET", "/readyz")
    assert (ready.status_code, ready.json()["log"]) == (503, BROKEN[mood])
    status, told = ask(world, f"{COUNT} WHERE sex = 'F'")
    assert (status, told["code"]) == (503, "not_ready")
    assert world.call("GET", "/v1/queries/" + told["query_id"]).status_code == 404
    signer.told("")
    assert world.call("GET", "/readyz").json()["log"] == "ready"
    assert ask(world, f"{COUNT} WHERE sex = 'F'")[0] == 200
    assert kinds(world)[len(before) :].count("charge") == 1
    assert judged(world.export())


def test_an_answer_that_cannot_be_signed_stays_inside_until_it_can(world: GatewayWorld, signer: Moody) -> None:
    world.domain.last = True  # type: ignore[attr-defined]
    _, told = ask(world)
    assert told["status"] == "failed", "as any other failure after the charge"
    assert "columns" not in told
    assert "1505" not in json.dumps(told)
    again = world.call("GET", f"/v1/queries/{told['id']}")
    assert (again.status_code, again.json()["code"]) == (503, "not_ready")
    signer.told("")
    again = world.call("GET", f"/v1/queries/{told['id']}")
    assert (again.status_code, again.json()["status"]) == (200, "answered")
    assert verify_receipt(again.json()["receipt"], world.service.log.vkey) == []
    assert kinds(world).count("charge") == 1
    assert judged(world.export())


def reuse_while_out(world: GatewayWorld, signer: Moody) -> None:
    assert ask(world)[0] == 200
    signer.told("exit 1")
    status, told = ask(world)
    assert (status, told["code"]) == (503, "not_ready")
    signer.told("")
    assert judged(world.export())
    kept = world.call("GET", f"/v1/queries/{told['query_id']}").json()
    assert kept["status"] == "answered"
    assert verify_receipt(kept["receipt"], world.service.log.vkey) == []


def test_a_stored_answer_that_cannot_be_signed_is_decided_once_and_given_later(
    world: GatewayWorld, signer: Moody
) -> None:
    reuse_while_out(world, signer)


def test_a_pipeline_that_decides_such_a_query_twice_is_noticed(
    world: GatewayWorld, signer: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(pipelines._Trail):
        decided = property(lambda _: False, lambda _, __: None)  # type: ignore[assignment]

    monkeypatch.setattr(pipelines, "_Trail", Forgetful)
    with pytest.raises(AssertionError):
        reuse_while_out(world, signer)


def test_auditors_are_told_to_come_back(world: GatewayWorld, signer: Moody) -> None:
    ask(world)
    token = f"Bearer {world.token('a', 'auditor')}"
    assert world.call("GET", "/v1/audit/checkpoint", Authorization=token).status_code == 200
    signer.told("exit 1")
    for route in ("checkpoint", "report", "export"):
        reply = world.call("GET", f"/v1/audit/{route}", Authorization=token)
        assert (reply.status_code, reply.json()["code"]) == (503, "not_ready"), route
    signer.told("")
    assert world.call("GET", "/v1/audit/report", Authorization=token).status_code == 200


def test_a_signer_that_hangs_holds_up_one_request_and_is_ended(tmp_path: Path) -> None:
    vault = Moody(tmp_path / "vault")
    hanging = script(tmp_path, "hanging", "sleep 600")
    home = plug(make_home(tmp_path / "home"), vault.public, [hanging])
    settings(home.root, "timeout_s = 60", "timeout_s = 1")
    with gateway_world(home.root, home=open_home(home.root)) as world:
        assert world.call("GET", "/readyz").json()["log"] == "the log's signer takes too long"
        assert ask(world)[1]["code"] == "not_ready"


# the guide

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "how-to" / "log-key-outside.md"
BLOCK = re.compile(r"<!-- run -->\n\n((?: {4}.*\n)+)")


def test_the_guide_does_what_it_says(tmp_path: Path) -> None:
    text = GUIDE.read_text("utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("<!-- run -->") == 3
    (tmp_path / "bin").mkdir()
    lines = "".join(blocks).replace("deploy/", f"{ROOT}/deploy/")
    for name, place in (("BIN", "bin"), ("VAULT", "vault"), ("HOME", "home")):
        lines = re.sub(rf"\b{name}\b", str(tmp_path / place), lines)
    bpk = script(tmp_path / "bin", "bpk", f'exec "{sys.executable}" -m gateway "$@"')
    path = f"{bpk.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", lines],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "NOT SOUND" not in done.stdout
    assert "sound" in done.stdout
    assert parse_key(json.loads((tmp_path / "log.ndjson").read_bytes().splitlines()[-1])["key"]).suite == SM3_SM2
    assert not list((tmp_path / "home" / "keys").glob("log*.key"))
