"""What is odd about a column: bounds that are missing, groups that show too much, keys that will be refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Context, Decimal

from policies.columns import MEASURE_DEFAULTS
from policies.findings import Finding
from policies.model import Column, Policy, Table
from policies.problems import join, listed, shown

STEPS_MAX = 2**52
"""Beyond this a clamped value has no exact place on its grid in double precision."""
PUBLIC_KEYS_MAX = 10_000
DELTA_TOLD = Decimal("1.2e-16")
"""The noise library rounds probabilities up to 2^-53: no threshold is known to keep a group back more surely."""
_EXACT = Context(prec=200)

_IDENTIFYING = re.compile(
    r"(^|_)(name|full_?name|surname|phone|mobile|e?mail|address|passport|id_?card|id_?number|ssn|iban|plate)($|_)"
    r"|姓名|电话|手机|邮箱|住址|地址|身份证|护照|车牌",
    re.IGNORECASE,
)


def lint_column(policy: Policy, table: Table, column: Column) -> Iterator[Finding]:
    place = join("tables", table.name, "columns", column.name)
    if column.role == "hidden":
        return
    yield from _grid(column, place)
    yield from _bins(column, place)
    if table.public:
        return
    if column.role in ("measure", "dimension"):
        yield from _computed(table, column, place)
        yield from _unanswered(policy, column, place)
    if column.role == "dimension":
        yield from _dimension(policy, column, place)
        if column.type.temporal and not column.via:
            yield from _full_dates(policy, table, column, place)
    if column.role == "key" and column.filter != "none":
        message = "a key often names one row, and questions may pick rows by it"
        yield Finding("warning", "key_filterable", join(place, "filter"), message, "leave out `filter`")
    yield from _parts_of_keys(policy, table, column, place)


def has_public_keys(column: Column) -> bool:
    """Whether every group of this column is known beforehand, so that each is answered and none needs a threshold."""
    if column.values is not None or column.bins is not None or column.type.kind == "boolean":
        return True
    if column.range is None:
        return False
    if column.type.temporal and column.via:
        return True
    low, high = column.range
    if column.type.whole and isinstance(low, Decimal) and isinstance(high, Decimal):
        return high - low < PUBLIC_KEYS_MAX
    if column.type.kind == "date" and isinstance(low, date) and isinstance(high, date):
        return (high - low).days < PUBLIC_KEYS_MAX
    return False


def _computed(table: Table, column: Column, place: str) -> Iterator[Finding]:
    bounded = column.range is not None or column.values is not None
    if column.type.numeric and not bounded and column.aggregates - {"count", "count_distinct"}:
        message = "without a lowest and highest value, sums and means of this column are refused"
        yield Finding("warning", "range_missing", place, message, "declare `range` from public knowledge")
    total, rows = column.total_per_unit_max, table.rows_per_unit_max
    if total is not None and rows is not None and column.range is not None:
        edges = [edge for edge in column.range if isinstance(edge, Decimal)]
        if edges and total >= rows * max(abs(edge) for edge in edges):
            message = "rows and range already keep every total below this, so it changes nothing"
            yield Finding("note", "total_void", join(place, "total_per_unit_max"), message)


def _unanswered(policy: Policy, column: Column, place: str) -> Iterator[Finding]:
    never = column.aggregates - MEASURE_DEFAULTS["aggregate"]
    if set(policy.release.modes) - {"open"} == {"aggregate"} and never:
        message = f"{listed(sorted(never))} are not answered in mode `aggregate`, whatever the policy opens"
        yield Finding("note", "aggregates_unanswered", join(place, "aggregates"), message, "leave them out")


def _dimension(policy: Policy, column: Column, place: str) -> Iterator[Finding]:
    dp = policy.release.dp if "dp" in policy.release.modes else None
    if dp is not None and column.sensitive and column.values is not None:
        message = "the column is sensitive and its values are listed, so every group is answered, also very small ones"
        hint = "leave out `values`, and only groups above a threshold show; or is the list harmless?"
        yield Finding("warning", "sensitive_values_listed", join(place, "values"), message, hint)
    if column.type.kind == "text" and _IDENTIFYING.search(column.name):
        message = f"by its name, {shown(column.name)} says who somebody is, and questions may group by it"
        yield Finding(
            "warning", "looks_identifying", join(place, "role"), message, 'role = "hidden" is for such columns'
        )
    if column.type.kind in ("double", "decimal") and column.bins is None:
        message = "numbers with decimals are grouped by bins only, and none are declared"
        yield Finding("note", "bins_missing", place, message, "declare `bins`, or make it a measure")
        return
    if dp is None or has_public_keys(column):
        return
    if dp.delta_per_query == 0:
        message = "its groups are not known beforehand, and without a `delta` such groups are refused"
        yield Finding("warning", "keys_refused", place, message, "list `values` or a `range`, or give a `delta`")
    elif dp.delta_per_query < DELTA_TOLD:
        message = "its groups are not known beforehand, and one query's share of `delta` is too small to select them"
        hint = f"list `values` or a `range`, or let `delta_per_query` be {DELTA_TOLD} or more"
        yield Finding("warning", "keys_refused", place, message, hint)
    elif column.sensitive and dp.units_min == 1:
        message = "groups of a sensitive column may show although few units stand behind them"
        yield Finding("warning", "units_min_one", "release.dp.units_min", message, "10 is a common floor")
    else:
        message = "its groups are not known beforehand: they cost extra, and small ones do not show"
        yield Finding("note", "keys_private", place, message, "where the values are public knowledge, list them")


def _parts_of_keys(policy: Policy, table: Table, column: Column, place: str) -> Iterator[Finding]:
    """A key of several columns is joined on all of them, which are most often in one table."""
    joined = {target for each in table.columns.values() for target in each.joins}
    for name, part in column.joins:
        public = policy.tables[name]
        missing = [other for other in public.key if (name, other) not in joined]
        if part in public.key and missing and part not in public.fan_out:
            message = (
                f"{shown(f'{name}.{part}')} is a part of a key, and no column of this table joins {listed(missing)}"
            )
            hint = "say which columns join the rest of the key, or give the part a `fan_out`"
            yield Finding("warning", "key_in_part", join(place, "joins"), message, hint)


def _full_dates(policy: Policy, table: Table, column: Column, place: str) -> Iterator[Finding]:
    if column.type.kind == "timestamp" or policy.own_table(table.name):
        message = "full dates single people out, as birth dates do, and questions may group and filter by them"
        hint = 'via = ["year"] or ["year", "month"] opens just that'
        yield Finding("warning", "via_missing", place, message, hint)


def _grid(column: Column, place: str) -> Iterator[Finding]:
    if column.step is None or column.range is None:
        return
    low, high = column.range
    if not isinstance(low, Decimal) or not isinstance(high, Decimal):
        return
    width = max(abs(low), abs(high), _EXACT.subtract(high, low))
    if width > _EXACT.multiply(column.step, Decimal(STEPS_MAX)):
        message = "the range has so many steps that sums cannot be computed exactly"
        yield Finding(
            "error", "steps_too_many", join(place, "step"), message, "declare a bigger `step` or a smaller `range`"
        )


def _bins(column: Column, place: str) -> Iterator[Finding]:
    if column.bins is None or column.range is None:
        return
    low, high = column.range
    if isinstance(low, date | datetime) or isinstance(high, date | datetime):
        return
    if column.bins[0] > low or column.bins[-1] < high:
        message = "the bins do not cover the whole range: rows outside them are in no group"
        yield Finding("note", "bins_too_narrow", join(place, "bins"), message)
    if column.bins[-2] >= high or column.bins[1] <= low:
        message = "some bins lie outside the range, and stay empty"
        yield Finding("warning", "bins_outside_range", join(place, "bins"), message, "mend `bins` or `range`")
