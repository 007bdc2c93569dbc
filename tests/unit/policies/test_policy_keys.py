"""Links and keys of several columns in policies: what they are read as, and what is refused at which place."""

from __future__ import annotations

import pytest

from policies import links
from policies.lint import lint
from policies.load import load_text
from policies.model import Link
from policies.problems import PolicyError
from policies.schema import policy_schema
from tests.composite_world import shops_text

SHOPS = shops_text()
TO = '["orders.shop", "orders.nr"]'
LINK = 'link = { columns = ["shop", "order_nr"], to = ["orders.shop", "orders.nr"] }'
KEY = 'key = ["part", "maker"]'
ORDERS, LINES, OFFERS = "tables.orders", "tables.lines", "tables.offers"


def problems(*changes: tuple[str, str]) -> dict[str, str]:
    text = SHOPS
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with pytest.raises(PolicyError) as caught:
        load_text(text, "policy.toml")
    return {problem.place: str(problem) for problem in caught.value.problems}


def test_a_list_is_read_in_its_order_and_one_name_as_a_list_of_one() -> None:
    tables = load_text(SHOPS, "policy.toml").tables
    assert tables["lines"].link == Link(("shop", "order_nr"), "orders", ("shop", "nr"))
    assert tables["orders"].link == Link(("bid",), "buyers", ("bid",))
    assert tables["lines"].link.pairs == (("shop", "shop"), ("order_nr", "nr"))
    assert (tables["offers"].key, tables["lines"].key) == (("part", "maker"), ())


def test_the_ends_of_links_are_told_for_each_table() -> None:
    policy = load_text(SHOPS, "policy.toml")
    assert [end.names for end in policy.link_ends("orders")] == [{"bid"}, {"shop", "nr"}]
    (end,) = policy.link_ends("lines")
    assert end.names == {"shop", "order_nr"}
    assert [end.meets(other) for other in policy.link_ends("orders")] == [set(), {("shop", "shop"), ("order_nr", "nr")}]
    assert end.meets(end) == {("shop", "shop"), ("order_nr", "order_nr")}
    assert list(policy.link_ends("offers")) == []


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        (LINK, LINK.replace("link = {", 'link = { column = "shop",'), f"{LINES}.link.columns", "not both"),
        (LINK, 'link = { to = "orders.nr" }', f"{LINES}.link.column", "this key is missing"),
        (LINK, LINK.replace(', "orders.nr"]', "]"), f"{LINES}.link.to", "a list names 2 to 16 columns"),
        (LINK, LINK.replace(TO, '"orders.nr"'), f"{LINES}.link.to", "2 columns do not equal 1"),
        (LINK, LINK.replace("columns", "column").replace('["shop", "order_nr"]', '"shop"'), f"{LINES}.link.to", "1 "),
        (LINK, LINK.replace('"orders.nr"', '"buyers.age"'), f"{LINES}.link.to", "one table, not to `orders`, `buyers`"),
        (LINK, LINK.replace('"orders.nr"', '"orders.shop"'), f"{LINES}.link.to", "`orders.shop` is listed twice"),
        (LINK, LINK.replace('"order_nr"', '"shop"'), f"{LINES}.link.columns", "`shop` is listed twice"),
        (LINK, LINK.replace('["shop", "order_nr"]', '["shop"]'), f"{LINES}.link.columns", "without brackets"),
        (LINK, LINK.replace('["shop", "order_nr"]', '"shop"'), f"{LINES}.link.columns", "a list of names"),
        (LINK, LINK.replace('"order_nr"', '"order_no"'), f"{LINES}.link.columns", "did you mean `order_nr`"),
        (LINK, LINK.replace("orders.nr", "orders.mr"), f"{LINES}.link.to", "lists no column `mr`"),
        (LINK, LINK.replace("orders.nr", "orders.bid"), f"{LINES}.link.to", 'to = "buyers.bid"'),
        (LINK, LINK.replace(TO, '["buyers.age", "buyers.bid"]'), f"{LINES}.link.to", "the unit is one column"),
        (LINK, LINK.replace("orders.nr", "orders.paid"), f"{ORDERS}.columns.paid.role", "is `key` or `hidden`"),
        (LINK, LINK.replace("order_nr", "pieces"), f"{LINES}.columns.pieces.role", "would show who is who"),
        (LINK, LINK.replace(TO, '["offers.part", "offers.maker"]'), f"{LINES}.link.to", "is public"),
        ('order_nr = { type = "bigint"', 'order_nr = { type = "text"', f"{LINES}.link", "cannot be equal"),
        (KEY, 'key = ["part", "part"]', f"{OFFERS}.key", "listed twice"),
        (KEY, 'key = ["part"]', f"{OFFERS}.key", "without brackets"),
        (KEY, "key = []", f"{OFFERS}.key", "without brackets"),
        (KEY, "key = 7", f"{OFFERS}.key", "a name in quotes is expected, or a list"),
        (KEY, 'key = ["part", 7]', f"{OFFERS}.key", "a name in quotes is expected, or a list"),
        (KEY, 'key = ["part", "a b"]', f"{OFFERS}.key", "is not a name"),
        (KEY, 'key = ["part", "makr"]', f"{OFFERS}.key", "did you mean `maker`"),
        (KEY, 'key = "maker"', f"{OFFERS}.fan_out", "is the key"),
        ('["offers.part"]', '["offers.grade"]', f"{LINES}.columns.part.joins", "is no key"),
        ('column = "buyers.bid"\n', 'column = ["buyers.bid", "buyers.age"]\n', "unit.column", "text in quotes"),
    ],
)  # fmt: skip
def test_what_does_not_pair_up_is_refused_at_its_place(old: str, new: str, place: str, words: str) -> None:
    found = problems((old, new))
    assert words in found[place]


def test_a_link_that_does_not_pair_up_is_said_once() -> None:
    assert list(problems((LINK, LINK.replace('["orders.shop", "orders.nr"]', '"orders.nr"')))) == [f"{LINES}.link.to"]


def test_planted_without_the_check_of_roles_a_link_by_a_measure_would_load(monkeypatch: pytest.MonkeyPatch) -> None:
    text = SHOPS.replace('"order_nr"]', '"pieces"]')
    with pytest.raises(PolicyError):
        load_text(text, "policy.toml")
    monkeypatch.setattr(links, "_check_roles", lambda *_: None)
    assert load_text(text, "policy.toml")


def test_editors_are_told_of_both_forms() -> None:
    documents = policy_schema()["$defs"]
    one, several = documents["TableDocument"]["properties"]["key"]["anyOf"]
    assert (one["type"], several["type"], several["minItems"], several["uniqueItems"]) == ("string", "array", 2, True)
    assert several["items"] == one
    assert documents["LinkDocument"]["required"] == ["to"]


def test_a_column_that_joins_a_part_of_a_key_without_the_rest_is_odd_unless_it_has_a_fan_out() -> None:
    codes = [(found.code, found.place) for found in lint(load_text(SHOPS, "policy.toml"))]
    assert "key_in_part" not in dict(codes)
    for joined, alone in (("maker", "part"), ("part", "maker")):
        text = SHOPS.replace(f', joins = ["offers.{joined}"]', "")
        codes = [(found.code, found.place) for found in lint(load_text(text, "policy.toml"))]
        odd = ("key_in_part", f"{LINES}.columns.{alone}.joins")
        assert (odd in codes) == (alone == "part")
