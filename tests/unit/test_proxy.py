"""Whose address a request comes from: the connection's, or what a proxy that is believed says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request

from gateway.errors import Misconfigured
from gateway.http.proxy import Ends, read_secret
from gateway.settings import Proxy

SECRET = "s3cret-" * 6
BEHIND = Ends(Proxy(addresses=["127.0.0.1", "10.0.0.0/24", "::1"], secret_file="x"), SECRET.encode())


def seen(ends: Ends, peer: str | None, *headers: tuple[str, str]) -> str:
    scope = {
        "type": "http",
        "client": None if peer is None else (peer, 5),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }
    return str(ends.of(Request(scope)).address)


def forwarded(text: str) -> tuple[str, str]:
    return ("X-Forwarded-For", text)


OURS = ("X-Proxy-Secret", SECRET)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.5, 192.0.2.1", "192.0.2.1"),  # what stands before it, the caller wrote
        ("192.0.2.1, 10.0.0.7", "192.0.2.1"),  # a second proxy of ours
        ("192.0.2.1, 10.0.0.7, 127.0.0.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, unknown", "None"),
        ("192.0.2.1, ", "None"),
        ("", "None"),
        ("127.0.0.1, 10.0.0.7", "127.0.0.1"),
    ],
)
def test_the_last_address_that_is_not_the_proxys_own_is_the_callers(text: str, address: str) -> None:
    assert seen(BEHIND, "127.0.0.1", OURS, forwarded(text)) == address


def test_several_headers_are_one_list() -> None:
    assert seen(BEHIND, "127.0.0.1", OURS, forwarded("203.0.113.5"), forwarded("192.0.2.1")) == "192.0.2.1"


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("192.0.2.9", [OURS, forwarded("203.0.113.5")]),
        ("192.0.2.9", [forwarded("127.0.0.1")]),
        ("10.0.1.1", [OURS, forwarded("203.0.113.5")]),
        ("127.0.0.1", [forwarded("203.0.113.5")]),
        ("127.0.0.1", [("X-Proxy-Secret", "guess"), forwarded("203.0.113.5")]),
        ("127.0.0.1", [OURS, OURS, forwarded("203.0.113.5")]),
    ],
)
def test_nobody_else_chooses_its_address(peer: str, headers: list[tuple[str, str]]) -> None:
    assert seen(BEHIND, peer, *headers) == peer
    assert seen(Ends(None), peer, *headers) == peer


def test_a_connection_without_an_address_has_none() -> None:
    assert seen(BEHIND, None, OURS, forwarded("192.0.2.1")) == "None"
    assert seen(BEHIND, "testclient", OURS, forwarded("192.0.2.1")) == "None"


def test_planted_a_proxy_that_is_believed_without_its_secret_lets_callers_choose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ends, "_is_proxy", lambda *_: True)
    assert seen(BEHIND, "192.0.2.9", forwarded("203.0.113.5")) == "203.0.113.5"


@pytest.mark.parametrize("content", ["", "short", "x" * 31, "two words " * 5, "é" * 40, "tab\t" * 10])
def test_a_secret_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "secret"
    file.write_text(content, encoding="utf-8")
    file.chmod(0o600)
    with pytest.raises(Misconfigured, match="secret"):
        read_secret(file)


def test_a_secret_is_kept_from_others(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        read_secret(file)
    file.chmod(0o600)
    assert read_secret(file) == SECRET.encode()
    with pytest.raises(Misconfigured):
        read_secret(tmp_path / "nothing")
