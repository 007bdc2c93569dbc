"""What honest operators ask of the planted town: all of it is answered, and most numbers are shown.

`pytest -s` prints the share of numbers that is withheld, and the questions that lose most.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.disclosure.bare import Bare
from tests.disclosure.judge import complaints
from tests.disclosure.world import town_world

FILE = Path(__file__).parent / "aggregate/legitimate.txt"
QUESTIONS = FILE.read_text("utf-8").splitlines()
LONG = "BPK_LONG" in os.environ


@pytest.mark.parametrize(("remembers", "withheld_most"), [(False, 0.25), (True, 0.5)][: 1 + LONG])
def test_forty_honest_questions_are_answered_and_little_is_withheld(*, remembers: bool, withheld_most: float) -> None:
    """Each as the first question of all, and one after the other."""
    shown = asked = 0
    lost: list[tuple[int, str]] = []
    with town_world() as world:
        bare, rules = Bare(world.town), world.policy.release.aggregate
        assert rules is not None
        for sql in QUESTIONS:
            if not remembers:
                world.forget()
            reply = world.ask(sql)
            assert reply.answered, (sql, reply.code, reply.detail)
            assert not complaints(reply, bare, rules, derived="OVER" in sql), sql
            shown += len(reply.released)
            asked += len(reply.numbers)
            lost.append((len(reply.numbers) - len(reply.released), sql))
    print(f"{len(QUESTIONS)} questions: {asked - shown} of {asked} numbers withheld ({1 - shown / asked:.1%})")
    for count, sql in sorted(lost, reverse=True)[:5]:
        print(f"  {count:4} {sql}")
    assert len(QUESTIONS) == 40
    assert 1 - shown / asked <= withheld_most
