"""From the accuracy that a question asks for to the smallest price that is expected to give it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, Context
from fractions import Fraction
from typing import Final

from policies import privacy_loss
from sandbox.protocol import CONFIDENCE_MAX, CONFIDENCE_MIN, Accuracy
from sandbox.relational import price as pricing
from sandbox.relational.facts import Refuse
from sandbox.release import expected, post, present
from sandbox.release.expected import Expected
from sandbox.release.make import Job

EXPONENT_MAX: Final = 100
DIGITS: Final = 3
"""Of an accuracy that is offered instead, rounded to the side of what can be had."""


def smallest_epsilon(job: Job, shown: Sequence[post.Shown], asked: Accuracy) -> int:
    """The smallest epsilon, in 1e-12 and up to that of `job`, at which every noisy column is expected to be as close.

    Raises Refuse (`accuracy_unknown`, `accuracy_unaffordable`).

    Under zcdp the search goes over rho, and the epsilon is the first whose rho is no less: turning each candidate into
    its rho would take most of the time.

    Guarantee: a function of question, policy and public metadata, as every price is.
    Source: docs/explanation/guarantees/accounting.md
    """
    _require_sound(asked)
    noisy = [column for column in shown if not column.is_key]
    if not noisy:
        detail = "this question shows no number that could be more or less accurate"
        raise Refuse("accuracy_unknown", detail, hint=_HINT)
    most = job.budget.price.epsilon
    at_most = _distance(job, noisy, asked)
    if at_most > 1:
        raise _unaffordable(asked, at_most, most)

    def suffices(loss: int) -> bool:
        try:
            budget = pricing.shared(job.plan, job.dp, loss, loss)
            return _distance(replace(job, budget=budget), noisy, asked) <= 1
        except Refuse:  # too small to be shared by the parts of the answer, or for a ratio to have an interval at all
            return False

    if job.dp.accountant == "pure":
        return _least(suffices, most)
    return _epsilon_for(_least(suffices, job.budget.price.rho), most, pricing.half_delta(job.dp))


_HINT = "name `epsilon` instead; a check tells what it buys"


def _require_sound(asked: Accuracy) -> None:
    """The gateway has read it; a broken one must not have us divide by nothing, or count with endless digits."""
    given = [number for number in (asked.relative, asked.absolute) if number is not None]
    if (
        len(given) != 1
        or not CONFIDENCE_MIN <= asked.confidence <= CONFIDENCE_MAX
        or any(number <= 0 or abs(number.adjusted()) > EXPONENT_MAX for number in (*given, asked.confidence))
    ):
        raise Refuse("accuracy_unknown", "this accuracy is none", hint=_HINT)


def _least(suffices: Callable[[int], bool], most: int) -> int:
    """The least whole number above 0 that suffices, where `most` does and widths fall as epsilon grows."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _epsilon_for(rho: int, most: int, half_delta: int) -> int:
    """The least epsilon, up to `most`, that is worth `rho`."""
    epsilon = min(most, privacy_loss.epsilon_left(rho - 1, half_delta) + 1)
    if privacy_loss.rho_for(epsilon, half_delta) >= rho:
        return epsilon
    return _least(lambda each: privacy_loss.rho_for(each, half_delta) >= rho, most)


def _distance(job: Job, noisy: Sequence[post.Shown], asked: Accuracy) -> Fraction:
    """The widest of the columns, as a part of what is asked: at most 1 where it is met."""
    found = expected.expectations(job, noisy, float(1 - asked.confidence))
    return max(_part(each, column, asked) for each, column in zip(found, noisy, strict=True))


def _part(found: Expected | None, column: post.Shown, asked: Accuracy) -> Fraction:
    """The half-width as it is told, that of a count as a whole number, as a part of what is tolerated."""
    if found is None:
        detail = f"no accuracy is known beforehand for `{column.name}`"
        raise Refuse("accuracy_unknown", detail, hint=_HINT, at=column.expression.at)
    told = present.as_value(found.half_width, column.type, up=True)
    return Fraction(told) / _tolerance(found, column, asked)  # type: ignore[arg-type]  # int, float or Decimal


def _tolerance(found: Expected, column: post.Shown, asked: Accuracy) -> Fraction:
    if asked.absolute is not None:
        return Fraction(asked.absolute)
    if asked.relative is None or not found.value:
        detail = f"what `{column.name}` will be near to is not declared, so no part of it can be named"
        hint = "ask for an `absolute` accuracy, or name `epsilon`"
        raise Refuse("accuracy_unknown", detail, hint=hint, at=column.expression.at)
    return Fraction(asked.relative) * abs(found.value)


def _unaffordable(asked: Accuracy, distance: Fraction, most: int) -> Refuse:
    epsilon = privacy_loss.text(most, privacy_loss.EPSILON_UNIT)
    if asked.relative is not None:
        best = f"`relative` {_rounded(Fraction(asked.relative) * distance)}"
    else:
        best = f"`absolute` {_rounded(Fraction(asked.absolute or 0) * distance)}"
    detail = f"this accuracy costs more than an epsilon of {epsilon}, the most that a query of this dataset may cost"
    hint = f"{best} is affordable at this confidence; coarser groups are more accurate for the same price"
    return Refuse("accuracy_unaffordable", detail, hint=hint)


def _rounded(value: Fraction) -> str:
    found = Context(prec=DIGITS, rounding=ROUND_CEILING).divide(value.numerator, value.denominator)
    return format(found.normalize(), "f")
