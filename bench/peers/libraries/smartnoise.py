"""SmartNoise SQL over DuckDB, by its reader for PostgreSQL. It has no joins: they are views made beforehand.

At most 30 orders or 106 line items a customer, values clamped one by one; prices in thousands, as it refuses noise
scales above 1e7. Its epsilon is one for each column, so it is divided until `get_privacy_cost` says at most 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import duckdb
import snsql
from snsql import Privacy
from snsql.metadata import Metadata

from bench.peers.libraries.measure import Ask, Job, Row, main
from bench.peers.questions import DELTA, EPSILON, EXTENDED_MAX, LINES_MAX, ORDERS_MAX, PRICE_MAX, QUANTITY_MAX

THOUSAND: Final = 1000
TABLES: Final = {
    "orders": {
        "max_ids": ORDERS_MAX,
        "row_privacy": False,
        "o_custkey": {"type": "int", "private_id": True},
        "o_orderstatus": {"type": "string"},
        "o_orderpriority": {"type": "string"},
        "o_month": {"type": "string"},
        "o_year": {"type": "int", "lower": 1992, "upper": 1998},
        "o_totalprice": {"type": "float", "lower": 0, "upper": PRICE_MAX / THOUSAND},
    },
    "lines": {
        "max_ids": LINES_MAX,
        "row_privacy": False,
        "o_custkey": {"type": "int", "private_id": True},
        "l_returnflag": {"type": "string"},
        "l_linestatus": {"type": "string"},
        "n_name": {"type": "string"},
        "l_quantity": {"type": "float", "lower": 0, "upper": QUANTITY_MAX},
        "l_revenue": {"type": "float", "lower": 0, "upper": EXTENDED_MAX / THOUSAND},
    },
}
VIEWS: Final = {
    "orders": "SELECT o_custkey, o_orderstatus, o_orderpriority, strftime(o_orderdate, '%Y-%m') AS o_month,"
    " year(o_orderdate)::INT AS o_year, o_totalprice::DOUBLE / 1000 AS o_totalprice FROM '{orders}'",
    "lines": "SELECT o_custkey, l_returnflag, l_linestatus, n_name, l_quantity::DOUBLE AS l_quantity,"
    " (l_extendedprice * (1 - l_discount))::DOUBLE / 1000 AS l_revenue FROM '{lineitem}'"
    " JOIN '{orders}' ON l_orderkey = o_orderkey JOIN '{customer}' ON o_custkey = c_custkey"
    " JOIN '{nation}' ON c_nationkey = n_nationkey",
}
SQL: Final = {
    "a": "SELECT COUNT(*) AS n FROM PUBLIC.orders",
    "b": "SELECT o_orderpriority, COUNT(*) AS n FROM PUBLIC.orders GROUP BY o_orderpriority",
    "c": "SELECT o_orderstatus, SUM(o_totalprice) AS s, AVG(o_totalprice) AS m FROM PUBLIC.orders"
    " GROUP BY o_orderstatus",
    "d": "SELECT COUNT(DISTINCT o_custkey) AS n FROM PUBLIC.orders WHERE o_year >= 1995",
    "e": "SELECT l_returnflag, l_linestatus, SUM(l_quantity) AS q, SUM(l_revenue) AS r, COUNT(*) AS n"
    " FROM PUBLIC.lines GROUP BY l_returnflag, l_linestatus",
    "f": "SELECT n_name, SUM(l_revenue) AS r FROM PUBLIC.lines GROUP BY n_name",
    "g": "SELECT MEDIAN(o_totalprice) AS m FROM PUBLIC.orders",
    "h": "SELECT o_month, COUNT(*) AS n FROM PUBLIC.orders GROUP BY o_month",
}
UNITS: Final = {"c": (THOUSAND, THOUSAND), "e": (1, THOUSAND, 1), "f": (THOUSAND,)}


class Connection:
    """A DuckDB connection that looks enough like psycopg2's."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None

    def cursor(self) -> Connection:
        return self

    def execute(self, sql: str) -> None:
        self._rows = self._connection.execute(sql).fetchall()
        self.description = self._connection.description

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def commit(self) -> None:
        """Nothing is written."""

    rollback = commit


def prepare(job: Job) -> Ask:
    name = job.question.name
    table = "lines" if "PUBLIC.lines" in SQL[name] else "orders"
    connection = duckdb.connect(config={"threads": "2"})
    connection.execute("CREATE SCHEMA public")
    files = {file: job.parquet(file) for file in ("orders", "lineitem", "customer", "nation")}
    connection.execute(f"CREATE VIEW public.{table} AS {VIEWS[table].format(**files)}")
    reader = _priced(Connection(connection), job)
    units = UNITS.get(name, (1,))

    def ask() -> list[Row]:
        keys = job.question.keys
        rows = reader.execute(SQL[name])[1:]
        return [(*row[:keys], *(v * unit for v, unit in zip(row[keys:], units, strict=True))) for row in rows]

    return ask


def _priced(connection: Connection, job: Job) -> Any:
    """A reader that spends at most EPSILON on the question."""
    each = EPSILON
    while True:
        metadata = Metadata.from_({"": {"PUBLIC": TABLES}})
        for table in metadata.m_tables.values():
            table.censor_dims = job.keys == "private"
        privacy = Privacy(epsilon=each, delta=DELTA)
        reader = snsql.from_connection(connection, privacy=privacy, metadata=metadata, engine="postgres")
        cost = reader.get_privacy_cost(SQL[job.question.name])[0]
        if cost <= EPSILON * 1.0001:
            return reader
        each *= EPSILON / cost


if __name__ == "__main__":
    main(prepare, "smartnoise-sql", "duckdb", "opendp")
