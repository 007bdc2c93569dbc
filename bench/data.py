"""The data: TPC-H from its own generator, and what the project ships. Made once, each folder whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import duckdb

from bench.place import FOLDER
from policies.examples.clinic.generate import generate

TPCH_TABLES: Final = ("customer", "orders", "lineitem", "nation", "region")
"""Of the benchmark's policy; the files hold those of `BY_UNIT` too."""
BY_UNIT: Final = {
    "customer": TPCH_TABLES,
    "orders": ("orders", "lineitem"),
    "supplier": ("supplier", "partsupp", "lineitem", "nation"),
}
"""Whom a policy of TPC-H protects, and the tables that it needs."""
PEOPLE: Final = 20_000
"""Of the clinic, as in the demo."""
Files = dict[str, Path]


@dataclass(frozen=True, slots=True)
class Dataset:
    name: str
    policy: Path
    """Folder of policy.toml and cases.toml."""
    tables: Files
    """What the data domain takes in."""
    parquet: Files
    """The same tables as Parquet, for bare DuckDB."""

    @property
    def label(self) -> str:
        """Name of the folder of its files: what they are, and at which scale."""
        return next(iter(self.parquet.values())).parent.name


def tpch(scale: str, unit: str = "customer") -> Dataset:
    """Raises FileNotFoundError where the generator is not installed."""
    files = tpch_files(scale)
    tables = {name: files / f"{name}.parquet" for name in BY_UNIT[unit]}
    return Dataset("tpch", Path(__file__).parent / "tpch", tables, tables)


def tpch_files(scale: str) -> Path:
    """Folder of the Parquet files. Raises FileNotFoundError where the generator is not installed."""
    return _once(FOLDER / f"tpch-by-unit-sf{scale}", lambda into: _generate_tpch(scale, into))


def income() -> Dataset:
    with as_file(files("policies.examples")) as examples:
        here = examples / "income"
    tables = {"tax_units": here / "tax_units.parquet", "states": here / "states.csv"}
    return Dataset("income", here, tables, _as_parquet("income", tables))


def clinic() -> Dataset:
    with as_file(files("policies.examples")) as examples:
        here = examples / "clinic"
    folder = _once(FOLDER / f"clinic-{PEOPLE}", lambda into: generate(into, people=PEOPLE, seed=1))
    names = {"居民": "people", "就诊": "visits", "医院": "hospitals"}
    tables = {table: folder / f"{file}.csv" for table, file in names.items()}
    return Dataset("clinic", here, tables, _as_parquet("clinic", tables))


def _generate_tpch(scale: str, into: Path) -> None:
    command = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    if not command.exists():
        raise FileNotFoundError(f"{command}: not installed; `pip install -e .[bench]` brings it")
    print(f"generating TPC-H at scale {scale}", file=sys.stderr)
    words = [
        "parquet",
        "-s",
        scale,
        f"--tables={','.join(sorted({t for tables in BY_UNIT.values() for t in tables}))}",
        f"--output-dir={into}",
    ]
    subprocess.run([str(command), *words], check=True, stdout=subprocess.DEVNULL)


def _as_parquet(name: str, tables: Files) -> Files:
    def convert(into: Path) -> None:
        with duckdb.connect() as connection:
            for table, file in tables.items():
                connection.execute(f"COPY (FROM '{file}') TO '{into / (table + '.parquet')}'")

    folder = _once(FOLDER / f"{name}-parquet", convert)
    return {table: folder / f"{table}.parquet" for table in tables}


def _once(folder: Path, make: Callable[[Path], object]) -> Path:
    if not folder.is_dir():
        beside = folder.with_suffix(".new")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        make(beside)
        beside.rename(folder)
    return folder
