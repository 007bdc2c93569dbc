"""Tokens that were called back: at once, on record, for as long as was said, and nobody else's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.command import app
from gateway.cli.tokens import issue_token
from gateway.home import Home, open_home
from gateway.http import entry
from gateway.identity.jws import members, read
from gateway.identity.revoked import FOR_GOOD, Revocation, every, find, restore, revoke
from gateway.store import Store
from tests.gateway_world import COUNT, GatewayWorld, gateway_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path / "home") as found:
        yield found


def run(*arguments: str, home: Home, status: int = 0) -> Any:
    done = CliRunner().invoke(app, ["token", *arguments, "--home", str(home.root), "--json"])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.output


def token(world: GatewayWorld, subject: str = "op-a") -> str:
    return issue_token(world.home, subject, ("operator",), timedelta(hours=1))


def code(world: GatewayWorld, token: str, route: str = "/v1/budgets") -> str:
    reply = world.call("GET", route, Authorization=f"Bearer {token}")
    return "ok" if reply.status_code == 200 else str(reply.json()["code"])


def test_one_token_is_called_back_while_the_gateway_runs(world: GatewayWorld, tmp_path: Path) -> None:
    stolen, other = token(world), token(world)
    assert code(world, stolen) == "ok"
    (tmp_path / "stolen").write_text(stolen)
    run("revoke", "--token-file", str(tmp_path / "stolen"), home=world.home)
    assert code(world, stolen) == "token_revoked"
    assert code(world, stolen, "/v1/datasets") == "token_revoked"
    asked = world.call("POST", "/v1/queries", {"sql": COUNT}, Authorization=f"Bearer {stolen}")
    assert (asked.status_code, asked.json()["code"]) == (401, "token_revoked")
    assert code(world, other) == "ok"


def test_a_token_is_called_back_by_its_id(world: GatewayWorld) -> None:
    stolen = token(world)
    run("revoke", "--jti", str(members(read(stolen).payload)["jti"]), home=world.home)
    assert code(world, stolen) == "token_revoked"


def test_what_is_called_back_stays_so_over_a_restart(tmp_path: Path) -> None:
    with gateway_world(tmp_path / "home") as world:
        stolen, home = token(world), world.home
        run("revoke", "--jti", str(members(read(stolen).payload)["jti"]), home=home)
    with gateway_world(tmp_path / "home", home=open_home(home.root)) as world:
        assert code(world, stolen) == "token_revoked"


def test_all_tokens_of_a_subject_are_called_back_and_nobody_elses(world: GatewayWorld) -> None:
    mine, theirs = [token(world), token(world)], token(world, "op-b")
    run("revoke", "--subject", "op-a", home=world.home)
    assert {code(world, each) for each in mine} == {"token_revoked"}
    assert code(world, theirs) == "ok"


def test_a_subject_is_let_in_again_with_a_later_token_but_not_while_it_is_blocked(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    leeway = world.home.settings.tokens.leeway_s
    later = _issued_in(world, leeway + 2, monkeypatch)
    run("revoke", "--subject", "op-a", home=world.home)
    assert code(world, later) == "ok"
    run("revoke", "--subject", "op-a", "--block", home=world.home)
    assert code(world, later) == "token_revoked"
    run("revoke", "--subject", "op-a", home=world.home)  # which is less, and takes nothing back
    assert code(world, later) == "token_revoked"
    run("restore", "--subject", "op-a", home=world.home)
    assert code(world, later) == "ok"
    assert code(world, token(world)) == "token_revoked"


def _issued_in(world: GatewayWorld, seconds: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """A token of the time after `seconds`; until the test ends the gateway's clock stands there as well."""
    with monkeypatch.context() as moved:
        moved.setattr("gateway.identity.token.time.time", lambda: time.time_ns() / 1e9 + seconds)
        found = token(world)
    verifier = replace(world.service.verifier, now=lambda: time.time() + seconds)
    service = replace(world.service, verifier=verifier)
    monkeypatch.setitem(world.gateway.app.state._state, "service", service)
    return found


def test_each_is_on_record_as_the_owners_act_without_a_name(world: GatewayWorld) -> None:
    run("revoke", "--jti", "token-1", home=world.home)
    run("revoke", "--subject", "op-a", home=world.home)
    run("revoke", "--subject", "op-b", "--block", home=world.home)
    run("restore", "--subject", "op-b", home=world.home)
    told = [record for record in world.records() if record["kind"] == "admin" and not record["charges"]]
    codes = ["token_revoked", "subject_revoked", "subject_blocked", "subject_restored"]
    assert [record["code"] for record in told if "revoked" in record["code"] or "subject" in record["code"]] == codes
    assert "token-1" not in json.dumps(told)
    assert "op-a" not in json.dumps(told)
    with world.service.store.reading() as view:
        texts = world.service.log.opened(view, told[-4]["seq"])
    assert texts["token"][1] == "token-1"
    assert "command line" in texts["by"][1]


def test_what_was_called_back_is_listed(world: GatewayWorld) -> None:
    run("revoke", "--jti", "token-1", home=world.home)
    run("revoke", "--subject", "op-a", home=world.home)
    listed = run("revoked", home=world.home)["revoked"]
    assert [(each["kind"], each["name"]) for each in listed] == [("subject", "op-a"), ("token", "token-1")]
    assert [each["until"] is None for each in listed] == [False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--jti", "a", "--subject", "b"],
        ["--jti", "a", "--block"],
        ["--jti", ""],
        ["--jti", "a\nb"],
        ["--subject", "x" * 201],
        ["--token-file", "/nowhere"],
    ],
    ids=str,
)
def test_a_command_that_names_nothing_or_too_much_is_wrong_usage(world: GatewayWorld, wrong: list[str]) -> None:
    before = len(world.records())
    run("revoke", *wrong, home=world.home, status=2)
    assert len(world.records()) == before


def test_nobody_is_restored_who_was_not_called_back(world: GatewayWorld) -> None:
    before = len(world.records())
    done = CliRunner().invoke(app, ["token", "restore", "--home", str(world.home.root), "--subject", "op-a"])
    assert done.exit_code != 0
    assert len(world.records()) == before


def test_a_token_is_checked_for_whoever_runs_the_gateway(world: GatewayWorld, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token(world))
    assert run("check", str(file), home=world.home)["subject"] == "op-a"
    file.write_text(token(world)[:-4] + "AAAA")
    assert run("check", str(file), home=world.home, status=1)["reason"] == "not signed by its key"
    file.write_text(token(world))
    run("revoke", "--token-file", str(file), home=world.home)
    assert run("check", str(file), home=world.home, status=1)["code"] == "token_revoked"


def test_a_key_is_made_and_a_token_bound_to_it(world: GatewayWorld, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["token", "key", "--output", str(tmp_path / "me.key")])
    assert done.exit_code == 0
    assert (tmp_path / "me.key").stat().st_mode & 0o777 == 0o600
    again = CliRunner().invoke(app, ["token", "key", "--output", str(tmp_path / "me.key")])
    assert again.exit_code != 0
    bound = run(
        "issue", "--subject", "op-a", "--role", "operator", "--bind", str(tmp_path / "me.key"), home=world.home
    )["token"]
    assert members(read(bound).payload)["cnf"] == {"jkt": done.stdout.strip()}
    assert code(world, bound) == "proof_invalid"


def test_longer_wins_and_only_restore_shortens(open_store: Callable[[], Store]) -> None:
    store = open_store()
    with store.transaction() as tx:
        for until in (10, FOR_GOOD, 20):
            revoke(tx, Revocation("subject", "a", until))
        assert find(tx, "subject", "a") == Revocation("subject", "a", FOR_GOOD)
        assert find(tx, "token", "a") is None
        assert restore(tx, "a", 30)
        assert not restore(tx, "b", 30)
        assert every(tx) == [Revocation("subject", "a", 30)]


def test_planted_without_the_look_up_a_stolen_token_works_on(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen = token(world)
    run("revoke", "--subject", "op-a", home=world.home)
    monkeypatch.setattr(entry, "require_good", lambda *_: None)
    assert code(world, stolen) == "ok"
