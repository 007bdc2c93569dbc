"""Which cells of a new table are near to something said before, or to one another.

Source: docs/explanation/guarantees/differencing.md
"""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.disclosure.cells import Cell
from sandbox.disclosure.compared import Compared
from sandbox.disclosure.guard import Beside, Said, touching
from sandbox.disclosure.past import Part

Key = tuple[int, str]
"""Number of the part and name of the quantity: cells of one key have no row in common."""


def not_near(past: Compared[Part], cells: Sequence[tuple[Cell, Said]], least: int) -> frozenset[int]:
    """The places of those of `cells` that may be said. Of two that are too near each other it is the larger.

    Guarantee: in no unit, or in `least` and more, each differs from every cell of the `past`, from each other, and from
    every union of cells of one part of the past or of the table; and so does every cell of the past from their unions.
    Source: docs/explanation/guarantees/differencing.md
    """
    table = _Table(past, cells, least)
    for place in sorted(range(len(cells)), key=lambda place: _rank(*cells[place])):
        table.take(place)
    for key in list(table.taken):
        table.drop_smallest(key)
    return frozenset(place for places in table.taken.values() for place in places)


def _rank(cell: Cell, one: Said) -> tuple[int, int, int, int]:
    """The largest first."""
    return -one.size, cell.part, cell.place, cell.column


class _Table:
    """The cells of a table that may be said so far, by their keys."""

    def __init__(self, past: Compared[Part], cells: Sequence[tuple[Cell, Said]], least: int) -> None:
        self._past = past
        self._cells = cells
        self._least = least
        self._beside: Compared[Key] = Compared(past.width, lambda number, _: cells[self._place_of[number]][1])
        self._place_of: list[int] = []
        self.taken: dict[Key, list[int]] = {}

    def take(self, place: int) -> None:
        """Where nothing is near to it. Unions of the table's own cells are looked at when all of them are there."""
        cell, one = self._cells[place]
        if any(of.near(one, self._least) for of in (self._past, self._beside)) or self._past.union_near(
            one, self._least
        ):
            return
        key = (cell.part, cell.quantity.name)
        self._beside.add(one, key)
        self._place_of.append(place)
        self.taken.setdefault(key, []).append(place)

    def drop_smallest(self, key: Key) -> None:
        """Withholds the smallest cells of one key until none of their unions is near to another cell.

        With a cell fewer there are fewer unions: what was one of them may have become near, and what was far stays far,
        unless a unit is in several cells, where how near is only estimated.
        """
        places = self.taken[key]
        beside = Beside([self._cells[place][1] for place in places])
        others, same, far, dropped = self._may_be_near(beside, key), list[Said](), list[Said](), list[Said]()
        while (others or (dropped and far)) and len(beside.left) > 1:
            if not others:
                others, far, dropped = far, [], []
            apart = beside.nearest(other := others.pop(), self._least)
            if apart == 0:
                same.append(other)
            elif apart < self._least:
                number = min(beside.touched(other) or beside.left, key=lambda number: beside.cells[number].size)
                beside.drop(number)
                dropped.append(beside.cells[number])
                others += [other, *(one for one in same if touching(one, dropped[-1]))]
                same = [one for one in same if not touching(one, dropped[-1])]
            elif beside.overlapping:
                far.append(other)
        self.taken[key] = [places[number] for number in beside.left]

    def _may_be_near(self, cells: Beside, key: Key) -> list[Said]:
        """Cells of the past, and of the table's other keys, that may be near to a union of `cells`."""
        left = {id(self._cells[place][1]) for places in self.taken.values() for place in places}
        beside = self._beside.may_be_near(cells, self._least, lambda other: other != key)
        return [*self._past.may_be_near(cells, self._least), *(one for one in beside if id(one) in left)]
