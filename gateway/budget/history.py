"""What was spent when: the ledger's charges by day, week or month, with what came of them.

Sums are exact and of the rows that budgets rest on. Under `zcdp` it is rho that adds up over time; the epsilon beside
it is what so much rho is worth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final, Literal, get_args

from gateway.budget.account import split_block
from gateway.budget.loss import Cap, Loss, answers, as_epsilon, left, most, words
from gateway.budget.sums import Added
from gateway.store import Reading
from policies.model import Dp
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, rho_for, text, units_down
from sandbox.protocol import Price

By = Literal["day", "week", "month"]
BYS: Final[tuple[By, ...]] = get_args(By)


@dataclass(frozen=True, slots=True)
class Seen:
    """A scope whose history is told. `counts` where its reader may also know how often it was asked."""

    id: str
    dataset: str
    operator: str | None
    cap: Cap
    spent: Loss
    counts: bool
    usual: Price | None
    """What a question costs whose caller names nothing."""
    days: tuple[tuple[date, date], ...] | None = None
    """First and last of the days that its reader is told of; None: all. What was spent on others is in sums alone."""
    parts: tuple[tuple[str, Loss], ...] = ()
    """What was spent on its blocks, where there are some: then nothing was on itself."""

    @property
    def fullest(self) -> Loss:
        """What is spent; where there are blocks, on the fullest."""
        return most((self.spent, *(spent for _, spent in self.parts)))

    def told(self, day: date) -> bool:
        return self.days is None or any(first <= day <= last for first, last in self.days)

    @property
    def whole(self) -> bool:
        """Whether all questions of the dataset, or of the operator on it, are this scope's, also those that cost
        nothing: what was refused is of no narrower one."""
        return self.id in (f"dataset:{self.dataset}", f"operator:{self.operator}/{self.dataset}")


@dataclass(slots=True)
class Period:
    """What happened from `begin` to the next period."""

    begin: date
    spent: Loss = field(default_factory=Loss)
    untold: Loss = field(default_factory=Loss)
    """What was spent on days that the reader is not told of."""
    told: bool = False
    charges: int = 0
    answers: int = 0
    """Charged, and answered; the other charges failed, were cancelled, or still run."""
    reused: int = 0
    """Answered for nothing, by what is stored."""
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Which periods are told: those that begin from `since` on and before `until`; sums go back to the beginning."""

    by: By = "day"
    since: date | None = None
    until: date | None = None

    def begin(self, day: date) -> date:
        if self.by == "week":
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self.by == "month" else day

    def holds(self, begin: date) -> bool:
        return (self.since is None or begin >= self.begin(self.since)) and (self.until is None or begin < self.until)


@dataclass(slots=True)
class _Days:
    periods: dict[str, dict[date, Period]] = field(default_factory=lambda: defaultdict(dict))

    def of(self, scope: str, begin: date) -> Period:
        return self.periods[scope].setdefault(begin, Period(begin))

    def told(self, scope: str, begin: date) -> Period:
        period = self.of(scope, begin)
        period.told = True
        return period


def usual_price(dp: Dp) -> Price:
    epsilon = units_down(dp.epsilon_per_query, EPSILON_UNIT)
    limit = units_down(dp.delta, DELTA_UNIT) // 2
    return Price(epsilon, 0, rho_for(epsilon, limit) if dp.accountant == "zcdp" else 0)


def every(view: Reading, rules: Mapping[str, Dp], wanted: str | None, who: str | None) -> tuple[Seen, ...]:
    """All scopes of the ledger, or those of a dataset or an operator, for whoever may see all."""
    where, given = _only({"dataset": wanted, "operator": who})
    rows = view.all(
        "SELECT id, dataset, operator, accountant, cap_rho, cap_epsilon, cap_delta, charged_rho, charged_epsilon,"  # noqa: S608  # our own text
        f" charged_delta FROM scope WHERE {where} ORDER BY id",
        given,
    )
    parts: dict[str, list[tuple[str, Loss]]] = defaultdict(list)
    for name, *_, rho, epsilon, delta in rows:
        base, block = split_block(name)
        parts[base] += [] if block is None else [(block, Loss(rho, epsilon, delta))]
    return tuple(
        Seen(
            name,
            dataset,
            operator,
            Cap(accountant, *amounts[:3]),
            Loss(*amounts[3:]),
            counts=True,
            usual=_usual(rules.get(dataset), accountant),
            parts=tuple(parts.get(name, ())),
        )
        for name, dataset, operator, accountant, *amounts in rows
    )


def _usual(dp: Dp | None, accountant: str) -> Price | None:
    """None also where the policy adds up something else by now."""
    return None if dp is None or dp.accountant != accountant else usual_price(dp)


def history(added: Added, scopes: Sequence[Seen], window: Window) -> list[dict[str, Any]]:
    """Each scope as it stands, with its periods."""
    days, seen = _Days(), {scope.id: scope for scope in scopes}
    for (scope_id, day), charged in added.charged.items():
        if scope_id not in seen:
            continue
        period = days.of(scope_id, window.begin(day))
        if not seen[scope_id].told(day):
            period.untold += charged.spent
            continue
        period.told = True
        period.spent += charged.spent
        period.charges += charged.charges
        period.answers += charged.answers
    told = [scope for scope in scopes if scope.counts and scope.whole]
    for (dataset, operator, day), count in added.reused.items():
        for scope in _about(told, dataset, operator):
            days.told(scope.id, window.begin(day)).reused += count
    for (dataset, operator, day), count in added.refused.items():
        for scope in _about(told, dataset, operator):
            days.told(scope.id, window.begin(day)).refusals += count
    return [_told(scope, days.periods.get(scope.id, {}), window) for scope in scopes]


def _only(wanted: Mapping[str, str | None]) -> tuple[str, tuple[str, ...]]:
    """A condition on columns, where something is wanted of them."""
    given = {column: value for column, value in wanted.items() if value is not None}
    return " AND ".join([f"{column} = ?" for column in given]) or "1 = 1", tuple(given.values())


def _about(scopes: Sequence[Seen], dataset: str, operator: str) -> list[Seen]:
    return [scope for scope in scopes if scope.dataset == dataset and scope.operator in (None, operator)]


def _told(scope: Seen, periods: Mapping[date, Period], window: Window) -> dict[str, Any]:
    total, lines = Loss(), []
    for begin, period in sorted(periods.items()):
        total = total + period.spent + period.untold
        if period.told and window.holds(begin):
            lines.append(_line(scope, period, total))
    rest = left(scope.cap, scope.fullest)
    usual = scope.usual
    return {
        **({"blocks": [block for block, _ in scope.parts]} if scope.parts else {}),
        "scope": scope.id,
        "dataset": scope.dataset,
        "operator": scope.operator,
        "accountant": scope.cap.accountant,
        "cap": words(scope.cap),
        "spent": _words(scope, scope.spent),
        "epsilon_left": text(as_epsilon(scope.cap, rest), EPSILON_UNIT),
        "answers_left": None if usual is None else answers(scope.cap.accountant, rest, usual),
        "answer_epsilon": None if usual is None else text(usual.epsilon, EPSILON_UNIT),
        "periods": lines,
    }


def _line(scope: Seen, period: Period, total: Loss) -> dict[str, Any]:
    found: dict[str, Any] = {
        "begin": period.begin.isoformat(),
        "spent": _words(scope, period.spent),
        "spent_by_then": _words(scope, total),
    }
    told = {"charges": scope.counts, "answers": scope.counts}
    told |= dict.fromkeys(("reused", "refusals"), scope.counts and scope.whole)
    return found | {name: getattr(period, name) if tells else None for name, tells in told.items()}


def _words(scope: Seen, loss: Loss) -> dict[str, str]:
    """Under `zcdp` the epsilon is what the rho is worth; such epsilons do not add up, the rho does."""
    return {**words(loss), "epsilon": text(as_epsilon(scope.cap, loss), EPSILON_UNIT)}
