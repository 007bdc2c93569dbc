"""Neighbours among random worlds, each a home of its own, asked random questions of the whole accepted model."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from unittest.mock import patch

import duckdb

from gateway.admission import admit
from gateway.home import Home, init, open_home
from gateway.sql.known import Known
from gateway.sql.read import Query
from policies.load import load_text
from policies.model import Policy
from policies.types import BIGINT
from sandbox import datasets
from sandbox.datasets import Datasets, Served
from sandbox.deadlines import NO_DEADLINES
from sandbox.domain import Ceiling
from sandbox.engine.shadow import Shadow
from sandbox.ingest.snapshot import Manifest, Snapshot
from sandbox.protocol import DatasetStatus
from sandbox.publics import NO_PUBLICS
from sandbox.relational.expressions import Call, Column, Literal
from sandbox.relational.facts import Refuse, Schema
from sandbox.relational.nodes import Filter, Limit, Output, Relation, Release, Sort
from sandbox.relational.plan import plan_release
from tests.alike.inside import OPERATOR, Inside, inside
from tests.builders import World
from tests.questions import random_release

EPSILONS: Final = ("0.5", "4", "20")
CELLS_MAX: Final = 100
COMMITMENT: Final = "5a" * 32
_LICENCE: Final = """
licence = "L-1"
operator = "{operator}"
datasets = ["{dataset}"]
purposes = ["research"]
valid = {{ from = 2020-01-01, until = 2099-12-31 }}
budget = {{ {dataset} = {{ epsilon = 1000 }} }}
"""
_CASE: Final = '[[case]]\nname = "none"\nsql = "DROP TABLE x"\nexpect = "refuse"\n'


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, at its epsilon. `plain` says that its rows are the groups, whatever the numbers are."""

    plan: Output
    epsilon: str
    plain: bool


def random_question(dice: random.Random, schema: Schema) -> Asked | None:
    """None where the plan is refused, or has so many groups that its answer takes long."""
    release = random_release(dice, schema)
    try:
        cells = plan_release(release, schema).cells
    except Refuse:
        return None
    if cells is not None and cells > CELLS_MAX:
        return None
    names = [*(f"k{i}" for i in range(len(release.keys))), *(f"m{i}" for i in range(len(release.measures)))]
    source = release if dice.random() < 0.5 else _above(dice, release)
    plan = Output(source, tuple((name, Column(name)) for name in names))
    return Asked(plan, dice.choice(EPSILONS), plain=source is release)


def _above(dice: random.Random, release: Release) -> Relation:
    """HAVING, ORDER BY and LIMIT by a released number."""
    number = Column(f"m{dice.randrange(len(release.measures))}")
    found: Relation = release
    if dice.random() < 0.5:
        found = Filter(found, (Call("greater_equal", (Call("to_double", (number,)), Literal(2, BIGINT))),))
    if dice.random() < 0.7:
        found = Sort(found, ((number, dice.random() < 0.5, dice.random() < 0.5),))
    return Limit(found, dice.choice([1, 3]), dice.choice([0, 1])) if dice.random() < 0.5 else found


class _One(Datasets):
    """The dataset of a random world, served at once."""

    def __init__(self, served: Served) -> None:
        self._one = served

    def find(self, name: str) -> Served | None:
        return self._one if name == self._one.policy.dataset else None

    def publics(self, dataset: str, commitment: str) -> object:  # type: ignore[override]
        return NO_PUBLICS

    def statuses(self) -> tuple[DatasetStatus, ...]:
        policy = self._one.policy
        return (DatasetStatus(policy.dataset, "ready", "", "1", COMMITMENT, policy.digest),)


@dataclass
class Side:
    """A home over a world, with all of its units or without one."""

    inside: Inside
    gone: int | None = None


@contextlib.contextmanager
def sides(root: Path, world: World, count: int) -> Iterator[list[Side]]:
    """So many new homes below `root` with the world's policy, at a cap that no test comes near."""
    text = world.text.replace("epsilon = 100\n", "epsilon = 1000\n", 1)
    served = _served(world, load_text(text, "policy.toml"))
    with contextlib.ExitStack() as stack:
        found: list[Side] = []
        for i in range(count):
            home = _home(root / str(i), served.policy.dataset, text)
            place, files = len(found), {served.policy.dataset: served.snapshot.path}

            def engine(place: int = place) -> duckdb.DuckDBPyConnection:
                gone = found[place].gone
                world.connection.execute(f"SET VARIABLE gone = {-1 if gone is None else gone}").fetchall()
                return world.connection

            found.append(Side(stack.enter_context(inside(home, _One(served), engine, files))))
        yield found


def _home(root: Path, dataset: str, text: str) -> Home:
    init(root)
    folder = root / "policies" / dataset
    folder.mkdir()
    (folder / "policy.toml").write_text(text, encoding="utf-8")
    (folder / "cases.toml").write_text(_CASE, encoding="utf-8")
    licence = _LICENCE.format(operator=OPERATOR, dataset=dataset)
    (root / "policies" / "licences" / "one.toml").write_text(licence, encoding="utf-8")
    return open_home(root)


def _served(world: World, policy: Policy) -> Served:
    dp = policy.release.dp
    assert dp is not None
    manifest = Manifest(policy.dataset, "1", "", (), "", COMMITMENT, ())
    return Served(
        policy=policy,
        dp=dp,
        count_max=10**6,
        snapshot=Snapshot(policy.dataset, "1", "1", Path("nowhere"), COMMITMENT, manifest),
        schema=replace(world.schema, policy=policy),
        publics=NO_PUBLICS,
        shadow=Shadow(policy),
        ceiling=datasets._ceiling(dp, Ceiling(None, None)),
        deadlines=NO_DEADLINES,
    )


@contextlib.contextmanager
def asking(asked: Asked, dataset: str) -> Iterator[None]:
    """Whatever text is sent means this question, and its policy's roles allow it: neither ever sees data."""

    def read(_: Known, sql: str, *__: object) -> Query:
        return Query(dataset, asked.plan, sql, ())

    with patch.object(Known, "read", read), patch.object(admit, "require_asked", lambda *_: None):
        yield
