"""How we start a Python of our own: isolated from the user's settings, with an empty environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Some Pythons find their own library by these; they hold no secret."""


def command(module: str, *arguments: str) -> list[str]:
    """Starts `module.main(*arguments)`. The project's folder is found whether it is installed or not."""
    code = f"import sys; sys.path.append(sys.argv[1]); from {module} import main; main(*sys.argv[2:])"
    return [sys.executable, "-I", "-c", code, str(_ROOT), *arguments]


def environment() -> dict[str, str]:
    """Libraries that start threads when they are imported are told not to: a second thread would stand outside."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
