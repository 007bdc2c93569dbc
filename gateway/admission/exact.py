"""What mode `aggregate` answers: aggregates of which it is known who stands behind each number.

The data domain proves more of a question than this, and refuses by the same code. Here stands what can be told from the
aggregate's name alone, so that a refusal can offer what would pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.errors import Refusal
from sandbox.relational.nodes import MeasureFunction, Output, find_release

ANSWERED: Final[frozenset[MeasureFunction]] = frozenset({"count_rows", "count", "count_units", "sum", "avg"})

_NAMES: Final[Mapping[MeasureFunction, str]] = {"count_distinct": "COUNT(DISTINCT x)", "quantile": "a quantile"}


def require_exact(plan: Output, *, noisy: bool) -> None:
    """Raises Refusal(aggregate_not_allowed). `noisy` says whether the policy offers mode `dp` as well."""
    for measure in find_release(plan).measures:
        if measure.function not in ANSWERED:
            name = _NAMES.get(measure.function, measure.function.upper())
            message = f"{name} is not answered exactly: it is not known who stands behind the number"
            hint = "COUNT, COUNT(DISTINCT unit), SUM and AVG are" + ("; or ask in mode `dp`" if noisy else "")
            raise Refusal("aggregate_not_allowed", message, hint=hint, at=measure.at)
