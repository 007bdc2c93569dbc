"""What a question would give without any protection, and what each unit adds to it: plain DuckDB over the raw rows.

Each table of units is narrowed to one unit at a time, so a unit's share of a number is the number that its rows alone
give. Nothing of this project takes part.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import duckdb
import sqlglot
from sqlglot import exp

from tests.disclosure.planted import Town

_TYPES: Final = {
    "people": "pid INT, name TEXT, sex TEXT, district TEXT, age INT, birth_date DATE, job TEXT, diagnosis TEXT, "
    "income DECIMAL(12,2), turnover BIGINT, score INT",
    "visits": "visit_id INT, pid INT, hospital INT, kind TEXT, cost DECIMAL(10,2), visit_date DATE",
    "hospitals": "id INT, level TEXT, town TEXT",
}
_PRIVATE: Final = ("people", "visits")
_UNIT: Final = "__unit"
Row = tuple[object, ...]


@dataclass(frozen=True)
class Shared:
    """Of one group: the bare number of each column, and what each unit alone would give for it."""

    whole: Row
    alone: Mapping[int, Row]


class Bare:
    def __init__(self, town: Town) -> None:
        self._connection = duckdb.connect()
        for name, rows in town.tables().items():
            self._connection.execute(f"CREATE TABLE {name} ({_TYPES[name]})")
            columns = [
                [None if value is None else str(value) for value in values] for values in zip(*rows, strict=True)
            ]
            places = ", ".join("unnest(?::VARCHAR[])" for _ in columns)  # a row at a time would take longer than a test
            self._connection.execute(f"INSERT INTO {name} SELECT {places}", columns)
        self._connection.execute("CREATE MACRO bin(x) AS CASE WHEN x < 100 THEN 0 WHEN x < 1000 THEN 100 ELSE 1000 END")
        self._connection.execute("CREATE MACRO decade(x) AS year(x) // 10 * 10")
        self._connection.execute("CREATE TABLE persons AS SELECT pid AS __unit FROM people")
        self._connection.execute("DELETE FROM visits WHERE pid IS NULL OR pid NOT IN (SELECT pid FROM people)")

    def close(self) -> None:
        self._connection.close()

    def rows(self, sql: str) -> list[Row]:
        return self._connection.execute(sql).fetchall()

    def shared(self, sql: str, keys: tuple[int, ...]) -> dict[Row, Shared]:
        """By the values of the columns `keys`. Outermost HAVING, ORDER BY and LIMIT are left out."""
        plain = _outermost_apart(sqlglot.parse_one(sql, dialect="duckdb"))
        wholes = self.rows(plain.sql(dialect="duckdb"))
        narrowed = _narrowed(plain).sql(dialect="duckdb")
        alone = self.rows(f"SELECT p.{_UNIT}, q.* FROM persons AS p, LATERAL ({narrowed}) AS q")
        by_key: dict[Row, dict[int, Row]] = {}
        for unit, *values in alone:
            by_key.setdefault(plain_key(values[i] for i in keys), {})[int(str(unit))] = tuple(values)
        return {
            key: Shared(whole, by_key.get(key, {})) for whole in wholes for key in [plain_key(whole[i] for i in keys)]
        }


def plain_key(values: Iterable[object]) -> Row:
    """Equal for a day and its midnight, and for a number however it is typed."""
    return tuple(_plain(value) for value in values)


def _plain(value: object) -> object:
    if isinstance(value, dt.datetime):
        return value.date()
    return float(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def _outermost_apart(tree: exp.Expression) -> exp.Expression:
    tree = tree.copy()
    for part in ("having", "order", "limit", "offset", "qualify"):
        tree.set(part, None)
    return tree


def _narrowed(tree: exp.Expression) -> exp.Expression:
    """Each table of units, wherever it is read, as the rows of one unit."""
    tree = tree.copy()
    for table in list(tree.find_all(exp.Table)):
        if table.name.lower() not in _PRIVATE or _shadowed(table):
            continue
        alias = table.alias or table.name
        text = f"(SELECT * FROM {table.name} AS __t WHERE __t.pid = p.{_UNIT}) AS {alias}"
        table.replace(sqlglot.parse_one(f"SELECT 1 FROM {text}", dialect="duckdb").find(exp.Subquery))
    return tree


def _shadowed(table: exp.Table) -> bool:
    """Whether a CTE of the same name is meant, which is not inside that CTE itself."""
    for cte in table.root().find_all(exp.CTE):
        if cte.alias.lower() == table.name.lower() and table.find_ancestor(exp.CTE) is not cte:
            return True
    return False
