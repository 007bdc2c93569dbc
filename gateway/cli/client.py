"""The gateway's HTTP API as the command line uses it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import typer

TIMEOUT_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any

    @property
    def ok(self) -> bool:
        return self.status < 400


@dataclass(frozen=True, slots=True)
class Client:
    """`token` is None for the routes that take none."""

    url: str
    token: str | None

    def __repr__(self) -> str:
        return f"Client({self.url})"

    def call(self, method: str, route: str, body: Any = None, **headers: str) -> Reply:
        """Raises BadParameter for an address that is none; NotReady when nobody answers there."""
        from gateway.errors import NotReady

        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            reply = httpx.request(
                method, self.url + route, json=body, headers=named, timeout=TIMEOUT_S, trust_env=False
            )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise typer.BadParameter(f"`{self.url}` is no address of a gateway", param_hint="--url") from error
        except httpx.HTTPError as error:
            raise NotReady(f"no gateway answers at {self.url}; is it served? (`bpk serve`)") from error
        try:
            return Reply(reply.status_code, reply.json())
        except ValueError:
            return Reply(reply.status_code, {"detail": reply.text[:200]})


def connect(url: str | None, home: Path | None, token_file: Path | None) -> Client:
    """The gateway that was named, or that serves the named home. Raises BadParameter, Misconfigured."""
    return Client((url or _served_address(home)).rstrip("/"), _token(token_file))


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
