"""PipelineDP on its local backend, rows as tuples; joins are made by pyarrow beforehand.

It bounds groups a customer, rows a group, and a customer's sum in a group. Naive accounting, Laplace; line items by
flag are two passes under one budget, because an aggregation has one value column.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import pipeline_dp
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.peers.libraries.measure import Ask, Job, Row, main
from bench.peers.questions import DELTA, EPSILON, ORDERS_MAX, PRICE_MAX

M: Final = pipeline_dp.Metrics
GROUP_OF: Final = {"b": "o_orderpriority", "c": "o_orderstatus", "h": "month"}
QUANTITY_OF_GROUP_MAX: Final = 1600.0
REVENUE_OF_GROUP_MAX: Final = 2.2e6
REVENUE_MAX: Final = 4e6
LINES_OF_GROUP_MAX: Final = 60
MEDIAN_MAX: Final = 600_000.0


def prepare(job: Job) -> Ask:
    data = _data(job)
    public = _public(job, data)
    jobs = _jobs(job)

    def ask() -> list[Row]:
        budget = pipeline_dp.NaiveBudgetAccountant(total_epsilon=EPSILON, total_delta=DELTA)
        engine = pipeline_dp.DPEngine(budget, pipeline_dp.LocalBackend())
        results = [engine.aggregate(data, params, _places(column), public) for column, params, _ in jobs]
        budget.compute_budgets()
        found = [dict(result) for result in results]
        return [
            (
                *_key(key),
                *(getattr(part[key], name) for part, (_, _, names) in zip(found, jobs, strict=True) for name in names),
            )
            for key in found[0]
            if all(key in part for part in found)
        ]

    def ordered() -> list[Row]:
        """Quantity, revenue, count: the count comes with the first pass."""
        return [(*row[:2], row[2], row[4], row[3]) for row in ask()] if job.question.name == "e" else ask()

    return ordered


def _key(key: Any) -> tuple[Any, ...]:
    if key == 0:
        return ()
    return tuple(key) if isinstance(key, tuple) else (key,)


def _places(column: int) -> Any:
    return pipeline_dp.DataExtractors(
        privacy_id_extractor=lambda row: row[0],
        partition_extractor=lambda row: row[1],
        value_extractor=lambda row: row[column],
    )


def _jobs(job: Job) -> list[tuple[int, Any, tuple[str, ...]]]:
    """Value column, parameters, and the fields of the answer, for each pass."""
    question = job.question

    def params(*metrics: Any, rows: int = question.rows_max, **bounds: Any) -> Any:
        return pipeline_dp.AggregateParams(
            metrics=list(metrics),
            max_partitions_contributed=question.groups_max,
            max_contributions_per_partition=rows,
            **bounds,
        )

    def total(most: float) -> dict[str, Any]:
        return {"min_sum_per_partition": 0, "max_sum_per_partition": most}

    match question.name:
        case "a" | "b" | "h":
            return [(2, params(M.COUNT), ("count",))]
        case "c":
            return [(2, params(M.SUM, M.MEAN, min_value=0, max_value=PRICE_MAX), ("sum", "mean"))]
        case "d":
            return [(2, params(M.PRIVACY_ID_COUNT, rows=1), ("privacy_id_count",))]
        case "e":
            lines = LINES_OF_GROUP_MAX
            quantity = params(M.SUM, M.COUNT, rows=lines, **total(QUANTITY_OF_GROUP_MAX))
            revenue = params(M.SUM, rows=lines, **total(REVENUE_OF_GROUP_MAX))
            return [(2, quantity, ("sum", "count")), (3, revenue, ("sum",))]
        case "f":
            return [(2, params(M.SUM, **total(REVENUE_MAX)), ("sum",))]
        case _:
            middle = params(M.PERCENTILE(50), rows=ORDERS_MAX, min_value=0, max_value=MEDIAN_MAX)
            return [(2, middle, ("percentile_50",))]


def _public(job: Job, data: list[tuple[Any, ...]]) -> list[Any] | None:
    """The one group of a question without groups is known beforehand."""
    if job.question.keys == 0:
        return [0]
    return sorted({row[1] for row in data}) if job.keys == "public" else None


def _data(job: Job) -> list[tuple[Any, ...]]:
    """(customer, group, value, ...) of every row."""
    name = job.question.name
    if name == "e":
        lines = _lines(job)
        groups = zip(lines["l_returnflag"].to_pylist(), lines["l_linestatus"].to_pylist(), strict=True)
        return list(
            zip(
                lines["o_custkey"].to_pylist(),
                groups,
                lines["quantity"].to_pylist(),
                lines["revenue"].to_pylist(),
                strict=True,
            )
        )
    if name == "f":
        return _tuples(_nations(job), "o_custkey", "n_name", "revenue")
    orders = _orders(job)
    if name == "d":
        orders = orders.filter(pc.greater_equal(orders["o_orderdate"], date(1995, 1, 1)))
    if name == "h":
        orders = orders.append_column("month", pc.strftime(orders["o_orderdate"], "%Y-%m"))
    return _tuples(orders, "o_custkey", GROUP_OF.get(name), "o_totalprice")


def _tuples(table: Any, *columns: str | None) -> list[tuple[Any, ...]]:
    return list(zip(*(table[c].to_pylist() if c else [0] * len(table) for c in columns), strict=True))


def _read(job: Job, table: str, columns: list[str]) -> Any:
    found = pq.read_table(job.parquet(table), columns=columns)
    for place, column in enumerate(found.schema):
        if column.type == pa.string_view():  # pyarrow does not join these
            found = found.set_column(place, column.name, pc.cast(found[column.name], "string"))
    return found


def _orders(job: Job) -> Any:
    columns = ["o_orderkey", "o_custkey", "o_orderstatus", "o_orderpriority", "o_totalprice", "o_orderdate"]
    found = _read(job, "orders", columns)
    return found.set_column(4, "o_totalprice", pc.cast(found["o_totalprice"], "double"))


def _lines(job: Job) -> Any:
    columns = ["l_orderkey", "l_returnflag", "l_linestatus", "l_quantity", "l_extendedprice", "l_discount"]
    found = _read(job, "lineitem", columns)
    price, discount = (pc.cast(found[column], "double") for column in ("l_extendedprice", "l_discount"))
    found = found.append_column("quantity", pc.cast(found["l_quantity"], "double"))
    found = found.append_column("revenue", pc.multiply(price, pc.subtract(1.0, discount)))
    kept = found.select(["l_orderkey", "l_returnflag", "l_linestatus", "quantity", "revenue"])
    owners = _orders(job).select(["o_orderkey", "o_custkey"])
    return kept.join(owners, "l_orderkey", "o_orderkey", join_type="inner")


def _nations(job: Job) -> Any:
    customers = _read(job, "customer", ["c_custkey", "c_nationkey"])
    nations = _read(job, "nation", ["n_nationkey", "n_name"])
    homes = customers.join(nations, "c_nationkey", "n_nationkey", join_type="inner")
    return _lines(job).join(homes, "o_custkey", "c_custkey", join_type="inner")


if __name__ == "__main__":
    main(prepare, "pipeline-dp", "pyarrow")
