"""caps show, propose, sign, apply, key: a cap is raised by several people, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.options import HomeOption, JsonOption, home_of, print_json

if TYPE_CHECKING:
    from gateway.caps import Caps
    from gateway.decided import Decided
    from gateway.home import Home
    from gateway.store import Store
    from policies.model import Accountant

DAYS: Final = 30
group = typer.Typer(help="Caps: what is in force, what waits, and the decisions that raise them.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="File of the decision.")]


@contextmanager
def opened(home: Home) -> Iterator[tuple[Store, Caps]]:
    """The home's store, and its caps. Raises Misconfigured, NotReady."""
    from gateway.books import open_log
    from gateway.budget.ledger import Ledger
    from gateway.caps import Caps, named
    from gateway.catalog import Catalog

    catalog, wanted = Catalog.load(home.policies), named(home)
    store, log = open_log(home)
    try:
        yield store, Caps(catalog, Ledger(log), log, wanted)
    finally:
        store.close()


@group.command()
def show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show who signs for a raise, and which raises wait."""
    from datetime import UTC, datetime

    from gateway.budget.loss import words

    with opened(home_of(home)) as (store, caps), store.reading() as view:
        told = caps.look(view, datetime.now(UTC).date())
        waiting = caps.waiting(view, datetime.now(UTC).date())
        found = caps.log.approvers(view)
    lines = [
        {"scope": each.scope, "cap": words(each.in_force), "named": words(each.named), "spent": words(each.spent)}
        for each in waiting
    ]
    if as_json:
        print_json({**told, "approvers": None if found is None else found.as_json(), "waiting": lines})
        return
    if found is None:
        typer.echo("no approvers are on record: whoever writes policies and licences raises a cap alone")
        return
    typer.echo(f"{found.quorum} of {', '.join(found.keys)} sign for a raise")
    if not told["as_settings"]:
        typer.echo("gateway.toml names others; the change waits: bpk caps propose --approvers")
    _table(lines, "cap", "named")


@group.command()
def propose(
    reason: Annotated[str, typer.Option("--reason", help="Why; shown to those who sign, committed to on record.")],
    output: Annotated[Path, typer.Option("--output", help="File to write.")],
    home: HomeOption = None,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="A scope that waits; may repeat; else all.")
    ] = None,
    approvers: Annotated[
        bool, typer.Option("--approvers", help="In place of caps: the approvers that gateway.toml names now.")
    ] = False,
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="How long it may be applied.")] = DAYS,
    as_json: JsonOption = False,
) -> None:
    """Draw up a decision on what the policies, licences or settings name and is not in force."""
    from gateway.audit.log import utc_now
    from gateway.decided import Draft, dumps

    if approvers and scope:
        raise typer.BadParameter("goes without --scope", param_hint="--approvers")
    draft = Draft(reason, utc_now(), days)
    with opened(home_of(home)) as (store, caps), store.reading() as view:
        decided = caps.propose_approvers(view, draft) if approvers else caps.propose(view, scope or [], draft)
    try:
        with output.open("x", encoding="utf-8") as out:
            out.write(dumps(decided))
    except OSError as error:
        raise typer.BadParameter(f"{output}: cannot be written ({error.strerror})", param_hint="--output") from error
    if as_json:
        print_json({"output": str(output), "decision": decided.decision})
        return
    _tell(decided)
    typer.echo(f"{output} is written; each approver signs it: bpk caps sign {output} --as NAME --key KEY")


@group.command()
def sign(
    file: File,
    name: Annotated[str, typer.Option("--as", help="Your name among the approvers.")],
    key: Annotated[Path, typer.Option("--key", help="Your private key.")],
    yes: Annotated[bool, typer.Option("--yes", help="You have read it; do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read a decision and sign it. Needs the file and your key alone."""
    from gateway.decided import dumps
    from gateway.home import read_private_key

    decided = _read(file)
    if not as_json:
        _tell(decided)
    if not yes and not typer.confirm("sign this?"):
        raise typer.Exit(1)
    signed = decided.signed_by(name, read_private_key(key))
    beside = file.with_name(f"{file.name}.signed")
    beside.write_text(dumps(signed), encoding="utf-8")
    beside.replace(file)
    if as_json:
        print_json({"file": str(file), "signed_by": sorted(signed.signatures)})
    else:
        typer.echo(f"signed by {', '.join(sorted(signed.signatures))}; with enough signatures: bpk caps apply {file}")


@group.command()
def apply(file: File, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Put a decision in force, at once, also while the home is served; on record."""
    from gateway.audit.log import utc_now

    decided = _read(file)
    with opened(home_of(home)) as (store, caps), store.transaction() as tx:
        records = caps.apply(tx, decided, utc_now())
    if as_json:
        print_json({"records": list(records), "signed_by": sorted(decided.signatures)})
    else:
        _tell(decided)
        typer.echo(f"in force, by {', '.join(sorted(decided.signatures))}; on record as {', '.join(map(str, records))}")


@group.command()
def key(
    output: Annotated[Path, typer.Option("--output", help="File of the private key; the public one goes beside it.")],
    as_json: JsonOption = False,
) -> None:
    """Make an approver's key. The private half belongs to its owner and to no home."""
    from gateway.home import write_key_pair

    private, public = output.with_suffix(".key"), output.with_suffix(".pub")
    try:
        write_key_pair(output.parent, output.stem)
    except OSError as error:
        raise typer.BadParameter(f"{private}: cannot be written ({error.strerror})", param_hint="--output") from error
    if as_json:
        print_json({"private": str(private), "public": str(public)})
    else:
        typer.echo(f"{private} is yours alone; {public} is for [[caps.approvers]] in gateway.toml")


def _read(file: Path) -> Decided:
    from gateway.decided import loads

    try:
        return loads(file.read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"{file}: cannot be read ({error.strerror})") from error


def _tell(decided: Decided) -> None:
    """All that a signature is for."""
    from gateway.cli import show as shown

    decision = decided.decision
    shown.CONSOLE.print(shown.plain(f"log {decision['ledger']}: {decided.reason}"))
    if decided.act == "cap":
        _table([line.as_json() for line in decided.lines], "before", "after")
    else:
        for when in ("before", "after"):
            told = decision[when]
            shown.CONSOLE.print(shown.plain(f"{when}: {told['quorum']} of"))
            shown.table(["approver", "key"], [[name, each] for name, each in told["keys"].items()])
    shown.CONSOLE.print(shown.plain(f"may be applied until {decision['until']}"))


def _table(lines: list[dict[str, Any]], before: str, after: str) -> None:
    from gateway.cli import show as shown

    if not lines:
        typer.echo("no raise waits")
        return
    columns = ["scope", "epsilon in force", "epsilon named", "epsilon lost so far", "rho lost so far"]
    rows = []
    for line in lines:
        lost = line["spent"]
        found = [line[before]["epsilon"], line[after]["epsilon"], _epsilon(lost, line[before]), lost["rho"]]
        rows.append([line["scope"], *found])
    shown.table(columns, rows, frozenset({1, 2, 3, 4}))
    for line in lines:
        if line[before]["delta"] != line[after]["delta"]:
            delta = f"{line['scope']}: delta {line[before]['delta']} in force, {line[after]['delta']} named"
            shown.CONSOLE.print(shown.plain(delta))


def _epsilon(lost: dict[str, str], cap: dict[str, str]) -> str:
    """What is lost, as an epsilon: under `zcdp` what so much rho is worth."""
    from gateway.budget.amounts import amounts
    from gateway.budget.loss import Cap, Loss, as_epsilon
    from gateway.cli import show as shown
    from policies.privacy_loss import EPSILON_UNIT, text

    accountant: Accountant = "pure" if cap["rho"] == "0" else "zcdp"
    return shown.shorter(text(as_epsilon(Cap(accountant, *amounts(cap)), Loss(*amounts(lost))), EPSILON_UNIT))
