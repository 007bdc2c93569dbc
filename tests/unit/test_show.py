"""What the command line prints of others' words cannot steer the terminal."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli import show
from sandbox.notes import NAMES, WORDS, Note


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


def answered(*notes: list[str] | None) -> dict[str, Any]:
    """An answer of one row, with a noisy number for each list of notes."""
    return {
        "id": "qry_1",
        "status": "answered",
        "columns": [{"name": f"n{i}", "type": "bigint", "kind": "noisy"} for i in range(len(notes))],
        "rows": [[1234567 for _ in notes]],
        "intervals": [[[1234000, 1235000] for _ in notes]],
        "confidence": 0.95,
        "notes": [list(notes)],
        "cost": {"epsilon": "0.1", "delta": "0", "rho": "0.0001"},
        "budget": {"operator": {"epsilon_left": "1", "answers_left": 9}},
        "reused": False,
        "receipt": {"index": 4},
    }


@pytest.mark.parametrize("note", NAMES)
def test_every_note_has_a_line_under_the_table(note: Note, capsys: pytest.CaptureFixture[str]) -> None:
    show.answer(answered([note], None))
    printed = " ".join(capsys.readouterr().out.split())
    assert "1,234,567 [1,234,000, 1,235,000]* 1,234,567 [1,234,000, 1,235,000] " in printed
    assert f"* {WORDS[note].legend}" in printed


def test_marks_of_many_notes_differ_and_lead_to_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show.answer(answered(*([note] for note in NAMES)))
    printed = capsys.readouterr().out
    lines = [line.split(" ", 1) for line in printed.splitlines() if line[:1] and line[0] in show.MARKS]
    assert len({mark for mark, _ in lines}) == len(NAMES)
    assert {words for _, words in lines} == {WORDS[note].legend for note in NAMES}


def test_a_note_that_is_not_known_here_is_shown_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """A newer gateway may say more than this command line knows."""
    show.answer(answered(["from_the_future"]))
    assert "* from_the_future" in capsys.readouterr().out


def checked(*columns: tuple[int | None, int | None]) -> dict[str, Any]:
    """A verdict with (half-width, number to expect) for each column."""
    return {
        "verdict": "answer",
        "mode": "dp",
        "plan": ["read `people`"],
        "columns": [{"name": f"n{i}", "type": "bigint", "kind": "noisy"} for i in range(len(columns))],
        "cost": {"epsilon": "0.1"},
        "intervals_expected": [width for width, _ in columns],
        "values_expected": [value for _, value in columns],
        "budget": {"operator": {"epsilon_left": "1", "answers_left": 9}},
        "reused": False,
    }


def test_a_check_holds_the_width_against_the_number_to_expect(capsys: pytest.CaptureFixture[str]) -> None:
    show.check(checked((20, 400), (30, -40), (12, 0), (5, None), (None, None)), "")
    rows = {
        row[0]: row[3:] for row in map(str.split, capsys.readouterr().out.splitlines()) if row[:1] and row[0][0] == "n"
    }
    assert " ".join(rows["n0"]) == "± 20 400 ± 5 %"
    assert " ".join(rows["n1"]) == "± 30 -40 ± 75 %"
    assert " ".join(rows["n2"]) == "± 12"
    assert " ".join(rows["n3"]) == "± 5"
    assert rows["n4"] == []


def exactly(**more: Any) -> dict[str, Any]:
    """An exact answer of two groups, the second withheld."""
    return {
        **answered(None),
        "mode": "aggregate",
        "columns": [
            {"name": "sex", "type": "text", "kind": "key"},
            {"name": "n", "type": "bigint", "kind": "protected"},
        ],
        "rows": [["F", 1505], [None, None]],
        "intervals": [[None, [1503, 1507]], [None, None]],
        "notes": [[None, ["rounded"]], [None, ["withheld"]]],
        "cost": {"epsilon": "0", "delta": "0", "rho": "0"},
        "budget": {"cells": {"name": "clinic", "cells_left": 9998, "withheld_left": 999}},
        "rules": [{"name": "units", "text": "at least 10 units contribute"}],
        **more,
    }


def test_a_withheld_number_is_not_an_empty_one(capsys: pytest.CaptureFixture[str]) -> None:
    show.answer(exactly())
    printed = " ".join(capsys.readouterr().out.split())
    assert "F 1,505 [1,503, 1,507]* null withheld† " in printed
    assert f"† {WORDS['withheld'].legend}" in printed
    assert "1 exact numbers shown, 1 withheld, under these rules: - at least 10 units contribute" in printed
    assert "cost: no epsilon; left to you: 9,998 exact numbers, 999 withheld ones" in printed
    assert "intervals over the noise" not in printed


def test_a_check_of_an_exact_answer_tells_the_rules_and_expects_no_width(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = {**exactly(), **checked((None, None)), "mode": "aggregate"}
    verdict["columns"], verdict["budget"] = exactly()["columns"], exactly()["budget"]
    show.check(verdict, "")
    printed = " ".join(capsys.readouterr().out.split())
    assert "sex text key n bigint protected" in printed
    assert "under these rules, and withheld otherwise: - at least 10 units contribute" in printed
    assert "would cost: no epsilon; left to you: 9,998 exact numbers" in printed
    assert "at 95 %" not in printed


def test_a_key_that_is_a_number_is_a_name_and_a_count_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    show.answer(exactly(rows=[[1920, 1505], [2020, None]]))
    printed = " ".join(capsys.readouterr().out.split())
    assert "1920 1,505" in printed
    assert "2020 withheld" in printed


def test_an_exact_answer_that_was_given_before_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    show.answer(exactly(reused=True))
    assert "cost: free, it was answered before" in capsys.readouterr().out


def test_cells_are_shown_only_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    show.cells([])
    assert not capsys.readouterr().out
    spent, cap = {"released": 12, "withheld": 2}, {"released": 10_000, "withheld": 1_000}
    show.cells([{"dataset": "clinic", "cap": cap, "spent": spent}])
    printed = " ".join(capsys.readouterr().out.split())
    assert "clinic 12 of 10,000 2 of 1,000" in printed
