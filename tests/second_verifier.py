"""A second verifier, written from docs/reference/audit-format.md alone and in another way.

The whole file in memory, roots by the recursive definition, budgets in Fraction. It says only sound or not.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests import second_sm2

QUERY = {"actor", "query_id", "dataset", "policy_digest", "snapshot"}
SUITES = {  # what stands in a log's verifier key before the bytes of the key alone, and how many these are
    "sha256-ed25519": (b"\1", 32),
    "sm3-ed25519": (b"\xffsm3-ed25519", 32),
    "sm3-sm2": (b"\xffsm3-sm2", 65),
}
PRESENT = {  # kind or decision -> fields that are not null beyond v, ledger, seq, time, kind; None: not fixed
    "genesis": {"commitments"},
    "run": None,
    "reused": None,
    "repeated": QUERY | {"decision"},
    "refused": None,
    "charge": QUERY | {"charges"},
    "release": None,
    "failure": QUERY | {"code"},
    "cap": None,
    "approvers": None,
    "policy": {"dataset", "policy_digest", "code"},
    "licence": {"code", "licence"},
    "licence_ended": {"code", "licence"},
    "log_key": {"code"},
    "admin": None,
    "read": None,
}


class Unsound(Exception):
    pass


def need(condition: object) -> None:
    if not condition:
        raise Unsound


def root(leaves: list[bytes], suite: str = "sha256-ed25519") -> bytes:
    if not leaves:
        return _hash(suite, b"")
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return _hash(suite, b"\1" + root(leaves[:half], suite) + root(leaves[half:], suite))


def sound(
    lines: list[bytes], key: str | None = None, since: list[str] | None = None, receipts: list[dict] | None = None
) -> bool:
    """Whether nothing speaks against it: not the lines themselves, nor what somebody kept of an earlier log."""
    try:
        _sound(lines)
        _still_there(lines, key, since or [], receipts or [])
    except (
        Unsound,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        InvalidSignature,
        ArithmeticError,
    ):
        return False
    return True


def _sound(lines: list[bytes]) -> None:
    need(len(lines) > 1 and all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines))
    parsed = [json.loads(line) for line in lines]
    for line, value in zip(lines, parsed, strict=True):
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        need(text.encode() + b"\n" == line)
    *records, end = parsed
    need(set(end) - {"cosigned", "consistency", "handovers"} == {"key", "checkpoint"})
    need(("cosigned" in end) == ("consistency" in end))
    suite = records[0].get("suite", "sha256-ed25519")
    need(suite in SUITES)
    leaves = [_leaf(line, suite) for line in lines[:-1]]
    keys = _keys(records, end["key"])
    named = [record.get("suite", "sha256-ed25519") for record in records]
    for (start, vkey), until in zip(keys, [*(size for size, _ in keys[1:]), len(records)], strict=True):
        need({*named[start:until]} <= {_suite(_key(vkey)[1])})
        need(_suite(_key(vkey)[1]).split("-")[0] == suite.split("-")[0])
    name, key = _key(keys[0][1])
    need(keys[-1][1] == end["key"] and len(end.get("handovers", ())) == len(keys) - 1 and end.get("handovers") != [])
    for note, (_, old_key), (size, new_key) in zip(end.get("handovers", ()), keys[:-1], keys[1:], strict=True):
        for each in (old_key, new_key):
            need(_signed(note, *_key(each)) == (size, root(leaves[:size], suite)))
    need(_by_log(end["checkpoint"], keys) == (len(records), root(leaves, suite)))
    if "cosigned" in end:
        old, top = _by_log(end["cosigned"], keys)
        need(0 < old <= len(leaves) and top == root(leaves[:old], suite))
        need(end["consistency"] == [step.hex() for step in _proof(old, leaves, suite, whole=True)])
    need(records[0]["commitments"]["key"] == _hash(suite, key).hex() and records[0]["ledger"] == name)
    _one_way(records)
    _records(records)


def _still_there(lines: list[bytes], key: str | None, since: list[str], receipts: list[dict]) -> None:
    keys = _keys([json.loads(line) for line in lines[:-1]], json.loads(lines[-1])["key"])
    need(key is None or key in [vkey for _, vkey in keys])
    suite = json.loads(lines[0]).get("suite", "sha256-ed25519")
    leaves = [_leaf(line, suite) for line in lines[:-1]]
    for note in since:
        size, top = _by_log(note, keys)
        need(size <= len(leaves) and top == root(leaves[:size], suite))
    for receipt in receipts:
        size, top = _by_log(receipt["checkpoint"], keys)
        need(size <= len(leaves) and top == root(leaves[:size], suite))
        need(leaves[receipt["index"]].hex() == receipt["leaf_hash"])
        need(json.loads(lines[receipt["index"]]) == receipt["record"])


def told(answer: dict, record: dict) -> bool:
    """Whether a record commits to just these numbers: an answer's, or those in a bundle."""
    fields = {name: answer[name] for name in ("columns", "confidence", "intervals", "notes", "rows")}
    text = bytes.fromhex(answer["opening"]) + _canonical(fields)
    return _hash(record.get("suite", "sha256-ed25519"), text).hex() == record["commitments"]["answer"]


def _canonical(value: object) -> bytes:
    if isinstance(value, list):
        return b"[" + b",".join(map(_canonical, value)) + b"]"
    if isinstance(value, dict):
        return b"{" + b",".join(_canonical(name) + b":" + _canonical(value[name]) for name in sorted(value)) + b"}"
    return str(value).encode() if type(value) is int else rfc8785.dumps(value)


def _key(vkey: str) -> tuple[str, bytes]:
    name, key_hex, key_text = vkey.split("+", 2)
    key = base64.b64decode(key_text, validate=True)
    need(base64.b64encode(key).decode() == key_text and _suite(key))
    need(hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] == key_hex)
    return name, key


def _suite(key: bytes) -> str:
    (found,) = [name for name, (kind, size) in SUITES.items() if key.startswith(kind) and len(key) == len(kind) + size]
    need(found != "sm3-sm2" or second_sm2.is_point(key[-65:]))
    return found


def _keys(records: list[dict], last: str) -> list[tuple[int, str]]:
    """The log's keys, each with the size from which on it signs."""
    changes = [record for record in records if (record["kind"], record["code"]) == ("admin", "log_key")]
    if not changes:
        return [(0, last)]
    keys = [(0, changes[0]["terms"]["from"])]
    for record in changes:
        old, new = record["terms"]["from"], record["terms"]["to"]
        need(set(record["terms"]) == {"from", "to"} and old == keys[-1][1] and new not in [vkey for _, vkey in keys])
        need(_key(old)[0] == _key(new)[0] == record["ledger"])
        keys.append((record["seq"] + 1, new))
    return keys


def _by_log(note: str, keys: list[tuple[int, str]]) -> tuple[int, bytes]:
    """Size and root of a checkpoint that a key of the log has signed while it was good."""
    size, until = int(note.split("\n")[1]), [start for start, _ in keys[1:]]
    for (start, vkey), end in zip(keys, [*until, size], strict=True):
        name, key = _key(vkey)
        if start <= size <= end and f"— {name} {_id(name, key)}" in note:
            return _signed(note, name, key)
    raise Unsound


def _id(name: str, key: bytes) -> str:
    """How a signature of this key begins: the first five digits of base64 are the key id's alone."""
    return base64.b64encode(hashlib.sha256(f"{name}\n".encode() + key).digest()[:3]).decode()


def _signed(note: str, name: str, key: bytes) -> tuple[int, bytes]:
    """Size and root of a checkpoint that the log's key signed, whoever else did."""
    origin, size, top, empty, *signatures, nothing = note.split("\n")
    need(origin == name and empty == nothing == "" and size.isascii() and size == str(int(size)))
    need(signatures and all(len(line.split(" ")) == 3 and line.startswith("— ") for line in signatures))
    blobs = [(line.split(" ")[1], base64.b64decode(line.split(" ")[2], validate=True)) for line in signatures]
    need([f"— {who} {base64.b64encode(blob).decode()}" for who, blob in blobs] == signatures)
    need(all(len(blob) > 4 and who for who, blob in blobs))
    own = [
        blob
        for who, blob in blobs
        if who == name and blob[:4] == hashlib.sha256(f"{name}\n".encode() + key).digest()[:4]
    ]
    need(own)
    text = f"{origin}\n{size}\n{top}\n".encode()
    for blob in own:
        if _suite(key) == "sm3-sm2":
            need(second_sm2.good(key[-65:], blob[4:], text))
        else:
            Ed25519PublicKey.from_public_bytes(key[-32:]).verify(blob[4:], text)
    found = base64.b64decode(top, validate=True)
    need(base64.b64encode(found).decode() == top and len(found) == 32)
    return int(size), found


def _proof(old: int, leaves: list[bytes], suite: str, *, whole: bool) -> list[bytes]:
    """The consistency proof, as RFC 6962 section 2.1.2 makes it."""
    if old == len(leaves):
        return [] if whole else [root(leaves, suite)]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    if old <= half:
        return [*_proof(old, leaves[:half], suite, whole=whole), root(leaves[half:], suite)]
    return [*_proof(old - half, leaves[half:], suite, whole=False), root(leaves[:half], suite)]


def _leaf(line: bytes, suite: str = "sha256-ed25519") -> bytes:
    return _hash(suite, b"\0" + line[:-1])


def _hash(suite: str, content: bytes) -> bytes:
    return hashlib.new(suite.partition("-")[0], content).digest()


def _records(records: list[dict]) -> None:
    caps, accountants, decided, modes = {}, {}, {}, {}
    policies: dict = {}
    licences: dict = {}
    spent: Counter = Counter()
    quorums: dict = {"keys": {}, "used": set()}
    charged, paid, ended, telling = set(), set(), set(), False
    for seq, record in enumerate(records):
        kind, query = record["kind"], record["query_id"]
        terms = record.get("terms")
        shape = _in_force(record, policies, licences)
        need(record["seq"] == seq and record["ledger"] == records[0]["ledger"])
        need(record["v"] >= (records[seq - 1]["v"] if seq else 1))
        need((kind == "genesis") == (seq == 0) and (seq == 0 or records[seq - 1]["time"] <= record["time"]))
        about = tuple(record[field] for field in sorted(QUERY))
        before = records[seq - 1] if seq else record
        if before["decision"] == "run" or kind == "charge":
            need(kind == "charge" and before["decision"] == "run" and before["query_id"] == query)
        if "mode" in record and shape in ("run", "reused"):
            modes[query] = record["mode"]
        if shape in ("run", "reused", "refused"):
            need(query not in decided)
            decided[query] = (shape, about)
        elif shape in ("repeated", "charge", "release", "failure"):
            need(decided[query][1] == about and decided[query][0] != "refused")
        if shape == "charge":
            need(query not in charged)
            charged.add(query)
            paid |= {query} if record["charges"] else set()
            need(query not in modes or (modes[query] == "dp") is (record["charges"] != []))
            _charge(record, licences.get(before.get("licence"), {}), caps, accountants, spent)
        elif shape in ("release", "failure"):
            need(query in charged and query not in ended)
            ended.add(query)
        elif shape == "cap":
            (line,) = record["charges"]
            scope, dataset = line["scope"], record["dataset"]
            need(_is_of(scope, dataset) and "#" not in dataset)
            need(accountants.setdefault(scope, record["code"]) == record["code"])
            binding = ("rho" if record["code"] == "cap_zcdp" else "epsilon", "delta")
            known, caps[scope] = caps.get(scope), _amounts(line)
            if terms is not None:
                _raised(record, terms, quorums, known, _lost(records, scope, binding))
            elif known is not None and quorums["keys"]:
                need(all(caps[scope][unit] <= known[unit] for unit in binding))
        elif shape == "approvers":
            _approvers(record, terms, quorums)
        if shape in ("release", "reused"):
            need("release" in record["commitments"])
            telling = _telling(record, telling)
            _cells(record["code"], query in paid)
    need(records[-1]["decision"] != "run")


def _telling(record: dict, before: bool) -> bool:
    """Whether the log commits to its answers by this one, if it did `before`."""
    now = "answer" in record["commitments"]
    need(now or not before)
    return now


def _is_of(scope: str, dataset: str) -> bool:
    kind, _, owner = scope.partition(":")
    if kind == "purpose":
        need(owner.count("/") > 1 and owner[0] != "/")
    return scope == f"dataset:{dataset}" or (kind in ("operator", "purpose") and owner.endswith("/" + dataset))


def _in_force(record: dict, policies: dict, licences: dict) -> str:
    """The record's shape; what it brings into force is in force from here on, and what it needs must be."""
    kind, code, now = record["kind"], record["code"], record["v"] == 2
    shape = record["decision"] if kind == "decision" else kind
    if kind == "admin" and code in ("cap_zcdp", "cap_pure"):
        shape = "cap"
    elif kind == "admin" and now and code in ("policy", "licence", "licence_ended", "approvers", "log_key"):
        shape = code
    terms = record.pop("terms", None)
    need(terms is not None or shape not in ("policy", "licence", "approvers", "log_key"))
    need(terms is None or shape in ("policy", "licence", "approvers", "log_key") or (shape == "cap" and now))
    need(shape != "cap" or (terms is None) == (record["commitments"] is None))
    _fields(record, shape)
    if shape == "policy":
        need(set(terms) == {"supply"} and terms["supply"] in ("open", "shared", "authorised", "withheld"))
        policies[record["dataset"]] = record["policy_digest"], terms["supply"]
    elif shape == "licence":
        _terms(terms)
        licences[record["licence"]] = terms
    elif shape == "licence_ended":
        del licences[record["licence"]]
    elif now and shape in ("run", "reused"):
        _right(record, policies, licences)
    return shape


def _terms(terms: dict) -> None:
    need(terms.get("shares", True))
    for dataset, purposes in terms.get("shares", {}).items():
        need(purposes and purposes == sorted(set(purposes)))
        need(dataset in terms["datasets"] and {*purposes} <= {*terms["purposes"]})
    need(
        sorted({*terms} - {"shares"}) == ["datasets", "from", "operator", "purposes", "until"]
        and isinstance(terms["operator"], str)
    )
    for names in (terms["datasets"], terms["purposes"]):
        need(isinstance(names, list) and all(isinstance(name, str) for name in names))
        need(names == sorted(names) and len(names) == len(set(names)))
    for day in (terms["from"], terms["until"]):
        need(dt.datetime.strptime(day, "%Y-%m-%d").strftime("%Y-%m-%d").rjust(10, "0") == day)  # noqa: DTZ007  # a day


def _approvers(record: dict, terms: dict, quorums: dict) -> None:
    """The first are named, all others decided by those before them."""
    named = terms["approvers"]
    need(set(terms) == ({"approvers", "decision", "signatures"} if quorums["keys"] else {"approvers"}))
    need(set(named) == {"quorum", "keys"} and type(named["quorum"]) is int)
    keys = {name: base64.b64decode(text, validate=True) for name, text in named["keys"].items()}
    need(all(base64.b64encode(key).decode() == named["keys"][name] for name, key in keys.items()))
    need(all(len(key) == 32 and re.fullmatch("[a-z0-9][a-z0-9._@-]{0,63}", name) for name, key in keys.items()))
    need(2 <= named["quorum"] <= len(keys) == len(set(keys.values())))
    if quorums["keys"]:
        decision = _decision(record, terms, quorums, "approvers", "")
        need(set(decision) == _DECISION | {"before", "after"} and decision["after"] == named)
        need(decision["before"] == quorums["named"])
    else:
        quorums["since"] = record["seq"]
    quorums.update(keys=keys, quorum=named["quorum"], named=named)


def _lost(records: list[dict], scope: str, binding: tuple[str, str]) -> Callable[[int], dict]:
    """What a scope had been charged in so many of the first records; of one with blocks the fullest."""

    def first(size: int) -> dict:
        charges = [each for old in records[:size] if old["kind"] == "charge" for each in old["charges"]]
        sums: dict = {scope: Counter()}
        for each in charges:
            if _whole(each["scope"]) == scope:
                sums.setdefault(each["scope"], Counter()).update(_amounts(each))
        return {unit: max(each[unit] for each in sums.values()) if unit in binding else 0 for unit in _UNITS}

    return first


def _raised(record: dict, terms: dict, quorums: dict, before: dict | None, lost: Callable[[int], dict]) -> None:
    need(before is not None and set(terms) == {"decision", "signatures"})
    (told,) = record["charges"]
    decision = _decision(record, terms, quorums, "cap", told["scope"])
    need(set(decision) == _DECISION | {"lines", "records"} and isinstance(decision["lines"], list))
    need(all(set(line) == {"scope", "before", "after", "spent"} for line in decision["lines"]))
    (line,) = [line for line in decision["lines"] if line["scope"] == told["scope"]]
    need({**line["after"], "scope": told["scope"]} == told and set(line["after"]) == {"rho", "epsilon", "delta"})
    need(_amounts({**line["before"], "scope": ""}) == before and "scope" not in line["before"])
    then = _amounts({**line["spent"], "scope": ""})
    size = decision["records"]
    need("scope" not in line["spent"] and type(size) is int and quorums["since"] < size <= record["seq"])
    need(then == lost(size))


_UNITS = ("rho", "epsilon", "delta")
_DECISION = {"act", "ledger", "reason", "made", "until", "nonce"}


def _decision(record: dict, terms: dict, quorums: dict, act: str, scope: str) -> dict:
    decision, signatures = terms["decision"], terms["signatures"]
    need(all(type(decision[name]) is str for name in _DECISION) and re.fullmatch("[0-9a-f]{32}", decision["nonce"]))
    need(decision["act"] == act and decision["ledger"] == record["ledger"])
    need(re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z", decision["made"]))
    need(decision["made"] <= record["time"] <= decision["until"])
    need(record["commitments"] == {"reason": decision["reason"]})
    need((decision["nonce"], scope) not in quorums["used"])
    quorums["used"].add((decision["nonce"], scope))
    text = json.dumps(decision, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    need(quorums["keys"] and len(signatures) >= quorums["quorum"])
    for name, signature in signatures.items():
        raw = base64.b64decode(signature, validate=True)
        need(base64.b64encode(raw).decode() == signature)
        key = Ed25519PublicKey.from_public_bytes(quorums["keys"][name])
        key.verify(raw, b"baopingkou caps decision v1\n" + text)
    return decision


def _right(record: dict, policies: dict, licences: dict) -> None:
    digest, supply = policies[record["dataset"]]
    need(record["policy_digest"] == digest and supply != "withheld" and record["mode"] in ("dp", "aggregate", "open"))
    if record["licence"] is None:
        need("open" in (supply, record["mode"]))
        return
    terms = licences[record["licence"]]
    need(record["actor"] == terms["operator"] and terms["datasets"].count(record["dataset"]) == 1)
    need(terms["from"] <= record["time"].split("T")[0] <= terms["until"])


def _cells(code: str | None, paid: bool) -> None:
    if code is not None:
        word, shown, withheld = code.split("_")
        need(word == "cells" and not paid)
        need(all(part == str(int(part)) and part.isascii() and len(part) <= 12 for part in (shown, withheld)))
        need("-" not in code)


def _whole(scope: str) -> str:
    """Without its block."""
    return re.sub(r"#([0-9]{4}(-(0[1-9]|1[0-2]))?|rest)\Z", "", scope)


def _one_way(records: list[dict]) -> None:
    """A dataset is charged as a whole, or by its blocks."""
    ways = {
        (record["dataset"], any(line["scope"] != _whole(line["scope"]) for line in record["charges"]))
        for record in records
        if record["charges"] and record["kind"] == "charge"
    }
    need(len({dataset for dataset, _ in ways}) == len(ways))
    lengths = {
        (record["dataset"], len(block))
        for record in records
        if record["charges"] and record["kind"] == "charge"
        for line in record["charges"]
        if (block := line["scope"][len(_whole(line["scope"])) + 1 :]) not in ("", "rest")
    }
    need(len({dataset for dataset, _ in lengths}) == len(lengths))


def _charge(record: dict, terms: dict, caps: dict, accountants: dict, spent: Counter) -> None:
    if not record["charges"]:
        return
    parts: dict[str, list[str]] = {}
    for line in record["charges"]:
        parts.setdefault(_whole(line["scope"]), []).append(line["scope"].removeprefix(_whole(line["scope"])))
    need([whole + part for whole in parts for part in parts[whole]] == [line["scope"] for line in record["charges"]])
    blocks = parts[f"dataset:{record['dataset']}"]
    need(all(each == blocks for each in parts.values()) and len(blocks) == len(set(blocks)) <= 64)
    need(blocks == [""] or ("" not in blocks and blocks == sorted(blocks)))
    first, second, *third = [{**line, "scope": _whole(line["scope"])} for line in record["charges"][:: len(blocks)]]
    need(first["scope"] == f"dataset:{record['dataset']}")
    need(second["scope"] == f"operator:{record['actor']}/{record['dataset']}")
    need(all({**first, "scope": 0} == {**line, "scope": 0} for line in record["charges"]))
    shares = terms.get("shares", {}).get(record["dataset"], [])
    due = set()
    for purpose in terms.get("purposes", []):
        scope = f"purpose:{purpose.replace('%', '%25').replace('/', '%2F')}/{record['actor']}/{record['dataset']}"
        due.add(scope if purpose in shares or scope in caps else None)
    if not terms:
        end = f"/{record['actor']}/{record['dataset']}"
        due = {None, *(s for s in caps if re.match("purpose:[^/]+/", s) and s[s.index("/") :] == end)}
    need(len(third) <= 1 and {line["scope"] for line in third} <= due)
    need(third or None in due or not due)
    for line in record["charges"]:
        part, scope, amounts = line["scope"], _whole(line["scope"]), _amounts(line)
        main = "rho" if accountants[scope] == "cap_zcdp" else "epsilon"
        need(amounts[main] > 0 and (main == "rho" or amounts["rho"] == 0))
        for unit in (main, "delta"):
            spent[part, unit] += amounts[unit]
            need(spent[part, unit] <= caps[scope][unit])


def _amounts(line: dict) -> dict[str, Fraction]:
    need(set(line) == {"scope", "rho", "epsilon", "delta"} and isinstance(line["scope"], str))
    found = {}
    for unit, places in (("rho", 12), ("epsilon", 12), ("delta", 24)):
        text = line[unit]
        need(isinstance(text, str) and text and set(text) <= set("0123456789."))
        whole, dot, part = text.partition(".")
        need(whole == str(int(whole)) and len(part) <= places and len(whole) <= 19)
        need(not dot or (part and part[-1] != "0" and "." not in part))
        found[unit] = Fraction(text)
    return found


def _fields(record: dict, shape: str) -> None:
    kinds = {"v": int, "seq": int, "charges": list, "commitments": dict}
    names = "v ledger seq time kind actor query_id dataset policy_digest snapshot decision code charges commitments"
    need(type(record["v"]) is int and record["v"] in (1, 2))
    more = ["suite", "mode", "licence"] if record["v"] == 2 else []
    layers = record.pop("degraded", ["a"])
    need(isinstance(layers, list) and layers and layers == sorted(layers) and len(set(layers)) == len(layers))
    need(all(re.fullmatch("[a-z][a-z_]{0,31}", layer) for layer in layers))
    need(set(record) == {*names.split(), *more})
    for name, value in record.items():
        need(type(value) is kinds.get(name, str) or (value is None and name not in (*names.split()[:5], "suite")))
    time = record["time"]
    need(len(time) == 24 and time.isascii() and "".join(c for c in time if not c.isdigit()) == "--T::.Z")
    need(time[4] + time[7] + time[10] + time[13] + time[16] + time[19] + time[23] == "--T::.Z")
    for name, value in (record["commitments"] or {}).items():
        need(name[0] in "abcdefghijklmnopqrstuvwxyz" and set(name) <= set("abcdefghijklmnopqrstuvwxyz_"))
        need(len(name) <= 32 and len(value) == 64 and set(value) <= set("0123456789abcdef"))
    present = {name for name in (*names.split()[5:], *more[1:]) if record[name] is not None}
    if shape in ("run", "reused") and more:
        need("mode" in present)
        present -= {"mode", "licence"}
    fixed = PRESENT[shape]
    if fixed is not None:
        need(present == fixed)
    elif shape == "cap":
        need(present - {"commitments"} == {"dataset", "policy_digest", "code", "charges"})
    elif shape == "approvers":
        need(present - {"commitments"} == {"code"})
    elif shape == "run":
        need(present - {"commitments"} == QUERY | {"decision"})
    elif shape == "reused":
        need(present - {"code"} == QUERY | {"decision", "commitments"})
    elif shape == "release":
        need(present - {"code"} == QUERY | {"commitments"})
    elif shape == "refused":
        need({"actor", "query_id", "code", "decision"} <= present)
        need(not present & {"charges", "mode", "licence"})
    elif shape == "admin":
        need(present <= {"code", "actor", "dataset", "policy_digest", "commitments"} and "code" in present)
    else:
        need(present <= {"code", "actor", "dataset", "commitments"} and "code" in present)
