"""Questions in which a form stands in every place of a query: select list, WHERE, GROUP BY, aggregates, windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from gateway.errors import Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.load import load_text
from policies.types import Type
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Expression, walk
from sandbox.relational.facts import Refuse, Schema
from sandbox.relational.nodes import find_release
from sandbox.relational.scalar import facts_of
from tests.alike.forms import Form
from tests.alike.poison import POLICY

_SCHEMA: Final = Schema(load_text(POLICY, "policy.toml"), {"codes": {"id": tuple(range(10)), "level": ("x", "y", "z")}})
_CONDITIONS: Final = {
    "number": "{e} > 1",
    "text": "{e} >= 'a'",
    "boolean": "{e}",
    "date": "{e} >= DATE '2000-02-01'",
    "timestamp": "{e} >= TIMESTAMP '2000-02-01 00:00:00'",
}
_OF_ALL: Final = ("COUNT({e})", "COUNT(DISTINCT {e})")
_OF_ORDERED: Final = ("MEDIAN({e})", "MIN({e})", "MAX({e})")
_AGGREGATES: Final = {
    "number": (*_OF_ALL, "SUM({e})", "AVG({e})", "STDDEV({e})", "CORR({e}, small)", *_OF_ORDERED),
    "text": _OF_ALL,
    "boolean": (*_OF_ALL, "COUNT_IF({e})"),
    "date": (*_OF_ALL, *_OF_ORDERED),
    "timestamp": (*_OF_ALL, *_OF_ORDERED),
}


@dataclass(frozen=True, slots=True)
class Question:
    """`about` is the function that it is made for, or the place of what has no name."""

    about: str
    place: str
    body: dict[str, Any]


@cache
def read_as(text: str) -> tuple[Expression, Type] | None:
    """What the model makes of a form, and its type; None where it is refused."""
    try:
        query = read(f"SELECT COUNT({text}) AS n FROM odd", {}, {"clinic": _SCHEMA.policy}, SqlLimits())
        release = find_release(query.plan)
        argument = release.measures[0].argument
        return None if argument is None else (argument, facts_of(argument, derive(release.source, _SCHEMA)).type)
    except (Refusal, Refuse):
        return None


def functions_of(text: str) -> set[str]:
    """The functions of the model that a form is read as."""
    found = read_as(text)
    return set() if found is None else {each.function for each in walk(found[0]) if isinstance(each, Call)}


def noisy(form: Form) -> Iterator[Question]:
    """In mode `dp`. What cannot be asked is refused, and compared too."""
    family = _family(form)
    condition = _CONDITIONS[family].format(e=f"({form.text})")
    yield _dp(form, "where", f"SELECT COUNT(*) AS n FROM odd WHERE {condition} OR ({form.text}) IS NULL")
    yield _dp(form, "group by", f"SELECT {form.text} AS k, COUNT(*) AS n FROM odd GROUP BY k")
    shown = ", ".join(f"{each.format(e=form.text)} AS a{i}" for i, each in enumerate(_AGGREGATES[family]))
    yield _dp(form, "aggregates", f"SELECT letter, {shown} FROM odd GROUP BY letter")
    own = f"PARTITION BY pid ORDER BY {form.text}"
    yield _dp(
        form,
        "windows",
        f"SELECT SUM(r) AS a, COUNT(before) AS b, SUM(d) AS c FROM (SELECT row_number() OVER ({own}) AS r, "
        f"lag({form.text}) OVER ({own}) AS before, dense_rank() OVER ({own}) AS d FROM odd) AS w",
    )
    yield _dp(
        form,
        "units",
        f"SELECT COUNT(least_) AS a, SUM(many) AS b FROM (SELECT pid, MIN({form.text}) AS least_, "
        f"COUNT({form.text}) AS many FROM odd GROUP BY pid) AS w",
    )


def exact(form: Form) -> Iterator[Question]:
    """In mode `aggregate`."""
    condition = _CONDITIONS[_family(form)].format(e=f"({form.text})")
    numbers = "COUNT(*) AS n, SUM(fixed) AS s, AVG(real) AS a, COUNT(wild) AS w"
    yield _exact(form, "where", f"SELECT {numbers} FROM odd WHERE {condition} OR ({form.text}) IS NULL")
    yield _exact(form, "group by", f"SELECT {form.text} AS k, COUNT(*) AS n FROM odd GROUP BY k")
    yield _exact(
        form, "aggregates", f"SELECT letter, COUNT({form.text}) AS n, SUM({form.text}) AS s FROM odd GROUP BY letter"
    )


def _family(form: Form) -> str:
    found = read_as(form.text)
    if found is None:
        return "text"
    return "number" if found[1].numeric else found[1].kind


def _dp(form: Form, place: str, sql: str) -> Question:
    return Question(form.function, place, {"sql": sql, "purpose": "research", "mode": "dp"})


def _exact(form: Form, place: str, sql: str) -> Question:
    return Question(form.function, place, {"sql": sql, "purpose": "research", "mode": "aggregate"})
