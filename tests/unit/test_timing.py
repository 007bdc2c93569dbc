"""The test of the clock sees what it is there to see."""

from __future__ import annotations

import random
from typing import Any

import httpx
import pytest

from tests.timing import compare
from tests.timing.compare import T_MAX, auc, largest_t, literals, shape


def sample(mean: float, seed: int, count: int = 300) -> list[float]:
    dice = random.Random(seed)
    return [dice.gauss(mean, 0.005) for _ in range(count)]


def test_equal_times_are_not_told_apart() -> None:
    far = [abs(largest_t(sample(0.5, seed), sample(0.5, 1000 + seed))) for seed in range(100)]
    assert sum(each >= T_MAX for each in far) == 0


def test_times_that_differ_by_a_few_milliseconds_are_told_apart() -> None:
    assert abs(largest_t(sample(0.500, 1), sample(0.503, 2))) >= T_MAX
    area, upper = auc(sample(0.500, 1), sample(0.503, 2))
    assert area < 0.4
    assert upper > 0.6


def test_two_processes_that_are_never_quite_alike_are_not_told_apart_over_many_starts() -> None:
    """Each start of each home has a bias of its own, of the size that was measured."""
    told: tuple[list[bool], list[bool]] = ([], [])  # over ten starts; over one
    for starts, found in ((10, told[0]), (1, told[1])):
        for seed in range(200):
            dice = random.Random(seed)
            times: tuple[list[float], list[float]] = ([], [])
            for side in (0, 1):
                for _ in range(starts):
                    bias = dice.gauss(0, 0.0002)
                    times[side].extend(dice.gauss(0.5 + bias, 0.0007) for _ in range(300 // starts))
            found.append(abs(largest_t(*times)) >= T_MAX)
    assert sum(told[0]) == 0
    assert sum(told[1]) > 10


def test_a_difference_under_rare_and_large_noise_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [5.0] * 10
    one, other = sample(0.500, 1) + slow, sample(0.503, 2) + slow
    assert abs(largest_t(one, other)) >= T_MAX
    monkeypatch.setattr(compare, "CROPS", (1.0,))
    assert abs(largest_t(one, other)) < T_MAX  # without crops the slow ones hide it


def test_sides_that_do_not_even_overlap_are_told_apart() -> None:
    assert abs(largest_t([0.1] * 50, [0.2] * 50)) >= T_MAX


def test_constants_do_not_come_twice() -> None:
    found = literals(random.Random(1))
    assert len({next(found) for _ in range(2000)}) == 2000


def reply(status: int = 200, headers: dict[str, str] | None = None, **changed: Any) -> httpx.Response:
    body = {
        "id": "qry_1",
        "status": "answered",
        "columns": [{"name": "sex", "kind": "key"}, {"name": "n", "kind": "noisy"}],
        "rows": [["F", 10], ["M", 20]],
        "intervals": [[None, [1, 2]], [None, [3, 4]]],
        "notes": [[None, None], [None, None]],
        "cost": {"epsilon": "0.1"},
        "receipt": {"index": 4, "record": {"a": 1}},
    }
    return httpx.Response(status, json=body | changed, headers={"x-request-id": "req_1", **(headers or {})})


def test_released_numbers_and_names_are_no_difference() -> None:
    other = reply(id="qry_2", rows=[["F", 11], ["M", 21]], intervals=[[None, [2, 3]], [None, [4, 5]]])
    assert shape(reply()) == shape(other)


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": [["M", 10], ["F", 20]]},
        {"rows": [["F", 10]]},
        {"notes": [[None, ["may_be_clipped"]], [None, None]]},
        {"status": "failed"},
        {"cost": {"epsilon": "0.2"}},
        {"intervals": [[None, None], [None, [3, 4]]]},
        {"receipt": {"index": 5, "record": {"a": 1}}},
        {"more": 1},
    ],
)
def test_anything_else_is(changed: dict[str, Any]) -> None:
    assert shape(reply()) != shape(reply(**changed))


def test_a_header_and_a_status_are_differences() -> None:
    assert shape(reply()) != shape(reply(headers={"x-more": "1"}))
    assert shape(reply()) != shape(reply(status=500))
