"""What is odd about how a policy's answers leave: budgets, thresholds, supply, and the noise that all this means."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal

from policies.findings import Finding
from policies.lint_aggregate import lint_aggregate
from policies.model import Dp, Policy, Unit
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT, rho_for, units_down
from policies.problems import join, listed

EPSILON_HIGH = 10
NOISE_SHARE_MAX = Decimal("0.02")
"""Of the number of units: a count that is off by more is of little use."""
MEANING_SHARE_MAX = 4
"""One query that may take more than a fourth of the budget for life is worth a word."""


def lint_release(policy: Policy) -> Iterator[Finding]:
    yield from _supply(policy)
    release = policy.release
    for mode in ("dp", "aggregate"):
        if getattr(release, mode) is not None and mode not in release.modes:
            message = f"the rules of mode `{mode}` are written down, but the mode is not on offer"
            yield Finding(
                "note", "section_unused", f"release.{mode}", message, "if it is meant to be, add it to `modes`"
            )
    if {"dp", "aggregate"} <= set(release.modes):
        message = "exact numbers leave beside noisy ones: what epsilon promises then holds for the noisy ones alone"
        hint = "offer one of both where that promise has to hold for all that is said"
        yield Finding("note", "modes_mixed", "release.modes", message, hint)
    if "open" in release.modes and policy.unit is not None and policy.supply != "withheld":
        opened = listed(f"`{table.name}`" for table in policy.tables.values() if table.public)
        message = f"whoever holds a token reads the rows of {opened}, with or without a licence"
        hint = "that is right for reference data; leave `open` out where it is not"
        yield Finding("note", "tables_opened", "release.modes", message, hint)
    if release.dp is not None and policy.unit is not None:
        yield from _budget(release.dp, policy.unit)
        yield from _noise(policy, release.dp, policy.unit)
    if release.aggregate is not None:
        yield from lint_aggregate(release.aggregate)


def _supply(policy: Policy) -> Iterator[Finding]:
    if policy.supply == "withheld":
        yield Finding("note", "supply_withheld", "supply", "this dataset is withheld: no question will be answered")
    if policy.unit is None and policy.supply in ("shared", "authorised"):
        message = "every table is public, and yet a licence is asked for"
        hint = 'supply = "open" serves everybody; or is a table about people marked public by mistake?'
        yield Finding("warning", "licence_for_public", "supply", message, hint)


def _budget(dp: Dp, unit: Unit) -> Iterator[Finding]:
    place = "release.dp"
    if dp.epsilon > EPSILON_HIGH:
        message = f"a budget for life above {EPSILON_HIGH} promises little to the single {unit.name}"
        yield Finding("warning", "epsilon_high", join(place, "epsilon"), message, "8 and less are common")
    if dp.delta * unit.count_max > 1:
        message = f"the promise may fail outright for about one {unit.name} of all, or more"
        hint = f"choose a delta well below 1 / count_max = 1 / {unit.count_max}"
        yield Finding("warning", "delta_high", join(place, "delta"), message, hint)
    if dp.epsilon_per_query_max * MEANING_SHARE_MAX > dp.epsilon:
        message = "one question may use up more than a fourth of the budget for life"
        yield Finding("note", "query_share_high", join(place, "epsilon_per_query_max"), message)


def _noise(policy: Policy, dp: Dp, unit: Unit) -> Iterator[Finding]:
    """What `rows_per_unit_max` costs: one unit's rows must vanish in the noise together."""
    for table in policy.tables.values():
        rows = table.rows_per_unit_max
        if rows is None or rows == 1:
            continue
        noise = count_noise(dp, rows)
        if noise > float(NOISE_SHARE_MAX * unit.count_about):
            message = (
                f"because one {unit.name} may have {rows} rows here, a count of rows will typically be off by about "
                f"{noise:,.0f}, while `count_about` is {unit.count_about:,}"
            )
            hint = "the smallest number that nearly all keep to gives the best answers: further rows just weigh less"
            yield Finding(
                "warning", "rows_per_unit_high", join("tables", table.name, "rows_per_unit_max"), message, hint
            )


def count_noise(dp: Dp, rows: int) -> float:
    """Standard deviation of a count at the default price, where a unit has up to `rows` rows. For people to read."""
    epsilon = units_down(dp.epsilon_per_query, EPSILON_UNIT)
    if dp.accountant == "pure":
        return math.sqrt(2) * rows * EPSILON_UNIT / epsilon
    rho = rho_for(epsilon, units_down(dp.delta, DELTA_UNIT) // 2)
    return rows / math.sqrt(2 * rho / RHO_UNIT)
