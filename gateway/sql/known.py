"""Texts that were read lately, so that a question which is asked again is not parsed again.

What is remembered is how a text reads under these very policies, a pure function of both, and nothing that was decided:
who may ask it, by which licence and at which price is looked up each time.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from typing import Final

from gateway.sql.limits import SqlLimits
from gateway.sql.read import Query, read
from policies.model import Policy

TEXTS_MAX: Final = 256
BYTES_MAX: Final = 1 << 26
"""Of memory, for texts and for what they read as, which takes dozens of times as much."""
_ATOMS: Final = (str, int, bool, float, Decimal, type(None))


@dataclass(frozen=True, slots=True)
class _Entry:
    query: Query
    policies: tuple[Policy, ...]
    """Held, so that none of them can become another one under the same identity."""
    size: int
    """Of all that is held of it, in bytes: as much again may be made of a question and kept beside it."""


class Known:
    """Bounded by number and by bytes of memory; what was used longest ago is forgotten first. Thread-safe."""

    def __init__(self, limits: SqlLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._size = 0

    def read(
        self, sql: str, parameters: Mapping[str, object], policies: Mapping[str, Policy], mode: str | None
    ) -> Query:
        """As `read` has it. Refusals are not remembered."""
        key = _key(sql, parameters, policies, mode)
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
                return found.query
        query = read(sql, parameters, policies, self._limits, mode)
        self._remember(key, _Entry(query, tuple(policies.values()), 2 * held_bytes((key, query))))
        return query

    def _remember(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            before = self._entries.pop(key, None)
            self._size += entry.size - (0 if before is None else before.size)
            self._entries[key] = entry
            while len(self._entries) > TEXTS_MAX or self._size > BYTES_MAX:
                _, gone = self._entries.popitem(last=False)
                self._size -= gone.size


def held_bytes(value: object) -> int:
    """What records, tuples and mappings take in memory, each object once, but for policies, which are held anyhow."""
    seen: set[int] = set()
    waiting, total = [value], 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type | Policy):
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        if isinstance(each, tuple | list | frozenset | set):
            waiting += each
        elif isinstance(each, Mapping):
            waiting += (*each.keys(), *each.values())
        elif is_dataclass(each):
            waiting += [getattr(each, field.name) for field in fields(each)]
    return total


def _key(
    sql: str, parameters: Mapping[str, object], policies: Mapping[str, Policy], mode: str | None
) -> tuple[Hashable, ...]:
    """Policies by identity: the part that an unlicensed caller sees has the digest of the whole.

    Constants with their types, for 1, 1.0 and true are equal.
    """
    constants = []
    for name, value in sorted(parameters.items()):
        constants.append((name, type(value), repr(value) if isinstance(value, _ATOMS) else object()))
    return sql, tuple(constants), tuple((name, id(policy)) for name, policy in sorted(policies.items())), mode
