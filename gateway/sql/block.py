"""One SELECT while it is read: its source, its select list, and how names and constants are read in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql.naming import output_names, value_of
from gateway.sql.reading import Reading
from gateway.sql.released import ordinal, output_of
from gateway.sql.scalar import NameReader, NodeReader, Scalar, no_aggregates
from gateway.sql.scope import Field, Item, Source, fold, named
from gateway.sql.typed import Typed
from gateway.sql.windows import Windows

_NONE: Mapping[str, Typed] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Block:
    """`values` holds what the subqueries in the expressions of this SELECT stand for, by the id of their node."""

    reading: Reading
    node: exp.Expr
    source: Source
    top: bool
    values: Mapping[int, Typed]
    items: tuple[exp.Expr, ...]
    """The select list, with `*` written out."""

    @property
    def names(self) -> list[str]:
        return output_names(self.items)

    def clause(self, name: str) -> exp.Expr | None:
        found: exp.Expr | None = self.node.args.get(name)
        return found

    def scalar(
        self, aggregate: NodeReader, window: NodeReader | None = None, aliases: Mapping[str, Typed] = _NONE
    ) -> Scalar:
        return Scalar(self.reading, self._name(aliases), aggregate, window, self.values)

    def plain(self, place: str) -> Scalar:
        """For places where rows are not yet aggregated."""
        return self.scalar(no_aggregates(self.reading, place))

    def _name(self, aliases: Mapping[str, Typed]) -> NameReader:
        """Columns of the source; where it has none of that name, entries of the select list."""

        def name(node: exp.Column) -> Typed:
            try:
                return named(self.source, node, self.reading.at(node))
            except Refusal as refusal:
                found = output_of(node, aliases) if refusal.code in ("column_unknown", "aggregate_required") else None
                if found is None:
                    raise
                return found

        return name

    def read_items(self, scalar: Scalar) -> list[Typed]:
        return [scalar.read(value_of(item)) for item in self.items]

    def outputs(self, values: list[Typed]) -> dict[str, Typed]:
        """The select list by name and by ordinal. A name that stands twice names neither."""
        folded = [fold(name) for name in self.names]
        by_name = {name: value for name, value in zip(folded, values, strict=True) if folded.count(name) == 1}
        return {**by_name, **{ordinal(place): value for place, value in enumerate(values, start=1)}}

    def fields(self, values: list[Typed]) -> tuple[Item, ...]:
        """What the SELECT offers to the query around it."""
        return (Item("", tuple(Field(name, value) for name, value in zip(self.names, values, strict=True))),)

    def conditions(self, name: str, scalar: Scalar) -> tuple[Typed, ...]:
        """The conditions of the clause `name`."""
        clause = self.clause(name)
        return scalar.condition(clause.args["this"]) if clause is not None else ()

    def qualify(self, scalar: Scalar, windows: Windows) -> tuple[Typed, ...]:
        """The conditions of QUALIFY. Raises Refusal where there is no window to filter by."""
        found = self.conditions("qualify", scalar)
        clause = self.clause("qualify")
        if clause is not None and not windows.found:
            message = "QUALIFY filters by a window function, and there is none"
            at = self.reading.at(clause)
            raise Refusal("construct_not_allowed", message, hint="write WHERE, or HAVING beside aggregates", at=at)
        return found

    def refuse_clauses(self, *names: str) -> None:
        """What may not stand below an aggregate."""
        for name in names:
            clause = self.clause(name)
            if clause is not None:
                message = (
                    f"{name.upper()} below an aggregate is not answered: one unit could change which rows there are"
                )
                hint = "put it on the outer SELECT"
                raise Refusal("construct_not_allowed", message, hint=hint, at=self.reading.at(clause))


def written_out(node: exp.Expr, source: Source, reading: Reading, *, top: bool) -> tuple[exp.Expr, ...]:
    """The select list of `node` with `*` and `t.*` as the columns that they stand for, without hidden ones."""
    found: list[exp.Expr] = []
    for item in node.args["expressions"]:
        of_table = type(item) is exp.Column and type(item.args["this"]) is exp.Star
        if type(item) is not exp.Star and not of_table:
            found.append(item)
            continue
        if top and not source.released:
            instead = "aggregate the columns you want: AVG(x), SUM(x), COUNT(*)"
            raise Refusal("aggregate_required", "whole rows do not leave", hint=instead, at=reading.at(item))
        table = str(item.args["table"].args["this"]) if of_table else None
        found += _columns(source, table, node, reading, item)
    return tuple(found)


def _columns(
    source: Source, table: str | None, select: exp.Expr, reading: Reading, star: exp.Expr
) -> Iterator[exp.Column]:
    items = [item for item in source.items if table is None or fold(item.alias) == fold(table)]
    if not items:
        raise Refusal("table_unknown", f"`{table}` is not a table of this FROM", at=reading.at(star))
    merged: set[str] = set()
    for item in items:
        for offered in item.fields:
            name = fold(offered.name)
            if offered.hidden or name in merged:
                continue
            if table is None and name in source.merged:
                merged.add(name)
            column = exp.Column(
                this=exp.to_identifier(offered.name, quoted=True),
                table=exp.to_identifier(item.alias, quoted=True) if item.alias and name not in merged else None,
            )
            column.parent = select  # its place in the text is that of the SELECT
            yield column
