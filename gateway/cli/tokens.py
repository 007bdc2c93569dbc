"""token issue."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import HomeOption, JsonOption, home_of, print_json
from gateway.identity.roles import MATRIX, Role

if TYPE_CHECKING:
    from gateway.home import Home

group = typer.Typer(help="Tokens of the home's own key, for trials.", no_args_is_help=True)


@group.callback()
def _group() -> None:
    """Makes `issue` a command of its own, although it is the only one."""


@group.command()
def issue(
    subject: Annotated[str, typer.Option("--subject", help="Who it is for: the operator of a licence.")],
    home: HomeOption = None,
    role: Annotated[list[str] | None, typer.Option("--role", help=f"One of {', '.join(MATRIX)}; may repeat.")] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="How long it is good for.")] = 12,
    as_json: JsonOption = False,
) -> None:
    """Print a token signed with the home's own key. Production points at an OIDC issuer instead."""
    roles: list[Role] = []
    for name in role or []:
        known = next((each for each in MATRIX if each == name), None)
        if known is None:
            raise typer.BadParameter(f"`{name}` is no role; roles are {', '.join(MATRIX)}", param_hint="--role")
        roles.append(known)
    try:
        token = issue_token(home_of(home), subject, tuple(roles), timedelta(hours=hours))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        print_json({"token": token, "subject": subject, "roles": roles, "hours": hours})
        return
    typer.echo(token)


def issue_token(home: Home, subject: str, roles: tuple[Role, ...], life: timedelta) -> str:
    """Raises Misconfigured where the home refuses its own key, ValueError for a subject or life out of range."""
    from gateway.errors import Misconfigured
    from gateway.home import read_private_key
    from gateway.identity.keys import load_keys
    from gateway.identity.token import Grant
    from gateway.identity.token import issue as sign

    file = home.root / "keys" / "token.key"
    key = read_private_key(file)
    tokens = home.settings.tokens
    public = key.public_key()
    kid = next((kid for kid, each in load_keys(tokens.keys, home.path).items() if each.key == public), None)
    if kid is None:
        raise Misconfigured(f"{file}: gateway.toml does not accept tokens of this key; ask your own issuer for one")
    return sign(key, kid, tokens, Grant(subject, roles, life))
