"""What the command line prints of others' words cannot steer the terminal."""

from __future__ import annotations

import pytest

from gateway.cli import show


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "\u202eright to left", "a\nforged line"]
)
def test_a_word_that_would_steer_the_terminal_is_shown_as_numbers(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show.table([text], [[text]])
    show.problem({"code": "x", "detail": text, "hint": text, "position": {"line": 1, "column": 1, "length": 1}}, text)
    printed = "".join(capsys.readouterr())
    steering = next(each for each in text if not each.isprintable())
    assert f"\\u{ord(steering):04x}" in printed
    assert steering == "\n" or steering not in printed


def test_words_of_any_script_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(["门诊"], [["a　b [bold]é"]])
    assert "a　b [bold]é" in capsys.readouterr().out


def test_a_large_number_of_answers_is_readable() -> None:
    told = show.left({"operator": {"epsilon_left": "7.62389", "answers_left": 1427098952}})
    assert told == "left to you: epsilon 7.6238, 1,427,098,952 more such answers"
