"""The report of a period: what was asked, refused, spent, read and changed, and what looks like probing.

Its hash is put on record, so that the log's own signature stands under it: whoever holds the report and its receipt can
check both offline.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from typing import Any, Final

from gateway.audit.log import Log
from gateway.audit.record import canonical
from gateway.audit.search import PAGE_MAX, Filter, find
from gateway.budget.account import split_block
from gateway.oversight.probing import Question, findings
from gateway.store import Reading, Store

FORMAT: Final = 1
HASH: Final = "report"
"""The name of the report's commitment in its record: the digest of its canonical form, without a salt."""
QUESTIONS_MAX: Final = 100_000
"""So many questions are looked through for probing; what is beyond is counted only."""


def signed(log: Log, store: Store, actor: str | None, since: str | None, until: str | None) -> dict[str, Any]:
    """`{report, receipt}`; making it is on record, as reading is. Raises Refusal, Fault."""
    with store.reading() as view:
        report = _report(log, view, since, until)
    hashed = log.digest(canonical(report)).hex()
    with store.transaction() as tx:
        index = log.append(tx, kind="read", actor=actor, code="report", hashes={HASH: hashed})
    return {"report": report, "receipt": log.receipt(index)}


def _report(log: Log, view: Reading, since: str | None, until: str | None) -> dict[str, Any]:
    period = Filter(since=since, until=until)
    kinds, verdicts, refusals = Counter[str](), Counter[str](), Counter[str]()
    operators: dict[str, dict[str, Any]] = defaultdict(_nothing)
    readers: dict[str, Counter[str]] = defaultdict(Counter)
    acts: list[dict[str, Any]] = []
    questions: list[Question] = []
    first = last = None
    for record in _records(view, period):
        first, last = record["seq"] if first is None else first, record["seq"]
        kinds[record["kind"]] += 1
        who = record["actor"] or ""
        if record["kind"] == "decision":
            verdicts[record["decision"]] += 1
            operators[who]["decisions"][record["decision"]] += 1
            if record["decision"] == "refused":
                refusals[record["code"]] += 1
                operators[who]["refusals"][record["code"]] += 1
            if len(questions) < QUESTIONS_MAX and record["decision"] != "repeated":
                questions.append(_question(log, view, record))
        elif record["kind"] == "charge" and record["charges"]:
            told = operators[who]
            _spend(told["spent"][record["dataset"]], record["charges"][0])
            for line in record["charges"]:
                scope, block = split_block(line["scope"])
                if block is not None and scope == f"dataset:{record['dataset']}":
                    _spend(told["spent_of_blocks"][f"{record['dataset']}#{block}"], line)
        elif record["kind"] == "failure":
            operators[who]["failures"] += 1
        elif record["kind"] == "admin":
            acts.append({name: record[name] for name in ("seq", "time", "code", "dataset", "actor")})
        elif record["kind"] == "read":
            readers[who][record["code"]] += 1
    return {
        "format": FORMAT,
        "ledger": log.origin,
        "period": {"since": since, "until": until, "first": first, "last": last},
        "kinds": dict(kinds),
        "verdicts": dict(verdicts),
        "refusals": dict(refusals),
        "operators": {who: _operator(told) for who, told in sorted(operators.items())},
        "readers": {who: dict(codes) for who, codes in sorted(readers.items())},
        "acts": acts,
        "probing": [{**asdict(each), "records": list(each.records)} for each in findings(questions)],
    }


def _records(view: Reading, period: Filter) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        page = find(view, period, limit=PAGE_MAX, cursor=cursor)
        yield from page.records
        cursor = page.cursor
        if cursor is None:
            return


def _question(log: Log, view: Reading, record: dict[str, Any]) -> Question:
    texts = {name: text for name, (_, text) in log.opened(view, record["seq"]).items()}
    about = (record["seq"], record["time"], record["actor"], record["decision"], record["code"])
    return Question(*about, texts.get("sql"), texts.get("parameters"))


def _nothing() -> dict[str, Any]:
    spent = {"spent": defaultdict[str, Any](dict), "spent_of_blocks": defaultdict[str, Any](dict)}
    return {"decisions": Counter(), "refusals": Counter(), "failures": 0, **spent}


def _spend(spent: dict[str, Fraction], line: dict[str, str]) -> None:
    for unit in ("rho", "epsilon", "delta"):
        spent[unit] = spent.get(unit, Fraction(0)) + Fraction(line[unit])


def _operator(told: dict[str, Any]) -> dict[str, Any]:
    """Amounts are sums of what each question cost; epsilons do not add up so under zcdp, where rho does."""
    rest = {**told, "decisions": dict(told["decisions"]), "refusals": dict(told["refusals"])}
    blocks = _amounts(rest.pop("spent_of_blocks"))
    return {**rest, "spent": _amounts(told["spent"]), **({"spent_of_blocks": blocks} if blocks else {})}


def _amounts(spent: dict[str, dict[str, Fraction]]) -> dict[str, dict[str, str]]:
    return {name: {unit: _text(amount) for unit, amount in each.items()} for name, each in sorted(spent.items())}


def _text(amount: Fraction) -> str:
    whole, part = divmod(int(amount * 10**24), 10**24)
    return f"{whole}.{part:024d}".rstrip("0").rstrip(".")


def as_text(found: dict[str, Any]) -> str:
    """For people."""
    report = found["report"]
    period = report["period"]
    lines = [f"{report['ledger']}: records {period['first']} to {period['last']}"]
    lines.append("  " + ", ".join(f"{count} {name}" for name, count in sorted(report["verdicts"].items())))
    for who, told in report["operators"].items():
        lines.append(f"  {who}: {json.dumps(told['decisions'])}")
        spent = {**told["spent"], **told.get("spent_of_blocks", {})}
        lines += [f"    spent of {name}: rho {each['rho']}" for name, each in sorted(spent.items())]
        lines += [f"    refused {count} times: {code}" for code, count in sorted(told["refusals"].items())]
    lines += [f"  {who or 'the command line'} read: {json.dumps(codes)}" for who, codes in report["readers"].items()]
    lines += [f"  look at {each['actor']}: {each['words']} [{each['sign']}]" for each in report["probing"]]
    return "\n".join(lines)
