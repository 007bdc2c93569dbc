"""Names of tables against the policies that this caller may ask."""

from __future__ import annotations

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import typed
from gateway.sql.reading import Reading
from gateway.sql.scope import Field, Item, Source, fold, nearest
from gateway.sql.typed import family_of
from policies.model import Policy, Table
from sandbox.relational.expressions import Position
from sandbox.relational.nodes import Public, Scan


def read_table(reading: Reading, node: exp.Expr) -> Source:
    """A table of the policy, as `table` or `dataset.table`, under its alias."""
    at = reading.at(node.args["this"])
    policy, table = _find(reading, node, at)
    if reading.policy is None:
        reading.policy = policy
    elif reading.policy.dataset != policy.dataset:
        first, second = sorted((reading.policy.dataset, policy.dataset))
        message = f"one query asks one dataset, this one names `{first}` and `{second}`"
        raise Refusal("join_not_allowed", message, hint="ask two queries", at=at)
    if reading.open and not table.public:
        raise _not_open(policy, table, at)
    number = reading.number(table)
    relation = Public(table.name, number, at) if table.public else Scan(table.name, number, at)
    alias, renamed = alias_of(node, table.name)
    items = (Item(alias, rename(reading, _fields(table, number), renamed, node)),)
    return Source(relation, items, released=reading.open)


def _not_open(policy: Policy, table: Table, at: Position | None) -> Refusal:
    unit = policy.unit.name if policy.unit is not None else "unit"
    modes = " or ".join(f"`{mode}`" for mode in policy.release.modes if mode != "open")
    message = f"`{table.name}` holds rows of each {unit}: mode `open` answers public tables alone"
    return Refusal("mode_not_offered", message, hint=f"ask for aggregates in mode {modes}" if modes else None, at=at)


def alias_of(node: exp.Expr, otherwise: str) -> tuple[str, list[exp.Expr]]:
    """The name of an entry of FROM, and the new names of its columns where the alias gives some."""
    alias = node.args.get("alias")
    if alias is None:
        return otherwise, []
    name = alias.args.get("this")
    return (str(name.args["this"]) if name is not None else otherwise), list(alias.args.get("columns") or [])


def rename(reading: Reading, fields: tuple[Field, ...], names: list[exp.Expr], node: exp.Expr) -> tuple[Field, ...]:
    """`fields` under the names of `AS t(a, b)`; hidden columns count too, as they would in the engine's table."""
    if not names:
        return fields
    if any(offered.hidden for offered in fields) or len(names) != len(fields):
        hint = "leave the list of names out, or name each column of a subquery"
        raise Refusal("construct_not_allowed", "these names do not fit the columns", hint=hint, at=reading.at(node))
    pairs = zip(fields, names, strict=True)
    return tuple(Field(str(name.args["this"]), offered.typed, offered.hidden) for offered, name in pairs)


def _fields(table: Table, number: int) -> tuple[Field, ...]:
    return tuple(
        Field(
            name,
            typed.column(f"{number}.{name}", family_of(column.type), None),
            column.role == "hidden",
        )
        for name, column in table.columns.items()
    )


def _find(reading: Reading, node: exp.Expr, at: Position | None) -> tuple[Policy, Table]:
    if type(node.args["this"]) is not exp.Identifier:
        raise Refusal("construct_not_allowed", "a table is named by a plain name", at=at)
    name, dataset = str(node.args["this"].args["this"]), node.args.get("db")
    if not reading.policies:
        raise licence_missing(at)
    policies = list(reading.policies.values())
    if dataset is not None:
        policies = [policy for policy in policies if fold(policy.dataset) == fold(str(dataset.args["this"]))]
    found = [(policy, table) for policy in policies for table in _called(policy, name)]
    if len(found) == 1:
        return found[0]
    written = f"{dataset.args['this']}.{name}" if dataset is not None else name
    if found:
        hint = "write " + " or ".join(sorted(f"`{policy.dataset}.{table.name}`" for policy, table in found))
        raise Refusal("table_ambiguous", f"`{written}` is a table of more than one dataset", hint=hint, at=at)
    # The same words whether the table exists for others or for nobody.
    known = sorted({table for policy in reading.policies.values() for table in policy.tables})
    close = nearest(name, known)
    hint = f"did you mean `{close}`?" if close else "tables: " + ", ".join(f"`{table}`" for table in known[:12])
    raise Refusal("table_unknown", f"there is no table `{written[:80]}` that you may ask", hint=hint, at=at)


def _called(policy: Policy, name: str) -> list[Table]:
    exact = policy.tables.get(name)
    if exact is not None:
        return [exact]
    return [table for own, table in policy.tables.items() if fold(own) == fold(name)]


def licence_missing(at: Position | None = None) -> Refusal:
    """For a caller who may ask nothing at all."""
    hint = "ask the owner of a dataset for a licence"
    return Refusal("licence_missing", "you hold no licence for any dataset", hint=hint, at=at)
