"""The sockets that servers of ours listen on."""

from __future__ import annotations

import socket

from gateway.errors import Misconfigured


def listen(host: str, port: int) -> socket.socket:
    """Raises Misconfigured."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # named TCP, or asyncio leaves Nagle's algorithm on and every kept-alive answer waits for a delayed ACK
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        way_out = f"take another one with `--port` (0 is any that is free): {error.strerror or error}"
        raise Misconfigured(f"{host}:{port} cannot be listened on; {way_out}") from error
    return listener


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host  # noqa: S104  # read, not bound
    return f"http://{shown}:{port}"
