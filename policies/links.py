"""How tables lead to one another: links towards the unit, and joins of keys to public tables."""

from __future__ import annotations

from collections.abc import Mapping

from policies.documents import LinkDocument
from policies.model import Column, Link, Table, Unit
from policies.problems import Report, join, listed, nearest, shown
from policies.types import Type


def build_link(document: LinkDocument | None, place: str, report: Report) -> Link | None:
    """The link that is written, or None where there is none, or one whose columns do not pair up."""
    if document is None:
        return None
    if document.column is not None and document.columns is not None:
        report.add(join(place, "columns"), "a link has `column` or `columns`, not both", "leave one out")
        return None
    if document.column is None and document.columns is None:
        report.add(join(place, "column"), "this key is missing", "the column of this table")
        return None
    columns = document.columns or (str(document.column),)
    tables = dict.fromkeys(target.partition(".")[0] for target in document.to)
    if len(document.to) != len(columns):
        hint = f"{listed(columns)} and as many columns of one table, in the same order"
        report.add(join(place, "to"), f"{len(columns)} columns do not equal {len(document.to)}", hint)
        return None
    if len(tables) > 1:
        report.add(join(place, "to"), f"a link leads to one table, not to {listed(tables)}")
        return None
    return Link(columns, next(iter(tables)), tuple(target.partition(".")[2] for target in document.to))


def is_direct(link: Link | None, unit: Unit) -> bool:
    """Whether `link` ends at the unit's own column."""
    return link is not None and (link.to_table, link.to_columns) == (unit.table, (unit.column,))


def check_link(table: Table, link: Link, tables: Mapping[str, Table], unit: Unit, report: Report) -> None:
    """Both ends are there, comparable, and of roles that show nobody."""
    place = join("tables", table.name, "link")
    starts = [_start(table, column, place, len(link.columns) > 1, report) for column in link.columns]
    ends = _targets(link, tables, join(place, "to"), report)
    for start, end in zip(starts, ends, strict=True):
        if start is not None and end is not None and not comparable(start.type, end.type):
            report.add(place, f"types {shown(start.type)} and {shown(end.type)} cannot be equal")
    if None in starts or None in ends:
        return
    if is_direct(link, unit):
        _check_direct(table, link, tables, unit, report)
        return
    if any(end is not None and end.role == "unit" for end in ends):
        hint = f'link directly: to = "{unit.table}.{unit.column}"'
        message = "this names the unit's rows in another table, where they need not be unique"
        if link.to_table == unit.table:
            message, hint = "the unit is one column", f"link by it alone: {hint.removeprefix('link directly: ')}"
        report.add(join(place, "to"), message, hint)
        return
    for start, end in zip(starts, ends, strict=True):
        if start is not None and end is not None:
            _check_roles(table, start, link, end, report)


def _check_direct(table: Table, link: Link, tables: Mapping[str, Table], unit: Unit, report: Report) -> None:
    (column,) = link.columns
    if table.columns[column].role != "unit":
        at = join("tables", table.name, "columns", column, "role")
        report.add(at, "this column leads directly to the unit, so its role is `unit`")
    if (tables[unit.table].rows_per_unit_max or 1) > 1:
        place = join("tables", table.name, "link", "to")
        hint = "rows_per_unit_max = 1 for the unit's own table, or link another column"
        report.add(place, "a link's target is unique, but a unit may have several rows there", hint)


def _check_roles(table: Table, start: Column, link: Link, end: Column, report: Report) -> None:
    if start.role not in ("key", "hidden", "unit"):
        at = join("tables", table.name, "columns", start.name, "role")
        report.add(at, f"a link column of role `{start.role}` would show who is who", 'use role = "key" or "hidden"')
    if end.role not in ("key", "hidden"):
        target = join("tables", link.to_table, "columns", end.name, "role")
        report.add(target, "a link leads here, so its role is `key` or `hidden`")


def _start(table: Table, name: str, place: str, several: bool, report: Report) -> Column | None:
    column = table.columns.get(name)
    if column is None:
        hint = nearest(name, list(table.columns), "columns")
        key = "columns" if several else "column"
        report.add(join(place, key), f"this table lists no column {shown(name)}", hint)
    return column


def _targets(link: Link, tables: Mapping[str, Table], place: str, report: Report) -> list[Column | None]:
    """The columns that a link leads to."""
    none: list[Column | None] = [None for _ in link.to_columns]
    table = tables.get(link.to_table)
    if table is None:
        report.add(place, f"there is no table {shown(link.to_table)}", nearest(link.to_table, list(tables), "tables"))
        return none
    if table.public:
        report.add(place, f"table {shown(table.name)} is public, so it does not lead to the unit")
        return none
    for name in link.to_columns:
        if name not in table.columns:
            hint = nearest(name, list(table.columns), "columns")
            report.add(place, f"table {shown(table.name)} lists no column {shown(name)}", hint)
    return [table.columns.get(name) for name in link.to_columns]


def check_joins(table: Table, column: Column, tables: Mapping[str, Table], report: Report) -> None:
    """Every public column that `column` joins to is a key there, part of one, or has a fan-out."""
    at = join("tables", table.name, "columns", column.name, "joins")
    for to_table, to_column in column.joins:
        name = f"{to_table}.{to_column}"
        other = tables.get(to_table)
        target = None if other is None else other.columns.get(to_column)
        if other is None or target is None:
            known = [f"{t.name}.{part}" for t in tables.values() if t.public for part in t.key]
            report.add(at, f"there is no column {shown(name)}", nearest(name, known, "keys of public tables"))
        elif not other.public:
            report.add(at, f"table {shown(to_table)} is not public", "private tables are joined by their links")
        elif to_column not in other.key and to_column not in other.fan_out:
            hint = f"make it the `key` of {shown(to_table)}, or give it a `fan_out` there"
            report.add(at, f"{shown(name)} is no key", hint)
        elif not comparable(column.type, target.type):
            report.add(at, f"types {shown(column.type)} and {shown(target.type)} cannot be equal")


def comparable(left: Type, right: Type) -> bool:
    """Whether two columns can be equal without a conversion that loses or rounds."""
    return left == right or (left.whole and right.whole)


def check_paths(tables: Mapping[str, Table], unit: Unit, report: Report) -> None:
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
