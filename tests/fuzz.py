"""`make fuzz`: the API's own document turned against a served home, request by request.

    python -m tests.fuzz           20,000 requests
    python -m tests.fuzz 500 3     so many, with this seed

Every reply has a status, a type and a shape that the document lists for its route, and none is of status 5xx. Half of
the questions are SQL that the home answers or refuses for what it asks, for no generator writes such by itself.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase, strategies
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as of_openapi

from gateway.http.example import QUERY
from tests.homes import make
from tests.served_home import Served, serving, small

CASES: Final = 20_000
CHECKS: Final = [
    not_a_server_error,
    of_openapi.status_code_conformance,
    of_openapi.content_type_conformance,
    of_openapi.response_headers_conformance,
    of_openapi.response_schema_conformance,
]
SQL: Final = (
    "SELECT COUNT(*) AS n FROM people",
    "SELECT sex, COUNT(*) AS n, AVG(income) AS mean FROM people GROUP BY sex",
    "SELECT h.level, COUNT(*) FROM visits v JOIN hospitals h ON v.hospital = h.id GROUP BY h.level",
    "SELECT COUNT(*) FROM people WHERE income > $least",
    "SELECT level, COUNT(*) FROM hospitals GROUP BY level",
    "SELECT name FROM people",
    "SELECT * FROM nowhere",
    "DROP TABLE people",
    "SELECT sex, COUNT(*) FROM people GROUP BY sex HAVING COUNT(*) > 10 ORDER BY 2 DESC LIMIT 2",
)
ROLES: Final = {"/v1/audit": ("aud", "auditor")}
WEIGHTS: Final = {
    ("POST", "/v1/queries"): 6,
    ("POST", "/v1/queries/check"): 6,
    ("GET", "/v1/audit/export"): 0.1,  # which has nothing to draw, and grows with every request
}


def weight(method: str, path: str) -> float:
    return WEIGHTS.get((method, path), 2 if path.startswith("/v1/") else 0.5)


def fuzz(served: Served, cases: int, seed: int) -> tuple[Counter[int], list[str]]:
    """Statuses, and what was wrong."""
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations()]
    shares = sum(weight(each.method.upper(), each.path) for each in operations)
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    known = served.ask(SQL[0]).json()["id"]
    for operation in operations:
        route = (operation.method.upper(), operation.path)
        number = max(10, round(cases * weight(*route) / shares))
        strategy = strategies.tuples(operation.as_strategy(), strategies.integers(0, 2**32))
        before = sum(statuses.values())
        failures = Tried(served, statuses, known).run(strategy, number, seed)
        sent = sum(statuses.values()) - before
        print(f"  {route[0]:6} {route[1]:34} {sent:6} requests, {len(failures)} wrong", flush=True)
        wrong += [f"{' '.join(route)}: {failure}" for failure in failures]
    return statuses, wrong


class Tried:
    """Sends what is drawn, and keeps what is wrong instead of stopping at it."""

    def __init__(self, served: Served, statuses: Counter[int], known: str) -> None:
        self._served = served
        self._statuses = statuses
        self._known = known
        self._wrong: list[str] = []

    def run(self, strategy: Any, number: int, seed: int) -> list[str]:
        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=number,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(strategy)
        def send(drawn: tuple[Any, int]) -> None:
            self._send(*drawn)

        send()
        return self._wrong

    def _send(self, case: Any, dice: int) -> None:
        pick = dice % (2 * len(SQL) + 1)  # of a wide range: routes that take nothing are asked as often as the others
        if isinstance(case.body, dict) and pick < len(SQL):
            asked = {"sql": SQL[pick], "purpose": "research", "wait_s": 20}
            case.body = asked if len(case.body) % 2 else {**case.body, **asked}
        if "query_id" in case.path_parameters and pick % 2:
            case.path_parameters["query_id"] = self._known if pick % 4 == 1 else QUERY
        subject, role = next((who for path, who in ROLES.items() if case.path.startswith(path)), ("op-a", "operator"))
        headers = {"Authorization": f"Bearer {self._served.token(subject, role)}"}  # type: ignore[arg-type]
        try:
            response = case.call(base_url=self._served.url, headers=headers, timeout=60)
            self._statuses[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)
        except AssertionError as failure:
            self._wrong.append(str(failure)[:2000])
        except BaseExceptionGroup as failures:
            self._wrong.append("; ".join(str(each)[:1000] for each in failures.exceptions))


def main(arguments: list[str]) -> int:
    """0 when nothing is wrong."""
    cases, seed = (int(arguments[0]) if arguments else CASES), (int(arguments[1]) if len(arguments) > 1 else 1)
    print(f"{cases} requests, seed {seed}", flush=True)
    begin = time.monotonic()
    os.environ.setdefault("NO_COLOR", "1")
    with tempfile.TemporaryDirectory() as folder, serving(make(Path(folder) / "home", small())) as served:
        statuses, wrong = fuzz(served, cases, seed)
    seconds = time.monotonic() - begin
    print(f"{sum(statuses.values())} replies in {seconds:.0f} s: {dict(sorted(statuses.items()))}")
    for failure, count in Counter(wrong).most_common(20):
        print(f"\n{count} x {failure}")
    bad = sum(count for status, count in statuses.items() if status >= 500)
    print(f"\n{bad} of status 5xx, {len(wrong)} that the document does not have")
    return 1 if wrong or bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
