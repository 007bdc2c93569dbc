"""`bpk caps`, as those who decide use it, beside a gateway that serves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.audit.verify import verify
from gateway.cli.caps import opened
from gateway.cli.command import app
from gateway.errors import Misconfigured, Unsound
from gateway.home import Home, open_home
from gateway.http import health
from tests.gateway_world import COUNT, GatewayWorld, gateway_world
from tests.second_verifier import sound
from tests.served_home import make_home

WHO = ("ann", "bo", "cy")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_S", -1.0)


def run(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """What the command says as JSON. Raises what it raises."""
    done = CliRunner().invoke(app, ["caps", *map(str, arguments), "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def name_approvers(root: Path, names: Sequence[str]) -> Home:
    """In gateway.toml; their keys lie beside the home."""
    text = (root / "gateway.toml").read_text("utf-8").partition("\n[caps]")[0]
    for name in names:
        file = root.parent / f"{name}.key"
        if not file.exists():
            run("key", "--output", file)
    named = "".join(f'[[caps.approvers]]\nname = "{n}"\nfile = "{root.parent / n}.pub"\n' for n in names)
    (root / "gateway.toml").write_text(f"{text}\n[caps]\nquorum = 2\n{named}", encoding="utf-8")
    return open_home(root)


def licence(root: Path, epsilon: str) -> None:
    file = root / "policies" / "licences" / "op-a.toml"
    text = file.read_text("utf-8")
    begin, _, _ = text.partition("epsilon = ")
    file.write_text(f"{begin}epsilon = {epsilon} }} }}\n", encoding="utf-8")


def sign(root: Path, file: Path, *names: str) -> None:
    for name in names:
        run("sign", file, "--as", name, "--key", root.parent / f"{name}.key", "--yes")


def propose(home: Home, name: str, *more: str | Path) -> Path:
    file = home.root.parent / name
    run("propose", "--home", home.root, "--reason", "the board decided so", "--output", file, *more)
    return file


def judged(home: Home) -> str:
    """What `bpk doctor` says of caps."""
    with opened(home) as (store, caps), store.reading() as view:
        return caps.judged(view, datetime.now(UTC).date())


def ask(world: GatewayWorld) -> int:
    return world.call("POST", "/v1/queries", {"sql": COUNT, "purpose": "research"}).status_code


def mine(world: GatewayWorld) -> dict[str, Any]:
    found: dict[str, Any] = world.call("GET", "/v1/budgets").json()["budgets"][1]
    return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with three approvers, in which op-a has asked with a share of 6, and then was licensed for 7."""
    made = make_home(tmp_path / "home")
    named = name_approvers(made.root, WHO)
    with gateway_world(made.root, home=named) as world:
        assert ask(world) == 200
    licence(made.root, "7")
    return named


def test_a_raise_waits_is_signed_and_counts_at_once(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    with gateway_world(home.root, home=home) as world:
        (said,) = [each for each in caplog.records if "waits for its approvers" in each.getMessage()]
        assert "clinic" in said.getMessage()
        told = world.call("GET", "/readyz").json()["caps"]
        assert told == {"approvers": 3, "quorum": 2, "as_settings": True, "waiting": {"clinic": 1}}
        assert (mine(world)["cap"]["epsilon"], mine(world)["cap_waiting"]["epsilon"]) == ("6", "7")
        (waiting,) = run("show", "--home", home.root)["waiting"]
        assert (waiting["scope"], waiting["cap"]["epsilon"], waiting["named"]["epsilon"]) == (
            "operator:op-a/clinic",
            "6",
            "7",
        )
        assert waiting["spent"]["rho"] == "0.000001"
        file = propose(home, "raise.json")
        assert json.loads(file.read_text())["decision"]["lines"][0]["spent"]["rho"] == "0.000001"
        for have, name in enumerate(WHO[:2]):
            with pytest.raises(Misconfigured, match=f"{have} of 2 signatures"):
                run("apply", file, "--home", home.root)
            sign(home.root, file, name)
        assert ask(world) == 200
        assert mine(world)["cap"]["epsilon"] == "6"
        run("apply", file, "--home", home.root)
        assert (mine(world)["cap"]["epsilon"], mine(world)["cap_waiting"]) == ("7", None)
        assert world.call("GET", "/readyz").json()["caps"]["waiting"] == {}
        assert ask(world) == 200
        with pytest.raises(Misconfigured, match="applied before"):
            run("apply", file, "--home", home.root)
        with pytest.raises(Misconfigured, match="no raise waits"):
            propose(home, "again.json")
        report = verify(world.export())
        assert report.ok, report.text()
        assert sound(world.export())
        assert report.scopes["operator:op-a/clinic"]["raises_decided"] == 1


def test_a_decision_that_the_files_do_not_name_any_more_is_refused(home: Home) -> None:
    file = propose(home, "raise.json", "--scope", "operator:op-a/clinic")
    sign(home.root, file, "bo", "cy")
    licence(home.root, "7.5")
    with pytest.raises(Misconfigured, match="names another cap"):
        run("apply", file, "--home", home.root)
    with pytest.raises(Misconfigured, match="nothing waits at `dataset:clinic`"):
        propose(home, "other.json", "--scope", "dataset:clinic")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"spent": {"rho": "0", "epsilon": "0", "delta": "0"}}, "another loss"),
        ({"records": 1}, "before there were approvers"),
        ({"records": 10_000}, "on another log"),
    ],
)
def test_a_decision_that_shows_another_loss_is_refused(home: Home, other: dict[str, Any], words: str) -> None:
    file = propose(home, "raise.json")
    told = json.loads(file.read_text("utf-8"))
    if "records" in other:
        told["decision"] |= other
    else:
        told["decision"]["lines"][0] |= other
    file.write_text(json.dumps(told), encoding="utf-8")
    sign(home.root, file, "ann", "bo")
    with pytest.raises(Misconfigured, match=words):
        run("apply", file, "--home", home.root)


@pytest.mark.parametrize(
    "member",
    [
        {"nonce": "x"},
        {"nonce": "A" * 32},
        {"made": "2020"},
        {"until": "9999"},
        {"before": {}},
        {"before": {"rho": "x", "epsilon": "6", "delta": "0"}},
        {"before": {"rho": "Infinity", "epsilon": "6", "delta": "0"}},
        {"after": {"rho": "0", "epsilon": "7.0", "delta": "0"}},
        {"spent": {"rho": "0", "epsilon": "0", "delta": "0", "note": "x"}},
        {"spent": {"rho": 0, "epsilon": "0", "delta": "0"}},
    ],
)
def test_what_no_verifier_would_read_is_not_signed(home: Home, member: dict[str, Any]) -> None:
    """Whoever draws up the file needs no key: what two have signed is applied, and a record is for good."""
    file = propose(home, "raise.json")
    told = json.loads(file.read_text("utf-8"))
    place = told["decision"] if set(member) <= set(told["decision"]) else told["decision"]["lines"][0]
    place |= member
    file.write_text(json.dumps(told), encoding="utf-8")
    for command in (["sign", file, "--as", "ann", "--key", home.root.parent / "ann.key", "--yes"], ["apply", file]):
        with pytest.raises(Misconfigured, match="no decision as"):
            run(*command, *(["--home", home.root] if command[0] == "apply" else []))


def _clock_ran_ahead(home: Home) -> None:
    """A record was written with a time behind the end of every decision, and then the clock was put right."""
    with opened(home) as (store, caps), store.transaction() as tx:
        caps.log._clock = lambda: datetime.now(UTC) + timedelta(days=31)
        caps.log.note_read(tx, "somebody", "records")


def test_what_would_not_verify_is_not_put_in_force(home: Home) -> None:
    file = propose(home, "raise.json")
    sign(home.root, file, "ann", "bo")
    _clock_ran_ahead(home)
    with pytest.raises(Misconfigured, match="would not verify"):
        run("apply", file, "--home", home.root)
    with gateway_world(home.root, home=home) as world:
        assert verify(world.export()).ok
        assert (ask(world), mine(world)["cap"]["epsilon"]) == (200, "6")


def test_an_apply_that_asks_no_verifier_is_noticed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.caps._judged", lambda tx, written: written)
    file = propose(home, "raise.json")
    sign(home.root, file, "ann", "bo")
    _clock_ran_ahead(home)
    run("apply", file, "--home", home.root)
    with gateway_world(home.root, home=home) as world:
        assert ask(world) == 503
        with pytest.raises(Unsound, match="did not hold then"):
            world.export()


def test_a_decision_is_for_its_own_log(home: Home, tmp_path: Path) -> None:
    file = propose(home, "raise.json")
    sign(home.root, file, "ann", "bo")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = make_home(elsewhere / "home")
    (elsewhere / "home" / "gateway.toml").write_text(
        (other.root / "gateway.toml").read_text("utf-8")
        + "\n[caps]\n"
        + "".join(f'[[caps.approvers]]\nname = "{n}"\nfile = "{tmp_path / n}.pub"\n' for n in WHO),
        encoding="utf-8",
    )
    with gateway_world(other.root, home=open_home(other.root)) as world:
        ask(world)
        with pytest.raises(Misconfigured, match="for the log"):
            run("apply", file, "--home", other.root)


def test_swapped_approvers_stay_without_a_say_until_those_on_record_have_signed(home: Home) -> None:
    changed = name_approvers(home.root, ("dee", "eve"))
    with gateway_world(home.root, home=changed) as world:
        assert world.call("GET", "/readyz").json()["caps"]["as_settings"] is False
        with pytest.raises(Misconfigured, match="stay in force"):
            judged(changed)
        raised = propose(changed, "raise.json")
        sign(home.root, raised, "dee", "eve")
        with pytest.raises(Misconfigured, match="none of the approvers on record"):
            run("apply", raised, "--home", home.root)
        file = propose(changed, "approvers.json", "--approvers")
        sign(home.root, file, "dee", "eve")
        with pytest.raises(Misconfigured, match="none of the approvers on record"):
            run("apply", file, "--home", home.root)
        file = propose(changed, "approvers2.json", "--approvers")
        sign(home.root, file, "cy", "bo")
        run("apply", file, "--home", home.root)
        assert world.call("GET", "/readyz").json()["caps"]["as_settings"] is True
        assert judged(changed) == "2 of 2 approvers sign for a raise; scopes that wait for them: 1"
        run("apply", raised, "--home", home.root)
        assert mine(world)["cap"]["epsilon"] == "7"
        report = verify(world.export())
        assert report.ok, report.text()
        assert sound(world.export())
        assert report.approvers["changes"] == 1


def test_approvers_that_are_taken_out_of_the_settings_are_still_needed(home: Home) -> None:
    text = (home.root / "gateway.toml").read_text("utf-8").partition("\n[caps]")[0]
    (home.root / "gateway.toml").write_text(text, encoding="utf-8")
    without = open_home(home.root)
    with gateway_world(home.root, home=without) as world:
        assert ask(world) == 200
        assert (mine(world)["cap"]["epsilon"], mine(world)["cap_waiting"]["epsilon"]) == ("6", "7")
        with pytest.raises(Misconfigured, match="stay in force"):
            judged(without)


def test_a_home_without_approvers_says_so_and_raises_as_its_files_say(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    with gateway_world(home.root, home=home) as world:
        ask(world)
        assert world.call("GET", "/readyz").json()["caps"] == {
            "approvers": 0,
            "quorum": None,
            "as_settings": True,
            "waiting": {},
        }
        assert judged(home).startswith("no approvers")
        with pytest.raises(Misconfigured, match="nobody is named"):
            propose(home, "raise.json")
    licence(home.root, "7")
    with gateway_world(home.root, home=home) as world:
        assert mine(world)["cap"]["epsilon"] == "7"
        ask(world)
        assert verify(world.export()).scopes["operator:op-a/clinic"]["raises_undecided"] == 1
    named = name_approvers(home.root, WHO)
    assert judged(named) == "3 approvers are named, and go on record when the home is served"


def test_what_a_signature_is_for_is_shown_before_it_is_asked(home: Home) -> None:
    file = propose(home, "raise.json")
    before = file.read_bytes()
    words = ["caps", "sign", str(file), "--as", "ann", "--key", str(home.root.parent / "ann.key")]
    done = CliRunner().invoke(app, words, input="n\n")
    assert done.exit_code == 1
    assert file.read_bytes() == before
    done = CliRunner().invoke(app, words, input="y\n")
    assert done.exit_code == 0
    assert "signed by ann" in done.output
    shown = CliRunner().invoke(app, ["caps", "show", "--home", str(home.root)])
    assert "2 of ann, bo, cy sign for a raise" in shown.output
    (line,) = [each.split() for each in shown.output.splitlines() if "operator:op-a" in each]
    assert line[:3] == ["operator:op-a/clinic", "6", "7"]
    assert 0 < float(line[3]) < 0.1  # what a millionth of rho is worth
    assert line[4] == "0.000001"


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        ("[caps]\nquorum = 1\n", "`caps.quorum`"),
        ('[caps]\n[[caps.approvers]]\nname = "ann"\nfile = "keys/log.pub"\n', "1 approvers cannot give 2"),
        (
            '[caps]\n[[caps.approvers]]\nname = "ann"\nfile = "keys/log.pub"\n'
            '[[caps.approvers]]\nname = "bo"\nfile = "keys/log.pub"\n',
            "the same key",
        ),
        (
            '[caps]\n[[caps.approvers]]\nname = "ann"\nfile = "keys/log.pub"\n'
            '[[caps.approvers]]\nname = "ann"\nfile = "keys/token.pub"\n',
            "the same name",
        ),
    ],
)
def test_settings_in_which_one_person_could_decide_are_refused(tmp_path: Path, caps: str, words: str) -> None:
    root = make_home(tmp_path / "home").root
    with (root / "gateway.toml").open("a", encoding="utf-8") as out:
        out.write("\n" + caps)
    with pytest.raises(Misconfigured, match=words), gateway_world(root, home=open_home(root)):
        pass
