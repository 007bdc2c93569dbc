"""The questions, each beside its exact twin and what each unit adds to its answer.

The queries of Race-to-the-Top (Dong et al., SIGMOD 2022) are those of the authors' repository, hkustDB/Race-to-the-Top,
folder `Query/` at commit 9a60465: TPC-H queries made into one number, their predicates widened. Their figures are from
`Result/TPCH/` there: scale 1, epsilon 0.8, a global sensitivity of 10^6, and of ten runs the mean of the middle six.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["total", "mean", "other"]
"""What the best fixed clip is searched for: totals (counts and sums), means; nothing for the rest."""
UnitName = Literal["customer", "orders", "supplier"]


@dataclass(frozen=True, slots=True)
class Question:
    """One number, or one for each group."""

    name: str
    unit: UnitName
    ours: str
    exact: str
    """Over the untouched files; the same text where it is not said."""
    keys: int = 0
    kind: Kind = "other"
    units: str = ""
    """Rows (u, g, v): what unit `u` adds to group `g`. Of a mean rows (u, g, x): every value; `x` may be null."""
    bounded: bool = True
    """Whether ranges of measures matter: not to counts."""


@dataclass(frozen=True, slots=True)
class Raced:
    """A query of R2T. `theirs` is the authors' absolute error over their exact answer."""

    question: Question
    theirs: float
    note: str
    unit_of_gs: float = 1.0
    """What one of their units is in ours: they sum Q11 in millions."""


def _raced(  # noqa: PLR0913  # a line of the table below
    name: str,
    unit: UnitName,
    *,
    exact: str,
    ours: str,
    units: str,
    theirs: float,
    note: str = "the same unit",
    bounded: bool = False,
    unit_of_gs: float = 1.0,
) -> Raced:
    question = Question(name, unit, ours, exact, kind="total", units=units, bounded=bounded)
    return Raced(question, theirs, note, unit_of_gs)


_LINES_OF_ORDERS: Final = "lineitem JOIN orders ON l_orderkey = o_orderkey"
_Q12: Final = "SELECT COUNT(*) FROM orders, lineitem WHERE o_orderkey = l_orderkey"
_Q12_ERROR: Final = 1372.9819668734756 / 6001215
RACED: Final = (
    _raced(
        "Q3",
        "customer",
        exact="SELECT COUNT(*) FROM customer, orders, lineitem WHERE orders.o_custkey = customer.c_custkey"
        " AND lineitem.l_orderkey = orders.o_orderkey AND o_orderdate < DATE '1997-01-01'"
        " AND l_shipdate > DATE '1994-01-01'",
        ours="SELECT COUNT(*) AS n FROM customer JOIN orders ON o_custkey = c_custkey"
        " JOIN lineitem ON l_orderkey = o_orderkey WHERE o_orderdate < DATE '1997-01-01'"
        " AND l_shipdate > DATE '1994-01-01'",
        units=f"SELECT o_custkey AS u, 0 AS g, COUNT(*) AS v FROM {_LINES_OF_ORDERS}"
        " WHERE o_orderdate < DATE '1997-01-01' AND l_shipdate > DATE '1994-01-01' GROUP BY o_custkey",
        theirs=7338.6182154278895 / 2888656,
    ),
    _raced(
        "Q10",
        "customer",
        exact="SELECT COUNT(*) FROM orders, customer, nation WHERE c_custkey = o_custkey AND c_nationkey = n_nationkey",
        ours="SELECT COUNT(*) AS n FROM orders JOIN customer ON o_custkey = c_custkey"
        " JOIN nation ON c_nationkey = n_nationkey",
        units="SELECT o_custkey AS u, 0 AS g, COUNT(*) AS v FROM orders GROUP BY o_custkey",
        theirs=2615.490131188417 / 1500000,
    ),
    _raced(
        "Q12",
        "orders",
        exact=_Q12,
        ours=f"SELECT COUNT(*) AS n FROM {_LINES_OF_ORDERS}",
        units="SELECT l_orderkey AS u, 0 AS g, COUNT(*) AS v FROM lineitem GROUP BY l_orderkey",
        theirs=_Q12_ERROR,
    ),
    _raced(
        "Q12 for customers",
        "customer",
        exact=_Q12,
        ours=f"SELECT COUNT(*) AS n FROM {_LINES_OF_ORDERS}",
        units=f"SELECT o_custkey AS u, 0 AS g, COUNT(*) AS v FROM {_LINES_OF_ORDERS} GROUP BY o_custkey",
        theirs=_Q12_ERROR,
        note="theirs protects an order, this a customer with all orders",
    ),
    _raced(
        "Q18",
        "customer",
        exact="SELECT SUM(l_quantity) FROM customer, orders, lineitem"
        " WHERE c_custkey = o_custkey AND o_orderkey = l_orderkey",
        ours="SELECT SUM(l_quantity) AS quantity FROM customer JOIN orders ON o_custkey = c_custkey"
        " JOIN lineitem ON l_orderkey = o_orderkey",
        units=f"SELECT o_custkey AS u, 0 AS g, SUM(l_quantity) AS v FROM {_LINES_OF_ORDERS} GROUP BY o_custkey",
        theirs=201957.5274197956 / 153078795,
        bounded=True,
    ),
    _raced(
        "Q11",
        "supplier",
        exact="SELECT SUM(ps_supplycost * ps_availqty) FROM nation, supplier, partsupp"
        " WHERE ps_suppkey = s_suppkey AND s_nationkey = n_nationkey",
        ours="SELECT SUM(ps_supplycost * ps_availqty) AS worth FROM partsupp"
        " JOIN supplier ON ps_suppkey = s_suppkey JOIN nation ON s_nationkey = n_nationkey",
        units="SELECT ps_suppkey AS u, 0 AS g, SUM(ps_supplycost * ps_availqty) AS v FROM partsupp GROUP BY ps_suppkey",
        theirs=36438.29662507004 / 2003609.4090069411,
        note="the same unit; they sum in millions",
        bounded=True,
        unit_of_gs=1e6,
    ),
    _raced(
        "Q20",
        "supplier",
        exact="SELECT COUNT(*) FROM supplier, nation, partsupp, lineitem WHERE l_partkey = ps_partkey"
        " AND l_suppkey = ps_suppkey AND s_nationkey = n_nationkey AND s_suppkey = ps_suppkey",
        ours="SELECT COUNT(*) AS n FROM lineitem JOIN supplier ON l_suppkey = s_suppkey"
        " JOIN nation ON s_nationkey = n_nationkey",
        units="SELECT l_suppkey AS u, 0 AS g, COUNT(*) AS v FROM lineitem GROUP BY l_suppkey",
        theirs=34725.64079950517 / 6001215,
        note="the same unit; partsupp has one row for each line, and is left out",
    ),
)


def _by(aggregate: str, table: str, key: str, alias: str) -> str:
    return f"SELECT {key}, {aggregate} AS {alias} FROM {table} GROUP BY {key}"


_REVENUE: Final = "l_extendedprice * (1 - l_discount)"
_OWNED: Final = f"{_LINES_OF_ORDERS} JOIN customer ON o_custkey = c_custkey JOIN nation ON c_nationkey = n_nationkey"
_MONTHS: Final = "SELECT date_trunc('month', o_orderdate) AS month, COUNT(*) AS n FROM orders GROUP BY {}"


def _q(  # noqa: PLR0913  # a line of the table below
    name: str,
    ours: str,
    *,
    keys: int = 0,
    kind: Kind = "other",
    units: str = "",
    bounded: bool = True,
    exact: str | None = None,
) -> Question:
    return Question(name, "customer", ours, exact or ours, keys, kind, units, bounded)


def _units(value: str, group: str = "0", table: str = "orders") -> str:
    return f"SELECT o_custkey AS u, {group} AS g, {value} AS v FROM {table} GROUP BY u, g"


def _values(value: str, group: str = "0", table: str = "orders", unit: str = "o_custkey") -> str:
    return f"SELECT {unit} AS u, {group} AS g, {value} AS x FROM {table}"


SUITE: Final = (
    _q("count of orders", "SELECT COUNT(*) AS n FROM orders", kind="total", units=_units("COUNT(*)"), bounded=False),
    _q(
        "orders by priority",
        _by("COUNT(*)", "orders", "o_orderpriority", "n"),
        keys=1,
        kind="total",
        units=_units("COUNT(*)", "o_orderpriority"),
        bounded=False,
    ),
    _q(
        "orders by month",
        _MONTHS.format("date_trunc('month', o_orderdate)"),
        keys=1,
        kind="total",
        units=_units("COUNT(*)", "CAST(date_trunc('month', o_orderdate) AS DATE)"),
        bounded=False,
        exact=_MONTHS.format("month").replace(
            "date_trunc('month', o_orderdate)", "CAST(date_trunc('month', o_orderdate) AS DATE)"
        ),
    ),
    _q(
        "orders by clerk (private keys)",
        _by("COUNT(*)", "orders", "o_clerk", "n"),
        keys=1,
        kind="total",
        units=_units("COUNT(*)", "o_clerk"),
        bounded=False,
    ),
    _q(
        "total price",
        "SELECT SUM(o_totalprice) AS total FROM orders",
        kind="total",
        units=_units("SUM(o_totalprice)"),
    ),
    _q(
        "total price by status",
        _by("SUM(o_totalprice)", "orders", "o_orderstatus", "total"),
        keys=1,
        kind="total",
        units=_units("SUM(o_totalprice)", "o_orderstatus"),
    ),
    _q(
        "revenue by nation",
        _by(f"SUM({_REVENUE})", _OWNED, "n_name", "revenue"),
        keys=1,
        kind="total",
        units=_units(f"SUM({_REVENUE})", "n_name", _OWNED),
    ),
    _q(
        "mean price",
        "SELECT AVG(o_totalprice) AS mean FROM orders",
        kind="mean",
        units=_values("o_totalprice"),
    ),
    _q(
        "mean price by status",
        _by("AVG(o_totalprice)", "orders", "o_orderstatus", "mean"),
        keys=1,
        kind="mean",
        units=_values("o_totalprice", "o_orderstatus"),
    ),
    _q(
        "mean balance by segment",
        _by("AVG(c_acctbal)", "customer", "c_mktsegment", "mean"),
        keys=1,
        kind="mean",
        units=_values("c_acctbal", "c_mktsegment", "customer", "c_custkey"),
    ),
    _q(
        "median price",
        "SELECT MEDIAN(o_totalprice) AS middle FROM orders",
        exact="SELECT quantile_disc(o_totalprice, 0.5) FROM orders",
    ),
    _q(
        "median price by status",
        _by("MEDIAN(o_totalprice)", "orders", "o_orderstatus", "middle"),
        keys=1,
        exact=_by("quantile_disc(o_totalprice, 0.5)", "orders", "o_orderstatus", "middle"),
    ),
    _q("variance of price", "SELECT VAR_SAMP(o_totalprice) AS variance FROM orders"),
    _q("deviation of price", "SELECT STDDEV_SAMP(o_totalprice) AS deviation FROM orders"),
    _q(
        "deviation of price by status",
        _by("STDDEV_SAMP(o_totalprice)", "orders", "o_orderstatus", "deviation"),
        keys=1,
    ),
)
