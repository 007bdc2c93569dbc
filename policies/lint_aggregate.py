"""What is odd about the rules of mode `aggregate`: each is meant to stop a known way of reading off a unit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from policies.findings import Finding
from policies.model import Aggregate
from policies.problems import join

UNITS_LEAST: Final = 3
"""Of two units each knows the other one: its own contribution taken away from the sum."""
UNITS_FEW: Final = 5
_PLACE: Final = "release.aggregate"


def lint_aggregate(rules: Aggregate) -> Iterator[Finding]:
    yield from _sizes(rules)
    yield from _largest(rules)
    yield from _limits(rules)


def _sizes(rules: Aggregate) -> Iterator[Finding]:
    place = join(_PLACE, "units_min")
    if rules.units_min < UNITS_LEAST:
        message = "of a number that stands on two units each of both can read off the other one"
        yield Finding("error", "units_min_two", place, message, f"{UNITS_LEAST} is the least, 10 a common choice")
    elif rules.units_min < UNITS_FEW:
        message = f"groups of {rules.units_min} are shown exactly; most custodians ask for 10 or more"
        yield Finding("warning", "units_min_low", place, message)
    if rules.difference_units_min < rules.units_min:
        message = "by subtracting two answers, a group smaller than `units_min` can be read off"
        place = join(_PLACE, "difference_units_min")
        yield Finding("warning", "difference_low", place, message, "make it at least `units_min`")


def _largest(rules: Aggregate) -> Iterator[Finding]:
    if rules.dominance_share == 1:
        message = "a sum is shown of which nearly all belongs to the largest few"
        yield Finding("warning", "dominance_void", join(_PLACE, "dominance.share"), message, "0.85 is a common share")
    if rules.p_percent == 0:
        message = "who contributes much to a sum may come close to the largest contribution by taking away its own"
        yield Finding("warning", "p_percent_void", join(_PLACE, "p_percent"), message, "10 is a common choice")
    if rules.dominance_units >= rules.units_min:
        message = (
            "every number that stands on no more than `dominance.units` units is withheld, whatever `units_min` says"
        )
        hint = "1 to 3 are common"
        yield Finding("note", "dominance_wide", join(_PLACE, "dominance.units"), message, hint)


def _limits(rules: Aggregate) -> Iterator[Finding]:
    if rules.rounding > 2 * rules.units_min:
        message = f"a group of `units_min` = {rules.units_min} units is rounded to 0"
        yield Finding("note", "rounding_wide", join(_PLACE, "rounding"), message, "a base below `units_min` is common")
    if rules.withheld_max > rules.cells_max:
        message = "somebody may probe for longer than they may be answered"
        yield Finding(
            "warning", "withheld_many", join(_PLACE, "withheld_max"), message, "a tenth of `cells_max` is common"
        )
