"""What either side writes of itself: JSON lines, or text on a terminal, and nothing in them that is a secret.

A line is an event in constant words and fields of a closed list. What is not on the list is left out and named. Lines
of libraries keep their place and class alone, for nobody knows what their texts hold. Shared by both sides.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final, TextIO

import structlog

FORMAT: Final = "BPK_LOG"
LEVEL: Final = "BPK_LOG_LEVEL"
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
TEXT_MAX: Final = 2000
FIELDS: Final = {
    "request_id": "one HTTP request, as its `X-Request-Id` says",
    "trace_id": "of OpenTelemetry, where spans are on",
    "query_id": "one question",
    "ticket": "what one question may spend in the data domain",
    "method": "of the request, from a closed list",
    "route": "the template of the route, never the path that was asked for",
    "status": "of the reply, or with which a process ended",
    "ms": "from the request to the end of its reply",
    "dataset": "its name",
    "datasets": "how many of them",
    "case": "the name of an example in `cases.toml`",
    "code": "of a refusal or a failure, from a closed list",
    "error": "the class of an exception, never its text",
    "at": "the lines that an exception went through",
    "reason": "in our own words: what is missing, or wrong with a file of this home",
    "issuer": "of tokens, as the settings name it",
    "keys": "how many keys the issuer has",
    "passed_over": "how many keys of the issuer's are not used",
    "seat": "one of several gateways on one ledger",
    "failed": "how many questions of a silent gateway were recorded as failed",
    "layer": "an isolation layer",
    "witness": "of the audit log, as the settings name it",
    "authority": "of time stamps, as the settings name it",
    "file": "a file of this home",
    "seconds": "how long something takes or took",
    "key_id": "which of several keys, by its name",
    "host": "the address that a connection came from",
    "untold": "how many more of these were not told of, since the last one that was",
}
"""Every field that a line may have, and what it holds."""
_OWN: Final = frozenset({"event", "level", "logger", "time", "left_out", *FIELDS})
_PLAIN: Final = frozenset(
    {
        "Started server process [%d]",
        "Waiting for application startup.",
        "Application startup complete.",
        "Shutting down",
        "Waiting for connections to close. (CTRL+C to force quit)",
        "Waiting for background tasks to complete. (CTRL+C to force quit)",
        "Cancel %s running task(s), timeout graceful shutdown exceeded",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
        "Finished server process [%d]",
        "Invalid HTTP request received.",
    }
)
"""Texts of libraries that hold nothing but themselves; with a number in them they are shown without it."""

Event = MutableMapping[str, Any]


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """For `log.info("constant words", field=value)`. Writes nowhere until `configure`, but for warnings and worse."""
    made: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            closed,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return made


bound = structlog.contextvars.bound_contextvars
"""`with bound(query_id=...)`: for every line of this thread, or task, in the block."""


def configure(stream: TextIO | None = None) -> None:
    """Lines of this process go to `stream`, standard error unless said. Raises ValueError for a wrong setting.

    `BPK_LOG` is `json` or `text`; without it, text on a terminal and JSON elsewhere. `BPK_LOG_LEVEL`: else INFO.
    """
    out = sys.stderr if stream is None else stream
    wanted, level = os.environ.get(FORMAT) or _fitting(out), os.environ.get(LEVEL) or "INFO"
    if wanted not in ("json", "text"):
        raise ValueError(f"{FORMAT} is `json` or `text`, not `{wanted[:20]}`")
    if level not in LEVELS:
        raise ValueError(f"{LEVEL} is one of {', '.join(LEVELS)}, not `{level[:20]}`")
    handler = logging.StreamHandler(out)
    handler.setFormatter(_formatter(as_json=wanted == "json", colours=out.isatty()))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "opentelemetry"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _fitting(out: TextIO) -> str:
    return "text" if out.isatty() else "json"


def _formatter(*, as_json: bool, colours: bool) -> logging.Formatter:
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False, default=_unknown)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="time", sort_keys=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            of_a_library,
            closed,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _first_things_first,
            renderer,
        ],
        keep_exc_info=False,
        keep_stack_info=False,
    )


def closed(_: object, __: str, event: Event) -> Event:
    """Leaves out what is not on the list, and cuts what is long; a line is one line, whatever stands in its fields."""
    more = {name: event[name] for name in ("_record", "_from_structlog") if name in event}
    kept = {name: _short(value) for name, value in event.items() if name in _OWN}
    if left_out := sorted(str(name)[:40] for name in event if name not in _OWN and name not in more):
        kept["left_out"] = left_out
    return {**kept, **more}


def of_a_library(_: object, __: str, event: Event) -> Event:
    """A line that is none of ours: where it comes from and of which class its exception is."""
    record: logging.LogRecord = event["_record"]
    text = record.msg if isinstance(record.msg, str) and record.msg in _PLAIN else "a line of a library"
    more: dict[str, Any] = {"at": [f"{record.pathname}:{record.lineno} {record.funcName}"]}
    event.pop("exc_info", None)
    if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
        more |= {"error": record.exc_info[0].__name__, "at": lines_of(record.exc_info[2])}
    record.exc_info = record.exc_text = record.stack_info = None  # else a formatter would add its text
    return {**event, "event": text.replace(" [%d]", "").replace("%s ", ""), **more}


def lines_of(trace: TracebackType | None) -> list[str]:
    """The lines that an exception went through: files, numbers and functions, without values."""
    found = []
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return found


def _short(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= TEXT_MAX else f"{value[:TEXT_MAX]}..."
    if isinstance(value, list | tuple):
        return [_short(each) for each in value[:100]]
    if value is None or isinstance(value, bool | int | float):
        return value
    return type(value).__name__


def _unknown(value: object) -> str:
    return type(value).__name__


def _first_things_first(_: object, __: str, event: Event) -> Event:
    head = ("time", "level", "logger", "event")
    return {name: event[name] for name in (*head, *event) if name in event}


if logging.lastResort is not None:  # where nothing was configured, warnings are told in the same way
    logging.lastResort.setFormatter(_formatter(as_json=False, colours=False))
