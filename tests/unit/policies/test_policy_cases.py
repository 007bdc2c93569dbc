"""Examples of a policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies.cases import load_cases, load_cases_text
from policies.model import Case
from policies.problems import PolicyError

GOOD = """
[[case]]
name = "mean income by district"
sql = "SELECT district, AVG(income) FROM people GROUP BY district"
expect = "answer"

[[case]]
name = "no names"
sql = '''
SELECT name
FROM people'''
expect = "refuse"
code = "column_hidden"
"""


def test_examples_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "cases.toml"
    path.write_text(GOOD, encoding="utf-8")
    first, second = load_cases(path)
    assert first.expect == "answer"
    assert second == Case("no names", "SELECT name\nFROM people", "refuse", "column_hidden")


def test_an_example_may_name_its_mode() -> None:
    first, second = load_cases_text(GOOD + 'mode = "aggregate"\n', "cases.toml")
    assert (first.mode, second.mode) == (None, "aggregate")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a policy without examples is refused"),
        ("case = []", "case: at least 1 must be given"),
        (GOOD.replace('"answer"', '"maybe"'), "case.1.expect: `maybe` is not one of `answer`, `refuse`"),
        (GOOD.replace('expect = "refuse"\n', ""), "case.2.expect: this key is missing"),
        (GOOD.replace('"no names"', '"mean income by district"'), "case.2.name: two examples are called"),
        (GOOD.replace('"refuse"', '"answer"'), "case.2.code: only a refusal has a code"),
        (GOOD.replace('"column_hidden"', '"Column Hidden"'), "case.2.code: `Column Hidden` is not written"),
        (GOOD + 'mode = "exact"', "case.2.mode: `exact` is not one of `dp`, `aggregate`, `open`"),
        (GOOD + 'because = "x"', "case.2.because: there is no key `because` here"),
        (GOOD + '[extra]\nx = 1', "extra: there is no key `extra` here; keys: `case`"),
    ],
)  # fmt: skip
def test_an_example_that_is_not_one_is_refused_at_its_place(text: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_cases_text(text, "cases.toml")
    assert f"cases.toml: {words}" in str(caught.value)


def test_a_policy_without_a_file_of_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="a policy without examples is refused"):
        load_cases(tmp_path / "cases.toml")
