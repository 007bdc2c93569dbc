"""Checkpoints of the log that are kept outside its database: a database put back from a copy is older than they are.

One is this gateway's own, the last that it has signed. Others are the witnesses': files in a folder that the settings
name, each a signed checkpoint of this log, whatever other signatures it carries.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from gateway.audit.note import Checkpoint, parse_checkpoint, signed_by
from gateway.errors import Fault, Misconfigured

NOTE_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Anchors:
    """`own` is written here; `witnessed`, a file or a folder of them, is only read."""

    own: Path
    witnessed: Path | None = None

    def known(self, vkeys: Collection[str]) -> dict[Path, Checkpoint]:
        """Every checkpoint that is kept. Raises Misconfigured for a file that holds none of this log's."""
        files = [self.own] if self.own.exists() else []
        if self.witnessed is not None:
            files += _files(self.witnessed)
        found = {}
        for file in files:
            note = _read(file)
            if note or file != self.own:  # else power was lost just after it was replaced; the database has the records
                found[file] = _checkpoint(file, note, vkeys)
        return found

    def adopt(self, file: Path, vkeys: Collection[str]) -> None:
        """Keeps the checkpoint in `file` as this gateway's own, where it is newer. Raises Misconfigured."""
        note = _read(file)
        checkpoint, own = _checkpoint(file, note, vkeys), Anchors(self.own).known(vkeys).get(self.own)
        if own is None or own.size < checkpoint.size:
            self.keep(note)

    def keep(self, note: str) -> None:
        """`note` is this gateway's newest checkpoint."""
        beside = f"{os.path.splitext(self.own)[0]}.{secrets.token_hex(4)}"  # written for each answer
        try:
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                left = memoryview(note.encode())
                while left:  # on a disk that is nearly full a part may be written, and only the next try says why
                    left = left[os.write(handle, left) :]
            finally:
                os.close(handle)
            os.replace(beside, self.own)
        except OSError as error:
            Path(beside).unlink(missing_ok=True)
            raise Fault(f"{self.own}: not written ({error.strerror})") from error


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(each for each in place.iterdir() if each.is_file() and not each.name.startswith("."))
    return [place] if place.exists() else []


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > NOTE_BYTES_MAX:
            raise ValueError("too long")
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{file}: cannot be read as a checkpoint") from error


def _checkpoint(file: Path, note: str, vkeys: Collection[str]) -> Checkpoint:
    try:
        checkpoint = parse_checkpoint(note)
        own = any(signed_by(checkpoint, vkey) for vkey in vkeys)
    except (ValueError, UnicodeError) as error:
        raise Misconfigured(f"{file}: is no signed checkpoint") from error
    if not own:
        raise Misconfigured(f"{file}: is no checkpoint that a key of this log has signed")
    return checkpoint
