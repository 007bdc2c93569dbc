"""Mutual TLS between gateway and data domain: what each side shows, whom it trusts, and under which name.

TLS 1.3 and nothing older, a certificate from both sides, no resumption of earlier sessions. The authority is the one
that the settings name; the system's own list of authorities counts for nothing.
"""

from __future__ import annotations

import re
import ssl
import stat
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

Side = Literal["domain", "gateway"]
"""Who shows a certificate: the data domain is the server, the gateway its client."""
FILE_BYTES_MAX: Final = 100_000
LOOK_S: Final = 1.0
"""How often the files on disk are looked at."""
_PURPOSE: Final = {"domain": ExtendedKeyUsageOID.SERVER_AUTH, "gateway": ExtendedKeyUsageOID.CLIENT_AUTH}
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


class CertificateError(ValueError):
    """Files that cannot be used. The text names the file and what would do; it holds nothing of a key."""


@dataclass(frozen=True, slots=True)
class Files:
    """In PEM. `certificate` may be followed by those between it and the authority."""

    certificate: Path
    key: Path
    authority: Path


def address(text: str) -> tuple[str, int]:
    """`host:port`, or `[v6 address]:port`. Raises ValueError."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 <= int(found["port"]) <= 65535:
        raise ValueError("an address is `host:port`, or `[address]:port` of IPv6")
    return found["six"] or found["host"], int(found["port"])


def name(text: str) -> str:
    """A name as certificates hold it, without wildcards. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError("a name is of small letters, digits, `-` and dots, as the certificate has it")
    return text


def context(files: Files, side: Side) -> ssl.SSLContext:
    """For `side`, whose certificate, key and trusted authority are in `files`. Raises CertificateError.

    Guarantee: a connection that it makes speaks TLS 1.3, and its peer has shown a certificate of the authority that is
    valid now and meant for the other side. The gateway's also checks the server's name; the domain's leaves the
    client's name to `names`.
    """
    inspect(files, side)
    protocol = ssl.PROTOCOL_TLS_SERVER if side == "domain" else ssl.PROTOCOL_TLS_CLIENT
    found = _Context(protocol)
    found.minimum_version = found.maximum_version = ssl.TLSVersion.TLSv1_3
    found.verify_mode = ssl.CERT_REQUIRED
    found.verify_flags |= ssl.VERIFY_X509_STRICT
    if side == "domain":
        found.num_tickets = 0  # a resumed session would not show its certificate again
    else:
        found.check_hostname = True
        found.hostname_checks_common_name = False
    try:
        found.load_cert_chain(files.certificate, files.key, password=lambda: b"")
        found.load_verify_locations(files.authority)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"{files.certificate}: cannot be used with {files.key}") from error
    return found


unsaid: ContextVar[list[bytes] | None] = ContextVar("unsaid", default=None)
"""Where a task wants to know what TLS had still to say when its handshake failed."""


class _Handshake(ssl.SSLObject):
    """asyncio drops the alert that says why a handshake failed. So that a peer can be told, its bytes are kept."""

    outgoing: ssl.MemoryBIO
    kept: list[bytes] | None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self.kept is not None:
                self.kept.append(self.outgoing.read())
            raise


class _Context(ssl.SSLContext):
    sslobject_class = _Handshake

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        found = super().wrap_bio(incoming, outgoing, *args, **kwargs)
        if isinstance(found, _Handshake):
            found.outgoing, found.kept = outgoing, unsaid.get()
        return found


def names(peer: dict[str, Any] | None) -> tuple[str, ...]:
    """The names in a verified certificate, as `getpeercert` tells it; none of its other fields counts."""
    return tuple(value for kind, value in (peer or {}).get("subjectAltName", ()) if kind == "DNS")


def inspect(files: Files, side: Side, now: datetime | None = None) -> datetime:
    """Whether `side` can show what is in `files`; until when. Raises CertificateError, saying what would do."""
    now = now or datetime.now(UTC)
    chain, authorities = _certificates(files.certificate), _certificates(files.authority)
    mine = chain[0]
    if _public(_key(files.key)) != _public(mine):
        raise CertificateError(f"{files.key}: is not the key of {files.certificate}; the two are made together")
    for one in (mine, *authorities):
        file = files.certificate if one is mine else files.authority
        if one.not_valid_after_utc < now:
            raise CertificateError(f"{file}: has expired on {_day(one.not_valid_after_utc)}; a new one is needed")
        if one.not_valid_before_utc > now:
            day = _day(one.not_valid_before_utc)
            raise CertificateError(f"{file}: is not valid before {day}; is this machine's clock right?")
    if not any(_issued(one, by) for one in chain for by in authorities):
        raise CertificateError(f"{files.certificate}: is not from the authority in {files.authority}")
    usage = _usage(mine)
    if usage is not None and _PURPOSE[side] not in usage:
        use = "a server" if side == "domain" else "a client"
        raise CertificateError(f"{files.certificate}: is not meant for {use}; was another side's file copied here?")
    return min(mine.not_valid_after_utc, *(one.not_valid_after_utc for one in authorities))


class Renewed:
    """The context of files that may be renewed while it is used. Thread-safe enough: the last look wins.

    Files that cannot be used leave the earlier context in force; `problem` then says why, once in `told`.
    """

    def __init__(self, files: Files, side: Side, told: Callable[[str], None] = lambda _: None) -> None:
        """Raises CertificateError."""
        self._files = files
        self._side: Side = side
        self._told = told
        self._stamp = self._stamps()
        self.context = context(files, side)
        self.problem: str | None = None
        self._looked = monotonic()

    def look(self) -> bool:
        """Whether there is a new context."""
        if monotonic() - self._looked < LOOK_S:
            return False
        self._looked = monotonic()
        stamp = self._stamps()
        if stamp == self._stamp:
            return False
        try:
            self.context = context(self._files, self._side)
        except CertificateError as error:  # also between the writing of one file and of the next
            if str(error) != self.problem:
                self.problem = str(error)
                self._told(f"the renewed certificate is not taken up: {error}")
            return False
        self._stamp, self.problem = stamp, None
        self._told("a renewed certificate is in use")
        return True

    def _stamps(self) -> tuple[object, ...]:
        return tuple(_stamp(path) for path in (self._files.certificate, self._files.key, self._files.authority))


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            body = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise CertificateError(f"{file}: cannot be read ({error.strerror})") from error
    if len(body) > FILE_BYTES_MAX:
        raise CertificateError(f"{file}: larger than {FILE_BYTES_MAX} bytes")
    return body


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(file))
    except CertificateError:
        raise
    except ValueError as error:
        raise CertificateError(f"{file}: holds no certificate in PEM") from error


def _key(file: Path) -> Any:
    body = _read(file)
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise CertificateError(f"{file}: others may read this private key; `chmod 600` it")
    try:
        return load_pem_private_key(body, password=None).public_key()
    except (ValueError, TypeError) as error:
        raise CertificateError(f"{file}: not a private key in PEM without a password") from error


def _public(holder: Any) -> bytes:
    key = holder.public_key() if isinstance(holder, x509.Certificate) else holder
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


def _issued(one: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _usage(one: x509.Certificate) -> list[x509.ObjectIdentifier] | None:
    try:
        return list(one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return None


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
