"""Options that several commands share, and how they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gateway.home import Home

HomeOption = Annotated[
    Path | None, typer.Option("--home", envvar="BPK_HOME", help="Folder of the deployment.", show_default=False)
]
UrlOption = Annotated[
    str | None, typer.Option("--url", envvar="BPK_URL", help="Address of the gateway.", show_default=False)
]
TokenOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="File with your token; else BPK_TOKEN holds the token.", show_default=False),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--dpop-key", envvar="BPK_DPOP_KEY", help="The key that your token is bound to (DPoP).", show_default=False
    ),
]
PurposeOption = Annotated[
    str | None,
    typer.Option("--purpose", help="What the answer is for; not needed where your licences name one only."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def home_of(path: Path | None) -> Home:
    """The home that was named. Raises Misconfigured, and BadParameter where none was."""
    from gateway.home import open_home

    if path is None:
        raise typer.BadParameter("name the home with --home or BPK_HOME")
    return open_home(path)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
