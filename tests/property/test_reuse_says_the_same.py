"""What a stored answer says for another question is what that question itself would be told: over pairs of random
questions whose rows are made of relations alike, so that one could be taken for the other.

Without noise both are exact, and have to be equal. `BPK_PAIRS_OF_TEXTS` sets the number of questions, `BPK_SEED` the
seed.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from policies.types import Value
from sandbox.relational import nodes, normal
from sandbox.relational.expressions import Expression
from sandbox.relational.nodes import Measure, Output, find_release
from sandbox.release import derived
from sandbox.release.answer import answer
from sandbox.release.derived import measures_for
from sandbox.release.released import Release
from tests.exact_world import REFUSED, Exact, exact_release_of, make_exact, plan_of

QUESTIONS = int(os.environ.get("BPK_PAIRS_OF_TEXTS", "112"))
SEED = int(os.environ.get("BPK_SEED", "20261126"))
POOL = 16
"""Questions over one relation, each held against each."""

_TOTALS = "(SELECT pid, SUM(cost) AS s, COUNT(*) AS n, MAX(cost) AS h FROM visits GROUP BY pid)"
_KINDS = "(SELECT pid, kind AS k, SUM(cost) AS s, COUNT(*) AS n FROM visits GROUP BY pid, kind)"
_BOTH = (
    "(SELECT pid, kind AS k, cost AS s, cost * 2 AS n FROM visits UNION ALL "
    "SELECT pid, 'in', score, income FROM people)"
)


@dataclass(frozen=True)
class Rows:
    """What questions are asked of: `FROM` in several orders of words, and what may be grouped by and added up."""

    texts: tuple[str, ...]
    keys: tuple[str, ...]
    numbers: tuple[str, ...]


def _joined(one: str, other: str, kind: str) -> tuple[str, ...]:
    """`people` beside two relations alike."""
    a, b = f"{kind} {one} a ON p.pid = a.pid", f"{kind} {other} b ON p.pid = b.pid"
    return f"people p {a} {b}", f"people p {b} {a}"


ROWS = (
    Rows(
        ("visits a JOIN visits b ON a.pid = b.pid", "visits b JOIN visits a ON a.pid = b.pid"),
        ("a.kind", "b.kind"),
        ("a.cost", "b.cost"),
    ),
    Rows(_joined("visits", "visits", "LEFT JOIN"), ("a.kind", "b.kind", "p.sex"), ("a.cost", "b.cost", "p.score")),
    Rows(_joined("visits", "visits", "JOIN"), ("a.kind", "b.kind", "p.sex"), ("a.cost", "b.cost", "p.score")),
    Rows(_joined(_TOTALS, _TOTALS, "LEFT JOIN"), ("p.sex", "p.active"), ("a.s", "b.s", "a.n", "b.n", "a.h")),
    Rows(_joined(_KINDS, _KINDS, "LEFT JOIN"), ("a.k", "b.k", "p.sex"), ("a.s", "b.s", "a.n", "b.n")),
    Rows(_joined(_KINDS, _KINDS, "JOIN"), ("a.k", "b.k", "p.sex"), ("a.s", "b.s", "a.n", "b.n")),
    Rows(_joined(_BOTH, _BOTH, "LEFT JOIN"), ("a.k", "b.k", "p.sex"), ("a.s", "b.s", "a.n", "b.n")),
    Rows(_joined(_BOTH, "visits", "JOIN"), ("a.k", "b.kind", "p.sex"), ("a.s", "a.n", "b.cost")),
    Rows((f"{_BOTH} a", f"(SELECT n, k, s, pid FROM {_BOTH} c) a"), ("a.k",), ("a.s", "a.n", "a.s + a.n")),
)
_FIGURES = ("SUM({})", "COUNT({})", "AVG({})", "SUM(CASE WHEN {} > 40 THEN 1 ELSE 0 END)")
_CONDITIONS = (
    "p.pid IN (SELECT pid FROM visits WHERE kind = 'in')",
    "NOT EXISTS (SELECT * FROM visits v WHERE v.pid = p.pid AND v.cost > 500)",
    "p.age > 20",
)


def text_of(dice: random.Random, rows: Rows) -> str:
    keys = dice.sample(rows.keys, dice.randint(0, min(2, len(rows.keys))))
    figures = [dice.choice(_FIGURES).format(dice.choice(rows.numbers)) for _ in range(dice.choice([1, 2, 6]))]
    source = dice.choice(rows.texts)
    where = (
        dice.choice(["", "", "", " WHERE " + " AND ".join(dice.sample(_CONDITIONS, 2))]) if "people p" in source else ""
    )
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    return f"SELECT {', '.join([*keys, 'COUNT(*)', *dict.fromkeys(figures)])} FROM {source}{where}{group}"


def asked(dice: random.Random, world: Exact, many: int) -> Iterator[tuple[str, Output, Release]]:
    """Questions over one of `ROWS`, as they are sent to the domain, with what they are told."""
    rows = dice.choice(ROWS)
    for _ in range(many):
        sql = text_of(dice, rows)
        try:
            plan = plan_of(world, sql, {})
            yield sql, plan, exact_release_of(world, plan)
        except REFUSED:
            continue


def compare(questions: int, seed: int, *, stop: bool = False) -> tuple[list[str], int]:
    """(pairs that are told other numbers, how many pairs were compared)."""
    wrong, compared = list[str](), 0
    for part in range(questions // POOL):
        dice, world = random.Random(f"{seed}.{part}"), make_exact(seed + part)
        pool = list(asked(dice, world, POOL))
        for sql, _, stored in pool:
            for other, plan, own in pool:
                if measures_for(stored, find_release(plan)) is None or sql == other:
                    continue
                compared += 1
                if not _same(told(stored, plan), told(own, plan)):
                    wrong.append(f"{sql}\n  said for\n{other}")
        world.close()
        if stop and wrong:
            break
    return wrong, compared


def told(release: Release, plan: Output) -> dict[tuple[Value, ...], tuple[Value, ...]]:
    """The numbers of each group that has rows. The first one is their number."""
    keys = len(find_release(plan).keys)
    rows = answer(release, "rel", "hash", plan).rows
    return {row[:keys]: row[keys:] for row in rows if row[keys]}


def _same(
    one: Mapping[tuple[Value, ...], tuple[Value, ...]], other: Mapping[tuple[Value, ...], tuple[Value, ...]]
) -> bool:
    return one.keys() == other.keys() and all(
        a == b or (isinstance(a, int | float | Decimal) and isinstance(b, int | float | Decimal) and _close(a, b))
        for group, numbers in one.items()
        for a, b in zip(numbers, other[group], strict=True)
    )


def _close(one: float | Decimal, other: float | Decimal) -> bool:
    """Means lie on a grid, whose middle hangs on what they are told from."""
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-3)


def test_a_stored_answer_says_what_the_question_itself_would_be_told() -> None:
    wrong, compared = compare(QUESTIONS, SEED)
    assert not wrong, wrong[0]
    assert compared > QUESTIONS // 4


def crossed() -> bool:
    """Whether a stored answer says the numbers of `b` by the kinds of `a` for those of `a` by the kinds of `b`.

    Kinds and numbers are each the same as those of the stored question, which has the same rows; not so together.
    """
    source = f"people p LEFT JOIN {_KINDS} b ON p.pid = b.pid LEFT JOIN {_KINDS} a ON p.pid = a.pid"
    world = make_exact(SEED)
    texts = "COUNT(*), SUM(a.s), SUM(a.n), SUM(b.n)", "COUNT(*), SUM(b.s)"
    stored, other = (
        plan_of(world, f"SELECT a.k, b.k, {numbers} FROM {source} GROUP BY a.k, b.k", {}) for numbers in texts
    )
    release, own = exact_release_of(world, stored), exact_release_of(world, other)
    world.close()
    served = measures_for(release, find_release(other)) is not None
    return served and not _same(told(release, other), told(own, other))


def test_kinds_of_one_and_numbers_of_the_other_are_no_answer() -> None:
    assert not crossed()


def test_forms_held_against_each_other_without_their_places_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "in_places", normal.alone)
    assert crossed()


def _each_alone(asked: nodes.Release, wanted: nodes.Release) -> nodes.Release | None:
    """A look-up that holds keys and measures against each other one by one, and not all together."""
    if normal.bare(asked.source) != normal.bare(wanted.source):
        return None
    keys: Mapping[object, Expression] = {derived._alone(wanted, key): key for key in wanted.keys}
    measures: Mapping[object, Measure] = {derived._alone(wanted, one): one for one in wanted.measures}
    return replace(
        wanted,
        keys=tuple(keys.get(derived._alone(asked, key), derived._UNREAD) for key in asked.keys),
        measures=tuple(measures.get(derived._alone(asked, one), derived._OTHER) for one in asked.measures),
    )


def test_one_that_takes_the_number_of_one_for_the_other_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "_as_read", _each_alone)
    assert compare(QUESTIONS * 4, SEED, stop=True)[0]
