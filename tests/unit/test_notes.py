"""Every note that can stand beside a number has its words, in the command line and in the reference."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from sandbox import notes

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "notes.md").read_text("utf-8")


def rows(page: str) -> list[tuple[str, str, str]]:
    return re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)


def test_every_note_has_its_words_and_there_are_no_words_without_a_note() -> None:
    assert tuple(notes.WORDS) == notes.NAMES


def said() -> set[str]:
    """Words in the code of the data domain that are notes."""
    files = [path for path in (ROOT / "sandbox").rglob("*.py") if path.name != "notes.py"]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    return {str(node.value) for node in nodes if isinstance(node, ast.Constant)} & set(notes.NAMES)


def test_every_note_is_one_that_the_data_domain_says() -> None:
    """The other way round is held by the types: what is no note of the registry cannot be said."""
    assert said() == set(notes.NAMES)


def test_the_reference_says_the_very_words() -> None:
    assert rows(PAGE) == [(name, words.legend, words.meaning) for name, words in notes.WORDS.items()]


@pytest.mark.parametrize("words", notes.WORDS.values(), ids=notes.NAMES)
def test_a_legend_is_one_line_and_a_meaning_whole_sentences(words: notes.Words) -> None:
    assert "\n" not in words.legend + words.meaning
    assert words.legend[0].islower()
    assert not words.legend.endswith(".")
    assert words.meaning[0].isupper()
    assert words.meaning.endswith(".")
