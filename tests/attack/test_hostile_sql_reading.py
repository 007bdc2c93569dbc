"""Hostile statements are refused before anything is touched, each with its code; and a weaker gate would be noticed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.admission import lineage, roles
from gateway.errors import STATUS, Refusal
from gateway.sql import grammar, joins, reading, scope, select, subqueries, tables
from gateway.sql.limits import SqlLimits
from tests.sql_world import BOTH, LIMITS, ONLY_CLINIC, admitted, ask, refusal

CORPUS = Path(__file__).parent / "corpus"


def corpus() -> Iterator[tuple[str, str, str]]:
    for path in sorted(CORPUS.glob("*.txt")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line:
                code, sql = line.split("\t", 1)
                yield path.stem, code, sql


def test_the_corpus_has_not_shrunk() -> None:
    assert len({sql for _, _, sql in corpus()}) >= 550
    assert {code for _, code, _ in corpus()} <= set(STATUS)


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in corpus()}))
def test_every_hostile_statement_is_refused_with_its_code(kind: str) -> None:
    wrong = []
    for _, code, sql in (line for line in corpus() if line[0] == kind):
        refused = refusal(sql)
        if refused.code != code:
            wrong.append(f"{sql}: {refused.code}, expected {code}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in corpus()}))
def test_a_refusal_says_nothing_of_engines_classes_or_other_datasets(kind: str) -> None:
    for _, _, sql in (line for line in corpus() if line[0] == kind):
        refused = refusal(sql)
        said = f"{refused.message} {refused.hint or ''}"
        assert "sqlglot" not in said
        assert "<class" not in said
        assert "token_type" not in said
        assert "pupils" not in said or "pupils" in sql
        assert refused.message[0] in "`" or not refused.message[0].isupper() or refused.message.split()[0].isupper()
        assert not refused.message.endswith(".")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 3_000 + "1" + ")" * 3_000 + " FROM people",
        "SELECT COUNT(*) FROM people WHERE " + "NOT " * 4_000 + "active",
        "SELECT COUNT(*) FROM people WHERE age = " + "-" * 4_001 + "1",
        "SELECT COUNT(*) FROM people WHERE age = " + "- " * 4_001 + "1",
        "SELECT " + "CASE WHEN active THEN " * 700 + "1" + " END" * 700 + " FROM people",
        "SELECT COUNT(*) FROM people WHERE age IN (" + ",".join("1" for _ in range(9_000)) + ")",
        "SELECT SUM(income" + "+1" * 3_000 + ") FROM people",
        "SELECT COUNT(*) FROM " + "(SELECT sex FROM " * 400 + "people" + ")" * 400,
        "SELECT " + "[" * 2_000 + "1" + "]" * 2_000 + " FROM people",
        "SELECT COUNT(*) FROM people /*" + "/*" * 5_000,
        "SELECT COUNT(*) FROM people" + " " * 30_000,
        "SELECT COUNT(*) FROM people WHERE sex = '" + "人" * 7_000 + "'",
    ],
    ids=lambda sql: sql[:40] + str(len(sql)),
)
def test_oversized_and_deeply_nested_text_is_refused_quickly(sql: str) -> None:
    assert refusal(sql).code in ("sql_too_large", "sql_unreadable")


def test_subqueries_that_double_at_every_step_are_refused() -> None:
    steps = ["c0 AS (SELECT pid, income AS x FROM people)"]
    steps += [f"c{n} AS (SELECT pid, x + x AS x FROM c{n - 1})" for n in range(1, 40)]
    assert refusal(f"WITH {', '.join(steps)} SELECT SUM(x) FROM c39").code == "sql_too_large"
    steps = ["c0 AS (SELECT a.id AS id, a.region AS region FROM hospitals a)"]
    steps += [
        f"c{n} AS (SELECT a.id AS id, b.region AS region FROM c{n - 1} a JOIN c{n - 1} b ON a.id = b.id)"
        for n in range(1, 40)
    ]
    assert refusal(f"WITH {', '.join(steps)} SELECT COUNT(*) FROM c39").code in ("sql_too_large", "join_not_allowed")
    nested = "income"
    for _ in range(14):
        nested = f"NULLIF({nested}, 1)"
    assert refusal(f"SELECT SUM({nested}) FROM people").code == "sql_too_large"


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x0b"])
def test_control_characters_are_refused(character: str) -> None:
    assert refusal(f"SELECT COUNT(*) FROM people{character}").code == "sql_unreadable"


def test_half_of_a_surrogate_pair_is_refused() -> None:
    assert refusal("SELECT COUNT(*) FROM people WHERE sex = '\ud800'").code == "sql_unreadable"


def test_a_table_of_an_unlicensed_dataset_and_no_table_at_all_are_told_alike() -> None:
    for real, made_up in (("pupils", "zzzzzz"), ("school.pupils", "school.zzzzzz")):
        there, nowhere = (refusal(f"SELECT COUNT(*) FROM {name}") for name in (real, made_up))
        assert there.code == nowhere.code == "table_unknown"
        assert there.message.replace(real, "x") == nowhere.message.replace(made_up, "x")
        assert there.hint == nowhere.hint
    assert admitted("SELECT COUNT(*) FROM pupils", policies=BOTH)


def test_comments_and_hints_change_nothing() -> None:
    plain = ask("SELECT sex, COUNT(*) FROM people GROUP BY sex").plan
    assert (
        ask("SELECT /*+ x */ sex, /* name */ COUNT(*) -- from visits\nFROM people /* ; */ GROUP BY sex --").plan
        == plain
    )


# Planted faults: each defence is taken away, and its attack is then seen to pass.


def test_planted_a_gate_that_looks_at_classes_only_lets_an_asof_join_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = "SELECT COUNT(*) FROM people p ASOF JOIN visits v ON p.pid = v.pid"
    assert refusal(attack).code == "join_not_allowed"
    monkeypatch.setattr(grammar, "refused_arguments", lambda node, allowed: [])
    assert admitted(attack)


def test_planted_without_the_rule_of_places_the_reader_still_has_no_word_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attack = "SELECT SUM(DISTINCT income) FROM people"
    first = refusal(attack)
    monkeypatch.setattr(grammar, "PARENTS", {})
    second = refusal(attack)
    assert (first.code, second.code) == ("construct_not_allowed", "construct_not_allowed")
    assert first.message != second.message


def test_planted_a_join_over_a_shared_public_row_mixes_units(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = "SELECT COUNT(*) FROM visits v JOIN hospitals h ON v.hospital = h.id JOIN items i ON i.hospital = h.id"
    assert refusal(attack).code == "join_not_allowed"
    monkeypatch.setattr(joins, "tied", lambda reading, left, right, pairs: tuple(pairs))
    assert refusal(attack).code == "join_not_allowed"  # admission holds the same rule
    monkeypatch.setattr(roles, "require_joinable", lambda join, trace: None)
    assert admitted(attack)


def test_planted_a_resolver_that_forgets_hidden_columns_is_caught_by_admission(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = "SELECT COUNT(name) FROM people"

    def forgetful(table: tables.Table, number: int) -> tuple[scope.Field, ...]:
        return tuple(scope.Field(field.name, field.typed) for field in kept(table, number))

    kept = tables._fields
    monkeypatch.setattr(tables, "_fields", forgetful)
    assert ask(attack)
    assert refusal(attack).code == "column_hidden"
    monkeypatch.setattr(lineage.Lineage, "declared", _declared_without_roles)
    assert admitted(attack)


def _declared_without_roles(trace: lineage.Lineage, column: object) -> lineage.Declared:
    number, name = str(column.name).split(".")
    table = trace.tables[number]
    return lineage.Declared(table, table.columns[name])


def test_planted_without_the_rule_of_units_a_window_sees_the_rows_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = "SELECT COUNT(*) FROM (SELECT kind FROM visits QUALIFY rank() OVER (ORDER BY visit_date) = 1) x"
    assert refusal(attack).code == "construct_not_allowed"
    monkeypatch.setattr(reading.Reading, "tells_unit", lambda self, names: any(True for _ in names))
    assert refusal(attack).code == "construct_not_allowed"  # no column at all is none that tells
    assert admitted(attack.replace("OVER (", "OVER (PARTITION BY kind "))


def test_planted_a_subquery_that_is_not_tied_to_the_unit_is_met_by_a_second_wall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attack = "SELECT COUNT(*) FROM people p WHERE EXISTS (SELECT 1 FROM visits v WHERE v.kind = p.sex)"
    assert refusal(attack).code == "construct_not_allowed"
    monkeypatch.setattr(subqueries, "_require_tied", lambda *arguments: None)
    assert refusal(attack).code == "join_not_allowed"  # admission holds the same rule
    monkeypatch.setattr(roles, "require_joinable", lambda join, trace: None)
    assert admitted(attack)


def test_planted_a_distinct_that_is_dropped_counts_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = "SELECT COUNT(*) FROM (SELECT DISTINCT sex FROM people) x"
    assert refusal(attack).code == "construct_not_allowed"
    monkeypatch.setattr(select, "distinct", lambda reading, source, at: source)
    assert admitted(attack).question.plan == admitted("SELECT COUNT(*) FROM (SELECT sex FROM people) x").question.plan


def test_planted_a_reader_that_resolves_any_table_lets_an_unlicensed_one_be_asked() -> None:
    attack = "SELECT COUNT(*) FROM pupils"
    assert refusal(attack, policies=ONLY_CLINIC).code == "table_unknown"
    assert ask(attack, policies=BOTH)  # what a pipeline that forgot to narrow the policies would do


def test_planted_without_limits_the_large_query_is_read() -> None:
    large = "SELECT COUNT(*) FROM people WHERE age IN (" + ",".join(str(n) for n in range(5_000)) + ")"
    with pytest.raises(Refusal, match=r"words|bytes"):
        ask(large)
    from gateway.sql.read import read

    loose = SqlLimits(bytes_max=10**6, nodes_max=10**6)
    with pytest.raises(Refusal, match="too large"):  # the expression itself is bounded too
        read(large, {}, ONLY_CLINIC, loose)
    assert LIMITS.nodes_max < loose.nodes_max
