"""Text: spelling, parts, joining, tests against constants. Public keys are put through the function one by one."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import prod

from policies.types import BIGINT, TEXT
from sandbox.relational.expressions import Call, Literal
from sandbox.relational.facts import ColumnFacts, Refuse
from sandbox.relational.functions.logic import condition

CONCAT_MAX = 10_000
"""Longest text that `concat` makes, in characters; more is cut off, so that no nest of them fills the memory."""
PART_MAX = 10_000
"""Largest number of characters that `left`, `right` and `substring` take."""
MAPPED_MAX = 1_000
SPACES = "".join(map(chr, (0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)))
"""What the engine trims: spaces of every width, no tabs and line ends."""


def to_text(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    subjects = len(parts) if call.function == "concat" else 1
    for argument, part in list(zip(call.arguments, parts, strict=True))[:subjects]:
        if part.type != TEXT:
            detail = f"`{call.function}` needs text, and {part.label} is of type {part.type}"
            raise Refuse("type_mismatch", detail, at=argument.at)
    rule = _rule(call)
    nullable = any(part.nullable for part in parts[:subjects])
    return ColumnFacts(TEXT, "the computed text", nullable, keys=_mapped(rule, parts[:subjects]))


def length(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    (found,) = parts
    if found.type != TEXT:
        detail = f"`length` needs text, and {found.label} is of type {found.type}"
        raise Refuse("type_mismatch", detail, at=call.arguments[0].at)
    keys = None
    if found.keys is not None:
        keys = tuple(sorted({len(key) for key in found.keys if isinstance(key, str)}))
    bounds = (Fraction(keys[0]), Fraction(keys[-1])) if keys else None
    return ColumnFacts(BIGINT, "the length", found.nullable, bounds, Fraction(1), keys)


def test(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    """LIKE and its kin: a pattern is a constant, for what one row says shall not decide what another is asked."""
    subject, pattern = parts[0], call.arguments[1]
    if subject.type != TEXT or not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
        word = {"like": "LIKE", "ilike": "ILIKE"}.get(call.function, f"`{call.function}`")
        raise Refuse("type_mismatch", f"{word} compares text with a constant pattern", at=call.at)
    return condition(subject.nullable)


def count(call: Call, place: int, least: int) -> int:
    """The constant whole number among the arguments. Raises Refuse."""
    found = call.arguments[place]
    value = found.value if isinstance(found, Literal) else None
    if type(value) is not int or not least <= value <= PART_MAX:
        detail = f"`{call.function}` takes a constant number of characters from {least} to {PART_MAX}"
        raise Refuse("construct_not_allowed", detail, at=call.at)
    return value


def _rule(call: Call) -> Callable[..., str | None]:
    """What the function makes of public words; None where Python's idea of it may not be the engine's."""
    match call.function:
        case "lower" | "upper":
            return lambda word: _spelt(word, call.function)
        case "trim":
            return lambda word: word.strip(SPACES)
        case "trim_start":
            return lambda word: word.lstrip(SPACES)
        case "trim_end":
            return lambda word: word.rstrip(SPACES)
        case "left":
            first = count(call, 1, 0)
            return lambda word: word[:first]
        case "right":
            last = count(call, 1, 0)
            return lambda word: word[max(len(word) - last, 0) :]
        case "substring":
            start = count(call, 1, 1) - 1
            stop = start + count(call, 2, 0) if len(call.arguments) > 2 else None
            return lambda word: word[start:stop]
        case "concat":
            return lambda *words: "".join(words)[:CONCAT_MAX]
        case _:
            raise Refuse("function_not_allowed", f"`{call.function}` has no rule", at=call.at)


def _spelt(word: str, case: str) -> str | None:
    """Letter by letter, as the engine does; letters that become several are left to it."""
    letters = [letter.lower() if case == "lower" else letter.upper() for letter in word]
    return "".join(letters) if all(len(letter.upper()) == len(letter.lower()) == 1 for letter in word) else None


def _mapped(rule: Callable[..., str | None], parts: list[ColumnFacts]) -> tuple[str, ...] | None:
    lists = [part.keys for part in parts if part.keys is not None]
    if len(lists) != len(parts) or prod(len(keys) for keys in lists) > MAPPED_MAX:
        return None
    found = dict.fromkeys(rule(*words) for words in product(*lists))
    known = tuple(word for word in found if word is not None)
    return known if len(known) == len(found) else None
