"""Documents that contradict themselves, each refused at its place in an author's words."""

from __future__ import annotations

import re

import pytest
from clinic_text import CLINIC, OPEN, changed

from policies import load, tables
from policies.documents import ReleaseDocument
from policies.load import load_text
from policies.model import Release
from policies.problems import PolicyError, Report

P, V, D, H = "tables.people", "tables.visits", "tables.drugs", "tables.hospitals"
SEX = '"text",          role = "dimension", values = ["F", "M"]'
INCOME = 'range = [0, 200000], step = 1, aggregates = ["count", "sum", "avg"]'
COST = "range = [0, 20000], bins = [0, 100, 1000, 20000]"
GRAMS = "range = [0, 50]"
DOSES = "range = [0, 9]"
GIVEN = 'via = ["month"], range = [2020-01-01T00:00:00, 2026-12-31T23:59:59]'
VISIT_ID = 'visit_id   = { type = "integer",       role = "key" }'
LEVEL = 'level      = { type = "text",          role = "dimension" }'
LINK = 'link = { column = "pid", to = "people.pid" }'

CONTRADICTIONS = [
    # the head
    ("format = 1\n", "format = 2\n", "format", "`2` is not one of `1`"),
    ("format = 1\n", "", "format", "this key is missing"),
    ('dataset = "clinic"', 'dataset = "licences"', "dataset", "folder of licences"),
    ('dataset = "clinic"', 'dataset = "a.b"', "dataset", "is not a name"),
    ('dataset = "clinic"', 'dataset = "../x"', "dataset", "is not a name"),
    ('dataset = "clinic"', 'dataset = ""', "dataset", "is not a name"),
    ('title = { en = "Outpatient visits", zh = "门诊就诊" }', "title = {}", "title", "at least 1 must be given"),
    (
        'title = { en = "Outpatient visits",',
        'title = { "e n" = "Outpatient",',
        "title.e n",
        "not written as it must be",
    ),
    ('title = { en = "Outpatient visits",', 'title = { en = " ",', "title.en", "may not be empty"),
    ('supply = "authorised"', 'supply = "free"', "supply", "not one of `open`, `shared`, `authorised`, `withheld`"),
    ('["public-health", "actuarial"]', "[]", "purposes", "at least 1 must be given"),
    ('["public-health", "actuarial"]', '["a", "a"]', "purposes", "`a` is listed twice"),
    ('["public-health", "actuarial"]', '["a\\u0007"]', "purposes.1", "without control characters"),
    ('owner = "Municipal Health Commission"', "owner = 7", "owner", "a text in quotes is expected"),
    # the unit
    ('column = "people.pid"', 'column = "people.id"', "unit.column", "lists no column `id`; did you mean `pid`"),
    ('column = "people.pid"', 'column = "peple.pid"', "unit.column", "no table `peple`; did you mean `people`"),
    ('column = "people.pid"', 'column = "people"', "unit.column", "write `table.column`"),
    ('column = "people.pid"', 'column = "hospitals.id"', "unit.column", "is public"),
    ('column = "people.pid"', 'column = "people.name"', f"{P}.columns.name.role", "its role is `unit`"),
    (
        'pid        = { type = "integer",       role = "unit" }',
        'pid = { type = "integer", role = "hidden" }',
        f"{P}.columns.pid.role",
        "its role is `unit`",
    ),
    ("count_max = 2000000", "count_max = 0", "unit.count_max", "must be 1 or more"),
    ("count_max = 2000000", "count_max = 1099511627777", "unit.count_max", "must be 1099511627776 or less"),
    ("count_max = 2000000", "count_max = 2e6", "unit.count_max", "a whole number is expected"),
    ("count_max = 2000000", "count_max = true", "unit.count_max", "a whole number is expected"),
    ("count_about = 280000", "count_about = 2000001", "unit.count_about", "above `count_max`"),
    ('name = "person"', 'nme = "person"', "unit.nme", "no key `nme` here; did you mean `name`"),
    # release
    ('modes = ["dp"]', "modes = []", "release.modes", "at least 1"),
    ('modes = ["dp"]', 'modes = ["dp", "dp"]', "release.modes", "`dp` is listed twice"),
    ('modes = ["dp"]', 'modes = ["secret"]', "release.modes.1", "`secret` is not one of"),
    ("epsilon = 8", "epsilon = 0", "release.dp.epsilon", "above 0 and at most 1000"),
    ("epsilon = 8", "epsilon = 1001", "release.dp.epsilon", "above 0 and at most 1000"),
    ("epsilon = 8", "epsilon = inf", "release.dp.epsilon", "infinity"),
    ("epsilon = 8", "epsilon = nan", "release.dp.epsilon", "`nan`"),
    ("epsilon = 8", "epsilon = 1e40", "release.dp.epsilon", "more than 38 digits"),
    ("epsilon = 8", "epsilon = 1e-999999999", "release.dp.epsilon", "more than 38 digits"),
    ("epsilon = 8", 'epsilon = "8"', "release.dp.epsilon", "a number is expected"),
    ("epsilon = 8", "epsilon = true", "release.dp.epsilon", "a number is expected"),
    ("epsilon = 8", "epsilon = 0.75", "release.dp.epsilon_per_query_max", "above the cap `epsilon`, `0.75`"),
    (
        "epsilon_per_query = 0.5",
        "epsilon_per_query = 2",
        "release.dp.epsilon_per_query",
        "above `epsilon_per_query_max`",
    ),
    ("epsilon_per_query = 0.5", "epsilon_per_query = -1", "release.dp.epsilon_per_query", "above 0"),
    ("epsilon_per_query = 0.5", "epsilon_per_query = 1e-9", "release.dp.epsilon_per_query", "so small"),
    ("delta = 1e-9\n", "", "release.dp.delta", "`zcdp` needs a delta"),
    ("delta = 1e-9\n", "delta = 0\n", "release.dp.delta", "at least 1e-18"),
    ("delta = 1e-9\n", "delta = -1e-9\n", "release.dp.delta", "at least 1e-18"),
    ("delta = 1e-9\n", "delta = 1.1e-6\n", "release.dp.delta", "above 1e-6"),
    ("delta_per_query = 5e-13", "delta_per_query = 0.6e-9", "release.dp.delta_per_query", "above half of `delta`"),
    ("delta_per_query = 5e-13", "delta_per_query = 0", "release.dp.delta_per_query", "this is above 0"),
    ("groups_per_unit_max = 8", "groups_per_unit_max = 0", "release.dp.groups_per_unit_max", "1 or more"),
    (
        "groups_per_unit_max = 8\nunits_min = 10",
        "groups_per_unit_max = 8\nunits_min = 0",
        "release.dp.units_min",
        "1 or more",
    ),
    ("share = 0.85", "share = 1.2", "release.aggregate.dominance.share", "at most 1"),
    ("share = 0.85", "share = 0", "release.aggregate.dominance.share", "above 0"),
    ("p_percent = 10", "p_percent = 101", "release.aggregate.p_percent", "from 0 to 100"),
    ("rounding = 5", "rounding = -5", "release.aggregate.rounding", "0 or more"),
    # columns: names, types, roles
    ("sex        =", '"s.ex" =', f"{P}.columns.s.ex", "is not a name"),
    ("sex        =", '"s\'ex" =', f"{P}.columns.s'ex", "is not a name"),
    ("sex        =", '"" =', f"{P}.columns", "is not a name"),
    ("sex        =", "__unit =", f"{P}.columns.__unit", "reserved"),
    ("sex        =", '"ﬁne" =', f"{P}.columns.ﬁne", "second spelling; write `fine`"),
    ("sex        =", "a" * 64 + " =", f"{P}.columns.{'a' * 60}", "longer than 63"),
    ("sex        =", "NAME =", f"{P}.columns.NAME", "differs from `name` in letter case only"),
    ("sex        =", "RowId =", f"{P}.columns.RowId", "`RowId` is the engine's own name for the number of a row"),
    (
        "[tables.hospitals]",
        '[tables.PEOPLE]\npublic = true\ncolumns.id = { type = "text", role = "key" }\n[tables.hospitals]',
        "tables.PEOPLE",
        "differs from `people` in letter case only",
    ),
    (SEX, SEX.replace("text", "string"), f"{P}.columns.sex.type", "`string` is not a type"),
    (SEX, SEX.replace('"text"', "7"), f"{P}.columns.sex.type", "a type in quotes"),
    (SEX, SEX.replace("dimension", "unit"), f"{P}.columns.sex.role", "role `unit` is for the unit's column"),
    (SEX, SEX.replace("dimension", "key"), f"{P}.columns.sex.values", "never shown or computed with"),
    (SEX, SEX.replace("dimension", "measure"), f"{P}.columns.sex.values", "never grouped by"),
    (SEX, SEX.replace('role = "dimension", ', ""), f"{P}.columns.sex.role", "this key is missing"),
    (
        VISIT_ID,
        VISIT_ID.replace("unit", "key").replace(" }", ", bins = [1, 2] }"),
        f"{V}.columns.visit_id.bins",
        "never shown",
    ),
    (VISIT_ID, VISIT_ID.replace('"key"', '"unit"'), f"{V}.columns.visit_id.role", "role `unit` is for"),
    (
        'role = "unit", nullable = true',
        'role = "unit", filter = "equality"',
        f"{V}.columns.pid.filter",
        "never filtered by",
    ),
    (
        'role = "unit", nullable = true',
        'role = "unit", aggregates = ["max"]',
        f"{V}.columns.pid.aggregates",
        "only be counted",
    ),
    (
        'role = "hidden" }\nsex',
        'role = "hidden", aggregates = ["count"] }\nsex',
        f"{P}.columns.name.aggregates",
        "hidden",
    ),
    (
        'role = "hidden" }\nsex',
        'role = "hidden", filter = "range" }\nsex',
        f"{P}.columns.name.filter",
        "never filtered by",
    ),
    # values
    ('["F", "M"]', '["F", "F"]', f"{P}.columns.sex.values", "`F` is listed twice"),
    ('["F", "M"]', '["F", 1]', f"{P}.columns.sex.values", "`1` is not a text in quotes"),
    ('["F", "M"]', "[]", f"{P}.columns.sex.values", "at least 1"),
    ('["F", "M"]', '["F", ["M"]]', f"{P}.columns.sex.values.2", "a number, a text in quotes"),
    ('["F", "M"]', f'["{"x" * 1001}"]', f"{P}.columns.sex.values", "longer than 1000 characters"),
    ('["F", "M"]', str([str(n) for n in range(10_001)]), f"{P}.columns.sex.values", "more than 10000 were given"),
    (COST, "values = [1, 2]", f"{V}.columns.cost.values", "never grouped by"),
    (
        'role = "measure", range = [0, 9]',
        'role = "dimension", values = [1, 2.0]',
        f"{D}.columns.doses.values",
        "whole number",
    ),
    (
        'role = "measure", range = [0, 9]',
        'role = "dimension", values = [true]',
        f"{D}.columns.doses.values",
        "not a number",
    ),
    (
        'role = "measure", range = [0, 9]',
        'role = "dimension", range = [0, 1], values = [2]',
        f"{D}.columns.doses.values",
        "`2` lies outside `range`",
    ),
    (
        'role = "measure", range = [0, 50]',
        'role = "dimension", values = [0.5]',
        f"{D}.columns.grams.values",
        "declare `bins`",
    ),
    (
        '"boolean",       role = "dimension"',
        '"boolean", role = "dimension", values = [0]',
        f"{D}.columns.paid.values",
        "neither `true` nor `false`",
    ),
    # range and step
    (INCOME, "range = [2, 1]", f"{P}.columns.income.range", "write [lowest, highest]"),
    (INCOME, "range = [1]", f"{P}.columns.income.range", "at least 2"),
    (INCOME, "range = [1, 2, 3]", f"{P}.columns.income.range", "more than 2"),
    (INCOME, "range = [0, 0.001]", f"{P}.columns.income.range", "does not fit into type `decimal(12,2)`"),
    (INCOME, "range = [0, 1e10]", f"{P}.columns.income.range", "does not fit into type"),
    (INCOME, 'range = ["0", "9"]', f"{P}.columns.income.range", "is not a number"),
    (INCOME, "range = [2020-01-01, 2021-01-01]", f"{P}.columns.income.range", "is not a number"),
    (INCOME, "range = [0, nan]", f"{P}.columns.income.range.2", "`nan`"),
    (INCOME, "range = [-inf, 0]", f"{P}.columns.income.range.1", "infinity"),
    (GRAMS, "range = [1, 1]", f"{D}.columns.grams.range", "above the lowest"),
    (DOSES, "range = [0, 1.5]", f"{D}.columns.doses.range", "whole number"),
    (DOSES, "range = [0, 9223372036854775808]", f"{D}.columns.doses.range", "does not fit into type `bigint`"),
    ("[1920-01-01, 2026-12-31]", "[1, 2]", f"{P}.columns.birth_date.range", "is not a date"),
    ("[1920-01-01, 2026-12-31]", "[1920-01-01T00:00:00, 2026-12-31]", f"{P}.columns.birth_date.range", "is not a date"),
    ("[1920-01-01, 2026-12-31]", "[2026-12-31, 1920-01-01]", f"{P}.columns.birth_date.range", "is above the highest"),
    (GIVEN, "range = [2020-01-01, 2026-12-31]", f"{D}.columns.given_at.range", "with a time"),
    (GIVEN, "range = [2020-01-01T00:00:00Z, 2026-12-31T00:00:00Z]", f"{D}.columns.given_at.range", "has an offset"),
    (GIVEN, "range = [10:00:00, 11:00:00]", f"{D}.columns.given_at.range.1", "a number, a text in quotes, a date"),
    (
        SEX,
        '"text", role = "dimension", range = ["A", "Z"]',
        f"{P}.columns.sex.range",
        "has no range; list its `values`",
    ),
    ("step = 1,", "step = 0,", f"{P}.columns.income.step", "a step is above 0"),
    ("step = 1,", "step = -1,", f"{P}.columns.income.step", "a step is above 0"),
    ("step = 1,", "step = 200001,", f"{P}.columns.income.step", "bigger than the range"),
    (DOSES, "range = [0, 9], step = 0.5", f"{D}.columns.doses.step", "whole number"),
    (GRAMS, "step = 1", f"{D}.columns.grams.step", "a step needs a `range`"),
    ('via = ["year", "decade"]', "step = 1", f"{P}.columns.birth_date.step", "has no steps"),
    # via, bins, total, aggregates, joins
    (SEX, SEX.replace('values = ["F", "M"]', 'via = ["year"]'), f"{P}.columns.sex.via", "has no calendar"),
    ('via = ["year", "decade"]', 'via = ["year", "year"]', f"{P}.columns.birth_date.via", "`year` is listed twice"),
    ('via = ["year", "decade"]', 'via = ["century"]', f"{P}.columns.birth_date.via.1", "`century` is not one of"),
    (
        'role = "dimension", via = ["month"]',
        'role = "measure", via = ["month"]',
        f"{D}.columns.given_at.via",
        "never grouped by",
    ),
    ("bins = [0, 100, 1000, 20000]", "bins = [0, 100, 100]", f"{V}.columns.cost.bins", "must increase"),
    ("bins = [0, 100, 1000, 20000]", "bins = [0]", f"{V}.columns.cost.bins", "at least 2"),
    ("bins = [0, 100, 1000, 20000]", "bins = [0, 0.001]", f"{V}.columns.cost.bins", "does not fit into type"),
    ("bins = [0, 100, 1000, 20000]", "bins = [0, inf]", f"{V}.columns.cost.bins.2", "infinity"),
    (SEX, SEX.replace('values = ["F", "M"]', "bins = [1, 2]"), f"{P}.columns.sex.bins", "has no bins"),
    (DOSES, "bins = [0, 1.5]", f"{D}.columns.doses.bins", "whole number"),
    (COST, "total_per_unit_max = 0", f"{V}.columns.cost.total_per_unit_max", "a total is above 0"),
    (SEX, SEX + ", total_per_unit_max = 1", f"{P}.columns.sex.total_per_unit_max", "has no total"),
    (SEX, SEX + ', aggregates = ["sum"]', f"{P}.columns.sex.aggregates", "`sum` cannot be computed from type `text`"),
    ('aggregates = ["count", "sum", "avg"]', 'aggregates = ["sum", "sum"]', f"{P}.columns.income.aggregates", "twice"),
    (SEX, SEX + ', joins = ["hospitals.id"]', f"{P}.columns.sex.joins", 'joins need role = "key"'),
    ('["hospitals.id"]', '["hospital.id"]', f"{V}.columns.hospital.joins", "did you mean `hospitals.id`"),
    ('["hospitals.id"]', '["hospitals.nr"]', f"{V}.columns.hospital.joins", "no column `hospitals.nr`"),
    ('["hospitals.id"]', '["people.pid"]', f"{V}.columns.hospital.joins", "is not public"),
    ('["hospitals.id"]', '["hospitals.level"]', f"{V}.columns.hospital.joins", "is no key"),
    ('["hospitals.id"]', '["hospitals.id", "hospitals.id"]', f"{V}.columns.hospital.joins", "twice"),
    ('["hospitals.id"]', '["hospitals"]', f"{V}.columns.hospital.joins.1", "write `table.column`"),
    (
        'id         = { type = "integer"',
        'id         = { type = "text"',
        f"{V}.columns.hospital.joins",
        "cannot be equal",
    ),
    # links
    (LINK + "\n", "", f"{V}.link", "nothing leads from this table to the unit"),
    (LINK, LINK.replace('"pid"', '"pd"'), f"{V}.link.column", "did you mean `pid`"),
    (LINK, LINK.replace("people.pid", "person.pid"), f"{V}.link.to", "no table `person`"),
    (LINK, LINK.replace("people.pid", "people.id"), f"{V}.link.to", "lists no column `id`"),
    (LINK, LINK.replace("people.pid", "hospitals.id"), f"{V}.link.to", "is public"),
    (LINK, LINK.replace("people.pid", "people.sex"), f"{P}.columns.sex.role", "a link leads here"),
    (LINK, 'link = { column = "visit_id", to = "drugs.visit" }', f"{V}.link", "drugs → visits"),
    (LINK, 'link = { column = "visit_id", to = "visits.visit_id" }', f"{V}.link", "visits → visits"),
    ('role = "unit", nullable = true', 'role = "key"', f"{V}.columns.pid.role", "its role is `unit`"),
    (
        'pid        = { type = "integer",       role = "unit", nullable',
        'pid = { type = "text", role = "unit", nullable',
        f"{V}.link",
        "cannot be equal",
    ),
    ('to = "visits.visit_id"', 'to = "visits.pid"', f"{D}.link.to", 'link directly: to = "people.pid"'),
    (
        'visit      = { type = "integer",       role = "hidden" }',
        'visit = { type = "integer", role = "dimension" }',
        f"{D}.columns.visit.role",
        "would show who is who",
    ),
    ("rows_per_unit_max = 50\n", "", f"{V}.rows_per_unit_max", "this key is missing"),
    ("rows_per_unit_max = 50\n", "rows_per_unit_max = 0\n", f"{V}.rows_per_unit_max", "1 or more"),
    ("[tables.people]\n", "[tables.people]\nrows_per_unit_max = 2\n", f"{V}.link.to", "a unit may have several rows"),
    (
        "[tables.people]\n",
        "[tables.people]\n" + 'link = { column = "pid", to = "visits.pid" }\n',
        f"{P}.link",
        "own table",
    ),
    ("[tables.people]\n", '[tables.people]\nkey = "pid"\n', f"{P}.key", "only public tables have a key"),
    ("[tables.people]\n", "[tables.people]\nfan_out = { pid = 2 }\n", f"{P}.fan_out", "only public tables"),
    # public tables
    ("public = true\n", "public = true\nrows_per_unit_max = 3\n", f"{H}.rows_per_unit_max", "not about units"),
    ("public = true\n", "public = true\n" + LINK + "\n", f"{H}.link", "does not lead to the unit"),
    ("public = true\n", 'public = true\nkey = "nr"\n', f"{H}.key", "`nr` is no column that may be used"),
    ("public = true\n", 'public = true\nkey = "id"\nfan_out = { id = 2 }\n', f"{H}.fan_out", "`id` is the key"),
    ("public = true\n", "public = true\nfan_out = { nr = 2 }\n", f"{H}.fan_out", "`nr` is no column"),
    ("public = true\n", "public = true\nfan_out = { level = 0 }\n", f"{H}.fan_out.level", "1 or more"),
    (LEVEL, LEVEL.replace("dimension", "unit"), f"{H}.columns.level.role", "not about units"),
    (
        LEVEL,
        'level = { type = "integer", role = "measure", total_per_unit_max = 3 }',
        f"{H}.columns.level.total_per_unit_max",
        "not about units",
    ),
]


def problems_of(text: str) -> list[tuple[str, str]]:
    with pytest.raises(PolicyError) as caught:
        load_text(text, "policy.toml")
    return [(problem.place, str(problem)) for problem in caught.value.problems]


@pytest.mark.parametrize(("old", "new", "place", "words"), CONTRADICTIONS)
def test_a_contradiction_is_refused_at_its_place(old: str, new: str, place: str, words: str) -> None:
    found = problems_of(changed((old, new)))
    assert any(at.startswith(place) and words in text for at, text in found), found


@pytest.mark.parametrize(("old", "new", "place", "words"), CONTRADICTIONS)
def test_messages_are_an_authors_words(old: str, new: str, place: str, words: str) -> None:
    foreign = re.compile(r"Decimal|NoneType|\b(dict|str|int)\b|pydantic|datetime\.|Input should|mappingproxy")
    for at, text in problems_of(changed((old, new))):
        message = text.removeprefix(f"{at}: ")
        assert not foreign.search(message), (place, words, message)
        assert not message.endswith(".")
        assert not message[0].isupper(), message


def test_the_file_and_the_place_stand_before_every_message() -> None:
    with pytest.raises(PolicyError) as caught:
        load_text(changed((INCOME, "range = [2, 1]")), "policies/clinic/policy.toml")
    assert str(caught.value).startswith("policies/clinic/policy.toml: tables.people.columns.income.range: ")
    assert isinstance(caught.value, ValueError)


def test_all_problems_are_told_at_once() -> None:
    text = changed(
        ("count_max", "cont_max"),
        ("epsilon = 8", "epsilon = 0.1"),
        (INCOME, "range = [2, 1]"),
        (COST, "range = [0, 1], bogus = 1"),
        (GRAMS, "range = [5, 5]"),
    )
    assert [place for place, _ in problems_of(text)] == [
        "unit.cont_max",
        "unit.count_max",
        "release.dp.epsilon_per_query_max",
        f"{P}.columns.income.range",
        f"{V}.columns.cost.bogus",
        f"{D}.columns.grams.range",
    ]


def test_private_tables_without_a_unit_are_refused() -> None:
    text = changed(("[unit]\n", "[owner_unit]\n"))
    assert "owner_unit" in [place for place, _ in problems_of(text)]
    cut = CLINIC[: CLINIC.index("[unit]")] + CLINIC[CLINIC.index("[release]") :]
    places = dict(problems_of(cut))
    assert "a table about units needs [unit]" in places["tables.people"]
    assert "mode `dp` protects units" in places["release.modes"]


@pytest.mark.parametrize("mode", ["dp", "aggregate"])
def test_a_mode_without_its_section_is_refused(mode: str) -> None:
    found = problems_of(changed(('modes = ["open"]', f'modes = ["{mode}"]'), text=OPEN))
    assert ("release.modes", f"release.modes: mode `{mode}` has no section; add [release.{mode}]") in found


def test_too_many_columns_are_refused() -> None:
    more = "\n".join(f'c{n} = {{ type = "text", role = "hidden" }}' for n in range(1000))
    found = problems_of(changed(("[tables.hospitals.columns]\n", f"[tables.hospitals.columns]\n{more}\n")))
    assert found == [("tables.hospitals.columns", "tables.hospitals.columns: more than 1000 were given")]


def test_circles_go_unnoticed_when_the_check_of_paths_is_planted_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    text = changed(
        (LINK, 'link = { column = "visit_id", to = "drugs.visit" }'),
        ('role = "unit", nullable = true', 'role = "key"'),
    )
    assert {place for place, _ in problems_of(text)} == {f"{V}.link", f"{D}.link"}
    monkeypatch.setattr(tables, "check_paths", lambda *_: None)
    load_text(text, "clinic")


def test_a_visible_unit_goes_unnoticed_when_the_check_of_roles_is_planted_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = changed((VISIT_ID, VISIT_ID + '\nother = { type = "integer", role = "unit" }'))
    assert [place for place, _ in problems_of(text)] == [f"{V}.columns.other.role"]
    monkeypatch.setattr(tables, "_check_unit_roles", lambda *_: None)
    load_text(text, "clinic")


def without_public_tables(modes: str) -> str:
    text = changed((', joins = ["hospitals.id"]', ""), ('modes = ["dp"]', f"modes = {modes}"))
    return text[: text.index("[tables.hospitals]")]


def test_mode_open_needs_a_public_table() -> None:
    place, words = problems_of(without_public_tables('["dp", "open"]'))[0]
    assert place == "release.modes"
    assert "mode `open` answers public tables alone, and this policy has none" in words
    load_text(without_public_tables('["dp"]'), "clinic")
    load_text(changed(('modes = ["dp"]', 'modes = ["dp", "open"]')), "clinic")


def test_an_empty_mode_goes_unnoticed_when_the_check_is_planted_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    text, real = without_public_tables('["dp", "open"]'), load.build_release
    assert [place for place, _ in problems_of(text)] == ["release.modes"]

    def blind(document: ReleaseDocument, report: Report, *, protects: bool, opens: bool) -> Release:
        return real(document, report, protects=protects, opens=True)

    monkeypatch.setattr(load, "build_release", blind)
    load_text(text, "clinic")
