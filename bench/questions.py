"""The questions, each beside its un-private twin in plain DuckDB SQL.

`{x}` is a constant that differs from run to run, so that no stored answer is reused. Where `bare` is None the very
same text is run without protection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

Vary = Callable[[int], str]
"""From the number of a run to the constant of that run; distinct for distinct runs."""


@dataclass(frozen=True, slots=True)
class Question:
    name: str
    dataset: str
    keys: int
    """How many of the first columns are group keys."""
    private: str
    vary: Vary
    bare: str | None = None
    epsilon: str = "1"
    per_unit: str | None = None
    """Where units have to be ranked: the plain grouping by unit and key that ranking is held against."""

    def ask(self, run: int) -> str:
        return self.private.format(x=self.vary(run))

    def twin(self, run: int) -> str:
        return (self.bare or self.private).format(x=self.vary(run))

    def by_unit(self, run: int) -> str | None:
        return None if self.per_unit is None else self.per_unit.format(x=self.vary(run))


def days_after(first: date) -> Vary:
    return lambda run: f"DATE '{first + timedelta(days=run)}'"


def days_before(last: date) -> Vary:
    return lambda run: f"DATE '{last - timedelta(days=run)}'"


def below(highest: int) -> Vary:
    return lambda run: str(highest - run)


def above(lowest: int) -> Vary:
    return lambda run: str(lowest + run)


ORDERS_FROM = days_after(date(1992, 1, 2))
SHIPPED_UNTIL = days_before(date(1998, 9, 2))

TPCH = (
    Question("count of orders", "tpch", 0, "SELECT COUNT(*) AS n FROM orders WHERE o_orderdate >= {x}", ORDERS_FROM),
    Question(
        "customers who ordered",
        "tpch",
        0,
        "SELECT COUNT(DISTINCT o_custkey) AS n FROM orders WHERE o_orderdate >= {x}",
        ORDERS_FROM,
    ),
    Question(
        "orders by priority",
        "tpch",
        1,
        "SELECT o_orderpriority, COUNT(*) AS n FROM orders WHERE o_orderdate >= {x} GROUP BY o_orderpriority",
        ORDERS_FROM,
    ),
    Question(
        "price by status",
        "tpch",
        1,
        "SELECT o_orderstatus, SUM(o_totalprice) AS total, AVG(o_totalprice) AS mean FROM orders"
        " WHERE o_orderdate >= {x} GROUP BY o_orderstatus",
        ORDERS_FROM,
    ),
    Question(
        "orders by month",
        "tpch",
        1,
        "SELECT date_trunc('month', o_orderdate) AS month, COUNT(*) AS n FROM orders"
        " WHERE o_totalprice < {x} GROUP BY date_trunc('month', o_orderdate)",
        below(600000),
        "SELECT CAST(date_trunc('month', o_orderdate) AS DATE) AS month, COUNT(*) AS n FROM orders"
        " WHERE o_totalprice < {x} GROUP BY month",
    ),
    Question(
        "balance by segment",
        "tpch",
        1,
        "SELECT c_mktsegment, AVG(c_acctbal) AS mean, COUNT(*) AS n FROM customer"
        " WHERE c_acctbal < {x} GROUP BY c_mktsegment",
        below(9999),
    ),
    Question(
        "pricing summary (Q1)",
        "tpch",
        2,
        "SELECT l_returnflag, l_linestatus, SUM(l_quantity) AS quantity, SUM(l_extendedprice) AS price,"
        " SUM(l_extendedprice * (1 - l_discount)) AS revenue, AVG(l_discount) AS discount, COUNT(*) AS n"
        " FROM lineitem WHERE l_shipdate <= {x} GROUP BY l_returnflag, l_linestatus",
        SHIPPED_UNTIL,
    ),
    Question(
        "revenue change (Q6)",
        "tpch",
        0,
        "SELECT SUM(l_extendedprice * l_discount) AS revenue FROM lineitem WHERE l_shipdate >= {x}"
        " AND l_shipdate < DATE '1998-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24",
        days_after(date(1994, 1, 1)),
    ),
    Question(
        "revenue by nation (Q5)",
        "tpch",
        1,
        "SELECT n.n_name, SUM(l.l_extendedprice * (1 - l.l_discount)) AS revenue FROM lineitem l"
        " JOIN orders o ON l.l_orderkey = o.o_orderkey JOIN customer c ON o.o_custkey = c.c_custkey"
        " JOIN nation n ON c.c_nationkey = n.n_nationkey WHERE o.o_orderdate >= {x} GROUP BY n.n_name",
        ORDERS_FROM,
    ),
    Question(
        "urgent lines by mode (Q12)",
        "tpch",
        1,
        "SELECT l.l_shipmode, SUM(CASE WHEN o.o_orderpriority IN ('1-URGENT', '2-HIGH') THEN 1 ELSE 0 END) AS high,"
        " COUNT(*) AS n FROM lineitem l JOIN orders o ON l.l_orderkey = o.o_orderkey WHERE l.l_shipdate <= {x}"
        " GROUP BY l.l_shipmode",
        SHIPPED_UNTIL,
    ),
    Question(
        "orders by clerk (private keys)",
        "tpch",
        1,
        "SELECT o_clerk, COUNT(*) AS n FROM orders WHERE o_orderdate >= {x} GROUP BY o_clerk",
        ORDERS_FROM,
        per_unit="SELECT COUNT(*), SUM(n) FROM (SELECT o_custkey, o_clerk, COUNT(*) AS n FROM orders"
        " WHERE o_orderdate >= {x} GROUP BY o_custkey, o_clerk)",
    ),
    Question(
        "median price",
        "tpch",
        0,
        "SELECT MEDIAN(o_totalprice) AS middle FROM orders WHERE o_orderdate >= {x}",
        ORDERS_FROM,
    ),
    Question(
        "deviation of price by status",
        "tpch",
        1,
        "SELECT o_orderstatus, STDDEV_SAMP(o_totalprice) AS deviation FROM orders"
        " WHERE o_orderdate >= {x} GROUP BY o_orderstatus",
        ORDERS_FROM,
    ),
    Question(
        "different clerks",
        "tpch",
        0,
        "SELECT COUNT(DISTINCT o_clerk) AS n FROM orders WHERE o_orderdate >= {x}",
        ORDERS_FROM,
    ),
    Question(
        "customers with many orders",
        "tpch",
        0,
        "SELECT COUNT(*) AS n FROM (SELECT o_custkey, COUNT(*) AS k FROM orders"
        " WHERE o_orderdate >= {x} GROUP BY o_custkey) AS c WHERE c.k > 15",
        ORDERS_FROM,
    ),
    Question(
        "segments of buyers of dear orders",
        "tpch",
        1,
        "SELECT c_mktsegment, COUNT(*) AS n FROM customer WHERE c_custkey IN"
        " (SELECT o_custkey FROM orders WHERE o_orderdate >= {x} AND o_totalprice > 300000) GROUP BY c_mktsegment",
        ORDERS_FROM,
    ),
    Question(
        "status and priority, rolled up",
        "tpch",
        2,
        "SELECT o_orderstatus, o_orderpriority, COUNT(*) AS n FROM orders WHERE o_orderdate >= {x}"
        " GROUP BY ROLLUP (o_orderstatus, o_orderpriority)",
        ORDERS_FROM,
    ),
    Question(
        "mean price of each customer's last order",
        "tpch",
        0,
        "SELECT AVG(o_totalprice) AS mean FROM (SELECT o_totalprice, row_number() OVER"
        " (PARTITION BY o_custkey ORDER BY o_orderdate DESC) AS place FROM orders WHERE o_orderdate >= {x}) AS c"
        " WHERE place = 1",
        ORDERS_FROM,
        per_unit="SELECT COUNT(*), MAX(last) FROM (SELECT o_custkey, MAX(o_orderdate) AS last FROM orders"
        " WHERE o_orderdate >= {x} GROUP BY o_custkey)",
    ),
)

INCOME = (
    Question("count of tax units", "income", 0, "SELECT COUNT(*) AS n FROM tax_units WHERE wages < {x}", below(200000)),
    Question(
        "wages by filing status",
        "income",
        1,
        "SELECT filing_status, SUM(wages) AS total, AVG(wages) AS mean FROM tax_units"
        " WHERE wages < {x} GROUP BY filing_status",
        below(200000),
    ),
    Question(
        "mean wages by region",
        "income",
        1,
        "SELECT s.region, AVG(t.wages) AS mean FROM tax_units t JOIN states s ON t.state = s.code"
        " WHERE t.wages < {x} GROUP BY s.region",
        below(200000),
    ),
)

CLINIC = (
    Question(
        "各科室就诊次数和费用",
        "clinic",
        1,
        "SELECT 科室, COUNT(*) AS 次数, SUM(费用) AS 总费用 FROM 就诊 WHERE 科室 <> {x} GROUP BY 科室",
        lambda run: f"'{run} 科'",
    ),
    Question(
        "各区县平均收入",
        "clinic",
        1,
        "SELECT 区县, AVG(年收入) AS 平均 FROM 居民 WHERE 年收入 < {x} GROUP BY 区县",
        below(190000),
    ),
)

SMALL = Question("count of tax units", "income", 0, "SELECT COUNT(*) AS n FROM tax_units WHERE wages >= {x}", above(1))
"""What the gateway's own overhead is measured on."""
REFUSED = "SELECT MAX(wages) FROM tax_units"
EVERY = TPCH + INCOME + CLINIC
