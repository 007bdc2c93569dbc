"""The report of `bpk audit verify` for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.audit.offline import main
from gateway.audit.report import PROBLEMS_MAX, Report


def test_what_one_dropped_record_shifts_does_not_bury_the_rest() -> None:
    report = Report()
    for record in range(300):
        report.add("sequence", record, "says it is another")
    report.add("root_differs", None, "the records are not those")
    lines = report.text().splitlines()
    assert sum("[sequence]" in line for line in lines[:-1]) == 5
    assert "  export: the records are not those [root_differs]" in lines
    assert lines[-1] == "  and 295 more [sequence]; with their places: --json"
    assert len(report.as_json()["problems"]) == PROBLEMS_MAX + 1


def test_a_path_given_as_the_key_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log.ndjson"
    file.write_text("", encoding="utf-8")
    assert main([str(file), "--key", "keys/log.pub"]) == 2
    assert "checkpoint --json" in capsys.readouterr().err


def test_a_missing_file_is_named_in_plain_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 1
    told = capsys.readouterr().err
    assert "none` cannot be read: " in told
    assert "Errno" not in told
