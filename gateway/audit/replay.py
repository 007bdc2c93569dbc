"""What a sound log may say, record by record: the budget is added up again, and every query takes its legal way.

Part of the offline verifier: standard library only, nothing of the writer. The rules are those of
docs/reference/audit-format.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

FIELDS: Final = {
    "v": int, "ledger": str, "seq": int, "time": str, "kind": str, "actor": str, "query_id": str, "dataset": str,
    "policy_digest": str, "snapshot": str, "decision": str, "code": str, "charges": list, "commitments": dict,
}  # fmt: skip
DEGRADED: Final = "degraded"
_ALWAYS: Final = ("v", "ledger", "seq", "time", "kind")
_QUERY: Final = ("actor", "query_id", "dataset", "policy_digest", "snapshot")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_NAME: Final = re.compile(r"[a-z][a-z_]{0,31}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_AMOUNT: Final = re.compile(r"(0|[1-9]\d{0,18})(?:\.(\d{0,23}[1-9]))?", re.ASCII)
_CELLS: Final = re.compile(r"cells_(0|[1-9]\d{0,11})_(0|[1-9]\d{0,11})", re.ASCII)
_PLACES: Final = {"rho": 12, "epsilon": 12, "delta": 24}

# kind -> (fields that must be there, fields that may be there); all others are null
_SHAPES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "genesis": (("commitments",), ()),
    "run": (_QUERY, ("commitments",)),
    "reused": ((*_QUERY, "commitments"), ("code",)),
    "repeated": (_QUERY, ()),
    "refused": (("actor", "query_id", "code"), ("dataset", "policy_digest", "snapshot", "commitments")),
    "charge": ((*_QUERY, "charges"), ()),
    "release": ((*_QUERY, "commitments"), ("code",)),
    "failure": ((*_QUERY, "code"), ()),
    "cap": (("dataset", "policy_digest", "code", "charges"), ()),
    "admin": (("code",), ("actor", "dataset", "policy_digest", "commitments")),
    "read": (("code",), ("actor", "dataset", "commitments")),
}


class Broken(Exception):
    """A rule that a record breaks: code and words."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


@dataclass(slots=True)
class ScopeSum:
    """A scope, added up. Amounts in 1e-12, delta in 1e-24."""

    accountant: str
    cap: dict[str, int]
    spent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_PLACES, 0))
    charges: int = 0
    cap_changes: int = 0

    @property
    def main(self) -> str:
        return "rho" if self.accountant == "zcdp" else "epsilon"


@dataclass(slots=True)
class _Query:
    about: tuple[Any, ...]
    way: str
    """run, reused or refused."""
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
        waiting, self._uncharged = self._uncharged, None
        _check_fields(record)
        self._check_place(seq, record)
        shape = _shape(record)
        _check_shape(record, shape)
        self.counts[record["kind"]] = self.counts.get(record["kind"], 0) + 1
        for layer in record.get(DEGRADED, ()):
            self.degraded[layer] = self.degraded.get(layer, 0) + 1
        getattr(self, f"_{shape}")(record)
        if waiting is not None and (shape != "charge" or record["query_id"] != waiting):
            raise Broken("charge_missing", "the record before it decided to run a query, and this is not its charge")

    def _check_place(self, seq: int, record: dict[str, Any]) -> None:
        if record["v"] != 1:
            raise Broken("version", "a format of another version")
        if record["seq"] != seq:
            raise Broken("sequence", f"says it is record {record['seq']}")
        if self.ledger is None:
            self.ledger = record["ledger"]
        if record["ledger"] != self.ledger:
            raise Broken("ledger", "belongs to another log")
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
        lines = [_amounts(line) for line in record["charges"]]
        if not lines:
            self.without_budget += 1
            return
        query.paid = True
        names = [line["scope"] for line in record["charges"]]
        dataset = record["dataset"]
        if names != [f"dataset:{dataset}", f"operator:{record['actor']}/{dataset}"] or lines[0] != lines[1]:
            raise Broken("charge_scopes", "does not charge the dataset and the operator alike")
        passed = [name for name, line in zip(names, lines, strict=True) if not self._book(name, line)]
        if passed:
            raise Broken("cap_passed", f"leads {' and '.join(passed)} beyond the cap in force")

    def _release(self, record: dict[str, Any]) -> None:
        self._end(record)
        self._releases.add(_release(record))
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
        limit, name, dataset = _amounts(line), line["scope"], record["dataset"]
        if name != f"dataset:{dataset}" and not (name.startswith("operator:") and name.endswith(f"/{dataset}")):
            raise Broken("cap", "sets the cap of a scope of another dataset")
        known = self.scopes.get(name)
        if known is None:
            self.scopes[name] = ScopeSum(accountant, limit)
            return
        if known.accountant != accountant:
            raise Broken("accountant", f"{name} changes what it adds up")
        known.cap = limit
        known.cap_changes += 1

    def _admin(self, record: dict[str, Any]) -> None:
        """Anything the owner did that moves no budget."""

    def _read(self, record: dict[str, Any]) -> None:
        """Somebody read the log."""

    def _book(self, name: str, amounts: dict[str, int]) -> bool:
        """Adds the charge; whether the scope is still within its cap."""
        scope = self.scopes.get(name)
        if scope is None:
            raise Broken("cap_unknown", f"charges {name}, which has no cap yet")
        if amounts[scope.main] == 0 or (scope.main == "epsilon" and amounts["rho"]):
            raise Broken("charge_amount", f"charges {name} nothing, or in another currency")
        for unit in (scope.main, "delta"):
            scope.spent[unit] += amounts[unit]
        scope.charges += 1
        return all(scope.spent[unit] <= scope.cap[unit] for unit in (scope.main, "delta"))

    def _open(self, record: dict[str, Any], way: str) -> None:
        if record["query_id"] in self._queries:
            raise Broken("decision_twice", "decides a query that was decided before")
        self._queries[record["query_id"]] = _Query(_about(record), way)

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
    return tuple(record[name] for name in _QUERY)


def _release(record: dict[str, Any]) -> str:
    value = record["commitments"].get("release")
    if value is None:
        raise Broken("release_missing", "does not name what was released")
    return str(value)


def _check_fields(record: Any) -> None:
    if not isinstance(record, dict) or set(record) - {DEGRADED} != set(FIELDS):
        raise Broken("fields", "has other fields than a record")
    for name, kind in FIELDS.items():
        value = record[name]
        if type(value) is not kind and not (value is None and name not in _ALWAYS):
            raise Broken("fields", f"`{name}` is of another type")
    if not _TIME.fullmatch(record["time"]):
        raise Broken("fields", "`time` is not UTC with milliseconds")
    for name, value in (record["commitments"] or {}).items():
        if not _NAME.fullmatch(name) or type(value) is not str or not _HASH.fullmatch(value):
            raise Broken("fields", "`commitments` holds what is no commitment")
    _check_degraded(record.get(DEGRADED, ["none"]))


def _check_degraded(layers: Any) -> None:
    """Where it stands it says something, and in one way only."""
    named = type(layers) is list and all(type(layer) is str and _NAME.fullmatch(layer) for layer in layers)
    if not named or not layers or layers != sorted(set(layers)):
        raise Broken("fields", "`degraded` is no list of layers")


def _shape(record: dict[str, Any]) -> str:
    kind, decision, code = record["kind"], record["decision"], record["code"]
    if kind == "decision":
        if decision in ("run", "reused", "repeated", "refused"):
            return str(decision)
    elif kind == "admin" and code in ("cap_zcdp", "cap_pure"):
        return "cap"
    elif kind in ("genesis", "charge", "release", "failure", "admin", "read"):
        return str(kind)
    raise Broken("kind", "is of a kind that there is not")


def _check_shape(record: dict[str, Any], shape: str) -> None:
    needed, allowed = _SHAPES[shape]
    extra = ("decision",) if record["kind"] == "decision" else ()
    for name in FIELDS:
        if name in _ALWAYS or name in extra or name in allowed:
            continue
        if (record[name] is None) == (name in needed):
            raise Broken("fields", f"`{name}` is {'missing' if name in needed else 'not for this kind'}")


def _amounts(line: Any) -> dict[str, int]:
    if not isinstance(line, dict) or set(line) != {"scope", *_PLACES} or not all(type(v) is str for v in line.values()):
        raise Broken("fields", "`charges` holds what is no charge")
    return {unit: _amount(line[unit], places) for unit, places in _PLACES.items()}


def _amount(text: str, places: int) -> int:
    match = _AMOUNT.fullmatch(text)
    if match is None or len(match[2] or "") > places:
        raise Broken("fields", "an amount is not in its shortest exact form")
    return int(match[1] + (match[2] or "").ljust(places, "0"))


def amount_text(amount: int, unit: str) -> str:
    """The shortest exact decimal."""
    places = _PLACES[unit]
    whole, part = divmod(amount, 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".")
