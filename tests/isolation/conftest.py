"""Fixtures of the isolation suite. Elsewhere than on Linux it skips: there are no such walls to attack."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sandbox.pool import Pool, PoolSettings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if sys.platform == "linux":
        return
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="the walls (Landlock, seccomp, ...) are Linux's own"))


def open_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that other accounts may pass through; pytest's own are closed, and kept so, for good reason."""
    folder = tempfile.TemporaryDirectory(prefix="bpk-isolation-", ignore_cleanup_errors=True)
    Path(folder.name).chmod(0o711)
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as name:
        yield Path(name)


@pytest.fixture(scope="session")
def snapshot() -> Iterator[Path]:
    """A million visits of 50,000 people, with a secret text, as an ingest would leave them."""
    with open_folder() as name:
        yield _visits(Path(name) / "data.duckdb")


def _visits(path: Path) -> Path:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE hospitals AS SELECT i::INTEGER AS id, 'H' || i AS name FROM range(20) r(i)")
        connection.execute(
            "CREATE TABLE visits AS SELECT (i % 50000)::INTEGER AS __unit, (i % 20)::INTEGER AS hospital,"
            " ((i * 7919) % 20000)::DECIMAL(10, 2) AS cost, DATE '2020-01-01' + (i % 1000)::INTEGER AS day,"
            " 'secret-' || i AS note FROM range(1000000) r(i) ORDER BY __unit"
        )
        connection.execute("CHECKPOINT")
    path.chmod(0o444)
    return path


@pytest.fixture(scope="module")
def pool(snapshot: Path) -> Iterator[Pool]:
    with open_folder() as name:
        made = Pool(PoolSettings(spill=Path(name) / "spill", memory_mb=256, workers_max=4))
        made.serve("clinic", snapshot)
        yield made
        made.close()
