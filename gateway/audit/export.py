"""The log as a file that anybody can verify: NDJSON, records in order, the signed checkpoint with its key last."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.audit import cosigned
from gateway.audit.log import Log
from gateway.audit.note import size_of
from gateway.audit.record import canonical
from gateway.errors import Fault


def lines(log: Log) -> Iterator[bytes]:
    """The records that are durable now, then their checkpoint, which is signed before this returns. In short reads, so
    that nobody's commit waits for it. Raises NotReady."""
    return _lines(log, log.checkpoint())


def _lines(log: Log, checkpoint: str) -> Iterator[bytes]:
    size = size_of(checkpoint)
    start = 0
    while start < size:
        bodies = log.bodies(start, size)
        if not bodies:
            raise Fault("the log ends before its checkpoint")
        for content in bodies:
            yield content + b"\n"
        start += len(bodies)
    handed = [each["checkpoint"] for each in log.handovers(size)]
    end = {"checkpoint": checkpoint, "key": log.keys().at(size), **({"handovers": handed} if handed else {})}
    yield canonical({**end, **_cosigned(log, size)}) + b"\n"


def _cosigned(log: Log, size: int) -> dict[str, Any]:
    """What witnesses have signed of it, and the proof that it leads to the checkpoint."""
    with log.reading() as view:
        note = cosigned.newest(view)
    if note is None or size_of(note) > size:
        return {}
    return {"cosigned": note, "consistency": [step.hex() for step in log.consistency(size_of(note), size)]}


def write(log: Log, target: Path) -> None:
    """The export as a file (mode 0600), whole or not at all. Raises Fault."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise Fault(f"{target}: cannot be written ({error.strerror})") from error
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.writelines(lines(log))
            out.flush()
            os.fsync(out.fileno())
        beside.replace(target)
    except OSError as error:
        raise Fault(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        beside.unlink(missing_ok=True)
