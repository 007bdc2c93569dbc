"""A rule that a record breaks. Part of the offline verifier: standard library only."""

from __future__ import annotations


class Broken(Exception):
    """Code and words."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
