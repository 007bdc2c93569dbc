"""What one charge names: the dataset, the operator and a purpose with a share, each in the same blocks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from gateway.budget import blocks
from gateway.budget import scopes as scopes_table
from gateway.budget.account import Scope
from gateway.budget.loss import words
from gateway.budget.queries import Asked
from gateway.errors import Fault, Refusal
from gateway.store import Reading
from sandbox.protocol import Price

LINES_BYTES_MAX: Final = 60_000
"""Of a charge; the rest of its record is much smaller than what is left."""


def require_due(view: Reading, asked: Asked, scopes: Sequence[Scope]) -> None:
    """A charge names the dataset's scope, the operator's and a purpose's with a share, or spends nothing at all; where
    there are blocks, each of them in the same ones, in order. Raises Fault."""
    if not scopes:
        if asked.mode == "dp":
            raise Fault("a dp question without a scope")
        return
    needed: list[tuple[str, str | None, str | None]] = [
        (asked.dataset, None, None),
        (asked.dataset, asked.operator, None),
    ]
    purpose = asked.right.purpose
    if asked.right.has_own_share(asked.dataset) or scopes_table.is_open(view, purpose, asked.operator, asked.dataset):
        needed.append((asked.dataset, asked.operator, purpose))
    among = [scope.block for scope in scopes if scope.operator is None]
    due = [(*whose, block) for whose in needed for block in among]
    if [(scope.dataset, scope.operator, scope.purpose, scope.block) for scope in scopes] != due:
        raise Fault("a charge to other scopes than those of its dataset, its operator and its purpose")
    named = [block for block in among if block is not None]
    if among != [None] and among != sorted(set(named)):
        raise Fault("a charge to blocks twice, out of order, or beside the whole")
    blocks.require_one_way(view, scopes[0], named)


def lines_of(scopes: Sequence[Scope], price: Price) -> list[dict[str, str]]:
    """As a charge is put on record. Raises Refusal(blocks_invalid) where one record could not hold them."""
    lines = [{"scope": scope.id, **words(price)} for scope in scopes]
    if len(json.dumps(lines, ensure_ascii=False).encode(errors="surrogatepass")) > LINES_BYTES_MAX:
        message = "so many blocks, with names as long as yours, do not fit into one record of the audit log"
        raise Refusal("blocks_invalid", message, hint="name fewer of them in `blocks`, and ask again for the others")
    return lines
