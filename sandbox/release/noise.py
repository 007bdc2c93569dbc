"""Noise, by OpenDP, on integers, from the operating system's randomness. Never seeded, never switched off.

Guarantee: each function spends at most the loss it is given; the very measurement that runs is asked for its privacy
map first, and refused if the map says more.
Source: docs/explanation/guarantees/noise.md
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import opendp.prelude as dp

from policies.model import Accountant
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT
from policies.types import Value
from sandbox.relational.statistics import Norm

dp.enable_features("contrib")

Mechanism = Literal["gaussian", "laplace", "gumbel", "permute_and_flip"]
_INTEGERS = dp.vector_domain(dp.atom_domain(T="i64"))
_UP = 1 + 1e-9
DISCRETE_SCALE_MAX = 1000.0
"""Above this the discrete and the continuous Gaussian agree to well under a step."""


class MapExceedsPrice(AssertionError):
    """The privacy map of a measurement says more than its share: a bug of ours, so nothing is released."""


@dataclass(frozen=True, slots=True)
class Scale:
    mechanism: Mechanism
    value: float

    def accuracy(self, alpha: float, cells: int = 1) -> int:
        """Half-width that the noise of a sum of `cells` numbers stays within with probability 1 - alpha, rounded up.

        In steps. Exact for one number; for several under Laplace noise it is a bound, so the confidence is more.
        """
        return _accuracy(self.mechanism, self.value, alpha, cells)


@lru_cache(maxsize=4096)
def _accuracy(mechanism: Mechanism, scale: float, alpha: float, cells: int) -> int:
    match mechanism:
        case "laplace" if cells == 1:
            return math.ceil(dp.discrete_laplacian_scale_to_accuracy(scale, alpha))
        case "laplace":
            return math.ceil(_laplace_sum(scale, alpha, cells)) + 1
        case "gaussian" if cells == 1 and scale <= DISCRETE_SCALE_MAX:
            return math.ceil(dp.discrete_gaussian_scale_to_accuracy(scale, alpha))
        case "gaussian":
            return math.ceil(float(dp.gaussian_scale_to_accuracy(scale * math.sqrt(cells), alpha)))
        case _:
            raise AssertionError("a choice has no half-width")


def _laplace_sum(scale: float, alpha: float, cells: int) -> float:
    """Chernoff's bound for a sum of `cells` Laplace variables: the least t over a grid of exponents below 1 / scale."""
    tail = math.log(2 / alpha)
    parts = (i / 256 for i in range(1, 256))
    return min(scale / x * (tail - cells * math.log1p(-x * x)) for x in parts)


def scale_of(norm: Norm, accountant: Accountant, share: int) -> Scale:
    """The scale of noise on numbers of which one unit moves `norm`, in their steps. `share` is in 1e-12."""
    if accountant == "zcdp":
        return Scale("gaussian", math.sqrt(norm.squared / (2 * share / RHO_UNIT)) * _UP)
    return Scale("laplace", norm.total / (share / EPSILON_UNIT) * _UP)


def add_noise(values: Sequence[int], norm: Norm, accountant: Accountant, share: int) -> tuple[int, ...]:
    """`values` with noise on each entry, sized for the norm over all of them together.

    Guarantee: share-zCDP (zcdp) or share-DP (pure), for neighbours whose exact values differ by at most the norm.
    """
    scale = scale_of(norm, accountant, share)
    if accountant == "zcdp":
        measurement = dp.m.make_gaussian(_INTEGERS, dp.l2_distance(T=float), scale=scale.value)
        spent = measurement.map(math.nextafter(math.sqrt(norm.squared), math.inf)) * RHO_UNIT
    else:
        measurement = dp.m.make_laplace(_INTEGERS, dp.l1_distance(T="i64"), scale=scale.value)
        spent = measurement.map(norm.total) * EPSILON_UNIT
    if spent > share:
        raise MapExceedsPrice
    return tuple(int(value) for value in measurement(list(values))) if values else ()


def choice_scale(sensitivity: int, accountant: Accountant, share: int, *, monotonic: bool) -> Scale:
    """The scale of noise on scores from which the least is chosen."""
    factor = 1 if monotonic else 2
    if accountant == "zcdp":
        return Scale("gumbel", factor * sensitivity / math.sqrt(8 * share / RHO_UNIT) * _UP)
    return Scale("permute_and_flip", factor * sensitivity / (share / EPSILON_UNIT) * _UP)


def choose_least(
    scores: Sequence[int], sensitivity: int, accountant: Accountant, share: int, *, monotonic: bool
) -> int:
    """The place of a score that is about the least.

    `monotonic` says that adding a unit moves all scores in one direction.
    Guarantee: share-zCDP (zcdp) or share-DP (pure), for neighbours whose scores differ by at most `sensitivity` each.
    Source: docs/explanation/guarantees/choice.md
    """
    scale = choice_scale(sensitivity, accountant, share, monotonic=monotonic)
    measure = dp.zero_concentrated_divergence() if accountant == "zcdp" else dp.max_divergence()
    metric = dp.linf_distance(T="i64", monotonic=monotonic)
    chooser = dp.m.make_noisy_max(_INTEGERS, metric, measure, scale=scale.value, negate=True)
    if chooser.map(sensitivity) * (RHO_UNIT if accountant == "zcdp" else EPSILON_UNIT) > share:
        raise MapExceedsPrice
    return int(chooser(list(scores)))


THRESHOLD_MAX = 2**52
"""Counts beyond it have no place in a double; no dataset has so many units."""


class NoThreshold(ValueError):
    """No threshold keeps the keys of one unit within delta: the library's map rounds probabilities up to 2^-53."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What a selection of keys may spend: a share of rho or epsilon in 1e-12, and delta in 1e-24."""

    accountant: Accountant
    share: int
    delta: int


@dataclass(frozen=True, slots=True)
class Threshold:
    scale: float
    value: int


@lru_cache(maxsize=1024)
def threshold_for(groups: int, paid: Paid) -> Threshold:
    """A threshold on noisy numbers of units that shows keys of one unit with probability at most delta.

    The map of OpenDP 0.16 tells too small a delta, by up to one step of the discrete noise. Under zcdp it takes the
    tail of the continuous Gaussian, and P[discrete >= m] <= P[continuous >= m - 1] (Canonne, Kamath, Steinke 2020,
    proposition 25). Under pure it takes P[noise > m], and noise of m is let through. One step more pays for either.
    Raises NoThreshold.
    """
    scale = scale_of(Norm(groups, groups), paid.accountant, paid.share).value
    low, high = 1, 2
    while not _holds(groups, Threshold(scale, high), paid):
        low, high = high, 2 * high
        if high > THRESHOLD_MAX:
            raise NoThreshold
    while high - low > 1:
        middle = (low + high) // 2
        if _holds(groups, Threshold(scale, middle), paid):
            high = middle
        else:
            low = middle
    return Threshold(scale, high + 1)


def _holds(groups: int, limit: Threshold, paid: Paid) -> bool:
    try:
        loss, delta = _selection(limit, paid.accountant).map(_distance(groups, paid.accountant))
    except dp.OpenDPException:  # a threshold below what one unit adds has no map
        return False
    unit = RHO_UNIT if paid.accountant == "zcdp" else EPSILON_UNIT
    return bool(loss * unit <= paid.share and delta * DELTA_UNIT <= paid.delta)


def _distance(groups: int, accountant: Accountant) -> tuple[int, float, float] | tuple[int, int, int]:
    """(L0, L2 or L1, Linf) of one unit's part in the counts of units."""
    if accountant == "zcdp":
        return groups, math.nextafter(math.sqrt(groups), math.inf), 1.0
    return groups, groups, 1


def _selection(limit: Threshold, accountant: Accountant) -> dp.Measurement:
    domain = dp.map_domain(dp.atom_domain(T=str), dp.atom_domain(T="i64"))
    if accountant == "zcdp":
        metric = dp.l02inf_distance(dp.absolute_distance(T="f64"))
        return dp.m.make_gaussian_threshold(domain, metric, scale=limit.scale, threshold=limit.value)
    metric = dp.l01inf_distance(dp.absolute_distance(T="i64"))
    return dp.m.make_laplace_threshold(domain, metric, scale=limit.scale, threshold=limit.value)


def select_keys(
    units: Mapping[tuple[Value, ...], int], groups: int, units_min: int, paid: Paid
) -> dict[tuple[Value, ...], int]:
    """The private keys that may be shown, with their noisy number of units.

    The count is shifted by `units_min - 1` before the threshold and back after it: a floor on the exact count itself
    would not be differentially private.
    Guarantee: delta-approximate share-zCDP (zcdp) or (share, delta)-DP (pure), for neighbours that differ by 1 in at
    most `groups` keys.
    Source: docs/explanation/guarantees/private-keys.md
    """
    limit = threshold_for(groups, paid)
    if not _holds(groups, Threshold(limit.scale, limit.value - 1), paid):
        raise MapExceedsPrice
    names = {_name(key): key for key in units}
    shifted = {_name(key): max(n - (units_min - 1), 0) for key, n in units.items()}
    present = {name: n for name, n in shifted.items() if n > 0}
    if not present:
        return {}
    noisy = _selection(limit, paid.accountant)(present)
    return {names[name]: int(n) + units_min - 1 for name, n in noisy.items()}


def _name(key: tuple[Value, ...]) -> str:
    """One text per key tuple; distinct keys have distinct names."""
    return json.dumps([[type(part).__name__, None if part is None else str(part)] for part in key], ensure_ascii=True)
