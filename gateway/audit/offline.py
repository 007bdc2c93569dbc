"""`bpk audit verify`: an export, a folder of tiles, or a receipt, offline and with nothing of the gateway's."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.audit.bundles import is_bundle, is_report, verify_bundle, verify_report
from gateway.audit.note import LOG_KEY, WITNESS_KEY, parse_key
from gateway.audit.older import Witnesses
from gateway.audit.report import Report
from gateway.audit.stamps import MISSING, Stamp, certificates, check, read
from gateway.audit.told import UNPROVEN, is_answer, not_covered, verify_numbers
from gateway.audit.unique import NamedTwice, value_of
from gateway.audit.verify import verify_file, verify_receipt

JSON_BYTES_MAX: Final = 50_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """0 sound, 1 not sound, not proven or unreadable, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        description="Verifies an exported audit log, a folder of tiles or a receipt, offline."
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--key", help="the verifier key you expect")
    parser.add_argument("--since", type=Path, action="append", default=[], help="file of an older checkpoint")
    parser.add_argument("--receipt", type=Path, action="append", default=[], help="file of an old answer or receipt")
    parser.add_argument("--witness", action="append", default=[], help="verifier key of a witness you trust")
    parser.add_argument("--quorum", type=int, help="how many of them must have cosigned; all by default")
    parser.add_argument("--timestamps", type=Path, help="file of time stamps over checkpoints of the log")
    parser.add_argument("--authority", type=Path, help="certificates (PEM) by which they are judged")
    parser.add_argument("--allow-unproven", action="store_true", help="take an answer whose numbers nothing proves")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    chosen = parser.parse_args(arguments)
    if wrong := _usage(chosen):
        print(wrong, file=sys.stderr)
        return 2
    witnesses = Witnesses(tuple(chosen.witness), len(chosen.witness) if chosen.quorum is None else chosen.quorum)
    try:
        value = None if chosen.file.is_dir() else _value_in(chosen.file)
        if is_bundle(value) or is_report(value):
            return _judge_handed_on(value, chosen.key, witnesses, as_json=chosen.json)
        if (receipt := _inner(value)) is not None:
            return _judge_receipt(value, receipt, chosen, witnesses)
        since = [path.read_text(encoding="utf-8") for path in chosen.since]
        receipts = [_receipt_of(path) for path in chosen.receipt]
        stamped = _stamped(chosen)
        since += [stamp.note for stamp in stamped]
        report = verify_file(chosen.file, key=chosen.key, since=since, receipts=receipts, witnesses=witnesses)
        _judge_stamps(report, stamped, chosen.authority)
    except OSError as error:
        print(f"`{error.filename}` cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 2
    except (ValueError, RecursionError) as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report.as_json(), indent=2) if chosen.json else report.text())
    return 0 if report.ok else 1


def _stamped(chosen: argparse.Namespace) -> list[Stamp]:
    return [] if chosen.timestamps is None else read(chosen.timestamps)


def _judge_stamps(report: Report, stamped: Sequence[Stamp], authority: Path) -> None:
    """What an authority says of when; that the log extends what it stamped is judged as of any older checkpoint."""
    trusted = certificates(authority) if stamped else []
    for stamp in stamped:
        try:
            ((size, moment),) = check([stamp], trusted)
            report.stamped.append((size, moment.isoformat().replace("+00:00", "Z")))
        except ValueError as error:
            report.add("timestamp", None, str(error))
    report.stamped.sort()


def _judge_receipt(value: Any, receipt: Mapping[str, Any], chosen: argparse.Namespace, witnesses: Witnesses) -> int:
    """A receipt, or the answer that it came with: then its numbers too."""
    if chosen.key is None:
        print("a receipt is judged under the log's key: name it with --key", file=sys.stderr)
        return 2
    problems = verify_receipt(receipt, chosen.key, witnesses)
    verdict, proven = "NOT SOUND", False
    if not problems and is_answer(value):
        why = verify_numbers(value, receipt["record"])
        proven = why is None
        if why is not None and not (why.code == UNPROVEN and chosen.allow_unproven):
            problems, verdict = [why.words], "NOT PROVEN" if why.code == UNPROVEN else verdict
    if chosen.json:
        told = {"ok": not problems, "index": receipt.get("index"), "numbers": proven, "problems": problems}
        print(json.dumps(told | ({"not_covered": not_covered(value)} if proven else {}), indent=2))
    elif problems:
        print("\n".join(f"{verdict}: {words}" for words in problems))
    else:
        record = receipt["record"]
        print(
            f"sound: record {receipt['index']} of {record['ledger']} is in the log ({record['kind']}, {record['time']})"
            f"{_of_numbers(proven) if value is not receipt else ''}{_of_others(value) if proven else ''}"
        )
    return 1 if problems else 0


def _judge_handed_on(value: Any, key: str | None, witnesses: Witnesses, *, as_json: bool) -> int:
    """An auditor's evidence of an answer, or report of a period."""
    if key is None:
        print("it is judged under the log's key: name it with --key", file=sys.stderr)
        return 2
    problems = (verify_bundle if is_bundle(value) else verify_report)(value, key, witnesses)
    if as_json:
        print(json.dumps({"ok": not problems, "problems": problems}, indent=2))
    elif problems:
        print("\n".join(f"NOT SOUND: {words}" for words in problems))
    elif is_bundle(value):
        print(
            f"sound: {len(value['records'])} records and {len(value['opened'])} opened ones of {value['query_id']}"
            f"{_of_numbers('answer' in value)}"
        )
    else:
        print("sound: the log's own record names this report")
    return 1 if problems else 0


def _of_numbers(proven: bool) -> str:
    return ", and the numbers are those that it commits to" if proven else "; it proves no numbers"


def _of_others(answer: Mapping[str, Any]) -> str:
    """What a reader might take to be proven as well. The names are whoever's who made the file."""
    names = [json.dumps(name) for name in not_covered(answer)]
    return f"\nit does not cover {', '.join(names)}" if names else ""


def _value_in(path: Path) -> Any:
    """The one JSON value that the file is; None for an export. Raises NamedTwice."""
    with path.open("rb") as file:
        first = file.readline(JSON_BYTES_MAX)
        try:
            return value_of(first)
        except NamedTwice:
            raise
        except (ValueError, RecursionError):
            try:
                return value_of(first + file.read(JSON_BYTES_MAX))
            except NamedTwice:
                raise
            except (ValueError, RecursionError):
                return None


def _receipt_of(path: Path) -> Mapping[str, Any]:
    return _inner(value_of(path.read_bytes())) or {}


def _inner(value: Any) -> Mapping[str, Any] | None:
    inner = value.get("receipt", value) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) and {"index", "record", "proof"} <= set(inner) else None


def _usage(chosen: argparse.Namespace) -> str | None:
    if chosen.key is not None and not _is_key(chosen.key, LOG_KEY):
        return "--key is no verifier key; `audit checkpoint --json` prints the one of a log"
    if not all(_is_key(vkey, WITNESS_KEY) for vkey in chosen.witness):
        return "--witness is no verifier key of a witness; `bpk witness key` prints it"
    if (chosen.timestamps is None) != (chosen.authority is None):
        return "--timestamps are judged by the certificates of --authority: name both"
    if chosen.quorum is not None and not 0 <= chosen.quorum <= len(chosen.witness):
        return "--quorum is more than there are witnesses"
    return None


def _is_key(text: str, kind: int) -> bool:
    try:
        return parse_key(text).kind == kind
    except (ValueError, UnicodeError):
        return False
