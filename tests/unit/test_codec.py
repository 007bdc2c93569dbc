"""The codec takes back exactly what it wrote, and nothing else."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import codec
from sandbox.protocol import Prepare, Question
from sandbox.relational.expressions import Column, Position
from sandbox.relational.nodes import Output, Scan
from tests.builders import load, make_world, policy_text
from tests.questions import random_release

WORLD = make_world(load(policy_text()), random.Random(3))


def question(seed: int) -> Question:
    release = random_release(random.Random(seed), WORLD.schema)
    return Question("clinic", "d", "dp", 10**12, Output(release, (("n", Column("m0")),)))


@given(st.integers(0, 10**6))
def test_a_question_survives_the_way_there(seed: int) -> None:
    sent = Prepare(question(seed), reserve=True)
    assert codec.loads(codec.dumps(sent), Prepare) == sent


def test_positions_travel_but_do_not_count() -> None:
    here = Scan("people", 0, Position(1, 2, 3))
    assert codec.decode(codec.encode(here), Scan).at == Position(1, 2, 3)
    assert codec.digest(here) == codec.digest(Scan("people", 0))


def _spoil(plain: object, dice: random.Random) -> object:
    """One random change somewhere inside."""
    if isinstance(plain, dict) and plain:
        key = dice.choice(list(plain))
        action = dice.randrange(4)
        if action == 0:
            return {k: v for k, v in plain.items() if k != key}
        if action == 1:
            return {**plain, "extra": 1}
        return {**plain, key: _spoil(plain[key], dice)}
    if isinstance(plain, list) and plain:
        place = dice.randrange(len(plain))
        return [*plain[:place], _spoil(plain[place], dice), *plain[place + 1 :]]
    return dice.choice([None, True, 7, "?", [], {}, {"@": "Scan"}, {"@": "decimal", "v": "NaN"}, 1.5])


@given(st.integers(0, 10**6))
def test_a_spoiled_record_is_refused_or_is_another_good_record(seed: int) -> None:
    dice = random.Random(seed)
    body = json.dumps(_spoil(codec.encode(Prepare(question(seed), reserve=True)), dice)).encode()
    try:
        found = codec.loads(body, Prepare)
    except codec.CodecError:
        return
    assert codec.loads(codec.dumps(found), Prepare) == found


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b'{"@":"Prepare"}', b"null", b"NaN", b'"x"'])
def test_bytes_that_are_no_record_are_refused(body: bytes) -> None:
    with pytest.raises(codec.CodecError):
        codec.loads(body, Prepare)
