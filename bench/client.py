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

    @property
    def code(self) -> str | None:
        """Why there are no numbers; None where there are."""
        if self.status == 200 and self.body.get("status") == "answered":
            return None
        return str(self.body.get("code") or self.body.get("status") or self.status)


class Client:
    """Not thread-safe: one for each thread."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)

    def another(self) -> Client:
        return Client(self._url, self._token)

    def ask(self, sql: str, purpose: str, epsilon: str | None = None) -> Reply:
        body = {"sql": sql, "purpose": purpose} | ({} if epsilon is None else {"epsilon": epsilon})
        return self._call("POST", "/v1/queries", json.dumps(body).encode())

    def ready(self) -> bool:
        try:
            return self._call("GET", "/readyz", None).status == 200
        except OSError:
            return False

    def close(self) -> None:
        self._connection.close()

    def _call(self, method: str, route: str, body: bytes | None) -> Reply:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        begin = time.monotonic()
        self._connection.request(method, route, body, headers)
        found = self._connection.getresponse()
        content = found.read()
        seconds = time.monotonic() - begin
        return Reply(found.status, json.loads(content), seconds, begin)
