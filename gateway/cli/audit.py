"""audit list, export, verify, rotate-key and the like. On the home itself, as whoever runs it; reading is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import HomeOption, JsonOption, home_of, print_json

if TYPE_CHECKING:
    from gateway.audit.log import Log
    from gateway.store import Store

Since = Annotated[str | None, typer.Option("--since", help="A day or UTC time, included.")]
Until = Annotated[str | None, typer.Option("--until", help="A day or UTC time, not included.")]
group = typer.Typer(help="The audit log: list, export, tiles, verify, checkpoint.", no_args_is_help=True)


@contextmanager
def _reading(home: Path | None, what: str) -> Iterator[tuple[Store, Log]]:
    """The home's log, with the reading recorded first."""
    from gateway.books import open_log

    store, log = open_log(home_of(home))
    try:
        if log.closed is None:
            with store.transaction() as tx:
                log.note_read(tx, None, what, {"by": "command line"})
        else:
            typer.echo(f"this reading is not recorded: {log.closed}", err=True)
        yield store, log
    finally:
        store.close()


@group.command("list")
def list_records(
    home: HomeOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="From the page before.")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="genesis, decision, charge, release, failure, admin, read")
    ] = None,
    actor: Annotated[str | None, typer.Option("--actor")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset")] = None,
    decision: Annotated[str | None, typer.Option("--decision", help="run, reused, repeated, refused")] = None,
    code: Annotated[str | None, typer.Option("--code", help="Of a refusal, a failure, an act.")] = None,
    query: Annotated[str | None, typer.Option("--query", help="Id of a query.")] = None,
    since: Since = None,
    until: Until = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="Of the question.")] = None,
    words: Annotated[str | None, typer.Option("--words", help="Words of the SQL, all of them.")] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="dp, aggregate, open")] = None,
    cost_min: Annotated[str | None, typer.Option("--cost-min", help="Questions that cost so much epsilon.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="csv or ndjson, in place of a table.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List records, oldest first."""
    from typing import get_args

    from gateway.audit.record import Kind
    from gateway.audit.search import Filter, as_csv, as_ndjson, find

    if kind is not None and kind not in get_args(Kind):  # else a misspelt filter would look like an empty log
        raise typer.BadParameter(f"`{kind}` is none of {', '.join(get_args(Kind))}", param_hint="--kind")
    if form not in (None, "csv", "ndjson"):
        raise typer.BadParameter(f"`{form}` is neither csv nor ndjson", param_hint="--format")
    wanted = Filter(actor, dataset, kind, decision, code, query, since, until, purpose, words, mode, cost_min)
    with _reading(home, "records") as (store, _), store.reading() as view:
        page = find(view, wanted, limit=limit, cursor=cursor)
    if form is not None:
        typer.echo(as_csv(page.records) if form == "csv" else as_ndjson(page.records), nl=False)
        return
    if as_json:
        print_json({"records": list(page.records), "cursor": page.cursor})
        return
    from gateway.cli import show

    names = ("seq", "time", "kind", "decision", "code", "actor", "dataset", "query_id")
    show.table(
        list(names),
        [
            [str(record[name] or "") or "0" if name == "seq" else str(record[name] or "") for name in names]
            for record in page.records
        ],
    )
    if page.cursor:
        show.CONSOLE.print(f"more: --cursor {page.cursor}")


@group.command()
def export(
    output: Annotated[Path, typer.Option("--output", help="File to write, whole or not at all.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the whole log with its signed checkpoint. It holds commitments, not texts."""
    from gateway.audit.export import write

    with _reading(home, "export") as (_, log):
        write(log, output)
    if as_json:
        print_json({"output": str(output)})
    else:
        typer.echo(f"{output} is written; anybody can check it: bpk audit verify {output}")


@group.command()
def report(
    since: Since = None,
    until: Until = None,
    output: Annotated[Path | None, typer.Option("--output", help="File for the report with its receipt.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report a period: questions, refusals, spend, readers, acts, and what looks like probing; on record."""
    import json

    from gateway.books import open_log
    from gateway.oversight.report import as_text, signed

    store, log = open_log(home_of(home))
    try:
        found = signed(log, store, None, since, until)
    finally:
        store.close()
    if output is not None:
        output.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    if as_json:
        print_json(found)
    else:
        typer.echo(as_text(found))


@group.command()
def bundle(
    query: Annotated[str, typer.Argument(help="Id of a query.")],
    output: Annotated[Path, typer.Option("--output", help="File to write.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the evidence of one answer, for a third party: `bpk audit verify FILE --key KEY`. It holds the question,
    and the numbers where the data domain is up to tell them."""
    import json
    from contextlib import ExitStack, closing
    from functools import partial

    from gateway.books import open_log
    from gateway.domain_door import served_door
    from gateway.outcomes import numbers_of
    from gateway.oversight.bundle import evidence

    with ExitStack() as stack:
        store, log = open_log(home_of(home))
        stack.callback(store.close)
        domain = served_door(home_of(home))
        numbers = None if domain is None else partial(numbers_of, stack.enter_context(closing(domain)))
        found = evidence(log, store, None, query, numbers)
    output.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    with_numbers = "answer" in found
    if as_json:
        print_json({"output": str(output), "records": len(found["records"]), "numbers": with_numbers})
    else:
        also = "and the numbers" if with_numbers else "and no numbers"
        typer.echo(
            f"{output} holds {len(found['records'])} records {also}; check it: bpk audit verify {output} --key KEY"
        )


@group.command()
def tiles(
    output: Annotated[Path, typer.Option("--output", help="Folder to write to; what is there already stays.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the log as static files (C2SP tlog-tiles), for any web server or disk; run it again as the log grows."""
    from gateway.audit.tiles import write

    with _reading(home, "tiles") as (_, log):
        note = write(log, output)
    if as_json:
        print_json({"output": str(output), "checkpoint": note})
    else:
        typer.echo(f"{output} holds {note.splitlines()[1]} records; check it: bpk audit verify {output}")


@group.command()
def timestamps(
    output: Annotated[Path, typer.Option("--output", help="File to write, a stamp a line.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the time stamps that an authority gave for checkpoints, the newest of each day, for `bpk audit verify`."""
    from gateway.audit.stamping import kept

    with _reading(home, "timestamps") as (store, _), store.reading() as view:
        stamps = kept(view)
    output.write_text("".join(f"{stamp.line()}\n" for stamp in stamps), encoding="utf-8")
    if as_json:
        print_json({"output": str(output), "stamps": len(stamps)})
    else:
        typer.echo(f"{output} holds {len(stamps)} time stamps")


@group.command()
def checkpoint(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print a signed checkpoint: keep it, and a later log has to extend it."""
    with _reading(home, "checkpoint") as (_, log):
        note, keys = log.checkpoint(), log.keys()
    if as_json:
        listed = [{"key": vkey, "from": start} for start, vkey in keys.chain]
        print_json({"checkpoint": note, "key": keys.newest, "keys": listed})
    else:
        typer.echo(note, nl=False)


@group.command("rotate-key")
def rotate_key(
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only make the new key, to be given to other gateways first.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change the log's key, while it is served: the log itself goes over to a new one, and the old one ends there."""
    from gateway import rotating
    from gateway.books import open_log

    found = home_of(home)
    if prepare:
        following = rotating.prepare(found).vkey
        if as_json:
            print_json({"next": following})
        else:
            typer.echo(f"{found.next_log_key.with_suffix('.pub')} will follow: {following}")
        return
    store, log = open_log(found)
    try:
        rotated = rotating.rotate(found, store, log)
    finally:
        store.close()
    if as_json:
        print_json({"key": rotated.key, "after": rotated.after, "kept": str(rotated.kept)})
    else:
        typer.echo(f"after {rotated.after} records the log's key is {rotated.key}")
        kept = f"it is the signer's {rotated.kept}" if rotated.kept.suffix == ".pub" else str(rotated.kept)
        typer.echo(f"the old one signs nothing any more; destroy it when it is not needed for a restore: {kept}")


@group.command()
def erase(
    reason: Annotated[str, typer.Option("--reason", help="Why; kept beside the record of the erasure.")],
    by: Annotated[str, typer.Option("--by", help="Who decided it.")],
    record: Annotated[int | None, typer.Option("--record", min=0, help="The texts of one record.")] = None,
    query: Annotated[str | None, typer.Option("--query", help="Those of one query.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="All that this operator asked.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase texts for ever: SQL, purpose, parameters. Records and the tree stay; not before 180 days."""
    from gateway.audit.log import utc_now
    from gateway.books import open_log
    from gateway.erasing import Wanted, Why
    from gateway.erasing import erase as forget

    if sum(chosen is not None for chosen in (record, query, actor)) != 1:
        raise typer.BadParameter("name one of --record, --query, --actor")
    store, log = open_log(home_of(home))
    try:
        with store.transaction() as tx:
            count = forget(log, tx, Wanted(record, query, actor), Why(reason, by), utc_now())
    finally:
        store.close()
    if as_json:
        print_json({"records": count})
    else:
        typer.echo(f"the texts of {count} records are gone; the records stay")


@group.command()
def expire(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Erase now what is older than `retention_days`; a gateway that serves does so every day by itself."""
    from gateway.books import open_log
    from gateway.erasing import Retention

    found = home_of(home)
    store, log = open_log(found)
    try:
        count = Retention(log, store, found.settings.audit.retention_days).once()
    finally:
        store.close()
    if as_json:
        print_json({"records": count})
    else:
        typer.echo(f"the texts of {count} records are gone; the records stay")


@group.command()
def verify(
    file: Annotated[Path, typer.Argument(help="An exported log, a folder of tiles, or a receipt.")],
    key: Annotated[
        str | None, typer.Option("--key", help="The verifier key you expect; `audit checkpoint --json` prints a log's.")
    ] = None,
    since: Annotated[
        list[Path] | None, typer.Option("--since", help="File of an older checkpoint; may repeat.")
    ] = None,
    receipt: Annotated[list[Path] | None, typer.Option("--receipt", help="File of an old answer; may repeat.")] = None,
    witness: Annotated[
        list[str] | None, typer.Option("--witness", help="Verifier key of a witness you trust; may repeat.")
    ] = None,
    quorum: Annotated[int | None, typer.Option("--quorum", help="How many witnesses must have cosigned.")] = None,
    stamps: Annotated[
        Path | None, typer.Option("--timestamps", help="File of time stamps; the log must extend what they stamp.")
    ] = None,
    authority: Annotated[
        Path | None, typer.Option("--authority", help="Certificates (PEM) by which the time stamps are judged.")
    ] = None,
    allow_unproven: Annotated[
        bool, typer.Option("--allow-unproven", help="Take an answer whose numbers nothing proves.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify a log or a receipt, offline: nothing changed, dropped, swapped or cut, and the budget adds up."""
    from gateway.audit.offline import main

    arguments = [str(file), *(["--key", key] if key else []), *(["--json"] if as_json else [])]
    for option, paths in (
        ("--since", since),
        ("--receipt", receipt),
        ("--timestamps", [stamps] if stamps else None),
        ("--authority", [authority] if authority else None),
    ):
        for path in paths or []:
            arguments += [option, str(path)]
    for vkey in witness or []:
        arguments += ["--witness", vkey]
    arguments += [] if quorum is None else ["--quorum", str(quorum)]
    arguments += ["--allow-unproven"] if allow_unproven else []
    raise typer.Exit(main(arguments))
