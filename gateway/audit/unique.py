"""JSON in which no object names a field twice, so that every program reads the same in it.

Part of the offline verifier: standard library only.
"""

from __future__ import annotations

import json
from typing import Any


class NamedTwice(ValueError):
    """Which of the two values is meant hangs on who reads."""


def value_of(text: str | bytes) -> Any:
    """Raises NamedTwice, and ValueError or RecursionError for what is no JSON."""
    return json.loads(text, object_pairs_hook=_fields)


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise NamedTwice("a field is named twice in one object")
    return fields
