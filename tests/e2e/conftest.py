"""One served home for all tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.served_home import Served, make_home, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(make_home(tmp_path_factory.mktemp("served") / "home")) as found:
        yield found
