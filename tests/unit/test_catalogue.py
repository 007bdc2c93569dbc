"""What the catalogue says of a column is what a question may do with it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.cli.asking import _domain, _heading
from gateway.http.catalogue import _column, _table
from policies.model import AggregateName, Column, Mode
from policies.types import Type
from tests.composite_world import shops

BINS = (Decimal(0), Decimal(10))
OPEN: frozenset[AggregateName] = frozenset({"count", "count_distinct", "sum", "avg", "median", "var"})


def told(
    role: Any, grant: Any = "none", modes: tuple[Mode, ...] = ("dp",), opened: bool = False, **more: Any
) -> dict[str, Any]:
    return _column(Column("x", Type("integer"), role, grant, OPEN, **more), modes, opened=opened)


@pytest.mark.parametrize(
    ("column", "use"),
    [
        (told("dimension", "range"), "group and filter"),
        (told("dimension"), "group"),
        (told("measure"), "aggregate"),
        (told("measure", "range", bins=BINS), "aggregate, filter, group by bin(x)"),
        (told("key"), "joins only, never shown"),
        (told("key", "equality"), "joins and filters, never shown"),
        (told("hidden"), "not available"),
        (told("hidden", modes=("open",), opened=True), "not available"),
        (told("key", modes=("open",), opened=True), "anything"),
        (told("key", modes=("dp", "open"), opened=True), "joins only, never shown; in mode `open` anything"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_the_words_name_all_that_the_policy_opens(column: dict[str, Any], use: str) -> None:
    assert column["use"] == use


def test_aggregates_that_no_question_may_hold_are_not_promised() -> None:
    assert told("measure")["aggregates"] == sorted(OPEN)
    assert told("measure", modes=("aggregate", "dp"))["aggregates"] == sorted(OPEN)
    assert told("measure", modes=("aggregate",))["aggregates"] == ["avg", "count", "sum"]
    assert told("unit")["aggregates"] == ["count_distinct"]


def test_a_table_says_how_it_hangs_together_and_what_counts() -> None:
    unit = {"name": "person"}
    own = {"name": "people", "public": False, "link": None, "rows_per_unit_max": 1}
    assert _heading(own, unit) == "people (at most 1 row per person)"
    linked = {"name": "visits", "public": False, "link": "pid = people.pid", "rows_per_unit_max": 20}
    assert _heading(linked, unit) == "visits (at most 20 rows per person, pid = people.pid)"
    assert _heading({"name": "places", "public": True}, unit) == "places (public)"


def test_the_domain_names_bins_forms_and_joins() -> None:
    assert _domain({"range": ["0", "9"], "bins": ["0", "5", "9"]}) == "0 to 9; bins at 0, 5, 9"
    assert _domain({"via": ["year"]}) == "as year"
    assert _domain({"joins": ["places.code"]}) == "joins places.code"


def test_keys_and_links_of_several_columns_are_told_whole() -> None:
    lines, offers = (_table(shops().tables[name], ("dp",)) for name in ("lines", "offers"))
    assert lines["link"] == "shop = orders.shop AND order_nr = orders.nr"
    assert offers["key"] == ["part", "maker"]
    assert _heading(offers, {"name": "buyer"}) == "offers (public, key part AND maker)"
    assert (_table(shops().tables["orders"], ("dp",))["link"], lines["key"]) == ("bid = buyers.bid", None)
