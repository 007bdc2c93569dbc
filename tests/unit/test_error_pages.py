"""Every code of a refusal has its page, its title and one status."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import STATUS, Refusal
from gateway.http.limits import Rate
from gateway.http.problems import TITLES, problem, respond

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "errors"


@pytest.mark.parametrize("code", STATUS)
def test_a_code_has_a_page_with_its_status(code: str) -> None:
    page = (PAGES / f"{code}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# `{code}`")
    assert f"HTTP status {STATUS[code]}." in page
    assert "**What to do.**" in page


def test_there_is_no_page_of_a_code_that_is_gone() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert pages == set(STATUS)


def test_the_index_lists_every_code() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    for code, status in STATUS.items():
        assert f"| [`{code}`]({code}.md) | {status} |" in index


@pytest.mark.parametrize("code", [code for code, status in STATUS.items() if status in (429, 503)])
def test_who_is_to_come_back_is_told_when(code: str) -> None:
    """What is spent does not come back by waiting: a client that is told to try again would do so for ever."""
    reply = respond(problem(Refusal(code, "come back")))
    assert (reply.headers.get("retry-after") is None) == (code == "budget_exhausted")


def test_who_asks_too_often_is_told_when_the_minute_ends() -> None:
    rate = Rate(1, clock=lambda: 117.5)
    rate.count("op-a")
    with pytest.raises(Refusal) as over:
        rate.count("op-a")
    assert (over.value.code, over.value.retry_after_s) == ("rate_limited", 3)


def test_every_status_has_a_title() -> None:
    assert set(STATUS.values()) <= set(TITLES)
