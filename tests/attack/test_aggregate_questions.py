"""Single attacks on `aggregate` answers, each on a service that remembers nothing that would help it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disclosure.bare import Bare
from tests.disclosure.judge import Expected, complaints
from tests.disclosure.planted import twin_town
from tests.disclosure.world import TownWorld, town_world

CORPUS = Path(__file__).parent / "aggregate/corpus.txt"
LINES = [line.split("\t") for line in CORPUS.read_text("utf-8").splitlines()]
CLASSES = list(dict.fromkeys(line[0].rpartition("-")[0] for line in LINES))


@pytest.fixture(scope="module")
def world() -> Iterator[TownWorld]:
    with town_world() as made:
        yield made


@pytest.fixture(scope="module")
def bare(world: TownWorld) -> Iterator[Bare]:
    made = Bare(world.town)
    yield made
    made.close()


def test_the_corpus_has_not_shrunk() -> None:
    assert len({sql for _, _, sql in LINES}) >= 350
    assert len({number for number, _, _ in LINES}) == len(LINES)


@pytest.mark.parametrize("kind", CLASSES)
def test_no_single_question_tells_a_secret(world: TownWorld, bare: Bare, kind: str) -> None:
    rules = world.policy.release.aggregate
    assert rules is not None
    wrong: list[str] = []
    for number, expected, sql in (line for line in LINES if line[0].rpartition("-")[0] == kind):
        world.forget()
        reply = world.ask(sql)
        broken = Expected.of(expected).broken(reply)
        wrong += [f"{number}: {broken}"] if broken else []
        wrong += [f"{number}: {each}" for each in complaints(reply, bare, rules, derived=expected == "derived")]
    assert not wrong, "\n".join(wrong)


def about_hamlet_alone(sql: str) -> bool:
    """Whether the people of Hamlet are in no other number than that of Hamlet."""
    grouped = sql.partition("GROUP BY ")[2]
    by_district = grouped.startswith("district") and not grouped.startswith("district,")
    return by_district or ("FROM people WHERE district = 'Hamlet'" in sql and "UNION" not in sql and "job" not in sql)


def told_apart(first: TownWorld, second: TownWorld) -> list[str]:
    """Questions that are answered in another way where a few people are others, and have more."""
    found = []
    for number, _, sql in LINES:
        if about_hamlet_alone(sql):
            first.forget()
            second.forget()
            one, other = first.ask(sql), second.ask(sql)
            found += [] if one == other else [f"{number}: {one.rows} and {other.rows}"]
    return found


def test_no_answer_tells_who_and_how_many_are_in_a_group_that_is_withheld(world: TownWorld) -> None:
    """Neither by a number nor by which rows there are, in which order, or whether there is an answer."""
    assert sum(about_hamlet_alone(sql) for _, _, sql in LINES) >= 60
    with town_world(rows=twin_town(world.town)) as twin:
        assert not told_apart(world, twin)
