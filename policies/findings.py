"""What a linter says of a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""An error cannot be served; a warning wants a second look before the policy is in force; a note is good to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` is stable, for tools; `place` is dotted as in a PolicyError."""

    severity: Severity
    code: str
    place: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.severity}: {self.place}: {self.message}"
        return f"{text}; {self.hint}" if self.hint else text
