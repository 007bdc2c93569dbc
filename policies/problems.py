"""What is wrong with a document, in the words of whoever wrote it.

ValueError
└── PolicyError    a policy, licence or examples file that cannot be used; every problem with its place and a way out
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

SHOWN_MAX = 60
"""Characters of the author's own words that a message repeats."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `place` is dotted (`tables.people.columns.sex.range`), empty for the whole document."""

    place: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text}; {self.hint}" if self.hint else text


class PolicyError(ValueError):
    """A document that cannot be used. `problems` holds all that could be found at once, in order of the document."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{file}: {problem}" for problem in self.problems))


class Report:
    """Collects problems, so that an author mends a document in one round."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, place: str, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(place, message, hint))

    def refuse_if_any(self, file: str) -> None:
        """Raises PolicyError when anything was reported."""
        if self.problems:
            raise PolicyError(file, dict.fromkeys(self.problems))


def shown(words: object) -> str:
    """The author's words in backticks, cut where they are long."""
    text = " ".join(_written(words).split())
    return f"`{text}`" if len(text) <= SHOWN_MAX else f"`{text[:SHOWN_MAX]}…`"


def _written(words: object) -> str:
    """As TOML writes it."""
    if isinstance(words, bool):
        return str(words).lower()
    if isinstance(words, Decimal) and words.is_finite() and abs(words.adjusted()) < SHOWN_MAX:
        return format(words, "f")
    return str(words)


def listed(words: Iterable[str]) -> str:
    return ", ".join(shown(word) for word in words)


def nearest(word: str, known: Sequence[str], noun: str) -> str:
    """A hint: the known word that was probably meant, else all of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {shown(close[0])}?" if close else f"{noun}: {listed(known) or 'none'}"


def join(*parts: object) -> str:
    """A dotted place; a part that is empty is left out."""
    return ".".join(str(part)[:SHOWN_MAX] for part in parts if part != "")
