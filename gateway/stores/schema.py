"""The numbered schema of the gateway's store, in words that every adapter can write down in its own SQL.

A released number never changes; a change is a new number. The rules that must hold whatever the code above does stand
here as constraints and guards: charges only grow and never beyond the cap in force, records and charges are never
changed or deleted, a finished query never runs again.

Types are INTEGER (64 bits), TEXT and BLOB; conditions are of the SQL that SQLite and PostgreSQL share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Table:
    """`columns` are everything between the brackets. `by_key`: rows are found by their primary key alone."""

    name: str
    columns: str
    by_key: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """Written alike everywhere."""

    sql: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a later schema adds."""

    table: str
    column: str


@dataclass(frozen=True, slots=True)
class Guard:
    """Refuses a row before it is written, with the words `says`, where `when` (over OLD and NEW) holds."""

    name: str
    table: str
    event: Literal["INSERT", "UPDATE", "DELETE"]
    says: str
    when: str | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """What a later schema writes into tables. Written alike everywhere."""

    sql: str


@dataclass(frozen=True, slots=True)
class NoGuard:
    """Takes a guard on updates away, for another one in its place."""

    name: str
    table: str


Step = Table | Index | Column | Guard | NoGuard | Rows

_LEDGER: Final[tuple[Step, ...]] = (
    Table(
        "scope",
        """
        id TEXT PRIMARY KEY,
        dataset TEXT NOT NULL,
        operator TEXT,
        accountant TEXT NOT NULL CHECK (accountant IN ('zcdp', 'pure')),
        cap_rho INTEGER NOT NULL CHECK (cap_rho >= 0),
        cap_epsilon INTEGER NOT NULL CHECK (cap_epsilon >= 0),
        cap_delta INTEGER NOT NULL CHECK (cap_delta >= 0),
        charged_rho INTEGER NOT NULL DEFAULT 0 CHECK (charged_rho >= 0),
        charged_epsilon INTEGER NOT NULL DEFAULT 0 CHECK (charged_epsilon >= 0),
        charged_delta INTEGER NOT NULL DEFAULT 0 CHECK (charged_delta >= 0)
        """,
    ),
    Table(
        "query",
        """
        place INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        operator TEXT NOT NULL,
        key TEXT,
        request_hash TEXT NOT NULL,
        dataset TEXT NOT NULL,
        mode TEXT NOT NULL,
        policy_digest TEXT NOT NULL,
        snapshot TEXT NOT NULL,
        question TEXT NOT NULL,
        created INTEGER NOT NULL,
        rho INTEGER NOT NULL CHECK (rho >= 0),
        epsilon INTEGER NOT NULL CHECK (epsilon >= 0),
        delta INTEGER NOT NULL CHECK (delta >= 0),
        state TEXT NOT NULL CHECK (state IN ('running', 'answered', 'failed', 'cancelled')),
        reused INTEGER NOT NULL CHECK (reused IN (0, 1)),
        release TEXT,
        release_hash TEXT,
        record INTEGER NOT NULL,
        UNIQUE (operator, key),
        CHECK ((state = 'answered') = (release IS NOT NULL)),
        CHECK ((release IS NULL) = (release_hash IS NULL))
        """,
    ),
    Index("CREATE INDEX query_of_operator ON query (operator, place)"),
    Index("CREATE INDEX query_running ON query (state) WHERE state = 'running'"),
    Table(
        "charge",
        """
        query TEXT NOT NULL REFERENCES query (id),
        scope TEXT NOT NULL REFERENCES scope (id),
        rho INTEGER NOT NULL CHECK (rho >= 0),
        epsilon INTEGER NOT NULL CHECK (epsilon >= 0),
        delta INTEGER NOT NULL CHECK (delta >= 0),
        PRIMARY KEY (query, scope),
        CHECK (rho > 0 OR epsilon > 0)
        """,
        by_key=True,
    ),
    Guard(
        "scope_starts_empty",
        "scope",
        "INSERT",
        "a scope starts uncharged",
        "NEW.charged_rho <> 0 OR NEW.charged_epsilon <> 0 OR NEW.charged_delta <> 0",
    ),
    Guard(
        "scope_only_grows",
        "scope",
        "UPDATE",
        "charges never fall",
        "NEW.charged_rho < OLD.charged_rho OR NEW.charged_epsilon < OLD.charged_epsilon"
        " OR NEW.charged_delta < OLD.charged_delta OR NEW.id <> OLD.id OR NEW.accountant <> OLD.accountant"
        " OR NEW.dataset <> OLD.dataset OR coalesce(NEW.operator, '') <> coalesce(OLD.operator, '')",
    ),
    Guard(
        "scope_within_cap",
        "scope",
        "UPDATE",
        "the cap",
        "(NEW.charged_rho > OLD.charged_rho OR NEW.charged_epsilon > OLD.charged_epsilon"
        " OR NEW.charged_delta > OLD.charged_delta)"
        " AND (NEW.charged_delta > NEW.cap_delta"
        " OR (NEW.accountant = 'zcdp' AND (NEW.charged_rho > NEW.cap_rho OR NEW.charged_epsilon > 0))"
        " OR (NEW.accountant = 'pure' AND (NEW.charged_epsilon > NEW.cap_epsilon OR NEW.charged_rho > 0)))",
    ),
    Guard(
        "query_starts",
        "query",
        "INSERT",
        "a query starts running, or answered by a stored release",
        "NOT (NEW.state = 'running' AND NEW.reused = 0 OR NEW.state = 'answered' AND NEW.reused = 1)",
    ),
    Guard(
        "query_ends_once",
        "query",
        "UPDATE",
        "a query ends once",
        "OLD.state <> 'running' OR NEW.state = 'running' OR NEW.id <> OLD.id OR NEW.operator <> OLD.operator"
        " OR coalesce(NEW.key, '') <> coalesce(OLD.key, '') OR NEW.request_hash <> OLD.request_hash"
        " OR NEW.rho <> OLD.rho OR NEW.epsilon <> OLD.epsilon OR NEW.delta <> OLD.delta OR NEW.reused <> OLD.reused"
        " OR NEW.dataset <> OLD.dataset OR NEW.question <> OLD.question OR NEW.created <> OLD.created",
    ),
)

_LOG: Final[tuple[Step, ...]] = (
    Table(
        "record",
        """
        seq INTEGER PRIMARY KEY CHECK (seq >= 0),
        time TEXT NOT NULL,
        kind TEXT NOT NULL,
        actor TEXT,
        query TEXT,
        dataset TEXT,
        decision TEXT,
        code TEXT,
        body BLOB NOT NULL
        """,
    ),
    Index("CREATE INDEX record_kind ON record (kind, seq)"),
    Index("CREATE INDEX record_actor ON record (actor, seq)"),
    Index("CREATE INDEX record_query ON record (query, seq) WHERE query IS NOT NULL"),
    Index(
        "CREATE UNIQUE INDEX record_one_decision ON record (query)"
        " WHERE kind = 'decision' AND decision IN ('run', 'reused', 'refused')"
    ),
    Index("CREATE UNIQUE INDEX record_one_charge ON record (query) WHERE kind = 'charge'"),
    Index("CREATE UNIQUE INDEX record_one_outcome ON record (query) WHERE kind IN ('release', 'failure')"),
    Table(
        "node",
        """
        level INTEGER NOT NULL CHECK (level BETWEEN 0 AND 62),
        place INTEGER NOT NULL CHECK (place >= 0),
        hash BLOB NOT NULL CHECK (length(hash) = 32),
        PRIMARY KEY (level, place)
        """,
        by_key=True,
    ),
    Table(
        "secret",
        """
        seq INTEGER NOT NULL REFERENCES record (seq),
        name TEXT NOT NULL,
        salt BLOB NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (seq, name)
        """,
        by_key=True,
    ),
)


def _stays(table: str, event: Literal["UPDATE", "DELETE"]) -> Guard:
    return Guard(f"{table}_no_{event.lower()}", table, event, f"{table} rows stay")


_GUARDS: Final[tuple[Step, ...]] = (
    *(_stays(table, "DELETE") for table in ("scope", "query", "charge", "record", "node")),
    *(_stays(table, "UPDATE") for table in ("charge", "record", "node", "secret")),
)

_CELLS: Final[tuple[Step, ...]] = (
    Table(
        "cells",
        """
        query TEXT PRIMARY KEY REFERENCES query (id),
        operator TEXT NOT NULL,
        dataset TEXT NOT NULL,
        released INTEGER NOT NULL CHECK (released >= 0),
        withheld INTEGER NOT NULL CHECK (withheld >= 0)
        """,
        by_key=True,
    ),
    Index("CREATE INDEX cells_of_operator ON cells (operator, dataset)"),
    _stays("cells", "DELETE"),
    _stays("cells", "UPDATE"),
)

_SEATS: Final[tuple[Step, ...]] = (
    Table(
        "seat",
        """
        id TEXT PRIMARY KEY,
        beat INTEGER NOT NULL CHECK (beat >= 0),
        lost INTEGER NOT NULL CHECK (lost IN (0, 1))
        """,
        by_key=True,
    ),
    Guard("seat_is_lost_for_good", "seat", "UPDATE", "a seat is lost for good", "OLD.lost = 1 OR NEW.beat < OLD.beat"),
    _stays("seat", "DELETE"),
    Rows("INSERT INTO seat (id, beat, lost) VALUES ('none', 0, 0)"),  # of what ran before there were seats
    Column("query", "seat TEXT NOT NULL DEFAULT 'none'"),
    Column("query", "ticket TEXT"),
    Index("CREATE INDEX query_of_seat ON query (seat) WHERE state = 'running'"),
    Guard(
        "query_is_of_one_seat",
        "query",
        "UPDATE",
        "a query stays with its seat",
        "NEW.seat <> OLD.seat OR coalesce(NEW.ticket, '') <> coalesce(OLD.ticket, '')",
    ),
)

_DECLARED: Final[tuple[Step, ...]] = (
    # what the log said last of each policy and licence; where it is lost, it is said again
    Table("declared", "name TEXT PRIMARY KEY, said TEXT NOT NULL", by_key=True),
)

_REVOKED: Final[tuple[Step, ...]] = (
    Table(
        "revoked",
        """
        kind TEXT NOT NULL CHECK (kind IN ('token', 'subject')),
        name TEXT NOT NULL,
        until INTEGER NOT NULL CHECK (until >= 0),
        PRIMARY KEY (kind, name)
        """,
        by_key=True,
    ),
    _stays("revoked", "DELETE"),
)

_COSIGNED: Final[tuple[Step, ...]] = (
    # the newest checkpoint of each day that witnesses have cosigned
    Table("cosigned", "day TEXT PRIMARY KEY, size INTEGER NOT NULL CHECK (size > 0), note TEXT NOT NULL", by_key=True),
    Index("CREATE INDEX cosigned_size ON cosigned (size)"),
)

_SAME: Final = " AND ".join(
    [f"coalesce(NEW.{name}, '') = coalesce(OLD.{name}, '')" for name in ("key", "release", "release_hash")]
    + [f"NEW.{name} = OLD.{name}" for name in ("id", "operator", "dataset", "mode", "policy_digest", "snapshot")]
    + [f"NEW.{name} = OLD.{name}" for name in ("state", "rho", "epsilon", "delta", "reused", "record", "created")]
)
_ERASED: Final[tuple[Step, ...]] = (
    NoGuard("query_ends_once", "query"),
    Guard(
        "query_ends_once_or_is_erased",
        "query",
        "UPDATE",
        "a query ends once",
        f"NOT (OLD.state <> 'running' AND NEW.question = '' AND NEW.request_hash = '' AND {_SAME}) AND ("
        "OLD.state <> 'running' OR NEW.state = 'running' OR NEW.id <> OLD.id OR NEW.operator <> OLD.operator"
        " OR coalesce(NEW.key, '') <> coalesce(OLD.key, '') OR NEW.request_hash <> OLD.request_hash"
        " OR NEW.rho <> OLD.rho OR NEW.epsilon <> OLD.epsilon OR NEW.delta <> OLD.delta OR NEW.reused <> OLD.reused"
        " OR NEW.dataset <> OLD.dataset OR NEW.question <> OLD.question OR NEW.created <> OLD.created)",
    ),
)

_HANDOVER: Final[tuple[Step, ...]] = (
    # the checkpoints under which the log changed its key, signed by both
    Table("handover", "size INTEGER PRIMARY KEY CHECK (size > 0), note TEXT NOT NULL"),
    Index("CREATE INDEX record_log_key ON record (seq) WHERE code = 'log_key'"),
    _stays("handover", "DELETE"),
    _stays("handover", "UPDATE"),
)

_STAMPED: Final[tuple[Step, ...]] = (
    # the newest checkpoint of each day that was stamped with a time
    Table(
        "stamped",
        "day TEXT PRIMARY KEY, size INTEGER NOT NULL CHECK (size > 0), note TEXT NOT NULL, token BLOB NOT NULL",
        by_key=True,
    ),
)

SCHEMAS: Final[tuple[tuple[Step, ...], ...]] = (
    (*_LEDGER, *_LOG, *_GUARDS),
    _CELLS,
    _SEATS,
    _DECLARED,
    _REVOKED,
    _COSIGNED,
    _ERASED,
    _HANDOVER,
    _STAMPED,
)
"""SCHEMAS[n] leads from schema n to schema n + 1."""
