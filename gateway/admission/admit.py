"""The only maker of AdmittedQuery: a question that this operator may ask, at a price that the policy allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from gateway.admission import blocks as of_blocks
from gateway.admission.epsilons import epsilon_for, most_of
from gateway.admission.licences import licence_for
from gateway.admission.modes import mode_for, require_asked
from gateway.admission.paging import Page
from gateway.admission.purposes import purpose_for
from gateway.errors import Refusal
from gateway.sql.read import Query
from policies.model import Licence, Mode, Policy
from sandbox.protocol import Question
from sandbox.relational.nodes import Output
from sandbox.relational.normal import normal

_MAKER = object()


@dataclass(frozen=True, slots=True)
class AdmittedQuery:
    """May be priced and run. `epsilon` is in 1e-12; `licence` and `purpose` may be None for open data alone."""

    operator: str
    dataset: str
    policy: Policy
    licence: Licence | None
    purpose: str | None
    mode: Mode
    question: Question
    epsilon: int
    blocks: tuple[str, ...]
    """To whose budgets it is charged; () where the policy has no blocks, or nothing is charged."""
    maker: object = None

    def __post_init__(self) -> None:
        if self.maker is not _MAKER:
            raise AssertionError("an admitted query was made outside admission")

    def priced(self, epsilon: int) -> AdmittedQuery:
        """The same question at the price that its accuracy needs: never above what was admitted."""
        if epsilon == self.epsilon:
            return self
        if not 0 < epsilon <= self.epsilon:
            raise AssertionError("a query was priced above what was admitted")
        return replace(self, question=replace(self.question, epsilon=epsilon), epsilon=epsilon)


def admit(  # noqa: PLR0913  # who asks what, for what, at which price: each is its own word of the caller's
    query: Query,
    policy: Policy,
    *,
    operator: str,
    licences: tuple[Licence, ...],
    purpose: str | None,
    mode: str | None,
    epsilon: Decimal | None,
    by_accuracy: bool = False,
    page: Page | None = None,
    blocks: Sequence[str] | None = None,
    day: date,
) -> AdmittedQuery:
    """`query` with all that it is allowed by. `licences` are the operator's, valid today or not; `day` is UTC.

    A question `by_accuracy` names no epsilon; it is admitted at the most that one may cost, and then `priced`. `page`
    is of mode `open`, where a question is of one page; `blocks` are those that the caller names, of mode `dp`.

    Raises Refusal: who asks is judged before what is asked, so that nobody learns of a policy without a licence.
    """
    if query.dataset != policy.dataset:
        raise AssertionError("a query was judged by another dataset's policy")
    opened = policy.supply != "withheld" and policy.opens(mode)
    licence = None if opened else licence_for(policy, licences, operator, day)
    named = purpose_for(policy, licence, purpose) if purpose is not None or not opened else None
    chosen = mode_for(policy, mode)
    asked = None if blocks is None else tuple(blocks)
    settled = _found(query, policy, chosen, asked)
    if settled is None:
        require_asked(query.plan, policy, chosen)
    price = _price(policy, chosen, epsilon, by_accuracy=by_accuracy)
    settled = settled or _settle(query, policy, chosen, asked)
    question, paying = settled.question(price, page), settled.paying
    return AdmittedQuery(operator, policy.dataset, policy, licence, named, chosen, question, price, paying, _MAKER)


@dataclass(slots=True)
class _Settled:
    """What is asked, judged already: a function of the question and of what is named first here, and of nothing else.

    The last one is kept beside the question, for the same one comes again and again.
    """

    policy: Policy
    mode: Mode
    blocks: tuple[str, ...] | None
    plan: Output
    """In its normal form, but for open rows, of which a page is asked."""
    paying: tuple[str, ...]
    _last: Question | None = field(default=None, init=False)

    def is_of(self, policy: Policy, mode: Mode, blocks: tuple[str, ...] | None) -> bool:
        """Policies by identity: the part that an unlicensed caller sees has the digest of the whole."""
        return self.policy is policy and self.mode == mode and self.blocks == blocks

    def question(self, price: int, page: Page | None) -> Question:
        """At this price; of open rows this page, or the first. Raises Refusal(parameter_invalid)."""
        if self.mode == "open":
            return self._of((page or Page()).of(self.plan), price)
        if page is not None:
            message = "`limit` and `cursor` are of mode `open`: other answers come whole"
            raise Refusal("parameter_invalid", message, hint="write LIMIT in the question")
        last = self._last
        if last is None or last.epsilon != price:
            last = self._last = self._of(self.plan, price)
        return last

    def _of(self, plan: Output, price: int) -> Question:
        return Question(self.policy.dataset, self.policy.digest, self.mode, price, plan)


def _found(query: Query, policy: Policy, mode: Mode, blocks: tuple[str, ...] | None) -> _Settled | None:
    found = query.beside.what
    return found if isinstance(found, _Settled) and found.is_of(policy, mode, blocks) else None


def _settle(query: Query, policy: Policy, mode: Mode, blocks: tuple[str, ...] | None) -> _Settled:
    """Of what `require_asked` has let through. Raises Refusal(blocks_invalid)."""
    plan = of_blocks.within(query.plan, policy, mode, blocks)
    plan = plan if mode == "open" else normal(plan)
    settled = query.beside.what = _Settled(policy, mode, blocks, plan, of_blocks.charged(plan, policy, mode))
    return settled


def _price(policy: Policy, mode: Mode, epsilon: Decimal | None, *, by_accuracy: bool) -> int:
    """What the question may cost in epsilon: nothing where it is answered exactly. Raises Refusal."""
    dp = policy.release.dp
    if mode == "dp" and dp is not None:
        return most_of(dp) if by_accuracy else epsilon_for(dp, epsilon)
    if epsilon is not None or by_accuracy:
        what = "`accuracy`" if by_accuracy else "`epsilon`"
        message = f"{what} is of mode `dp`: an exact answer has no noise, and costs none"
        raise Refusal("epsilon_invalid", message, hint=f"leave {what} out, or ask in mode `dp` where it is offered")
    return 0
