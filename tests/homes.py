"""Homes on disk, ready to be served: policies, data, licences."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.home import Home, init, open_home

_LICENCE = """
licence = "L-{operator}"
operator = "{operator}"
datasets = ["clinic"]
purposes = ["research"]
valid = {{ from = 2020-01-01, until = {until} }}
budget = {{ clinic = {{ epsilon = {epsilon} }} }}
"""
Rows = list[list[Any]]
Table = tuple[Sequence[str], Rows]
"""Header and rows."""


@dataclass(frozen=True, slots=True)
class Licensed:
    """An operator who may ask the clinic."""

    operator: str
    epsilon: str
    until: str = "2099-12-31"


@dataclass(frozen=True, slots=True)
class Files:
    """What a home is made of: policies, their examples and CSV tables by dataset."""

    policies: Mapping[str, str]
    cases: Mapping[str, str]
    tables: Mapping[str, Mapping[str, Table]]
    licences: Sequence[Licensed]
    worker: str = ""
    """The first lines of domain.toml."""
    limits: str = "strangers_per_minute_max = 1000000\nrefusals_max = 1000000\n"
    """What gateway.toml says of limits: tests are refused by the thousand."""
    dataset: str = 'deadlines_s = "off"\n'
    """What domain.toml says of each dataset besides."""


def make(root: Path, files: Files) -> Home:
    """A home at `root`, ready to be served. A table lies in `data/<dataset>/<table>.csv`."""
    init(root)
    settings = root / "gateway.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("[limits]\n", f"[limits]\n{files.limits}"))
    domain = files.worker
    for dataset, policy in files.policies.items():
        folder = root / "policies" / dataset
        folder.mkdir()
        (folder / "policy.toml").write_text(policy, encoding="utf-8")
        (folder / "cases.toml").write_text(files.cases[dataset], encoding="utf-8")
        (root / "data" / dataset).mkdir()
        tables = files.tables[dataset]
        named = ", ".join(f'{name} = "data/{dataset}/{name}.csv"' for name in tables)
        domain += f'[datasets.{dataset}]\nengine = "duckdb"\nsnapshot = "1"\ntables = {{ {named} }}\n{files.dataset}'
        for name, (header, rows) in tables.items():
            with (root / "data" / dataset / f"{name}.csv").open("w", newline="", encoding="utf-8") as out:
                csv.writer(out).writerows([header, *rows])
    (root / "domain.toml").write_text(domain, encoding="utf-8")
    for who in files.licences:
        text = _LICENCE.format(operator=who.operator, epsilon=who.epsilon, until=who.until)
        (root / "policies" / "licences" / f"{who.operator}.toml").write_text(text, encoding="utf-8")
    return open_home(root)
