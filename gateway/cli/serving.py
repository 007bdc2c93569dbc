"""init, serve, and the data domain's own commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.options import HomeOption, JsonOption, home_of, print_json

if TYPE_CHECKING:
    from gateway.home import Outside

PARENT_LOOK_S: Final = 0.5
sandbox = typer.Typer(help="The data domain, on the machine that holds the data.", no_args_is_help=True)
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="0 is any that is free.")]


def add(app: typer.Typer) -> None:
    app.command()(init)
    app.command()(serve)


def init(
    folder: Annotated[Path, typer.Argument(help="An empty folder, or one that does not exist yet.")],
    suite: Annotated[
        str, typer.Option("--suite", help="Digest and signature of the new log: sha256-ed25519, sm3-ed25519, sm3-sm2.")
    ] = "sha256-ed25519",
    log_key: Annotated[
        Path | None, typer.Option("--log-key", help="Public half (PEM) of the log's key, which a signer outside has.")
    ] = None,
    signer: Annotated[
        str | None, typer.Option("--signer", help="Command that signs with it; words in the manner of a shell.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a home: commented settings, keys, and room for policies. It serves at once, with zero datasets."""
    from typing import get_args

    from gateway.home import init as make
    from gateway.settings import Suite

    chosen = next((each for each in get_args(Suite) if each == suite), None)
    if chosen is None:
        raise typer.BadParameter(f"`{suite}` is none of {', '.join(get_args(Suite))}", param_hint="--suite")
    home = make(folder, chosen, _outside(chosen, log_key, signer))
    if as_json:
        print_json({"home": str(home.root)})
        return
    typer.echo(f"a home is at {home.root}; serve it with: bpk serve --home {home.root}")


def _outside(suite: str, log_key: Path | None, signer: str | None) -> Outside | None:
    import shlex

    from gateway.audit.public_key import read
    from gateway.home import Outside

    if log_key is None and signer is None:
        if suite == "sm3-sm2":
            raise typer.BadParameter("the gateway itself does not sign with SM2: name --log-key and --signer")
        return None
    try:
        program, *more = shlex.split(signer or "")
    except ValueError:
        program = ""
    if log_key is None or not program:
        raise typer.BadParameter("a log's key outside takes both --log-key and --signer")
    if read(log_key).algorithm != suite.partition("-")[2]:
        raise typer.BadParameter(f"{log_key}: is no key of the suite `{suite}`", param_hint="--log-key")
    return Outside(log_key, [str(Path(program).expanduser().absolute()), *more])


def serve(
    home: HomeOption = None,
    port: Port = None,
    follow: Annotated[int | None, typer.Option("--follow", hidden=True, help="End with this parent process.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve a home: the gateway, and the data domain's service beside it."""
    import json

    from gateway.serving import serve as run
    from sandbox import logs

    if follow is not None:
        _follow(follow)

    try:
        logs.configure()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error

    def ready(address: str) -> None:
        told = {"url": address, "docs": f"{address}/docs"}
        typer.echo(json.dumps(told) if as_json else f"serving {address} (docs: {address}/docs)")

    run(home_of(home), port, ready)


def _follow(parent: int) -> None:
    """Ends this process, in order, when `parent`, which started it, is gone, however it went."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_LOOK_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="bpk-parent", daemon=True).start()


@sandbox.command("serve")
def sandbox_serve(
    socket: Annotated[
        Path | None, typer.Option("--socket", help="Path of a Unix socket, in a folder of mode 0700.")
    ] = None,
    socket_group: Annotated[
        str | None,
        typer.Option("--socket-group", help="A group that may connect to it too: the gateway's. Folder of mode 0750."),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Serve the data domain alone: on a Unix socket, over TLS where domain.toml says so, or both."""
    where = [] if socket is None else ["--socket", str(socket)]
    group = [] if socket_group is None else ["--socket-group", socket_group]
    command = _sandbox_command("serve", home, *where, *group)
    os.execv(command[0], command)  # noqa: S606  # signals are for the service itself


@sandbox.command("ingest")
def sandbox_ingest(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Publish the snapshots that domain.toml names, and print the custodian's report."""
    raise typer.Exit(_sandbox("ingest", home, *(["--json"] if as_json else [])))


@sandbox.command("certificates")
def sandbox_certificates(
    folder: Annotated[Path, typer.Argument(help="Where authority/, domain/ and gateway/ are, or will be.")],
    domain: Annotated[str, typer.Option("--domain", help="The name of the data domain.")] = "domain.baopingkou",
    gateway: Annotated[str, typer.Option("--gateway", help="The name of the gateway.")] = "gateway.baopingkou",
    days: Annotated[int, typer.Option("--days", min=1, max=825, help="How long they are valid.")] = 397,
    as_json: JsonOption = False,
) -> None:
    """Make certificates for both sides, or renew them: for a trial or a small deployment."""
    named = ["--domain", domain, "--gateway", gateway, "--days", str(days), *(["--json"] if as_json else [])]
    command = [sys.executable, "-m", "sandbox", "certificates", str(folder), *named]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@sandbox.command("doctor")
def sandbox_doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say which isolation layers hold here, and whether domain.toml and its certificates can be served."""
    raise typer.Exit(_sandbox("doctor", home, *(["--json"] if as_json else [])))


@sandbox.command("tally")
def sandbox_tally(
    home: HomeOption = None,
    trust_store: Annotated[
        bool, typer.Option("--trust-store", help="Your word that the store is the newest, where its tally is lost.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what was spent, by the data domain's store and its tally; while it is not served."""
    more = [*(["--trust-store"] if trust_store else []), *(["--json"] if as_json else [])]
    raise typer.Exit(_sandbox("tally", home, *more))


def _sandbox(command: str, home: Path | None, *more: str) -> int:
    return subprocess.run(_sandbox_command(command, home, *more), check=False).returncode


def _sandbox_command(command: str, home: Path | None, *more: str) -> list[str]:
    if home is None:
        raise typer.BadParameter("name the home with --home or BPK_HOME")
    return [sys.executable, "-m", "sandbox", command, "--home", str(home), *more]
