"""What was measured, cell by cell, so that a run that was broken off, or a change to one library, measures no more
than what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

Cell = dict[str, Any]
NOT_INSTALLED: Final = "cannot be installed"
"""How the `why` of such a cell begins; it is tried again each time."""


@dataclass(slots=True)
class Cells:
    """A cell is measured again when `made_by` is another: a digest for a library, a commit for the project itself."""

    file: Path
    content: dict[str, Cell] = field(default_factory=dict)

    @classmethod
    def open(cls, file: Path, *, fresh: bool) -> Cells:
        if fresh or not file.is_file():
            return cls(file)
        return cls(file, json.loads(file.read_text(encoding="utf-8")))

    def cell(self, name: str, made_by: str, measure: Callable[[], Cell]) -> Cell:
        """The cell of that name, measured if there is none made by the same. A changed tree is always measured."""
        known = self.content.get(name)
        if known is not None and known["made_by"] == made_by and not _stale(known):
            return known
        load = round(os.getloadavg()[0], 1)
        found = measure()
        when = datetime.now(UTC).isoformat(timespec="seconds")
        self.content[name] = {**found, "made_by": made_by, "when": when, "load": load}
        self._save()
        return self.content[name]

    def _save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps(self.content, ensure_ascii=False, indent=1), encoding="utf-8")
        beside.replace(self.file)


def _stale(known: Cell) -> bool:
    return known["made_by"].endswith("+") or str(known.get("why", "")).startswith(NOT_INSTALLED)
