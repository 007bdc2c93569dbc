"""A small share of `make fuzz`, where the extra `fuzz` is installed."""

from __future__ import annotations

import pytest

from tests.served_home import Served


def test_no_reply_is_other_than_the_document_says(served: Served) -> None:
    pytest.importorskip("schemathesis", reason="schemathesis is not installed: the extra `fuzz`")
    from tests.fuzz import fuzz

    statuses, wrong = fuzz(served, 150, 7)
    assert wrong == []
    assert sum(statuses.values()) >= 150
    assert not [status for status in statuses if status >= 500]
