"""Each kind of data file as a relation of the engine. Hostile bytes are met here, in the confined child."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from sandbox.ingest.job import IngestFile
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.sources import ENGINE_SUFFIXES

HEADER_BYTES_MAX = 1 << 20
COLUMNS_MAX = 4096
LINE_BYTES_MAX = 2 << 20
"""A longer line of CSV is an unclosed quote or an attack, hardly ever a row."""
CHUNK_BYTES = LINE_BYTES_MAX // 2
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_ATTACHED = "source_file"


@dataclass(frozen=True, slots=True)
class Source:
    """A relation to select from, and its columns: name -> (quoted reference, engine type)."""

    sql: str
    columns: dict[str, tuple[str, str]]


def quoted(name: str) -> str:
    """A name as an identifier of the engine."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a literal of the engine."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def opened(con: duckdb.DuckDBPyConnection, table: str, file: IngestFile) -> Iterator[Source]:
    """`file` as a Source, while the context lasts. Raises IngestRefused."""
    kind = Path(file.alias.removesuffix(".gz")).suffix
    with _engine_trouble_told(table, file):
        if kind in (".parquet", ".pq"):
            yield _parquet(con, file)
        elif kind in _DELIMITERS:
            yield _csv(file, table, _DELIMITERS[kind])
        elif kind in ENGINE_SUFFIXES:
            yield _attach(con, table, file)
            con.execute(f"DETACH {_ATTACHED}")
        else:
            known = ".parquet, .csv, .tsv (also .gz) and .duckdb"
            raise IngestRefused(f"file `{file.shown}` of table `{table}` is of no known kind; kinds are {known}")


def _parquet(con: duckdb.DuckDBPyConnection, file: IngestFile) -> Source:
    sql = f"read_parquet({literal(file.alias)}, hive_partitioning = false)"
    described = con.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()
    return Source(sql, {name: (quoted(name), stored) for name, stored, *_ in described})


def _attach(con: duckdb.DuckDBPyConnection, table: str, file: IngestFile) -> Source:
    con.execute(f"ATTACH {literal(file.alias)} AS {_ATTACHED} (READ_ONLY)")
    columns = con.execute(
        "SELECT c.column_name, c.data_type FROM duckdb_columns() c"
        " JOIN duckdb_tables() t USING (table_oid, database_oid)"
        f" WHERE t.database_name = '{_ATTACHED}' AND t.schema_name = 'main' AND t.table_name = ?"
        " ORDER BY c.column_index",
        [table],
    ).fetchall()
    if not columns:
        raise IngestRefused(f"file `{file.shown}` holds no table `{table}`")
    found = {name: (quoted(name), stored) for name, stored in columns}
    return Source(f"{_ATTACHED}.main.{quoted(table)}", found)


def _csv(file: IngestFile, table: str, delimiter: str) -> Source:
    header = _header(file, table, delimiter)
    _refuse_long_lines(file, table)
    names = [f"c{number}" for number in range(len(header))]
    struct = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    sql = (
        f"read_csv({literal(file.alias)}, auto_detect = false, header = true, delim = {literal(delimiter)},"
        f" quote = '\"', escape = '\"', comment = '', columns = {{{struct}}},"
        f" strict_mode = true, null_padding = false, ignore_errors = false, nullstr = '', encoding = 'utf-8',"
        f" max_line_size = {LINE_BYTES_MAX}, hive_partitioning = false)"
    )
    return Source(sql, {title: (name, "VARCHAR") for title, name in zip(header, names, strict=True)})


def _header(file: IngestFile, table: str, delimiter: str) -> list[str]:
    start = _start(file).removeprefix(codecs.BOM_UTF8)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start, final=len(start) < HEADER_BYTES_MAX - 3)
    except UnicodeDecodeError:
        raise IngestRefused(f"file `{file.shown}` of table `{table}` is not UTF-8") from None
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
    except csv.Error:
        header = []
    if not header or not all(header):
        raise IngestRefused(f"file `{file.shown}` of table `{table}` does not start with a line of column names")
    if len(header) > COLUMNS_MAX:
        raise IngestRefused(f"file `{file.shown}` of table `{table}` has more than {COLUMNS_MAX} columns")
    if len(set(header)) != len(header):
        raise IngestRefused(f"file `{file.shown}` of table `{table}` names a column twice")
    return header


def _start(file: IngestFile) -> bytes:
    with _unpacked(file) as stream:
        return stream.read(HEADER_BYTES_MAX)


def _refuse_long_lines(file: IngestFile, table: str) -> None:
    """The engine drops, without a word, a last line that is longer than its buffer (32 MB) and has no end."""
    since_line_end = 0
    with _unpacked(file) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            first = chunk.find(b"\n")
            since_line_end += len(chunk) if first < 0 else first
            if since_line_end > LINE_BYTES_MAX:
                raise IngestRefused(
                    f"file `{file.shown}` of table `{table}` has a line of more than {LINE_BYTES_MAX} bytes"
                )
            if first >= 0:
                since_line_end = len(chunk) - chunk.rfind(b"\n") - 1


@contextmanager
def _unpacked(file: IngestFile) -> Iterator[io.BufferedIOBase]:
    """The file's bytes, without gzip where the name says so."""
    try:
        with Path(file.alias).open("rb") as stream:
            yield gzip.GzipFile(fileobj=stream) if file.alias.endswith(".gz") else stream
    except (EOFError, OSError, zlib.error) as error:
        raise IngestRefused(f"file `{file.shown}` is not a whole gzip file, or cannot be read") from error


@contextmanager
def _engine_trouble_told(table: str, file: IngestFile) -> Iterator[None]:
    """The engine's messages quote cells: of them only a line number is passed on."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise IngestRefused(
            f"file `{file.shown}` of table `{table}` needs more memory or disk than a build may use"
        ) from None
    except duckdb.Error as error:
        line = re.search(r"CSV Error on Line: (\d+)", str(error))
        where = f" near line {line[1]}" if line else ""
        raise IngestRefused(
            f"file `{file.shown}` of table `{table}` cannot be read{where}: it is damaged, or not what its name says"
        ) from None
