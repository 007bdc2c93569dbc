"""Who may ask what, for what, at which price."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from gateway.admission import filtering
from gateway.admission.admit import AdmittedQuery, _Settled, admit
from gateway.admission.licences import askable
from gateway.admission.lineage import Lineage
from gateway.admission.paging import Page
from gateway.admission.roles import require_roles
from gateway.errors import Refusal
from gateway.sql.read import Query, read
from policies.load import load_text
from policies.model import Licence, Mode, Policy, Release
from sandbox.protocol import Question
from sandbox.relational.expressions import Call, Column
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
    Measure,
    Output,
    Project,
    Public,
    Relation,
    Rollup,
    Scan,
    UnionAll,
    UnitAggregate,
    UnitMeasure,
    Window,
    WindowColumn,
)
from sandbox.relational.nodes import Release as ReleaseNode
from tests.sql_world import BOTH, CLINIC, DAY, LIMITS, ONLY_CLINIC, admitted, ask, clinic, licence, school

COUNT = "SELECT COUNT(*) FROM people"


def judged(  # the same words as `admit`, each with a default
    sql: str = COUNT,
    *,
    policy: Policy | None = None,
    licences: tuple[Licence, ...] | None = None,
    purpose: str | None = None,
    mode: str | None = None,
    epsilon: str | None = None,
    by_accuracy: bool = False,
    day: date = DAY,
) -> AdmittedQuery:
    return admit(
        ask(sql),
        policy or clinic(),
        operator="acme",
        licences=(licence(),) if licences is None else licences,
        purpose=purpose,
        mode=mode,
        epsilon=None if epsilon is None else Decimal(epsilon),
        by_accuracy=by_accuracy,
        day=day,
    )


def code(**words: object) -> str:
    with pytest.raises(Refusal) as caught:
        judged(**words)
    return caught.value.code


def test_an_admitted_query_holds_what_it_is_allowed_by() -> None:
    found = judged(epsilon="0.25")
    assert (found.operator, found.dataset, found.purpose, found.mode) == ("acme", "clinic", "research", "dp")
    assert found.licence == licence()
    assert found.question.policy_digest == clinic().digest
    assert found.question.epsilon == found.epsilon == 250_000_000_000


def test_an_accuracy_is_admitted_at_the_most_and_priced_at_no_more() -> None:
    found = judged(by_accuracy=True)
    dp = clinic().release.dp
    assert dp is not None
    assert found.epsilon == found.question.epsilon == dp.epsilon_per_query_max * 10**12
    priced = found.priced(5)
    assert (priced.epsilon, priced.question) == (5, replace(found.question, epsilon=5))
    for other in (found.epsilon + 1, 0, -1):
        with pytest.raises(AssertionError):
            found.priced(other)


def test_nobody_else_makes_an_admitted_query() -> None:
    found = judged()
    with pytest.raises(AssertionError):
        AdmittedQuery("eve", "clinic", clinic(), None, None, "dp", found.question, 1, ())


def test_a_query_is_never_judged_by_another_policy() -> None:
    with pytest.raises(AssertionError):
        judged(policy=school())


# What was made of a question before.


def again(query: Query, policy: Policy, mode: Mode = "dp", page: Page | None = None) -> Question:
    words = {"operator": "acme", "licences": (licence(),), "purpose": None, "epsilon": None, "day": DAY}
    return admit(query, policy, mode=mode, page=page, **words).question  # type: ignore[arg-type]


def test_a_question_that_comes_again_is_what_it_was() -> None:
    query = ask(COUNT)
    first = again(query, clinic())
    assert again(query, clinic()) is first
    assert again(ask(COUNT), clinic()) == first
    assert judged(by_accuracy=True).question == replace(first, epsilon=judged(by_accuracy=True).epsilon)


def forbidden() -> Policy:
    """The same columns under the same digest, of which no sum may be asked."""
    text = CLINIC.replace(
        '"收入"     = { type = "integer", role = "measure"', '"收入"     = { type = "integer", role = "hidden"'
    )
    return replace(load_text(text, "clinic.toml"), digest=clinic().digest)


def asked_of_another_policy() -> str:
    query = ask('SELECT SUM("收入") FROM people')
    again(query, clinic())
    try:
        again(query, forbidden())
    except Refusal as refusal:
        return refusal.code
    return "admitted"


def test_what_one_policy_allows_is_judged_anew_under_another_one_of_its_digest() -> None:
    assert asked_of_another_policy() != "admitted"


def test_planted_what_was_settled_for_one_policy_is_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Settled, "is_of", lambda *_: True)
    assert asked_of_another_policy() == "admitted"


def test_another_mode_is_judged_anew() -> None:
    query = ask(COUNT)
    again(query, clinic())
    with pytest.raises(Refusal) as caught:
        again(query, clinic(), "aggregate")
    assert caught.value.code == "mode_not_offered"
    both = load_text(re.sub(r"^modes = .*$", 'modes = ["dp", "open"]', CLINIC, count=1, flags=re.MULTILINE), "c.toml")
    query = read(COUNT, {}, {"clinic": both}, LIMITS)
    again(query, both)
    with pytest.raises(Refusal) as caught:
        again(query, both, "open")
    assert caught.value.message == "mode `open` answers public tables alone"


def test_a_page_is_refused_as_often_as_it_is_asked_of_what_comes_whole() -> None:
    query = ask(COUNT)
    again(query, clinic())
    for _ in range(2):
        with pytest.raises(Refusal) as caught:
            again(query, clinic(), page=Page(5))
        assert caught.value.code == "parameter_invalid"


# Licences.


def test_a_licence_holds_from_its_first_to_its_last_day() -> None:
    first, last = licence().valid_from, licence().valid_until
    assert judged(day=first)
    assert judged(day=last)
    assert code(day=first - timedelta(days=1)) == "licence_expired"
    assert code(day=last + timedelta(days=1)) == "licence_expired"


def test_only_the_operators_own_licence_for_this_dataset_counts() -> None:
    assert code(licences=()) == "licence_missing"
    assert code(licences=(licence(operator="other"),)) == "licence_missing"
    assert code(licences=(licence(datasets=("school",)),)) == "licence_missing"
    assert judged(licences=(licence(datasets=("school",)), licence(datasets=("clinic", "school"))))


def test_an_expired_licence_beside_a_valid_one_is_no_matter() -> None:
    old = licence(valid_from=date(2025, 1, 1), valid_until=date(2025, 12, 31))
    assert judged(licences=(old, licence())).licence == licence()


def test_open_data_needs_no_licence_and_withheld_data_answers_nobody() -> None:
    assert judged(policy=replace(clinic(), supply="open"), licences=(), purpose="research").licence is None
    assert code(policy=replace(clinic(), supply="withheld")) == "table_unknown"


def test_askable_are_open_datasets_and_those_of_any_own_licence() -> None:
    assert set(askable(BOTH, (licence(),))) == {"clinic"}
    assert set(askable(BOTH, ())) == set()
    assert set(askable(BOTH, (licence(valid_until=date(2026, 1, 2)),))) == {"clinic"}
    assert set(askable({**BOTH, "school": replace(school(), supply="open")}, ())) == {"school"}
    assert set(askable({"clinic": replace(clinic(), supply="withheld")}, (licence(),))) == set()


# Purposes.


def test_the_purpose_may_be_left_out_where_the_licence_names_one() -> None:
    assert judged(licences=(licence(purposes=("actuarial",)),)).purpose == "actuarial"
    assert code(licences=(licence(purposes=("actuarial", "research")),)) == "purpose_missing"
    assert judged(licences=(licence(purposes=("actuarial", "research")),), purpose="research").purpose == "research"


def test_a_purpose_is_named_by_licence_and_policy_both() -> None:
    assert code(purpose="actuarial") == "purpose_not_licensed"
    assert code(purpose="marketing", licences=(licence(purposes=("marketing",)),)) == "purpose_not_licensed"
    assert code(licences=(licence(purposes=("marketing",)),)) == "purpose_not_licensed"
    assert code(purpose="") == "purpose_not_licensed"


def test_open_data_without_purposes_is_asked_without_one() -> None:
    anything = replace(clinic(), supply="open", purposes=())
    assert judged(policy=anything, licences=()).purpose is None
    assert code(policy=replace(clinic(), supply="open"), licences=()) == "purpose_missing"


# Modes.


def _with_modes(*modes: Mode) -> Policy:
    release: Release = clinic().release
    return replace(clinic(), release=replace(release, modes=modes))


def test_the_first_mode_of_the_policy_is_the_default() -> None:
    assert judged(policy=_with_modes("dp", "aggregate")).mode == "dp"
    assert code(policy=_with_modes("aggregate", "dp")) == "mode_not_offered"
    assert judged(policy=_with_modes("aggregate", "dp"), mode="dp").mode == "dp"


def test_modes_that_are_not_offered_or_not_answered_are_refused() -> None:
    assert code(mode="open") == "mode_not_offered"
    assert code(mode="DP") == "mode_not_offered"
    assert code(mode="aggregate", policy=_with_modes("dp", "aggregate")) == "mode_not_offered"
    assert code(policy=replace(clinic(), release=replace(clinic().release, dp=None))) == "mode_not_offered"


# Epsilon.


@pytest.mark.parametrize(
    ("asked", "units"),
    [
        (None, 500_000_000_000),
        ("1", 10**12),
        ("0.000000000001", 1),
        ("1E-3", 10**9),
        ("0.5000000000000000", 5 * 10**11),
    ],
)
def test_epsilon_is_taken_exactly(asked: str | None, units: int) -> None:
    assert judged(epsilon=asked).question.epsilon == units


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("0", "epsilon_invalid"),
        ("-0", "epsilon_invalid"),
        ("-1", "epsilon_invalid"),
        ("NaN", "epsilon_invalid"),
        ("sNaN", "epsilon_invalid"),
        ("Infinity", "epsilon_invalid"),
        ("-Infinity", "epsilon_invalid"),
        ("0.0000000000001", "epsilon_invalid"),
        ("0.1234567890123", "epsilon_invalid"),
        ("1e-999999", "epsilon_invalid"),
        ("0." + "1" * 60, "epsilon_invalid"),
        ("1.000000000001", "epsilon_too_large"),
        ("1.0000000000000000000000000000000000000000001", "epsilon_too_large"),
        ("1e999999", "epsilon_too_large"),
    ],
)
def test_other_epsilons_are_refused(asked: str, expected: str) -> None:
    assert code(epsilon=asked) == expected


# Roles, on plans that no text gives: the rules do not lean on the resolver.


def _plan(source: Relation, *measures: Measure, keys: tuple[Column | Call, ...] = ()) -> Output:
    release = ReleaseNode(source, keys, measures or (Measure("count_rows", None),))
    return Output(release, (("n", Column("m0")),))


def _refused(plan: Output) -> str:
    with pytest.raises(Refusal) as caught:
        require_roles(plan, clinic())
    return caught.value.code


JOIN, TOO_LARGE = "join_not_allowed", "sql_too_large"
PEOPLE, VISITS, HOSPITALS = Scan("people", 0), Scan("visits", 1), Public("hospitals", 2)


RELEASE = ReleaseNode(PEOPLE, (), (Measure("count_rows", None),))
TOTALS = UnitAggregate(VISITS, (), (UnitMeasure("sum", Column("1.cost")),), 5)


def _ranked(order: str, partition: str = "pid") -> WindowColumn:
    return WindowColumn("row_number", None, (Column(f"0.{partition}"),), ((Column(f"0.{order}"), False, False),))


def _lagged(column: str) -> WindowColumn:
    order = ((Column("0.age"), False, False),)
    return WindowColumn("lag", Column(f"0.{column}"), (Column("0.pid"),), order)


def _union(first: str, second: str) -> UnionAll:
    """One column of people and one of visits, or two of visits where people have no such."""
    own = Scan("people", 7) if first in clinic().tables["people"].columns else Scan("visits", 7)
    return UnionAll((own, Scan("visits", 8)), ((Column(f"7.{first}"),), (Column(f"8.{second}"),)), 5)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (_plan(PEOPLE, Measure("count", Column("0.name"))), "column_hidden"),
        (_plan(PEOPLE, Measure("count", Column("0.nothing"))), "column_unknown"),
        (_plan(PEOPLE, Measure("count", Column("7.sex"))), "column_unknown"),
        (_plan(Scan("nothing", 0)), "table_unknown"),
        (_plan(Public("people", 0)), "table_unknown"),
        (_plan(Scan("hospitals", 0)), "table_unknown"),
        (_plan(Join(PEOPLE, Scan("visits", 0), "inner", (("0.pid", "0.pid"),))), "table_unknown"),
        (_plan(Join(PEOPLE, VISITS, "inner", (("0.age", "1.visit_id"),))), "join_not_allowed"),
        (_plan(Join(PEOPLE, VISITS, "inner", ())), "join_not_allowed"),
        (_plan(Join(VISITS, HOSPITALS, "inner", (("1.hospital", "2.region"),))), "join_not_allowed"),
        (_plan(Join(HOSPITALS, VISITS, "left", (("2.id", "1.hospital"),))), "join_not_allowed"),
        (_plan(Project(PEOPLE, 5, (Column("0.income"),)), keys=(Column("5.0"),)), "column_not_groupable"),
        (_plan(Project(PEOPLE, 5, (Column("0.name"),)), Measure("count", Column("5.0"))), "column_hidden"),
        (_plan(Project(PEOPLE, 5, (Column("0.sex"),)), Measure("count", Column("5.1"))), "column_unknown"),
        (
            _plan(Filter(Project(PEOPLE, 5, (Column("0.income"),)), (Call("is_null", (Column("5.0"),)),))),
            "column_not_filterable",
        ),
        (_plan(ReleaseNode(PEOPLE, (), ())), "construct_not_allowed"),
        (_plan(UnitAggregate(PEOPLE, (Column("0.name"),), (), 5)), "column_hidden"),
        (_plan(UnitAggregate(PEOPLE, (), (UnitMeasure("count", Column("0.name")),), 5)), "column_hidden"),
        (_plan(UnitAggregate(VISITS, (), (UnitMeasure("sum", Column("1.visit_id")),), 5)), "aggregate_not_allowed"),
        (_plan(UnitAggregate(VISITS, (), (UnitMeasure("max", Column("1.hospital")),), 5)), "aggregate_not_allowed"),
        (_plan(UnitAggregate(VISITS, (), (), 1)), "table_unknown"),
        (_plan(TOTALS, Measure("max", Column("5.m0"))), "aggregate_not_allowed"),
        (_plan(TOTALS, Measure("count_distinct", Column("5.unit"))), "aggregate_not_allowed"),
        (_plan(TOTALS, Measure("count", Column("5.m1"))), "column_unknown"),
        (_plan(TOTALS, Measure("count", Column("5.k0"))), "column_unknown"),
        (_plan(TOTALS, keys=(Column("5.m0"),)), "column_not_groupable"),
        (_plan(TOTALS, keys=(Column("5.unit"),)), "column_not_groupable"),
        (_plan(TOTALS, keys=(Call("year", (Column("5.m0"),)),)), "column_not_groupable"),
        (_plan(TOTALS, keys=(Call("bin", (Column("5.m0"),)),)), "column_not_groupable"),
        (_plan(Filter(TOTALS, (Call("is_null", (Column("5.m0"),)),))), "column_not_filterable"),
        (_plan(Window(PEOPLE, (_ranked("name"),), 5)), "column_hidden"),
        (_plan(Window(PEOPLE, (_ranked("income"),), 5)), "column_not_filterable"),
        (_plan(Window(PEOPLE, (_ranked("sex", "income"),), 5)), "column_not_filterable"),
        (_plan(Window(PEOPLE, (_lagged("name"),), 5), Measure("count", Column("5.w0"))), "column_hidden"),
        (_plan(Window(PEOPLE, (_lagged("income"),), 5), keys=(Column("5.w0"),)), "column_not_groupable"),
        (_plan(Window(PEOPLE, (WindowColumn("lag", Column("5.w0"), (), ()),), 5), keys=(Column("5.w0"),)), TOO_LARGE),
        (_plan(_union("name", "kind")), "column_hidden"),
        (_plan(_union("sex", "hospital"), keys=(Column("5.0"),)), "column_not_groupable"),
        (_plan(_union("age", "cost"), Measure("avg", Column("5.0")), keys=(Column("5.1"),)), "column_unknown"),
        (_plan(Filter(_union("age", "cost"), (Call("is_null", (Column("5.0"),)),))), "column_not_filterable"),
        (_plan(Join(PEOPLE, VISITS, "semi", (("0.age", "1.visit_id"),))), "join_not_allowed"),
        (_plan(Join(PEOPLE, VISITS, "anti", ())), "join_not_allowed"),
        (_plan(Join(PEOPLE, VISITS, "anti", (("0.pid", "1.pid"), ("0.income", "1.cost")))), "column_not_filterable"),
        (_plan(Join(PEOPLE, VISITS, "inner", (("0.pid", "1.pid"), ("0.sex", "1.kind")))), "join_not_allowed"),
        (_plan(Join(PEOPLE, HOSPITALS, "semi", (("0.income", "2.id"),))), "column_not_filterable"),
        (_plan(Join(PEOPLE, HOSPITALS, "left", (("0.sex", "2.level"),))), "join_not_allowed"),
        (_plan(Join(Join(HOSPITALS, VISITS, "semi", (("2.id", "1.hospital"),)), PEOPLE, "inner", ())), JOIN),
        (_plan(Join(PEOPLE, _union("visit_id", "pid"), "inner", (("0.pid", "5.0"),))), "join_not_allowed"),
        (_plan(Join(PEOPLE, TOTALS, "inner", (("0.pid", "5.m0"),))), "join_not_allowed"),
        (
            Output(Window(RELEASE, (WindowColumn("sum", Column("0.income"), (), ()),), 9), (("x", Column("9.w0")),)),
            "column_not_grouped",
        ),
        (Output(Rollup(RELEASE, ((),)), (("x", Column("g0")),)), "column_not_grouped"),
        (Output(Distinct(RELEASE, (Column("0.sex"),)), (("x", Column("m0")),)), "column_not_grouped"),
        (Output(PEOPLE, (("sex", Column("0.sex")),)), "aggregate_required"),
        (
            Output(ReleaseNode(PEOPLE, (), (Measure("count_rows", None),)), (("x", Column("0.income")),)),
            "column_not_grouped",
        ),
        (Output(ReleaseNode(PEOPLE, (), (Measure("count_rows", None),)), (("x", Column("m1")),)), "column_not_grouped"),
    ],
)
def test_a_plan_from_a_broken_resolver_is_refused(plan: Output, expected: str) -> None:
    assert _refused(plan) == expected


def test_an_equality_grant_opens_equality_in_every_spelling_and_nothing_else() -> None:
    for allowed in ("= 'flu'", "<> 'flu'", "IN ('flu', 'gout')", "NOT IN ('flu')", "IS NULL", "IS NOT NULL"):
        assert admitted(f"SELECT COUNT(*) FROM people WHERE diagnosis {allowed}")
        assert admitted(f"SELECT SUM(CASE WHEN diagnosis {allowed} THEN 1 ELSE 0 END) FROM people")


def test_via_opens_the_listed_forms_in_conditions_groups_and_means() -> None:
    assert admitted("SELECT COUNT(*) FROM people WHERE year(birth_date) BETWEEN 1950 AND 1960")
    assert admitted("SELECT COUNT(*) FROM people WHERE date_trunc('year', birth_date) = '1950-01-01'")
    assert admitted("SELECT decade(birth_date), COUNT(*) FROM people GROUP BY 1")
    assert admitted("SELECT COUNT(birth_date) FROM people")


def test_planted_a_rule_that_trusts_every_grant_lets_a_measure_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = "SELECT COUNT(*) FROM people WHERE income > 5000"
    assert code(sql=attack) == "column_not_filterable"
    monkeypatch.setattr(filtering, "_require_grant", lambda declared, at, equality: None)
    assert judged(attack)


def test_planted_a_rule_that_sees_one_part_of_a_union_lets_the_other_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    both = "SELECT sex AS k FROM people UNION ALL SELECT diagnosis FROM people"
    attack = f"SELECT k, COUNT(*) FROM ({both}) x WHERE k > 'a' GROUP BY k"
    assert code(sql=attack) == "column_not_filterable"
    honest = Lineage.traced
    monkeypatch.setattr(Lineage, "traced", lambda trace, expression: honest(trace, expression)[-1:])
    assert judged(attack)


def test_planted_a_rule_that_trusts_what_is_computed_within_a_unit_lets_a_measure_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attack = "SELECT COUNT(*) FROM (SELECT pid, SUM(cost) AS t FROM visits GROUP BY pid) x WHERE t > 5000"
    assert code(sql=attack) == "column_not_filterable"
    monkeypatch.setattr(filtering, "_require_computed", lambda computed, lineage: None)
    assert judged(attack)


def test_planted_without_lineage_a_renamed_column_escapes_its_role() -> None:
    plan = _plan(Project(PEOPLE, 5, (Column("0.income"),)), keys=(Column("5.0"),))
    assert _refused(plan) == "column_not_groupable"
    by_name_alone = _plan(PEOPLE, keys=(Column("0.sex"),))
    require_roles(by_name_alone, clinic())  # what the key would be judged as, if its alias were `sex`
    assert (
        code(sql="SELECT x.sex, COUNT(*) FROM (SELECT income AS sex FROM people) x GROUP BY x.sex")
        == "column_not_groupable"
    )


def test_the_policies_that_a_caller_may_ask_are_the_only_names_in_sight() -> None:
    assert LIMITS.tables_max >= 8
    assert ask(COUNT, policies=ONLY_CLINIC).dataset == "clinic"
