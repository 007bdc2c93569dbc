"""What mode `open` answers: rows of public tables as they are, and whatever is reckoned from them.

Roles say how people are asked about; here nobody is, so only `hidden` keeps its meaning.
"""

from __future__ import annotations

from gateway.errors import Refusal
from policies.model import Policy
from sandbox.relational.nodes import Output, Public, Release, Scan, UnitAggregate, walk


def require_open(plan: Output, policy: Policy) -> None:
    """Raises Refusal(mode_not_offered, aggregate_not_allowed)."""
    for node in walk(plan):
        match node:
            case Scan() | UnitAggregate():
                raise Refusal("mode_not_offered", "mode `open` answers public tables alone", at=node.at)
            case Public(table=table):
                if table not in policy.tables or not policy.tables[table].public:
                    raise Refusal("mode_not_offered", f"`{table}` is not public", at=node.at)
            case Release(measures=measures):
                for measure in measures:
                    if measure.function == "count_units":
                        message = "no row here is about a unit that could be counted"
                        raise Refusal("aggregate_not_allowed", message, hint="COUNT(*)", at=measure.at)
            case _:
                pass
