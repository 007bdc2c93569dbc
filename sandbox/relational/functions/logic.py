"""Conditions: comparisons, AND, OR, NOT, IN, IS NULL; and COALESCE."""

from __future__ import annotations

from dataclasses import replace

from policies.types import BOOLEAN
from sandbox.relational.expressions import Call, Literal
from sandbox.relational.facts import ColumnFacts, Refuse
from sandbox.relational.merge import merge


def condition(nullable: bool) -> ColumnFacts:
    return ColumnFacts(BOOLEAN, "the condition", nullable, keys=(False, True))


def comparison(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    first = parts[0].type
    for part in parts[1:]:
        both_numbers = first.numeric and part.type.numeric
        both_times = first.temporal and part.type.temporal
        if not (both_numbers or both_times or first == part.type):
            detail = f"{parts[0].label} of type {first} cannot be compared with {part.label} of type {part.type}"
            raise Refuse("type_mismatch", detail, at=call.at)
    return condition(any(part.nullable for part in parts))


def logic(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    for argument, part in zip(call.arguments, parts, strict=True):
        if part.type != BOOLEAN:
            raise Refuse("type_mismatch", "a condition is expected here", at=argument.at)
    return condition(any(part.nullable for part in parts))


def in_list(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    if not all(isinstance(a, Literal) and a.value is not None for a in call.arguments[1:]):
        raise Refuse("construct_not_allowed", "IN takes a list of constants", at=call.at)
    return comparison(call, parts)


def is_null(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    return condition(nullable=False)


def coalesce(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    merged = merge(parts, call.arguments, "COALESCE", call.at)
    return replace(merged, nullable=all(part.nullable for part in parts))
