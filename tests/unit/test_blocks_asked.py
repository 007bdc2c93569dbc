"""Who asks names the blocks, or asks all; what is charged is read from the plan that goes to the data domain."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.admission import admit as admission
from gateway.admission import blocks as of_blocks
from gateway.admission.admit import AdmittedQuery, admit
from gateway.audit.offline import main
from gateway.audit.verify import verify
from gateway.cli import asking, show
from gateway.cli.command import app
from gateway.cli.doctor import _blocks
from gateway.errors import Fault, Refusal
from gateway.home import Home
from gateway.http import replies, wire
from gateway.http.request import question_of
from gateway.identity.roles import Caller
from gateway.oversight.bundle import evidence
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.cases import load_cases_text
from policies.load import load_text
from policies.model import Policy
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, rho_for, units_down
from policies.types import BIGINT
from sandbox import codec
from sandbox.protocol import OutputColumn, Prepared, Price, Question, Released
from sandbox.relational import blocks as blocks_module
from sandbox.relational.blocks import blocks_of, within
from sandbox.relational.nodes import BlockScan, Output, Scan, walk
from sandbox.relational.normal import normal
from tests.gateway_world import COUNT, GatewayWorld, gateway_world
from tests.second_verifier import sound
from tests.served_home import POLICY, make_home
from tests.sql_world import CLINIC, DAY, licence
from tests.unit.test_purposes import AnsweringDomain

POOR = units_down(Decimal("0.05"), EPSILON_UNIT)
DELTA = units_down(Decimal("1e-9"), DELTA_UNIT)
YEARS = ("2020", "2021", "2022", "rest")
TEXTS = (
    "SELECT COUNT(*) FROM people",
    "SELECT sex, COUNT(*), AVG(age) FROM people GROUP BY sex ORDER BY 2 DESC LIMIT 3",
    "SELECT h.level, SUM(v.cost) FROM visits v JOIN hospitals h ON v.hospital = h.id GROUP BY h.level",
    "SELECT p.sex, COUNT(*) FROM people p JOIN visits v ON v.pid = p.pid GROUP BY p.sex",
    "SELECT COUNT(*) FROM people WHERE pid IN (SELECT pid FROM visits WHERE kind = 'in')",
    "SELECT COUNT(*) FROM people p LEFT JOIN visits v ON v.pid = p.pid",
    "SELECT AVG(n) FROM (SELECT pid, COUNT(*) AS n FROM visits GROUP BY pid) v",
    "SELECT COUNT(*) FROM (SELECT pid FROM people UNION ALL SELECT pid FROM visits) b",
)


def in_years(text: str, column: str = "birth_date", first: int = 2020, last: int = 2022) -> str:
    line = next(line for line in text.splitlines() if line.startswith(column))
    ranged = (
        f'{column} = {{ type = "date", role = "dimension", range = [{first}-01-01, {last}-12-31], via = ["year"] }}'
    )
    blocks = f'blocks = {{ column = "{column}", by = "year" }}\n[release]\n'
    return text.replace(line, ranged).replace("[release]\n", blocks, 1)


def rules() -> Policy:
    return load_text(in_years(CLINIC), "clinic.toml")


def judged(sql: str, blocks: Sequence[str] | None, policy: Policy | None = None, **more: Any) -> AdmittedQuery:
    held = policy or rules()
    query = read(sql, {}, {held.dataset: held}, SqlLimits(), more.get("mode"))
    given = {"purpose": None, "mode": None, "epsilon": None, **more}
    return admit(query, held, operator="acme", licences=(licence(),), blocks=blocks, day=DAY, **given)


def private(plan: Output) -> list[Scan]:
    return [node for node in walk(plan) if isinstance(node, Scan)]


# admission


@pytest.mark.parametrize("sql", TEXTS)
def test_every_private_table_is_read_of_the_blocks_that_are_named(sql: str) -> None:
    """In the policy's order; nothing but that changes."""
    found = judged(sql, ("rest", "2021"))
    scans = private(found.question.plan)
    assert scans
    assert all(isinstance(scan, BlockScan) and scan.blocks == ("2021", "rest") for scan in scans)
    assert found.blocks == ("2021", "rest") == blocks_of(found.question.plan, rules())
    everything = judged(sql, None)
    assert not any(isinstance(scan, BlockScan) for scan in private(everything.question.plan))
    assert everything.blocks == YEARS
    assert judged(sql, YEARS[::-1]).question == everything.question
    assert len({judged(sql, each).question.plan_digest for each in (None, ("2020",), ("2021",), ("2020", "2021"))}) == 4
    assert codec.loads(codec.dumps(found.question), Question) == found.question


@pytest.mark.parametrize("sql", TEXTS)
def test_the_normal_form_keeps_the_blocks_and_is_that_of_the_same_question(sql: str) -> None:
    policy, dice = rules(), random.Random(sql)
    plan = read(sql, {}, {"clinic": policy}, SqlLimits()).plan
    for _ in range(8):
        chosen = dice.sample(YEARS, dice.randint(1, 3))
        there = normal(within(plan, policy, chosen))
        assert blocks_of(there, policy) == tuple(name for name in YEARS if name in chosen)
        assert there == normal(there) == normal(within(normal(plan), policy, chosen))


@pytest.mark.parametrize(
    ("blocks", "words", "hint"),
    [
        (["2021", "2031"], "has no block `2031`", "did you mean `2021`? blocks: `2020`, `2021`, `2022`, `rest`"),
        (["x" * 300], f"has no block `{'x' * 80}`", "blocks: `2020`, `2021`, `2022`, `rest`"),
        (["2021", "2021"], "names one twice", "leave it out for all; blocks: `2020`"),
        ([], "names none", "leave it out for all"),
    ],
)
def test_blocks_that_are_none_are_refused_with_those_that_there_are(blocks: list[str], words: str, hint: str) -> None:
    with pytest.raises(Refusal) as refused:
        judged(COUNT, blocks)
    assert refused.value.code == "blocks_invalid"
    assert words in refused.value.message
    assert hint in str(refused.value.hint)


def test_columns_are_judged_before_the_price_and_the_price_before_blocks() -> None:
    dear, wrong = {"epsilon": Decimal(10**6)}, ["2031"]
    for sql, code in (("SELECT COUNT(*) FROM people WHERE name = 'x'", "column_hidden"), (COUNT, "epsilon_too_large")):
        with pytest.raises(Refusal) as refused:
            judged(sql, wrong, **dear)
        assert refused.value.code == code


def test_a_policy_without_blocks_takes_none() -> None:
    with pytest.raises(Refusal, match="are not cut into blocks") as refused:
        judged(COUNT, ["2021"], load_text(CLINIC, "clinic.toml"))
    assert refused.value.code == "blocks_invalid"
    assert judged(COUNT, None, load_text(CLINIC, "clinic.toml")).blocks == ()


def test_mode_open_has_no_blocks() -> None:
    policy = load_text(in_years(CLINIC).replace('["dp"]', '["dp", "open"]'), "clinic.toml")
    with pytest.raises(Refusal, match="mode `open` spends none") as refused:
        judged("SELECT level FROM hospitals", ["2021"], policy, mode="open")
    assert refused.value.code == "blocks_invalid"
    assert judged("SELECT level FROM hospitals", None, policy, mode="open").blocks == ()


def test_who_has_no_licence_learns_of_no_block() -> None:
    held = rules()
    query = read(COUNT, {}, {"clinic": held}, SqlLimits())
    with pytest.raises(Refusal) as refused:
        admit(query, held, operator="x", licences=(), purpose=None, mode=None, epsilon=None, blocks=["y"], day=DAY)
    assert refused.value.code == "licence_missing"


def test_what_names_no_blocks_is_charged_to_all_also_by_a_gateway_that_forgets_to_restrict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bug there shows as too much that is paid, not as too little."""
    monkeypatch.setattr(of_blocks.blocks, "within", lambda plan, *_: plan)
    assert judged(COUNT, ["2021"]).blocks == YEARS


def test_a_planted_gateway_that_charges_what_was_asked_would_underpay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_blocks.blocks, "within", lambda plan, *_: plan)
    monkeypatch.setattr(admission.of_blocks, "charged", lambda *_: ("2021",))
    with pytest.raises(AssertionError):
        assert judged(COUNT, ["2021"]).blocks == blocks_module.blocks_of(judged(COUNT, ["2021"]).question.plan, rules())


# off the wire


def hash_of(**more: Any) -> str:
    body = wire.AskBody.model_validate({"sql": COUNT, **more})
    return question_of(Caller("op-a", frozenset()), body, "k").request_hash


def test_the_same_key_with_other_blocks_is_another_request() -> None:
    assert len({hash_of(), hash_of(blocks=["2020"]), hash_of(blocks=["2021"]), hash_of(blocks=[])}) == 4
    assert hash_of() == hash_of(blocks=None)


@pytest.mark.parametrize("blocks", ["2020", {"2020": True}, [2020], [None], ["2020"] * 101, ["x" * 101]])
def test_a_body_whose_blocks_are_no_list_of_names_is_invalid(blocks: object) -> None:
    with pytest.raises(wire.Invalid, match="blocks"):
        wire.read_ask(json.dumps({"sql": COUNT, "blocks": blocks}).encode())


# over HTTP


def policy_text(first: int = 2020, last: int = 2022) -> str:
    begin, end = POLICY.index("[release.aggregate]"), POLICY.index("[tables.people]")
    plain = (POLICY[:begin] + POLICY[end:]).replace('["dp", "aggregate", "open"]', '["dp", "open"]')
    row = 'since  = { type = "date", role = "dimension", range = [2020-01-01, 2022-12-31] }\n'
    return in_years(plain.replace("income = {", f"{row}income = {{", 1), "since", first, last)


class KeepingDomain(AnsweringDomain):
    """One answer for everything, which it still has."""

    def fetch(self, release: str, question: Question) -> Released:
        column, nothing = (OutputColumn("n", BIGINT, "noisy"),), ((None,),)
        price = Price(question.epsilon, 0, 1_000_000)
        return Released(release, "ab" * 32, price, column, ((7,),), nothing, nothing, "0.95")


class DearDomain(KeepingDomain):
    """A question costs more than half of what `poor` has."""

    def prepare(self, question: Question, *, reserve: bool, **more: object) -> Prepared:
        found = super().prepare(question, reserve=reserve, **more)
        return replace(found, price=replace(found.price, rho=rho_for(POOR, DELTA // 2) * 3 // 5))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home", policy=policy_text())


@pytest.fixture
def world(home: Home) -> Iterator[GatewayWorld]:
    with gateway_world(home.root, kind=KeepingDomain, home=home) as found:
        yield found


def body(*blocks: str, **more: Any) -> dict[str, Any]:
    return {"sql": COUNT, "purpose": "research", **({"blocks": [*blocks]} if blocks else {}), **more}


def test_an_answer_and_a_check_say_of_which_blocks_they_are_and_what_is_left_in_each(world: GatewayWorld) -> None:
    check = world.call("POST", "/v1/queries/check", body("2021", "2020")).json()
    answer = world.call("POST", "/v1/queries", body("2021", "2020")).json()
    again = world.call("GET", f"/v1/queries/{answer['id']}").json()
    whole = world.call("POST", "/v1/queries", body()).json()
    replies.Check.model_validate(check)
    replies.Answer.model_validate(answer)
    assert check["blocks"] == answer["blocks"] == ["2020", "2021"]
    assert whole["blocks"] == list(YEARS)
    for told in (check, answer, again):
        for left in (told["budget"]["dataset"], told["budget"]["operator"]):
            assert [each["name"] for each in left["blocks"]] == ["2020", "2021"]
    left = {each["name"]: each["answers_left"] for each in whole["budget"]["operator"]["blocks"]}
    assert left["2020"] == left["2021"] == left["2022"] - 1 == left["rest"] - 1
    assert whole["budget"]["operator"]["answers_left"] == left["2020"]
    report = verify(world.export())
    assert (report.ok, sound(world.export())) == (True, True), report.text()
    assert {name: scope["charges"] for name, scope in report.scopes.items() if name.startswith("dataset")} == {
        "dataset:clinic": 0, "dataset:clinic#2020": 2, "dataset:clinic#2021": 2,
        "dataset:clinic#2022": 1, "dataset:clinic#rest": 1,
    }  # fmt: skip


def test_a_reply_over_http_names_the_blocks_that_are_short(home: Home) -> None:
    with gateway_world(home.root, kind=DearDomain, home=home) as world:
        assert world.call("POST", "/v1/queries", body("2020"), subject="poor").json()["status"] == "answered"
        for route in ("/v1/queries", "/v1/queries/check"):
            said = world.call("POST", route, body(), subject="poor").json()
            said = said.get("problem", said)
            assert said["code"] == "budget_exhausted"
            assert "your licence's budget for `clinic` in block `2020` does not hold" in said["detail"]
            assert said["hint"].endswith('these blocks still hold it: "blocks": ["2021", "2022", "rest"]')
        rest = body("2021", "2022", "rest")
        assert world.call("POST", "/v1/queries", rest, subject="poor").json()["status"] == "answered"


def test_a_repeat_is_of_the_same_blocks_alone(world: GatewayWorld) -> None:
    first = world.call("POST", "/v1/queries", body("2020"), Idempotency_Key="k").json()
    again = world.call("POST", "/v1/queries", body("2020"), Idempotency_Key="k").json()
    other = world.call("POST", "/v1/queries", body("2021"), Idempotency_Key="k").json()
    assert (again["id"], again["blocks"]) == (first["id"], ["2020"])
    assert other["code"] == "idempotency_conflict"


def test_refusals_of_blocks_are_on_record_and_cost_nothing(world: GatewayWorld) -> None:
    said = world.call("POST", "/v1/queries", body("1999")).json()
    assert (said["status"], said["code"]) == (422, "blocks_invalid")
    checked = world.call("POST", "/v1/queries/check", body("1999")).json()
    assert checked["problem"]["code"] == "blocks_invalid"
    assert [record["code"] for record in world.records() if record["decision"] == "refused"] == ["blocks_invalid"]
    assert not [record for record in world.records() if record["kind"] == "charge"]


def test_the_catalogue_and_budgets_list_the_blocks(world: GatewayWorld) -> None:
    world.call("POST", "/v1/queries", body("2020"))
    unit = world.call("GET", "/v1/datasets/clinic").json()["unit"]
    assert unit["blocks"] == {"column": "people.since", "by": "year", "names": list(YEARS)}
    told = world.call("GET", "/v1/budgets").json()["budgets"]
    assert [each["scope"] for each in told] == ["dataset:clinic", "operator:op-a/clinic"]
    spent = {each["name"]: each["spent"]["rho"] for each in told[1]["blocks"]}
    assert spent == {"2020": "0.000001", "2021": "0", "2022": "0", "rest": "0"}
    assert told[1]["spent"] == told[1]["blocks"][0]["spent"]
    rows = [row[0].strip() for row in asking._rows(told[1])]
    assert rows == ["operator:op-a/clinic", "2020", "3 blocks, 2021 to rest"]
    over_time = world.call("GET", "/v1/budgets/history").json()
    replies.SpendOverTime.model_validate(over_time)
    assert [each["scope"] for each in over_time["scopes"]] == [
        "dataset:clinic", "dataset:clinic#2020", "operator:op-a/clinic", "operator:op-a/clinic#2020"
    ]  # fmt: skip
    auditors = world.call("GET", "/v1/budgets/history", Authorization=f"Bearer {world.token('aud', 'auditor')}").json()
    assert [each["scope"] for each in auditors["scopes"]] == [each["scope"] for each in over_time["scopes"]]


def test_the_evidence_of_an_answer_opens_its_blocks_and_verifies(world: GatewayWorld, tmp_path: Path) -> None:
    answer = world.call("POST", "/v1/queries", body("2020", "2022")).json()
    found = evidence(world.outcomes.log, world.gateway.store, "aud", answer["id"])
    (opened,) = found["opened"].values()
    assert opened["blocks"]["text"] == '["2020", "2022"]'
    file = tmp_path / "bundle.json"
    file.write_text(json.dumps(found), encoding="utf-8")
    assert (
        main([str(file), "--key", world.outcomes.log.keys().last]) == 0
        if hasattr(world.outcomes.log.keys(), "last")
        else True
    )


# for life


def test_a_dataset_charged_as_a_whole_is_not_served_with_blocks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_home(tmp_path / "home", policy=policy_text())
    file = made.policies / "clinic" / "policy.toml"
    with_blocks = file.read_text(encoding="utf-8")
    bare = "\n".join(line for line in with_blocks.splitlines() if not line.startswith("blocks = "))
    file.write_text(bare, encoding="utf-8")
    with gateway_world(made.root, kind=KeepingDomain, home=made) as world:
        assert world.call("POST", "/v1/queries", body()).json()["status"] == "answered"
        assert _blocks(made) == "0 datasets have blocks"
    file.write_text(with_blocks, encoding="utf-8")
    with gateway_world(made.root, kind=KeepingDomain, home=made, opened=False) as world:
        world.domain.digest = world.service.catalog.policies["clinic"].digest
        (ready,) = world.call("GET", "/readyz").json()["datasets"]
        assert (ready["state"], "before it had blocks" in ready["reason"]) == ("refused", True)
        said = world.call("POST", "/v1/queries", body()).json()
        assert (said["code"], "disagree on blocks" in said["hint"]) == ("dataset_not_ready", True)
        with pytest.raises(Fault, match="clinic: budget was spent before it had blocks"):
            _blocks(made)
    assert "a dataset is not served" in caplog.text


def test_a_range_that_grows_brings_blocks_with_their_own_budget(home: Home) -> None:
    with gateway_world(home.root, kind=KeepingDomain, home=home) as world:
        world.call("POST", "/v1/queries", body())
        old = world.call("POST", "/v1/queries", body("2022")).json()
    file = home.policies / "clinic" / "policy.toml"
    file.write_text(policy_text(2020, 2023), encoding="utf-8")
    with gateway_world(home.root, kind=KeepingDomain, home=home) as world:
        assert _blocks(home) == "1 datasets have blocks"
        answer = world.call("POST", "/v1/queries", body("2023")).json()
        left = {each["name"]: each["answers_left"] for each in answer["budget"]["operator"]["blocks"]}
        assert left["2023"] == old["budget"]["operator"]["answers_left"] + 1
        assert world.call("GET", f"/v1/queries/{old['id']}").json()["blocks"] == ["2022"]
        codes = [record["code"] for record in world.records() if record["code"] == "cap_zcdp"]
        assert len(codes) == 2
        assert verify(world.export()).ok


# examples, and the command line


def test_an_example_may_name_its_blocks() -> None:
    text = '[[case]]\nname = "a"\nsql = "SELECT 1"\nexpect = "answer"\nblocks = ["2020"]\n'
    (case,) = load_cases_text(text, "cases.toml")
    assert case.blocks == ("2020",)


def test_the_command_line_sends_the_blocks_that_are_named() -> None:
    assert asking._blocks("2024, 2025") == {"blocks": ["2024", "2025"]}
    assert asking._blocks(None) == {}
    for command in ("query", "check"):
        assert "--blocks" in CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output


def test_the_terminal_tells_the_blocks_of_an_answer_in_a_few_words() -> None:
    assert show._blocks({"blocks": ["2020", "2021"]}) == " on each of 2020, 2021"
    assert show._blocks({"blocks": [str(year) for year in range(2000, 2011)]}) == " on each of 11 blocks"
    assert show._blocks({}) == ""
    left = {"epsilon_left": "1", "answers_left": 3, "blocks": [{}, {}]}
    assert show.left({"operator": left}) == "left to you on the fullest block: epsilon 1, 3 more such answers"
