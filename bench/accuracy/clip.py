"""What knowledge of the data could buy: the best fixed clip, found by brute force, and R2T run again on these tables.

Nothing here is private. A clip scales what a unit adds, over all groups together, down to a norm; noise is sized for
that norm. All clips of a list are tried on the exact data, and the one with the least median error is the best.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import NormalDist
from typing import Any, Final

from bench.stats import spread
from policies import privacy_loss
from policies.model import Accountant

QUANTILES: Final = (
    0.5,
    0.6,
    0.7,
    0.8,
    0.85,
    0.9,
    0.93,
    0.95,
    0.97,
    0.98,
    0.99,
    0.995,
    0.998,
    0.999,
    0.9995,
    0.9999,
    1.0,
)
"""Of the units' norms: the clips that are tried."""
WIDTHS: Final = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Half-widths of the clamp of a mean, in standard deviations around the true mean."""
DRAWS: Final = 401
"""Points at which a distribution of noise is looked at."""
PAIRS: Final = 31
"""The same for two noises at once, squared."""
R2T_BASE: Final = 5.5
R2T_BETA: Final = 0.1
R2T_LOG_BASE: Final = 2.9718
"""As in the authors' `R2TSJF.py`."""
R2T_GS: Final = 1e6
Query = Callable[[str], list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Price:
    """`delta` is what an epsilon goes with under zcdp."""

    accountant: Accountant
    epsilon: str
    delta: str

    def noise(self, norm: float) -> Callable[[float], float]:
        """The quantile function of the noise for a norm (L1 under pure, L2 under zcdp)."""
        epsilon = Decimal(self.epsilon)
        if self.accountant == "pure":
            scale = norm / float(epsilon)
            return lambda at: scale * math.copysign(math.log(1 - 2 * abs(at - 0.5)), at - 0.5)
        units = privacy_loss.units_down(epsilon, privacy_loss.EPSILON_UNIT)
        half = privacy_loss.units_down(Decimal(self.delta), privacy_loss.DELTA_UNIT) // 2
        rho = privacy_loss.rho_for(units, half) / privacy_loss.RHO_UNIT
        return NormalDist(0, norm / math.sqrt(2 * rho)).inv_cdf


@dataclass(frozen=True, slots=True)
class Best:
    """The best clip and its relative error over all groups."""

    clip: float
    median: float
    p95: float


def best_total(query: Query, units: str, price: Price) -> Best:
    """Of a count or a sum. `units` gives rows (u, g, v)."""
    query(f"CREATE OR REPLACE TEMP TABLE added AS SELECT u, g, CAST(v AS DOUBLE) AS v FROM ({units})")
    query(f"CREATE OR REPLACE TEMP TABLE norms AS SELECT u, {_norm('v', price)} AS norm FROM added GROUP BY u")
    truth = {g: float(v) for g, v in query("SELECT g, SUM(v) FROM added GROUP BY g")}
    clips = _clips(query)
    rows = query(f"SELECT g, {_clipped('v', clips)} FROM added JOIN norms USING (u) GROUP BY g")
    tried = []
    for place, clip in enumerate(clips, 1):
        noise = [price.noise(clip)(at) for at in _points(DRAWS)]
        kept = [(row[place] - truth[row[0]], abs(truth[row[0]])) for row in rows if truth[row[0]]]
        found = spread([abs(bias + each) / size for bias, size in kept for each in noise])
        tried.append(Best(clip, found.median, found.p95))
    return min(tried, key=lambda one: one.median)


def best_mean(query: Query, units: str, price: Price) -> Best:
    """Of a mean: values clamped around the true mean, (1, value) of a unit scaled to a norm. Rows (u, g, x)."""
    query(
        f"CREATE OR REPLACE TEMP TABLE points AS SELECT u, g, CAST(x AS DOUBLE) AS x FROM ({units}) WHERE x IS NOT NULL"
    )
    ((middle, deviation),) = query("SELECT AVG(x), STDDEV_POP(x) FROM points")
    truth = {g: float(v) for g, v in query("SELECT g, AVG(x) FROM points GROUP BY g")}
    tried = [best for width in WIDTHS for best in _means(query, price, truth, (middle, width * deviation))]
    return min(tried, key=lambda one: one.median)


def _means(query: Query, price: Price, truth: dict[Any, float], clamp: tuple[float, float]) -> Iterator[Best]:
    """Every clip, for values clamped to (middle, half-width)."""
    middle, half = clamp
    query(
        "CREATE OR REPLACE TEMP TABLE added AS SELECT u, g, CAST(COUNT(*) AS DOUBLE) AS n,"
        f" SUM(least(1.0, greatest(-1.0, (x - {middle!r}) / {half!r}))) AS s FROM points GROUP BY u, g"
    )
    norm = "SUM(n + abs(s))" if price.accountant == "pure" else "sqrt(SUM(n * n + s * s))"
    query(f"CREATE OR REPLACE TEMP TABLE norms AS SELECT u, {norm} AS norm FROM added GROUP BY u")
    clips = _clips(query)
    parts = f"{_clipped('n', clips)}, {_clipped('s', clips)}"
    rows = query(f"SELECT g, {parts} FROM added JOIN norms USING (u) GROUP BY g")
    for place, clip in enumerate(clips, 1):
        noise = [price.noise(clip)(at) for at in _points(PAIRS)]
        errors = []
        for row in rows:
            n, s, mean = row[place], row[place + len(clips)], truth[row[0]]
            for first, second in itertools.product(noise, noise):
                found = middle + half * max(-1.0, min(1.0, (s + second) / max(n + first, 1.0)))
                errors.append(abs(found - mean) / abs(mean))
        over = spread(errors)
        yield Best(clip, over.median, over.p95)


def _clipped(column: str, clips: Sequence[float]) -> str:
    return ", ".join(f"SUM({column} * least(1.0, {clip!r} / greatest(norm, 1e-300)))" for clip in clips)


@dataclass(frozen=True, slots=True)
class Race:
    """R2T without self-joins at a global sensitivity of 10^6, in units of `unit_of_gs`. Rows (u, g, v) as above."""

    units: str
    epsilon: float
    unit_of_gs: float = 1.0


def raced_again(query: Query, race: Race, runs: int, dice: random.Random) -> list[float]:
    """Relative errors of `runs` runs, each as the authors' code does it."""
    added = f"SELECT u, SUM(CAST(v AS DOUBLE)) / {race.unit_of_gs!r} AS v FROM ({race.units}) GROUP BY u"
    query(f"CREATE OR REPLACE TEMP TABLE totals AS {added}")
    ((truth,),) = query("SELECT SUM(v) FROM totals")
    levels = int(math.log(R2T_GS, R2T_BASE))
    sums = [query(f"SELECT SUM(least(v, {R2T_BASE**i!r})) FROM totals")[0][0] for i in range(1, levels + 1)]
    return [abs(_race(sums, race.epsilon, dice) - truth) / truth for _ in range(runs)]


def _race(sums: Sequence[float], epsilon: float, dice: random.Random) -> float:
    levels = len(sums)
    best = -math.inf
    for i, kept in enumerate(sums, 1):
        scale = R2T_BASE**i / epsilon * levels
        noise = scale * dice.expovariate(1) * dice.choice((-1, 1))
        best = max(best, kept + noise - scale * math.log(levels / R2T_BETA, R2T_LOG_BASE))
    return best


def middle_mean(values: Sequence[float]) -> float:
    """Without the lowest and the highest fifth: what the authors of R2T report of ten runs."""
    ordered = sorted(values)
    cut = len(ordered) // 5
    return statistics.fmean(ordered[cut : len(ordered) - cut])


def _norm(column: str, price: Price) -> str:
    return f"SUM(abs({column}))" if price.accountant == "pure" else f"sqrt(SUM({column} * {column}))"


def _clips(query: Query) -> list[float]:
    ((found,),) = query(f"SELECT quantile_disc(norm, [{', '.join(map(str, QUANTILES))}]) FROM norms")
    return sorted({float(norm) for norm in found if norm})


def _points(count: int) -> Iterator[float]:
    return ((i + 0.5) / count for i in range(count))
