"""Writers of one ledger, killed at any moment: never overspent, nothing lost.

    python -m tests.ledger_kills FOLDER SCHEDULES SEED

It runs as a process of its own, which knows the ledger and nothing else: what is forked four times a schedule is small
then. The folder may lie in memory, for a kill takes nothing away that the system has; power does, elsewhere.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from gateway.audit.verify import verify
from gateway.budget.recovery import recover
from gateway.errors import Refusal
from tests.ledger_world import World, price

WRITERS = 4
EACH = price("0.1")
ANSWERS = 24
SCHEDULES_PER_FILE = 10
Spend: TypeAlias = Callable[[Path, str, int], None]
"""The life of a writer: the folder, the dataset, and where it tells of what it has charged."""


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def spend(folder: Path, dataset: str, tell: int) -> None:
    """Charges and answers until the budget is gone; tells every charge that is durable, before it goes on."""
    world = World(folder, dataset)
    operator = f"op-{os.getpid() % WRITERS}"
    scopes = world.counted_scopes(operator, ANSWERS, EACH)
    while True:
        try:
            row = world.charge(EACH, scopes, world.asked(operator))
        except Refusal:
            return
        os.write(tell, row.id.encode() + b"\n")
        if row.id.endswith(("0", "1", "2", "3")):
            continue
        world.answer(row.id)


def race(folder: Path, dataset: str, life: Spend = spend) -> list[str]:
    """The durable charges of four writers that spend one budget to its end."""
    World(folder, dataset).store.close()
    listen, tell = os.pipe()
    children = [fork(lambda: life(folder, dataset, tell)) for _ in range(WRITERS)]
    os.close(tell)
    with os.fdopen(listen, "rb") as told:
        charged = told.read().decode().split()
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * WRITERS
    return charged


def kill_some_writers(folder: Path, dataset: str, dice: random.Random, life: Spend = spend) -> list[str]:
    """kill -9 of all of them, some charges after they began: wherever they are just then."""
    listen, tell = os.pipe()
    children = [fork(lambda: life(folder, dataset, tell)) for _ in range(WRITERS)]
    os.close(tell)
    told, wanted = b"", dice.randrange(7)
    while told.count(b"\n") < wanted and (more := os.read(listen, 4096)):
        told += more
    time.sleep(dice.uniform(0.0, 0.006))
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    with os.fdopen(listen, "rb") as rest:
        told += rest.read()
    return [line for line in told.decode().split("\n")[:-1] if line]


def check(world: World, datasets: list[str], told: set[str]) -> int:
    """The invariants after a crash; how many datasets used their budget up."""
    recovered = recover(world.store, world.ledger, world.log)
    assert recovered.frozen == {}
    limit = EACH.rho * ANSWERS
    with world.store.reading() as view:
        spent = dict(view.all("SELECT dataset, charged_rho FROM scope WHERE operator IS NULL"))
        charged = {row[0] for row in view.all("SELECT query FROM charge")}
        unrecorded = view.all(
            "SELECT 1 FROM charge c LEFT JOIN record r ON r.query = c.query AND r.kind = 'charge' WHERE r.seq IS NULL"
        )
        running = view.all("SELECT 1 FROM query WHERE state = 'running'")
    assert told <= charged, "a charge that was durable is gone"
    assert not unrecorded
    assert not running
    assert all(amount <= limit for amount in spent.values()), spent
    return sum(1 for dataset in datasets if spent.get(dataset) == limit)


def kill_in_one_file(folder: Path, schedules: int, dice: random.Random, life: Spend = spend) -> None:
    """So many schedules in one ledger, each followed by a start; in the end what the dead left can be spent."""
    told: set[str] = set()
    dataset = note = ""
    for number in range(schedules):
        dataset = f"d{number // 5}"
        told |= set(kill_some_writers(folder, dataset, dice, life))
        world = World(folder)
        check(world, [], told)
        note = world.log.checkpoint()
        world.store.close()
    assert told, "nobody was charged before the kill"
    told |= set(race(folder, dataset, life))
    world = World(folder)
    assert check(world, [dataset], told) == 1, "what the dead left could not be spent to its end"
    report = verify(world.export(), since=[note])
    assert report.ok, report.text()
    world.store.close()


def main(arguments: list[str]) -> int:
    folder, schedules, seed = Path(arguments[0]), int(arguments[1]), arguments[2]
    dice = random.Random(seed)
    for done in range(0, schedules, SCHEDULES_PER_FILE):
        kill_in_one_file(folder / str(done), min(SCHEDULES_PER_FILE, schedules - done), dice)
        shutil.rmtree(folder / str(done))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
