"""Spans of a question's way, for OpenTelemetry: off unless `gateway.toml` has a `[telemetry]`.

What is measured ends with the charge. The run is drawn, not measured: from the charge to the deadline that was told
beforehand, for how long a worker took, and whether it failed, can depend on data. Names and attributes are of closed
lists. Where the collector is away spans are lost, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import Misconfigured

if TYPE_CHECKING:
    from gateway.settings import Telemetry
    from gateway.tracing import Tracing

NAMES: Final = {
    "request": "one HTTP request under `/v1`, from its first byte to the last one of its reply",
    "admit": "from the text to an admitted question: names, rights, licence, purpose",
    "prepare": "price and a place, by the data domain",
    "reuse": "whether a stored release answers, and where it does, the record of it",
    "wait": "for the question's turn",
    "charge": "the charge and its record become durable",
    "run": "drawn: from the charge to the deadline told beforehand; absent where deadlines are off",
}
ATTRIBUTES: Final = {
    "http.request.method": "from a closed list",
    "http.route": "the template of the route",
    "http.response.status_code": "of the reply",
    "bpk.request_id": "as `X-Request-Id` says",
    "bpk.query_id": "one question",
    "bpk.dataset": "its name",
    "bpk.mode": "`dp`, `aggregate` or `open`",
    "bpk.verdict": "`run`, `reused`, `repeated` or `refused`",
    "bpk.code": "of a refusal before the charge",
}
TEXT_MAX: Final = 200
STOP_S: Final = 2.0
"""How long the end waits for spans that were not sent yet."""
_tracing: Tracing | None = None


def start(telemetry: Telemetry | None, exporter: Any = None) -> Callable[[], None]:
    """Turns spans on for this process, if there are to be any; what turns them off again, soon, whoever is away.

    Raises Misconfigured where the extra is not installed.
    """
    global _tracing  # noqa: PLW0603  # one process, one way out, as with its log
    if telemetry is None:
        return lambda: None
    try:
        from gateway.tracing import Tracing  # noqa: PLC0415  # of an optional extra
    except ImportError as error:
        raise Misconfigured("`[telemetry]` needs `pip install baopingkou[otel]`") from error
    _tracing = started = Tracing(telemetry, exporter)

    def stop() -> None:
        global _tracing  # noqa: PLW0603  # likewise
        _tracing = None
        started.stop(STOP_S)

    return stop


@contextmanager
def request(parent: str | None) -> Iterator[str | None]:
    """The span of one request, under the caller's `traceparent` where that is one; the trace's id, None while off."""
    if _tracing is None:
        yield None
        return
    with _tracing.request(parent) as trace_id:
        yield trace_id


@contextmanager
def span(name: str) -> Iterator[None]:
    """A step of the request that this thread works on. Also for decorating a function."""
    if _tracing is None:
        yield
        return
    with _tracing.span(name):
        yield


def drawn(name: str, ms: int | None) -> None:
    """A span from now on, as long as was known beforehand; none where that was not."""
    if _tracing is not None and ms is not None:
        _tracing.drawn(name, ms)


def say(attributes: Mapping[str, str | int]) -> None:
    """Of the step that this thread works on. What is not on the list is left out."""
    if _tracing is None:
        return
    for name, value in attributes.items():
        if name in ATTRIBUTES:
            _tracing.say(name, value[:TEXT_MAX] if isinstance(value, str) else value)
