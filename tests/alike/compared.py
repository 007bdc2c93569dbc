"""One question to the poisoned home and to the other, and all that differs."""

from __future__ import annotations

from dataclasses import dataclass

from tests.alike.asked import Question
from tests.alike.poison import Twins
from tests.alike.seen import Watched
from tests.alike.transcript import given_again, noted, too_far


@dataclass(frozen=True, slots=True)
class Compared:
    outcome: str
    detail: str
    problems: tuple[str, ...]


def compared(twins: Twins, question: Question) -> Compared:
    """In mode `dp` to the byte, for mechanisms give to the second what they gave to the first. Exact answers say what
    is there, so all but what they say is compared."""
    noisy = question.body["mode"] == "dp"
    for home in (twins.odd, twins.even):
        home.forget()
    with noted() as first:
        one = Watched(twins.odd).ask(question.body)
    with given_again(first) as again:
        other = Watched(twins.even).ask(question.body)
    problems = [] if noisy else [*one.without_exact_numbers().differences(other.without_exact_numbers())]
    if noisy:
        problems += [*one.differences(other), *again.strays, *too_far(first, again)]
    if twins.odd.pool.statements != twins.even.pool.statements:
        problems.append("workers are asked for different things")
    problems += ["it failed"] * ("failed" in (one.outcome, other.outcome))
    detail = str(one.body.get("detail", "")) if isinstance(one.body, dict) else ""
    return Compared(one.outcome, detail, tuple(problems))
