"""The blocks of a policy: units cut by time, each block with a budget of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Final

from policies.documents import PolicyDocument
from policies.model import Blocks, BlocksBy, Bound, Table, Unit
from policies.problems import Report, join, nearest, shown

REST: Final = "rest"
"""The block of units whose time is null or out of range, or who have no row in the unit's own table."""
BLOCKS_MAX: Final = 64
"""Every question about all of them is charged to each."""
_AT: Final = "unit.blocks"


def build_blocks(document: PolicyDocument, unit: Unit, own: Table, report: Report) -> Blocks | None:
    """The blocks of `unit`, whose own table is `own`; None where it has none, or where something is in `report`."""
    said = document.unit and document.unit.blocks
    if not said:
        return None
    before = len(report.problems)
    place, column = join("tables", unit.table, "columns", said.column), own.columns.get(said.column)
    if set(document.release.modes) - {"dp", "open"} or "dp" not in document.release.modes:
        report.add(_AT, "only mode `dp` has budgets that blocks can be given", 'say modes = ["dp"]')
    if own.rows_per_unit_max != 1:
        message = "a unit with several rows in its own table could lie in several blocks"
        report.add(join("tables", unit.table, "rows_per_unit_max"), message, "leave it out: it is 1 then")
    if column is None:
        hint = nearest(said.column, list(own.columns), "columns")
        report.add(f"{_AT}.column", f"table {shown(unit.table)} lists no column {shown(said.column)}", hint)
        return None
    if not column.type.temporal or column.role == "hidden":
        report.add(f"{_AT}.column", f"{shown(said.column)} is no date or timestamp that a question may name")
        return None
    if column.range is None:
        report.add(place, "blocks are cut along its `range`, which is missing", "range = [2020-01-01, 2029-12-31]")
        return None
    names = tuple(_names(*column.range, said.by))
    if len(names) > BLOCKS_MAX:
        message = f"the range of {shown(said.column)} makes {len(names)} blocks, and there are at most {BLOCKS_MAX}"
        report.add(f"{_AT}.by", message, 'cut it by = "year", or shorten the range')
    return None if len(report.problems) > before else Blocks(said.column, said.by, names)


def _names(low: Bound, high: Bound, by: BlocksBy) -> Iterator[str]:
    """From that of `low` to that of `high`, and the rest."""
    assert isinstance(low, date | datetime)  # noqa: S101  # the range of a date or timestamp
    assert isinstance(high, date | datetime)  # noqa: S101
    if by == "year":
        yield from (f"{year:04}" for year in range(low.year, high.year + 1))
    else:
        months = range(low.year * 12 + low.month - 1, high.year * 12 + high.month)
        yield from (f"{month // 12:04}-{month % 12 + 1:02}" for month in months)
    yield REST
