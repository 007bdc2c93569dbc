"""Third step, where the policy has blocks: each unit's block, for life, and every private table cut by it.

A unit lies in the block in which it was first served, whatever its time says today: one that moved could lose in both.
So the build reads what was known before, and writes what is known now, for all units that there ever were: their tags
and blocks. The file that holds them lies beside the tally (`known.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from policies.blocks import REST
from policies.model import Blocks
from sandbox.ingest.job import KNOWN, KNOWN_BEFORE, UNIT_COLUMN, Job
from sandbox.ingest.readers import literal, quoted
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.stage import Staged
from sandbox.ingest.units import UNITS, digest_of, type_of
from sandbox.relational.blocks import block_table

UNIT_BLOCKS = "unit_blocks"
TAG_DIGITS = 32
"""Hex. Units are known for life, so that no two of all that there ever were may share a tag."""
_FORMATS: Mapping[str, str] = {"year": "%Y", "month": "%Y-%m"}


@dataclass(frozen=True, slots=True)
class Cut:
    """How units were cut when they were first served. All of it stays, or a unit could lie in two blocks."""

    unit: str
    """Its column and the type of that: under another one nobody would be known again."""
    column: str
    by: str
    key: str
    """Hex SHA-256 of the key of the tags, by which units are known."""

    @classmethod
    def of(cls, job: Job, blocks: Blocks) -> Cut:
        own = next(table for table in job.tables if table.name == job.unit_table)
        unit = f"`{job.unit_table}.{job.unit_column}` ({type_of(own, str(job.unit_column))})"
        return cls(unit, f"`{blocks.column}`", blocks.by, hashlib.sha256(job.tag_key.encode()).hexdigest())


def cut_units(
    con: duckdb.DuckDBPyConnection, job: Job, blocks: Blocks, staged: Mapping[str, Staged]
) -> tuple[tuple[str, int], ...]:
    """Makes the table `unit_blocks(id, block)` and writes `known.duckdb`; how many units each block has by that.

    Raises IngestRefused where units were cut in another way before, or where some of what was known is missing.
    """
    con.execute(f"ATTACH {literal(str(Path(job.build) / KNOWN))} AS known")
    con.execute("CREATE TABLE known.main.cut (name VARCHAR, value VARCHAR)")
    con.execute("CREATE TABLE known.main.block (name VARCHAR)")
    con.execute("CREATE TABLE known.main.block_of (tag VARCHAR, block VARCHAR)")
    cut = Cut.of(job, blocks)
    con.executemany("INSERT INTO known.main.cut VALUES (?, ?)", list(asdict(cut).items()))
    con.execute(f"INSERT INTO known.main.block SELECT unnest({_listed(blocks.names)})")
    if job.known_before:
        _take_over(con, job, cut)
    if _count(con, "known.main.block_of") < job.units_known_min:
        raise IngestRefused("the block of some units is not known any more: put the newest `blocks/` back")
    _assign(con, job, blocks, staged[str(job.unit_table)])
    con.execute(
        f"INSERT INTO known.main.block_of SELECT t.tag, b.block FROM {UNIT_BLOCKS} AS b JOIN unit_tags AS t USING (id)"
        " WHERE t.tag NOT IN (SELECT tag FROM known.main.block_of)"
    )
    found = con.execute(
        "SELECT n.name, count(b.tag) FROM known.main.block AS n LEFT JOIN known.main.block_of AS b ON b.block = n.name"
        " GROUP BY n.name"
    ).fetchall()
    con.execute("CHECKPOINT known")
    con.execute("DETACH known")
    counts = dict(found)
    return tuple((name, counts[name]) for name in blocks.names)


def cut_table(con: duckdb.DuckDBPyConnection, table: str, rows: str, blocks: Blocks) -> None:
    """Writes the rows of the private `table`, which `rows` holds with their units, block by block."""
    con.execute(
        f"CREATE TABLE of_blocks AS SELECT r.*, b.block AS __block FROM {rows} AS r"
        f" JOIN {UNIT_BLOCKS} AS b ON r.{UNIT_COLUMN} = b.id ORDER BY __block, r.{UNIT_COLUMN}"
    )
    for block in blocks.names:
        out = f"out.main.{quoted(block_table(table, block))}"
        where = f"WHERE __block = {literal(block)} ORDER BY {UNIT_COLUMN}"
        con.execute(f"CREATE TABLE {out} AS SELECT * EXCLUDE (__block) FROM of_blocks {where}")
    con.execute("DROP TABLE of_blocks")


def _take_over(con: duckdb.DuckDBPyConnection, job: Job, cut: Cut) -> None:
    """What was known, which must have been learned in the same way. None of the refusals hangs on where units lie."""
    try:
        con.execute(f"ATTACH {literal(str(Path(job.build) / KNOWN_BEFORE))} AS before (READ_ONLY)")
        found = dict(con.execute("SELECT name, value FROM before.main.cut").fetchall())
        names = con.execute("SELECT name FROM before.main.block").fetchall()
        con.execute("INSERT INTO known.main.block_of SELECT tag, block FROM before.main.block_of")
        con.execute("DETACH before")
    except duckdb.Error as error:
        raise IngestRefused("what lies in `blocks/` is not what a build left there: put it back") from error
    was, now = (f"by {each['by']} of {each['column']}, of units {each['unit']}" for each in (found, asdict(cut)))
    if was != now:
        raise IngestRefused(f"units were cut {was}, and so they stay for life; the policy says {now}")
    if found["key"] != cut.key:
        raise IngestRefused("the seed of this state is not the one that units are known by: put back `bounding.seed`")
    gone = con.execute(
        "SELECT name FROM (SELECT unnest(?) AS name) WHERE name NOT IN (FROM known.main.block) ORDER BY name",
        [[name for (name,) in names]],
    ).fetchone()
    if gone is not None:
        raise IngestRefused(f"the policy has no block `{gone[0]}` any more, and there was one; its range only grows")
    if _count(con, "known.main.block_of") != _count(con, "(SELECT DISTINCT tag FROM known.main.block_of)"):
        raise IngestRefused("what lies in `blocks/` knows a unit twice: put the newest copy back")


def _assign(con: duckdb.DuckDBPyConnection, job: Job, blocks: Blocks, own: Staged) -> None:
    """Known units keep their block; of the others the time in the unit's own row decides."""
    named = f"strftime(s.{quoted(blocks.column)}, {literal(_FORMATS[blocks.by])})"
    con.execute(
        f"CREATE TABLE unit_tags AS SELECT id, substr({digest_of(job.tag_key)}, 1, {TAG_DIGITS}) AS tag FROM {UNITS}"
    )
    if _count(con, "unit_tags") != _count(con, "(SELECT DISTINCT tag FROM unit_tags)"):
        raise IngestRefused("two units came by the same tag; they could not be told apart in the next snapshot")
    con.execute(
        f"CREATE TABLE {UNIT_BLOCKS} AS SELECT u.id, coalesce(k.block, first(o.block), {literal(REST)}) AS block"
        f" FROM {UNITS} AS u JOIN unit_tags AS t USING (id) LEFT JOIN known.main.block_of AS k ON t.tag = k.tag"
        f" LEFT JOIN (SELECT TRY_CAST(s.{quoted(str(job.unit_column))} AS VARCHAR) AS value, {named} AS block"
        f" FROM {own.sql} AS s) AS o ON u.value = o.value AND list_contains({_listed(blocks.names)}, o.block)"
        " GROUP BY u.id, k.block"
    )


def _listed(names: tuple[str, ...]) -> str:
    return f"[{', '.join(map(literal, names))}]"


def _count(con: duckdb.DuckDBPyConnection, what: str) -> int:
    row = con.execute(f"SELECT count(*) FROM {what}").fetchone()
    assert row is not None  # noqa: S101  # a count has a row
    return int(row[0])
