"""Every note that can stand beside a number has its words, in the command line and in the reference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox import notes

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "notes.md").read_text("utf-8")


def rows(page: str) -> list[tuple[str, str, str]]:
    return re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)


def test_every_note_has_its_words_and_there_are_no_words_without_a_note() -> None:
    assert tuple(notes.WORDS) == notes.NAMES


def test_the_reference_says_the_very_words() -> None:
    assert rows(PAGE) == [(name, words.legend, words.meaning) for name, words in notes.WORDS.items()]


@pytest.mark.parametrize("words", notes.WORDS.values(), ids=notes.NAMES)
def test_a_legend_is_one_line_and_a_meaning_whole_sentences(words: notes.Words) -> None:
    assert "\n" not in words.legend + words.meaning
    assert words.legend[0].islower()
    assert not words.legend.endswith(".")
    assert words.meaning[0].isupper()
    assert words.meaning.endswith(".")
