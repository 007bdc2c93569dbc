"""Records of the protocol, spoiled: bytes that are none, other types, deep nests, numbers without end, wrong names."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

Plain = Any
"""JSON data."""
Place = tuple[Any, Any]
"""A container, and the key or index in it."""
WORDS = ("", "0.pid", "0.__unit", "0.name", "k0", "m0", "*", "людей", "\0", "'; --", '"', "x" * 5000, "\ud800", "%s")
NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 10**59, 7)
TAGGED = (
    {"@": "decimal", "v": "1E+999999999"}, {"@": "decimal", "v": "-1E+900"}, {"@": "decimal", "v": "sNaN"},
    {"@": "decimal", "v": "0." + "1" * 500}, {"@": "float", "v": "nan"}, {"@": "float", "v": "inf"},
    {"@": "float", "v": "0x1.8p+1023"}, {"@": "date", "v": "0001-01-01"}, {"@": "date", "v": "9999-12-31"},
    {"@": "datetime", "v": "2020-01-01T00:00:00+01:00"}, {"@": "datetime", "v": "0001-01-01T00:00:00"},
)  # fmt: skip
FUNCTIONS = (
    "add", "divide", "negate", "in", "like", "concat", "coalesce", "date_add", "date_diff", "power", "bin", "left",
    "substring", "round", "to_date", "year", "is_null", "and", "sum", "read_csv", "", "equal",
)  # fmt: skip


def places(plain: Plain) -> list[Place]:
    """Every place of `plain` that holds something."""
    found: list[Place] = []
    todo = [plain]
    while todo:
        node = todo.pop()
        inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in inner:
            found.append((node, key))
            todo.append(value)
    return found


def _other_atom(dice: random.Random, plain: Plain) -> None:
    node, key = dice.choice(places(plain))
    choices = [dice.choice(WORDS), dice.choice(NUMBERS), dice.choice(TAGGED), None, True, [], {}, 1.5]
    node[key] = copy.deepcopy(dice.choice(choices))


def _other_number(dice: random.Random, plain: Plain) -> None:
    found = [place for place in places(plain) if type(place[0][place[1]]) is int]
    if found:
        node, key = dice.choice(found)
        node[key] = dice.choice(NUMBERS)


def _other_word(dice: random.Random, plain: Plain) -> None:
    found = [place for place in places(plain) if isinstance(place[0][place[1]], str)]
    node, key = dice.choice(found)
    texts = [other[where] for other, where in found]
    node[key] = dice.choice([*WORDS, *FUNCTIONS, *texts[:50]])


def _moved(dice: random.Random, plain: Plain) -> None:
    """A part of the record in the place of another one, as a rule of another kind."""
    found = places(plain)
    (node, key), (other, where) = dice.choice(found), dice.choice(found)
    if isinstance(node[key], dict) and dice.random() < 0.8:  # of the same kind: there the record is still one
        alike = [place for place in found if _kind(place[0][place[1]]) == _kind(node[key])]
        other, where = dice.choice(alike)
    node[key] = copy.deepcopy(other[where])


def _kind(value: Plain) -> str:
    tag = value.get("@") if isinstance(value, dict) else None
    return next((name for name, tags in _KINDS.items() if tag in tags), str(tag))


_KINDS = {
    "expression": ("Column", "Literal", "Call", "Case"),
    "relation": ("Scan", "Public", "Filter", "Join", "Release", "Project", "UnionAll", "Window", "UnitAggregate"),
}


def _renamed(dice: random.Random, plain: Plain) -> None:
    """Another column, table or function: the record is as good as before."""
    found = [place for place in places(plain) if place[1] in ("name", "function", "table", "kind")]
    found = [place for place in found if isinstance(place[0][place[1]], str)]
    if found:
        node, key = dice.choice(found)
        texts = [other[where] for other, where in found if where == key]
        node[key] = dice.choice([*texts, *(FUNCTIONS if key == "function" else WORDS[1:6])])


def _dropped(dice: random.Random, plain: Plain) -> None:
    node, key = dice.choice(places(plain))
    del node[key]


def _repeated(dice: random.Random, plain: Plain) -> None:
    lists = [node[key] for node, key in places(plain) if isinstance(node[key], list) and node[key]]
    if lists:
        chosen = dice.choice(lists)
        chosen.extend(copy.deepcopy(chosen[0]) for _ in range(dice.choice([1, 1, 2, 300])))


def _nested(dice: random.Random, plain: Plain) -> None:
    """An expression inside itself, or a relation on top of itself, many times."""
    depth = dice.choice([1, 3, 20, 60, 130, 300, 390])
    found = [
        p
        for p in places(plain)
        if isinstance(p[0][p[1]], dict) and _kind(p[0][p[1]]) in _KINDS and p[0][p[1]]["@"] in _WRAPS
    ]
    if not found:
        return
    node, key = dice.choice(found)
    inner = node[key]
    wrap = dice.choice(_WRAPS[inner["@"]])
    for _ in range(depth):
        inner = wrap(inner)
    node[key] = inner


def _call(name: str, *more: Plain) -> Callable[[Plain], Plain]:
    return lambda inner: {"@": "Call", "function": name, "arguments": [inner, *copy.deepcopy(more)], "at": None}


def _doubled(inner: Plain) -> Plain:
    return {"@": "Call", "function": "add", "arguments": [inner, _ONE], "at": None}


def _case(inner: Plain) -> Plain:
    condition = {"@": "Call", "function": "is_null", "arguments": [inner], "at": None}
    return {"@": "Case", "branches": [[condition, _ONE]], "otherwise": _ONE, "at": None}


_ONE: Plain = {
    "@": "Literal", "value": 1, "type": {"@": "Type", "kind": "integer", "precision": None, "scale": None}, "at": None,
}  # fmt: skip
_EXPRESSION = (
    _call("negate"), _call("not"), _call("divide", _ONE), _call("add", _ONE), _call("sqrt"), _call("abs"),
    _call("concat", _ONE), _call("power", _ONE), _call("coalesce"), _call("to_integer"), _doubled, _case,
)  # fmt: skip
_RELATION = (
    lambda inner: {"@": "Filter", "source": inner, "conditions": [], "at": None},
    lambda inner: {"@": "Project", "source": inner, "number": 7, "columns": [], "at": None},
    lambda inner: {"@": "Limit", "source": inner, "count": 5, "offset": 0, "at": None},
    lambda inner: {"@": "Window", "source": inner, "columns": [], "number": 3, "at": None},
)
_WRAPS: dict[str, tuple[Callable[[Plain], Plain], ...]] = {
    **dict.fromkeys(("Column", "Literal", "Call", "Case"), _EXPRESSION),
    **dict.fromkeys(("Scan", "Public", "Filter", "Join", "Release", "Project", "UnionAll", "Window"), _RELATION),
}
_SPOILERS = (
    _other_atom, _other_number, _other_word, _renamed, _renamed, _renamed, _moved, _moved, _moved, _dropped, _repeated,
    _nested, _nested,
)  # fmt: skip


@contextlib.contextmanager
def _deep() -> Iterator[None]:
    """Room for what is nested deeper than those who are asked can take."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def spoiled(dice: random.Random, plain: Plain) -> Plain:
    """A copy with one to three things changed. It may still be a good record."""
    with _deep():
        return _spoiled(dice, plain)


def _spoiled(dice: random.Random, plain: Plain) -> Plain:
    found = copy.deepcopy(plain)
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        if places(found):
            dice.choice(_SPOILERS)(dice, found)
    return found


def body_of(plain: Plain) -> bytes:
    """As JSON, with whatever a stranger may write into it."""
    with _deep():
        return json.dumps(plain, ensure_ascii=True).encode()


def bent(dice: random.Random, body: bytes) -> bytes:
    """Not even JSON, as a rule."""
    kind = dice.randrange(8)
    at = dice.randrange(len(body) + 1)
    if kind == 0:
        return body[:at]
    if kind == 1:
        return body[:at] + dice.randbytes(dice.randrange(1, 9)) + body[at:]
    if kind == 2:
        return dice.randbytes(dice.randrange(200))
    if kind == 3:
        return b"[" * dice.choice([10, 1000, 200_000])
    if kind == 4:
        return body.replace(b'"@"', b'"at":null,"@"', 1) + b" "
    if kind == 5:
        return b"9" * dice.choice([1, 100, 10_000])
    if kind == 6:
        return body.decode().encode(dice.choice(["utf-16", "utf-32", "utf-8-sig"]))
    changed = bytearray(body or b"x")
    for _ in range(dice.randrange(1, 6)):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def seeds(first: int, count: int) -> Iterator[random.Random]:
    """One source of chance per case, so that a case can be run alone."""
    for seed in range(first, first + count):
        yield random.Random(seed)
