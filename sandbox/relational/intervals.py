"""Interval arithmetic in exact fractions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

Interval = tuple[Fraction, Fraction]


def add(left: Interval, right: Interval) -> Interval:
    return left[0] + right[0], left[1] + right[1]


def subtract(left: Interval, right: Interval) -> Interval:
    return left[0] - right[1], left[1] - right[0]


def multiply(left: Interval, right: Interval) -> Interval:
    corners = [a * b for a in left for b in right]
    return min(corners), max(corners)


def divide(left: Interval, right: Interval) -> Interval | None:
    """None when the divisor may be 0."""
    if right[0] <= 0 <= right[1]:
        return None
    corners = [a / b for a in left for b in right]
    return min(corners), max(corners)


def negate(inner: Interval) -> Interval:
    return -inner[1], -inner[0]


def absolute(inner: Interval) -> Interval:
    low, high = inner
    if low >= 0:
        return inner
    return (Fraction(0), max(-low, high)) if high >= 0 else (-high, -low)


def floor(inner: Interval) -> Interval:
    return Fraction(math.floor(inner[0])), Fraction(math.floor(inner[1]))


def ceil(inner: Interval) -> Interval:
    return Fraction(math.ceil(inner[0])), Fraction(math.ceil(inner[1]))


def rounded(inner: Interval, digits: int) -> Interval:
    """One grid step wider on each side: engines differ in how they round halves."""
    grid = Fraction(10) ** -digits
    return math.floor(inner[0] / grid) * grid, math.ceil(inner[1] / grid) * grid


def least(parts: Iterable[Interval]) -> Interval:
    found = list(parts)
    return min(low for low, _ in found), min(high for _, high in found)


def greatest(parts: Iterable[Interval]) -> Interval:
    found = list(parts)
    return max(low for low, _ in found), max(high for _, high in found)


def hull(parts: Iterable[Interval]) -> Interval:
    found = list(parts)
    return min(low for low, _ in found), max(high for _, high in found)
