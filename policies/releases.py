"""How answers leave: the modes, their budgets and their rules, checked and with defaults filled in."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Context, Decimal
from typing import Final

from policies.documents import AggregateDocument, DpDocument, ReleaseDocument
from policies.model import Aggregate, Dp, Release
from policies.privacy_loss import DELTA_UNIT, EPSILON_MAX, EPSILON_UNIT, rho_for, units_down
from policies.problems import Report, join, shown

DELTA_MAX: Final = Decimal("1e-6")
DELTA_MIN: Final = Decimal("1e-18")
"""Below this a query's share of delta is lost in rounding."""
KEY_QUERIES: Final = 2000
"""Into how many queries with private keys half of delta is cut by default, times two."""
DOMINANCE: Final = (2, Decimal("0.85"))
P_PERCENT: Final = Decimal(10)
_EXACT: Final = Context(prec=60, rounding=ROUND_FLOOR)
_EPSILON_MAX: Final = Decimal(EPSILON_MAX // EPSILON_UNIT)


def build_release(document: ReleaseDocument, report: Report, *, protects: bool, opens: bool) -> Release:
    """The release section; `protects` says whether the policy has a unit, `opens` whether a table of it is public."""
    at = "release.modes"
    for mode in dict.fromkeys(document.modes):
        if document.modes.count(mode) > 1:
            report.add(at, f"`{mode}` is listed twice")
        if mode != "open" and getattr(document, mode) is None:
            report.add(at, f"mode `{mode}` has no section", f"add [release.{mode}]")
        if mode == "open" and not opens:
            report.add(at, "mode `open` answers public tables alone, and this policy has none", "leave it out")
        if mode != "open" and not protects:
            report.add(
                at, f"mode `{mode}` protects units, and this policy has none", "add [unit], or offer mode `open`"
            )
    return Release(
        modes=tuple(document.modes),
        reuse_across_operators=document.reuse_across_operators,
        concurrent_max=document.concurrent_max,
        dp=None if document.dp is None else _dp(document.dp, report),
        aggregate=None if document.aggregate is None else _aggregate(document.aggregate, report),
    )


def check_epsilon(epsilon: Decimal, place: str, report: Report) -> bool:
    """Whether `epsilon` is one that can be accounted for."""
    if 0 < epsilon <= _EPSILON_MAX:
        return True
    report.add(place, f"an epsilon is above 0 and at most {_EPSILON_MAX}")
    return False


def _dp(document: DpDocument, report: Report) -> Dp:
    place = "release.dp"
    per_query = document.epsilon_per_query
    per_query_max = per_query if document.epsilon_per_query_max is None else document.epsilon_per_query_max
    sound = check_epsilon(document.epsilon, join(place, "epsilon"), report)
    sound &= check_epsilon(per_query, join(place, "epsilon_per_query"), report)
    sound &= check_epsilon(per_query_max, join(place, "epsilon_per_query_max"), report)
    if per_query > per_query_max:
        at = join(place, "epsilon_per_query")
        report.add(at, f"{shown(per_query)} is above `epsilon_per_query_max`, {shown(per_query_max)}")
    if per_query_max > document.epsilon:
        named = "epsilon_per_query" if document.epsilon_per_query_max is None else "epsilon_per_query_max"
        at = join(place, named)
        report.add(at, f"{shown(per_query_max)} is above the cap `epsilon`, {shown(document.epsilon)}")
    delta, delta_per_query = _deltas(document, report)
    if sound and delta is not None and _too_small(document, per_query, delta):
        report.add(join(place, "epsilon_per_query"), "this is so small that no answer would be left under the noise")
    return Dp(
        accountant=document.accountant,
        epsilon=document.epsilon,
        delta=delta or Decimal(0),
        epsilon_per_query=per_query,
        epsilon_per_query_max=per_query_max,
        delta_per_query=delta_per_query,
        groups_per_unit_max=document.groups_per_unit_max,
        units_min=document.units_min,
    )


def _deltas(document: DpDocument, report: Report) -> tuple[Decimal | None, Decimal]:
    """Delta, None where it is unsound, and what a query may spend of it."""
    at = "release.dp.delta"
    delta = document.delta
    if delta is None:
        if document.accountant == "zcdp":
            report.add(at, "accountant `zcdp` needs a delta", "for example 1e-9, and well below 1 / count_max")
            return None, Decimal(0)
        delta = Decimal(0)
    if delta > DELTA_MAX:
        report.add(at, f"{shown(delta)} is above 1e-6", "a delta this large lets some units be shown outright")
        return None, Decimal(0)
    if delta < DELTA_MIN and (document.accountant == "zcdp" or delta != 0):
        report.add(at, "a delta is at least 1e-18", None if document.accountant == "zcdp" else "or leave it out")
        return None, Decimal(0)
    share = _EXACT.divide(delta, Decimal(KEY_QUERIES))
    per_query = share if document.delta_per_query is None else document.delta_per_query
    if per_query < 0 or (per_query == 0 and delta != 0):
        report.add("release.dp.delta_per_query", "this is above 0", "leave it out for `delta` / 2000")
    if per_query > _EXACT.divide(delta, Decimal(2)):
        report.add("release.dp.delta_per_query", "this is above half of `delta`", "leave it out for `delta` / 2000")
    return delta, per_query


def _too_small(document: DpDocument, per_query: Decimal, delta: Decimal) -> bool:
    """Whether the default price rounds to nothing: infinite noise."""
    epsilon = units_down(per_query, EPSILON_UNIT)
    if document.accountant == "pure":
        return epsilon == 0
    return rho_for(epsilon, units_down(delta, DELTA_UNIT) // 2) == 0


def _aggregate(document: AggregateDocument, report: Report) -> Aggregate:
    place = "release.aggregate"
    units, share = DOMINANCE if document.dominance is None else (document.dominance.units, document.dominance.share)
    p_percent = P_PERCENT if document.p_percent is None else document.p_percent
    if not 0 < share <= 1:
        report.add(join(place, "dominance.share"), "a share is above 0 and at most 1")
    if not 0 <= p_percent <= 100:
        report.add(join(place, "p_percent"), "a percentage is from 0 to 100")
    difference = document.difference_units_min
    return Aggregate(
        units_min=document.units_min,
        dominance_units=units,
        dominance_share=share,
        p_percent=p_percent,
        rounding=document.rounding,
        difference_units_min=document.units_min if difference is None else difference,
        cells_max=document.cells_max,
        withheld_max=document.withheld_max,
    )
