"""Who is at the other end: the caller's address, and its certificate where a proxy has seen one.

A header says nothing by itself: anybody can send one. What the proxy adds is believed when the connection comes from
one of its addresses and carries its secret. An address alone would not do: on one machine every program has it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.requests import Request

from gateway.errors import Misconfigured
from gateway.settings import Proxy

SECRET: Final = "X-Proxy-Secret"  # noqa: S105  # the header's name
SECRET_MIN: Final = 32
HEADER_MAX: Final = 16_384
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Peer:
    """Both are None where they are not known. `certificate` is its SHA-256 in base64url."""

    address: _Address | None
    certificate: str | None


class Ends:
    """Reads who is at the other end of a request."""

    def __init__(self, settings: Proxy | None, secret: bytes = b"") -> None:
        self._settings = settings
        self._secret = secret
        self._networks: tuple[IPv4Network | IPv6Network, ...] = ()
        if settings is not None:
            self._networks = tuple(ip_network(address) for address in settings.addresses)

    def of(self, request: Request) -> Peer:
        direct = _parsed(request.client.host) if request.client is not None else None
        if self._settings is None or not self._is_proxy(direct, request.headers.getlist(SECRET)):
            return Peer(direct, None)
        certificate = None
        if (name := self._settings.client_certificate) is not None:
            certificate = certificate_hash(request.headers.getlist(name), self._settings.certificate_format)
        return Peer(self._behind(request, direct), certificate)

    def _is_proxy(self, address: _Address | None, given: Sequence[str]) -> bool:
        known = address is not None and any(address in network for network in self._networks)
        return known and len(given) == 1 and hmac.compare_digest(given[0].encode(), self._secret)

    def _behind(self, request: Request, proxy: _Address | None) -> _Address | None:
        """The last address that is not the proxy's own: what stands before it, the caller may have written."""
        name = self._settings.client_address if self._settings is not None else None
        if name is None:
            return proxy
        hops = ",".join(request.headers.getlist(name)).split(",")
        for hop in reversed(hops):
            address = _parsed(hop.strip())
            if address is None or not any(address in network for network in self._networks):
                return address
        return proxy


def read_secret(file: Path) -> bytes:
    """Raises Misconfigured, also where others may read the file."""
    try:
        if file.stat().st_mode & 0o077:
            raise Misconfigured(f"{file}: others may read this secret; `chmod 600` it")
        secret = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file}: cannot be read as one line of ASCII") from error
    if len(secret) < SECRET_MIN or not secret.isprintable() or " " in secret:
        raise Misconfigured(f"{file}: a secret is one word of at least {SECRET_MIN} characters")
    return secret.encode()


def certificate_hash(given: Sequence[str], form: str) -> str | None:
    """None for no certificate, and for anything that is not exactly one."""
    if len(given) != 1 or not given[0] or len(given[0]) > HEADER_MAX:
        return None
    try:
        der = _der(given[0], form)
    except ValueError:
        return None
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def _der(text: str, form: str) -> bytes:
    if form == "pem":
        found = x509.load_pem_x509_certificates(unquote(text).encode("ascii"))
        if len(found) != 1:
            raise ValueError("several certificates")
        return found[0].public_bytes(Encoding.DER)
    if form == "rfc9440":
        if len(text) < 2 or text[0] != ":" or text[-1] != ":":
            raise ValueError("no byte sequence")
        text = text[1:-1]
    if not _BASE64.fullmatch(text):
        raise ValueError("not base64")
    der = base64.b64decode(text, validate=True)
    x509.load_der_x509_certificate(der)
    return der


def _parsed(text: str) -> _Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
