"""The tables: which are public, how the others lead to the unit, and what may be joined."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from policies.columns import build_column
from policies.documents import PolicyDocument, TableDocument
from policies.fields import folded
from policies.links import build_link, check_joins, check_link, check_paths, is_direct
from policies.model import Column, Mode, Table, Unit
from policies.problems import Report, join, nearest, shown

ROW_NUMBER = "rowid"
"""The engine's own name for a row's place, by which exact answers tell rows apart. A column of this name hides it."""


def build_tables(document: PolicyDocument, unit: Unit | None, report: Report) -> Mapping[str, Table]:
    """Every table, consistent with each other and with the unit but for what is in `report`."""
    modes = tuple(document.release.modes)
    tables = {name: _table(name, inner, unit, modes, report) for name, inner in document.tables.items()}
    one_spelling(document.tables, "tables", report)
    for table in tables.values():
        if table.public:
            _check_public(table, unit, report)
        else:
            _check_private(table, tables, unit, report)
        for column in table.columns.values():
            check_joins(table, column, tables, report)
    if unit is not None:
        check_paths(tables, unit, report)
    return MappingProxyType(tables)


def build_unit(document: PolicyDocument, report: Report) -> Unit | None:
    """The unit, whose column is one of role `unit` of a private table."""
    if document.unit is None:
        for name, inner in document.tables.items():
            if not inner.public:
                report.add(join("tables", name), "a table about units needs [unit]", "or is it `public = true`?")
        return None
    unit, at = document.unit, "unit.column"
    table_name, _, column_name = unit.column.partition(".")
    table = document.tables.get(table_name)
    if table is None:
        report.add(at, f"there is no table {shown(table_name)}", nearest(table_name, list(document.tables), "tables"))
    elif table.public:
        report.add(at, f"table {shown(table_name)} is public, so its rows are not about units")
    elif column_name not in table.columns:
        hint = nearest(column_name, list(table.columns), "columns")
        report.add(at, f"table {shown(table_name)} lists no column {shown(column_name)}", hint)
    elif table.columns[column_name].role != "unit":
        place = join("tables", table_name, "columns", column_name, "role")
        report.add(place, "this is the unit's column, so its role is `unit`")
    if unit.count_about > unit.count_max:
        report.add("unit.count_about", f"{shown(unit.count_about)} is above `count_max`, {shown(unit.count_max)}")
    return Unit(unit.name, table_name, column_name, unit.count_max, unit.count_about)


def _table(name: str, document: TableDocument, unit: Unit | None, modes: tuple[Mode, ...], report: Report) -> Table:
    place = join("tables", name)
    one_spelling(document.columns, join(place, "columns"), report)
    for column, inner in document.columns.items():
        if folded(column) == ROW_NUMBER and inner.role not in ("hidden", "unit"):
            message = f"{shown(column)} is the engine's own name for the number of a row"
            report.add(join(place, "columns", column), message, "call it otherwise in the files, or leave it out")
    columns = {
        column: build_column(column, inner, modes, join(place, "columns", column), report)
        for column, inner in document.columns.items()
    }
    fan_out = document.fan_out or {}
    rows = document.rows_per_unit_max
    own = unit is not None and unit.table == name
    if document.public and rows is not None:
        report.add(join(place, "rows_per_unit_max"), "rows of a public table are not about units", "leave it out")
    if not document.public and not own and rows is None:
        hint = "say the most rows of one unit that count"
        report.add(join(place, "rows_per_unit_max"), "this key is missing", hint)
    return Table(
        name=name,
        public=document.public,
        columns=MappingProxyType(columns),
        key=document.key or (_only_key(columns, fan_out) if document.public else ()),
        link=build_link(document.link, join(place, "link"), report),
        rows_per_unit_max=None if document.public else rows or 1,
        fan_out=MappingProxyType(dict(fan_out)),
    )


def _only_key(columns: Mapping[str, Column], fan_out: Mapping[str, int]) -> tuple[str, ...]:
    """The column that is the key where nothing is said. One with a fan-out is declared not to be unique."""
    keys = [name for name, column in columns.items() if column.role == "key"]
    return tuple(keys) if len(keys) == 1 and keys[0] not in fan_out else ()


def one_spelling(names: Mapping[str, object], place: str, report: Report) -> None:
    """The engine does not tell `People` from `people`, so a policy may not either."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(folded(name), name)) != name:
            report.add(join(place, name), f"this differs from {shown(other)} in letter case only")


def _check_public(table: Table, unit: Unit | None, report: Report) -> None:
    place = join("tables", table.name)
    if table.link is not None:
        report.add(join(place, "link"), "a public table does not lead to the unit", "leave it out")
    for name, column in table.columns.items():
        at = join(place, "columns", name)
        if column.role == "unit" and not (unit is not None and unit.table == table.name):
            report.add(join(at, "role"), "rows of a public table are not about units", 'use role = "key"')
        if column.total_per_unit_max is not None:
            report.add(join(at, "total_per_unit_max"), "rows of a public table are not about units", "leave it out")
    for key, places in (*((name, "key") for name in table.key), *((name, "fan_out") for name in table.fan_out)):
        if key not in table.columns or table.columns[key].role == "hidden":
            known = [name for name, column in table.columns.items() if column.role != "hidden"]
            report.add(
                join(place, places), f"{shown(key)} is no column that may be used", nearest(key, known, "columns")
            )
    if len(table.key) == 1 and table.key[0] in table.fan_out:
        message = f"{shown(table.key[0])} is the key, so each value has one row"
        report.add(join(place, "fan_out"), message, "leave it out")


def _check_private(table: Table, tables: Mapping[str, Table], unit: Unit | None, report: Report) -> None:
    place = join("tables", table.name)
    if table.key:
        report.add(join(place, "key"), "only public tables have a key", "say `rows_per_unit_max`")
    if table.fan_out:
        report.add(join(place, "fan_out"), "only public tables have a fan-out", "leave it out")
    if unit is None:
        return
    own = unit.table == table.name
    if own and table.link is not None:
        report.add(join(place, "link"), "this is the unit's own table, which leads nowhere else", "leave it out")
    elif not own and table.link is None:
        if any(problem.place.startswith(join(place, "link.")) for problem in report.problems):
            return  # one is written, and what is wrong with it is said
        hint = f'add link = {{ column = "...", to = "{unit.table}.{unit.column}" }}, or is it `public = true`?'
        report.add(join(place, "link"), "nothing leads from this table to the unit", hint)
    elif table.link is not None:
        check_link(table, table.link, tables, unit, report)
    _check_unit_roles(table, unit, report)


def _check_unit_roles(table: Table, unit: Unit, report: Report) -> None:
    """A column of role `unit` becomes the hidden unit, so there is one, and it holds the unit's own values."""
    expected = unit.column if unit.table == table.name else None
    if expected is None and table.link is not None and is_direct(table.link, unit):
        (expected,) = table.link.columns
    for name, column in table.columns.items():
        if column.role == "unit" and name != expected:
            at = join("tables", table.name, "columns", name, "role")
            hint = 'use role = "key" or "hidden"'
            report.add(at, "role `unit` is for the unit's column and for links that lead directly to it", hint)
