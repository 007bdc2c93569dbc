"""Which records an auditor wants to see, and how they are found: by whom, what, when, why, at which price."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from gateway.audit.record import canonical
from gateway.errors import Refusal
from gateway.store import Reading
from policies.privacy_loss import EPSILON_UNIT, units_up

PAGE_MAX: Final = 1000
COLUMNS: Final = (
    "seq", "time", "kind", "decision", "code", "actor", "dataset", "mode", "licence", "query_id", "rho", "epsilon",
    "delta",
)  # fmt: skip
_OF_TEXT: Final = "query IN (SELECT d.query FROM record d JOIN secret s ON s.seq = d.seq WHERE s.name = "


@dataclass(frozen=True, slots=True)
class Filter:
    """None is any. Times as in records, `since` included, `until` not.

    `purpose`, `words`, `mode` and `cost_min` choose all records of the queries that they fit; the first two search
    texts that were not erased. `words` are all in the SQL, in any order and any case.
    """

    actor: str | None = None
    dataset: str | None = None
    kind: str | None = None
    decision: str | None = None
    code: str | None = None
    query_id: str | None = None
    since: str | None = None
    until: str | None = None
    purpose: str | None = None
    words: str | None = None
    mode: str | None = None
    cost_min: str | None = None
    """Epsilon."""

    def conditions(self) -> list[tuple[str, str | int]]:
        """SQL and its one parameter each. Raises Refusal(parameter_invalid)."""
        found: list[tuple[str, str | int | None]] = [
            ("actor = ?", self.actor),
            ("dataset = ?", self.dataset),
            ("kind = ?", self.kind),
            ("decision = ?", self.decision),
            ("code = ?", self.code),
            ("query = ?", self.query_id),
            ("time >= ?", self.since),
            ("time < ?", self.until),
            (f"{_OF_TEXT}'purpose' AND s.text = ?)", self.purpose),
            ("query IN (SELECT id FROM query WHERE mode = ?)", self.mode),
            ("query IN (SELECT id FROM query WHERE epsilon >= ?)", _cost(self.cost_min)),
        ]
        for word in (self.words or "").split():
            escaped = word.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
            found.append((f"{_OF_TEXT}'sql' AND lower(s.text) LIKE ? ESCAPE '!')", f"%{escaped}%"))
        return [(sql, value) for sql, value in found if value is not None]


@dataclass(frozen=True, slots=True)
class Page:
    """Records in order, oldest first, and the cursor of the next page, None at the end."""

    records: tuple[dict[str, Any], ...]
    cursor: str | None


def find(view: Reading, wanted: Filter, *, limit: int = 100, cursor: str | None = None) -> Page:
    """A page of records. Raises Refusal(parameter_invalid) for a cursor, a limit or a cost that is none."""
    if not 1 <= limit <= PAGE_MAX:
        raise Refusal("parameter_invalid", f"`limit` must be from 1 to {PAGE_MAX}")
    chosen = [*wanted.conditions(), ("seq >= ?", _start(cursor))]
    where = " AND ".join(sql for sql, _ in chosen)
    sql = f"SELECT seq, body FROM record WHERE {where} ORDER BY seq LIMIT ?"  # noqa: S608  # our own texts
    rows = view.all(sql, (*(value for _, value in chosen), limit + 1))
    following = str(rows[limit][0]) if len(rows) > limit else None
    return Page(tuple(json.loads(content) for _, content in rows[:limit]), following)


def as_ndjson(records: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{canonical(record).decode()}\n" for record in records)


def as_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """A line for each record, with what a table can hold of it; amounts are those of one scope."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        amounts = (record["charges"] or [{}])[0]
        writer.writerow([_cell({**amounts, **record}.get(name)) for name in COLUMNS])
    return out.getvalue()


def _cell(value: Any) -> str:
    """A spreadsheet would take a text that begins so for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _cost(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        cost = Decimal(text)
        if cost.is_finite() and 0 <= cost <= 1000:
            return units_up(cost, EPSILON_UNIT)
    except InvalidOperation:
        pass
    raise Refusal("parameter_invalid", "`cost_min` must be an epsilon, such as 0.5")


def _start(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise Refusal("parameter_invalid", "`cursor` is not one of ours")
    return int(cursor)
