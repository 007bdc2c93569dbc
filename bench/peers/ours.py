"""The project's own two entries: the data domain alone, and the whole gateway over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final

from bench import home, inside, variants
from bench.bare import Bare
from bench.client import Client
from bench.data import Dataset
from bench.peers.libraries.measure import RUNS_MIN, Job, Row
from bench.peers.questions import (
    DELTA,
    EPSILON,
    EXTENDED_MAX,
    LINES_MAX,
    ORDERS_MAX,
    PRICE_MAX,
    QUESTIONS,
    Keys,
    Question,
)
from bench.place import FOLDER
from policies.model import Accountant

BARE_RUNS: Final = 15
PURPOSE: Final = home.PURPOSES["tpch"]
GROUPS_MAX: Final = max(question.groups_max for question in QUESTIONS)
KEYS: Final = ("orders.o_orderstatus", "orders.o_orderpriority", "lineitem.l_returnflag", "lineitem.l_linestatus")
BOUNDS: Final[dict[str, dict[str, object]]] = {
    "orders": {"rows_per_unit_max": ORDERS_MAX},
    "orders.o_totalprice": {"range": [0, PRICE_MAX], "total_per_unit_max": None},
    "lineitem": {"rows_per_unit_max": LINES_MAX},
    "lineitem.l_quantity": {"total_per_unit_max": None},
    "lineitem.l_extendedprice": {"range": [0, EXTENDED_MAX], "total_per_unit_max": None},
}
"""What every library is told, and no more: rows a customer, and the largest single values."""
CASE: Final = '[[case]]\nname = "count"\nsql = "SELECT COUNT(*) AS n FROM orders"\nexpect = "answer"\n'


def policy(data: Dataset, keys: Keys, accountant: Accountant, groups_max: int, **caps: object) -> str:
    """The benchmark's policy with the bounds of this comparison.

    `caps` are further settings: a question costs EPSILON and DELTA as a whole wherever the cap on delta is DELTA too.
    """
    facts: dict[str, dict[str, object]] = {**BOUNDS}
    if keys == "private":
        for column in KEYS:
            facts[column] = {"values": None}
        facts["orders.o_orderdate"] = {"range": None}
    document = variants.with_facts(variants.read(data.policy / "policy.toml"), facts)
    settings: dict[str, object] = {
        "accountant": accountant,
        "delta": Decimal(str(DELTA)),
        "delta_per_query": Decimal(str(DELTA)) / 2,
        "groups_per_unit_max": groups_max,
    }
    return variants.text(variants.released(document, **settings | caps))


def unprotected(job: Job, data: Dataset) -> dict[str, Any]:
    """Bare DuckDB on the Parquet files."""
    bare = Bare.on_parquet(data)
    answers = [bare.run(job.question.exact).rows]
    return {"seconds": [bare.run(job.question.exact).seconds for _ in range(BARE_RUNS)], "answers": answers}


def domain(job: Job, data: Dataset, accountant: Accountant) -> dict[str, Any]:
    """What `libraries.measure` measures of the others, of the domain alone."""
    question = job.question
    text = policy(data, job.keys, accountant, question.groups_max)
    sql = question.ours.format(where=condition(question, None))
    took: list[float] = []
    answers: list[list[Row]] = []
    try:
        with inside.opened(text, data, remember=False) as here:
            here.ask(sql, str(EPSILON))
            begin = time.monotonic()
            while _goes_on(job, len(took), begin):
                answer = here.ask(sql, str(EPSILON))
                took.append(answer.seconds)
                answers.append(_named(question, answer.rows))
    except inside.NotAnswered as refusal:
        return {"why": str(refusal)}
    return {"seconds": took, "answers": answers}


@contextmanager
def served(data: Dataset, keys: Keys) -> Iterator[Client]:
    """The gateway over `data`. Its cap on delta is far above DELTA, so that more than one question fits."""
    folder = FOLDER / "peers" / f"policy-{keys}"
    folder.mkdir(parents=True, exist_ok=True)
    text = policy(data, keys, "zcdp", GROUPS_MAX, delta=Decimal("1e-6"), delta_per_query=Decimal(str(DELTA)))
    (folder / "policy.toml").write_text(text, encoding="utf-8")
    (folder / "cases.toml").write_text(CASE, encoding="utf-8")
    made = home.make(FOLDER / "peers" / f"home-{keys}", [Dataset("tpch", folder, data.tables, data.parquet)])
    with home.served(made) as client:
        yield client


def over_http(job: Job, gateway: Client) -> dict[str, Any]:
    """Each run is a question that was not asked before."""
    client = gateway.another()  # a connection that waited while others were measured was closed by the server
    try:
        return _asked_over_http(job, client)
    finally:
        client.close()


def _asked_over_http(job: Job, client: Client) -> dict[str, Any]:
    question = job.question
    took: list[float] = []
    answers: list[list[Row]] = []
    begin = 0.0
    run = 0
    while run == 0 or _goes_on(job, len(took), begin):
        reply = client.ask(question.ours.format(where=condition(question, run)), PURPOSE, str(int(EPSILON)))
        if reply.code is not None:
            return {"why": f"{reply.code}: {json.dumps(reply.body.get('detail') or '', ensure_ascii=False)}"}
        if reply.body["reused"]:
            raise RuntimeError(f"question {question.name} met a stored answer")
        if run:
            took.append(reply.seconds)
            answers.append(_named(question, reply.body["rows"]))
        else:
            begin = time.monotonic()
        run += 1
    return {"seconds": took, "answers": answers}


def _goes_on(job: Job, done: int, begin: float) -> bool:
    return done < job.runs and (done < RUNS_MIN or time.monotonic() - begin < job.seconds)


def condition(question: Question, run: int | None) -> str:
    """Nothing but what the question needs, or a condition that is always true and new in each run."""
    if run is not None:
        return "WHERE " + question.always.format(x=run + 1)
    needed, _, padding = question.always.rpartition(" AND ")
    del padding
    return f"WHERE {needed}" if needed else ""


def _named(question: Question, rows: Sequence[Row]) -> list[Row]:
    """Months are named as the others name them."""
    if question.name != "h":
        return [[*row] for row in rows]
    return [[str(row[0])[:7], *row[1:]] for row in rows]
