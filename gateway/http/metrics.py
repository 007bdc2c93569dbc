"""Counters for /metrics in Prometheus' text format. Requests and verdicts only: nothing that data had a part in."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

_HELP: Final = {
    "bpk_requests_total": "HTTP requests by route, method and status.",
    "bpk_queries_total": "Questions by verdict.",
    "bpk_callers_refused_total": "Requests whose token was not accepted, by code.",
}
_CHARGES: Final = "bpk_charge_seconds"
_EDGES: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Of buckets, in seconds."""
_GAUGES: Final = {
    "bpk_questions_waiting": "Questions that wait for their turn, by mode.",
    "bpk_questions_running": "Questions that hold a place, by mode.",
    "bpk_issuer_keys": "Keys of the issuer that tokens may be signed with.",
    "bpk_issuer_keys_age_seconds": "Seconds since the issuer's keys were last fetched.",
    "bpk_stamped_records": "Records of the log under its newest time stamp of this process.",
    "bpk_stamp_failures": "Times that the time-stamping authority was asked and gave no good stamp.",
}
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metrics:
    """Thread-safe counters. Labels come from closed sets (route templates, codes), so their number is bounded."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._charges = [0] * (len(_EDGES) + 1)
        self._charged_s = 0.0
        self._lock = threading.Lock()

    def request(self, route: str, method: str, status: int) -> None:
        self._add("bpk_requests_total", route=route, method=method, status=str(status))

    def query(self, verdict: str) -> None:
        self._add("bpk_queries_total", verdict=verdict)

    def refused_caller(self, code: str) -> None:
        self._add("bpk_callers_refused_total", code=code)

    def charged(self, seconds: float) -> None:
        """One charge was made durable, together with its record. It knows question and price, and no row."""
        with self._lock:
            self._charges[bisect_left(_EDGES, seconds)] += 1
            self._charged_s += seconds

    def text(self, gauges: Mapping[str, float] | None = None) -> str:
        """`gauges`: what is measured now, by name, with labels where it has some; one name after the other."""
        with self._lock:
            counts = sorted(self._counts.items())
        lines: list[str] = []
        for name, words in _HELP.items():
            lines += [f"# HELP {name} {words}", f"# TYPE {name} counter"]
            for (counted, labels), count in counts:
                if counted == name:
                    inside = ",".join(f'{label}="{value.translate(_ESCAPES)}"' for label, value in labels)
                    lines.append(f"{name}{{{inside}}} {count}")
        lines += self._histogram()
        named = ""
        for gauge, value in (gauges or {}).items():
            name = gauge.partition("{")[0]
            if name != named:
                lines += [f"# HELP {name} {_GAUGES[name]}", f"# TYPE {name} gauge"]
            named = name
            lines.append(f"{gauge} {value:g}")
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        with self._lock:
            charges, seconds = list(accumulate(self._charges)), self._charged_s
        return [
            f"# HELP {_CHARGES} How long a charge and its record took to be durable.",
            f"# TYPE {_CHARGES} histogram",
            *(f'{_CHARGES}_bucket{{le="{edge}"}} {n}' for edge, n in zip((*_EDGES, "+Inf"), charges, strict=True)),
            f"{_CHARGES}_sum {seconds:.6f}",
            f"{_CHARGES}_count {charges[-1]}",
        ]

    def _add(self, name: str, **labels: str) -> None:
        with self._lock:
            self._counts[(name, tuple(labels.items()))] += 1
