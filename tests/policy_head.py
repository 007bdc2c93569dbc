"""What stands above the tables in the policies of tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

_HEAD: Final = """
format = 1
dataset = "{dataset}"
version = "1"
title = {{ en = "Clinic", zh = "门诊" }}
owner = "Health Commission"
supply = "authorised"
grade = "general-3"
purposes = {purposes}
[unit]
name = "person"
column = "{unit}"
count_max = {count_max}
count_about = {count_about}
[release]
modes = ["dp"]
reuse_across_operators = true
[release.dp]
accountant = "{accountant}"
epsilon = {epsilon}
delta = {delta}
epsilon_per_query = {each}
epsilon_per_query_max = {each_max}
groups_per_unit_max = {groups_max}
"""


def head(
    dataset: str = "clinic",
    *,
    unit: str = "people.pid",
    purposes: Sequence[str] = ("research",),
    count_max: int = 1_000_000,
    count_about: int = 1000,
    accountant: str = "zcdp",
    epsilon: int = 8,
    delta: str = "1e-9",
    each: str = "0.5",
    each_max: int = 1,
    groups_max: int = 3,
) -> str:
    """`each` and `each_max`: epsilon per query."""
    return _HEAD.format(
        dataset=dataset,
        unit=unit,
        purposes=json.dumps(list(purposes)),
        count_max=count_max,
        count_about=count_about,
        accountant=accountant,
        epsilon=epsilon,
        delta=delta,
        each=each,
        each_max=each_max,
        groups_max=groups_max,
    )
