"""The tables of keys in the reference: `python -m policies.reference PAGE` writes them anew between their markers."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from policies.schema import cases_schema, licence_schema, policy_schema

_MARKED = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_DEFAULT = re.compile(r"\s*Default(?P<scope>[^:]*): (?P<text>.*)$", re.DOTALL)


def filled(page: str) -> str:
    """`page` with the table of every marked document written anew. Raises KeyError where there is no such document."""
    return _MARKED.sub(lambda match: f"{match[1]}{_table(_documents()[match[2]])}{match[3]}", page)


def _documents() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, schema in (("Policy", policy_schema()), ("Cases", cases_schema()), ("Licence", licence_schema())):
        found[name] = schema
        found |= {inner.removesuffix("Document"): part for inner, part in schema.get("$defs", {}).items()}
    return found


def _table(schema: dict[str, Any]) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, key in schema["properties"].items():
        meaning, default = _meaning(key, required=name in schema.get("required", ()))
        rows.append(f"| `{name}` | {_kind(key)} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _meaning(key: dict[str, Any], *, required: bool) -> tuple[str, str]:
    """What a key means, and what holds where it is left out."""
    description = " ".join(key["description"].split())
    default = "required" if required else "none"
    if "default" in key:
        value = key["default"]
        default = f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"
    if match := _DEFAULT.search(description):
        text = match["text"].rstrip(".")
        return description[: match.start()], f"{match['scope'].strip()}: {text}" if match["scope"] else text
    return description, default


def _kind(key: dict[str, Any]) -> str:
    if "$ref" in key:
        return "table"
    if "anyOf" in key:
        return " or ".join(map(_kind, key["anyOf"]))
    if "enum" in key:
        return " or ".join(f"`{word}`" for word in key["enum"])
    if "const" in key:
        return f"`{key['const']}`"
    kind = key["type"]
    if kind == "array":
        return f"list of {_kind(key['items'])}"
    if kind == "object":
        return "table"
    if kind == "integer":
        return "whole number" + _limits(key)
    if isinstance(kind, list):
        return "number, text, date or boolean" if "boolean" in kind else "number or date"
    return {"number": "number", "boolean": "`true` or `false`"}.get(kind, _text(key))


def _text(key: dict[str, Any]) -> str:
    return "date" if key.get("format") == "date" else "text"


def _limits(key: dict[str, Any]) -> str:
    low, high = key.get("minimum"), key.get("maximum")
    return f", {low} to {high}" if low is not None and high is not None else ""


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
