"""One document from the issuer: https or this machine, no redirect, bounded in size and time."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx

from gateway import clocked
from gateway.errors import Misconfigured, NotReady
from gateway.settings import require_safe

BYTES_MAX: Final = 262_144
Fetch = Callable[[str], bytes]


class NotFetched(NotReady):
    """The issuer does not answer, or not with what was asked for."""


def fetcher(timeout_s: float, ca_file: Path | None = None) -> Fetch:
    """Fetches an address. Raises Misconfigured for certificates that cannot be read."""
    trusted = _trusted(ca_file)

    def fetch(address: str) -> bytes:
        """Raises NotFetched."""
        try:
            require_safe(address)
            return _read(address, timeout_s, trusted)
        except httpx.TimeoutException as error:
            raise NotFetched(f"{address}: took longer than {timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotFetched(f"{address}: {type(error).__name__}") from error
        except ValueError as error:
            raise NotFetched(str(error)) from error

    return fetch


def _read(address: str, timeout_s: float, trusted: ssl.SSLContext | bool) -> bytes:
    """As `fetch`; nothing is unpacked, for a few bytes could unpack to any number."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    with (
        clocked.within(timeout_s),
        clocked.client(timeout_s, trusted) as client,
        client.stream("GET", address, headers=headers) as reply,
    ):
        if reply.status_code != 200:
            raise NotFetched(f"{address}: status {reply.status_code}")
        if reply.headers.get("content-encoding", "identity") != "identity":
            raise NotFetched(f"{address}: packed, which was not asked for")
        content = bytearray()
        for part in reply.iter_raw(16_384):
            content += part
            if len(content) > BYTES_MAX:
                raise NotFetched(f"{address}: longer than {BYTES_MAX} bytes")
        return bytes(content)


def _trusted(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(f"{ca_file}: no certificates in PEM") from error
