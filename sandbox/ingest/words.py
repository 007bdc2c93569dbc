"""The custodian's report in words."""

from __future__ import annotations

from sandbox.ingest.job import ColumnReport, Report


def lines(report: Report) -> list[str]:
    """The report as text for a terminal. Holds counts of unreleased rows: for the custodian alone."""
    text: list[str] = []
    for table in report.tables:
        dropped = table.rows_without_unit + table.rows_without_partner
        text.append(f"{table.table}: {table.rows_read} rows read, {table.rows_kept} kept, {dropped} dropped")
        if dropped:
            text.append(f"  {table.rows_without_unit} without a unit, {table.rows_without_partner} without a partner")
        if table.units is not None:
            text.append(f"  {table.units} units, {table.units_above_rows_per_unit_max} above rows_per_unit_max")
        for column in table.columns:
            counts = [f"{count} {words}" for count, words in _remarks(column) if count]
            if counts:
                text.append(f"  {column.column}: {', '.join(counts)}")
    return text


def _remarks(column: ColumnReport) -> list[tuple[int, str]]:
    return [
        (column.nulls_not_allowed, "null though not nullable"),
        (column.not_finite, "not finite, read as null"),
        (column.below_range, "below the range"),
        (column.above_range, "above the range"),
        (column.outside_values, "not among the values"),
    ]
