"""One meaning has one normal form, and the normal form has the same facts: over random plans, in random disguise.

That it has the same rows is held by `test_sql_means_what_it_says`, whose plans are in their normal form.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from sandbox.relational import normal as forms
from sandbox.relational.expressions import Column
from sandbox.relational.facts import Refuse
from sandbox.relational.nodes import Release, UnionAll, UnitAggregate, UnitMeasure, Window
from sandbox.relational.normal import alone, bare
from sandbox.relational.plan import ReleasePlan, plan_release
from tests.property.test_neighbours import worlds
from tests.questions import random_release

SEED = 20261126
QUESTIONS = 400


def asked(seed: int, many: int) -> Iterator[tuple[random.Random, Any, Release]]:
    dice = random.Random(seed)
    for world in worlds(dice):
        with world.connection:
            for _ in range(20):
                if not many:
                    return
                many -= 1
                yield dice, world.schema, random_release(dice, world.schema)


def disguised(dice: random.Random, release: Release) -> Release:
    """The same with other numbers, and columns that nothing reads."""
    fuller = _everywhere(release, lambda node: _with_more(dice, node))
    numbers = list(range(100, 200))
    dice.shuffle(numbers)
    return _everywhere(fuller, lambda node: _renumbered(node, numbers))


def _everywhere(value: Any, change: Callable[[Any], Any]) -> Any:
    """`change` of every record in `value`, the innermost first; below a window no column is more."""
    if isinstance(value, tuple):
        return tuple(_everywhere(each, change) for each in value)
    if not is_dataclass(value) or isinstance(value, type):
        return change(value) if isinstance(value, str) else value
    inner = {one.name: _everywhere(getattr(value, one.name), change) for one in fields(value) if one.name != "at"}
    return change(replace(value, **inner))


def _with_more(dice: random.Random, node: Any) -> Any:
    if isinstance(node, UnionAll) and node.columns[0]:
        place = dice.randrange(len(node.columns[0]))
        return replace(node, columns=tuple((*columns, columns[place]) for columns in node.columns))
    if isinstance(node, UnitAggregate):
        return replace(node, measures=(*node.measures, UnitMeasure("count_rows", None)))
    return node


def _renumbered(node: Any, numbers: list[int]) -> Any:
    if isinstance(node, str):
        number, dot, rest = node.partition(".")
        return f"{numbers[int(number)]}.{rest}" if dot and number.isdecimal() else node
    return replace(node, number=numbers[node.number]) if hasattr(node, "number") else node


def windowed(release: Release) -> bool:
    found: list[bool] = []
    _everywhere(release, lambda node: found.append(isinstance(node, Window)) or node)
    return any(found)


def test_a_plan_in_disguise_has_the_same_normal_form() -> None:
    compared = 0
    for dice, _, release in asked(SEED, QUESTIONS):
        if windowed(release):  # what ties are broken by is a part of the question
            continue
        other = disguised(dice, release)
        assert alone(other) == alone(release)
        assert bare(other.source) == bare(release.source)
        compared += 1
    assert compared > QUESTIONS // 3


def test_the_normal_form_is_its_own() -> None:
    for _, _, release in asked(SEED, QUESTIONS):
        assert alone(alone(release)) == alone(release)


def facts_of(plan: ReleasePlan) -> tuple[object, ...]:
    """What price and noise hang on, without names."""
    keys = sorted(str((key.type, key.nullable, key.keys, key.of_unit)) for key in plan.keys)
    sizes = sorted(str((type(s), getattr(s, "norm", None), getattr(s, "cells", None))) for s in plan.statistics)
    return plan.shape, plan.facts.multiplicity, plan.facts.unit_once, keys, sizes


def test_the_normal_form_has_the_same_facts() -> None:
    planned = 0
    for _, schema, release in asked(SEED, QUESTIONS):
        try:
            plan = plan_release(release, schema)
        except Refuse:
            continue
        assert facts_of(plan_release(alone(release), schema)) == facts_of(plan)
        planned += 1
    assert planned > QUESTIONS // 2


def test_a_form_that_drops_keys_of_units_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that nothing reads shape the rows all the same."""
    honest = forms._Form._unit_aggregate

    def careless(self: forms._Form, node: UnitAggregate, read: forms._Read) -> Any:
        kept = read.kept(f"{node.number}.k", node.keys)
        fewer = replace(node, keys=tuple(key for _, key in kept))
        return honest(self, fewer, read)

    monkeypatch.setattr(forms._Form, "_unit_aggregate", careless)
    with pytest.raises((AssertionError, KeyError, Refuse)):
        test_the_normal_form_has_the_same_facts()


def test_unread_columns_below_a_window_stay() -> None:
    """They break its ties: without them other rows might be the first ones."""
    for _, _, release in asked(SEED, QUESTIONS):
        form = alone(release)
        before, after = (sorted(map(len, _unions_below_windows(one))) for one in (release, form))
        assert set(after) <= set(before)


def _unions_below_windows(release: Release) -> list[tuple[Column, ...]]:
    found: list[tuple[Column, ...]] = []

    def look(node: Any) -> Any:
        if isinstance(node, Window) and isinstance(node.source, UnionAll):
            found.append(node.source.columns[0])  # type: ignore[arg-type]  # bare columns in these plans
        return node

    _everywhere(release, look)
    return found
