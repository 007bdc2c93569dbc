"""What may be asked in mode `aggregate`, what it costs, and what a refusal offers instead."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.admission import exact
from gateway.admission.admit import AdmittedQuery, admit
from gateway.admission.alternatives import NOISY, Asked, offering
from gateway.cases import Attempt, run
from gateway.errors import Alternative, Refusal
from policies.load import load_text
from policies.model import Case, Policy
from tests.policy_head import head
from tests.sql_world import CLINIC, DAY, LIMITS, ask, licence

RULES = "[release.aggregate]\nunits_min = 10\n"
HEAD = head(purposes=("research", "actuarial"))
EXACT = load_text(
    HEAD[: HEAD.index("[release.dp]")].replace('["dp"]', '["aggregate"]') + RULES + CLINIC[len(HEAD) :], ""
)
BOTH = load_text(
    CLINIC.replace('["dp"]', '["aggregate", "dp"]').replace("[tables.people]\n", f"{RULES}[tables.people]\n"), ""
)


def judged(
    sql: str, policy: Policy = EXACT, mode: str | None = None, *, epsilon: str | None = None, by_accuracy: bool = False
) -> AdmittedQuery:
    with offering(Asked(sql, {}, {"clinic": policy}, LIMITS, mode)):
        return admit(
            ask(sql, policies={"clinic": policy}),
            policy,
            operator="acme",
            licences=(licence(),),
            purpose=None,
            mode=mode,
            epsilon=None if epsilon is None else Decimal(epsilon),
            by_accuracy=by_accuracy,
            day=DAY,
        )


def refused(sql: str, policy: Policy = EXACT, mode: str | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        judged(sql, policy, mode)
    return caught.value


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT sex, COUNT(*) FROM people GROUP BY sex",
        "SELECT COUNT(DISTINCT pid) FROM visits",
        "SELECT SUM(income), AVG(income), COUNT(income) FROM people",
        "SELECT SUM(cost) / COUNT(*) FROM visits",
        "SELECT diagnosis, COUNT(*) FROM people GROUP BY diagnosis",
        "SELECT COUNT(*) FILTER (WHERE diagnosis = 'flu') FROM people",
        "SELECT kind, COUNT(*) FROM visits GROUP BY ROLLUP(kind)",
        "SELECT COUNT(*) FROM people WHERE age < weight",
        "SELECT bin(weight), COUNT(*) FROM people GROUP BY 1",
    ],
)
def test_what_has_known_contributors_is_admitted_and_costs_no_epsilon(sql: str) -> None:
    found = judged(sql)
    assert (found.mode, found.question.mode) == ("aggregate", "aggregate")
    assert found.epsilon == found.question.epsilon == 0
    assert found.priced(0) is found


UNKNOWN = [
    ("SELECT MIN(income) FROM people", "MIN"),
    ("SELECT MAX(income) FROM people", "MAX"),
    ("SELECT MEDIAN(income) FROM people", "a quantile"),
    ("SELECT STDDEV(income) FROM people", "STDDEV"),
    ("SELECT VAR_SAMP(income) FROM people", "VAR"),
    ("SELECT CORR(income, weight) FROM people", "CORR"),
    ("SELECT COUNT(DISTINCT sex) FROM people", "COUNT(DISTINCT x)"),
]


@pytest.mark.parametrize(("sql", "name"), UNKNOWN)
def test_what_hangs_on_a_few_or_on_nobody_known_is_refused_at_its_place(sql: str, name: str) -> None:
    refusal = refused(sql)
    assert refusal.code == "aggregate_not_allowed"
    assert refusal.message.startswith(name)
    assert refusal.at is not None
    assert "SUM and AVG" in (refusal.hint or "")
    assert "dp" not in (refusal.hint or "")


def test_planted_without_the_rule_of_aggregates_a_median_is_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "SELECT MEDIAN(income) FROM people"
    assert refused(sql, BOTH).code == "aggregate_not_allowed"
    monkeypatch.setattr(exact, "ANSWERED", exact.ANSWERED | {"quantile"})
    assert judged(sql, BOTH).mode == "aggregate"


def test_where_noisy_answers_are_offered_too_the_refusal_says_so_first() -> None:
    sql = "SELECT MEDIAN(income) FROM people"
    first, *others = refused(sql, BOTH).alternatives
    assert first == Alternative(sql, NOISY)
    assert judged(first.sql, BOTH, "dp").epsilon > 0
    assert [judged(other.sql, BOTH).mode for other in others] == ["aggregate"]
    assert Alternative(sql, NOISY) not in refused(sql, EXACT).alternatives


def test_what_is_offered_passes_in_the_mode_that_was_asked() -> None:
    """A quantile stands in for MAX in mode `dp` alone."""
    offered = [one.sql for one in refused("SELECT MAX(income) FROM people", BOTH).alternatives]
    assert offered == ["SELECT AVG(income) FROM people"]
    noisy = [one.sql for one in refused("SELECT MAX(income) FROM people", BOTH, "dp").alternatives]
    assert any("QUANTILE_CONT" in sql.upper() or "PERCENTILE" in sql.upper() for sql in noisy)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT COUNT(*) FROM people WHERE age < income", "column_not_filterable"),
        ("SELECT COUNT(*) FROM people WHERE income = age", "column_not_filterable"),
        ("SELECT COUNT(*) FILTER (WHERE age = income) FROM people", "column_not_filterable"),
        ("SELECT COUNT(CASE WHEN income > weight THEN 1 END) FROM people", "column_not_filterable"),
        ("SELECT AVG(pid) FROM people", "aggregate_not_allowed"),
        ("SELECT age, SUM(age) FROM people GROUP BY age", "aggregate_not_allowed"),
        ("SELECT name, COUNT(*) FROM people GROUP BY name", "column_hidden"),
        ("SELECT income, COUNT(*) FROM people GROUP BY income", "column_not_groupable"),
    ],
)
def test_roles_and_grants_hold_as_in_the_other_mode(sql: str, code: str) -> None:
    """A column is compared with another one where both filter by range."""
    with pytest.raises(Refusal) as caught:
        judged(sql)
    assert caught.value.code == code


@pytest.mark.parametrize(("words", "named"), [({"epsilon": "0.5"}, "`epsilon`"), ({"by_accuracy": True}, "`accuracy`")])
def test_noise_is_neither_priced_nor_chosen_where_there_is_none(words: dict[str, object], named: str) -> None:
    with pytest.raises(Refusal) as caught:
        judged("SELECT COUNT(*) FROM people", **words)  # type: ignore[arg-type]
    assert caught.value.code == "epsilon_invalid"
    assert named in caught.value.message
    assert named in (caught.value.hint or "")


def test_the_first_mode_is_the_default_and_the_caller_may_name_another() -> None:
    count = "SELECT COUNT(*) FROM people"
    assert judged(count, BOTH).mode == "aggregate"
    assert judged(count, BOTH, "dp").epsilon == 500_000_000_000
    assert refused(count, EXACT, "dp").code == "mode_not_offered"
    assert refused(count, EXACT, "open").code == "mode_not_offered"


def test_examples_are_judged_in_the_mode_that_they_name() -> None:
    median = "SELECT MEDIAN(income) FROM people"
    refusing = Case("exact", median, "refuse", "aggregate_not_allowed")
    cases = (
        refusing,
        replace(refusing, name="the same", mode="aggregate"),
        Case("noisy", median, "answer", mode="dp"),
        Case("not on offer", median, "refuse", "mode_not_offered", mode="open"),
        Case("its author is mistaken", median, "answer", mode="aggregate"),
    )
    outcomes = run("clinic", cases, Attempt({"clinic": BOTH}, None))
    assert [outcome.problem is None for outcome in outcomes] == [True, True, True, True, False]


def test_a_section_whose_mode_is_not_on_offer_answers_nothing() -> None:
    policy = replace(BOTH, release=replace(BOTH.release, modes=("dp",)))
    assert refused("SELECT COUNT(*) FROM people", policy, "aggregate").code == "mode_not_offered"
