"""Questions that are SQL and plain Python at once: the text to ask, and the rows that each number is made of."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Final, Literal

from tests.disclosure.planted import HEADERS, Town
from tests.disclosure.world import Reply

Record = Mapping[str, object]
Sets = Literal["plain", "rollup", "cube"]
CENTS: Final = 100
NONNEGATIVE: Final = ("units", "rows", "income", "cost", "score", "age")


@dataclass(frozen=True)
class Condition:
    sql: str
    holds: Callable[[Record], bool] = field(compare=False)


@dataclass(frozen=True)
class Key:
    sql: str
    value: Callable[[Record], object] = field(compare=False)


def column(name: str) -> Key:
    return Key(name, lambda record: record[name])


def equals(name: str, value: str | int) -> Condition:
    return Condition(f"{name} = {value!r}", lambda record: record[name] == value)


def differs(name: str, value: str | int) -> Condition:
    return Condition(f"{name} <> {value!r}", lambda record: record[name] != value)


def between(name: str, low: int, high: int) -> Condition:
    return Condition(f"{name} BETWEEN {low} AND {high}", lambda record: low <= int(str(record[name])) <= high)


def among(name: str, *values: str | int) -> Condition:
    words = ", ".join(repr(value) for value in values)
    return Condition(f"{name} IN ({words})", lambda record: record[name] in values)


def days(first: str, last: str) -> Condition:
    low, high = dt.date.fromisoformat(first), dt.date.fromisoformat(last)

    def holds(record: Record) -> bool:
        day = record["visit_date"]
        return isinstance(day, dt.date) and low <= day <= high

    return Condition(f"visit_date BETWEEN DATE '{first}' AND DATE '{last}'", holds)


def either(*conditions: Condition) -> Condition:
    text = " OR ".join(f"({one.sql})" for one in conditions)
    return Condition(f"({text})", lambda record: any(one.holds(record) for one in conditions))


def never(condition: Condition) -> Condition:
    return Condition(f"NOT ({condition.sql})", lambda record: not condition.holds(record))


@dataclass(frozen=True)
class Measured:
    """`what` is `rows`, `units` or a column to add up; `where` becomes a FILTER, and `mean` an AVG."""

    what: str
    mean: bool = False
    where: tuple[Condition, ...] = ()

    def sql(self, table: str) -> str:
        text = {"rows": "COUNT(*)", "units": f"COUNT(DISTINCT {table}.pid)"}.get(self.what)
        text = text or f"{'AVG' if self.mean else 'SUM'}({self.what})"
        return f"{text} FILTER (WHERE {_all(self.where)})" if self.where else text


@dataclass(frozen=True)
class Part:
    """A number of an answer: what it adds up, over which items, each unit's own and each item's, and what was shown.

    `shown` is None where it was withheld, or its group was not named. `items` are the rows' numbers, or units where
    units are counted; values are whole numbers in steps of the quantity. A mean is shown as the sum that it tells.
    """

    name: str
    quantity: str
    values: Mapping[int, int]
    owners: Mapping[int, int]
    shown: tuple[float, float] | None
    """Between which bounds the answer says that it lies."""

    @cached_property
    def total(self) -> int:
        return sum(self.values.values())

    @cached_property
    def by_unit(self) -> Mapping[int, int]:
        found: dict[int, int] = {}
        for item, value in self.values.items():
            found[self.owners[item]] = found.get(self.owners[item], 0) + value
        return {unit: value for unit, value in found.items() if value}


@dataclass(frozen=True)
class Asked:
    """`text` is asked in place of the plain form; it means the same, with every number `times` as large."""

    table: Literal["people", "visits"]
    measures: tuple[Measured, ...]
    keys: tuple[Key, ...] = ()
    where: tuple[Condition, ...] = ()
    sets: Sets = "plain"
    text: str | None = None
    times: int = 1

    @property
    def sql(self) -> str:
        if self.text is not None:
            return self.text
        keys = [f"{key.sql} AS g{i}" for i, key in enumerate(self.keys)]
        shown = ", ".join([*keys, *(f"{m.sql(self.table)} AS m{i}" for i, m in enumerate(self.measures))])
        return f"SELECT {shown} FROM {self._source}{self._where}{self._grouped}"

    @property
    def _source(self) -> str:
        if self.table == "people":
            return "people"
        return _JOINED if self._names & set(_OF_PEOPLE) else "visits"

    @property
    def _names(self) -> set[str]:
        texts = [
            *(key.sql for key in self.keys),
            *(one.sql for one in self.where),
            *(m.sql(self.table) for m in self.measures),
        ]
        return {name for name in _OF_PEOPLE if any(name in text for text in texts)}

    @property
    def _where(self) -> str:
        return f" WHERE {_all(self.where)}" if self.where else ""

    @property
    def _grouped(self) -> str:
        if not self.keys:
            return ""
        names = ", ".join(f"g{i}" for i in range(len(self.keys)))
        return f" GROUP BY {names}" if self.sets == "plain" else f" GROUP BY {self.sets.upper()}({names})"

    def _kept(self) -> Iterator[tuple[int, ...]]:
        every = tuple(range(len(self.keys)))
        if self.sets == "rollup":
            yield from (every[:n] for n in range(len(every), -1, -1))
        elif self.sets == "cube":
            yield from (kept for n in range(len(every), -1, -1) for kept in itertools.combinations(every, n))
        else:
            yield every

    def groups(self, rows: Rows) -> Iterator[tuple[tuple[object, ...], list[Record]]]:
        """Key values, None for those that a total leaves out, and the rows of each group there is."""
        chosen = [record for record in rows.of(self.table) if all(one.holds(record) for one in self.where)]
        for kept in self._kept():
            found: dict[tuple[object, ...], list[Record]] = {}
            for record in chosen:
                key = tuple(k.value(record) if i in kept else None for i, k in enumerate(self.keys))
                found.setdefault(key, []).append(record)
            yield from found.items()

    def parts(self, reply: Reply, rows: Rows) -> Iterator[Part]:
        """Every number that was asked for, shown or not. Nothing where the question was refused."""
        if not reply.answered:
            return
        width = len(self.keys)
        shown = {row[:width]: row[width:] for row in reply.rows}
        intervals = {
            row[:width]: at[width:] for row, at in zip(reply.rows, reply.intervals, strict=bool(reply.intervals))
        }
        for key, records in self.groups(rows):
            for place, measure in enumerate(self.measures):
                value = shown[key][place] if key in shown else None
                at = intervals[key][place] if key in intervals else None
                told = None if value is None else (value, value) if at is None else at
                yield self.part(f"{self.sql} {key} {place}", measure, records, told)

    def part(self, name: str, measure: Measured, records: Sequence[Record], told: tuple[object, object] | None) -> Part:
        counted = [record for record in records if all(one.holds(record) for one in measure.where)]
        values: dict[int, int] = {}
        owners: dict[int, int] = {}
        for record in counted:
            item = int(str(record["pid"] if measure.what == "units" else record["item"]))
            amount = 1 if measure.what in ("units", "rows") else _whole(record[measure.what], measure.what)
            owners[item] = int(str(record["pid"]))
            if amount is not None:
                values[item] = amount
        units = measure.what == "units" or (measure.what == "rows" and self.table == "people")
        what = "units" if units else f"{measure.what} of {self.table}"
        return Part(name, what, values, owners, None if told is None else self._bounds(measure, told, len(values)))

    def _bounds(self, measure: Measured, told: tuple[object, object], count: int) -> tuple[float, float]:
        """In steps of the quantity, a hair wider than told: the last digit of a double is nobody's word."""
        factor = Decimal(_STEPS.get(measure.what, 1)) / self.times * (max(1, count) if measure.mean else 1)
        low, high = sorted(Decimal(str(one)) * factor for one in told)
        slack = Decimal(HAIR) * max(abs(low), abs(high))
        return float(low - slack), float(high + slack)


HAIR: Final = "1e-9"
_OF_PEOPLE: Final = ("sex", "district", "age", "birth_date", "job", "diagnosis", "income", "turnover", "score")
_JOINED: Final = "visits JOIN people ON visits.pid = people.pid"
_STEPS: Final = {"income": CENTS, "cost": CENTS}


def _all(conditions: Sequence[Condition]) -> str:
    return " AND ".join(one.sql for one in conditions)


def _whole(value: object, what: str) -> int | None:
    if value is None:
        return None
    number = Decimal(str(value)) * _STEPS.get(what, 1)
    assert number == int(number)
    return int(number)


class Rows:
    """A town's rows as records; those of visits also have what is known of their person. `item` tells them apart."""

    def __init__(self, town: Town) -> None:
        people = [dict(zip(HEADERS["people"], row, strict=True)) for row in town.people]
        by_pid = {record["pid"]: record for record in people}
        self._people: list[dict[str, object]] = [{**record, "item": record["pid"]} for record in people]
        self._visits: list[dict[str, object]] = []
        counted = Counter(row[1] for row in town.visits)
        for record in self._people:
            record["visited"] = counted[record["pid"]]
        for row in town.visits:
            record = dict(zip(HEADERS["visits"], row, strict=True))
            if record["pid"] in by_pid:
                self._visits.append({**by_pid[record["pid"]], **record, "item": record["visit_id"]})

    def of(self, table: str) -> Sequence[Record]:
        return self._people if table == "people" else self._visits
