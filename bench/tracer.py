"""One of the two processes with a stop-watch at each step: `python -m bench.tracer gateway|domain HOME SPANS [DOOR]`.

The production code is the same, and knows nothing of this: functions are wrapped from outside before it starts. A span
is one JSON line: [step, begin, seconds] on the machine's monotonic clock, which both processes share.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from bench.steps import STEPS, Process


def find(place: str) -> tuple[Any, str]:
    """(holder, name) of `module:function` or `module:Class.method`. AttributeError: the code has moved on."""
    module, _, path = place.partition(":")
    holder: Any = import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        holder = getattr(holder, part)
    getattr(holder, name)
    return holder, name


def check() -> None:
    """Raises AttributeError where a step is no longer where it was: better now than after a quarter of an hour."""
    for step in STEPS:
        find(step.place)


def watch(process: Process, out: TextIO) -> None:
    """Wraps every step of `process`."""
    for step in STEPS:
        if step.process == process:
            holder, name = find(step.place)
            setattr(holder, name, _timed(getattr(holder, name), step.name, out))


def _timed(act: Callable[..., Any], name: str, out: TextIO) -> Callable[..., Any]:
    @functools.wraps(act)
    def timed(*words: Any, **named: Any) -> Any:
        begin = time.monotonic()
        try:
            return act(*words, **named)
        finally:
            out.write(json.dumps([name, begin, time.monotonic() - begin]) + "\n")

    return timed


def main(process: str, home: str, spans: str, door: str = "") -> None:
    with Path(spans).open("w", encoding="utf-8", buffering=1) as out:
        watch("gateway" if process == "gateway" else "domain", out)
        if process == "gateway":
            open_home, serve = _get("gateway.home:open_home"), _get("gateway.serving:serve")
            serve(open_home(Path(home)), 0, lambda _: None)
        else:
            _get("sandbox.service:serve")(Path(home), Path(door))


def _get(place: str) -> Any:
    """Imported late: each of the two processes loads its own half alone."""
    holder, name = find(place)
    return getattr(holder, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
