"""Facts of computed columns, and of rows of several relations put one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import ColumnFacts, Facts, Refuse
from sandbox.relational.merge import merge
from sandbox.relational.nodes import Project, UnionAll
from sandbox.relational.scalar import facts_of


def project(node: Project, below: Facts) -> Facts:
    """Computed columns. A bare column keeps its facts and its uniqueness under the new name; the unit passes hidden."""
    renamed: dict[str, set[str]] = {}
    columns: dict[str, ColumnFacts] = {}
    for i, expression in enumerate(node.columns):
        name = f"{node.number}.{i}"
        if isinstance(expression, Column):
            renamed.setdefault(expression.name, set()).add(name)
        if isinstance(expression, Column) and expression.name in (below.unit or ()):
            continue
        columns[name] = facts_of(expression, below)
    first = {old: min(new) for old, new in renamed.items()}
    unique = frozenset(frozenset(first[c] for c in key) for key in below.unique if all(c in first for c in key))
    unit = None if below.unit is None else frozenset(n for old in below.unit for n in renamed.get(old, ()))
    fan_out = {new: most for old, most in below.fan_out.items() for new in renamed.get(old, ())}
    numbered = {new: found for old, found in below.numbered.items() for new in renamed.get(old, ())}
    return Facts(columns, unit, below.multiplicity, unique, fan_out, below.unit_once, numbered)


def union_all(node: UnionAll, below: tuple[Facts, ...]) -> Facts:
    """The rows of all inputs, each with the unit that it had.

    Guarantee: a row of the result is a row of one input, and belongs to that row's unit. A unit may have rows from
    each input, so nothing stays of what was known of its rows: neither that there is one, nor that they agree.
    Source: docs/explanation/guarantees/union.md
    """
    if not all(facts.private for facts in below):
        hint = "join reference data to each part"
        raise Refuse("construct_not_allowed", "UNION ALL takes tables about units alone", hint=hint, at=node.at)
    if len(below) < 2 or len({len(columns) for columns in node.columns}) != 1 or len(node.columns) != len(below):
        raise Refuse("type_mismatch", "the parts of UNION ALL must have the same number of columns", at=node.at)
    columns: dict[str, ColumnFacts] = {}
    units = set()
    for i, values in enumerate(zip(*node.columns, strict=True)):
        name = f"{node.number}.{i}"
        if all(_is_unit(value, facts) for value, facts in zip(values, below, strict=True)):
            units.add(name)
            continue
        parts = [facts_of(value, facts) for value, facts in zip(values, below, strict=True)]
        columns[name] = replace(merge(parts, values, "UNION ALL", node.at), of_unit=False, bins=_bins(parts))
    return Facts(columns, frozenset(units), sum(facts.multiplicity or 0 for facts in below))


def _bins(parts: Sequence[ColumnFacts]) -> tuple[Decimal, ...] | None:
    """Those that all `parts` have: then a value lies in the same bin, whichever input it is from."""
    first, *others = (part.bins for part in parts)
    return first if all(each == first for each in others) else None


def _is_unit(expression: Expression, facts: Facts) -> bool:
    return isinstance(expression, Column) and expression.name in (facts.unit or ())
