"""The tables: which are public, how the others lead to the unit, and what may be joined."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from policies.columns import build_column
from policies.documents import LinkDocument, PolicyDocument, TableDocument
from policies.fields import folded
from policies.model import Column, Link, Mode, Table, Unit
from policies.problems import Report, join, nearest, shown
from policies.types import Type


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
            _check_joins(table, column, tables, report)
    if unit is not None:
        _check_paths(tables, unit, report)
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
        key=document.key or (_only_key(columns, fan_out) if document.public else None),
        link=_link(document.link),
        rows_per_unit_max=None if document.public else rows or 1,
        fan_out=MappingProxyType(dict(fan_out)),
    )


def _link(document: LinkDocument | None) -> Link | None:
    if document is None:
        return None
    table, _, column = document.to.partition(".")
    return Link(document.column, table, column)


def _only_key(columns: Mapping[str, Column], fan_out: Mapping[str, int]) -> str | None:
    """The column that is the key where nothing is said. One with a fan-out is declared not to be unique."""
    keys = [name for name, column in columns.items() if column.role == "key"]
    return keys[0] if len(keys) == 1 and keys[0] not in fan_out else None


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
    for key, places in ((table.key, "key"), *((name, "fan_out") for name in table.fan_out)):
        if key is not None and (key not in table.columns or table.columns[key].role == "hidden"):
            known = [name for name, column in table.columns.items() if column.role != "hidden"]
            report.add(
                join(place, places), f"{shown(key)} is no column that may be used", nearest(key, known, "columns")
            )
    if table.key in table.fan_out:
        report.add(join(place, "fan_out"), f"{shown(table.key)} is the key, so each value has one row", "leave it out")


def _check_private(table: Table, tables: Mapping[str, Table], unit: Unit | None, report: Report) -> None:
    place = join("tables", table.name)
    if table.key is not None:
        report.add(join(place, "key"), "only public tables have a key", "say `rows_per_unit_max`")
    if table.fan_out:
        report.add(join(place, "fan_out"), "only public tables have a fan-out", "leave it out")
    if unit is None:
        return
    own = unit.table == table.name
    if own and table.link is not None:
        report.add(join(place, "link"), "this is the unit's own table, which leads nowhere else", "leave it out")
    elif not own and table.link is None:
        hint = f'add link = {{ column = "...", to = "{unit.table}.{unit.column}" }}, or is it `public = true`?'
        report.add(join(place, "link"), "nothing leads from this table to the unit", hint)
    elif table.link is not None:
        _check_link(table, table.link, tables, unit, report)
    _check_unit_roles(table, unit, report)


def _check_unit_roles(table: Table, unit: Unit, report: Report) -> None:
    """A column of role `unit` becomes the hidden unit, so there is one, and it holds the unit's own values."""
    direct = table.link is not None and (table.link.to_table, table.link.to_column) == (unit.table, unit.column)
    expected = unit.column if unit.table == table.name else table.link.column if direct and table.link else None
    for name, column in table.columns.items():
        if column.role == "unit" and name != expected:
            at = join("tables", table.name, "columns", name, "role")
            hint = 'use role = "key" or "hidden"'
            report.add(at, "role `unit` is for the unit's column and for links that lead directly to it", hint)


def _check_link(table: Table, link: Link, tables: Mapping[str, Table], unit: Unit, report: Report) -> None:
    place = join("tables", table.name, "link")
    start = table.columns.get(link.column)
    if start is None:
        hint = nearest(link.column, list(table.columns), "columns")
        report.add(join(place, "column"), f"this table lists no column {shown(link.column)}", hint)
    end = _target(link, tables, join(place, "to"), report)
    if start is None or end is None:
        return
    if not _comparable(start.type, end.type):
        report.add(place, f"types {shown(start.type)} and {shown(end.type)} cannot be equal")
    at = join("tables", table.name, "columns", link.column, "role")
    if (link.to_table, link.to_column) == (unit.table, unit.column):
        if start.role != "unit":
            report.add(at, "this column leads directly to the unit, so its role is `unit`")
        if (tables[unit.table].rows_per_unit_max or 1) > 1:
            hint = "rows_per_unit_max = 1 for the unit's own table, or link another column"
            report.add(join(place, "to"), "a link's target is unique, but a unit may have several rows there", hint)
        return
    if end.role == "unit":
        hint = f'link directly: to = "{unit.table}.{unit.column}"'
        report.add(
            join(place, "to"), "this names the unit's rows in another table, where they need not be unique", hint
        )
        return
    if start.role not in ("key", "hidden", "unit"):
        report.add(at, f"a link column of role `{start.role}` would show who is who", 'use role = "key" or "hidden"')
    if end.role not in ("key", "hidden"):
        target = join("tables", link.to_table, "columns", link.to_column, "role")
        report.add(target, "a link leads here, so its role is `key` or `hidden`")


def _target(link: Link, tables: Mapping[str, Table], place: str, report: Report) -> Column | None:
    """The column that a link leads to."""
    table = tables.get(link.to_table)
    if table is None:
        report.add(place, f"there is no table {shown(link.to_table)}", nearest(link.to_table, list(tables), "tables"))
        return None
    if table.public:
        report.add(place, f"table {shown(table.name)} is public, so it does not lead to the unit")
        return None
    column = table.columns.get(link.to_column)
    if column is None:
        hint = nearest(link.to_column, list(table.columns), "columns")
        report.add(place, f"table {shown(table.name)} lists no column {shown(link.to_column)}", hint)
    return column


def _check_joins(table: Table, column: Column, tables: Mapping[str, Table], report: Report) -> None:
    at = join("tables", table.name, "columns", column.name, "joins")
    for to_table, to_column in column.joins:
        name = f"{to_table}.{to_column}"
        other = tables.get(to_table)
        target = None if other is None else other.columns.get(to_column)
        if other is None or target is None:
            known = [f"{t.name}.{t.key}" for t in tables.values() if t.public and t.key]
            report.add(at, f"there is no column {shown(name)}", nearest(name, known, "keys of public tables"))
        elif not other.public:
            report.add(at, f"table {shown(to_table)} is not public", "private tables are joined by their links")
        elif to_column != other.key and to_column not in other.fan_out:
            hint = f"make it the `key` of {shown(to_table)}, or give it a `fan_out` there"
            report.add(at, f"{shown(name)} is no key", hint)
        elif not _comparable(column.type, target.type):
            report.add(at, f"types {shown(column.type)} and {shown(target.type)} cannot be equal")


def _comparable(left: Type, right: Type) -> bool:
    """Whether two columns can be equal without a conversion that loses or rounds."""
    return left == right or (left.whole and right.whole)


def _check_paths(tables: Mapping[str, Table], unit: Unit, report: Report) -> None:
    """Every private table leads to the unit's own; no path runs in a circle."""
    for table in tables.values():
        seen: list[str] = []
        step: Table | None = table
        while step is not None and step.link is not None and step.name != unit.table:
            if step.name in seen:
                circle = " → ".join([*seen[seen.index(step.name) :], step.name])
                report.add(join("tables", table.name, "link"), f"this never leads to the unit: {circle}")
                break
            seen.append(step.name)
            step = tables.get(step.link.to_table)
