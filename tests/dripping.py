"""A server on loopback that answers any request a byte at a time: its headers, or its body."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Literal

GAP_S = 0.05
Part = Literal["headers", "body"]


@contextlib.contextmanager
def dripping(part: Part, content: bytes, bytes_slow: int = 60) -> Iterator[str]:
    """Its address. The reply is whole in the end, `bytes_slow` gaps later, for whoever waits so long."""
    length = f"Content-Length: {len(content)}\r\n".encode()
    head = b"HTTP/1.1 200 OK\r\n" + length
    slow = b"X-Slow: " + b"a" * bytes_slow
    parts = (head, slow, b"\r\n\r\n" + content) if part == "headers" else (head + b"\r\n", content, b"")
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # whoever asked may have had enough
            connection.recv(65_536)
            first, slowly, last = parts
            connection.sendall(first)
            for place in range(len(slowly)):
                connection.sendall(slowly[place : place + 1])
                if over.is_set():
                    return
                time.sleep(GAP_S)
            connection.sendall(last)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.close()
