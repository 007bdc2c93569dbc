"""Interval arithmetic in exact fractions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction

Interval = tuple[Fraction, Fraction]
Curve = tuple[Callable[[float], float], Fraction | None, Fraction | None]
"""A rising function, and where it starts and ends to be defined."""


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


def sign(inner: Interval) -> Interval:
    return Fraction((inner[0] > 0) - (inner[0] < 0)), Fraction((inner[1] > 0) - (inner[1] < 0))


def cut(inner: Interval) -> Interval:
    """Fractions dropped, toward 0."""
    return Fraction(int(inner[0])), Fraction(int(inner[1]))


def divide_whole(left: Interval, right: Interval) -> Interval:
    """By a whole number other than 0, so by 1 or -1 at the least."""
    kept = ((right[0], min(right[1], Fraction(-1))), (max(right[0], Fraction(1)), right[1]))
    parts = [found for low, high in kept if low <= high and (found := divide(left, (low, high)))]
    return hull(parts) if parts else (Fraction(0), Fraction(0))


def modulo(left: Interval, right: Interval) -> Interval:
    """The remainder has the sign of `left`, and is nearer to 0 than both."""
    return _remainder(left, max(abs(right[0]), abs(right[1])))


def modulo_whole(left: Interval, right: Interval) -> Interval:
    return _remainder(left, max(abs(right[0]), abs(right[1]), Fraction(1)) - 1)


def _remainder(left: Interval, most: Fraction) -> Interval:
    return max(min(left[0], Fraction(0)), -most), min(max(left[1], Fraction(0)), most)


def power(inner: Interval, exponent: Fraction) -> Interval | None:
    """None where the power is not defined all over `inner`, or too large for a double."""
    low, high = inner
    if exponent.denominator != 1:
        return rising((lambda x: x ** float(exponent), Fraction(0), None), inner) if exponent > 0 else None
    if (exponent < 0 and low <= 0 <= high) or _too_large(inner):
        return None
    corners = [edge ** int(exponent) for edge in inner]
    if exponent % 2 == 0 and exponent > 0 and low <= 0 <= high:
        corners.append(Fraction(0))
    found = min(corners), max(corners)
    return None if _too_large(found) else found


def rising(curve: Curve, inner: Interval) -> Interval | None:
    """Bounds of a rising function, rounded outward; None where `inner` leaves what it is defined on."""
    function, start, end = curve
    if (start is not None and inner[0] < start) or (end is not None and inner[1] > end) or _too_large(inner):
        return None
    low, high = (Fraction(function(float(edge))) for edge in inner)
    return math.floor(low * _FINE - _SLACK * abs(low)) / _FINE, math.ceil(high * _FINE + _SLACK * abs(high)) / _FINE


def _too_large(inner: Interval) -> bool:
    return max(abs(inner[0]), abs(inner[1])) > 10**300


_FINE = Fraction(2**30)
_SLACK = Fraction(1, 2**10)
"""Of a value in steps of 1 / _FINE: far more than libraries of mathematics differ by."""
