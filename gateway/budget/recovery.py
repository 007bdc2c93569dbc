"""At start: the log, added up again, must equal the tables; queries without an outcome have failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.budget import seats
from gateway.budget.account import split_block
from gateway.budget.amounts import amounts, charged
from gateway.budget.cells import CODE, Shown
from gateway.budget.ledger import Ledger
from gateway.budget.loss import Loss
from gateway.budget.seats import Watch
from gateway.errors import Unsound
from gateway.store import Reading, Store

_Amounts = tuple[int, int, int]


class Records(Protocol):
    """What recovery needs of the log."""

    def moves(self, view: Reading) -> Iterator[Mapping[str, Any]]:
        """The records that move budgets, in order, with the whole log checked on the way. Raises Unsound."""
        ...

    @property
    def closed(self) -> str | None: ...

    def close(self, why: str) -> None:
        """Takes no more records."""
        ...


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery did: datasets that are closed now (with the reason), and queries that failed."""

    frozen: Mapping[str, str]
    failed: tuple[str, ...]
    alone: bool = True
    """Whether no other gateway can serve from this store."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a beat did: whether this gateway had lost its seat, which others lost theirs, and what failed with them."""

    lost_own: bool
    silent: tuple[str, ...]
    failed: tuple[str, ...]


@dataclass(slots=True)
class _Fold:
    caps: dict[str, tuple[str, _Amounts]] = field(default_factory=dict)
    spent: dict[str, Loss] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    cells: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Query -> operator, dataset, and what it was shown."""
    wrong: dict[str, str] = field(default_factory=dict)
    """Dataset -> what differs first."""

    def differ(self, dataset: str, what: str) -> None:
        self.wrong.setdefault(dataset, what)

    def cap_of(self, scope: str) -> tuple[str, _Amounts]:
        """A block has the cap of its base, and none on record."""
        return self.caps.get(split_block(scope)[0], ("", (0, 0, 0)))


def recover(store: Store, ledger: Ledger, log: Records) -> Recovered:
    """Makes this process one that serves from the store, then settles what a crash left.

    A dataset whose tables differ from the log is frozen: it answers nothing until its custodian has put the missing
    part back. So are all, and nothing is settled, where the log itself is damaged or does not extend what was signed of
    it: then it is closed. What others left that may still live is settled by `keep_seat`, a lease later. Raises
    NotReady when the store may not be shared.
    """
    alone = store.serve()
    frozen = differences(store, log)
    if log.closed is not None:
        return Recovered({}, (), alone)
    for dataset, why in frozen.items():
        ledger.freeze(dataset, why)
    with store.transaction() as tx:
        others = (*seats.beats(tx, None),) if alone else ()
        lost = tuple(query_id for seat in (*others, *seats.orphaned(tx)) for query_id in ledger.unseat(tx, seat))
        ledger.sit(tx)
    return Recovered(frozen, lost, alone)


def keep_seat(store: Store, ledger: Ledger, watch: Watch, now: float) -> Kept:
    """One beat: holds this gateway's seat, and takes away those of others that were silent for a lease.

    A gateway that has lost its own seat takes another one. Raises what the store raises.
    """
    with store.transaction() as tx:
        lost_own = ledger.seat is None or not seats.beat(tx, ledger.seat)
        if lost_own:
            ledger.sit(tx)
        silent = watch.silent(seats.beats(tx, ledger.seat), now)
        failed = tuple(query_id for seat in (*silent, *seats.orphaned(tx)) for query_id in ledger.unseat(tx, seat))
    return Kept(lost_own, silent, failed)


def differences(store: Store, log: Records) -> dict[str, str]:
    """Datasets whose tables differ from the log, with what differs first. Closes the log where it is itself unsound."""
    try:
        with store.reading() as view:
            return _differences(view, log)
    except Unsound as unsound:
        log.close(str(unsound))
        return {}


def _differences(view: Reading, log: Records) -> dict[str, str]:
    fold = _Fold()
    for record in log.moves(view):
        if record["kind"] == "charge":
            _fold_charge(view, fold, record)
        elif record["code"].startswith(CODE):
            fold.cells[record["query_id"]] = (record["actor"], record["dataset"], record["code"])
        else:
            _fold_cap(fold, record)
    _compare_scopes(view, fold)
    _compare_queries(view, fold)
    _compare_cells(view, fold)
    return fold.wrong


def _fold_cap(fold: _Fold, record: Mapping[str, Any]) -> None:
    (line,) = record["charges"]
    accountant = record["code"].removeprefix("cap_")
    fold.caps[line["scope"]] = (accountant, amounts(line))
    fold.datasets[line["scope"]] = record["dataset"]


def _fold_charge(view: Reading, fold: _Fold, record: Mapping[str, Any]) -> None:
    expected = {}
    for line in record["charges"]:
        scope = line["scope"]
        fold.datasets.setdefault(scope, record["dataset"])
        each = charged(line, fold.cap_of(scope)[0])
        expected[scope] = (each.rho, each.epsilon, each.delta)
        fold.spent[scope] = fold.spent.get(scope, Loss()) + each
    rows = view.all("SELECT scope, rho, epsilon, delta FROM charge WHERE query = ?", (record["query_id"],))
    if {row[0]: tuple(row[1:]) for row in rows} != expected:
        fold.differ(record["dataset"], f"the charge of {record['query_id']} differs from its record")


def _compare_scopes(view: Reading, fold: _Fold) -> None:
    seen = set()
    for scope, dataset, accountant, *limits in view.all(
        "SELECT id, dataset, accountant, cap_rho, cap_epsilon, cap_delta,"
        " charged_rho, charged_epsilon, charged_delta FROM scope"
    ):
        seen.add(scope)
        if fold.cap_of(scope) != (accountant, tuple(limits[:3])):
            fold.differ(dataset, f"the cap of {scope} differs from the log")
        if fold.spent.get(scope, Loss()) != Loss(*limits[3:]):
            fold.differ(dataset, f"what {scope} has spent differs from the log")
    for scope in (fold.caps.keys() | fold.spent.keys()) - seen:
        fold.differ(fold.datasets[scope], f"{scope} is in the log and not in the ledger")


def _compare_queries(view: Reading, fold: _Fold) -> None:
    """Every charge has its record, and a query has ended exactly when its outcome is recorded."""
    odd = view.all(
        "SELECT q.dataset, q.id FROM query q"
        " LEFT JOIN record c ON c.query = q.id AND c.kind = 'charge'"
        " LEFT JOIN record o ON o.query = q.id AND o.kind IN ('release', 'failure')"
        " WHERE NOT CASE WHEN q.reused = 1 THEN c.seq IS NULL AND o.seq IS NULL ELSE c.seq IS NOT NULL"
        " AND coalesce(o.kind, 'none') = CASE q.state WHEN 'running' THEN 'none' WHEN 'answered' THEN 'release'"
        " ELSE 'failure' END END"
    )
    odd += view.all(
        "SELECT c.dataset, c.query FROM record c LEFT JOIN query q ON q.id = c.query"
        " WHERE c.kind = 'charge' AND q.id IS NULL"
    )
    for dataset, query_id in odd:
        fold.differ(dataset, f"the way of {query_id} differs from the log")
    unrecorded = view.all(
        "SELECT DISTINCT s.dataset FROM charge g JOIN scope s ON s.id = g.scope"
        " LEFT JOIN record c ON c.query = g.query AND c.kind = 'charge' WHERE c.seq IS NULL"
    )
    for (dataset,) in unrecorded:
        fold.differ(dataset, "a charge has no record")


def _compare_cells(view: Reading, fold: _Fold) -> None:
    rows = view.all("SELECT query, operator, dataset, released, withheld FROM cells")
    kept = {query: (operator, dataset, Shown(*numbers).code) for query, operator, dataset, *numbers in rows}
    for query in kept.keys() | fold.cells.keys():
        if kept.get(query) != fold.cells.get(query):
            dataset = (fold.cells.get(query) or kept[query])[1]
            fold.differ(dataset, f"the cells of {query} differ from the log")
