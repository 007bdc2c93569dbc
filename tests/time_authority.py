"""A time-stamping authority on loopback: `openssl ts` behind HTTP, with certificates of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

needed = pytest.mark.skipif(shutil.which("openssl") is None, reason="the time-stamping authority is `openssl ts`")
SETTINGS = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/tsa.crt
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    by: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None,
    usage: x509.ObjectIdentifier | None,
    until: datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signing = by or (subject, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=90))
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    return builder.sign(signing, hashes.SHA256())


@dataclass
class TimeAuthority:
    """`change` stands between its word and who asked; `asked` counts."""

    folder: Path
    url: str = ""
    asked: int = 0
    change: Callable[[bytes], bytes] = field(default=lambda reply: reply)
    status: int = 200
    drip_s: float = 0

    @property
    def root(self) -> Path:
        return self.folder / "root.crt"

    def certify(
        self,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING,
        until: datetime | None = None,
    ) -> None:
        """New keys and certificates; of a usage that is not for time stamps `openssl` itself makes no stamps."""
        end = until or datetime.now(UTC) + timedelta(days=30)
        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root = _certificate("root", root_key, None, None, datetime.now(UTC) + timedelta(days=30))
        own = _certificate("authority", key, (root.subject, root_key), usage, end)
        self.root.write_bytes(root.public_bytes(Encoding.PEM))
        (self.folder / "tsa.crt").write_bytes(own.public_bytes(Encoding.PEM))
        (self.folder / "tsa.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        (self.folder / "serial").write_text("01")
        (self.folder / "tsa.cnf").write_text(SETTINGS.format(folder=self.folder))

    def reply(self, request: bytes) -> bytes:
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            query, answer = Path(place) / "query", Path(place) / "answer"
            query.write_bytes(request)
            command = ["openssl", "ts", "-reply", "-config", str(self.folder / "tsa.cnf"), "-queryfile", str(query)]
            subprocess.run([*command, "-out", str(answer)], check=True, capture_output=True, timeout=60)
            return answer.read_bytes()


@contextlib.contextmanager
def authority(folder: Path) -> Iterator[TimeAuthority]:
    folder.mkdir(parents=True)
    found = TimeAuthority(folder)
    found.certify()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.asked += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            content = found.change(found.reply(body)) if found.status == 200 else b""
            self.send_response(found.status)
            self.send_header("Location", found.url)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):
                for place in range(0, len(content), 1 if found.drip_s else len(content)):
                    self.wfile.write(content[place : place + 1] if found.drip_s else content)
                    time.sleep(found.drip_s)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
