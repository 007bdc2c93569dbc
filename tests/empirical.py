"""A lower bound on epsilon from samples of what two neighbouring datasets release, and nothing else.

On one half of the samples an event is found that the one dataset makes much likelier than the other; on the other half
its two probabilities are bounded, by Clopper and Pearson, and epsilon follows from P <= e^epsilon Q + delta.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from functools import partial

Outcome = tuple[Hashable, float]
"""What a sample shows: a word for what is discrete in it, and a number."""
BINS = 24
ERROR = 0.05
"""1 - confidence of the bound."""


def epsilon_at_least(first: Sequence[Outcome], second: Sequence[Outcome], delta: float) -> float:
    """With 95 % confidence the two distributions are not (epsilon, delta)-close for any epsilon below the result."""
    bins = _Bins([*first[::2], *second[::2]])
    ways = [_one_way(first, second, delta, bins), _one_way(second, first, delta, bins)]
    return max(0.0, *ways)


class _Bins:
    """Bins of equal weight for each word, found on the first half of the samples."""

    def __init__(self, pooled: Sequence[Outcome]) -> None:
        numbers: dict[Hashable, list[float]] = defaultdict(list)
        for word, number in pooled:
            numbers[word].append(number)
        self._edges = {
            word: sorted({found[len(found) * i // BINS] for i in range(1, BINS)})
            for word, found in ((word, sorted(found)) for word, found in numbers.items())
        }

    def counts(self, outcomes: Sequence[Outcome]) -> Counter[Hashable]:
        """A word that was not seen before is a bin of its own."""
        return Counter((word, bisect_right(self._edges.get(word, []), number)) for word, number in outcomes)


def _one_way(likelier: Sequence[Outcome], rarer: Sequence[Outcome], delta: float, bins: _Bins) -> float:
    event = _best_event(bins.counts(likelier[::2]), bins.counts(rarer[::2]), delta)
    seen, not_seen = bins.counts(likelier[1::2]), bins.counts(rarer[1::2])
    hits, misses = (sum(found[one] for one in event) for found in (seen, not_seen))
    low = probability_at_least(hits, seen.total(), ERROR / 4)
    high = 1 - probability_at_least(not_seen.total() - misses, not_seen.total(), ERROR / 4)
    return math.log((low - delta) / high) if low > delta else 0.0


def _best_event(likelier: Counter[Hashable], rarer: Counter[Hashable], delta: float) -> list[Hashable]:
    """The bins with the largest ratio, as many of them as promise the best bound."""
    several = (likelier.total(), rarer.total())
    order = sorted(likelier | rarer, key=lambda one: (likelier[one] + 0.5) / (rarer[one] + 0.5), reverse=True)
    best, found, hits, misses = -math.inf, 1, 0, 0
    for i, one in enumerate(order, start=1):
        hits, misses = hits + likelier[one], misses + rarer[one]
        p, q = (hits + 0.5) / (several[0] + 1), (misses + 0.5) / (several[1] + 1)
        low = p - 2 * math.sqrt(p * (1 - p) / several[0]) - delta
        high = q + 2 * math.sqrt(q * (1 - q) / several[1]) + 2 / several[1]
        if low > 0 and math.log(low / high) > best:
            best, found = math.log(low / high), i
    return order[:found]


def probability_at_least(hits: int, tries: int, error: float) -> float:
    """Clopper and Pearson's lower end: below it so many hits have a chance of less than `error`."""
    if hits == 0:
        return 0.0
    chance, low, high = partial(_tail, hits, tries), 0.0, hits / tries
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) < error else (low, middle)
    return low


def _tail(hits: int, tries: int, probability: float) -> float:
    """P[at least `hits` of `tries`], for a probability of at most hits / tries."""
    if probability <= 0:
        return 0.0
    if probability >= 1:
        return 1.0
    log_ways = math.lgamma(tries + 1) - math.lgamma(hits + 1) - math.lgamma(tries - hits + 1)
    term = math.exp(log_ways + hits * math.log(probability) + (tries - hits) * math.log1p(-probability))
    odds, found = probability / (1 - probability), 0.0
    for k in range(hits, tries + 1):
        found += term
        term *= (tries - k) / (k + 1) * odds
        if term < found * 1e-12:
            break
    return found
