"""token issue, key, check, revoke, restore, revoked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import HomeOption, JsonOption, home_of, print_json
from gateway.identity.roles import MATRIX, Role

if TYPE_CHECKING:
    from gateway.audit.log import Log
    from gateway.home import Home
    from gateway.store import Store, Transaction

group = typer.Typer(
    help="Tokens: of the home's own key, for trials; and those of any issuer called back.", no_args_is_help=True
)
Subject = Annotated[str | None, typer.Option("--subject", help="All that this subject holds.")]


@group.command()
def issue(
    subject: Annotated[str, typer.Option("--subject", help="Who it is for: the operator of a licence.")],
    home: HomeOption = None,
    role: Annotated[list[str] | None, typer.Option("--role", help=f"One of {', '.join(MATRIX)}; may repeat.")] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="How long it is good for.")] = 12,
    service: Annotated[bool, typer.Option("--service", help="For a program that acts by itself.")] = False,
    bind: Annotated[
        Path | None, typer.Option("--bind", help="Bind it to this key (`bpk token key`): good only together with it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a token signed with the home's own key. Production points at an OIDC issuer instead."""
    roles: list[Role] = []
    for name in role or []:
        known = next((each for each in MATRIX if each == name), None)
        if known is None:
            raise typer.BadParameter(f"`{name}` is no role; roles are {', '.join(MATRIX)}", param_hint="--role")
        roles.append(known)
    jkt = None if bind is None else _thumbprint(bind)
    try:
        token = issue_token(home_of(home), subject, tuple(roles), timedelta(hours=hours), service=service, jkt=jkt)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        print_json({"token": token, "subject": subject, "roles": roles, "hours": hours})
        return
    typer.echo(token)


@group.command()
def key(
    output: Annotated[Path, typer.Option("--output", help="File to write, mode 0600; it must not exist yet.")],
    as_json: JsonOption = False,
) -> None:
    """Make a key that tokens can be bound to, and print its thumbprint (`jkt`). The key never leaves the file."""
    from gateway.errors import Misconfigured
    from gateway.home import write_private_key

    try:
        write_private_key(output)
    except OSError as error:
        raise Misconfigured(f"{output}: cannot be written ({error.strerror})") from error
    jkt = _thumbprint(output)
    if as_json:
        print_json({"key": str(output), "jkt": jkt})
        return
    typer.echo(jkt)


@group.command()
def check(
    file: Annotated[Path, typer.Argument(help="File with the token, or - for standard input.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether this home would take a token, and if not, why: callers are not told. Fetches the issuer's keys."""
    from gateway.app import open_issuer
    from gateway.books import open_log
    from gateway.errors import Refusal
    from gateway.identity.issuer import KeyRing
    from gateway.identity.keys import load_keys
    from gateway.identity.revoked import require_good
    from gateway.identity.token import NotAccepted, Verifier

    opened = home_of(home)
    token, tokens, issuer = _read_token(file), opened.settings.tokens, open_issuer(opened)
    if issuer is not None:
        issuer.refresh()
    verifier = Verifier(tokens, KeyRing(load_keys(tokens.keys, opened.path), issuer))
    store, _ = open_log(opened)
    try:
        accepted = verifier.accept(token)
        with store.reading() as view:
            require_good(view, accepted)
    except Refusal as refusal:
        reason = refusal.reason if isinstance(refusal, NotAccepted) else refusal.message
        if as_json:
            print_json({"accepted": False, "code": refusal.code, "reason": reason})
        else:
            typer.echo(f"refused: {reason}")
        raise typer.Exit(1) from None
    finally:
        store.close()
    caller = accepted.caller
    told = {"subject": caller.subject, "roles": sorted(caller.roles), "service": caller.service, "bound": caller.bound}
    if as_json:
        print_json({"accepted": True, "id": accepted.id, **told})
    else:
        typer.echo("accepted: " + ", ".join(f"{name} {value}" for name, value in told.items()))


@group.command()
def revoke(
    home: HomeOption = None,
    jti: Annotated[str | None, typer.Option("--jti", help="The id of one token.")] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with the token, or - for standard input.")
    ] = None,
    subject: Subject = None,
    block: Annotated[bool, typer.Option("--block", help="With --subject: also what it is given from now on.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Call tokens back: one, or all that a subject holds. At once, also while the gateway runs; on record."""
    import time

    from gateway.identity.revoked import FOR_GOOD, Revocation
    from gateway.identity.revoked import revoke as write

    if sum(each is not None for each in (jti, token_file, subject)) != 1:
        raise typer.BadParameter("name one of --jti, --token-file, --subject")
    if block and subject is None:
        raise typer.BadParameter("goes with --subject", param_hint="--block")
    opened = home_of(home)
    if subject is not None:
        until = FOR_GOOD if block else int(time.time()) + opened.settings.tokens.leeway_s
        revocation, code = Revocation("subject", subject, until), "subject_blocked" if block else "subject_revoked"
    else:
        name = jti if token_file is None else _token_id(opened, _read_token(token_file))
        revocation, code = Revocation("token", name or "", FOR_GOOD), "token_revoked"
    if not 1 <= len(revocation.name) <= 200 or not revocation.name.isprintable():
        raise typer.BadParameter("a name of 1 to 200 printable characters")
    with _on_record(opened, code, {revocation.kind: revocation.name}) as tx:
        write(tx, revocation)
    _say_done(as_json, code, revocation.name)


@group.command()
def restore(
    subject: Annotated[str, typer.Option("--subject")], home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Let a subject in again that was blocked, with tokens that it is given from now on."""
    import time

    from gateway.errors import Misconfigured
    from gateway.identity.revoked import restore as write

    opened = home_of(home)
    with _on_record(opened, "subject_restored", {"subject": subject}) as tx:
        if not write(tx, subject, int(time.time()) + opened.settings.tokens.leeway_s):
            raise Misconfigured(f"`{subject}` was not called back")
    _say_done(as_json, "subject_restored", subject)


@group.command()
def revoked(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List what was called back."""
    from datetime import UTC, datetime

    from gateway.books import open_store
    from gateway.cli import show
    from gateway.identity.revoked import FOR_GOOD, every

    store = open_store(home_of(home))
    try:
        with store.reading() as view:
            found = every(view)
    finally:
        store.close()

    def until(seconds: int) -> str | None:
        return None if seconds >= FOR_GOOD else datetime.fromtimestamp(seconds, UTC).isoformat()

    if as_json:
        print_json({"revoked": [{"kind": each.kind, "name": each.name, "until": until(each.until)} for each in found]})
        return
    show.table(["kind", "name", "issued until"], [[e.kind, e.name, until(e.until) or "for good"] for e in found])


def issue_token(  # what a token says
    home: Home,
    subject: str,
    roles: tuple[Role, ...],
    life: timedelta,
    *,
    service: bool = False,
    jkt: str | None = None,
) -> str:
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
    return sign(key, kid, tokens, Grant(subject, roles, life, service, jkt))


@contextmanager
def _on_record(home: Home, code: str, texts: dict[str, str]) -> Iterator[Transaction]:
    """A transaction that leaves an `admin` record with what is written in it, or neither. Names are committed to."""
    from gateway.books import open_log

    store: Store
    log: Log
    store, log = open_log(home)
    try:
        with store.transaction() as tx:
            yield tx
            log.append(tx, kind="admin", code=code, texts={"by": _who(), **texts})
    finally:
        store.close()


def _who() -> str:
    import getpass

    try:
        return f"{getpass.getuser()} on the command line"
    except (OSError, KeyError, ImportError):  # an account without a name
        return "the command line"


def _say_done(as_json: bool, code: str, name: str) -> None:
    if as_json:
        print_json({"done": code, "name": name})
    else:
        typer.echo(f"{code.replace('_', ' ')}: {name}")


def _thumbprint(file: Path) -> str:
    from gateway.home import read_private_key
    from gateway.identity.jwk import jwk_of, thumbprint

    return thumbprint(jwk_of(read_private_key(file).public_key()))


def _read_token(file: Path) -> str:
    try:
        return (sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file}: cannot be read") from error


def _token_id(home: Home, token: str) -> str:
    """The id that a token names, whoever signed it: whoever runs the gateway may call back what nobody issued."""
    from gateway.identity import jws

    try:
        found = jws.members(jws.read(token).payload).get(home.settings.tokens.id_claim)
    except jws.Bad as error:
        raise typer.BadParameter("this is no token") from error
    if not isinstance(found, str):
        raise typer.BadParameter(f"the token has no `{home.settings.tokens.id_claim}`")
    return found
