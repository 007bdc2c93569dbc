"""A unit whose rows hold everything that breaks things tells nothing by being there: no question fails by a row.

Two homes differ in that unit alone. Every function of the closed list, every operator, every cast and every other part
of the grammar is asked of both, in each place of a query, and all is compared: status, headers, length, body, what is
charged, kept and logged, and what workers and mechanisms are asked for. What is asked is taken from the code: what is
added later is driven too, or fails a test here.

`make test` asks one form of each function, `BPK_LONG` all of them; `BPK_TURN` says over which columns.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp

from gateway import answer
from gateway.audit.log import Log
from gateway.http import padding, security
from gateway.http.metrics import Metrics
from gateway.sql import grammar
from gateway.sql.limits import SqlLimits
from gateway.sql.parse import parse
from sandbox import worker
from sandbox.regimes.noisy import Noisy
from sandbox.relational import expressions
from sandbox.relational.lower import functions
from tests.alike.asked import Question, exact, functions_of, noisy
from tests.alike.compared import compared
from tests.alike.forms import FORMS, Form, forms, turns
from tests.alike.poison import Twins, twins
from tests.alike.structures import structures
from tests.long import POISON_TURNS

LONG = bool(os.environ.get("BPK_LONG"))
TURN = int(os.environ.get("BPK_TURN", "1"))
PARTS = 3
"""So that no single test keeps the others waiting."""
ANSWERED = 0.75
"""The least share of the questions that are not refused, in mode `dp`."""


@pytest.fixture
def pair(memory: Path) -> Iterator[Twins]:
    with twins(memory) as found:
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with twins(tmp_path_factory.mktemp("shared")) as found:
        yield found


def driven(turn: int) -> list[Form]:
    """One form of each function, all of columns' casts; everything with BPK_LONG."""
    found: dict[str, list[Form]] = {}
    for form in forms(turn):
        found.setdefault(form.function, []).append(form)
    every = LONG or turn < 0
    chosen = [each if every or name in ("cast", "column") else [each[turn % len(each)]] for name, each in found.items()]
    return [form for each in chosen for form in each]


def in_places(number: int, form: Form) -> list[Question]:
    """In WHERE and GROUP BY, and in one of the other places; in all of them with BPK_LONG."""
    where, keys, *others = noisy(form)
    return [where, keys, *(others if LONG else [others[number % len(others)]])]


def of_mode(mode: str, turn: int) -> list[Question]:
    """Every form in its places; in mode `dp` also what the grammar accepts besides."""
    if mode != "dp":
        return [question for form in driven(turn) for question in exact(form)]
    made = (question for number, form in enumerate(driven(turn)) for question in in_places(number, form))
    return [*made, *structures(turn)]


def asked_of(mode: str, part: int) -> list[Question]:
    """The questions of one part: all that are made for a function are in the same one."""
    made = of_mode(mode, TURN)
    names = list(dict.fromkeys(question.about for question in made))
    return [question for question in made if names.index(question.about) % PARTS == part]


def report(pair: Twins, questions: Sequence[Question]) -> tuple[list[str], dict[str, Counter[str]]]:
    """What differed, and how the questions ended, by what they are made for."""
    found: list[str] = []
    ends: dict[str, Counter[str]] = {}
    for question in questions:
        seen = compared(pair, question)
        ends.setdefault(question.about, Counter())[seen.outcome] += 1
        if seen.problems:
            found.append(f"{question.body['sql']}\n    {seen.outcome} {seen.problems[0][:500]}")
    return found, ends


def test_every_function_has_forms_that_are_read_as_it() -> None:
    assert set(FORMS) == set(expressions.FUNCTIONS)
    unread = [
        name
        for name, found in FORMS.items()
        if not any(name in functions_of(form.text) for form in driven(-1) if form.template in found)
    ]
    assert not unread


def test_the_long_run_takes_every_turn() -> None:
    assert sorted((1, *POISON_TURNS)) == list(range(turns()))


def test_every_part_of_the_grammar_is_driven() -> None:
    driven_: set[tuple[type[exp.Expr], str]] = set()
    for question in (*of_mode("dp", -1), *of_mode("aggregate", -1)):
        for node in parse(question.body["sql"], SqlLimits()).walk():
            driven_ |= {(type(node), name) for name, value in node.args.items() if not grammar._is_empty(value)}
            driven_.add((type(node), ""))
    listed = {(kind, name) for kind, names in grammar.ALLOWED.items() for name in ("", *names)}
    assert {f"{kind.__name__}.{name}" for kind, name in listed - driven_} == {
        "StartsWith.negate", "EndsWith.negate", "Contains.negate",  # the parser writes NOT around them
        "DataType.nested",  # false for every type that may be named
    }  # fmt: skip


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_noisy_answer_tells_of_a_poisoned_unit(pair: Twins, part: int) -> None:
    found, ends = report(pair, asked_of("dp", part))
    answered, every = sum(each["answered"] for each in ends.values()), sum(each.total() for each in ends.values())
    print(f"\nquestions: {every}, answered: {answered}, differing: {len(found)}")
    assert not found, "\n".join(found[:5])
    assert [name for name, each in ends.items() if not each["answered"]] == [], "some are refused everywhere"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_exact_answer_fails_by_a_poisoned_unit(pair: Twins, part: int) -> None:
    found, ends = report(pair, asked_of("aggregate", part))
    answered, every = sum(each["answered"] for each in ends.values()), sum(each.total() for each in ends.values())
    print(f"\nquestions: {every}, answered: {answered}, differing: {len(found)}")
    assert not found, "\n".join(found[:5])
    assert [name for name, each in ends.items() if not each["answered"]] == [], "some are refused everywhere"


# Planted faults: what the comparison is there for, it sees.

Plant = Callable[[pytest.MonkeyPatch, Twins], None]


def _looked_at(m: pytest.MonkeyPatch, see: Callable[[bytes], None]) -> None:
    """`see` is told what workers answer."""
    honest = worker._answer

    def answer_(engine: Any, start: Any, body: bytes, kept: set[str]) -> bytes:
        found = honest(engine, start, body, kept)
        if not found.startswith(worker.FAILED):
            see(found)
        return found

    m.setattr(worker, "_answer", answer_)


def _raising(m: pytest.MonkeyPatch, pair: Twins) -> None:
    m.setitem(functions.WRITERS, "to_integer", lambda call, x, parts: f"CAST({x[0]} AS BIGINT)")


def _raising_with_words(m: pytest.MonkeyPatch, pair: Twins) -> None:
    """It fails in both homes, and the reply says what it failed of. Which row an engine stumbles over first is up to
    the engine, so here the words come from all of them."""
    said: list[str] = []
    honest, failed = worker._answer, answer.failed

    def answer_(engine: Any, start: Any, body: bytes, kept: set[str]) -> bytes:
        said.append(f"no integer in row {sum(honest(engine, start, body, kept))}")
        return worker.FAILED + b"data"

    m.setattr(worker, "_answer", answer_)
    m.setattr(answer, "failed", lambda query_id: {**failed(query_id), "detail": said[-1]})


def _logging(logger: str) -> Plant:
    def plant(m: pytest.MonkeyPatch, pair: Twins) -> None:
        _looked_at(m, lambda found: logging.getLogger(logger).warning("an answer: %s", found[:2000]))

    return plant


def _telling_in_a_header(m: pytest.MonkeyPatch, pair: Twins) -> None:
    written = list(security.WRITTEN)
    m.setattr(security, "WRITTEN", written)
    _looked_at(m, lambda found: written.append((b"x-rows", found.hex()[:2000].encode())))


def _longer_by_rows(m: pytest.MonkeyPatch, pair: Twins) -> None:
    seen: list[bytes] = []
    _looked_at(m, seen.append)
    m.setattr(padding, "padded", lambda body: body.ljust(4096 + sum(seen[-1])) if seen else body)


def _dearer(m: pytest.MonkeyPatch, pair: Twins) -> None:
    """By which home it is: as if the price were looked up in the data."""
    honest, odd = Noisy.job, pair.odd.door._datasets.find("clinic")
    assert odd is not None

    def job(self: Noisy, question: Any, served: Any) -> Any:
        found = honest(self, question, served)
        more = int(served.snapshot.commitment == odd.snapshot.commitment)
        price = replace(found.budget.price, rho=found.budget.price.rho + more)
        return replace(found, budget=replace(found.budget, price=price))

    m.setattr(Noisy, "job", job)


def _on_record(m: pytest.MonkeyPatch, pair: Twins) -> None:
    seen: list[bytes] = [b""]
    _looked_at(m, seen.append)
    honest = Log.append

    def append(self: Log, tx: Any, **fields: Any) -> int:
        if fields["kind"] == "release":
            fields["code"] = f"rows_{sum(seen[-1])}"
        return honest(self, tx, **fields)

    m.setattr(Log, "append", append)


def _counting(m: pytest.MonkeyPatch, pair: Twins) -> None:
    seen: list[bytes] = [b""]
    _looked_at(m, seen.append)
    honest = Metrics.request
    m.setattr(Metrics, "request", lambda self, route, *more: honest(self, f"{route} {sum(seen[-1])}", *more))


PLANTED: dict[str, tuple[Plant, str]] = {
    "a function that raises": (_raising, "body"),
    "what a failure says in the body": (_raising_with_words, "body.detail"),
    "a line in the domain's log": (_logging("bpk.domain"), "lines"),
    "a line in the gateway's log": (_logging("bpk.pipeline"), "lines"),
    "a header": (_telling_in_a_header, "headers"),
    "the length of the reply": (_longer_by_rows, "length"),
    "a record": (_on_record, "stored.record"),
    "a counter": (_counting, "counted"),
    "the price": (_dearer, "body.cost"),  # the last: what is left differs from then on
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_difference_is_noticed(shared: Twins, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, place = PLANTED[fault]
    honest = compared(shared, _sum(f"small < {list(PLANTED).index(fault)}"))
    assert (honest.outcome, honest.problems) == ("answered", ())
    plant(monkeypatch, shared)
    found = compared(shared, _sum(f"small >= {list(PLANTED).index(fault)}"))
    assert any(problem.startswith(place) for problem in found.problems), found.problems


def _sum(condition: str) -> Question:
    """Of numbers that are cast: those of the ordinary units all fit, some of the poisoned one do not."""
    sql = f"SELECT letter, SUM(CAST(wide AS BIGINT)) AS s FROM odd WHERE {condition} OR small IS NULL GROUP BY letter"
    return Question("to_integer", "aggregates", {"sql": sql, "purpose": "research", "mode": "dp"})
