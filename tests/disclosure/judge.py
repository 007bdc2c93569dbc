"""Looks for harm in one answer: planted secrets, and numbers that too few units or too large ones stand behind."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import sqlglot
from sqlglot import exp

from policies.model import Aggregate
from tests.disclosure.bare import Bare, Shared, plain_key
from tests.disclosure.planted import SECRET_NUMBERS, SECRET_WORDS
from tests.disclosure.world import Reply


@dataclass(frozen=True)
class Expected:
    """`withheld` may name the number of a column among those that are no keys, and a key value: `withheld@1#East`."""

    verdict: str
    column: int | None
    key: str | None

    @classmethod
    def of(cls, text: str) -> Expected:
        rest, _, key = text.partition("#")
        verdict, _, column = rest.partition("@")
        return cls(verdict, int(column) if column else None, key or None)

    def broken(self, reply: Reply) -> str | None:
        """What is wrong with `reply`, as far as refused, withheld or answered goes."""
        if self.verdict == "refused":
            return f"answered: {reply.rows}" if reply.answered else None
        if self.verdict in ("safe", "derived"):
            return None if reply.answered else f"refused: {reply.code}: {reply.detail}"
        if self.verdict == "withheld":
            if not reply.answered:
                return f"refused: {reply.code}: {reply.detail}"
            shown = [value for value in self._meant(reply) if value is not None]
            return f"shown: {shown}" if shown else None
        return None if reply.code == self.verdict else f"{reply.code or reply.rows} instead: {reply.detail}"

    def _meant(self, reply: Reply) -> Iterator[object]:
        places = [i for i, kind in enumerate(reply.kinds) if kind != "key"]
        for row in reply.rows:
            if self.key is None or self.key in row:
                yield from (row[i] for n, i in enumerate(places) if self.column in (None, n))


def complaints(reply: Reply, bare: Bare, rules: Aggregate, *, derived: bool = False) -> list[str]:
    """Every harm in `reply`; [] where there is none. Of numbers that are `derived` from others, such as ranks of
    groups, it is not known who stands behind them."""
    if not reply.answered:
        return []
    found = list(_secrets(reply))
    if derived:
        return found
    places = [i for i, kind in enumerate(reply.kinds) if kind != "key"]
    if any(row[i] is not None for row in reply.rows for i in places):
        keys = tuple(i for i, kind in enumerate(reply.kinds) if kind == "key")
        tree = sqlglot.parse_one(reply.sql, dialect="duckdb")
        wholes = bare.shared(reply.sql, keys)
        sums = bare.shared(_means_as_sums(tree).sql(dialect="duckdb"), keys)
        means = _means(tree, len(reply.kinds))
        for row in reply.rows:
            key = plain_key(row[i] for i in keys)
            for place in (place for place in places if row[place] is not None):
                if key not in sums:
                    found.append(f"{key}: {row[place]} for a group that is not there")
                    continue
                found += [f"{key}: {each}" for each in _cell(row[place], place, sums[key], rules)]
                found += _wrong(row[place], place, wholes[key], rules, mean=means[place])
    return found


def _secrets(reply: Reply) -> Iterator[str]:
    for row in reply.rows:
        for value in row:
            if isinstance(value, str) and any(word in value for word in SECRET_WORDS):
                yield f"a secret label: {value}"
            elif _number(value) is not None and round(abs(_number(value) or Decimal(0)), 2) in SECRET_NUMBERS:
                yield f"a secret number: {value}"


def _cell(value: object, place: int, shared: Shared, rules: Aggregate) -> Iterator[str]:
    """Who stands behind a number: each unit's own is what the same question gives over its rows alone."""
    alone = [_number(row[place]) for row in shared.alone.values()]
    sizes = sorted((abs(each) for each in alone if each), reverse=True)
    if len(sizes) < rules.units_min:
        yield f"{value} stands on {len(sizes)} units"
        return
    whole = _number(shared.whole[place])
    if whole is None or not _near(sum((each for each in alone if each), Decimal(0)), whole):
        return  # not a sum: neither dominance nor p-percent is defined
    total = sum(sizes)
    if sum(sizes[: rules.dominance_units]) >= rules.dominance_share * total:
        yield f"{value} is dominated by {rules.dominance_units} units"
    if (total - sum(sizes[:2])) * 100 < rules.p_percent * sizes[0]:
        yield f"{value} tells its second largest unit the largest"


def _wrong(value: object, place: int, shared: Shared, rules: Aggregate, *, mean: bool) -> Iterator[str]:
    """A number that is neither the bare one nor near it is no answer."""
    shown, whole = _number(value), _number(shared.whole[place])
    alone = [_number(row[place]) for row in shared.alone.values()]
    linear = whole is not None and _near(sum((each for each in alone if each), Decimal(0)), whole)
    if rules.rounding == 0 and shown is not None and (linear or mean) and not _near(shown, whole or Decimal(0)):
        yield f"{value} is not {whole}"


def _near(one: Decimal, other: Decimal) -> bool:
    return abs(one - other) <= Decimal("1e-9") * max(abs(one), abs(other), Decimal(1))


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or value is None or isinstance(value, str | dt.date):
        return None
    return Decimal(str(value))


def _means(tree: exp.Expression, width: int) -> Sequence[bool]:
    shown = tree.selects if isinstance(tree, exp.Select) else []
    found = [isinstance(one.unalias(), exp.Avg) for one in shown]
    return found if len(found) == width else [False] * width


def _means_as_sums(tree: exp.Expression) -> exp.Expression:
    tree = tree.copy()
    for one in tree.selects if isinstance(tree, exp.Select) else []:
        for mean in list(one.find_all(exp.Avg)):
            if mean.find_ancestor(exp.Select) is tree:
                mean.replace(exp.Sum(this=mean.this))
    return tree
