"""Exports that were changed at random, also by the key's holder: all are caught with one older checkpoint or receipt.

`BPK_MUTATIONS=10000 pytest -s tests/attack/test_mutated_exports.py` prints the table.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.audit.record import canonical
from gateway.audit.verify import verify
from tests.attack.test_export_mutations import renumbered, sign
from tests.ledger_world import NEXT, SIGNER, World, a_busy_world, a_world_that_changed_its_key
from tests.second_verifier import sound

LONG = "10000" if os.environ.get("BPK_LONG") else "150"
MUTATIONS = int(os.environ.get("BPK_MUTATIONS", LONG))
SEED = int(os.environ.get("BPK_SEED", "11"))
Lines = list[bytes]
Mutation = Callable[[Lines, random.Random], Lines]


def bit(lines: Lines, dice: random.Random) -> Lines:
    blob = bytearray(b"".join(lines))
    place = dice.randrange(len(blob) * 8)
    blob[place // 8] ^= 1 << place % 8
    return bytes(blob).splitlines(keepends=True)


def drop(lines: Lines, dice: random.Random) -> Lines:
    place = dice.randrange(len(lines))
    return lines[:place] + lines[place + 1 :]


def swap(lines: Lines, dice: random.Random) -> Lines:
    first, second = dice.sample(range(len(lines)), 2)
    swapped = list(lines)
    swapped[first], swapped[second] = lines[second], lines[first]
    return swapped


def truncate(lines: Lines, dice: random.Random) -> Lines:
    blob = b"".join(lines)
    return blob[: dice.randrange(len(blob))].splitlines(keepends=True)


def fork(lines: Lines, dice: random.Random) -> Lines:
    """By the holder of the key: some records are changed, dropped or added, all is numbered and signed anew."""
    records = [json.loads(line) for line in lines[:-1]]
    for _ in range(dice.randint(1, 3)):
        record = dice.choice(records[1:])
        act = dice.randrange(5)
        if act == 0:
            records.remove(record)
        elif act == 1:
            del records[dice.randrange(2, len(records)) :]
        elif act == 2 and record["commitments"]:
            record["commitments"] = {name: f"{dice.getrandbits(256):064x}" for name in record["commitments"]}
        elif act == 3:
            records.append({**record, "time": records[-1]["time"]})
        else:
            record["time"] = record["time"][:-4] + f"{dice.randrange(1000):03d}Z"
        if len(records) < 3:
            break
    if renumbered(records)[: len(lines) - 1] == lines[:-1]:  # it only grew, which is no fork
        records = records[: len(lines) - 2]
    return sign(renumbered(records))


def fork_by_an_old_key(lines: Lines, dice: random.Random) -> Lines:
    """By the thief of a key that was handed over: before the change a log of his own, or one that goes on after it."""
    records = [json.loads(line) for line in lines[:-1]]
    change = next(place for place, record in enumerate(records) if record["code"] == "log_key")
    if dice.randrange(2):
        return fork([*lines[: dice.randint(4, change)], lines[-1]], dice)
    forged = sign(renumbered(records[: dice.randint(change + 2, len(records) - 1)]))
    end = json.loads(forged[-1]) | {"handovers": json.loads(lines[-1])["handovers"]}
    end["key"] = dice.choice((SIGNER, NEXT)).vkey
    return [*forged[:-1], canonical(end) + b"\n"]


MUTATE: dict[str, Mutation] = {"bit": bit, "drop": drop, "swap": swap, "truncate": truncate, "re-signed fork": fork}
CHANGED: dict[str, Mutation] = {"bit": bit, "drop": drop, "swap": swap, "old key's fork": fork_by_an_old_key}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return a_busy_world(tmp_path_factory.mktemp("mutated"))


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> World:
    return a_world_that_changed_its_key(tmp_path_factory.mktemp("changed"))


def test_every_mutated_export_is_caught_and_both_verifiers_agree(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    every_one_is_caught(world, MUTATE, capsys)


def test_so_is_every_one_of_a_log_that_changed_its_key(changed: World, capsys: pytest.CaptureFixture[str]) -> None:
    every_one_is_caught(changed, CHANGED, capsys)


def every_one_is_caught(world: World, mutate: dict[str, Mutation], capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(SEED)
    lines, note = world.export(), world.log.checkpoint()
    receipt = world.log.receipt(len(lines) - 2)
    assert verify(lines, key=SIGNER.vkey, since=[note], receipts=[receipt]).ok
    assert sound(lines, SIGNER.vkey, [note], [receipt])
    caught, alone, agreed = Counter[str](), Counter[str](), Counter[str]()
    names = list(mutate)
    for number in range(MUTATIONS):
        name = names[number % len(names)]
        mutated = mutate[name](lines, dice)
        since, receipts = ([note], []) if number % 2 else ([], [receipt])
        first = verify(mutated, key=SIGNER.vkey, since=since, receipts=receipts).ok
        second = sound(mutated, SIGNER.vkey, since, receipts)
        bare = verify(mutated).ok
        assert bare == sound(mutated), (number, "alone")
        caught[name] += not first
        alone[name] += not bare
        agreed[name] += first == second
    with capsys.disabled():
        if "BPK_MUTATIONS" in os.environ or "BPK_LONG" in os.environ:
            print(f"\nseed {SEED}: mutated exports caught with one older checkpoint or receipt; verifiers agreeing")
            for name in names:
                made = len(range(names.index(name), MUTATIONS, len(names)))
                print(f"  {name:15} {caught[name]:6} of {made:6}   agree {agreed[name]:6}   alone {alone[name]:6}")
    assert sum(caught.values()) == sum(agreed.values()) == MUTATIONS
    assert alone[names[-1]] < caught[names[-1]], "some forks need a witness: else this shows nothing of it"


def test_without_the_older_checkpoint_a_fork_would_pass(world: World) -> None:
    """The planted twin: forget what somebody kept, and the rewritten log looks like a log."""
    lines = world.export()
    shorter = next(cut for size in range(2, 9) if verify(cut := sign(lines[:-size])).ok)
    assert sound(shorter)
    assert not verify(shorter, since=[world.log.checkpoint()]).ok
    assert not sound(shorter, since=[world.log.checkpoint()])
