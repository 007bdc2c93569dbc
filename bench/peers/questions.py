"""The questions that all are asked, each with what a unit may add to its answer.

Imported by every script of `libraries/` in its own environment: nothing but the standard library here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Keys = Literal["private", "public"]
"""Whether the group keys are to be found out and paid for, or given beforehand."""

EPSILON: Final = 1.0
DELTA: Final = 1e-9
"""The whole price of a question, however many numbers it has."""

ORDERS_MAX: Final = 30
LINES_MAX: Final = 106
PRICE_MAX: Final = 400_000
QUANTITY_MAX: Final = 50
EXTENDED_MAX: Final = 105_000
"""What a customer may add: orders, line items, and the largest single values. At the 99th percentile of the data,
which a deployment may not look at; all are given the same."""


@dataclass(frozen=True, slots=True)
class Question:
    name: str
    words: str
    keys: int
    """How many of the first columns are group keys."""
    groups_max: int
    """In how many groups one customer may count."""
    rows_max: int
    """How many rows one customer may have in a group."""
    exact: str
    """Over the untouched files."""
    ours: str
    """`{where}` takes a condition that is always true, where a stored answer must not be met again."""
    always: str
    """That condition; `{x}` is any number above 0."""


def _question(  # noqa: PLR0913  # a line of the table below
    name: str,
    words: str,
    *,
    keys: int = 0,
    groups: int = 1,
    rows: int = ORDERS_MAX,
    exact: str,
    ours: str | None = None,
    always: str = "o_totalprice > -{x}",
) -> Question:
    return Question(name, words, keys, groups, rows, exact.replace("{where}", ""), ours or exact, always)


REVENUE: Final = "SUM(l_extendedprice * (1 - l_discount)) AS revenue"
_LINES: Final = "FROM lineitem JOIN orders ON l_orderkey = o_orderkey"
_CUSTOMERS: Final = "JOIN customer ON o_custkey = c_custkey JOIN nation ON c_nationkey = n_nationkey"

QUESTIONS: Final = (
    _question("a", "count of orders", exact="SELECT COUNT(*) AS n FROM orders {where}"),
    _question(
        "b",
        "orders by priority",
        keys=1,
        groups=5,
        rows=12,
        exact="SELECT o_orderpriority, COUNT(*) AS n FROM orders {where} GROUP BY o_orderpriority",
    ),
    _question(
        "c",
        "price by status: sum, mean",
        keys=1,
        groups=3,
        rows=14,
        exact="SELECT o_orderstatus, SUM(o_totalprice) AS total, AVG(o_totalprice) AS mean"
        " FROM orders {where} GROUP BY o_orderstatus",
    ),
    _question(
        "d",
        "customers who ordered since 1995",
        exact="SELECT COUNT(DISTINCT o_custkey) AS n FROM orders WHERE o_orderdate >= DATE '1995-01-01'",
        ours="SELECT COUNT(DISTINCT o_custkey) AS n FROM orders {where}",
        always="o_orderdate >= DATE '1995-01-01' AND o_totalprice > -{x}",
    ),
    _question(
        "e",
        "line items by flag and status: two sums, count",
        keys=2,
        groups=4,
        rows=LINES_MAX,
        exact=f"SELECT l_returnflag, l_linestatus, SUM(l_quantity) AS quantity, {REVENUE}, COUNT(*) AS n"
        f" {_LINES} {{where}} GROUP BY l_returnflag, l_linestatus",
    ),
    _question(
        "f",
        "revenue by nation",
        keys=1,
        rows=LINES_MAX,
        exact=f"SELECT n_name, {REVENUE} {_LINES} {_CUSTOMERS} {{where}} GROUP BY n_name",
    ),
    _question(
        "g",
        "median price of an order",
        exact="SELECT quantile_disc(o_totalprice, 0.5) AS middle FROM orders",
        ours="SELECT MEDIAN(o_totalprice) AS middle FROM orders {where}",
    ),
    _question(
        "h",
        "orders by month",
        keys=1,
        groups=26,
        rows=2,
        exact="SELECT strftime(o_orderdate, '%Y-%m') AS month, COUNT(*) AS n FROM orders GROUP BY month",
        ours="SELECT date_trunc('month', o_orderdate) AS month, COUNT(*) AS n"
        " FROM orders {where} GROUP BY date_trunc('month', o_orderdate)",
    ),
)
BY_NAME: Final = {question.name: question for question in QUESTIONS}
