"""A question in `aggregate` mode with all that is fixed before data is touched. No price: what it costs are cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Literal

from policies.model import Aggregate, Policy
from policies.types import BIGINT, DOUBLE, Type
from sandbox.disclosure.inline import inlined
from sandbox.disclosure.origins import (
    Origins,
    origins_of,
    read_apart,
    require_no_weight,
    require_once,
    require_one,
    told_by_groups,
    with_origins,
)
from sandbox.disclosure.taint import require_outermost, sensitive_names
from sandbox.disclosure.terms import Term, present, terms_of
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Column, Expression, columns
from sandbox.relational.facts import Facts, Refuse, Schema, numeric_bounds
from sandbox.relational.lower.relations import with_items
from sandbox.relational.lower.whole import worth
from sandbox.relational.nodes import (
    Filter,
    Measure,
    Output,
    Relation,
    Release,
    Rollup,
    UnionAll,
    find_release,
    private_part,
    walk,
)
from sandbox.relational.plan import CELLS_MAX, KeyPlan, key_plan
from sandbox.relational.scalar import facts_of

Kind = Literal["rows", "units", "sum"]
SETS_MAX = 64


@dataclass(frozen=True, slots=True)
class Summed:
    """A quantity: what the rows that meet its conditions add up to.

    `sensitive` conditions look at sensitive columns: with a cell of theirs also its complement has to be large.
    """

    kind: Kind
    name: str
    shared: bool
    """Whether equal items have equal values in every question with this name; else the name is this answer's alone."""
    factors: tuple[Column, ...]
    conditions: tuple[Expression, ...]
    sensitive: tuple[Expression, ...]
    worth: Fraction
    """What 1 of its integers is."""
    nonnegative: bool
    personal: bool
    """Whether what is added up is itself sensitive: if all rows of a group have one value, everybody has it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the answer: sums of quantities, each with a coefficient, over that of `divisor` where it has one."""

    measure: Measure
    type: Type
    terms: tuple[tuple[Fraction, int], ...]
    divisor: int | None


@dataclass(frozen=True, slots=True)
class ProtectedPlan:
    asked: Release
    """As it came: what a stored answer is found by."""
    release: Release
    """The same without projections, and without the outermost conditions that look at sensitive columns."""
    facts: Facts
    keys: tuple[KeyPlan, ...]
    sensitive_keys: tuple[int, ...]
    quantities: tuple[Summed, ...]
    figures: tuple[Figure, ...]
    sets: tuple[tuple[int, ...], ...]
    """Which keys each part of the answer is grouped by."""
    rules: Aggregate
    shared: bool
    """Whether a row is told by an item that other questions know."""
    units_about: int

    @property
    def doubling(self) -> bool:
        """Whether a row may be there several times, because UNION ALL reads its table several times."""
        return any(isinstance(node, UnionAll) and not read_apart(node) for node in walk(self.release.source))

    @property
    def private_keys(self) -> bool:
        return any(key.keys is None for key in self.keys)

    def cells_of(self, part: int) -> int | None:
        """Number of groups of a part; None where the keys are private."""
        kept = [self.keys[i].keys for i in self.sets[part]]
        return None if any(keys is None for keys in kept) else prod(len(keys or ()) for keys in kept)


def plan_protected(question: Output, schema: Schema) -> ProtectedPlan:
    """Proves a question. Raises Refuse.

    Source: docs/explanation/guarantees/disclosure.md
    """
    asked, rules, unit = find_release(question), schema.policy.release.aggregate, schema.policy.unit
    if rules is None or unit is None:
        raise Refuse("mode_not_offered", "this dataset does not offer `aggregate` answers", at=asked.at)
    if not derive(asked.source, schema).private:
        hint = "reference tables can be joined to tables about units"
        raise Refuse("construct_not_allowed", "this question reads no table about units", hint=hint, at=asked.at)
    flat = inlined(asked)
    tainted = sensitive_names(flat.source, schema.policy)
    source, apart = _without_sensitive(flat.source, tainted)
    require_outermost(source, tainted)
    require_once(source)
    origins = origins_of(source, schema.policy)
    facts, shared = with_origins(derive(source, schema), origins, schema.policy), with_items(source, schema)[1]
    release = replace(flat, source=source)
    private = frozenset(table.name for table in schema.policy.tables.values() if not table.public)
    quantities = _Quantities(facts, tainted, apart, _Space(facts.unit_once, shared, private, origins, schema.policy))
    keys = tuple(key_plan(expression, facts) for expression in release.keys)
    figures = tuple(quantities.figure(measure) for measure in release.measures)
    if not figures:
        raise Refuse("aggregate_required", "this question asks for groups alone", hint="add COUNT(*)", at=asked.at)
    node = private_part(question)
    sets = node.sets if isinstance(node, Rollup) else (tuple(range(len(keys))),)
    plan = ProtectedPlan(
        asked=asked,
        release=release,
        facts=facts,
        keys=keys,
        sensitive_keys=tuple(i for i, key in enumerate(release.keys) if _names(key) & tainted),
        quantities=tuple(quantities.found),
        figures=figures,
        sets=_checked(sets, keys, asked),
        rules=rules,
        shared=shared,
        units_about=unit.count_about,
    )
    sizes = [plan.cells_of(part) for part in range(len(sets))]
    if sum(size or 0 for size in sizes) * len(plan.quantities) > CELLS_MAX:
        hint = "group by fewer or coarser keys, or narrow them with WHERE"
        raise Refuse("result_too_large", f"the answer would have more than {CELLS_MAX} numbers", hint=hint, at=asked.at)
    return plan


def _checked(sets: tuple[tuple[int, ...], ...], keys: Sequence[KeyPlan], asked: Release) -> tuple[tuple[int, ...], ...]:
    if len(sets) > SETS_MAX or any(not 0 <= key < len(keys) for kept in sets for key in kept):
        raise Refuse("construct_not_allowed", "these grouping sets are not answered", at=asked.at)
    return sets


def _without_sensitive(node: Relation, tainted: frozenset[str]) -> tuple[Relation, tuple[Expression, ...]]:
    """The outermost conditions apart that look at sensitive columns."""
    if not isinstance(node, Filter):
        return node, ()
    below, apart = _without_sensitive(node.source, tainted)
    hot = tuple(condition for condition in node.conditions if _names(condition) & tainted)
    cold = tuple(condition for condition in node.conditions if condition not in hot)
    return (replace(node, source=below, conditions=cold) if cold else below), (*apart, *hot)


def _names(expression: Expression) -> frozenset[str]:
    return frozenset(column.name for column in columns(expression))


@dataclass(frozen=True, slots=True)
class _Space:
    """By what rows are told from others."""

    once: bool
    """Whether no unit has two rows: rows are counted as units then."""
    items: bool
    private: frozenset[str]
    """The tables of units: what a row of theirs holds hangs on the row alone, however it was come by."""
    origins: Origins
    policy: Policy


class _Quantities:
    """Collects the quantities that the measures of a question need, each once."""

    def __init__(self, facts: Facts, tainted: frozenset[str], apart: tuple[Expression, ...], space: _Space) -> None:
        self._facts = facts
        self._tainted = tainted
        self._apart = apart
        self._space = space
        self.found: list[Summed] = []

    def figure(self, measure: Measure) -> Figure:
        match measure.function, measure.argument:
            case "count_rows", None:
                return self._count(measure, "rows", ())
            case "count", Column(name=name) if name in (self._facts.unit or ()):
                return self._count(measure, "rows", ())
            case "count", argument if argument is not None:
                return self._count(measure, "rows", present([argument]))
            case "count_units", argument:
                if argument is not None and facts_of(argument, self._facts).type.kind != "boolean":
                    raise Refuse("type_mismatch", "units are counted by a condition", at=measure.at)
                return self._count(measure, "units", () if argument is None else (argument,))
            case "sum" | "avg", argument if argument is not None:
                return self._sum(measure, argument)
            case _:
                detail = f"{measure.function.upper()} is not answered exactly: its contributors are not known"
                hint = "COUNT, COUNT(DISTINCT unit), SUM and AVG are; mode `dp` answers more where it is offered"
                raise Refuse("aggregate_not_allowed", detail, hint=hint, at=measure.at)

    def _count(self, measure: Measure, kind: Kind, conditions: tuple[Expression, ...]) -> Figure:
        return Figure(measure, BIGINT, ((Fraction(1), self._add(kind, (), conditions)),), None)

    def _sum(self, measure: Measure, argument: Expression) -> Figure:
        found = terms_of(argument, self._facts)
        if not found:
            raise Refuse("aggregate_not_allowed", "this adds up nothing", hint="name a column", at=measure.at)
        origins, policy = self._space.origins, self._space.policy
        terms: list[tuple[Fraction, int]] = []
        for term, coefficient in found.items():
            for factor in term.factors:
                require_one(factor, origins, measure.at)
            require_no_weight(term.factors, origins, policy, measure.at)
            terms.append((coefficient, self._term(term)))
            if any(told_by_groups(factor, origins, policy) for factor in term.factors):
                present_rows = (*term.conditions, *present(term.factors))
                terms.append((Fraction(0), self._add("rows", (), present_rows)))  # known values tell how many there are
        if measure.function == "avg":
            return Figure(measure, DOUBLE, tuple(terms), self._add("rows", (), present([argument])))
        return Figure(measure, self._type(argument, tuple(terms)), tuple(terms), None)

    def _term(self, term: Term) -> int:
        return self._add("sum" if term.factors else "rows", term.factors, term.conditions)

    def _add(self, kind: Kind, factors: tuple[Column, ...], conditions: tuple[Expression, ...]) -> int:
        hot = tuple(condition for condition in conditions if _names(condition) & self._tainted)
        cold = tuple(condition for condition in conditions if condition not in hot)
        kind = "units" if kind == "rows" and self._space.once else kind
        name, shared = self._name(kind, factors)
        made = Summed(
            kind=kind,
            name=name,
            shared=shared,
            factors=factors,
            conditions=cold,
            sensitive=(*self._apart, *hot),
            worth=worth(factors, self._facts),
            nonnegative=all(_never_below_0(factor, self._facts) for factor in factors),
            personal=any(_names(factor) & self._tainted for factor in factors),
        )
        if made not in self.found:
            self.found.append(made)
        return self.found.index(made)

    def _name(self, kind: Kind, factors: tuple[Column, ...]) -> tuple[str, bool]:
        """What is added up, and whether others who add it up mean the same by it."""
        if kind == "units":
            return "units", True
        if not factors:
            return "rows", self._space.items
        found = [facts_of(factor, self._facts).source for factor in factors]
        known = all(source is not None and source[0] in self._space.private for source in found)
        words = [".".join(source) if source else factor.name for source, factor in zip(found, factors, strict=True)]
        return f"sum of {' * '.join(sorted(words))}", self._space.items and known

    def _type(self, argument: Expression, terms: tuple[tuple[Fraction, int], ...]) -> Type:
        found = facts_of(argument, self._facts)
        if isinstance(argument, Column) and found.type.kind == "decimal":
            return Type("decimal", 38, found.type.scale)
        whole = all((coefficient * self.found[i].worth).denominator == 1 for coefficient, i in terms)
        return BIGINT if whole and found.type.whole else DOUBLE


def _never_below_0(factor: Column, facts: Facts) -> bool:
    bounds = facts_of(factor, facts).bounds
    return numeric_bounds(bounds) and bounds[0] >= 0
