"""A question of some blocks reads rows of their units alone, and one of all blocks means what it meant without any.

`BPK_PAIRS` sets how many statements are looked at with a unit of another block and without it (default 1,000),
`BPK_SEED` the seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest

from policies.model import Blocks
from sandbox.relational import blocks
from sandbox.relational.expressions import Column
from sandbox.relational.facts import Refuse, Schema
from sandbox.relational.lower import relations
from sandbox.relational.nodes import BlockScan, Output, Release, Scan, find_release, walk
from sandbox.relational.normal import normal
from sandbox.relational.plan import plan_release
from sandbox.release.make import statements
from tests.builders import World, load, make_world, policy_text
from tests.questions import random_release

STATEMENTS = int(os.environ.get("BPK_PAIRS", "1000"))
SEED = int(os.environ.get("BPK_SEED", "20261127"))
NAMES = ("2020", "2021", "rest")
QUESTIONS_PER_WORLD = 12


def cut(world: World) -> World:
    """The same rows, each private table in parts: a unit lies in the block of its number."""
    assert world.policy.unit is not None
    unit = replace(world.policy.unit, blocks=Blocks("born", "year", NAMES))
    policy = replace(world.policy, unit=unit)
    for name, table in policy.tables.items():
        for place, block in enumerate(() if table.public else NAMES):
            part = f'"{blocks.block_table(name, block)}"'
            where = f"__unit % {len(NAMES)} = {place} AND __unit <> getvariable('gone')"
            world.connection.execute(f"CREATE VIEW {part} AS SELECT * FROM {name}_all WHERE {where}").fetchall()
    return replace(world, policy=policy, schema=Schema(policy, world.schema.public_keys))


def output(release: Release) -> Output:
    names = [*(f"k{i}" for i in range(len(release.keys))), *(f"m{i}" for i in range(len(release.measures)))]
    return Output(release, tuple((name, Column(name)) for name in names))


def questions(seed: int) -> Iterator[tuple[random.Random, World, World, Output]]:
    """A world, the same one cut in blocks, and a question of it that is answered."""
    dice = random.Random(seed)
    while True:
        whole = make_world(load(policy_text(accountant=dice.choice(["zcdp", "pure"]))), dice)
        world = cut(whole)
        with whole.connection:
            for _ in range(QUESTIONS_PER_WORLD):
                asked = random_release(dice, whole.schema)
                try:
                    plan_release(asked, whole.schema)
                except Refuse:
                    continue
                yield dice, whole, world, output(asked)


def rows(world: World, plan: Output, without: int | None = None) -> Iterator[list[str]]:
    """What every statement of the question says: in no order, for it has none."""
    dp = world.policy.release.dp
    assert dp is not None
    planned = plan_release(find_release(plan), world.schema)
    for statement in statements(planned, world.schema, dp, 1000):
        yield sorted(map(repr, world.rows(statement, without)))


def shown_by_others(seed: int) -> Iterator[str | None]:
    """For one statement after the other, without end: whether leaving out a unit of another block shows, and how."""
    for dice, _, world, plan in questions(seed):
        named = tuple(name for name in NAMES if dice.random() < 0.5)[:2] or (dice.choice(NAMES),)
        asked = blocks.within(plan, world.policy, named)
        assert blocks.blocks_of(asked, world.policy) == named
        other = dice.choice([unit for unit in range(world.units) if NAMES[unit % 3] not in named])
        for before, after in zip(rows(world, asked), rows(world, asked, other), strict=True):
            yield None if before == after else f"unit {other} shows to {named}"


def test_units_of_other_blocks_show_in_no_statement() -> None:
    found = list(islice(shown_by_others(SEED), STATEMENTS))
    assert [problem for problem in found if problem] == []
    print(f"\nstatements over some blocks, with and without a unit of another: {len(found)}, seed {SEED}")


def test_a_scan_that_reads_all_blocks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations, "scanned", lambda scan, policy: policy.blocks)
    assert any(islice(shown_by_others(SEED), 500))


def test_a_plan_of_which_one_scan_was_left_as_it_was_is_of_all_blocks() -> None:
    """The charge follows what is read, scan by scan: one that names no blocks reads all of them."""
    for dice, _, world, plan in islice(questions(SEED), 20):
        asked = blocks.within(plan, world.policy, [dice.choice(NAMES)])
        scans = [node for node in walk(asked) if isinstance(node, Scan)]
        assert all(isinstance(node, BlockScan) for node in scans)
        assert blocks.blocks_of(plan, world.policy) == NAMES


def test_all_blocks_together_are_the_whole() -> None:
    for _, whole, world, plan in islice(questions(SEED + 1), 40):
        assert blocks.within(plan, world.policy, set(NAMES)) == plan
        assert list(rows(world, plan)) == list(rows(whole, plan))


def test_the_normal_form_keeps_the_blocks() -> None:
    for dice, _, world, plan in islice(questions(SEED + 2), 60):
        asked = blocks.within(plan, world.policy, [dice.choice(NAMES)])
        assert blocks.blocks_of(normal(asked), world.policy) == blocks.blocks_of(asked, world.policy)
        assert all(isinstance(node, BlockScan) for node in walk(normal(asked)) if isinstance(node, Scan))


@pytest.mark.parametrize("named", [(), ("2022",), ("2021", "2020"), ("2020", "2020"), NAMES])
def test_blocks_have_one_form(named: tuple[str, ...]) -> None:
    world = cut(make_world(load(policy_text()), random.Random(1)))
    with world.connection, pytest.raises(ValueError, match="blocks"):
        blocks.scanned(BlockScan("people", 0, None, named), world.policy)


def test_a_dataset_without_blocks_has_none_to_name() -> None:
    policy = load(policy_text())
    with pytest.raises(ValueError, match="blocks"):
        blocks.within(output(Release(Scan("people", 0), (), ())), policy, ["2020"])
    with pytest.raises(ValueError, match="blocks"):
        blocks.blocks_of(BlockScan("people", 0, None, ("2020",)), policy)
