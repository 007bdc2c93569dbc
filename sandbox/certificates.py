"""Certificates for a trial or a small deployment: an authority of its own, and one certificate for each side.

    DIR/authority/  authority.key  authority.crt     keep it away from both machines: it can make gateways
    DIR/domain/     domain.key     domain.crt    authority.crt     to the machine that holds the data
    DIR/gateway/    gateway.key    gateway.crt   authority.crt     to the machine that faces the network

Run again, it renews both certificates, with new keys, from the same authority.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox.tls import Side, name

DAYS: Final = 397
DAYS_MAX: Final = 825
AUTHORITY_DAYS: Final = 3653
BACK: Final = timedelta(hours=1)
"""Clocks differ: a certificate is valid a little before it was made."""


class CertificatesNotMade(ValueError):
    """The text says what is in the way and what would do."""


@dataclass(frozen=True, slots=True)
class _Authority:
    key: EllipticCurvePrivateKey
    certificate: x509.Certificate


def make(folder: Path, *, domain: str, gateway: str, days: int = DAYS, now: datetime | None = None) -> datetime:
    """Writes the three folders, or renews what both sides show; until when. Raises CertificatesNotMade."""
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    if not 1 <= days <= DAYS_MAX:
        raise CertificatesNotMade(f"certificates are valid for 1 to {DAYS_MAX} days")
    if domain == gateway:
        raise CertificatesNotMade("the two sides need names that differ, or one could stand for the other")
    try:
        for each in (domain, gateway):
            name(each)
        authority = _authority(folder / "authority", now)
        until = min(now + timedelta(days=days), authority.certificate.not_valid_after_utc)
        if until <= now:
            raise CertificatesNotMade(f"{folder / 'authority'}: has expired; begin anew in an empty folder")
        _side(folder / "domain", "domain", domain, authority, (now, until))
        _side(folder / "gateway", "gateway", gateway, authority, (now, until))
    except OSError as error:
        raise CertificatesNotMade(f"{error.filename or folder}: cannot be written ({error.strerror})") from error
    except CertificatesNotMade:
        raise
    except ValueError as error:
        raise CertificatesNotMade(str(error)) from error
    return until


def _authority(folder: Path, now: datetime) -> _Authority:
    """That of `folder`, or a new one. Half of one is an error: a new key under an old name would fit nothing."""
    key_file, file = folder / "authority.key", folder / "authority.crt"
    if key_file.exists() and file.exists():
        try:
            key = load_pem_private_key(key_file.read_bytes(), password=None)
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
        except (ValueError, TypeError) as error:
            raise CertificatesNotMade(f"{folder}: holds no authority that this command has made") from error
        if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise CertificatesNotMade(f"{folder}: key and certificate do not belong together")
        return _Authority(key, certificate)
    if key_file.exists() or file.exists():
        raise CertificatesNotMade(f"{folder}: half of an authority is missing; put it back or begin anew elsewhere")
    key = generate_private_key(SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"baopingkou authority {now:%Y-%m-%d}")])
    public = key.public_key()
    certificate = (
        _builder(subject, subject, key, now, now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, SHA256())
    )
    found = _Authority(key, certificate)
    _write(key_file, _key_bytes(key), 0o600)
    _write(file, certificate.public_bytes(Encoding.PEM), 0o644)
    return found


def _side(folder: Path, side: Side, known_as: str, authority: _Authority, valid: tuple[datetime, datetime]) -> None:
    key = generate_private_key(SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if side == "domain" else ExtendedKeyUsageOID.CLIENT_AUTH
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, known_as[:64])])
    certificate = (
        _builder(subject, authority.certificate.subject, key, *valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(known_as)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, SHA256())
    )
    _write(folder / f"{side}.key", _key_bytes(key), 0o600)
    _write(folder / f"{side}.crt", certificate.public_bytes(Encoding.PEM), 0o644)
    _write(folder / "authority.crt", authority.certificate.public_bytes(Encoding.PEM), 0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACK)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_bytes(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(file: Path, content: bytes, mode: int) -> None:
    """Whole or not at all; never readable to others, not even for a moment, where `mode` says so."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(file)
