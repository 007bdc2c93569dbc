"""`bpk backup` and `bpk restore`, as whoever runs a gateway uses them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.command import app
from gateway.errors import Misconfigured
from gateway.home import Home, open_home
from gateway.stores.sqlite import SqliteStore
from tests import postgres_server
from tests.gateway_world import COUNT, GatewayWorld, gateway_world
from tests.postgres_server import Server
from tests.served_home import make_home

BODY = {"sql": COUNT, "purpose": "research"}


def run(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """What the command says as JSON. Raises what it raises."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_postgresql(request: pytest.FixtureRequest, root: Path) -> None:
    url = request.getfixturevalue("postgres").database()
    text = (root / "gateway.toml").read_text("utf-8").partition("\n[store]")[0]
    (root / "gateway.toml").write_text(f'{text}\n[store]\nurl = "{url}"\n', encoding="utf-8")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=postgres_server.needed)])
def lose(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], None]:
    """Makes a home at `home`; called, its database is gone, and the folder is all that is left."""
    root = make_home(tmp_path / "home").root
    if request.param == "postgresql":
        in_postgresql(request, root)

    def lose() -> None:
        if request.param == "postgresql":
            in_postgresql(request, root)
        else:
            open_home(root).ledger_file.unlink()

    return lose


@pytest.fixture
def root(lose: Callable[[], None], tmp_path: Path) -> Path:
    return tmp_path / "home"


def serve(root: Path, work: Callable[[GatewayWorld], Any]) -> Any:
    with gateway_world(root, home=open_home(root)) as world:
        return work(world)


def ask(world: GatewayWorld, times: int = 1) -> str:
    """The last answer's code or status."""
    for _ in range(times):
        reply = world.call("POST", "/v1/queries", BODY).json()
    return str(reply.get("code") or reply["status"])


def budgets(world: GatewayWorld) -> Any:
    return world.call("GET", "/v1/budgets").json()["budgets"]


def test_a_lost_ledger_comes_back_with_all_that_was_spent(root: Path, lose: Callable[[], None], tmp_path: Path) -> None:
    copy, log = tmp_path / "copy", tmp_path / "log.ndjson"

    def live(world: GatewayWorld) -> Any:
        ask(world, 3)
        assert run("backup", "--home", root, "--output", copy)["closed"] is None  # while it is served
        ask(world, 2)
        world.outcomes.log.checkpoint()
        return budgets(world)

    before = serve(root, live)
    run("audit", "export", "--home", root, "--output", log)
    lose()
    assert serve(root, ask) == "dataset_frozen"
    said = run("restore", copy, "--home", root, code=1)
    assert "are missing" in said["closed"]
    assert serve(root, ask) == "dataset_frozen"
    said = run("restore", "--records", log, "--home", root)
    assert (said["closed"], said["frozen"]) == (None, {})
    assert said["imported"] > 0
    assert serve(root, budgets) == before
    assert serve(root, ask) == "query_failed"


def test_copy_and_records_are_put_back_in_one_step(root: Path, lose: Callable[[], None], tmp_path: Path) -> None:
    serve(root, lambda world: ask(world, 2))
    run("backup", "--home", root, "--output", tmp_path / "copy")
    serve(root, lambda world: ask(world, 2))
    run("audit", "export", "--home", root, "--output", tmp_path / "log.ndjson")
    before = serve(root, budgets)
    lose()
    said = run("restore", tmp_path / "copy", "--records", tmp_path / "log.ndjson", "--home", root)
    assert said["closed"] is None
    assert serve(root, budgets) == before


def test_without_a_checkpoint_a_copy_needs_somebodys_word(root: Path, lose: Callable[[], None], tmp_path: Path) -> None:
    serve(root, ask)
    run("backup", "--home", root, "--output", tmp_path / "copy")
    kept = tmp_path / "kept"
    kept.write_text(run("audit", "checkpoint", "--home", root)["checkpoint"], encoding="utf-8")
    lose()
    open_home(root).anchors[0].unlink()
    with pytest.raises(Misconfigured, match="--trust-copy"):
        run("restore", tmp_path / "copy", "--home", root)
    said = run("restore", tmp_path / "copy", "--checkpoint", kept, "--home", root, code=1)
    assert "are missing" in said["closed"]  # the checkpoint was itself put on record after the copy
    open_home(root).anchors[0].unlink()
    lose()
    assert run("restore", tmp_path / "copy", "--trust-copy", "--home", root)["closed"] is None
    assert serve(root, ask) == "query_failed"


def test_a_ledger_that_holds_more_is_not_replaced(root: Path, tmp_path: Path) -> None:
    serve(root, ask)
    run("backup", "--home", root, "--output", tmp_path / "copy")
    serve(root, ask)
    with pytest.raises(Misconfigured, match="holds"):
        run("restore", tmp_path / "copy", "--home", root)
    serve(root, ask)


def test_a_home_that_is_served_is_not_restored(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home").root
    run("backup", "--home", root, "--output", tmp_path / "copy")

    def try_it(_: GatewayWorld) -> None:
        with pytest.raises(Exception, match="another gateway serves"):
            run("restore", "--home", root)

    serve(root, try_it)


@postgres_server.needed
def test_a_ledger_moves_from_one_file_into_postgresql(tmp_path: Path, postgres: Server) -> None:
    root = make_home(tmp_path / "home").root
    serve(root, lambda world: ask(world, 3))
    before = serve(root, budgets)
    run("backup", "--home", root, "--output", tmp_path / "copy")
    with (root / "gateway.toml").open("a", encoding="utf-8") as settings:
        settings.write(f'\n[store]\nurl = "{postgres.database()}"\n')
    assert run("restore", tmp_path / "copy", "--home", root)["closed"] is None
    assert serve(root, budgets) == before


def test_what_is_no_copy_is_refused_and_leaves_the_home_as_it_was(tmp_path: Path) -> None:
    home: Home = make_home(tmp_path / "home")
    serve(home.root, ask)
    held = home.ledger_file.read_bytes()
    (tmp_path / "spoilt").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    (tmp_path / "empty").touch()
    shutil.copy(home.ledger_file, tmp_path / "cut")
    with (tmp_path / "cut").open("r+b") as cut:
        cut.truncate(5000)
    for name in ("spoilt", "cut", "nowhere", "empty"):
        with pytest.raises(Misconfigured):
            run("restore", tmp_path / name, "--home", home.root)
    assert home.ledger_file.read_bytes() == held
    SqliteStore(home.ledger_file).close()
