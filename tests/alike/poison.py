"""Two homes that differ in one unit: in the poisoned one it has a row for every value that breaks things.

Beside that unit both hold the same few hundred ordinary ones, so that groups have somebody in them.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from gateway.home import Home
from sandbox.datasets import Datasets
from sandbox.domain import Domain
from sandbox.engine.snapshot import open_snapshot
from tests.alike.engine import InsidePool
from tests.alike.inside import OPERATOR, Inside, inside
from tests.homes import Files, Licensed, make
from tests.poisoned_rows import POISON
from tests.policy_head import head

UNITS: Final = 300
ROWS_OF_ONE: Final = 3
POISONED_ROWS: Final = 200
"""Of the one unit: far more than it may have, so that pairs of odd values meet as well."""
_ALL: Final = (
    'aggregates = ["count", "count_distinct", "sum", "avg", "var", "stddev", "covar", "corr", "median", "quantile", '
    '"min", "max"]'
)
_TIMES: Final = 'aggregates = ["count", "count_distinct", "median", "quantile", "min", "max"]'
COLUMNS: Final[dict[str, tuple[str, str]]] = {
    "small": ("integer", f'range = [0, 9], role = "dimension", {_ALL}'),
    "open": ("integer", f'role = "dimension", {_ALL}'),
    "big": ("bigint", f'range = [-5, 1000000], role = "dimension", bins = [0, 10, 100], {_ALL}'),
    "real": ("double", f'range = [-1, 1.5], role = "measure", bins = [-1, 0, 1.5], filter = "range", {_ALL}'),
    "wild": ("double", f'role = "measure", filter = "range", {_ALL}'),
    "fixed": (
        "decimal(12,3)", f'range = [0, 99.5], role = "measure", bins = [0, 0.001, 99.5], filter = "range", {_ALL}',
    ),
    "wide": ("decimal(38,0)", f'range = [0, 1000], role = "measure", filter = "range", {_ALL}'),
    "word": ("text", 'role = "dimension"'),
    "letter": ("text", 'role = "dimension", values = ["a", "b"], nullable = true'),
    "flag": ("boolean", 'role = "dimension", nullable = true'),
    "day": ("date", f'role = "dimension", range = [2000-01-01, 2001-12-31], nullable = true, {_TIMES}'),
    "any_day": ("date", f'role = "dimension", {_TIMES}'),
    "moment": ("timestamp", f'role = "dimension", range = [2000-01-01T00:00:00, 2000-03-31T00:00:00], {_TIMES}'),
    "any_moment": ("timestamp", f'role = "dimension", {_TIMES}'),
    "code": ("integer", 'role = "key", joins = ["codes.id"], nullable = true'),
}  # fmt: skip
"""Of table `odd`: every type, with a range and without. All may be filtered and aggregated as far as policies go."""
POLICY: Final = (
    head(
        unit="odd.pid", count_max=100_000, count_about=UNITS, epsilon=1000, each="3", each_max=50, delta="1e-6"
    ).replace('["dp"]', '["dp", "aggregate"]')
    + "delta_per_query = 1e-12"
    + f"""
[release.aggregate]
units_min = 3
rounding = 0
cells_max = 1000000
withheld_max = 1000000
[tables.odd]
rows_per_unit_max = {ROWS_OF_ONE}
[tables.odd.columns]
pid = {{ type = "integer", role = "unit" }}
"""
    + "\n".join(f'{name} = {{ type = "{kind}", {more} }}' for name, (kind, more) in COLUMNS.items())
    + """
[tables.codes]
public = true
key = "id"
[tables.codes.columns]
id = { type = "integer", role = "key" }
level = { type = "text", role = "dimension", nullable = true }
"""
)
CASES: Final = '[[case]]\nname = "all"\nsql = "SELECT COUNT(*) FROM odd"\nexpect = "answer"\n'
_ORDINARY: Final[dict[str, tuple[str | None, ...]]] = {
    "integer": ("0", "1", "3", "9"),
    "bigint": ("0", "1", "55", "1000"),
    "double": ("0", "0.5", "1.25", "-0.75"),
    "decimal(12,3)": ("0", "0.001", "50", "99.5"),
    "decimal(38,0)": ("0", "500", "7", "1000"),
    "text": ("a", "b", "ab", "12"),
    "boolean": ("true", "false"),
    "date": ("2000-02-29", "2001-12-31", "2000-01-01"),
    "timestamp": ("2000-02-29 12:30:00.5", "2000-03-01 00:00:00", "2000-01-01 05:06:07"),
}
MORE_POISON: Final[dict[str, tuple[str | None, ...]]] = {
    "text": (
        "12", "-7", " 5 ", "1e400", "1e5", "nan", "Infinity", "9223372036854775808", "0x1F", "1_000", "٤٢", "true",
        "2000-02-30", "2000-02-29", "0000-00-00", "12:60", "infinity", "NULL", "\n", "\t", "a\r\nb", "\u202eb", "ß",
        "İ", "\ufffd", "e\u0301" * 40, "%" * 300, "🏳️‍🌈", "x" * 65_536, "é" * 32_768,
    ),
}  # fmt: skip
"""Text that looks like something else, that changes its length in other letters, and that is as long as it may be."""


_CALENDAR: Final = re.compile(r"\d{4}-\d\d-\d\d( [\d:.]+)?")


def poison_of(kind: str) -> tuple[str | None, ...]:
    """What the ingest lets in: no day beyond the years 1 to 9999."""
    found = (*POISON[kind], *MORE_POISON.get(kind, ()))
    if kind not in ("date", "timestamp"):
        return found
    return tuple(value for value in found if value is None or _CALENDAR.fullmatch(value))


def _rows(*, poisoned: bool) -> Iterator[tuple[Any, ...]]:
    dice = random.Random(20261127)
    kinds = [kind for kind, _ in COLUMNS.values()]
    for unit in range(1, UNITS + 1):
        for _ in range(dice.randint(1, ROWS_OF_ONE)):
            yield unit, *(dice.choice((*_ORDINARY[kind], None)) for kind in kinds)
    for i in range(POISONED_ROWS if poisoned else 0):
        lists = [poison_of(kind) for kind in kinds]
        yield 0, *(odd[i] if i < len(odd) else dice.choice(odd) for odd in lists)


def _write(file: Path, *, poisoned: bool) -> None:
    """As Parquet, which holds what CSV cannot say."""
    with duckdb.connect(":memory:") as connection:
        names = ", ".join(f"{name} {kind.replace('text', 'VARCHAR')}" for name, (kind, _) in COLUMNS.items())
        connection.execute(f"CREATE TABLE odd (pid INTEGER, {names})").fetchall()
        casts = ", ".join(
            f"TRY_CAST(CAST(unnest(?::VARCHAR[]) AS VARCHAR) AS {kind.replace('text', 'VARCHAR')})"
            for kind in ("integer", *(kind for kind, _ in COLUMNS.values()))
        )
        columns = zip(*_rows(poisoned=poisoned), strict=True)
        lists = [[None if value is None else str(value) for value in column] for column in columns]
        connection.execute(f"INSERT INTO odd SELECT {casts}", lists).fetchall()
        connection.execute(f"COPY odd TO '{file}' (FORMAT parquet)").fetchall()


def home_of(root: Path, *, poisoned: bool, worker: str = "") -> Home:
    """A home at `root`, ready to be served."""
    files = Files(
        policies={"clinic": POLICY},
        cases={"clinic": CASES},
        tables={"clinic": {"odd": ([], []), "codes": (["id", "level"], [[i, "xyz"[i % 3]] for i in range(10)])}},
        licences=(Licensed(OPERATOR, "1000"),),
        worker=worker,
    )
    home = make(root, files)
    _write(root / "data" / "clinic" / "odd.parquet", poisoned=poisoned)
    domain = root / "domain.toml"
    domain.write_text(domain.read_text("utf-8").replace("odd.csv", "odd.parquet"), encoding="utf-8")
    return home


@dataclass(frozen=True, slots=True)
class Twins:
    """The home with the poisoned unit, and the one without it."""

    odd: Inside
    even: Inside


@contextlib.contextmanager
def twins(root: Path) -> Iterator[Twins]:
    """Both in this process, over snapshots as the ingest has left them and engines with the workers' settings."""
    with contextlib.ExitStack() as stack:
        odd, even = (stack.enter_context(_served(root / name, poisoned=name == "odd")) for name in ("odd", "even"))
        yield Twins(odd, even)


@contextlib.contextmanager
def _served(root: Path, *, poisoned: bool) -> Iterator[Inside]:
    home = home_of(root, poisoned=poisoned)
    datasets, files = Datasets(Domain.load(home.root)), InsidePool(duckdb.connect)
    datasets.ingest_all(files.serve)
    (path,) = files.files.values()
    engine = open_snapshot(path, threads=1, memory_mb=1024, wall_ms=60_000, spill=root / "spill")
    with contextlib.closing(engine), inside(home, datasets, lambda: engine, files.files) as found:
        yield found
