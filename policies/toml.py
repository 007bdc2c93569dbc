"""Reading a TOML file exactly: decimals stay decimals, and whatever goes wrong is a PolicyError that names the file."""

from __future__ import annotations

import tomllib
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from policies.problems import PolicyError, Problem

FILE_BYTES_MAX = 4_000_000


def read(path: Path) -> str:
    """The text of a file in UTF-8. Raises PolicyError when it is missing, unreadable or too large."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _refused(str(path), f"cannot be read: {error.strerror or 'no reason given'}") from error
    if len(data) > FILE_BYTES_MAX:
        raise _refused(str(path), f"is larger than {FILE_BYTES_MAX} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error


def parse(text: str, file: str) -> dict[str, Any]:
    """The tables of a document. Numbers with a point or an exponent are Decimal. Raises PolicyError."""
    try:
        return tomllib.loads(text, parse_float=_decimal)
    except RecursionError as error:
        raise _refused(file, "is nested too deeply") from error
    except tomllib.TOMLDecodeError as error:
        raise _refused(file, f"is not TOML: {_lower(str(error))}") from error
    except ValueError as error:  # a number of more digits than Python reads, in Python's own words
        raise _refused(file, "holds a number that is out of every range") from error


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(text) from error


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def _refused(file: str, message: str, hint: str | None = None) -> PolicyError:
    return PolicyError(file, [Problem("", message, hint)])
