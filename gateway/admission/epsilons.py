"""What a question may cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from gateway.errors import Refusal
from policies.model import Dp
from policies.privacy_loss import units_down

_UNIT_DIGITS: Final = 12
EPSILON_UNIT: Final = 10**_UNIT_DIGITS
"""Epsilon travels as an int in 1e-12."""
_HUGE: Final = 1_000_000


def epsilon_for(dp: Dp, asked: Decimal | None) -> int:
    """The epsilon of this question in 1e-12, exactly as asked. Raises Refusal epsilon_invalid, epsilon_too_large."""
    epsilon = dp.epsilon_per_query if asked is None else asked
    if not epsilon.is_finite() or epsilon <= 0:
        raise Refusal("epsilon_invalid", "epsilon is a number above 0")
    if epsilon > dp.epsilon_per_query_max or epsilon > _HUGE:
        message = f"a query of this dataset may cost an epsilon of at most {dp.epsilon_per_query_max.normalize():f}"
        raise Refusal("epsilon_too_large", message, hint="ask with a smaller `epsilon`")
    units = _exact_units(epsilon)
    if units is None:
        raise Refusal("epsilon_invalid", f"epsilon has at most {_UNIT_DIGITS} decimals")
    return units


def most_of(dp: Dp) -> int:
    """The most that a question of the dataset may cost, in 1e-12."""
    return units_down(dp.epsilon_per_query_max, EPSILON_UNIT)


def _exact_units(epsilon: Decimal) -> int | None:
    """`epsilon` in 1e-12 by its digits, without any rounding of decimal contexts; None where it has more."""
    _, digits, exponent = epsilon.as_tuple()
    shift = int(exponent) + _UNIT_DIGITS
    written = int("".join(map(str, digits)))
    if shift >= 0:
        return written * int(10**shift)
    if -shift > len(digits):
        return None
    units, rest = divmod(written, 10**-shift)
    return units if rest == 0 else None
