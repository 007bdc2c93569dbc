"""Names in sight: what each table and subquery in FROM offers, and how a name in the text finds its column.

Names match without regard to case, as in the engine, also when quoted. A name that matches twice is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import typed
from gateway.sql.typed import Typed
from sandbox.relational.expressions import Column, Position
from sandbox.relational.nodes import Relation


def fold(name: str) -> str:
    """The form in which names are compared."""
    return name.casefold()


@dataclass(frozen=True, slots=True)
class Field:
    """A column that something in FROM offers; `typed` is what it stands for in terms of the tables below."""

    name: str
    typed: Typed
    hidden: bool = False
    """Listed by the policy as hidden: it may not be named at all."""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of FROM under the name by which the query calls it; an empty alias cannot be called."""

    alias: str
    fields: tuple[Field, ...]

    def named(self, name: str) -> list[Field]:
        return [offered for offered in self.fields if fold(offered.name) == fold(name)]


@dataclass(frozen=True, slots=True)
class Source:
    """A FROM clause under construction.

    `conditions` hold for `relation` and stand in one Filter above it in the end, so that a condition in a subquery, in
    ON or in WHERE is the same question.
    """

    relation: Relation
    items: tuple[Item, ...]
    conditions: tuple[Typed, ...] = ()
    released: bool = False
    merged: Mapping[str, tuple[Field, int]] = field(default_factory=lambda: MappingProxyType({}))
    """Columns of USING by their folded name, with the number of columns that became this one."""


def find(source: Source, table: str | None, name: str, at: Position | None) -> Field:
    """The column that `name` (or `table.name`) means. Raises Refusal column_unknown, _ambiguous, _hidden."""
    items = _called(source.items, table, at) if table is not None else source.items
    found = [offered for item in items for offered in item.named(name)]
    shared = source.merged.get(fold(name)) if table is None else None
    if shared is not None and shared[1] == len(found):
        found = [shared[0]]
    if len(found) > 1:
        hint = "write the table before it: " + " or ".join(
            f"`{item.alias}.{name}`" for item in items if item.alias and item.named(name)
        )
        raise Refusal("column_ambiguous", f"`{name}` is a column of more than one table", hint=hint, at=at)
    if not found:
        raise _unknown(source, items, table, name, at)
    if found[0].hidden:
        raise Refusal(
            "column_hidden",
            f"`{name}` is hidden: it cannot be asked for, filtered by or grouped by",
            hint=_offer(items),
            at=at,
        )
    return found[0]


def named(source: Source, node: exp.Column, at: Position | None) -> Typed:
    """What the column `node` of the text means in `source`, standing at the place where it is named."""
    table = node.args.get("table")
    alias = str(table.args["this"]) if table is not None else None
    return typed.at(find(source, alias, str(node.args["this"].args["this"]), at).typed, at)


def name_in(source: Source, column: Column) -> str:
    """What the query calls `column`."""
    for item in source.items:
        for offered in item.fields:
            if offered.typed.expression == column:
                return offered.name
    return column.name.split(".", 1)[-1]


def _called(items: Iterable[Item], table: str, at: Position | None) -> tuple[Item, ...]:
    found = tuple(item for item in items if item.alias and fold(item.alias) == fold(table))
    if not found:
        known = ", ".join(f"`{item.alias}`" for item in items if item.alias)
        raise Refusal("table_unknown", f"`{table}` is not a table of this FROM", hint=f"it has {known}", at=at)
    return found


def _unknown(source: Source, items: tuple[Item, ...], table: str | None, name: str, at: Position | None) -> Refusal:
    whole = table is None and any(item.alias and fold(item.alias) == fold(name) for item in source.items)
    if whole:
        hint = "aggregate its columns, or count the rows with COUNT(*)"
        return Refusal("aggregate_required", f"`{name}` is a whole row, and rows do not leave", hint=hint, at=at)
    close = nearest(name, visible(items))
    hint = f"did you mean `{close}`?" if close else _offer(items)
    return Refusal("column_unknown", f"there is no column `{name}` here", hint=hint, at=at)


def visible(items: Iterable[Item]) -> list[str]:
    """The names that may be shown to the caller: hidden columns are not among them."""
    return list(dict.fromkeys(offered.name for item in items for offered in item.fields if not offered.hidden))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` may be a slip for."""
    by_fold = {fold(one): one for one in known}
    close = get_close_matches(fold(name), by_fold, n=1, cutoff=0.6)
    return by_fold[close[0]] if close else None


def _offer(items: Iterable[Item]) -> str:
    names = visible(items)
    shown = ", ".join(f"`{name}`" for name in names[:12])
    return f"columns here: {shown}" + (", …" if len(names) > 12 else "")
