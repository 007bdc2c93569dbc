"""Amounts of records, read back: exact decimals become the integers that are added up."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache

from gateway.budget.loss import Loss
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT, units_up


def amounts(line: Mapping[str, str]) -> tuple[int, int, int]:
    """(rho, epsilon, delta) of a line of `charges`."""
    return _units(line["rho"], line["epsilon"], line["delta"])


def charged(line: Mapping[str, str], accountant: str) -> Loss:
    """What the line of a charge adds to a scope of `accountant`."""
    rho, epsilon, delta = amounts(line)
    return Loss(rho=rho, delta=delta) if accountant == "zcdp" else Loss(epsilon=epsilon, delta=delta)


@lru_cache(maxsize=4096)
def _units(rho: str, epsilon: str, delta: str) -> tuple[int, int, int]:
    """Prices repeat, and a start reads all of them."""
    return (
        units_up(Decimal(rho), RHO_UNIT),
        units_up(Decimal(epsilon), EPSILON_UNIT),
        units_up(Decimal(delta), DELTA_UNIT),
    )
