"""Numbers that the engine keeps as doubles, reckoned exactly, beside how far off a double may be.

The one place where the engine and the reference may differ: a rounding to whole steps whose exact argument lies so near
to the edge between two whole numbers that an error of a double, 2^-53 of its value at each operation, decides. There,
and only there, a whole number has `slack` above 0. Where every intermediate number is a double itself there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

HALF_UNIT = Fraction(1, 2**53)
LOGARITHM = 128 * HALF_UNIT
"""More than rounding of a logarithm of up to a hundred is worth."""
SMALLEST = Fraction(1, 2**1074)


class Undecided(Exception):
    """Rounding of doubles decides where a row falls, and the reference cannot know: this question is not compared."""


@dataclass(frozen=True)
class Close:
    """A whole number that the engine's differs from by at most `slack`."""

    value: int
    slack: int = 0

    def within(self, low: int, high: int) -> Close:
        """Clamped; a clamp brings nothing further apart."""
        return Close(min(max(self.value, low), high), self.slack)


def total(parts: Iterable[Close]) -> Close:
    value = slack = 0
    for part in parts:
        value, slack = value + part.value, slack + part.slack
    return Close(value, slack)


@dataclass(frozen=True)
class Double:
    """An exact number, and the most that the engine's double is off."""

    exact: Fraction
    off: Fraction = Fraction(0)

    def __add__(self, other: Double) -> Double:
        return _rounded(self.exact + other.exact, self.off + other.off)

    def __sub__(self, other: Double) -> Double:
        return _rounded(self.exact - other.exact, self.off + other.off)

    def __mul__(self, other: Double) -> Double:
        off = abs(self.exact) * other.off + abs(other.exact) * self.off + self.off * other.off
        return _rounded(self.exact * other.exact, off)

    def __truediv__(self, other: Double) -> Double:
        exact = self.exact / other.exact
        return _rounded(exact, (self.off + abs(exact) * other.off) / (abs(other.exact) - other.off))

    def nearest(self) -> Close:
        """To the nearest whole number, halves away from 0."""
        return self._whole(nearest)

    def toward_zero(self) -> Close:
        return self._whole(math.trunc)

    def floor(self) -> Close:
        return self._whole(math.floor)

    def _whole(self, rule: Callable[[Fraction], int]) -> Close:
        value = rule(self.exact)
        if not self.off:
            return Close(value)
        return Close(value, max(rule(self.exact + self.off) - value, value - rule(self.exact - self.off)))


def double(number: Fraction | int | float) -> Double:
    """The double nearest to `number`."""
    return _rounded(Fraction(number), Fraction(0))


def nearest(number: Fraction) -> int:
    return math.floor(number + Fraction(1, 2)) if number >= 0 else -math.floor(-number + Fraction(1, 2))


def _rounded(exact: Fraction, off: Fraction) -> Double:
    if not off and _is_double(exact):
        return Double(exact)
    return Double(exact, off + (abs(exact) + off) * HALF_UNIT + SMALLEST)


def _is_double(exact: Fraction) -> bool:
    return exact.denominator.bit_count() == 1 and abs(exact.numerator) < 2**53 and exact.denominator < 2**1000


def first_level(ratio: Double, power: int) -> int:
    """The least level j with ratio ** power <= 2 ** j; 0 for what is below. Undecided where a logarithm may err."""
    if ratio.exact <= 0:
        return 0
    found = {_first_level(exact**power) for exact in (ratio.exact - ratio.off, ratio.exact, ratio.exact + ratio.off)}
    if not _power_of_two(ratio.exact**power):
        found |= {_first_level(ratio.exact**power * (1 + LOGARITHM * sign)) for sign in (-1, 1)}
    if len(found) > 1:
        raise Undecided
    return found.pop()


def _first_level(ratio: Fraction) -> int:
    level = 0
    while ratio > 2**level:
        level += 1
    return level


def _power_of_two(ratio: Fraction) -> bool:
    return ratio.denominator == 1 and ratio.numerator.bit_count() == 1
