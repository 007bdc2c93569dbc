"""The gateway's HTTP API as the command line uses it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import typer

if TYPE_CHECKING:
    from gateway.identity.prover import Prover

TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any

    @property
    def ok(self) -> bool:
        return self.status < 400


@dataclass(frozen=True, slots=True)
class Client:
    """`token` is None for the routes that take none; `prover` holds the key that it is bound to, if it is."""

    url: str
    token: str | None
    prover: Prover | None = None

    def __repr__(self) -> str:
        return f"Client({self.url})"

    def call(self, method: str, route: str, body: Any = None, **headers: str) -> Reply:
        """Raises BadParameter for an address that is none; NotReady when nobody answers there."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = self._send(method, route, body, named, None)
        nonce = reply.headers.get("dpop-nonce")
        if self.prover is not None and reply.status_code == 401 and nonce is not None:
            reply = self._send(method, route, body, named, nonce)
        try:
            return Reply(reply.status_code, reply.json())
        except ValueError:
            return Reply(reply.status_code, {"detail": reply.text[:200]})

    def _send(self, method: str, route: str, body: Any, headers: dict[str, str], nonce: str | None) -> httpx.Response:
        from gateway.errors import NotReady

        address = self.url + route
        try:
            sent = headers | self._credentials(method, address, nonce)
            return httpx.request(method, address, json=body, headers=sent, timeout=TIMEOUT_S, trust_env=False)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise typer.BadParameter(f"`{self.url}` is no address of a gateway", param_hint="--url") from error
        except httpx.HTTPError as error:
            raise NotReady(f"no gateway answers at {self.url}; is it served? (`bpk serve`)") from error

    def _credentials(self, method: str, address: str, nonce: str | None) -> dict[str, str]:
        if self.token is None:
            return {}
        if self.prover is None:
            return {"Authorization": f"Bearer {self.token}"}
        proof = self.prover.proof(method, address, self.token, nonce)
        return {"Authorization": f"DPoP {self.token}", "DPoP": proof}


def connect(url: str | None, home: Path | None, token_file: Path | None, key_file: Path | None = None) -> Client:
    """The gateway that was named, or that serves the named home. Raises BadParameter, Misconfigured."""
    prover = None
    if key_file is not None:
        from gateway.home import read_private_key
        from gateway.identity.prover import Prover

        prover = Prover(read_private_key(key_file))
    return Client((url or _served_address(home)).rstrip("/"), _token(token_file), prover)


def _served_address(home: Path | None) -> str:
    from gateway.errors import Misconfigured

    if home is None:
        raise typer.BadParameter("name the gateway with --url or BPK_URL, or its home with --home or BPK_HOME")
    file = home.expanduser() / "state" / "gateway" / "address.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError) as error:
        raise Misconfigured(f"{home}: this home is not served; start it with `bpk serve --home {home}`") from error


def _token(file: Path | None) -> str:
    if file is None:
        token = os.environ.get("BPK_TOKEN", "")
        if not token.strip():
            raise typer.BadParameter("give your token with --token-file FILE, or in BPK_TOKEN")
        return token.strip()
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file}: cannot be read", param_hint="--token-file") from error
