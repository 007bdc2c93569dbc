"""What a sound log may say, record by record: the budget is added up again, and every query takes its legal way.

Part of the offline verifier: standard library and `cryptography`, nothing of the writer. The rules are those of
docs/reference/audit-format.md.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.audit.broken import Broken
from gateway.audit.keys import Keys, first_key
from gateway.audit.note import key_hash
from gateway.audit.replay_blocks import Blocks, split_block
from gateway.audit.replay_caps import Caps
from gateway.audit.replay_rights import Rights
from gateway.audit.shapes import (
    DEGRADED,
    PLACES,
    QUERY,
    TERMS,
    amounts_of,
    check_fields,
    check_shape,
    shape_of,
)
from gateway.audit.suites import DIGESTS, suite_of
from gateway.audit.told import Commitments

_CELLS: Final = re.compile(r"cells_(0|[1-9]\d{0,11})_(0|[1-9]\d{0,11})", re.ASCII)


@dataclass(slots=True)
class ScopeSum:
    """A scope, added up. Amounts in 1e-12, delta in 1e-24."""

    accountant: str
    cap: dict[str, int]
    spent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    charges: int = 0
    cap_changes: int = 0
    past: list[tuple[int, int, int]] = field(default_factory=list)
    """Once there are approvers: the record of each charge, and what was spent by then, of the main amount and delta."""
    raises_decided: int = 0
    """Cap changes that approvers have signed."""
    raises_undecided: int = 0
    """Raises from before there were approvers."""

    @property
    def main(self) -> str:
        return "rho" if self.accountant == "zcdp" else "epsilon"

    def keep(self, seq: int) -> None:
        self.past.append((seq, self.spent[self.main], self.spent["delta"]))

    def spent_at(self, records: int) -> dict[str, int]:
        """When the log had so many records."""
        place = bisect_left(self.past, (records,))
        _, main, delta = self.past[place - 1] if place else (0, 0, 0)
        return {**dict.fromkeys(PLACES, 0), self.main: main, "delta": delta}


@dataclass(slots=True)
class _Query:
    about: tuple[Any, ...]
    way: str
    """run, reused or refused."""
    mode: str | None
    """None of version 1, which does not name it."""
    licence: str | None
    charged: bool = False
    paid: bool = False
    """Whether its charge is a privacy loss."""
    ended: bool = False


class Replay:
    """Feed it every record in order; `take` raises Broken at the first rule a record breaks, and goes on after it."""

    def __init__(self) -> None:
        self.scopes: dict[str, ScopeSum] = {}
        self.counts: dict[str, int] = {}
        self.ledger: str | None = None
        self.key_hash: str | None = None
        self.keys: Keys | None = None
        """Where the log names them: from its first change of key on."""
        self.suite: str | None = None
        """That of the key that the log has."""
        self.rights = Rights()
        self.caps = Caps()
        self.blocks = Blocks()
        self.answers = Commitments()
        self._version = 1
        self._seq = 0
        self.without_budget = 0
        self._queries: dict[str, _Query] = {}
        self._time = ""
        self._uncharged: str | None = None
        self._releases: set[str] = set()
        self.reused_from_elsewhere = 0
        self.cells: dict[str, tuple[int, int]] = {}
        """Operator and dataset -> numbers of exact answers, shown and withheld."""
        self.degraded: dict[str, int] = {}
        """Isolation layer -> records that were written while the data domain did without it."""

    @property
    def unsettled(self) -> int:
        """Queries that were charged and have no outcome yet."""
        return sum(1 for query in self._queries.values() if query.charged and not query.ended)

    def finish(self) -> None:
        """Raises Broken if the log stops between a decision and its charge, which no transaction leaves."""
        if self._uncharged is not None:
            raise Broken("charge_missing", "a query was decided to run and never charged")

    def take(self, seq: int, record: Any) -> None:
        self._seq = seq
        waiting, self._uncharged = self._uncharged, None
        check_fields(record)
        self._check_place(seq, record)
        shape = shape_of(record)
        check_shape(record, shape)
        self.counts[record["kind"]] = self.counts.get(record["kind"], 0) + 1
        for layer in record.get(DEGRADED, ()):
            self.degraded[layer] = self.degraded.get(layer, 0) + 1
        getattr(self, f"_{shape}")(record)
        if record["v"] > 1 and shape in ("run", "reused"):
            self.rights.check(record)
        if waiting is not None and (shape != "charge" or record["query_id"] != waiting):
            raise Broken("charge_missing", "the record before it decided to run a query, and this is not its charge")

    def _check_place(self, seq: int, record: dict[str, Any]) -> None:
        if record["v"] < self._version:
            raise Broken("version", "falls back to an older format")
        self._version = record["v"]
        if record["seq"] != seq:
            raise Broken("sequence", f"says it is record {record['seq']}")
        if self.ledger is None:
            self.ledger = record["ledger"]
        if record["ledger"] != self.ledger:
            raise Broken("ledger", "belongs to another log")
        suite = suite_of(record)
        self.suite = self.suite or suite
        if suite != self.suite or suite not in DIGESTS:
            raise Broken("suite", "names other algorithms than the log is written in, or unknown ones")
        if (seq == 0) != (record["kind"] == "genesis"):
            raise Broken("genesis", "the first record, and only the first, is the genesis record")
        earlier, self._time = self._time, record["time"]
        if record["time"] < earlier:
            raise Broken("time", "is earlier than the record before it")

    def _genesis(self, record: dict[str, Any]) -> None:
        self.key_hash = record["commitments"].get("key")

    def _run(self, record: dict[str, Any]) -> None:
        self._open(record, "run")
        self._uncharged = record["query_id"]

    def _reused(self, record: dict[str, Any]) -> None:
        self._open(record, "reused")
        if _release(record) not in self._releases:
            self.reused_from_elsewhere += 1
        self.answers.take(record)
        self._count(record)

    def _refused(self, record: dict[str, Any]) -> None:
        self._open(record, "refused")

    def _repeated(self, record: dict[str, Any]) -> None:
        query = self._find(record)
        if query.way == "refused":
            raise Broken("repeated", "repeats a query that was refused")

    def _charge(self, record: dict[str, Any]) -> None:
        query = self._find(record)
        if query.way != "run" or query.charged:
            raise Broken("charge_unexpected", "charges a query that was not decided to run, or was charged before")
        query.charged = True
        lines = [amounts_of(line) for line in record["charges"]]
        if query.mode is not None and (query.mode == "dp") != bool(lines):
            raise Broken("charge_mode", f"charges {'nothing' if not lines else 'a privacy loss'} in mode {query.mode}")
        if not lines:
            self.without_budget += 1
            return
        query.paid = True
        names = [line["scope"] for line in record["charges"]]
        dataset = record["dataset"]
        bases = self.blocks.check(dataset, names)
        both = [f"dataset:{dataset}", f"operator:{record['actor']}/{dataset}"]
        if bases[:2] != both or any(line != lines[0] for line in lines):
            raise Broken("charge_scopes", "does not charge the dataset and the operator alike")
        self.rights.check_purpose({**record, "licence": query.licence}, bases[2:], self.scopes)
        passed = [name for name, line in zip(names, lines, strict=True) if not self._book(name, line)]
        if passed:
            raise Broken("cap_passed", f"leads {' and '.join(passed)} beyond the cap in force")

    def _release(self, record: dict[str, Any]) -> None:
        self._end(record)
        self._releases.add(_release(record))
        self.answers.take(record)
        if record["code"] is not None and self._find(record).paid:
            raise Broken("cells", "counts cells of a query that was charged a privacy loss")
        self._count(record)

    def _count(self, record: dict[str, Any]) -> None:
        """What an exact answer shows to an operator for the first time."""
        if record["code"] is None:
            return
        match = _CELLS.fullmatch(record["code"])
        if match is None:
            raise Broken("cells", "counts no cells as records do")
        name = f"operator:{record['actor']}/{record['dataset']}"
        shown, withheld = self.cells.get(name, (0, 0))
        self.cells[name] = (shown + int(match[1]), withheld + int(match[2]))

    def _failure(self, record: dict[str, Any]) -> None:
        self._end(record)

    def _cap(self, record: dict[str, Any]) -> None:
        if len(record["charges"]) != 1:
            raise Broken("cap", "sets no cap, or several")
        line, accountant = record["charges"][0], record["code"].removeprefix("cap_")
        limit, name, dataset = amounts_of(line), line["scope"], record["dataset"]
        if not _is_scope_of(dataset, name):
            raise Broken("cap", "sets the cap of a scope of another dataset")
        if "#" in dataset:
            raise Broken("cap", "sets a cap of a block, which has that of its base")
        known = self.scopes.get(name)
        if known is None:
            if TERMS in record:
                raise Broken("cap_decision", "rests on a decision on a cap that was not in force")
            self.scopes[name] = ScopeSum(accountant, limit)
            return
        if known.accountant != accountant:
            raise Broken("accountant", f"{name} changes what it adds up")
        rises = any(limit[unit] > known.cap[unit] for unit in (known.main, "delta"))
        before, parts = known.cap, self._parts(name)
        for part in parts:
            part.cap = limit
        known.cap_changes += 1
        if self.caps.raised(record, before, lambda records: _most(parts, records), rises=rises):
            known.raises_decided += 1
        elif rises:
            known.raises_undecided += 1

    def _parts(self, name: str) -> list[ScopeSum]:
        """The scope and its blocks, which have its cap."""
        return [scope for each, scope in self.scopes.items() if split_block(each)[0] == name]

    def _approvers(self, record: dict[str, Any]) -> None:
        self.caps.name(record)
        for scope in self.scopes.values():
            scope.keep(record["seq"])

    def _policy(self, record: dict[str, Any]) -> None:
        self.rights.policy(record)

    def _licence(self, record: dict[str, Any]) -> None:
        self.rights.licence(record)

    def _licence_ended(self, record: dict[str, Any]) -> None:
        self.rights.end(record)

    def _log_key(self, record: dict[str, Any]) -> None:
        if self.keys is None:
            first = first_key(record)
            if key_hash(first) != self.key_hash:
                raise Broken("log_key", "hands over a key that the log was not begun with")
            self.keys = Keys.of(first)
        if self.keys.suite != self.suite:
            raise Broken("log_key", "hands over a key of other algorithms than the records")
        self.keys = self.keys.named(record)
        self.suite = self.keys.suite

    def _admin(self, record: dict[str, Any]) -> None:
        """Anything the owner did that moves no budget."""

    def _read(self, record: dict[str, Any]) -> None:
        """Somebody read the log."""

    def _book(self, name: str, amounts: dict[str, int]) -> bool:
        """Adds the charge; whether the scope is still within its cap: that of its base, where it is a block's."""
        base = self.scopes.get(split_block(name)[0])
        if base is None:
            raise Broken("cap_unknown", f"charges {name}, which has no cap yet")
        scope = self.scopes.setdefault(name, ScopeSum(base.accountant, base.cap))
        if amounts[scope.main] == 0 or (scope.main == "epsilon" and amounts["rho"]):
            raise Broken("charge_amount", f"charges {name} nothing, or in another currency")
        for unit in (scope.main, "delta"):
            scope.spent[unit] += amounts[unit]
        scope.charges += 1
        if self.caps.keys:
            scope.keep(self._seq)
        return all(scope.spent[unit] <= scope.cap[unit] for unit in (scope.main, "delta"))

    def _open(self, record: dict[str, Any], way: str) -> None:
        if record["query_id"] in self._queries:
            raise Broken("decision_twice", "decides a query that was decided before")
        self._queries[record["query_id"]] = _Query(_about(record), way, record.get("mode"), record.get("licence"))

    def _end(self, record: dict[str, Any]) -> None:
        query = self._find(record)
        if not query.charged:
            raise Broken("outcome_uncharged", "is the outcome of a query that was not charged")
        if query.ended:
            raise Broken("outcome_twice", "is the second outcome of its query")
        query.ended = True

    def _find(self, record: dict[str, Any]) -> _Query:
        query = self._queries.get(record["query_id"])
        if query is None:
            raise Broken("decision_missing", "speaks of a query that was not decided before")
        if query.about != _about(record):
            raise Broken("query_differs", "says other things of its query than the decision does")
        return query


def _about(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[name] for name in QUERY)


def _is_scope_of(dataset: str, name: str) -> bool:
    owners = r"(dataset:|operator:.*/|purpose:[^/]+/.*/)"
    return re.fullmatch(owners + re.escape(dataset), name, re.DOTALL) is not None


def _most(parts: list[ScopeSum], records: int) -> dict[str, int]:
    """What the fullest of them had spent when the log had so many records."""
    found = [part.spent_at(records) for part in parts]
    return {unit: max(each[unit] for each in found) for unit in PLACES}


def _release(record: dict[str, Any]) -> str:
    value = record["commitments"].get("release")
    if value is None:
        raise Broken("release_missing", "does not name what was released")
    return str(value)
