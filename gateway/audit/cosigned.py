"""The checkpoints that witnesses have cosigned: the newest of each day, in the log's own store."""

from __future__ import annotations

from gateway.audit.note import parse_checkpoint
from gateway.store import Reading, Transaction


def newest(view: Reading) -> str | None:
    row = view.one("SELECT note FROM cosigned ORDER BY size DESC LIMIT 1")
    return None if row is None else str(row[0])


def keep(tx: Transaction, note: str, day: str) -> None:
    """Takes the place of a smaller one of its day; one of the same size is given the signatures that it lacks."""
    size = parse_checkpoint(note).size
    row = tx.one("SELECT size, note FROM cosigned WHERE day = ?", (day,))
    if row is not None and row[0] > size:
        return
    if row is not None and row[0] == size:
        note = merged(str(row[1]), note)
    tx.write("DELETE FROM cosigned WHERE day = ?", (day,))
    tx.write("INSERT INTO cosigned (day, size, note) VALUES (?, ?, ?)", (day, size, note))


def merged(first: str, second: str) -> str:
    """The signatures of both, of one and the same checkpoint; of one name and key the later."""
    text, _, tail = first.partition("\n\n")
    other_text, _, other_tail = second.partition("\n\n")
    if text != other_text:
        return second
    lines: dict[tuple[str, str], str] = {}
    for line in [*tail.splitlines(), *other_tail.splitlines()]:
        _, name, blob = line.split(" ")
        lines[name, blob[:5]] = line
    return "\n".join([text, "", *lines.values(), ""])
