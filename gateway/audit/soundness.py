"""Whether the stored log is whole: every record under its hash, every hash in its place, and what was signed there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.audit import tree
from gateway.audit.approvers import CODE as APPROVERS
from gateway.audit.broken import Broken
from gateway.audit.note import Checkpoint
from gateway.audit.replay_caps import Caps
from gateway.audit.shapes import amounts_of, check_shape, shape_of
from gateway.audit.suites import Digest
from gateway.errors import Unsound
from gateway.store import Reading

PAGE: Final = 1000
_COLUMNS: Final = ("time", "kind", "actor", "query_id", "dataset", "decision", "code")


def size_of(view: Reading) -> int:
    row = view.one("SELECT max(seq) FROM record")
    return 0 if row is None or row[0] is None else int(row[0]) + 1


def node(view: Reading, level: int, place: int) -> bytes:
    row = view.one("SELECT hash FROM node WHERE level = ? AND place = ?", (level, place))
    if row is None:
        raise Unsound("the log's tree has a hole")
    return bytes(row[0])


class Subtrees:
    """The tree as a view has it. What a root or a path is made of is read in one statement, and not again."""

    def __init__(self, view: Reading, digest: Digest) -> None:
        self._view = view
        self._digest = digest
        self._known: dict[tuple[int, int], bytes] = {}

    def root(self, size: int) -> bytes:
        """Raises Unsound."""
        self._read(partial(tree.root, size))
        return tree.root(size, self._node, self._digest)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Raises Unsound, ValueError."""
        self._read(partial(tree.inclusion, index, size))
        return tree.inclusion(index, size, self._node, self._digest)

    def _read(self, compute: Callable[[tree.Node, Digest], object]) -> None:
        missing = sorted(tree.needed(compute) - self._known.keys())
        if missing:
            where = " OR ".join(["(level = ? AND place = ?)"] * len(missing))
            sql = f"SELECT level, place, hash FROM node WHERE {where}"  # noqa: S608  # our own text
            rows = self._view.all(sql, [number for each in missing for number in each])
            self._known.update({(level, place): bytes(value) for level, place, value in rows})

    def _node(self, level: int, place: int) -> bytes:
        value = self._known.get((level, place))
        if value is None:
            raise Unsound("the log's tree has a hole")
        return value


def root_of(view: Reading, size: int, digest: Digest) -> bytes:
    return tree.root(size, partial(node, view), digest)


def leaf(view: Reading, index: int) -> bytes | None:
    row = view.one("SELECT hash FROM node WHERE level = 0 AND place = ?", (index,))
    return None if row is None else bytes(row[0])


def records(view: Reading, digest: Digest) -> Iterator[dict[str, Any]]:
    """Every record in order, each checked against its hash and what is looked up by. Raises Unsound."""
    size, start = size_of(view), 0
    while start < size:
        rows = view.all(
            "SELECT r.seq, n.hash, r.body, r.time, r.kind, r.actor, r.query, r.dataset, r.decision, r.code"
            " FROM record r JOIN node n ON n.level = 0 AND n.place = r.seq WHERE r.seq >= ? ORDER BY r.seq LIMIT ?",
            (start, PAGE),
        )
        for seq, hashed, content, *columns in rows:
            if seq != start or tree.leaf_hash(content, digest) != hashed:
                raise Unsound(f"the log is damaged at record {start}")
            record = json.loads(content)
            if [record[name] for name in _COLUMNS] != columns:
                raise Unsound(f"the log is damaged at record {start}")
            start += 1
            yield record
        if not rows:
            raise Unsound(f"the log is damaged at record {start}")


class Decisions:
    """Looks at the records that change caps, as the offline verifier does: who writes into the database has no
    signatures of approvers."""

    def __init__(self) -> None:
        self._caps = Caps()
        self._limits: dict[str, dict[str, int]] = {}

    def take(self, record: Mapping[str, Any]) -> None:
        """Raises Unsound."""
        code = record["code"] or ""
        if record["kind"] != "admin" or not (code == APPROVERS or code.startswith("cap_")):
            return
        try:
            self._take(dict(record), code)
        except Broken as broken:
            raise Unsound(f"record {record['seq']} {broken.words}") from broken

    def _take(self, record: dict[str, Any], code: str) -> None:
        check_shape(record, shape_of(record))
        if code == APPROVERS:
            self._caps.name(record)
            return
        (line,) = record["charges"]
        before, limit = self._limits.get(line["scope"]), amounts_of(line)
        self._limits[line["scope"]] = limit
        if before is not None:
            main = "rho" if code == "cap_zcdp" else "epsilon"
            rises = any(limit[unit] > before[unit] for unit in (main, "delta"))
            self._caps.raised(record, before, None, rises=rises)


def check_tree(view: Reading, digest: Digest) -> None:
    """The stored subtrees must be those of the leaves, and no others. Raises Unsound."""
    size = size_of(view)
    total = width = size
    for level in range(1, size.bit_length()):
        width //= 2
        total += width
        for start in range(0, width, PAGE):
            rows = view.all(
                "SELECT p.hash, l.hash, r.hash FROM node p"
                " JOIN node l ON l.level = p.level - 1 AND l.place = 2 * p.place"
                " JOIN node r ON r.level = p.level - 1 AND r.place = 2 * p.place + 1"
                " WHERE p.level = ? AND p.place >= ? AND p.place < ?",
                (level, start, min(start + PAGE, width)),
            )
            whole = len(rows) == min(PAGE, width - start)
            if not whole or any(tree.parent_hash(left, right, digest) != parent for parent, left, right in rows):
                raise Unsound("the log's tree is damaged")
    if view.one("SELECT count(*) FROM node") != (total,):
        raise Unsound("the log's tree is damaged")


def check_extends(view: Reading, known: Mapping[Path, Checkpoint], digest: Digest) -> None:
    """The log must go on from every checkpoint that is kept outside of it. Raises Unsound."""
    size = size_of(view)
    for file, checkpoint in known.items():
        if checkpoint.size > size:
            lost = f"records {size} to {checkpoint.size - 1} are missing"
            raise Unsound(f"{lost} that {file.name} was signed over; `bpk restore` puts them back from an export")
    check_forks(view, known, digest)


def check_forks(view: Reading, known: Mapping[Path, Checkpoint], digest: Digest) -> None:
    """Of the checkpoints that are kept outside, those that the log is long enough for are its own. Raises Unsound."""
    size = size_of(view)
    for file, checkpoint in known.items():
        if checkpoint.size <= size and root_of(view, checkpoint.size, digest) != checkpoint.root:
            raise Unsound(f"the log is another one than {file.name} was signed over")
