"""What an attacker tries in SQL, straight at the engine inside a worker, and as an operator's question to the reader.

`walls`: the engine's settings or the walls of the process must stop it, whoever sends it.
`reader`: inside a worker it does no more than a worker may anyway (read its own snapshot, fill its own spill folder);
that no operator gets it there is the reader's task.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Holds = Literal["walls", "reader"]


@dataclass(frozen=True)
class SqlAttack:
    group: str
    sql: str
    holds: Holds


_READERS = (
    "read_csv('{outside}/file.csv')",
    "read_csv_auto('{outside}/file.csv')",
    "read_csv(['{outside}/file.csv', '{outside}/file.csv'])",
    "read_csv('{outside}/*.csv')",
    "read_csv('file://{outside}/file.csv')",
    "read_text('{outside}/file.csv')",
    "read_text('/proc/self/environ')",
    "read_text('/proc/self/maps')",
    "read_text('/proc/self/cmdline')",
    "read_text('/etc/passwd')",
    "read_blob('{outside}/file.csv')",
    "read_blob('{other}')",
    "read_json('{outside}/file.json')",
    "read_json_auto('{outside}/file.json')",
    "read_json_objects('{outside}/file.json')",
    "read_json_objects_auto('{outside}/file.json')",
    "read_ndjson('{outside}/file.json')",
    "read_ndjson_auto('{outside}/file.json')",
    "read_ndjson_objects('{outside}/file.json')",
    "read_parquet('{outside}/file.parquet')",
    "parquet_scan('{outside}/file.parquet')",
    "parquet_metadata('{outside}/file.parquet')",
    "parquet_schema('{outside}/file.parquet')",
    "parquet_file_metadata('{outside}/file.parquet')",
    "parquet_kv_metadata('{outside}/file.parquet')",
    "parquet_bloom_probe('{outside}/file.parquet', 'a', 1)",
    "sniff_csv('{outside}/file.csv')",
    "glob('{outside}/*')",
    "glob('/*')",
    "read_duckdb('{other}')",
)

ATTACKS_BY_GROUP: dict[tuple[str, Holds], tuple[str, ...]] = {
    ("settings", "walls"): (
        "SET enable_external_access = true",
        "SET GLOBAL enable_external_access = true",
        "SET lock_configuration = false",
        "RESET lock_configuration",
        "SET threads = 8",
        "SET memory_limit = '100GB'",
        "SET temp_directory = '/tmp'",
        "SET home_directory = '/'",
        "SET extension_directory = '/tmp'",
        "SET custom_extension_repository = 'http://127.0.0.1:{port}'",
        "SET secret_directory = '/tmp'",
        "SET allowed_directories = ['/']",
        "SET allowed_paths = ['/etc/passwd']",
        "SET file_search_path = '/'",
        "SET allow_unsigned_extensions = true",
        "SET autoinstall_known_extensions = true",
        "SET python_enable_replacements = true",
        "SET error_on_division_by_zero = true",
        "SET max_execution_time = 0",
        "SET log_query_path = '{outside}/queries'",
        "SET http_proxy = '127.0.0.1:{port}'",
        "SET TimeZone = 'Asia/Shanghai'",
        "PRAGMA threads = 8",
        "PRAGMA enable_profiling",
        "PRAGMA profiling_output = '{outside}/profile'",
        "CALL enable_logging(storage = 'file')",
    ),
    ("files", "walls"): (
        *(f"SELECT * FROM {call}" for call in _READERS),
        "SELECT * FROM '{outside}/file.csv'",
        'FROM "{outside}/file.parquet"',
        "SELECT (SELECT content FROM read_text('{outside}/file.csv')) FROM people",
        "WITH x AS (SELECT * FROM read_text('{outside}/file.csv')) SELECT * FROM x",
        "COPY people FROM '{outside}/file.csv'",
    ),
    ("writing files", "walls"): (
        "COPY people TO '{outside}/stolen.csv'",
        "COPY (SELECT 1) TO '{outside}/stolen.parquet' (FORMAT parquet)",
        "COPY (SELECT * FROM people) TO '/proc/self/fd/3'",
        "COPY (SELECT * FROM people) TO '{outside}/../stolen.csv'",
        "COPY (SELECT 1 AS a) TO '{outside}/parts' (FORMAT csv, PARTITION_BY (a))",
        "WITH x AS (COPY people TO '{outside}/stolen.csv') SELECT 1",
        "EXPORT DATABASE '{outside}/dump'",
        "IMPORT DATABASE '{outside}/dump'",
    ),
    ("other databases", "walls"): (
        "ATTACH '{other}' AS other",
        "ATTACH '{other}' AS other (READ_ONLY)",
        "ATTACH '{outside}/fresh.duckdb' AS fresh",
        "ATTACH 'postgres:host=127.0.0.1 port={port}' AS pg (TYPE postgres)",
        "ATTACH 'http://127.0.0.1:{port}/x.duckdb' AS remote",
        "COPY FROM DATABASE data TO fresh",
    ),
    ("code and network", "walls"): (
        "INSTALL httpfs",
        "FORCE INSTALL spatial FROM community",
        "INSTALL '{outside}/bpk.duckdb_extension'",
        "LOAD httpfs",
        "LOAD '{outside}/bpk.duckdb_extension'",
        "UPDATE EXTENSIONS",
        "CREATE PERSISTENT SECRET s (TYPE http)",
        "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
        "SELECT * FROM read_csv('https://127.0.0.1:{port}/x.csv')",
        "SELECT * FROM read_csv('s3://bucket/x.csv')",
        "SELECT * FROM local_python_table",
        "SELECT * FROM sqlite_scan('{outside}/x.db', 't')",
        "SELECT * FROM arrow_scan(1094795585, 1094795585, 1094795585)",
        "SELECT * FROM pandas_scan(1094795585)",
        "CONNECT 'http://127.0.0.1:{port}'",
    ),
    ("writes", "walls"): (
        "DELETE FROM people",
        "UPDATE people SET age = 0",
        "DROP TABLE people",
        "TRUNCATE people",
        "ALTER TABLE people ADD COLUMN x INTEGER",
        "INSERT INTO people VALUES (1, 'F', 1, 1)",
        "CREATE TABLE more AS SELECT 1",
        "CREATE INDEX i ON people (age)",
        "CREATE VIEW data.main.v AS SELECT 1",
        "WITH x AS (INSERT INTO hospitals VALUES (99, 'x') RETURNING id) SELECT * FROM x",
        "WITH x AS (DELETE FROM people RETURNING *) SELECT * FROM x",
    ),
    ("sql from data", "reader"): (
        "SELECT * FROM query('SELECT * FROM people')",
        "SELECT * FROM query_table('people')",
        "SELECT * FROM query_table(['people', 'people'])",
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM people'))",
        "PRAGMA json_execute_serialized_sql('{{}}')",
        "SELECT json_serialize_sql('SELECT * FROM people')",
        "SELECT json_serialize_plan('SELECT * FROM people')",
        "PREPARE p AS SELECT * FROM people",
        "EXECUTE p",
    ),
    ("state", "reader"): (
        "SET VARIABLE v = (SELECT max(age) FROM people)",
        "SELECT getvariable('v')",
        "CREATE TEMP TABLE people AS SELECT 1 AS age",
        "CREATE TEMP VIEW people AS SELECT 1 AS age",
        "CREATE TEMP MACRO sum(x) AS 42",
        "CREATE TEMP MACRO count() AS TABLE SELECT 1",
        "CREATE TEMP SEQUENCE s",
        "SELECT setseed(0.5)",
        "SET search_path = 'temp'",
        "USE memory",
        "ATTACH ':memory:' AS m",
        "ATTACH '{data}' AS again (READ_ONLY)",
        "COPY people TO '{spill}/mine.csv'",
        "BEGIN TRANSACTION",
    ),
    ("metadata", "reader"): (
        "SELECT stats(age) FROM people",
        "SUMMARIZE people",
        "DESCRIBE people",
        "SHOW ALL TABLES",
        "SELECT * FROM pragma_storage_info('people')",
        "SELECT * FROM pragma_metadata_info()",
        "SELECT * FROM pragma_table_info('people')",
        "SELECT * FROM duckdb_table_sample('people')",
        "SELECT * FROM duckdb_tables()",
        "SELECT * FROM duckdb_columns()",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_databases()",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM duckdb_temporary_files()",
        "SELECT * FROM duckdb_memory()",
        "SELECT * FROM pragma_database_size()",
        "SELECT current_setting('temp_directory')",
        "SELECT path FROM duckdb_databases()",
        "SELECT * FROM information_schema.tables",
        "SELECT rowid FROM people",
        "SELECT __unit FROM people",
        "SELECT current_query(), version()",
        "EXPLAIN SELECT * FROM people",
        "EXPLAIN ANALYZE SELECT * FROM people WHERE age = 7",
        "SELECT * FROM people TABLESAMPLE 10%",
        "SELECT * FROM people",
        "FROM people",
    ),
    ("errors and time", "reader"): (
        "SELECT sleep_ms(1) FROM people LIMIT 1",
        "SELECT error(sex) FROM people",
        "SELECT assert_true(age > 7) FROM people",
        "SELECT CAST(sex AS INTEGER) FROM people",
        "SELECT CASE WHEN max(age) > 7 THEN error('x') ELSE 'y' END FROM people",
        "SELECT CASE WHEN max(age) > 7 THEN sleep_ms(1) END FROM people",
        "SELECT length(repeat('x', CASE WHEN max(age) > 7 THEN 3000000 ELSE 1 END)) FROM people",
        "SELECT write_log('x') FROM people",
        "SELECT random(), uuid(), now() FROM people",
    ),
    ("several statements", "reader"): (
        "SELECT 1; SELECT * FROM people",
        "SELECT COUNT(*) FROM people; DROP TABLE people",
        "SELECT COUNT(*) FROM people; COPY people TO '{outside}/stolen.csv'",
        ";",
        "-- nothing",
    ),
}


def attacks() -> Iterator[SqlAttack]:
    for (group, holds), statements in ATTACKS_BY_GROUP.items():
        for sql in statements:
            yield SqlAttack(group, sql, holds)


def filled(sql: str, places: dict[str, object]) -> str:
    return sql.format(**places)
