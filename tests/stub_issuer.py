"""An identity provider on loopback: discovery, published keys, tokens as Keycloak and Entra write them."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.identity.jws import encoded
from gateway.settings import Algorithm

Private = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def private_key(algorithm: Algorithm) -> Private:
    if algorithm == "EdDSA":
        return Ed25519PrivateKey.generate()
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, 2048)


def octets(number: int, length: int | None = None) -> str:
    return encoded(number.to_bytes(length or (number.bit_length() + 7) // 8, "big"))


def published(kid: str, key: Private, algorithm: Algorithm | None = None) -> dict[str, Any]:
    """The JWK of a public key, as issuers write it."""
    named = {"kid": kid, "use": "sig"} | ({} if algorithm is None else {"alg": algorithm})
    if isinstance(key, Ed25519PrivateKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": encoded(key.public_key().public_bytes_raw()), **named}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "EC", "crv": "P-256", "x": octets(numbers.x, 32), "y": octets(numbers.y, 32), **named}
    public = key.public_key().public_numbers()
    return {"kty": "RSA", "n": octets(public.n), "e": octets(public.e), **named}


@dataclass
class StubIssuer:
    """`replies` holds what a path answers: a document, or `(status, headers, bytes)`."""

    url: str
    replies: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    keys: dict[str, tuple[Private, Algorithm]] = field(default_factory=dict)
    drip_s: float = 0
    """Seconds between single bytes of a reply."""

    def publish(self, **keys: Algorithm) -> None:
        """Publishes these keys and no others; an id keeps its key."""
        for kid, algorithm in keys.items():
            if kid not in self.keys:
                self.keys[kid] = (private_key(algorithm), algorithm)
        self.replies["/keys"] = {"keys": [published(kid, *self.keys[kid]) for kid in keys]}
        found = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", "token_endpoint": f"{self.url}/token"}
        self.replies.setdefault("/.well-known/openid-configuration", found)

    def token(self, kid: str, typ: str = "at+jwt", **claims: Any) -> str:
        now = int(time.time())
        said = {"iss": self.url, "aud": "baopingkou", "sub": "op-a", "iat": now, "exp": now + 300, "jti": uuid4().hex}
        key, algorithm = self.keys[kid]
        return jwt.encode({**said, **claims}, key, algorithm, headers={"kid": kid, "typ": typ})


@contextlib.contextmanager
def stub_issuer() -> Iterator[StubIssuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stub.asked.append(self.path)
            reply = stub.replies.get(self.path, (404, {}, b""))
            status, headers, content = (
                reply if isinstance(reply, tuple) else (200, {"Content-Type": "application/json"}, _bytes(reply))
            )
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may have had enough
                for byte in content if stub.drip_s else ():
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(stub.drip_s)
                self.wfile.write(b"" if stub.drip_s else content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub = StubIssuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _bytes(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()
