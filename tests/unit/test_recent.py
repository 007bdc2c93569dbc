"""What was made lately is made once; what is forgotten is made again; errors are not remembered."""

from __future__ import annotations

import pytest

from sandbox.recent import Recent


def test_a_value_is_made_once_while_it_is_remembered() -> None:
    made: list[str] = []
    recent: Recent[str, str] = Recent(2)
    for key in ("a", "a", "b", "a"):
        assert recent.get(key, lambda key=key: made.append(key) or key.upper()) == key.upper()
    assert made == ["a", "b"]


def test_the_one_used_longest_ago_is_forgotten_first() -> None:
    made: list[str] = []
    recent: Recent[str, None] = Recent(2)
    for key in ("a", "b", "a", "c", "a", "b"):
        recent.get(key, lambda key=key: made.append(key))
    assert made == ["a", "b", "c", "b"]


def test_a_failure_is_tried_again() -> None:
    recent: Recent[str, int] = Recent(2)

    def fail() -> int:
        raise ValueError("not this time")

    with pytest.raises(ValueError, match="not this time"):
        recent.get("a", fail)
    assert recent.get("a", lambda: 5) == 5
