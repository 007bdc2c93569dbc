"""Spans: names and attributes of a closed list that stands in the reference, nothing measured after the charge."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gateway import spans
from gateway.cli import doctor
from gateway.errors import STATUS, Misconfigured
from gateway.http.security import METHODS
from gateway.identity.roles import ROUTES
from gateway.settings import Telemetry
from sandbox.protocol import Prepared, Question
from tests.gateway_world import COUNT, GatewayWorld, ScriptedDomain, gateway_world
from tests.served_home import make_home

pytest.importorskip("opentelemetry.sdk", reason="needs the extra `otel`")

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

ROOT = Path(__file__).parents[2]
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
DEADLINE_MS = 3_600_000
VALUES: dict[str, set[str] | str] = {
    "http.request.method": set(METHODS) | {"other"},
    "http.route": {path for _, path in ROUTES} | {"other"},
    "http.response.status_code": r"[1-5]\d\d",
    "bpk.request_id": r"req_[0-9a-f]{16}",
    "bpk.query_id": r"qry_[0-9a-f]{32}",
    "bpk.dataset": {"clinic"},
    "bpk.mode": {"dp", "aggregate", "open"},
    "bpk.verdict": {"run", "reused", "repeated", "refused"},
    "bpk.code": set(STATUS),
}


class Collected(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


class Deadlines(ScriptedDomain):
    def prepare(self, question: Question, *, reserve: bool, **more: object) -> Prepared:
        found = super().prepare(question, reserve=reserve, **more)
        return Prepared(**{**_fields(found), "deadline_ms": DEADLINE_MS})


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


@contextmanager
def collecting() -> Iterator[Collected]:
    """What was collected is there at the end of the block."""
    collected = Collected()
    stop = spans.start(Telemetry(), collected)
    try:
        yield collected
    finally:
        stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path, kind=Deadlines) as made:
        yield made


def documented() -> tuple[dict[str, str], dict[str, str]]:
    page = (ROOT / "docs" / "reference" / "logs-and-metrics.md").read_text("utf-8").split("## Spans", 1)[1]
    names, attributes = page.split("| attribute |", 1)
    return tuple(dict(re.findall(r"^\| `([\w.]+)` \| (.+) \|$", text, re.MULTILINE)) for text in (names, attributes))  # type: ignore[return-value]


def unlisted(found: Sequence[ReadableSpan]) -> list[str]:
    """What is in no list: names, attributes, values of attributes, and whatever else a span can carry."""
    wrong: list[str] = []
    for span in found:
        wrong += [] if span.name in spans.NAMES else [span.name]
        for name, value in (span.attributes or {}).items():
            listed = VALUES.get(name, set())
            fits = re.fullmatch(listed, str(value)) if isinstance(listed, str) else value in listed
            wrong += [] if fits else [f"{name}={value}"]
        wrong += [f"event {event.name}" for event in span.events]
        wrong += [] if span.status.description is None else [span.status.description]
        wrong += ["tracestate"] if span.context is not None and span.context.trace_state else []
    return wrong


def ask(world: GatewayWorld, sql: str = COUNT, **headers: str) -> Any:
    return world.call("POST", "/v1/queries", {"sql": sql, "purpose": "research"}, **headers)


def test_the_reference_lists_names_and_attributes() -> None:
    names, attributes = documented()
    assert names == spans.NAMES
    assert attributes == spans.ATTRIBUTES
    assert set(VALUES) == set(attributes)


def test_names_and_attributes_are_of_the_list_whatever_is_asked(world: GatewayWorld) -> None:
    with collecting() as collected:
        ask(world)
        ask(world, "SELECT name AS secret FROM people", tracestate="secret=1", baggage="secret=1", traceparent=PARENT)
        ask(world, COUNT, Idempotency_Key="secret")
        ask(world, COUNT, Idempotency_Key="secret")
        world.call("POST", "/v1/queries/check", {"sql": "SELECT COUNT(*) AS secret FROM people", "purpose": "research"})
        world.call("GET", "/v1/queries/secret", traceparent=f"{PARENT}-secret")
        world.call("GET", "/v1/nowhere/secret")
        world.call("BREW", "/v1/queries", Authorization="Bearer secret")
        world.call("GET", "/readyz")
    assert unlisted(collected.spans) == []
    assert "secret" not in " ".join(span.to_json() for span in collected.spans)
    assert {span.name for span in collected.spans} >= {"request", "admit", "prepare", "reuse", "charge", "run"}
    said = [dict(span.attributes or {}) for span in collected.spans if span.name == "request"]
    assert {"run", "refused", "repeated"} <= {str(each.get("bpk.verdict")) for each in said}
    assert "column_hidden" in {str(each.get("bpk.code")) for each in said}
    assert "/readyz" not in {each["http.route"] for each in said}


def test_planted_an_attribute_of_the_callers_making_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(spans.ATTRIBUTES, "bpk.sql", "planted")
    with collecting() as collected, spans.request(None), spans.span("SELECT 1"):
        spans.say({"bpk.sql": COUNT, "bpk.rows": 12, "bpk.verdict": "12 rows"})
        trace.get_current_span().add_event("died", {"text": "secret"})
    assert unlisted(collected.spans) == ["SELECT 1", f"bpk.sql={COUNT}", "bpk.verdict=12 rows", "event died"]


def test_the_steps_of_a_question_lie_under_its_request_and_its_callers_trace(world: GatewayWorld) -> None:
    with collecting() as collected:
        ask(world, traceparent=PARENT)
    (top,) = [span for span in collected.spans if span.name == "request"]
    assert top.parent is not None
    assert trace.format_span_id(top.parent.span_id) == PARENT.split("-")[2]
    for span in collected.spans:
        assert trace.format_trace_id(span.context.trace_id) == TRACE
        assert span is top or (span.parent is not None and span.parent.trace_id == top.context.trace_id)


@pytest.mark.parametrize("parent", ["", "00-x", PARENT.upper(), f"{PARENT}-more", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_what_is_no_traceparent_begins_a_trace_of_its_own(world: GatewayWorld, parent: str) -> None:
    with collecting() as collected:
        world.call("GET", "/v1/budgets", traceparent=parent)
    (top,) = collected.spans
    assert top.parent is None


def test_the_log_names_the_trace(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[dict[str, str]] = []
    monkeypatch.setattr("gateway.http.security.logs.bound", lambda **more: (bound.append(more), _nothing())[1])
    with collecting():
        world.call("GET", "/v1/budgets", traceparent=PARENT)
    world.call("GET", "/v1/budgets", traceparent=PARENT)
    assert [each.get("trace_id") for each in bound if "request_id" in each] == [TRACE, None]


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def after_the_charge(found: Sequence[ReadableSpan]) -> list[tuple[str, int]]:
    """Names of what begins after the charge, and how long it is by the trace."""
    (charge,) = [span for span in found if span.name == "charge"]
    later = [span for span in found if (span.start_time or 0) >= (charge.end_time or 0)]
    return [(span.name, ((span.end_time or 0) - (span.start_time or 0)) // 1_000_000) for span in later]


def test_nothing_is_measured_after_the_charge_and_the_run_is_as_long_as_its_deadline(world: GatewayWorld) -> None:
    with collecting() as collected:
        ask(world)
    assert after_the_charge(collected.spans) == [("run", DEADLINE_MS)]


def test_planted_a_run_that_is_measured_is_noticed(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Deadlines.run
    monkeypatch.setattr(Deadlines, "run", spans.span("run")(run))
    with collecting() as collected:
        ask(world)
    assert after_the_charge(collected.spans) != [("run", DEADLINE_MS)]


def test_without_deadlines_the_run_is_not_drawn(tmp_path: Path) -> None:
    with gateway_world(tmp_path) as world, collecting() as collected:
        ask(world)
    assert after_the_charge(collected.spans) == []


class Collector(BaseHTTPRequestHandler):
    """Takes what is posted, and keeps where and of which type."""

    taken: ClassVar[list[tuple[str, str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_a_collector_is_sent_the_spans_over_http(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "STOP_S", 30)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        stop = spans.start(Telemetry(endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces"))
        try:
            ask(world, traceparent=PARENT)
        finally:
            stop()
            server.shutdown()
    assert {(path, kind) for path, kind, _ in Collector.taken} == {("/v1/traces", "application/x-protobuf")}
    assert bytes.fromhex(TRACE) in b"".join(body for _, _, body in Collector.taken)


class Failing(Collected):
    def __init__(self, *, hangs: bool) -> None:
        super().__init__()
        self.hangs, self.over = hangs, threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.hangs:
            self.over.wait(60)
        raise OSError("the collector is away")


@pytest.mark.parametrize("hangs", [False, True])
def test_a_collector_that_is_away_touches_no_answer_and_no_end(
    world: GatewayWorld, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "STOP_S", 0.2)
    before = ask(world)
    exporter = Failing(hangs=hangs)
    stop = spans.start(Telemetry(), exporter)
    try:
        told = [ask(world) for _ in range(5)]
    finally:
        stop()
        exporter.over.set()
    assert {each.status_code for each in told} == {before.status_code} == {200}
    assert {each.json()["status"] for each in told} == {"failed"}, "as the scripted data domain has it"


def test_off_by_default_and_nothing_is_asked_of_the_library(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.home.settings.telemetry is None
    spans.start(world.home.settings.telemetry)()
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    assert ask(world, traceparent=PARENT).status_code == 200


def test_a_gateway_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gateway.tracing", None)
    with pytest.raises(Misconfigured, match="otel"):
        spans.start(Telemetry())


def test_the_doctor_says_where_spans_go_and_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(tmp_path)
    file = home.root / "gateway.toml"
    file.write_text(
        file.read_text("utf-8") + '\n[telemetry]\nendpoint = "https://collector.example/v1/traces"\n', "utf-8"
    )

    def telemetry() -> dict[str, Any]:
        checks = doctor._home_checks(home.root, {"ok": True, "detail": ""})
        return next(check for check in checks if check["name"] == "telemetry")

    assert telemetry() == {"name": "telemetry", "ok": True, "detail": "spans go to https://collector.example/v1/traces"}
    monkeypatch.setitem(sys.modules, "gateway.tracing", None)
    assert telemetry()["ok"] is False
    assert "otel" in telemetry()["detail"]
