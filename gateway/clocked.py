"""Sockets that keep one deadline, however the other side deals out its bytes: a library's limits are for each wait.

Whoever sends a byte of a header now and then would else hold a caller for ever.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import httpcore
import httpx


class _Clock(threading.local):
    """Until when the exchange of this thread may last."""

    until: float = float("inf")


_clock = _Clock()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """All that this thread does on clocked sockets in the block ends after so long, but for the look-up of a name."""
    before, _clock.until = _clock.until, time.monotonic() + seconds
    try:
        yield
    finally:
        _clock.until = before


def client(timeout_s: float, trusted: ssl.SSLContext | bool = True) -> httpx.Client:
    """Of clocked sockets. Nothing of the environment counts, and no redirect is followed."""
    transport = _Transport(_anybody() if trusted is True else httpx.create_ssl_context(trusted, trust_env=False))
    return httpx.Client(transport=transport, timeout=timeout_s, trust_env=False, follow_redirects=False)


@cache
def _anybody() -> ssl.SSLContext:
    """Whoever a public authority vouches for. To read the list of them takes longer than anything else of a client."""
    return httpx.create_ssl_context(trust_env=False)


def _left(timeout: float | None) -> float:
    left = _clock.until - time.monotonic()
    return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _left(timeout)
        if left <= 0:
            raise httpcore.ReadTimeout
        return self._inner.read(max_bytes, left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = _left(timeout)
        if left <= 0:
            raise httpcore.WriteTimeout
        self._inner.write(buffer, left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout)
        if left <= 0:
            raise httpcore.ConnectTimeout
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_tcp(host, port, max(0.001, _left(timeout)), *args, **kwargs))

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_unix_socket(*args, **kwargs))


class _Transport(httpx.HTTPTransport):
    """httpx has no word for the sockets of its pool."""

    def __init__(self, trusted: ssl.SSLContext) -> None:
        super().__init__(verify=trusted, trust_env=False)
        self._pool = httpcore.ConnectionPool(ssl_context=trusted, network_backend=Backend())
