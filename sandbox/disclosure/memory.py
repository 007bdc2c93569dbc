"""All that was said in `aggregate` mode, and how a new table is held against it."""

from __future__ import annotations

from collections.abc import Sequence

from policies.model import Aggregate
from sandbox.disclosure.protect import Candidate
from sandbox.release.store import Also, Store


class Memories:
    def __init__(self, store: Store) -> None:
        self._store = store

    def require_room(self, dataset: str) -> None:
        pass

    def of(self, dataset: str, snapshot: str, rules: Aggregate) -> Memory:
        return Memory()


class Memory:
    def differing(self, table: Sequence[Candidate]) -> frozenset[int]:
        return frozenset()

    def narrowed(self, table: Sequence[Candidate]) -> frozenset[int]:
        return frozenset()

    def keeping(self, cells: Sequence[Candidate]) -> Also | None:
        return None
