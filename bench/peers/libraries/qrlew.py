"""Qrlew: rewrites PostgreSQL into PostgreSQL with noise in it; sqlglot turns that into DuckDB's SQL.

Its one bound is `max_multiplicity` (30 orders, 106 line items) times the declared range of a column; keys are bounded
by `max_privacy_unit_groups`. Its noise is Gaussian, drawn by the engine's RANDOM(). It reads its schema from a
database: here an empty one, of SQLite, whose sizes are put right afterwards. Rewriting counts as part of asking.
"""

from __future__ import annotations

import json
from typing import Any, Final

import duckdb
import pyqrlew
import sqlalchemy
import sqlglot
from pyqrlew import Dialect

from bench.peers.libraries.measure import Ask, Job, Row, main
from bench.peers.questions import DELTA, EPSILON, EXTENDED_MAX, LINES_MAX, ORDERS_MAX, PRICE_MAX, QUANTITY_MAX

SCHEMA: Final = "public"
COLUMNS: Final = {
    "nation": "n_nationkey INTEGER, n_name TEXT",
    "customer": "c_custkey INTEGER, c_nationkey INTEGER",
    "orders": "o_orderkey INTEGER, o_custkey INTEGER, o_orderstatus TEXT, o_totalprice DOUBLE PRECISION,"
    " o_orderdate DATE, o_orderpriority TEXT",
    "lineitem": "l_orderkey INTEGER, l_linenumber INTEGER, l_quantity DOUBLE PRECISION,"
    " l_extendedprice DOUBLE PRECISION, l_discount DOUBLE PRECISION, l_returnflag TEXT, l_linestatus TEXT",
}
"""In this order in the engine too: the rewritten joins count on it."""
RANGES: Final = (
    ("orders", "o_totalprice", 0, PRICE_MAX),
    ("lineitem", "l_quantity", 0, QUANTITY_MAX),
    ("lineitem", "l_extendedprice", 0, EXTENDED_MAX),
    ("lineitem", "l_discount", 0, 0.1),
)
VALUES: Final = (
    ("orders", "o_orderstatus", ("F", "O", "P")),
    ("orders", "o_orderpriority", ("1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW")),
    ("lineitem", "l_returnflag", ("A", "N", "R")),
    ("lineitem", "l_linestatus", ("F", "O")),
)
UNIT: Final = [
    ("customer", [], "c_custkey"),
    ("orders", [], "o_custkey"),
    ("lineitem", [("l_orderkey", "orders", "o_orderkey")], "o_custkey"),
]
SQL: Final = {
    "a": "SELECT count(*) AS n FROM orders",
    "b": "SELECT o_orderpriority, count(*) AS n FROM orders GROUP BY o_orderpriority",
    "c": "SELECT o_orderstatus, sum(o_totalprice) AS s, avg(o_totalprice) AS m FROM orders GROUP BY o_orderstatus",
    "d": "SELECT count(DISTINCT o_custkey) AS n FROM orders WHERE o_orderdate >= '1995-01-01'",
    "e": "SELECT l_returnflag, l_linestatus, sum(l_quantity) AS q, sum(l_extendedprice * (1 - l_discount)) AS r,"
    " count(*) AS n FROM lineitem JOIN orders ON l_orderkey = o_orderkey GROUP BY l_returnflag, l_linestatus",
    "f": "SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS r FROM lineitem"
    " JOIN orders ON l_orderkey = o_orderkey JOIN customer ON o_custkey = c_custkey"
    " JOIN nation ON c_nationkey = n_nationkey GROUP BY n_name",
    "g": "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY o_totalprice) AS m FROM orders",
    "h": "SELECT extract(year from o_orderdate) AS y, extract(month from o_orderdate) AS mo, count(*) AS n"
    " FROM orders GROUP BY y, mo",
}


def prepare(job: Job) -> Ask:
    connection = _engine(job)
    dataset = _dataset(connection, job)
    name = job.question.name
    rows_max = float(LINES_MAX if name in "ef" else ORDERS_MAX)

    def ask() -> list[Row]:
        rewritten = dataset.relation(SQL[name], Dialect.PostgreSql).rewrite_with_differential_privacy(
            dataset,
            UNIT,
            {"epsilon": EPSILON, "delta": DELTA},
            max_multiplicity=rows_max,
            max_multiplicity_share=1.0,
            max_privacy_unit_groups=job.question.groups_max,
        )
        sql = rewritten.relation().to_query(Dialect.PostgreSql)
        rows = connection.execute(sqlglot.transpile(sql, read="postgres", write="duckdb")[0]).fetchall()
        if name == "h":
            return [(f"{int(year)}-{int(month):02d}", n) for year, month, n in rows]
        return list(rows)

    return ask


def _engine(job: Job) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": "2"})
    connection.execute(f"CREATE SCHEMA {SCHEMA}")
    for table, columns in COLUMNS.items():
        names = ", ".join(_cast(column) for column in columns.split(", "))
        connection.execute(f"CREATE TABLE {SCHEMA}.{table} AS SELECT {names} FROM '{job.parquet(table)}'")
    return connection


def _cast(column: str) -> str:
    name, _, kind = column.partition(" ")
    return f"{name}::DOUBLE AS {name}" if kind.startswith("DOUBLE") else name


def _dataset(connection: duckdb.DuckDBPyConnection, job: Job) -> Any:
    """Its schema, with declared ranges. Table sizes are those of the data: it puts them into its SQL."""
    shadow = sqlalchemy.create_engine(
        "sqlite://", poolclass=sqlalchemy.pool.StaticPool, connect_args={"check_same_thread": False}
    )
    with shadow.begin() as tables:
        tables.exec_driver_sql(f"ATTACH ':memory:' AS {SCHEMA}")
        for table, columns in COLUMNS.items():
            tables.exec_driver_sql(f"CREATE TABLE {SCHEMA}.{table} ({columns})")
    empty = pyqrlew.Dataset.from_database("tpch", shadow, SCHEMA)
    sizes = {table: connection.execute(f"SELECT count(*) FROM {SCHEMA}.{table}").fetchall()[0][0] for table in COLUMNS}
    dataset = pyqrlew.Dataset.from_str(_about(empty.schema), empty.schema, _sized(str(empty.size), sizes))
    for table, column, low, high in RANGES:
        dataset = dataset.with_range(SCHEMA, table, column, low, high)
    if job.keys == "public":
        for table, column, values in VALUES:
            dataset = dataset.with_possible_values(SCHEMA, table, column, list(values))
    return dataset


def _about(schema: str) -> str:
    """The record that its schema refers to."""
    transformed = {"transform": "0" * 32, "arguments": [], "named_arguments": {}}
    return json.dumps(
        {
            "@type": "sarus_data_spec/sarus_data_spec.Dataset",
            "uuid": json.loads(schema)["dataset"],
            "name": "Transformed",
            "spec": {"transformed": transformed},
            "properties": {},
            "doc": "",
        }
    )


def _sized(size: str, sizes: dict[str, int]) -> str:
    found = json.loads(size)
    for table in found["statistics"]["union"]["fields"][0]["statistics"]["union"]["fields"]:
        rows = sizes[table["name"]]
        table["statistics"]["struct"]["size"] = str(rows)
        for column in table["statistics"]["struct"]["fields"]:
            for kind in column["statistics"].values():
                if isinstance(kind, dict) and "size" in kind:
                    kind["size"] = rows
    return json.dumps(found)


if __name__ == "__main__":
    main(prepare, "pyqrlew", "duckdb", "sqlglot")
