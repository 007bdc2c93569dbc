"""OpenTelemetry's side of `gateway.spans`: an optional extra, imported where spans are on."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.settings import Telemetry

SERVICE: Final = "baopingkou"
_PARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_SILENT: Final[Mapping[str, Any]] = {"record_exception": False, "set_status_on_exception": False}
"""Texts of exceptions may hold a caller's words."""


class Tracing:
    """Thread-safe. `exporter` in place of OTLP over HTTP, which reads the rest of its settings from the environment."""

    def __init__(self, telemetry: Telemetry, exporter: Any = None) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(telemetry.sample_percent / 100)),
            resource=Resource.create({"service.name": SERVICE}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(telemetry.endpoint)))
        self._tracer = self._provider.get_tracer(SERVICE)

    @contextmanager
    def request(self, parent: str | None) -> Iterator[str]:
        """A caller's `tracestate` and `baggage` are texts of his making, and are not passed on."""
        carrier = {"traceparent": parent} if parent is not None and _PARENT.fullmatch(parent) else {}
        context = TraceContextTextMapPropagator().extract(carrier)
        with self._tracer.start_as_current_span("request", context, SpanKind.SERVER, **_SILENT) as span:
            yield format_trace_id(span.get_span_context().trace_id)

    def span(self, name: str) -> AbstractContextManager[Any]:
        found: AbstractContextManager[Any] = self._tracer.start_as_current_span(name, **_SILENT)
        return found

    def drawn(self, name: str, ms: int) -> None:
        now = time.time_ns()
        self._tracer.start_span(name, start_time=now).end(now + ms * 1_000_000)

    def say(self, name: str, value: str | int) -> None:
        get_current_span().set_attribute(name, value)

    def stop(self, seconds: float) -> None:
        """Sends what was not sent yet, if that takes no longer."""
        ending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(seconds)
