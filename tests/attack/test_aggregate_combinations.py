"""Answers that only together would give somebody away, in either order, asked of a service that was never asked before.

The file holds, under a name, lines of a coefficient and a question, and after `=` the secret in plain SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from tests.disclosure.bare import Bare
from tests.disclosure.world import TownWorld, town_world

FILE = Path(__file__).parent / "aggregate/combinations.txt"
TOLERANCE = Decimal("0.0001")


@dataclass(frozen=True)
class Combination:
    name: str
    asked: tuple[tuple[int, str], ...]
    secret: str


def combinations() -> Iterator[Combination]:
    name = ""
    asked: list[tuple[int, str]] = []
    for line in FILE.read_text("utf-8").splitlines():
        if line.startswith("# "):
            name = line[2:]
        elif line.startswith("= "):
            yield Combination(name, tuple(asked), line[2:])
            asked = []
        else:
            coefficient, sql = line.split("\t")
            asked.append((int(coefficient), sql))


ALL = list(combinations())


@pytest.fixture(scope="module")
def world() -> Iterator[TownWorld]:
    with town_world() as made:
        yield made


@pytest.fixture(scope="module")
def bare(world: TownWorld) -> Iterator[Bare]:
    made = Bare(world.town)
    yield made
    made.close()


def told(world: TownWorld, asked: list[tuple[int, str]]) -> Decimal | None:
    """The combination, None where a part of it was refused or withheld."""
    world.forget()
    values = [(coefficient, world.ask(sql).numbers) for coefficient, sql in asked]
    if any(len(numbers) != 1 or numbers[0] is None for _, numbers in values):
        return None
    return sum((coefficient * Decimal(str(numbers[0])) for coefficient, numbers in values), Decimal(0))


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_no_answers_add_up_to(world: TownWorld, bare: Bare, one: Combination) -> None:
    ((found,),) = bare.rows(one.secret)
    secret = Decimal(str(found))
    for order in (list(one.asked), list(reversed(one.asked))):
        value = told(world, order)
        assert value is None or abs(value - secret) > TOLERANCE * max(abs(secret), 1), value


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_without_protection_answers_add_up_to(bare: Bare, one: Combination) -> None:
    """Else the test above would prove nothing."""
    ((secret,),) = bare.rows(one.secret)
    parts = [(coefficient, bare.rows(sql)) for coefficient, sql in one.asked]
    total = sum((coefficient * Decimal(str(number)) for coefficient, ((number,),) in parts), Decimal(0))
    assert abs(total - Decimal(str(secret))) <= TOLERANCE * max(abs(Decimal(str(secret))), 1)
