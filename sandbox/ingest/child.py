"""The confined reader: one Job on standard input, one Built or NotBuilt on standard output, nothing else anywhere.

Run as `python -I -m sandbox.ingest.child`. Everything is imported before the walls go up: behind them no code loads.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sandbox import codec
from sandbox.engine.snapshot import NEEDED_FILES
from sandbox.ingest.build import build
from sandbox.ingest.job import KNOWN_BEFORE, Built, ChildReply, Job, NotBuilt
from sandbox.ingest.refused import IngestRefused
from sandbox.lockdown import Confinement, IsolationMissing, confine

JOB_BYTES_MAX = 16 << 20
OPEN_FILES = 1024
HEADROOM_BYTES = 1 << 30
"""Of memory, over what the engine is told: thread stacks, CSV buffers, the interpreter."""


def main() -> None:
    """One build. The exit code says nothing; the reply does."""
    job = codec.loads(sys.stdin.buffer.read(JOB_BYTES_MAX), Job)
    sys.stdout.buffer.write(codec.dumps(ChildReply(_answer(job))))
    sys.stdout.buffer.flush()


def _answer(job: Job) -> Built | NotBuilt:
    try:
        confine(_confinement(job))
        return build(job)
    except IngestRefused as refused:
        return NotBuilt(refused.message)
    except IsolationMissing as missing:
        return NotBuilt(f"the data files are not read: {missing}")
    except MemoryError:
        return NotBuilt("the build needs more memory than it may use")
    except Exception as error:
        return NotBuilt(f"reading the data files failed inside the confined reader ({type(error).__name__})")


def _confinement(job: Job) -> Confinement:
    folder = Path(job.build)
    files = {(folder / file.alias).resolve() for table in job.tables for file in table.files}
    files |= {(folder / KNOWN_BEFORE).resolve()} if job.known_before else set()
    return Confinement(
        read=tuple(sorted(files)),
        write=(folder,),
        memory_bytes=(job.memory_mb << 20) + HEADROOM_BYTES,
        file_bytes=job.file_bytes,
        cpu_s=(job.threads + 2) * job.wall_s,
        open_files=OPEN_FILES,
        allow_degraded=frozenset(job.allow_degraded),
        renames=True,
        limits=NEEDED_FILES,
    )


if __name__ == "__main__":
    main()
