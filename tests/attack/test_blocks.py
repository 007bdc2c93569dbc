"""Blocks at the data domain's door: each is charged for what reads it, whatever a broken gateway says."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.budget.account import Account, Scope, Shortfall, shortfall_words
from gateway.budget.loss import Loss, cap
from policies import privacy_loss
from policies.privacy_loss import EPSILON_UNIT, rho_for
from sandbox.datasets import Served
from sandbox.door import Unaskable
from sandbox.protocol import Fetch, Prepare, Price, Question, Refused, Released
from sandbox.relational import blocks, size
from sandbox.relational.expressions import Column
from sandbox.relational.nodes import BlockScan, Join, Measure, Output, Release, Scan
from sandbox.release import store as stores
from sandbox.release import tally
from tests.builders import policy_text
from tests.domain_world import PEOPLE, DomainWorld, opened, write_home

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="workers are confined on Linux only")

WHOLE = policy_text().replace("[1950-01-01, 2020-12-31]", "[1980-01-01, 1982-12-31]")
CUT = WHOLE.replace("count_about = 1000\n", 'count_about = 1000\nblocks = { column = "born", by = "year" }\n')
NAMES = ("1980", "1981", "1982", "rest")
ROWS = {"1980": PEOPLE // 2, "1981": PEOPLE // 4, "1982": PEOPLE // 4, "rest": 0}
COUNT = (Measure("count_rows", None),)


def home_of(folder: Path, key: Ed25519PrivateKey, policy: str) -> Path:
    """Half of all people were born in 1980, a quarter each in the years after."""
    write_home(folder, key, policy)
    people = folder / "data/people.csv"
    with people.open(newline="") as file:
        header, *rows = csv.reader(file)
    for i, row in enumerate(rows):
        row[header.index("born")] = f"{[1980, 1981, 1980, 1982][i % 4]}-05-05"
    with people.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder


@dataclasses.dataclass
class Cut:
    world: DomainWorld
    key: Ed25519PrivateKey
    home: Path

    def ask(self, *named: str, table: str = "people", epsilon: str = "4") -> Question:
        question = self.world.question(table=table, epsilon=epsilon)
        return dataclasses.replace(question, plan=blocks.within(question.plan, self.world.policy, named or NAMES))

    def of(self, plan: Output) -> Question:
        return dataclasses.replace(self.world.question(epsilon="4"), plan=plan)

    def spent(self) -> dict[str, int]:
        return {name: self.world.store.spent(f"clinic#{name}", "zcdp")[0] for name in NAMES}


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cut]:
    key = Ed25519PrivateKey.generate()
    home = home_of(tmp_path_factory.mktemp("home"), key, CUT)
    with opened(home, key) as world:
        yield Cut(world, key, home)


def test_a_question_is_of_its_blocks_and_charged_to_each_of_them(cut: Cut) -> None:
    each = rho_for(4 * EPSILON_UNIT, cut_half(cut.world))
    for named in (("1980",), ("1981", "1982"), ("rest",), NAMES):
        before = cut.spent()
        found = cut.world.run(cut.ask(*named))
        assert isinstance(found, Released)
        assert abs(int(found.rows[0][0]) - sum(ROWS[name] for name in named)) < 40
        assert cut.spent() == {name: before[name] + (each if name in named else 0) for name in NAMES}
    assert cut.world.spent() == (0, 0), "nothing is charged to the dataset as a whole"


def cut_half(world: DomainWorld) -> int:
    assert world.policy.release.dp is not None
    return privacy_loss.units_down(world.policy.release.dp.delta, privacy_loss.DELTA_UNIT) // 2


def test_linked_tables_are_read_of_the_same_blocks(cut: Cut) -> None:
    visits = cut.ask("1981", table="visits")
    found = cut.world.run(visits)
    assert isinstance(found, Released)
    assert abs(int(found.rows[0][0]) - 225) < 100


def test_scans_of_different_blocks_are_charged_to_all_of_them(cut: Cut) -> None:
    before = cut.spent()
    join = Join(
        BlockScan("people", 0, None, ("1981",)), BlockScan("visits", 1, None, ("1982",)), "left", (("0.pid", "1.pid"),)
    )
    question = cut.of(Output(Release(join, (), COUNT), (("n", Column("m0")),)))
    assert isinstance(cut.world.run(question), Released)
    after = cut.spent()
    assert [name for name in NAMES if after[name] > before[name]] == ["1981", "1982"]


def test_a_store_that_charges_the_first_block_alone_is_noticed(cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cut.spent()
    monkeypatch.setattr(stores, "accounts", lambda dataset, named: (f"{dataset}#{named[0]}",))
    assert isinstance(cut.world.run(cut.ask("1981", "1982", epsilon="3")), Released)
    after = cut.spent()
    assert [name for name in NAMES if after[name] > before[name]] != ["1981", "1982"]


@pytest.mark.parametrize("named", [(), ("1999",), ("1981", "1980"), ("1980", "1980"), NAMES])
def test_blocks_that_no_honest_gateway_names_are_turned_away(cut: Cut, named: tuple[str, ...]) -> None:
    question = cut.of(Output(Release(BlockScan("people", 0, None, named), (), COUNT), (("n", Column("m0")),)))
    before = cut.spent()
    with pytest.raises(Unaskable):
        cut.world.door.prepare(Prepare(question, reserve=False))
    with pytest.raises(Unaskable):
        cut.world.door.run(cut.world.signed(cut.world.ticket(question, cut.world.prepared(cut.ask())), question))
    assert cut.spent() == before


def test_a_ticket_of_one_block_buys_no_other(cut: Cut) -> None:
    paid, other, before = cut.ask("1980"), cut.ask("1981", epsilon="2"), cut.spent()
    ticket = cut.world.ticket(paid, cut.world.prepared(paid))
    refused = cut.world.door.run(cut.world.signed(ticket, other))
    assert isinstance(refused, Refused)
    assert refused.code == "ticket_refused"
    assert cut.spent() == before


def test_a_stored_answer_is_of_its_blocks_alone(cut: Cut) -> None:
    first, other, whole = (cut.ask(*named, epsilon="1.5") for named in (("1981",), ("1982",), NAMES))
    stored = cut.world.run(first)
    assert isinstance(stored, Released)
    assert cut.world.prepared(first).release == stored.release
    for question in (other, whole):
        assert cut.world.prepared(question).release != stored.release
        assert isinstance(cut.world.door.fetch(Fetch(stored.release, question)), Refused)


def test_the_steps_say_of_whom_a_question_is(cut: Cut) -> None:
    assert any("`1981`, `1982`" in step for step in cut.world.prepared(cut.ask("1981", "1982")).steps)


def test_numbers_are_expected_of_the_blocks_that_are_asked(cut: Cut) -> None:
    values = [cut.world.prepared(cut.ask(*named)).expected_values for named in (NAMES, ("1980", "1981"), ("rest",))]
    assert values == [(1000,), (500,), (250,)]


def test_a_question_of_more_parts_than_can_be_planned_is_refused(cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of free questions too: each part is written and bound."""
    monkeypatch.setattr(size, "PARTS_MAX", 5)
    join = Join(Scan("people", 0), Scan("visits", 1), "inner", (("0.pid", "1.pid"),))
    question = cut.of(Output(Release(join, (), COUNT), (("n", Column("m0")),)))
    refused = cut.world.door.prepare(Prepare(question, reserve=False))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.hint) == ("sql_too_large", "name fewer blocks, or read fewer tables")
    few = dataclasses.replace(question, plan=blocks.within(question.plan, cut.world.policy, ["1980", "1981"]))
    assert cut.world.prepared(few)


def test_a_block_that_is_used_up_leaves_the_others(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    home = home_of(tmp_path / "home", key, CUT)
    (home / "domain.toml").write_text((home / "domain.toml").read_text().replace("epsilon = 20", "epsilon = 5"))
    with opened(home, key) as world:
        cut = Cut(world, key, home)
        assert isinstance(world.run(cut.ask("1980")), Released)
        for named in (("1980",), ("1980", "1981"), NAMES):
            refused = world.door.prepare(Prepare(cut.ask(*named, table="visits"), reserve=False))
            assert isinstance(refused, Refused)
            assert (refused.code, "`1980`" in refused.detail) == ("budget_exhausted", True)
            assert "`1981`" not in refused.detail
        assert isinstance(world.run(cut.ask("1981", "1982", table="visits")), Released)
        before = cut.spent()
        paid = cut.ask("1981", table="items")  # prepared while there was room, and run when there is none
        ticket = world.ticket(paid, world.prepared(dataclasses.replace(paid, plan=cut.ask("rest", table="items").plan)))
        ticket = dataclasses.replace(ticket, plan_digest=paid.plan_digest)
        refused = world.door.run(world.signed(ticket, paid))
        assert isinstance(refused, Refused)
        assert (refused.code, cut.spent()) == ("budget_exhausted", before)


@pytest.mark.parametrize("left", [0, 100_000_000])
def test_blocks_that_are_short_are_told_as_the_gateway_tells_them(cut: Cut, left: int) -> None:
    question = cut.ask("1980", "1981", "rest", epsilon="0.25", table="items")
    served = cut.world.door._datasets.find("clinic")
    assert served is not None
    assert served.ceiling is not None
    cut.world.run(cut.ask("1980", "1981", epsilon="0.5", table="items"))
    spent = cut.spent()
    most = max(spent.values()) + left
    limit = dataclasses.replace(cap(served.dp), rho=most)
    every = [Scope("clinic", None, limit, block=name) for name in ("1980", "1981", "rest")]
    short = []
    for scope in every:
        try:
            Account(scope, Loss(rho=spent[scope.block or ""])).charge(price_of(cut.world, served, "0.25").price)
        except Shortfall as found:
            short.append(found)
    assert 0 < len(short) < 3
    ceiling = dataclasses.replace(served.ceiling, loss=most, custodians=False)
    datasets = cut.world.door._datasets
    datasets._served["clinic"] = dataclasses.replace(served, ceiling=ceiling)
    try:
        refused = cut.world.door.prepare(Prepare(question, reserve=False))
    finally:
        datasets._served["clinic"] = served
    assert refused == Refused("budget_exhausted", *shortfall_words(short, every))


def test_an_older_store_counts_every_block_again(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    home = home_of(tmp_path / "home", key, CUT)
    with opened(home, key) as world:
        state = world.store
        empty = (home / "state/domain/domain.sqlite").read_bytes()
        assert isinstance(world.run(Cut(world, key, home).ask("1981", "rest")), Released)
        spent = Cut(world, key, home).spent()
        assert state.cut("clinic") is True
    (home / "state/domain/domain.sqlite").write_bytes(empty)
    with opened(home, key) as world:
        assert Cut(world, key, home).spent() == spent
        assert spent["1981"] == spent["rest"] > spent["1980"] == 0
        read = tally.read(home / "state/domain/domain.tally")
        assert read is not None
        assert {name for name, _ in read.spent} == {"clinic#1981", "clinic#rest"}
        assert b'"format": 2' in (home / "state/domain/domain.tally").read_bytes(), "an older release must not go on"


@pytest.mark.parametrize(("first", "second", "word"), [(WHOLE, CUT, "without"), (CUT, WHOLE, "with")])
def test_budgets_are_counted_in_one_way_for_life(tmp_path: Path, first: str, second: str, word: str) -> None:
    key = Ed25519PrivateKey.generate()
    home = home_of(tmp_path / "home", key, first)
    with opened(home, key) as world:
        assert isinstance(world.run(world.question(epsilon="1")), Released)
        kept = world.prepared(world.question(epsilon="1")).release
        assert kept is not None
    (home / "policies/clinic/policy.toml").write_text(second)
    with opened(home, key) as world:
        refused = world.door.prepare(Prepare(world.question(epsilon="1"), reserve=False))
        assert isinstance(refused, Refused)
        assert (refused.code, f"{word} blocks" in refused.detail) == ("dataset_not_ready", True)
        loss = rho_for(EPSILON_UNIT, cut_half(world))
        served = world.door._datasets.find("clinic")
        assert served is not None
        ticket = world.ticket(world.question(epsilon="1"), price_of(world, served))
        with pytest.raises(stores.TicketRefused, match="another way"):
            world.store.accept(ticket, loss, served.ceiling, world.policy.blocks)


@dataclasses.dataclass
class Said:
    price: Price
    snapshot: str = "0" * 64
    audience: str = "run"


def price_of(world: DomainWorld, served: Served, epsilon: str = "1") -> Said:
    """What `prepare` would have said, had it not refused."""
    question, noisy = world.question(epsilon=epsilon), world.door._noisy
    return Said(noisy.price(noisy.job(question, served), served))
