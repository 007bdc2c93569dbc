"""Rows of public tables that are small enough to be joined with an answer: reference data, about no unit.

They are read where the snapshot is built and kept in a file beside it, so that the service, which holds no data, can
join released rows with them. What is too large for that is joined below the release, by the worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from policies.types import Type, Value

ROWS_MAX: Final = 10_000
"""Of one table."""
TABLE_BYTES_MAX: Final = 4 << 20
BYTES_MAX: Final = 16 << 20
"""Of all tables of a dataset together, as they are written; those that do not fit are left out."""


@dataclass(frozen=True, slots=True)
class PublicColumn:
    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class PublicRows:
    """A whole public table, sorted by its columns; hidden columns are not among them."""

    table: str
    columns: tuple[PublicColumn, ...]
    rows: tuple[tuple[Value, ...], ...]

    def most_rows(self, names: Sequence[str]) -> int:
        """The most rows that agree in the columns `names`, none of them null: with how many one row is joined."""
        places = [place for place, column in enumerate(self.columns) if column.name in names]
        keys = (tuple(row[place] for place in places) for row in self.rows)
        return max(Counter(key for key in keys if None not in key).values(), default=0)


@dataclass(frozen=True, slots=True)
class PublicFile:
    """What lies beside a snapshot."""

    tables: tuple[PublicRows, ...]


Publics = Mapping[str, PublicRows]
"""By the name of the table. A public table that is missing is too large."""
NO_PUBLICS: Final[Publics] = MappingProxyType({})


def by_name(file: PublicFile) -> Publics:
    return MappingProxyType({table.table: table for table in file.tables})
