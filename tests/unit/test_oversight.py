"""What auditors ask of the log: filters, reports, signs of probing, evidence of one answer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.offline import main
from gateway.audit.older import canonical
from gateway.audit.record import stamp
from gateway.audit.search import Filter, as_csv, as_ndjson, find
from gateway.audit.verify import verify
from gateway.budget import queries
from gateway.errors import Refusal
from gateway.oversight import probing
from gateway.oversight.bundle import evidence
from gateway.oversight.probing import Question, findings
from gateway.oversight.report import as_text, signed
from gateway.store import Store
from tests.ledger_world import SIGNER, World, price

Open = Callable[[], Store]


@pytest.fixture
def world(tmp_path: Path, open_store: Open) -> World:
    return World(tmp_path, open_store=open_store)


def ask(world: World, sql: str, operator: str = "acme", epsilon: str = "0.01", purpose: str = "research") -> str:
    with world.store.transaction() as tx:
        texts = {"sql": sql, "purpose": purpose}
        row = world.ledger.charge(tx, world.asked(operator), world.scopes(operator), price(epsilon), texts=texts)
    return world.answer(row.id).id


def refuse(world: World, sql: str, operator: str = "acme", code: str = "column_hidden") -> None:
    with world.store.transaction() as tx:
        new = queries.new_query_id()
        world.ledger.refuse(tx, query_id=new, actor=operator, code=code, texts={"sql": sql})


def found(world: World, **wanted: str) -> list[dict[str, Any]]:
    with world.store.reading() as view:
        return list(find(view, Filter(**wanted), limit=1000).records)


def test_records_are_found_by_words_purpose_mode_and_cost(world: World) -> None:
    cheap = ask(world, "SELECT COUNT(*) FROM people WHERE Sex = 'F'")
    dear = ask(world, "SELECT AVG(income) FROM people", "beta", "0.5", "actuarial 100%")
    assert {record["query_id"] for record in found(world, words="people count(")} == {cheap}
    assert {record["query_id"] for record in found(world, words="SEX 'f'")} == {cheap}
    assert found(world, words="people 50%") == []
    assert {record["query_id"] for record in found(world, purpose="actuarial 100%")} == {dear}
    assert {record["query_id"] for record in found(world, cost_min="0.5")} == {dear}
    assert {record["query_id"] for record in found(world, mode="dp")} == {cheap, dear}
    assert found(world, mode="open") == []
    assert [record["kind"] for record in found(world, words="avg", kind="charge")] == ["charge"]
    for bad in ("x", "-1", "NaN", "1e9"):
        with pytest.raises(Refusal):
            found(world, cost_min=bad)


def test_tables_say_what_records_do_and_no_cell_is_a_formula(world: World) -> None:
    ask(world, "SELECT COUNT(*) FROM people")
    refuse(world, "SELECT 1", "=cmd|' /C calc'!A0")
    records = found(world)
    rows = list(csv.DictReader(io.StringIO(as_csv(records))))
    assert as_csv([]) == "seq,time,kind,decision,code,actor,dataset,mode,licence,query_id,rho,epsilon,delta\n"
    assert [row["seq"] for row in rows] == [str(record["seq"]) for record in records]
    assert next(row for row in rows if row["kind"] == "charge")["epsilon"] == "0.01"
    assert rows[-1]["actor"].startswith("'=")
    assert [json.loads(line) for line in as_ndjson(records).splitlines()] == records


def test_a_report_adds_up_and_is_proven_by_the_log(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(world, "SELECT COUNT(*) FROM people")
    world.clock.moment += timedelta(days=3)
    begin = world.clock().strftime("%Y-%m-%d")
    ask(world, "SELECT COUNT(*) FROM people")
    ask(world, "SELECT COUNT(*) FROM people", epsilon="0.02")
    refuse(world, "SELECT name FROM people", "beta")
    told = signed(world.log, world.store, "auditor", begin, None)
    report = told["report"]
    assert report["verdicts"] == {"run": 2, "refused": 1}
    assert report["refusals"] == {"column_hidden": 1}
    assert report["operators"]["acme"]["spent"]["clinic"]["epsilon"] == "0.03"
    assert "beta" in as_text(told)
    file = tmp_path / "report.json"
    file.write_text(json.dumps(told), encoding="utf-8")
    assert main([str(file), "--key", SIGNER.vkey]) == 0
    assert main([str(file)]) == 2
    told["report"]["refusals"] = {}
    file.write_text(json.dumps(told), encoding="utf-8")
    assert main([str(file), "--key", SIGNER.vkey]) == 1
    assert "another report" in capsys.readouterr().out
    assert world.records()[-1]["code"] == "report"
    assert verify(world.export()).ok


def test_the_evidence_of_an_answer_is_checked_by_a_third_party(world: World, tmp_path: Path) -> None:
    ask(world, "SELECT 0 FROM people", "beta")
    query = ask(world, "SELECT COUNT(*) FROM people WHERE sex = 'F'")
    bundle = evidence(world.log, world.store, "auditor", query)
    assert {text["text"] for texts in bundle["opened"].values() for text in texts.values()} == {
        "SELECT COUNT(*) FROM people WHERE sex = 'F'",
        "research",
    }
    file = tmp_path / "bundle.json"

    def judged(changed: dict[str, Any]) -> int:
        file.write_text(json.dumps(changed, indent=1), encoding="utf-8")
        return main([str(file), "--key", SIGNER.vkey])

    assert judged(bundle) == 0
    kinds = [each["record"]["code"] or each["record"]["kind"] for each in bundle["records"]]
    assert sorted(kinds) == ["cap_zcdp", "cap_zcdp", "charge", "decision", "licence", "policy", "release"]
    for place, each in enumerate(bundle["records"]):
        without = [*bundle["records"][:place], *bundle["records"][place + 1 :]]
        expected = 0 if each["record"]["kind"] == "release" else 1
        assert judged({**bundle, "records": without}) == expected, each["record"]["kind"]
        changed = json.loads(json.dumps(bundle))
        changed["records"][place]["record"]["actor"] = "mallory"
        assert judged(changed) == 1
    for name in ("sql", "purpose"):
        changed = json.loads(canonical(bundle))
        next(iter(changed["opened"].values()))[name]["text"] = "SELECT 1"
        assert judged(changed) == 1, name
    with pytest.raises(Refusal):
        evidence(world.log, world.store, "auditor", "qry_0")
    assert found(world, kind="read")[-1]["code"] == "bundle"


def test_a_purpose_that_the_licence_does_not_name_is_found_in_the_evidence(world: World, tmp_path: Path) -> None:
    query = ask(world, "SELECT COUNT(*) FROM people", purpose="marketing")
    file = tmp_path / "bundle.json"
    file.write_text(json.dumps(evidence(world.log, world.store, None, query)), encoding="utf-8")
    assert main([str(file), "--key", SIGNER.vkey]) == 1


def asked(*texts: str, decision: str = "run", actor: str = "a", minutes: int = 60) -> list[Question]:
    begin, code = datetime(2026, 11, 1, tzinfo=UTC), "column_hidden" if decision == "refused" else None
    times = [stamp(begin + n * timedelta(minutes=minutes)) for n in range(len(texts))]
    return [Question(n, times[n], actor, decision, code, text) for n, text in enumerate(texts)]


def signs(questions: list[Question]) -> set[str]:
    return {each.sign for each in findings(questions)}


COUNT = "SELECT COUNT(*) FROM people WHERE age > {} AND sex = 'F'"


def test_a_burst_of_refusals_is_told_and_as_many_over_a_day_are_not() -> None:
    texts = [f"SELECT c{n} FROM t{n}" for n in range(probing.BURST)]
    assert signs(asked(*texts, decision="refused", minutes=0)) == {"refusal_burst"}
    assert signs(asked(*texts, decision="refused", minutes=60)) == set()
    assert signs(asked(*texts[:-1], decision="refused", minutes=0)) == set()


def test_one_question_with_many_constants_is_told_and_marching_ones_twice() -> None:
    mixed = [COUNT.format(n) for n in (30, 55, 31, 60, 29)]
    assert signs(asked(*mixed)) == {"near_duplicates"}
    assert signs(asked(*(COUNT.format(n) for n in range(30, 36)))) == {"near_duplicates", "marching_constants"}
    days = [f"select count(*) from people where born < '2000-01-{n:02d}'" for n in range(9, 1, -1)]
    assert signs(asked(*days)) == {"near_duplicates", "marching_constants"}
    assert signs(asked(*([COUNT.format(30)] * 20))) == set(), "the same again is free, and tells nothing"


def test_constants_in_parameters_count_too() -> None:
    questions = asked(*["SELECT COUNT(*) FROM t WHERE age > $n"] * 8)
    questions = [replace(each, parameters=f'{{"n": {each.seq}}}') for each in questions]
    assert signs(questions) == {"near_duplicates", "marching_constants"}


def test_filters_that_shrink_are_told_and_those_that_change_are_not() -> None:
    parts = ["sex = 'F'", "age > 30", "district = 'North'", "job = 'diver'", "born > 1970"]
    chain = [f"SELECT COUNT(*) FROM people WHERE {' AND '.join(parts[:n])}" for n in range(1, 5)]
    assert signs(asked("SELECT COUNT(*) FROM people", *chain)) == {"shrinking_filters"}
    assert signs(asked(*(f"SELECT COUNT(*) FROM people WHERE {part}" for part in parts))) == set()


def test_operators_are_judged_each_by_themselves_and_a_text_that_is_no_sql_is_no_fault() -> None:
    questions = [each for n in range(4) for each in asked(COUNT.format(n), actor=f"op-{n}")]
    assert signs(questions) == set()
    assert signs(asked("SELECT ((", "\0", "", "')(" * 50)) == set()
    assert signs([Question(0, "2026-11-01T00:00:00.000Z", "a", "run", None, None)]) == set()


def test_a_report_names_who_probes(world: World) -> None:
    for number in range(7):
        ask(world, f"SELECT COUNT(*) FROM people WHERE age > {30 + number}")
    told = signed(world.log, world.store, None, None, None)
    assert {each["sign"] for each in told["report"]["probing"]} == {"near_duplicates", "marching_constants"}
    assert "look at acme" in as_text(told)
