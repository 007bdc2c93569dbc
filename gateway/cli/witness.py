"""witness init, serve, key, list: a witness of somebody else's log, with a home and a key of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import JsonOption, print_json

if TYPE_CHECKING:
    from gateway.witness.home import WitnessHome

group = typer.Typer(
    help="A witness: cosigns the checkpoints of logs, and refuses forks and rollbacks.", no_args_is_help=True
)
WitnessOption = Annotated[
    Path | None, typer.Option("--home", envvar="BPK_WITNESS", help="Folder of the witness.", show_default=False)
]


def _home(path: Path | None) -> WitnessHome:
    from gateway.witness.home import open_home

    if path is None:
        raise typer.BadParameter("name the witness's folder with --home or BPK_WITNESS")
    return open_home(path)


@group.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where it shall lie.")],
    name: Annotated[str, typer.Option("--name", help="Its name beside its signatures, such as an address.")],
    log: Annotated[list[str] | None, typer.Option("--log", help="Verifier key of a log; may repeat.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a witness, with a key of its own."""
    from gateway.witness.home import init as make

    home = make(folder, name, log or [])
    if as_json:
        print_json({"home": str(home.root), "key": home.cosigner.vkey})
    else:
        typer.echo(f"{home.root} is a witness; serve it: bpk witness serve --home {home.root}")
        typer.echo(f"its verifier key, for gateways and auditors: {home.cosigner.vkey}")


@group.command()
def serve(home: WitnessOption = None, port: Annotated[int | None, typer.Option("--port")] = None) -> None:
    """Serve it until it is told to stop."""
    from gateway.witness.server import serve as run
    from sandbox import logs

    logs.configure()
    run(_home(home), port, lambda address: typer.echo(f"witnessing {address}"))


@group.command()
def key(home: WitnessOption = None, as_json: JsonOption = False) -> None:
    """Print its verifier key."""
    vkey = _home(home).cosigner.vkey
    if as_json:
        print_json({"key": vkey})
    else:
        typer.echo(vkey)


@group.command("list")
def list_seen(home: WitnessOption = None, as_json: JsonOption = False) -> None:
    """What it cosigned last, and checkpoints that logs signed against their own word. Exit code 1 if there are any."""
    from gateway.witness.memory import Memory

    memory = Memory(_home(home).memory_file)
    newest, evidence = memory.newest(), memory.evidence()
    memory.close()
    if as_json:
        shown = [{"origin": each.origin, "size": each.size, "time": each.time, "note": each.note} for each in newest]
        against = [
            {"origin": each.origin, "time": each.time, "seen": each.seen, "words": each.words, "note": each.note}
            for each in evidence
        ]
        print_json({"logs": shown, "evidence": against})
    else:
        for each in newest:
            typer.echo(f"{each.origin}: {each.size} records, cosigned {_when(each.time)}")
        for against_ in evidence:
            typer.echo(f"{against_.origin}: {_when(against_.time)}, after {against_.seen} records: {against_.words}")
    if evidence:
        raise typer.Exit(1)


def _when(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
