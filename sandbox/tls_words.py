"""Why a connection came to nothing, in words that say what to mend, and nothing of the bytes."""

from __future__ import annotations

import socket
import ssl
from typing import Final

_VERIFY: Final = {
    9: "its certificate is not valid yet; do the clocks of both machines agree?",
    10: "its certificate has expired",
    18: "its certificate is not from the authority that is trusted here",
    19: "its certificate is not from the authority that is trusted here",
    20: "its certificate is not from the authority that is trusted here",
    21: "its certificate is not from the authority that is trusted here",
    26: "its certificate is meant for another purpose; was the other side's file copied there?",
    62: "its certificate is for another name",
}
"""X509_V_ERR_..., as OpenSSL numbers them."""
_REASON: Final = {
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the authority of the certificate that was shown to it",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that the certificate that was shown to it has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses the certificate that was shown to it",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it says that the certificate shown to it is meant for another purpose",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses the certificate that was shown to it",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate, and none was shown to it",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.3",
    "HTTP_REQUEST": "it does not speak TLS",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
}


def words(error: BaseException) -> str:
    """Of the peer, as `it`. Looks for the cause below what a library made of it."""
    seen: BaseException | None = error
    while seen is not None:
        if (found := _words(seen)) is not None:
            return found
        seen = seen.__cause__ or seen.__context__
    return "it does not answer"


def _words(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY.get(error.verify_code, "its certificate does not verify")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it broke off"
    if isinstance(error, ssl.SSLError) and error.reason is not None:
        return _REASON.get(error.reason, "it does not speak TLS as it has to")
    if isinstance(error, socket.gaierror):
        return "its name is not known here"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, FileNotFoundError):
        return "its socket is not there"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, ConnectionError):
        return "it broke off"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return f"it cannot be reached ({error.strerror.lower()})"
    return None
