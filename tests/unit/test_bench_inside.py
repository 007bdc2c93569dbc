"""The door that accuracy is measured behind is the project's own, and draws its noise anew for every release."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from bench import inside, variants
from bench.accuracy.bounds import policy
from bench.data import Dataset

ORDERS = 400
POLICY = variants.text(policy("orders", "good", "pure"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("tpch")
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT i::BIGINT AS o_orderkey, DATE '1995-01-01' + (i % 900)::INT AS o_orderdate"
            f" FROM range({ORDERS}) t(i)) TO '{folder}/orders.parquet'"
        )
        connection.execute(
            f"COPY (SELECT (i % {ORDERS})::BIGINT AS l_orderkey, 2::DECIMAL(15, 2) AS l_quantity"
            f" FROM range({3 * ORDERS}) t(i)) TO '{folder}/lineitem.parquet'"
        )
    files = {name: folder / f"{name}.parquet" for name in ("orders", "lineitem")}
    return Dataset("tpch", folder, files, files)


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inside, "FOLDER", tmp_path_factory.mktemp("kept"))
        yield


@pytest.fixture
def here(data: Dataset, kept: None) -> Iterator[inside.Inside]:
    with inside.opened(POLICY, data, remember=True) as opened:
        yield opened


QUESTION = "SELECT COUNT(*) AS n FROM lineitem JOIN orders ON l_orderkey = o_orderkey"


def read_tables(statements: list[str]) -> list[str]:
    """Those that read rows of the snapshot, and not what a job has kept."""
    return [sql for sql in statements if "lineitem" in sql]


def test_every_asking_is_a_release_of_its_own_from_what_was_computed_once(here: inside.Inside) -> None:
    found = [here.ask(QUESTION, "0.01").rows[0][0] for _ in range(12)]

    assert len(set(found)) > 1
    assert not read_tables(here.statements(QUESTION, "0.01"))
    assert read_tables(here.statements(f"{QUESTION} WHERE o_orderdate < DATE '1996-01-01'", "0.01"))


def test_a_door_that_remembers_nothing_does_all_of_the_work_each_time(data: Dataset) -> None:
    with inside.opened(POLICY, data, remember=False) as opened:
        first, second = (opened.statements(QUESTION, "0.01") for _ in range(2))

    assert read_tables(first) == read_tables(second) != []


def test_the_answer_is_the_products_own(here: inside.Inside) -> None:
    found = [int(str(here.ask(QUESTION, "2").rows[0][0])) for _ in range(5)]

    assert sorted(found)[2] == pytest.approx(3 * ORDERS, abs=60)


def test_a_question_that_the_product_refuses_is_refused_with_its_code(here: inside.Inside) -> None:
    with pytest.raises(inside.NotAnswered) as refused:
        here.ask("SELECT o_orderkey FROM orders", "1")

    assert refused.value.code


def test_a_question_dearer_than_the_policy_allows_is_refused(here: inside.Inside) -> None:
    with pytest.raises(inside.NotAnswered, match="epsilon_too_large"):
        here.ask(QUESTION, "3")
