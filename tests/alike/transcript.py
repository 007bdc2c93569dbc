"""What mechanisms were asked for and what they gave, noted on one side and given again on the other.

Everything that may leave is a function of public things and of what mechanisms give. So where they give the same to
both of two neighbours, all else has to be the same to the byte, and so has what they are asked for: how often, in which
order, for how many numbers, at which scale. With `noise` given again in place of the numbers, numbers may differ and
nothing else; choices, and which private keys are shown, are given again in either case, for they are released too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from sandbox.release import choices, noise

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a mechanism: `wanted` is all that was asked for but the numbers, which are `exact`."""

    mechanism: str
    wanted: tuple[Any, ...]
    exact: Any
    given: Any


@dataclass
class Transcript:
    """`calls` in order; of a second side also what it asked for that the first one did not."""

    calls: list[Call] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


@contextmanager
def noted(dice: random.Random | None = None) -> Iterator[Transcript]:
    """Mechanisms work as ever, and what they give is kept.

    `dice` now and then decide in their place which level, cell or keys it is: seldom in earnest, but possible, so that
    what follows is looked at too.
    """
    found = Transcript()

    def note(mechanism: str, wanted: tuple[Any, ...], exact: Any, honest: Callable[[], Any]) -> Any:
        given = honest() if dice is None or dice.random() < 0.5 else _decided(dice, mechanism, wanted, exact, honest)
        found.calls.append(Call(mechanism, wanted, exact, given))
        return given

    with _mechanisms(note):
        yield found


@contextmanager
def given_again(first: Transcript, *, noise_alone: bool = False) -> Iterator[Transcript]:
    """Mechanisms give what they gave to the first side; with `noise_alone` numbers get the same noise instead.

    What is asked for otherwise than on the first side is a stray, and is answered honestly.
    """
    found, left = Transcript(), iter(first.calls)

    def again(mechanism: str, wanted: tuple[Any, ...], exact: Any, honest: Callable[[], Any]) -> Any:
        before = next(left, None)
        if before is None or (before.mechanism, before.wanted) != (mechanism, wanted):
            found.strays.append(f"{mechanism}{wanted} in place of {before and (before.mechanism, before.wanted)}")
            given = honest()
        else:
            given = _moved(before, exact) if noise_alone else before.given
        found.calls.append(Call(mechanism, wanted, exact, given))
        return given

    with _mechanisms(again):
        yield found
    found.strays += [f"{each.mechanism}{each.wanted} was not asked for" for each in left]


def _decided(
    dice: random.Random, mechanism: str, wanted: tuple[Any, ...], exact: Any, honest: Callable[[], Any]
) -> Any:
    """Another outcome than the mechanism's own: many units, any choice, all keys."""
    match mechanism:
        case "number_of_units":
            return (10**6,)
        case "choose_least":
            return dice.randrange(wanted[0])
        case "select_keys":
            groups, units_min, paid = wanted
            most = noise.threshold_for(groups, paid).value + units_min
            return {key: n + most for key, n in sorted(exact.items(), key=repr)}
        case _:
            return honest()


def _moved(before: Call, exact: Any) -> Any:
    """The same noise on other exact numbers; a choice is the same choice."""
    match before.mechanism:
        case "add_noise":
            return tuple(
                value + given - old for value, given, old in zip(exact, before.given, before.exact, strict=True)
            )
        case "select_keys":
            return {key: exact.get(key, 0) + given - before.exact[key] for key, given in before.given.items()}
        case _:
            return before.given


def too_far(one: Transcript, other: Transcript) -> list[str]:
    """Where what went into a mechanism on both sides differs by more than the mechanism is sized for."""
    return [
        f"{a.mechanism}{a.wanted}: {a.exact} and {b.exact}"
        for a, b in zip(one.calls, other.calls, strict=False)
        if a.wanted == b.wanted and not _near(a, b.exact)
    ]


def _near(call: Call, other: Any) -> bool:
    match call.mechanism:
        case "add_noise" | "number_of_units":
            _, norm, accountant, _ = call.wanted
            moved = [abs(a - b) for a, b in zip(call.exact, other, strict=True)]
            return sum(d * d for d in moved) <= norm.squared if accountant == "zcdp" else sum(moved) <= norm.total
        case "choose_least":
            return all(abs(a - b) <= call.wanted[1] for a, b in zip(call.exact, other, strict=True))
        case "select_keys":
            keys = [key for key in call.exact.keys() | other.keys() if call.exact.get(key, 0) != other.get(key, 0)]
            each = all(abs(call.exact.get(key, 0) - other.get(key, 0)) <= 1 for key in keys)
            return each and len(keys) <= call.wanted[0]
        case _:
            raise AssertionError(call.mechanism)


Watch = Callable[[str, tuple[Any, ...], Any, Callable[[], Any]], Any]


@contextmanager
def _mechanisms(watch: Watch) -> Iterator[None]:
    """Every mechanism goes through `watch`. The number of all units, by which a choice is made, counts as a choice."""
    add, least, select, balanced = noise.add_noise, noise.choose_least, noise.select_keys, choices._balanced
    choosing: list[bool] = []

    def add_noise(values: Sequence[int], *price: Any) -> tuple[int, ...]:
        mechanism = "number_of_units" if choosing else "add_noise"
        return tuple(watch(mechanism, (len(values), *price), tuple(values), lambda: add(values, *price)))

    def choose_least(scores: Sequence[int], *price: Any, monotonic: bool) -> int:
        wanted = (len(scores), *price, monotonic)
        return int(watch("choose_least", wanted, tuple(scores), lambda: least(scores, *price, monotonic=monotonic)))

    def select_keys(units: Mapping[Key, int], *price: Any) -> dict[Key, int]:
        return dict(watch("select_keys", price, dict(units), lambda: select(units, *price)))

    def one_choice(*arguments: Any) -> int:
        choosing.append(True)
        try:
            return balanced(*arguments)
        finally:
            choosing.pop()

    with ExitStack() as stack:
        stack.enter_context(patch.object(noise, "add_noise", add_noise))
        stack.enter_context(patch.object(noise, "choose_least", choose_least))
        stack.enter_context(patch.object(noise, "select_keys", select_keys))
        stack.enter_context(patch.object(choices, "_balanced", one_choice))
        yield
