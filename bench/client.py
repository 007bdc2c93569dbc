"""A plain HTTP client with one connection, so that little of what is measured is its own."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    seconds: float
    begin: float
    """Of the machine's monotonic clock, which all its processes share."""
    retry_after_s: int | None = None

    @property
    def code(self) -> str | None:
        """Why there are no numbers; None where there are."""
        if self.status == 200 and self.body.get("status") == "answered":
            return None
        return str(self.body.get("code") or self.body.get("status") or self.status)


class Client:
    """Not thread-safe: one for each thread."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)

    def another(self, token: str | None = None) -> Client:
        return Client(self.url, token or self._token)

    def ask(self, sql: str, purpose: str, epsilon: str | None = None, **more: Any) -> Reply:
        body = {"sql": sql, "purpose": purpose, **more} | ({} if epsilon is None else {"epsilon": epsilon})
        return self.call("POST", "/v1/queries", json.dumps(body).encode())

    def check(self, sql: str, purpose: str) -> Reply:
        return self.call("POST", "/v1/queries/check", json.dumps({"sql": sql, "purpose": purpose}).encode())

    def hang_up(self, sql: str, purpose: str, epsilon: str, after_s: float) -> None:
        """Asks, and goes away before there is an answer."""
        body = json.dumps({"sql": sql, "purpose": purpose, "epsilon": epsilon}).encode()
        self._connection.request("POST", "/v1/queries", body, self._headers)
        time.sleep(after_s)
        self._connection.close()

    def ready(self) -> bool:
        try:
            return self.call("GET", "/readyz", None).status == 200
        except OSError:
            return False

    def close(self) -> None:
        self._connection.close()

    def call(self, method: str, route: str, body: bytes | None) -> Reply:
        begin = time.monotonic()
        self._connection.request(method, route, body, self._headers)
        found = self._connection.getresponse()
        content = found.read()
        seconds = time.monotonic() - begin
        again = found.headers.get("Retry-After")
        return Reply(found.status, json.loads(content), seconds, begin, None if again is None else int(again))
