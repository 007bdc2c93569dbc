"""The same text, read by us and run by the bare engine, gives the same rows: what is asked is what is answered.

`BPK_TEXTS` sets the number of random texts, `BPK_SEED` the seed.
"""

from __future__ import annotations

import math
import os
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from policies.types import Value
from sandbox.codec import digest
from sandbox.relational.lower import functions, relations, scalars
from sandbox.relational.lower import windows as ranked
from sandbox.relational.nodes import UnitAggregate, Window, find_release
from sandbox.release import choices, moments, windows
from tests.exact_world import REFUSED, Exact, exact_release_of, make_exact, ours, plan_of, theirs
from tests.sql_texts import Text
from tests.sql_texts_of_units import random_text

TEXTS = int(os.environ.get("BPK_TEXTS", "600"))
SEED = int(os.environ.get("BPK_SEED", "20261123"))
TEXTS_PER_WORLD = 100
ANSWERED_MIN = 0.9
Row = tuple[object, ...]


@dataclass
class Tally:
    answered: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


def compare(texts: int, seed: int, *, stop: bool = False) -> Tally:
    """Asks `texts` random questions twice; with `stop`, only until the first disagreement."""
    tally, world = Tally(), make_exact(seed)
    for i in range(texts):
        if stop and tally.wrong:
            break
        if i and i % TEXTS_PER_WORLD == 0:
            world.close()
            world = make_exact(seed + i)
        text = random_text(random.Random(seed * 1_000_003 + i))
        try:
            found = ours(world, text.sql, text.parameters).rows
        except REFUSED:
            tally.refused += 1
            continue
        tally.answered += 1
        problem = _difference(world, text, found)
        if problem:
            tally.wrong.append(f"{problem}\n  {text.sql}\n  {dict(text.parameters)}")
    world.close()
    return tally


def _difference(world: Exact, text: Text, found: Sequence[Sequence[Value]]) -> str | None:
    mine = [tuple(map(_plain, row)) for row in found]
    whole = [tuple(map(_plain, row)) for row in theirs(world, text.unlimited, text.parameters)]
    if text.keys and not text.non_empty:  # groups without rows are answered too, as 0
        mine, whole = ([row for row in rows if row[text.rows_at] != 0] for rows in (mine, whole))
    if text.limit is None and text.offset == 0:
        return _same_rows(mine, whole, text) or _in_order(mine, whole, text)
    cut = [tuple(map(_plain, row)) for row in theirs(world, text.sql, text.parameters)]
    return _in_order(mine, cut, text) or next(
        (f"{row} is no row" for row in mine if not any(_agree(row, other, text.means) for other in whole)), None
    )


def _same_rows(mine: list[Row], whole: list[Row], text: Text) -> str | None:
    left = list(whole)
    alone = []
    for row in mine:
        match = next((i for i, other in enumerate(left) if _agree(row, other, text.means)), None)
        if match is None:
            alone.append(row)
        else:
            left.pop(match)
    return f"only ours {alone[:4]}, only theirs {left[:4]}" if alone or left else None


def _in_order(mine: list[Row], expected: list[Row], text: Text) -> str | None:
    """The terms of ORDER BY stand as the last columns: they must agree row by row, whatever ties do."""
    width = len(text.order)
    if len(mine) != len(expected):
        return f"{len(mine)} rows, not {len(expected)}"
    if not width:
        return None
    for row, other in zip(mine, expected, strict=True):
        if not _agree(row[-width:], other[-width:]):
            return f"in order: {row[-width:]} where {other[-width:]} is due"
    return None


def _agree(row: Row, other: Row, means: frozenset[int] = frozenset()) -> bool:
    pairs = enumerate(zip(row, other, strict=True))
    return all(_close(a, b) or (i in means and b is None) for i, (a, b) in pairs)


def _close(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=0.02)
    return one == other


def _plain(part: object) -> object:
    """Numbers as floats, none where a correlation of what never changes is no number; a time at midnight as its day."""
    if isinstance(part, bool) or part is None:
        return part
    if isinstance(part, int | float | Decimal):
        return None if math.isnan(part) else float(part)
    if isinstance(part, datetime) and part.time() == time():
        part = part.date()
    return part.isoformat() if isinstance(part, date) else part


def test_random_texts_are_answered_as_the_engine_answers_them() -> None:
    tally = compare(TEXTS, SEED)
    print(f"\nanswered {tally.answered}, refused {tally.refused}, wrong {len(tally.wrong)}, seed {SEED}")
    assert not tally.wrong, "\n".join(tally.wrong[:5])
    assert tally.answered >= ANSWERED_MIN * TEXTS


@pytest.mark.parametrize(
    "aggregate", ["COUNT(*)", "AVG(age)", "MEDIAN(age)", "COUNT(DISTINCT diagnosis)", "SUM(income)"]
)
def test_conditions_that_leave_no_public_group_leave_an_empty_answer(aggregate: str) -> None:
    world = make_exact(SEED)
    found = ours(world, f"SELECT sex, {aggregate} FROM people WHERE sex = 'F' AND sex = 'M' GROUP BY sex", {})
    world.close()
    assert found.rows == ()


def _other_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scalars._SIGNS, "less_equal", "<")


def _nulls_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = functions.WRITERS["not"]
    monkeypatch.setitem(functions.WRITERS, "not", lambda *given: f"COALESCE({honest(*given)}, TRUE)")


def _inner_for_left(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = relations._join
    monkeypatch.setattr(relations, "_join", lambda node, *sides: honest(replace(node, kind="inner"), *sides))


def _nulls_first(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = windows.sort_key
    monkeypatch.setattr(windows, "sort_key", lambda e, down, first, facts: honest(e, down, not first, facts))


def _in_for_not_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(relations._JOINS, "anti", relations._JOINS["semi"])


def _one_part_of_unions(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = relations._union_all
    monkeypatch.setattr(relations, "_union_all", lambda *given: honest(*given).rpartition(" UNION ALL ")[0])


def _values_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    honest, plain = relations._unit_aggregate, {"count_distinct": "count"}

    def lowered(node: UnitAggregate, *below: Any) -> str:
        measures = tuple(replace(one, function=plain.get(one.function, one.function)) for one in node.measures)
        return honest(replace(node, measures=measures), *below)

    monkeypatch.setattr(relations, "_unit_aggregate", lowered)


def _latest_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ranked.window

    def lowered(node: Window, *below: Any) -> str:
        upside_down = (
            replace(one, order=tuple((term, not down, first) for term, down, first in one.order))
            for one in node.columns
        )
        return honest(replace(node, columns=tuple(upside_down)), *below)

    monkeypatch.setattr(ranked, "window", lowered)


def _products_for_covariances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "covariance", lambda product, *_: product)


def _quantiles_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = choices.choose_cell

    def upside_down(outside: Any, counts: Any, cells: int, fraction: Fraction, *price: Any) -> int:
        return honest(outside, counts, cells, 1 - fraction, *price)

    monkeypatch.setattr(choices, "choose_cell", upside_down)


PLANTS = (_other_signs, _nulls_of_lists, _inner_for_left, _nulls_first, _in_for_not_in, _one_part_of_unions)


OF_AGGREGATES = (_values_counted_twice, _latest_for_first, _products_for_covariances, _quantiles_from_above)
RARE = {_values_counted_twice: 19}
"""Added to the seed, so that a question which shows the fault comes soon."""


@pytest.mark.parametrize("plant", [*PLANTS, *OF_AGGREGATES])
def test_a_planted_change_of_meaning_is_noticed(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert compare(600, SEED + RARE.get(plant, 0), stop=True).wrong, "was not noticed"


ONE_MEANING: dict[str, tuple[str, ...]] = {
    "spelling and white space": (
        "SELECT sex, COUNT(*) AS n FROM people WHERE age > 20 AND income < 9 GROUP BY sex",
        "select  Sex , count(*) n\n from People\twhere (age>20) and income<9 -- so\n group by SEX",
        'SELECT "sex", COUNT(1) AS "many" FROM clinic.people AS p WHERE p.income < 9.0 AND 20 < p.age GROUP BY 1',
        "SELECT p.sex AS s, COUNT(*) FROM people p WHERE NOT p.age <= 20 AND p.income < 9 GROUP BY s",
    ),
    "order of the select list, of keys and of conjuncts": (
        "SELECT sex, active, COUNT(*), SUM(income) FROM people WHERE age IN (20, 21) AND sex IS NOT NULL GROUP BY 1, 2",
        "SELECT SUM(income), COUNT(*), active FROM people WHERE sex IS NOT NULL AND age IN (21, 20, 21) "
        "GROUP BY active, sex",
        "SELECT active, sex FROM people WHERE sex IS NOT NULL AND age IN (20, 21) GROUP BY sex, active "
        "HAVING COUNT(*) > 0 AND SUM(income) > 3",
    ),
    "CTE, subquery, or neither": (
        "SELECT kind, AVG(cost) FROM visits WHERE seen >= '2021-01-01' GROUP BY kind",
        "SELECT k, AVG(c) FROM (SELECT kind AS k, cost AS c, seen FROM visits WHERE seen >= DATE '2021-01-01') q "
        "GROUP BY k",
        "WITH a AS (SELECT kind AS k, cost AS c FROM visits WHERE seen >= '2021-01-01') "
        "SELECT k, AVG(c) FROM a GROUP BY 1",
        "WITH a AS (SELECT kind, cost, seen FROM visits), b AS (SELECT kind, cost FROM a WHERE '2021-01-01' <= seen) "
        "SELECT AVG(b.cost) AS mean, b.kind FROM b GROUP BY b.kind ORDER BY mean DESC LIMIT 2",
    ),
    "sides of joins and their conditions": (
        "SELECT h.level, COUNT(*) FROM visits v JOIN hospitals h ON v.hospital = h.id WHERE h.beds > 3 GROUP BY level",
        "SELECT level, COUNT(*) FROM visits JOIN hospitals ON id = hospital AND beds > 3 GROUP BY level",
        "SELECT h.level, COUNT(*) FROM visits v JOIN (SELECT id AS i, level, beds FROM hospitals WHERE beds > 3) h "
        "ON v.hospital = h.i GROUP BY h.level",
    ),
    "other words for the same condition": (
        "SELECT COUNT(*) FROM people WHERE age >= 20 AND age <= 22",
        "SELECT COUNT(*) FROM people WHERE age BETWEEN 20 AND 22",
        "SELECT COUNT(*) FROM people WHERE 22 >= age AND NOT age < 20",
        "SELECT COUNT(pid) AS n FROM people WHERE age >= $low AND age <= 22.0 ORDER BY n",
    ),
    "dates in each way": (
        "SELECT year(seen), COUNT(*) FROM visits GROUP BY 1",
        "SELECT date_part('year', seen) AS y, COUNT(*) FROM visits GROUP BY y",
        "SELECT EXTRACT(year FROM v.seen), COUNT(*) + 1 FROM visits v GROUP BY year(v.seen)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ONE_MEANING)
def test_one_meaning_is_one_digest_and_one_release(what: str) -> None:
    """So that a stored release is found again, and asking in other words is free."""
    world = make_exact(SEED)
    plans = [plan_of(world, sql, {"low": 20} if "$low" in sql else {}) for sql in ONE_MEANING[what]]
    releases = {digest(find_release(plan)) for plan in plans}
    bodies = {digest(exact_release_of(world, plan)) for plan in plans}
    world.close()
    assert len(releases) == 1
    assert len(bodies) == 1


DIFFERENT = (
    "SELECT COUNT(*) FROM people WHERE age < 20",
    "SELECT COUNT(*) FROM people WHERE age <= 20",
    "SELECT COUNT(*) FROM people WHERE age < 20 AND age IS NOT NULL",
    "SELECT COUNT(age) FROM people WHERE age < 20",
    "SELECT COUNT(*) FROM people p JOIN visits v USING (pid) WHERE age < 20",
    "SELECT COUNT(*) FROM people p LEFT JOIN visits v USING (pid) WHERE age < 20",
    "SELECT sex, COUNT(*) FROM people WHERE age < 20 GROUP BY sex",
)


def test_different_meanings_have_different_digests() -> None:
    world = make_exact(SEED)
    assert len({digest(find_release(plan_of(world, sql, {}))) for sql in DIFFERENT}) == len(DIFFERENT)
    world.close()


def _other_aliases(sql: str) -> str:
    """`people p` becomes `people p_1`; texts with subqueries stay as they are, for their aliases follow a bracket."""
    if "(SELECT" in sql:
        return sql
    renamed = re.sub(r"(?<=\w) (AS )?([pvihc])\b(?!\.)", r" \2_1", sql)
    return re.sub(r"\b([pvihc])\.", r"\1_1.", renamed)


def test_rewritten_texts_have_the_digest_and_the_rows_of_the_first() -> None:
    """Random texts with other white space, letters and aliases of tables, and one more subquery around."""
    world, same = make_exact(SEED), 0
    for i in range(150):
        text = random_text(random.Random(SEED + 7 * i))
        if text.order or text.limit is not None or text.offset:
            continue
        variants = (
            "  " + text.sql.replace(", ", "\n,\t") + " ;",
            re.sub(r"\b(SELECT|FROM|WHERE|GROUP BY|AND|COUNT)\b", lambda m: m[0].lower(), text.sql),
            _other_aliases(text.sql),
        )
        try:
            plan, first = plan_of(world, text.sql, text.parameters), ours(world, text.sql, text.parameters).rows
        except REFUSED:
            continue
        for variant in variants:
            again = plan_of(world, variant, text.parameters)
            assert digest(find_release(again)) == digest(find_release(plan)), variant
        assert ours(world, variants[0], text.parameters).rows == first
        same += 1
    world.close()
    assert same > 50
