"""One run of a command, within bounds: no shell, an environment of its own, a time, and a length of what it says."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Final

OUTPUT_BYTES_MAX: Final = 1024
"""Of what it answers, and of what it says besides."""
INPUT_BYTES_MAX: Final = 4096
"""So much fits into a pipe that nobody reads, on every system."""
_LOOK_S: Final = 0.0005
_LOOK_S_MAX: Final = 0.05


class CommandFailed(Exception):
    """Why there is no answer; `said` is what it said of that, which may be anything: no log takes it."""

    def __init__(self, why: str, said: str = "") -> None:
        super().__init__(why)
        self.said = said


@dataclass(frozen=True, slots=True)
class Command:
    """The program's path and its first arguments."""

    words: tuple[str, ...]
    timeout_s: float

    def run(self, more: Sequence[str], content: bytes) -> bytes:
        """What it answers to `content`. Raises CommandFailed.

        Either way it and what it started are gone then, but for what has left its process group (`setsid`).
        """
        if len(content) > INPUT_BYTES_MAX:
            raise CommandFailed("is given too much")
        give_up = time.monotonic() + self.timeout_s
        try:
            process = subprocess.Popen(
                [*self.words, *more],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=_environment(),
                process_group=0,
            )
        except (OSError, ValueError) as error:
            raise CommandFailed("cannot be started", str(error)) from error
        try:
            return _answer(process, content, give_up)
        finally:
            _end(process)


def _environment() -> dict[str, str]:
    """Ours may hold what is none of its business, as a database's password."""
    return {"LANG": "C", **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}}


def _answer(process: subprocess.Popen[bytes], content: bytes, give_up: float) -> bytes:
    if process.stdin is None or process.stdout is None or process.stderr is None:  # pragma: no cover - all are pipes
        raise CommandFailed("cannot be spoken to")
    with contextlib.suppress(BrokenPipeError):  # it need not read what it is given
        process.stdin.write(content)
        process.stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    answer, said = _heard(process.stdout, process.stderr, give_up)
    if not _ends(process, give_up):
        raise CommandFailed("takes too long")
    code = _end(process)
    if code != 0:
        raise CommandFailed(f"ends with the code {code}", _shown(said))
    return answer


def _heard(answers: IO[bytes], words: IO[bytes], give_up: float) -> tuple[bytes, bytes]:
    """All of both. Raises CommandFailed."""
    heard = {answers.fileno(): b"", words.fileno(): b""}
    with selectors.DefaultSelector() as waiting:
        for file in heard:
            waiting.register(file, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0.0, give_up - time.monotonic()))
            if not ready:
                raise CommandFailed("takes too long")
            for key, _ in ready:
                part = os.read(key.fd, OUTPUT_BYTES_MAX)
                if not part:
                    waiting.unregister(key.fd)
                heard[key.fd] += part
                if len(heard[key.fd]) > OUTPUT_BYTES_MAX:
                    raise CommandFailed("says too much")
    return heard[answers.fileno()], heard[words.fileno()]


def _ends(process: subprocess.Popen[bytes], give_up: float) -> bool:
    """Whether it ends in time. It is not waited for yet, so that its group's number is nobody else's.

    Python before 3.13 cannot tell on macOS without that: there, what it left behind goes on.
    """
    if not hasattr(os, "waitid"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, give_up - time.monotonic()))
        return process.returncode is not None
    pause = _LOOK_S
    while not _ended(process.pid):
        left = give_up - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LOOK_S_MAX)
    return True


def _ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> int:
    """The code that it ends with, once nothing of its group is left."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            _kill(process.pid)
    code = process.wait()
    for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
        with contextlib.suppress(OSError):
            pipe.close()
    return code


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except PermissionError:  # macOS says so where all of them have ended
        if not (hasattr(os, "waitid") and _ended(group)):
            raise


def _shown(said: bytes) -> str:
    return "".join(each if each.isprintable() else " " for each in said.decode("utf-8", "replace"))[:300].strip()
