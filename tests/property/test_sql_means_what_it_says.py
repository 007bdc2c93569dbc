"""The same text, read by us and run by the bare engine, gives the same rows: what is asked is what is answered.

`BPK_TEXTS` sets the number of random texts, `BPK_SEED` the seed.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal

import pytest

from policies.types import Value
from sandbox.relational.lower import relations, scalars
from sandbox.release import post
from tests.exact_world import REFUSED, Exact, make_exact, ours, theirs
from tests.sql_texts import Text, random_text

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
        mine = [row for row in mine if row[text.rows_at] != 0]
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
    """Numbers as floats, a time at midnight as its day."""
    if isinstance(part, bool) or part is None:
        return part
    if isinstance(part, int | float | Decimal):
        return float(part)
    if isinstance(part, datetime) and part.time() == time():
        part = part.date()
    return part.isoformat() if isinstance(part, date) else part


def test_random_texts_are_answered_as_the_engine_answers_them() -> None:
    tally = compare(TEXTS, SEED)
    print(f"\nanswered {tally.answered}, refused {tally.refused}, wrong {len(tally.wrong)}, seed {SEED}")
    assert not tally.wrong, "\n".join(tally.wrong[:5])
    assert tally.answered >= ANSWERED_MIN * TEXTS


def _other_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scalars._SIGNS, "less_equal", "<")


def _nulls_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = scalars._not
    monkeypatch.setitem(scalars._OTHERS, "not", lambda call, facts: f"COALESCE({honest(call, facts)}, TRUE)")


def _inner_for_left(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = relations._join
    monkeypatch.setattr(relations, "_join", lambda node, schema: honest(replace(node, kind="inner"), schema))


def _nulls_first(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = post._sort_key
    monkeypatch.setattr(post, "_sort_key", lambda e, down, first, facts: honest(e, down, not first, facts))


@pytest.mark.parametrize("plant", [_other_signs, _nulls_of_lists, _inner_for_left, _nulls_first])
def test_a_planted_change_of_meaning_is_noticed(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert compare(600, SEED, stop=True).wrong, "was not noticed"
