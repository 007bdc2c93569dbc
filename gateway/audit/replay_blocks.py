"""Blocks of units, replayed: a charge names the same ones in every scope, and a dataset is charged by blocks for life.

Part of the offline verifier: standard library only, nothing of the writer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.audit.broken import Broken

_BLOCK: Final = re.compile(r"\d{4}(-(0[1-9]|1[0-2]))?|rest", re.ASCII)
_REST: Final = "rest"
_BLOCKS_MAX: Final = 64


def split_block(scope: str) -> tuple[str, str | None]:
    """The base, whose cap binds, and the block; None where the scope is of none."""
    base, mark, block = scope.rpartition("#")
    return (base, block) if mark and "/" not in block else (scope, None)


@dataclass(slots=True)
class Blocks:
    """How datasets are charged, up to the record that is read."""

    by_block: dict[str, bool] = field(default_factory=dict)
    """Dataset -> whether by blocks, which its first charge decides."""
    lengths: dict[str, set[int]] = field(default_factory=dict)
    """Dataset -> those of its blocks' names: a year's or a month's, never both."""

    def check(self, dataset: str, scopes: Sequence[str]) -> list[str]:
        """What a charge names, without the blocks. Raises Broken."""
        split = [split_block(scope) for scope in scopes]
        bases = list(dict.fromkeys(base for base, _ in split))
        among = [block for base, block in split if base == bases[0]]
        if split != [(base, block) for base in bases for block in among]:
            raise Broken("charge_scopes", "charges a scope twice, or not every scope in the same blocks")
        named = [block for block in among if block is not None]
        if named and (len(named) < len(among) or named != sorted(set(named)) or not all(map(_BLOCK.fullmatch, named))):
            raise Broken("charge_blocks", "names blocks that are none, out of order, or beside the whole")
        if len(named) > _BLOCKS_MAX:
            raise Broken("charge_blocks", f"names {len(named)} blocks, and no policy has so many")
        if self.by_block.setdefault(dataset, bool(named)) != bool(named):
            raise Broken("blocks_mixed", f"charges {dataset} by blocks and as a whole")
        lengths = self.lengths.setdefault(dataset, set())
        lengths.update(len(block) for block in named if block != _REST)
        if len(lengths) > 1:
            raise Broken("blocks_mixed", f"charges {dataset} by years and by months, in which the same units lie")
        return bases
