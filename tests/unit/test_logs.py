"""What either side writes of itself: lines of a closed list of fields, and nothing of a library's texts."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import logs

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for top in ("gateway", "sandbox") for path in (ROOT / top).rglob("*.py"))
SECRETS = ("eyJhbGciOiJFZERTQSJ9.bearer", "SELECT name FROM people", "Secretname 7", "5f0c1a-salt")
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    monkeypatch.delenv(logs.FORMAT, raising=False)
    monkeypatch.delenv(logs.LEVEL, raising=False)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    out = io.StringIO()
    logs.configure(out)
    yield out
    root.handlers[:] = before
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def calls(source: str) -> Iterator[ast.Call]:
    """Every line that a source may write."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            of = node.func.value
            if isinstance(of, ast.Name) and of.id in ("log", "_log"):
                yield node


def wrong(source: str) -> list[str]:
    """Lines whose event is put together, or whose fields are none of the list."""
    found = []
    for call in calls(source):
        if len(call.args) != 1 or not (isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)):
            found.append(f"line {call.lineno}: the event is not one constant text")
        names = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
        found += [f"line {call.lineno}: `{name}` is not in sandbox.logs.FIELDS" for name in names - set(logs.FIELDS)]
    return found


def test_every_line_is_a_constant_event_with_fields_of_the_list() -> None:
    assert {module.name: found for module in MODULES if (found := wrong(module.read_text("utf-8")))} == {}


def test_a_line_that_is_put_together_is_noticed() -> None:
    assert wrong('_log.info(f"asked {sql}")')
    assert wrong('log.error("asked %s", sql)')
    assert wrong('_log.error("asked", sql=sql)')
    assert wrong('_log.error("asked", dataset=name)') == []
    assert sum(1 for module in MODULES for _ in calls(module.read_text("utf-8"))) > 15


def test_a_line_is_one_object_with_its_time_and_place_in_words(stream: io.StringIO) -> None:
    logs.logger("bpk.test").warning("not ready", reason="no\nroom", dataset="clinic")
    (line,) = lines(stream)
    assert list(line)[:4] == ["time", "level", "logger", "event"]
    assert (line["level"], line["logger"], line["event"]) == ("warning", "bpk.test", "not ready")
    assert (line["reason"], line["dataset"]) == ("no\nroom", "clinic")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["time"])


def test_what_is_bound_is_in_every_line_of_the_block(stream: io.StringIO) -> None:
    log = logs.logger("bpk.test")
    with logs.bound(request_id="req_1"), logs.bound(query_id="qry_1"):
        log.info("request")
        logging.getLogger("some.library").warning("hello")
    log.info("request")
    first, library, after = lines(stream)
    assert (first["request_id"], first["query_id"]) == ("req_1", "qry_1")
    assert (library["request_id"], library["event"]) == ("req_1", "a line of a library")
    assert "request_id" not in after


def provoke() -> None:
    """Secrets on every way that a careless line could take."""
    token, sql, value, salt = SECRETS
    ours, library = logs.logger("bpk.test"), logging.getLogger("some.library")
    ours.info("asked", sql=sql, token=token, salt=salt)
    ours.info("asked", code=ValueError(value), reason={"row": value})
    library.warning("statement %s failed", sql)
    library.warning(f"token {token}")
    library.warning("row", extra={"row": value})
    try:
        raise ValueError(f"cannot cast {value} with {salt}")
    except ValueError:
        library.exception("failed")
        ours.exception("failed")
        ours.error("failed", exc_info=True, stack_info=True)


def test_no_secret_gets_through_the_list(stream: io.StringIO) -> None:
    provoke()
    assert [secret for secret in SECRETS if secret in stream.getvalue()] == []
    found = lines(stream)
    assert len(found) == 8
    assert found[0]["left_out"] == ["salt", "sql", "token"]
    assert "Traceback" not in stream.getvalue()
    assert found[5]["error"] == "ValueError"
    assert found[5]["at"][0].endswith(" provoke")


def test_planted_without_the_list_every_secret_is_there(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "of_a_library", lambda _, __, event: event)
    monkeypatch.setattr(logs, "closed", lambda _, __, event: event)
    logs.configure(stream)
    provoke()
    assert [secret for secret in SECRETS if secret in stream.getvalue()] == list(SECRETS)


def test_a_terminal_is_spoken_to_in_text_and_everything_else_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(logs.FORMAT, raising=False)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        terminal, file = Tty(), Tty()
        logs.configure(terminal)
        logs.logger("bpk.test").error("not ready", reason="no room")
        assert "reason=" in re.sub(r"\x1b\[\d*m", "", terminal.getvalue())
        monkeypatch.setenv(logs.FORMAT, "json")
        logs.configure(file)
        logs.logger("bpk.test").error("not ready", reason="no room")
        assert json.loads(file.getvalue())["reason"] == "no room"
    finally:
        root.handlers[:] = before
        root.setLevel(level)


@pytest.mark.parametrize(("name", "value"), [(logs.FORMAT, "xml"), (logs.LEVEL, "LOUD")])
def test_a_setting_that_does_not_exist_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=value):
        logs.configure(io.StringIO())


def test_levels_are_kept(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.LEVEL, "ERROR")
    logs.configure(stream)
    logs.logger("bpk.test").warning("not ready")
    logging.getLogger("some.library").warning("hello")
    assert stream.getvalue() == ""


def test_a_line_is_cut_and_never_fails(stream: io.StringIO) -> None:
    logs.logger("bpk.test").info("request", reason="x" * 10_000, at=["y"] * 500, keys=object(), ms=float("1.5"))
    (line,) = lines(stream)
    assert len(line["reason"]) == logs.TEXT_MAX + 3
    assert len(line["at"]) == 100
    assert (line["keys"], line["ms"]) == ("object", 1.5)


def test_the_reference_lists_every_field() -> None:
    page = (ROOT / "docs" / "reference" / "logs-and-metrics.md").read_text("utf-8")
    table = page.split("| field | holds |", 1)[1].split("\n\n", 1)[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)) == logs.FIELDS
