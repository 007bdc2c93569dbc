"""The digest of a policy: what both sides of the door compare, and what records of the audit log name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import rfc8785


def digest(document: Mapping[str, Any]) -> str:
    """Hex SHA-256 of the document's canonical JSON (RFC 8785).

    The document counts as it is written, without defaults: a default belongs to the format, and a changed default is a
    new format. Layout, comments, the order of keys and the spelling of numbers (0.5, 0.50, 5e-1) do not count. The
    order of lists does: the first mode is the default.
    """
    return hashlib.sha256(rfc8785.dumps(_tagged(document))).hexdigest()


def _tagged(value: object) -> Any:
    """Plain JSON. Tags keep the number 1, the text "1" and dates apart; `@` is no key of any document."""
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int | Decimal):
        return {"@": "number", "v": plain_number(Decimal(value))}
    if isinstance(value, datetime):
        return {"@": "datetime", "v": value.isoformat()}
    if isinstance(value, date):
        return {"@": "date", "v": value.isoformat()}
    if isinstance(value, Mapping):
        return {str(key): _tagged(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_tagged(inner) for inner in value]
    raise TypeError(f"no canonical form for {type(value).__name__}")


def plain_number(number: Decimal) -> str:
    """The one spelling of an exact number: no exponent, no trailing zeros, no negative zero."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text
