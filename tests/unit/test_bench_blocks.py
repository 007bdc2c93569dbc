"""`make bench-blocks` asks of as many blocks as it says, of the same people, and finds what that takes."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest

from bench import blocks
from bench.client import Reply
from policies.load import load_policy

SHOWN = ["none", "12 of 12", "61 of 61", "12 of 61", "1 of 61"]


@pytest.mark.parametrize(("name", "count"), [("people", 0), ("people_by_year", 12), ("people_by_month", 61)])
def test_each_dataset_has_its_blocks_and_as_many_people_in_each(tmp_path: Path, name: str, count: int) -> None:
    made = blocks.made(tmp_path / name, *blocks.DATASETS[name])

    policy = load_policy(made.policy / "policy.toml")
    assert (policy.dataset, len(policy.blocks)) == (name, count)
    by, last = blocks.DATASETS[name]
    people = f"SELECT COUNT(*) FROM '{made.tables['people']}' GROUP BY date_trunc('{by or 'year'}', enrolled)"
    counts = [row[0] for row in duckdb.sql(people).fetchall()]
    assert sum(counts) == blocks.PEOPLE
    assert len(counts) == (count - 1 if by else last - 2013)
    assert max(counts) < 1.2 * min(counts)


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="processes are looked up in /proc")
def test_every_kind_of_question_is_answered_and_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "PEOPLE", 2_000)
    found = blocks.measured(rounds=1, each=10)

    lines = [kind.line(found[0]) for kind in found]
    assert [line[0] for line in lines] == SHOWN
    assert all(kind.other == [] and kind.asked == 10 for kind in found)
    assert all(kind.prices == {"0.001"} for kind in found), "in each block as much as without blocks"
    assert all(len(line) == 7 for line in lines)
    assert sum(kind.each_ms[-1] for kind in found) > 0, "of one kind it may be no more than the clock tells apart"


def test_a_question_that_is_not_answered_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def ask(self, *_: object, **__: object) -> Reply:
            return Reply(403, {"code": "budget_exhausted"}, 0.0, 0.0)

    monkeypatch.setattr(blocks, "REST_S", 0)
    monkeypatch.setattr(blocks.processor, "taken", lambda _: {"gateway": 1.0})
    kind = blocks.Kind("people", (), None)
    kind.ask(Refusing(), [1, 2], 0)  # type: ignore[arg-type]
    assert kind.other == ["budget_exhausted"] * 2
