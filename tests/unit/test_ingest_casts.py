"""What fits a declared type, exactly; the engine's own casts are looser."""

from __future__ import annotations

import duckdb
import pytest

from policies.types import Type
from sandbox.ingest.casts import reading


def read(expression: str, kind: str) -> tuple[str | None, bool, bool]:
    """(value as text, whether it is bad, whether it is not finite) of one stored value; no reading at all is bad."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"CREATE TABLE t AS SELECT {expression} AS x")
        (stored,) = con.execute("SELECT data_type FROM duckdb_columns() WHERE table_name = 't'").fetchall()[0]
        how = reading('"x"', stored, Type.parse(kind))
        if how is None:
            return None, True, False
        value, bad, not_finite = con.execute(f"SELECT {how.value}, {how.bad}, {how.not_finite} FROM t").fetchall()[0]
        return None if value is None else str(value), bad, not_finite


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        ("integer", "1.5"),
        ("integer", "99999999999"),
        ("integer", "1e3"),
        ("decimal(4,2)", "1.234"),
        ("decimal(4,2)", "123.4"),
        ("date", "2026-02-30"),
        ("date", "infinity"),
        ("date", "03/04/2026"),
        ("timestamp", "2026-01-01T00:00:00+02:00"),
        ("boolean", "perhaps"),
        ("double", "1,5"),
    ],
)
def test_text_that_does_not_fit_is_bad(kind: str, stored: str) -> None:
    assert read(f"'{stored}'", kind) == (None, True, False)


@pytest.mark.parametrize(
    ("kind", "stored", "value"),
    [
        ("integer", " 12 ", "12"),
        ("integer", "12.0", "12"),
        ("bigint", "9007199254740993", "9007199254740993"),
        ("decimal(4,2)", "1.500", "1.50"),
        ("decimal(4,2)", "-.5", "-0.50"),
        ("double", "1e-3", "0.001"),
        ("boolean", "true", "True"),
        ("date", "2026-02-28", "2026-02-28"),
        ("timestamp", "2026-02-28 10:11:12.5", "2026-02-28 10:11:12.500000"),
        ("text", " as it is ", " as it is "),
    ],
)
def test_text_is_read_exactly(kind: str, stored: str, value: str) -> None:
    assert read(f"'{stored}'", kind) == (value, False, False)


@pytest.mark.parametrize(
    ("kind", "stored", "fits"),
    [
        ("integer", "1.0::DOUBLE", True),
        ("integer", "1.5::DOUBLE", False),
        ("integer", "'nan'::DOUBLE", True),
        ("integer", "3000000000::BIGINT", False),
        ("decimal(5,2)", "0.1::DOUBLE + 0.2", True),
        ("decimal(5,2)", "0.125::DECIMAL(5,3)", False),
        ("date", "TIMESTAMP '2026-01-01 00:00:00'", True),
        ("date", "TIMESTAMP '2026-01-01 00:00:01'", False),
        ("date", "'infinity'::DATE", False),
        ("date", "5::INTEGER", False),
        ("timestamp", "TIMESTAMPTZ '2026-01-01 00:00:00+00'", True),
        ("text", "7::INTEGER", True),
        ("text", "[1, 2]", False),
        ("text", "'x'::BLOB", False),
        ("boolean", "1::TINYINT", True),
        ("boolean", "2::TINYINT", False),
    ],
)
def test_stored_types_are_read_exactly_or_not_at_all(kind: str, stored: str, fits: bool) -> None:
    value, bad, not_finite = read(stored, kind)
    assert bad is not fits
    assert (value is None) == (bad or not_finite)


@pytest.mark.parametrize("kind", ["double", "decimal(4,2)", "integer"])
@pytest.mark.parametrize("stored", ["'nan'::DOUBLE", "'inf'::FLOAT", "'-inf'::DOUBLE"])
def test_numbers_that_are_not_finite_become_null_and_are_counted(kind: str, stored: str) -> None:
    assert read(stored, kind) == (None, False, True)


@pytest.mark.parametrize("kind", ["integer", "double", "decimal(4,2)", "text", "boolean", "date", "timestamp"])
def test_null_is_null_and_nothing_else(kind: str) -> None:
    assert read("NULL::VARCHAR", kind) == (None, False, False)


def test_a_text_longer_than_the_limit_is_bad() -> None:
    assert read("repeat('x', 65536)", "text")[1] is False
    assert read("repeat('x', 65537)", "text")[1] is True


@pytest.mark.parametrize("kind", ["date", "timestamp"])
@pytest.mark.parametrize("day", ["5881580-07-10", "infinity", "-infinity", "10000-01-01"])
def test_a_day_beyond_the_calendar_is_bad_and_raises_nothing(kind: str, day: str) -> None:
    assert read(f"DATE '{day}'", kind)[1]
