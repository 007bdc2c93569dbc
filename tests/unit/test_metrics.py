"""/metrics: names and labels of a closed list, each in the reference, and labels that nobody can make many of."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.errors import STATUS
from gateway.http.metrics import Metrics
from gateway.http.security import METHODS
from gateway.identity.roles import ROUTES
from tests.gateway_world import gateway_world

ROOT = Path(__file__).parents[2]
LABELS = {
    "route": {path for _, path in ROUTES} | {"other"},
    "method": METHODS | {"other"},
    "status": {str(status) for status in range(100, 600)},
    "verdict": {"run", "reused", "repeated", "refused"},
    "code": set(STATUS),
    "mode": {"dp", "aggregate", "open"},
    "le": {"0.005", "0.01", "0.02", "0.03", "0.05", "0.1", "0.25", "1.0", "5.0", "+Inf"},
}


def documented() -> dict[str, set[str]]:
    page = (ROOT / "docs" / "reference" / "logs-and-metrics.md").read_text("utf-8").split("## Metrics", 1)[1]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", page, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def found(text: str) -> list[tuple[str, dict[str, str]]]:
    lines = re.findall(r"^(\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$", text, re.MULTILINE)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels in lines]


def unlisted(text: str) -> list[str]:
    """What is in no list: names, labels and values of labels."""
    listed, wrong = documented(), []
    for name, labels in found(text):
        wrong += [] if name in listed else [name]
        wrong += [f"{name} {label}" for label in labels if label not in listed.get(name, set())]
        wrong += [f"{label}={value}" for label, value in labels.items() if value not in LABELS.get(label, set())]
    return wrong


def test_every_name_and_label_is_listed_whatever_is_asked(tmp_path: Path) -> None:
    with gateway_world(tmp_path) as world:
        for route in ("/healthz", "/nowhere-7f3a", "/v1/queries/qry_secret", "/v1/datasets/secret", "/readyz"):
            world.call("GET", route)
        world.call("BREW", "/healthz")
        for sql in ("SELECT COUNT(*) AS n FROM people", "SELECT name FROM people"):
            world.call("POST", "/v1/queries", {"sql": sql, "purpose": "research"})
        text = world.call("GET", "/metrics").text
    assert unlisted(text) == []
    assert "secret" not in text
    names = {name for name, _ in found(text)}
    assert {"bpk_requests_total", "bpk_queries_total", "bpk_charge_seconds"} <= names <= set(documented())
    assert 'bpk_charge_seconds_bucket{le="+Inf"} 1' in text


def test_planted_a_label_of_the_callers_making_is_noticed() -> None:
    metrics = Metrics()
    metrics.query("SELECT 1")
    metrics.request("/v1/queries/qry_1", "GET", 200)
    assert unlisted(metrics.text()) == ["route=/v1/queries/qry_1", "verdict=SELECT 1"]
    assert unlisted('bpk_rows_read{dataset="clinic"} 12\n')


def test_charges_are_counted_in_the_bucket_that_holds_them() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.005, 0.04, 9.0):
        metrics.charged(seconds)
    counts = re.findall(r'bucket\{le="(\S+)"\} (\d+)', metrics.text())
    assert dict(counts) | {} == {
        "0.005": "2", "0.01": "2", "0.02": "2", "0.03": "2", "0.05": "3", "0.1": "3", "0.25": "3", "1.0": "3",
        "5.0": "3", "+Inf": "4",
    }  # fmt: skip
    assert "bpk_charge_seconds_sum 9.046000\nbpk_charge_seconds_count 4" in metrics.text()
