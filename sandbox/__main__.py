"""`python -m sandbox`: the data's machine needs no gateway. serve · ingest · doctor.

Imports stand inside the commands, so that each waits for its own alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import logs

if TYPE_CHECKING:
    from sandbox.ingest.snapshot import Snapshot


WRITTEN_BY_NEWER = 78
"""EX_CONFIG of sysexits.h: another start would end alike, until somebody mends it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 refused or failed check, 2 wrong usage, 78 a store that a newer release has written."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="The data domain of Baopingkou.")
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("certificates", help="make or renew certificates for both sides, for a small deployment")
    made.add_argument("folder", type=Path, metavar="DIR", help="where authority/, domain/ and gateway/ are, or will be")
    made.add_argument("--domain", default="domain.baopingkou", help="the name of the data domain")
    made.add_argument("--gateway", default="gateway.baopingkou", help="the name of the gateway")
    made.add_argument("--days", type=int, default=397, help="how long they are valid")
    made.add_argument("--json", action="store_true", help="print JSON")
    for name, words in (
        ("serve", "open the domain's door: on a Unix socket, and where domain.toml says so over TLS"),
        ("ingest", "publish the snapshots that domain.toml names, and print the custodian's report"),
        ("tally", "say what was spent, by the store and by its tally; the service must not be running"),
        ("doctor", "say which isolation layers hold here, and with --home whether domain.toml can be served"),
    ):
        command = commands.add_parser(name, help=words)
        command.add_argument("--home", type=Path, default=os.environ.get("BPK_HOME"), help="folder of the deployment")
        if name == "serve":
            command.add_argument("--socket", type=Path, help="path of a Unix socket, in a 0700 folder")
            command.add_argument(
                "--socket-group", metavar="NAME", help="a group that may connect to it too: the gateway's"
            )
            command.add_argument("--follow", type=int, metavar="PID", help="end when this process, our parent, ends")
        elif name == "tally":
            word = "the custodian's word that the store is the newest, where its tally is lost"
            command.add_argument("--trust-store", action="store_true", help=word)
        if name != "serve":
            command.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if options.command == "certificates":
        return _certificates(options)
    if options.home is None and options.command != "doctor":
        parser.error("name the home with --home or BPK_HOME")
    try:
        logs.configure()
    except ValueError as error:
        parser.error(str(error))
    return {"serve": _serve, "ingest": _ingest, "tally": _tally, "doctor": _doctor}[options.command](options)


def _serve(options: argparse.Namespace) -> int:
    from sandbox.release.layouts import StoreUnusable, WrittenByNewer
    from sandbox.service import follow_parent, serve

    if options.follow is not None:
        follow_parent(options.follow)
    try:
        serve(options.home, options.socket, options.socket_group)
    except (ValueError, OSError, StoreUnusable) as error:
        print(f"the data domain cannot serve: {error}", file=sys.stderr)
        return WRITTEN_BY_NEWER if isinstance(error, WrittenByNewer) else 1
    return 0


def _ingest(options: argparse.Namespace) -> int:
    from policies.load import load_policy
    from sandbox.domain import Domain
    from sandbox.ingest.ensure import ensure
    from sandbox.ingest.refused import IngestRefused

    failed = False
    try:
        domain = Domain.load(options.home)
        names = list(domain.datasets)
        policies = {name: load_policy(domain.home / "policies" / name / "policy.toml") for name in names}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for name in names:
        try:
            snapshot = ensure(domain, policies, name)
        except IngestRefused as refused:
            failed = True
            print(f"{name}: refused: {refused}", file=sys.stderr)
            continue
        _print_report(snapshot, as_json=options.json)
    return 1 if failed else 0


def _blocks(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """How many units lie in each block for life, where there are blocks."""
    return {"blocks": dict(snapshot.manifest.units_known)} if snapshot.manifest.units_known else {}


def _blocks_in_words(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.manifest.units_known:
        yield "units of this snapshot and earlier ones, by the block that they keep for life:"
        yield "  " + ", ".join(f"{name}: {units}" for name, units in snapshot.manifest.units_known)


def _print_report(snapshot: Snapshot, *, as_json: bool) -> None:
    """The custodian's report: names of columns and counts, never values."""
    from sandbox.codec import encode
    from sandbox.ingest.words import lines

    if as_json:
        print(json.dumps(encode(snapshot.report) | _blocks(snapshot), ensure_ascii=False))
        return
    print(f"{snapshot.dataset}: snapshot `{snapshot.name}` is published, commitment {snapshot.commitment}")
    for line in (*lines(snapshot.report), *_blocks_in_words(snapshot)):
        print(f"  {line}")


def _certificates(options: argparse.Namespace) -> int:
    from sandbox.certificates import CertificatesNotMade, make

    folder: Path = options.folder
    try:
        until = make(folder, domain=options.domain, gateway=options.gateway, days=options.days)
    except CertificatesNotMade as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"folder": str(folder), "until": until.isoformat()}))
        return 0
    print(f"certificates for `{options.domain}` and `{options.gateway}`, valid until {until:%Y-%m-%d}")
    print(f"  {folder / 'domain'}     to the machine that holds the data")
    print(f"  {folder / 'gateway'}    to the machine that faces the network")
    print(f"  {folder / 'authority'}  to neither: keep it apart; it is needed to renew them")
    return 0


def _tally(options: argparse.Namespace) -> int:
    """What every dataset has spent, once the store has been held against its tally, as the service does at start."""
    from policies import privacy_loss
    from sandbox.domain import Domain
    from sandbox.release import tally
    from sandbox.release.layouts import StoreUnusable, WrittenByNewer
    from sandbox.release.store import FILE_NAME, Store

    try:
        domain = Domain.load(options.home)
        store = Store(domain.state / FILE_NAME, domain.tally, trusted=options.trust_store)
    except (ValueError, StoreUnusable) as error:
        print(error, file=sys.stderr)
        return WRITTEN_BY_NEWER if isinstance(error, WrittenByNewer) else 1
    with store.reading() as connection:
        found = tally.of(connection)
    store.close()
    exact = [{"dataset": dataset, "answers": answers} for dataset, answers in found.exact.items()]
    spent = [
        {
            "dataset": dataset,
            "accountant": accountant,
            "rho" if accountant == "zcdp" else "epsilon": privacy_loss.text(loss, privacy_loss.RHO_UNIT),
            "delta": privacy_loss.text(delta, privacy_loss.DELTA_UNIT),
        }
        for (dataset, accountant), (loss, delta) in found.spent.items()
    ]
    if options.json:
        print(json.dumps({"spent": spent, "exact": exact}, ensure_ascii=False))
        return 0
    rows: list[dict[str, Any]] = [*spent, *exact]
    for row in rows:
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    print(f"the store and its tally {domain.tally} agree")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from sandbox.engine.snapshot import probe_engine
    from sandbox.lockdown import probe

    layers = (*probe(), probe_engine())
    checked = None if options.home is None else _checked(options.home)
    if options.json:
        rows = [{"name": y.name, "required": y.required, "active": y.active, "reason": y.reason} for y in layers]
        print(json.dumps({"layers": rows, "domain": checked}))
    else:
        for layer in layers:
            need = "required" if layer.required else "optional"
            state = "on " if layer.active else "OFF"
            print(f"{state} {layer.name:<16} {need:<9} {layer.reason}")
        if checked is not None:
            print(f"{'ok ' if checked['ok'] else 'BAD'} {checked['detail']}")
    sound = checked is None or checked["ok"]
    return 0 if sound and all(layer.active for layer in layers if layer.required) else 1


def _checked(home: Path) -> dict[str, Any]:
    """Whether the domain.toml of `home` can be served; what is wrong with it, or which layers it does without."""
    from sandbox import tls
    from sandbox.domain import FILE_NAME, Domain, DomainError
    from sandbox.release import layouts, store, tally

    try:
        domain = Domain.load(home)
        layout = layouts.inspect(domain.state / store.FILE_NAME)
        tally.read(domain.tally)
    except (DomainError, layouts.StoreUnusable, tally.TallyUnreadable, OSError) as error:
        return {"ok": False, "detail": str(error)}
    without = f", without {', '.join(sorted(domain.allow_degraded))}" if domain.allow_degraded else ""
    if domain.remote is not None:
        try:
            until = tls.inspect(domain.remote.files, "domain")
        except tls.CertificateError as error:
            return {"ok": False, "detail": str(error)}
        without += f", to `{domain.remote.client}` over TLS, with a certificate valid until {until:%Y-%m-%d}"
    if layout is not None and layout < len(layouts.LAYOUTS):
        without += f"; its store of layout {layout} is copied and brought to layout {len(layouts.LAYOUTS)} at its start"
    return {"ok": True, "detail": f"{domain.home / FILE_NAME} can be served{without}"}


if __name__ == "__main__":
    sys.exit(main())
