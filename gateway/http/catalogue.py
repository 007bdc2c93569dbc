"""The catalogue in JSON: what a caller may see of a policy. Everything here is the author's own, public word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

from gateway.answer import value
from policies.model import Aggregate, Column, Dp, Mode, Policy, Table

_UNIT: Final = "names the protected unit: joins and COUNT(DISTINCT) only"
_HIDDEN: Final = "not available"
_EXACT: Final = frozenset({"count", "sum", "avg"})
"""What mode `aggregate` answers, whatever a policy opens."""


def line(policy: Policy, state: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset in the list. `state` is what is known of it at the moment: `state`, and `deadlines_s`."""
    return {
        "name": policy.dataset,
        "title": dict(policy.title),
        "owner": policy.owner,
        "version": policy.version,
        "tables": list(policy.tables),
        "modes": list(policy.release.modes),
        "purposes": list(policy.purposes),
        "supply": policy.supply,
        "grade": policy.grade,
        **state,
    }


def detail(policy: Policy, state: Mapping[str, Any], budgets: list[dict[str, Any]]) -> dict[str, Any]:
    """One dataset with its tables and columns, and what is left to the caller."""
    return {
        **line(policy, state),
        "digest": policy.digest,
        "unit": None if policy.unit is None else _unit(policy),
        "release": _release(policy),
        "tables": [_table(table, policy.release.modes) for table in policy.tables.values()],
        "budgets": budgets,
    }


def _unit(policy: Policy) -> dict[str, Any]:
    unit = policy.unit
    assert unit is not None  # noqa: S101  # the caller has looked
    found: dict[str, Any] = {
        "name": unit.name,
        "column": f"{unit.table}.{unit.column}",
        "count_about": unit.count_about,
    }
    if unit.blocks is not None:
        blocks = unit.blocks
        found["blocks"] = {"column": f"{unit.table}.{blocks.column}", "by": blocks.by, "names": list(blocks.names)}
    return found


def _release(policy: Policy) -> dict[str, Any]:
    release = policy.release
    found: dict[str, Any] = {
        "modes": list(release.modes),
        "reuse_across_operators": release.reuse_across_operators,
        "concurrent_max": release.concurrent_max,
    }
    if release.dp is not None and "dp" in release.modes:
        found |= _dp(release.dp)
    if release.aggregate is not None and "aggregate" in release.modes:
        found["aggregate"] = _aggregate(release.aggregate)
    return found


def _dp(dp: Dp) -> dict[str, Any]:
    return {
        "accountant": dp.accountant,
        "epsilon": _plain(dp.epsilon),
        "delta": _plain(dp.delta),
        "epsilon_per_query": _plain(dp.epsilon_per_query),
        "epsilon_per_query_max": _plain(dp.epsilon_per_query_max),
        "groups_per_unit_max": dp.groups_per_unit_max,
        "units_min": dp.units_min,
    }


def _aggregate(rules: Aggregate) -> dict[str, Any]:
    return {
        "units_min": rules.units_min,
        "dominance": {"units": rules.dominance_units, "share": _plain(rules.dominance_share)},
        "p_percent": _plain(rules.p_percent),
        "rounding": rules.rounding,
        "difference_units_min": rules.difference_units_min,
        "cells_max": rules.cells_max,
        "withheld_max": rules.withheld_max,
    }


def _table(table: Table, modes: Sequence[Mode]) -> dict[str, Any]:
    pairs = () if table.link is None else table.link.pairs
    to_table = None if table.link is None else table.link.to_table
    return {
        "name": table.name,
        "public": table.public,
        "key": (table.key[0] if len(table.key) == 1 else list(table.key)) or None,
        "link": " AND ".join(f"{column} = {to_table}.{to_column}" for column, to_column in pairs) or None,
        "rows_per_unit_max": table.rows_per_unit_max,
        "columns": [
            _column(column, modes, opened=table.public and "open" in modes) for column in table.columns.values()
        ],
    }


def _column(column: Column, modes: Sequence[Mode], *, opened: bool = False) -> dict[str, Any]:
    if column.role == "hidden":
        return {"name": column.name, "role": "hidden", "use": _HIDDEN}
    found: dict[str, Any] = {
        "name": column.name,
        "type": str(column.type),
        "role": column.role,
        "use": _opened(column, modes) if opened else _use(column),
        "filter": column.filter,
        "aggregates": _answered(column, modes),
        "nullable": column.nullable,
        "sensitive": column.sensitive,
    }
    optional: Mapping[str, Any] = {
        "values": None if column.values is None else [value(item) for item in column.values],
        "range": None if column.range is None else [_plain(edge) for edge in column.range],
        "bins": None if column.bins is None else [_plain(edge) for edge in column.bins],
        "via": list(column.via) or None,
        "joins": [f"{table}.{name}" for table, name in column.joins] or None,
    }
    return found | {name: item for name, item in optional.items() if item is not None}


def _answered(column: Column, modes: Sequence[Mode]) -> list[str]:
    """The aggregates that a question may hold, in one of the modes on offer."""
    if column.role == "unit":
        return ["count_distinct"]
    return sorted(column.aggregates & _EXACT if set(modes) - {"open"} == {"aggregate"} else column.aggregates)


def _opened(column: Column, modes: Sequence[Mode]) -> str:
    """Of a column of a public table that mode `open` shows."""
    return "anything" if tuple(modes) == ("open",) else f"{_use(column)}; in mode `open` anything"


def _use(column: Column) -> str:
    """What a question may do with the column, in words: the role's, and what the policy opens or closes besides."""
    filters = column.filter != "none"
    if column.role == "unit":
        return _UNIT
    if column.role == "key":
        return "joins and filters, never shown" if filters else "joins only, never shown"
    if column.role == "dimension":
        return "group and filter" if filters else "group"
    binned = ", group by bin(x)" if column.bins else ""
    return "aggregate" + (", filter" if filters else "") + binned


def _plain(edge: Decimal | date) -> str:
    return format(edge, "f") if isinstance(edge, Decimal) else edge.isoformat()
