"""The form of a record: its fields, what each kind holds, its amounts.

Part of the offline verifier: standard library only, nothing of the writer.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from typing import Any, Final

from gateway.audit.broken import Broken

FIELDS_1: Final = {
    "v": int, "ledger": str, "seq": int, "time": str, "kind": str, "actor": str, "query_id": str, "dataset": str,
    "policy_digest": str, "snapshot": str, "decision": str, "code": str, "charges": list, "commitments": dict,
}  # fmt: skip
FIELDS: Final = {1: FIELDS_1, 2: {**FIELDS_1, "suite": str, "mode": str, "licence": str}}
DEGRADED: Final = "degraded"
TERMS: Final = "terms"
_SOMETIMES: Final = frozenset({DEGRADED, TERMS})
_ALWAYS: Final = ("v", "ledger", "seq", "time", "kind", "suite")
QUERY: Final = ("actor", "query_id", "dataset", "policy_digest", "snapshot")
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_NAME: Final = re.compile(r"[a-z][a-z_]{0,31}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_AMOUNT: Final = re.compile(r"(0|[1-9]\d{0,18})(?:\.(\d{0,23}[1-9]))?", re.ASCII)
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
PLACES: Final = {"rho": 12, "epsilon": 12, "delta": 24}

# kind -> (fields that must be there, fields that may be there); all others are null
_SHAPES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "genesis": (("commitments",), ()),
    "run": ((*QUERY, "mode"), ("licence", "commitments")),
    "reused": ((*QUERY, "mode", "commitments"), ("licence", "code")),
    "repeated": (QUERY, ()),
    "refused": (("actor", "query_id", "code"), ("dataset", "policy_digest", "snapshot", "commitments")),
    "charge": ((*QUERY, "charges"), ()),
    "release": ((*QUERY, "commitments"), ("code",)),
    "failure": ((*QUERY, "code"), ()),
    "cap": (("dataset", "policy_digest", "code", "charges"), ("commitments",)),
    "approvers": (("code",), ("commitments",)),
    "policy": (("dataset", "policy_digest", "code"), ()),
    "licence": (("code", "licence"), ()),
    "licence_ended": (("code", "licence"), ()),
    "log_key": (("code",), ()),
    "admin": (("code",), ("actor", "dataset", "policy_digest", "commitments")),
    "read": (("code",), ("actor", "dataset", "commitments")),
}
_NAMED_BY_CODE: Final = ("policy", "licence", "licence_ended", "approvers", "log_key")
_TERMS_OF: Final = {"policy": True, "licence": True, "approvers": True, "log_key": True, "cap": False}
"""The shapes that may have `terms`, and whether they must."""


def canonical(record: Any) -> bytes:
    """RFC 8785 for what records are made of: ASCII keys, strings, small integers, null, lists."""
    return _ENCODER.encode(record).encode()


def check_fields(record: Any) -> None:
    version = record.get("v") if isinstance(record, dict) else None
    if type(version) is not int or version not in FIELDS:
        raise Broken("version", "is no record, or one of another version")
    fields = FIELDS[version]
    if record.keys() - _SOMETIMES != fields.keys():
        raise Broken("fields", "does not have the fields of a record")
    for name, kind in fields.items():
        value = record[name]
        if type(value) is not kind and not (value is None and name not in _ALWAYS):
            raise Broken("fields", f"`{name}` is of another type")
    if not TIME.fullmatch(record["time"]):
        raise Broken("fields", "`time` is not UTC with milliseconds")
    for name, value in (record["commitments"] or {}).items():
        if not _NAME.fullmatch(name) or type(value) is not str or not _HASH.fullmatch(value):
            raise Broken("fields", "`commitments` holds what is no commitment")
    if DEGRADED in record:
        _check_degraded(record[DEGRADED])


def _check_degraded(layers: Any) -> None:
    """Where it stands it says something, and in one way only."""
    named = type(layers) is list and all(type(layer) is str and _NAME.fullmatch(layer) for layer in layers)
    if not named or not layers or layers != sorted(set(layers)):
        raise Broken("fields", "`degraded` is no list of layers")


def shape_of(record: dict[str, Any]) -> str:
    kind, decision, code = record["kind"], record["decision"], record["code"]
    if kind == "decision":
        if decision in ("run", "reused", "repeated", "refused"):
            return str(decision)
    elif kind == "admin" and code in ("cap_zcdp", "cap_pure"):
        return "cap"
    elif kind == "admin" and record["v"] > 1 and code in _NAMED_BY_CODE:
        return str(code)
    elif kind in ("genesis", "charge", "release", "failure", "admin", "read"):
        return str(kind)
    raise Broken("kind", "is of a kind that there is not")


def check_shape(record: dict[str, Any], shape: str) -> None:
    if TERMS in record and (shape not in _TERMS_OF or record["v"] == 1):
        raise Broken("fields", f"`{TERMS}` is not for this kind")
    if TERMS not in record and _TERMS_OF.get(shape):
        raise Broken("fields", f"`{TERMS}` is missing")
    if shape == "cap" and (TERMS in record) != (record["commitments"] is not None):
        raise Broken("fields", "a cap has a reason and a decision, or neither")
    for name, needed in _judged(record["v"], shape, record["kind"] == "decision"):
        if (record[name] is None) == needed:
            raise Broken("fields", f"`{name}` is {'missing' if needed else 'not for this kind'}")


@cache
def _judged(version: int, shape: str, decides: bool) -> tuple[tuple[str, bool], ...]:  # a key of the cache
    """The fields that must be there (True) or must not (False); the others may be."""
    needed, allowed = _SHAPES[shape]
    free = {*_ALWAYS, *allowed, *(("decision",) if decides else ())}
    return tuple((name, name in needed) for name in FIELDS[version] if name not in free)


def amounts_of(line: Any) -> dict[str, int]:
    if not isinstance(line, dict) or set(line) != {"scope", *PLACES} or not all(type(v) is str for v in line.values()):
        raise Broken("fields", "`charges` holds what is no charge")
    return {unit: _amount(line[unit], places) for unit, places in PLACES.items()}


@lru_cache(maxsize=4096)
def _amount(text: str, places: int) -> int:
    match = _AMOUNT.fullmatch(text)
    if match is None or len(match[2] or "") > places:
        raise Broken("fields", "an amount is not in its shortest exact form")
    return int(match[1] + (match[2] or "").ljust(places, "0"))


def amount_text(amount: int, unit: str) -> str:
    """The shortest exact decimal."""
    places = PLACES[unit]
    whole, part = divmod(amount, 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".")
