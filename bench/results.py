"""The figures of one run, kept part by part, so that a run that was broken off goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.place import Machine


@dataclass(slots=True)
class Results:
    file: Path
    content: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, file: Path, machine: Machine, settings: dict[str, Any], *, fresh: bool) -> Results:
        """What the file holds of the same commit and settings, else an empty one. A changed tree is always fresh."""
        about = {"commit": machine.commit, "settings": settings}
        if file.is_file() and not fresh and not machine.commit.endswith("+"):
            found = json.loads(file.read_text(encoding="utf-8"))
            if {name: found.get(name) for name in about} == about:
                return cls(file, found)
        return cls(file, {**about, "machine": asdict(machine), "parts": {}})

    def missing(self, *names: str) -> bool:
        return any(name not in self.content["parts"] for name in names)

    def part(self, name: str, make: Callable[[], Any]) -> Any:
        """The part of that name, measured if it is not there yet."""
        if name not in self.content["parts"]:
            self.content["parts"][name] = make()
            self.save()
        return self.content["parts"][name]

    def save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps(self.content, ensure_ascii=False, indent=1), encoding="utf-8")
        beside.replace(self.file)
