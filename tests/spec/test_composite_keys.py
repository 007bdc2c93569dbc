"""Links and keys of several columns: a join is over all of them, and a part of them ties nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from gateway.admission import joining, roles
from gateway.admission.alternatives import Asked, with_alternatives
from gateway.errors import Refusal
from gateway.sql import joins, subqueries
from sandbox.relational.derive import derive
from sandbox.relational.facts import Facts, Refuse, Schema
from sandbox.relational.lower import relations
from sandbox.relational.lower.relations import UNIT
from sandbox.relational.nodes import Join, Output, Public, Relation, Scan, find_release
from sandbox.relational.plan import plan_release
from sandbox.relational.rules import joins as domain_joins
from tests.composite_world import make_shops, shops
from tests.sensitivity import looks
from tests.sql_shown import named
from tests.sql_world import LIMITS
from tests.sql_world import admitted as admitted_by
from tests.sql_world import refusal as refusal_by

POLICIES = {"shops": shops()}
SCHEMA = Schema(shops(), {"offers": {"part": (0, 1, 2), "maker": (0, 1), "grade": ("a", "b")}})
ALL = "o.shop = l.shop AND o.nr = l.order_nr"
LINKED = "(lines#0) inner join (orders#1) on 0.order_nr = 1.nr & 0.shop = 1.shop"


def plan(sql: str) -> Output:
    return admitted_by(sql, policies=POLICIES).question.plan


def refused(sql: str) -> Refusal:
    return refusal_by(sql, policies=POLICIES)


def joined(sql: str) -> Relation:
    return find_release(plan(sql)).source


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            f"SELECT COUNT(*) AS n FROM lines l JOIN orders o ON {ALL}",
            f"{LINKED} | release rows | n = [rows]",
        ),
        (
            "SELECT COUNT(*) AS n FROM lines JOIN (SELECT shop, nr AS order_nr FROM orders) o USING (order_nr, shop)",
            f"{LINKED} | release rows | n = [rows]",
        ),
        (
            "SELECT grade, COUNT(*) AS n FROM lines l LEFT JOIN offers f ON l.part = f.part AND f.maker = l.maker"
            " GROUP BY grade",
            "(lines#0) left join (public offers#1) on 0.maker = 1.maker & 0.part = 1.part | release rows by 1.grade"
            " | grade = k0, n = [rows]",
        ),
        (
            "SELECT COUNT(*) AS n FROM lines l JOIN lines m ON l.shop = m.shop AND l.order_nr = m.order_nr",
            "(lines#0) inner join (lines#1) on 0.order_nr = 1.order_nr & 0.shop = 1.shop | release rows | n = [rows]",
        ),
        (
            "SELECT COUNT(*) AS n FROM offers f JOIN lines l ON l.maker = f.maker",
            "(lines#0) inner join (public offers#1) on 0.maker = 1.maker | release rows | n = [rows]",
        ),
        (
            f"SELECT COUNT(*) AS n FROM orders o WHERE EXISTS (SELECT 1 FROM lines l WHERE {ALL} AND l.pieces > 3)",
            "(orders#0) semi join (lines#1 | where greater(1.pieces, 3)) on 0.nr = 1.order_nr & 0.shop = 1.shop"
            " | release rows | n = [rows]",
        ),
    ],
)
def test_a_join_over_all_columns_is_read_as_its_plan(sql: str, expected: str) -> None:
    assert named(plan(sql)) == expected
    assert plan_release(find_release(plan(sql)), SCHEMA)


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        (
            "SELECT COUNT(*) FROM lines l JOIN orders o ON l.shop = o.shop",
            "join them ON `l.order_nr = o.nr AND l.shop = o.shop`",
        ),
        (
            "SELECT COUNT(*) FROM orders o JOIN lines l ON l.order_nr = o.nr",
            "join them ON `o.nr = l.order_nr AND o.shop = l.shop`",
        ),
        (
            "SELECT COUNT(*) FROM orders o LEFT JOIN lines l ON o.shop = l.shop AND l.pieces > 3",
            "join them ON `o.nr = l.order_nr AND o.shop = l.shop`",
        ),
        ("SELECT COUNT(*) FROM lines l, offers f", "ON `l.maker = f.maker AND l.part = f.part` or `l.maker = f.maker`"),
        ("SELECT COUNT(*) FROM lines l JOIN offers f ON l.part = f.part", "`l.maker = f.maker AND l.part = f.part`"),
        (
            "SELECT COUNT(*) FROM orders a JOIN orders b ON a.bid = b.bid JOIN lines l"
            " ON l.shop = a.shop AND l.order_nr = b.nr",
            "`a.nr = l.order_nr AND a.shop = l.shop`",
        ),
        (
            "SELECT COUNT(*) FROM (SELECT a.shop, b.nr FROM orders a JOIN orders b ON a.bid = b.bid) x JOIN lines l"
            " ON l.shop = x.shop AND l.order_nr = x.nr",
            "JOIN … ON",
        ),
    ],
)
def test_a_join_over_a_part_of_a_link_or_key_is_refused_and_told_all_of_it(sql: str, hint: str) -> None:
    found = refused(sql)
    assert found.code == "join_not_allowed"
    assert hint in (found.hint or "")


def test_a_part_beside_the_unit_is_a_condition_and_keys_are_no_conditions() -> None:
    found = refused("SELECT COUNT(*) FROM orders a JOIN orders b ON a.bid = b.bid AND a.shop = b.shop")
    assert found.code == "column_not_filterable"


@pytest.mark.parametrize(
    ("sql", "whole"),
    [
        (
            "SELECT COUNT(*) FROM lines l, orders o",
            "lines AS l JOIN orders AS o ON l.shop = o.shop AND l.order_nr = o.nr",
        ),
        ("SELECT COUNT(*) FROM lines, offers", "ON lines.part = offers.part AND lines.maker = offers.maker"),
    ],
)
def test_the_query_offered_instead_of_a_comma_equates_all_columns(sql: str, whole: str) -> None:
    offered = with_alternatives(refused(sql), Asked(sql, {}, POLICIES, LIMITS)).alternatives
    assert any(whole in one.sql for one in offered)
    assert all(plan(one.sql) for one in offered)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM (SELECT {} FROM lines GROUP BY {} HAVING SUM(pieces) > 3) x",
        "SELECT COUNT(*) FROM (SELECT pieces, ROW_NUMBER() OVER (PARTITION BY {} ORDER BY pieces) AS r FROM lines) x"
        " WHERE r = 1",
        "SELECT COUNT(*) FROM (SELECT DISTINCT {} FROM lines) x",
    ],
)
def test_rows_within_an_end_of_a_link_are_of_one_unit_and_within_a_part_of_it_are_not(sql: str) -> None:
    assert plan(sql.format(*["shop, order_nr"] * 2))
    for part in ("shop", "order_nr", "shop, part"):
        assert refused(sql.format(part, part)).code == "construct_not_allowed"


def test_a_subquery_is_tied_by_all_columns_of_a_link() -> None:
    sql = "SELECT COUNT(*) FROM orders o WHERE (SELECT SUM(l.pieces) FROM lines l WHERE {}) > 3"
    assert plan(sql.format(ALL))
    found = refused(sql.format("o.shop = l.shop"))
    assert (found.code, "many units" in found.message or "tied" in found.message) == ("construct_not_allowed", True)


def test_a_figure_of_reference_data_is_found_by_the_whole_key() -> None:
    sql = "SELECT COUNT(*) FROM lines l WHERE (SELECT grade FROM offers f WHERE {}) = 'a'"
    assert plan(sql.format("f.part = l.part AND f.maker = l.maker"))
    assert refused(sql.format("f.part = l.part")).code == "construct_not_allowed"


PARTS = [
    "SELECT COUNT(*) FROM lines l JOIN orders o ON l.shop = o.shop",
    "SELECT COUNT(*) FROM lines l JOIN lines m ON l.shop = m.shop",
    "SELECT COUNT(*) FROM lines l JOIN offers f ON l.part = f.part",
    "SELECT COUNT(*) FROM lines l LEFT JOIN offers f ON l.part = f.part",
]


@pytest.mark.parametrize("sql", PARTS)
def test_planted_a_resolver_that_takes_a_part_is_caught_by_admission_and_then_by_the_domain(
    sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (joins, subqueries):
        monkeypatch.setattr(module, "tied", lambda reading, left, right, pairs: tuple(pairs))
    assert refused(sql).code == "join_not_allowed"
    monkeypatch.setattr(roles, "require_joinable", lambda join, trace: None)
    with pytest.raises(Refuse) as caught:
        derive(joined(sql), SCHEMA)
    assert caught.value.refused.code == "join_not_allowed"
    monkeypatch.setattr(domain_joins, "_linked", lambda pairs, schema: True)
    monkeypatch.setattr(Facts, "is_unique", lambda facts, names: True)
    assert derive(joined(sql), SCHEMA)


def test_planted_a_resolver_that_mixes_two_rows_of_a_table_is_caught_by_admission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attack = (
        "SELECT COUNT(*) FROM orders a JOIN orders b ON a.bid = b.bid JOIN lines l"
        " ON l.shop = a.shop AND l.order_nr = b.nr"
    )
    monkeypatch.setattr(joins, "tied", lambda reading, left, right, pairs: tuple(pairs))
    assert refused(attack).code == "join_not_allowed"
    monkeypatch.setattr(joining, "_one_unit", lambda left, right, met, trace: True)
    assert plan(attack)


WHOLE = Join(Scan("lines", 0), Scan("orders", 1), "inner", (("0.order_nr", "1.nr"), ("0.shop", "1.shop")))
OFFERED = Join(Scan("lines", 0), Public("offers", 1), "inner", (("0.maker", "1.maker"), ("0.part", "1.part")))


def test_a_row_meets_one_partner_over_a_whole_link_or_key_and_the_fan_out_over_a_part() -> None:
    by_maker = Join(Scan("lines", 0), Public("offers", 1), "inner", (("0.maker", "1.maker"),))
    assert [derive(one, SCHEMA).multiplicity for one in (WHOLE, OFFERED, by_maker)] == [6, 6, 18]


QUESTIONS = [
    f"SELECT COUNT(*), SUM(l.pieces) FROM lines l JOIN orders o ON {ALL}",
    f"SELECT SUM(o.paid) FROM orders o LEFT JOIN lines l ON {ALL}",
    "SELECT grade, SUM(l.pieces) FROM lines l JOIN offers f ON l.part = f.part AND l.maker = f.maker GROUP BY grade",
    "SELECT grade, COUNT(*) FROM lines l JOIN offers f ON l.maker = f.maker GROUP BY grade",
    f"SELECT COUNT(*) FROM orders o WHERE (SELECT SUM(l.pieces) FROM lines l WHERE {ALL}) > 3",
    "SELECT SUM(n) FROM (SELECT shop, order_nr, COUNT(*) AS n FROM lines GROUP BY shop, order_nr) x",
]


def _violations(worlds: int, questions: Sequence[str]) -> list[str]:
    dice, found = random.Random(20261124), list[str]()
    for _ in range(worlds):
        world = make_shops(dice)
        with world.connection:
            for sql in questions:
                release = plan_release(find_release(plan(sql)), world.schema)
                found += [one for one in looks(dice, world, release, range(world.units)) if one is not None]
    return found


def test_one_unit_moves_joins_over_several_columns_by_no_more_than_declared() -> None:
    assert _violations(4, QUESTIONS) == []


def test_planted_a_part_of_a_link_lets_units_meet_only_where_the_hidden_unit_is_not_equated_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part = ["SELECT SUM(o.paid) FROM lines l JOIN orders o ON l.shop = o.shop"]
    monkeypatch.setattr(joins, "tied", lambda reading, left, right, pairs: tuple(pairs))
    monkeypatch.setattr(roles, "require_joinable", lambda join, trace: None)
    monkeypatch.setattr(domain_joins, "_linked", lambda pairs, schema: True)
    assert _violations(2, part) == []
    conditions = relations._conditions
    monkeypatch.setattr(relations, "_conditions", lambda *three: (one for one in conditions(*three) if UNIT not in one))
    assert _violations(2, part)
