"""OpenDP through its Polars context; joins are made in Polars before the context sees them.

30 orders or 106 line items a customer; by priority and by month at most 12 and 2 rows in a group, 5 and 26 groups;
values clamped row by row. Laplace, epsilon split by OpenDP over the aggregates of the question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import polars as pl
from opendp import prelude

from bench.peers.libraries.measure import Ask, Job, Row, main
from bench.peers.questions import DELTA, EPSILON, EXTENDED_MAX, LINES_MAX, ORDERS_MAX, PRICE_MAX, QUANTITY_MAX

dp: Any = prelude
"""Untyped: its parts for Polars are put in as it is imported."""
dp.enable_features("contrib")
UNIT: Final = "o_custkey"
MEDIAN_CANDIDATES: Final = [float(price) for price in range(0, 600_001, 500)]
_DOUBLE: Final = pl.Float64


def prepare(job: Job) -> Ask:
    plan = _plans(job)[job.question.name]

    def ask() -> list[Row]:
        return _columns_asked(job, plan().release().collect().rows())

    return ask


def _columns_asked(job: Job, rows: list[Any]) -> list[Row]:
    """A mean is the ratio of two noisy columns; a count that only the threshold needs is left out."""
    match job.question.name:
        case "c":
            return [(key, total, total / max(n, 1)) for key, total, n in rows]
        case "f":
            return [(key, total) for key, total, _ in rows]
        case _:
            return list(rows)


def _plans(job: Job) -> dict[str, Callable[[], Any]]:
    orders, n = _orders(job), dp.len()

    def alone(rows: int, frame: Any = orders) -> Any:
        return _context(frame).query().truncate_per_group(rows)

    def grouped(frame: Any, by: list[str], aggregates: list[Any], *, per_group: bool = False) -> Callable[[], Any]:
        return lambda: _grouped(job, frame, by, aggregates, per_group=per_group)

    price, revenue = _sum("o_totalprice", PRICE_MAX), _sum("l_revenue", EXTENDED_MAX)
    flags = ["l_returnflag", "l_linestatus"]
    since = orders.filter(pl.col("o_year") >= 1995)
    return {
        "a": lambda: alone(ORDERS_MAX).select(n),
        "b": grouped(orders, ["o_orderpriority"], [n], per_group=True),
        "c": grouped(orders, ["o_orderstatus"], [price, n]),
        "d": lambda: alone(1, since).select(n),
        "e": lambda: _grouped(job, _lines(job), flags, [_sum("l_quantity", QUANTITY_MAX), revenue, n]),
        "f": lambda: _grouped(job, _nations(job), ["n_name"], [revenue, n]),
        "g": lambda: alone(ORDERS_MAX).select(_plain("o_totalprice").dp.median(MEDIAN_CANDIDATES)),
        "h": grouped(orders, ["o_month"], [n], per_group=True),
    }


def _grouped(job: Job, frame: Any, by: list[str], aggregates: list[Any], *, per_group: bool = False) -> Any:
    asked = _context(frame, by).query()
    if per_group:
        asked = asked.truncate_per_group(job.question.rows_max, by=by)
        # it keeps one group fewer than it is told; keep="sample" fails with the Polars that it pins
        asked = asked.truncate_num_groups(job.question.groups_max + 1, by=by, keep="first")
    else:
        asked = asked.truncate_per_group(LINES_MAX if job.question.name in "ef" else ORDERS_MAX)
    asked = asked.group_by(by).agg(*aggregates)
    return asked.with_keys(frame.select(by).unique().collect()) if job.keys == "public" else asked


def _context(frame: Any, by: list[str] | None = None) -> Any:
    keys = {(), tuple(by or ())}
    return dp.Context.compositor(
        data=frame,
        margins=[dp.polars.Margin(by=each, max_length=10_000_000, max_groups=1000) for each in keys],
        privacy_unit=dp.unit_of(contributions=1, identifier=pl.col(UNIT)),
        privacy_loss=dp.loss_of(epsilon=EPSILON, delta=DELTA),
        split_evenly_over=1,
    )


def _plain(column: str) -> Any:
    return pl.col(column).fill_nan(0).fill_null(0)


def _sum(column: str, most: float) -> Any:
    return _plain(column).dp.sum((0.0, float(most)))


def _orders(job: Job) -> Any:
    return pl.scan_parquet(job.parquet("orders")).select(
        UNIT,
        "o_orderstatus",
        "o_orderpriority",
        pl.col("o_totalprice").cast(_DOUBLE),
        pl.col("o_orderdate").dt.strftime("%Y-%m").alias("o_month"),
        pl.col("o_orderdate").dt.year().alias("o_year"),
    )


def _lines(job: Job) -> Any:
    revenue = pl.col("l_extendedprice").cast(_DOUBLE) * (1 - pl.col("l_discount").cast(_DOUBLE))
    lines = pl.scan_parquet(job.parquet("lineitem")).select(
        "l_orderkey",
        "l_returnflag",
        "l_linestatus",
        pl.col("l_quantity").cast(_DOUBLE),
        revenue.alias("l_revenue"),
    )
    owners = pl.scan_parquet(job.parquet("orders")).select("o_orderkey", UNIT)
    return lines.join(owners, left_on="l_orderkey", right_on="o_orderkey")


def _nations(job: Job) -> Any:
    customers = pl.scan_parquet(job.parquet("customer")).select("c_custkey", "c_nationkey")
    nations = pl.scan_parquet(job.parquet("nation")).select("n_nationkey", "n_name")
    owned = _lines(job).join(customers, left_on=UNIT, right_on="c_custkey")
    return owned.join(nations, left_on="c_nationkey", right_on="n_nationkey")


if __name__ == "__main__":
    main(prepare, "opendp", "polars")
