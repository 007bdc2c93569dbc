"""An operator's SQL read once into our own model: parse, grammar, names, relations. Read `read` first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import Refusal
from gateway.sql.grammar import check
from gateway.sql.limits import SqlLimits
from gateway.sql.parse import parse
from gateway.sql.reading import Reading
from gateway.sql.select import read_query
from gateway.sql.sources import EMPTY
from policies.model import Policy
from sandbox.relational.nodes import Output


@dataclass(slots=True)
class Beside:
    """Room for what was made of a question last: gone with it."""

    what: object = None


@dataclass(frozen=True, slots=True)
class Query:
    """A question in our model. What follows never looks at `sql` again, but for messages and the record."""

    dataset: str
    plan: Output
    sql: str
    tables: tuple[str, ...]
    """Names of the tables it uses, sorted, each once."""
    beside: Beside = field(default_factory=Beside, compare=False, repr=False)


def read(
    sql: str,
    parameters: Mapping[str, object],
    policies: Mapping[str, Policy],
    limits: SqlLimits,
    mode: str | None = None,
) -> Query:
    """`sql` as a question over one of `policies`: those that this caller may ask, by dataset.

    `parameters` fill `$name` with constants. `mode` is the one asked for; in mode `open` rows of public tables are
    read as an answer is. Whatever the text: a Query, or a Refusal with code, words and place.
    """
    try:
        return _read(Reading(sql, policies, parameters, limits, mode))
    except RecursionError:
        raise Refusal("sql_too_large", "the query is nested too deeply") from None


def _read(reading: Reading) -> Query:
    sql, limits = reading.sql, reading.limits
    tree = check(parse(sql, limits), sql, limits)
    try:
        source = read_query(reading, tree, EMPTY, top=True)
        reading.check_parameters()
    except Refusal as refusal:
        refusal.dataset = None if reading.policy is None else reading.dataset
        raise
    columns = tuple((field.name, field.typed.expression) for field in source.items[0].fields)
    plan = Output(source.relation, columns, reading.at(tree))
    tables = tuple(sorted({table.name for table in reading.tables.values()}))
    return Query(reading.dataset, plan, sql, tables)
