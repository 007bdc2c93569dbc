"""backup and restore of the gateway's ledger and log. On the home itself, as whoever runs it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.options import HomeOption, JsonOption, home_of, print_json


def add(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)


def backup(
    output: Annotated[Path, typer.Option("--output", help="File to write, whole or not at all.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the ledger and the log, while they are served. The copy holds the texts of questions: keep it as such."""
    from gateway.backup import back_up, standing
    from gateway.books import open_log

    store, log = open_log(home_of(home))
    with closing(store):
        back_up(store, log, output)
        found = standing(store, log)
    _tell({"output": str(output), "records": found.records, "closed": found.closed, "frozen": found.frozen}, as_json)
    if not as_json:
        typer.echo(f"{output} is written; what is recorded from here on is in later exports: bpk audit export")
    if not found.open:
        raise typer.Exit(1)


def restore(
    copy: Annotated[
        Path | None, typer.Argument(help="A file that `bpk backup` wrote; without one, records are imported alone.")
    ] = None,
    records: Annotated[
        list[Path] | None, typer.Option("--records", help="An export of the log with what came after it; may repeat.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", help="A signed checkpoint that was kept elsewhere; may repeat.")
    ] = None,
    trust_copy: Annotated[
        bool, typer.Option("--trust-copy", help="Your word that nothing came after the copy, if no checkpoint is left.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a copy back, and the records that came after it. The home must not be served.

    Where records are still missing that a kept checkpoint was signed over, every dataset stays frozen, and the exit
    code is 1: import the missing ones.
    """
    from collections import Counter
    from datetime import UTC, datetime

    from gateway.backup import import_records, standing
    from gateway.books import adopt, open_log, put_back, require_checkpoint

    opened = home_of(home)
    for each in checkpoint or []:
        adopt(opened, each)
    if copy is not None and not trust_copy:
        require_checkpoint(opened)
    kept = None if copy is None else put_back(opened, copy, datetime.now(UTC))
    store, log = open_log(opened)
    with closing(store):
        store.serve()
        imported = [import_records(store, log, each) for each in records or []]
    store, log = open_log(opened)  # again: what was missing may be there now
    with closing(store):
        found = standing(store, log)
    told = {
        "records": found.records,
        "imported": sum(each.records for each in imported),
        "to_repeat": dict(sum((Counter(each.to_repeat) for each in imported), Counter())),
        "kept": None if kept is None else str(kept),
        "closed": found.closed,
        "frozen": found.frozen,
    }
    _tell(told, as_json)
    if not found.open:
        raise typer.Exit(1)


def _tell(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    imported = f", {told['imported']} of them imported" if told.get("imported") else ""
    typer.echo(f"{told['records']} records{imported}")
    if told.get("kept"):
        typer.echo(f"what was there before is kept: {told['kept']}")
    for act, times in told.get("to_repeat", {}).items():
        typer.echo(f"{act}, {times} times after the copy: only you can repeat it")
    if told["closed"] is not None:
        typer.echo(f"every dataset is frozen: {told['closed']}")
    for dataset, why in told["frozen"].items():
        typer.echo(f"{dataset} is frozen: {why}")
