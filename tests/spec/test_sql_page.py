"""The reference page of the language is true: its queries are admitted, and it names every function."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.sql import functions
from tests.sql_world import admitted

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "sql.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_shows_the_language() -> None:
    assert len(QUERIES) >= 18
    assert len(set(QUERIES)) == len(QUERIES)


@pytest.mark.parametrize("sql", QUERIES)
def test_every_query_of_the_page_is_admitted(sql: str) -> None:
    assert admitted(sql)


@pytest.mark.parametrize("name", [*functions.NAMES.split(", "), *functions.AGGREGATE_NAMES.split(", ")])
def test_the_page_names_every_function_that_is_offered_in_hints(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE.lower())
