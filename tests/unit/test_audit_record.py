"""One record: its fields, its canonical bytes, and what no record may be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.older import canonical as second_canonical
from gateway.audit.record import (
    DEGRADED,
    FIELDS,
    FIELDS_BEFORE,
    RECORD_BYTES_MAX,
    SALT_BYTES,
    TERMS,
    Entry,
    body,
    canonical,
    commit,
    read,
    stamp,
)
from gateway.errors import Fault

HASH = "ab" * 32
LINE = {"scope": "dataset:clinic", "rho": "0.1", "epsilon": "1", "delta": "0"}
READ = Entry(kind="read", code="records")
CHARGE = Entry(kind="charge", query_id="qry_1", charges=(LINE,))
PLACE: dict[str, Any] = {"ledger": "baopingkou/test", "seq": 7, "time": "2026-11-23T12:00:00.000Z"}


def written(entry: Entry) -> dict[str, Any]:
    return json.loads(body(entry, **PLACE))


def test_a_record_has_every_field_and_what_says_nothing_is_null() -> None:
    record = written(READ)
    assert set(record) == set(FIELDS)
    said = {name: value for name, value in record.items() if value is not None}
    assert said == {**PLACE, "v": 2, "kind": "read", "code": "records", "suite": "sha256-ed25519"}
    assert len(FIELDS_BEFORE) == 14
    assert set(FIELDS) - FIELDS_BEFORE == {"suite", "mode", "licence"}


def test_every_field_of_an_entry_is_written_under_its_name() -> None:
    named = {
        "actor": "acme", "query_id": "qry_1", "dataset": "clinic", "policy_digest": "p", "snapshot": "s", "mode": "dp",
        "licence": "L-1", "decision": "run", "code": "c",
    }  # fmt: skip
    entry = Entry(
        kind="decision",
        charges=(LINE,),
        hashes=(("release", HASH),),
        degraded=("landlock", "seccomp"),
        terms={"supply": "open"},
        **named,  # type: ignore[arg-type]
    )
    record = written(entry)
    assert {name: record[name] for name in named} == named
    assert record["charges"] == [LINE]
    assert record["commitments"] == {"release": HASH}
    assert (record[DEGRADED], record[TERMS]) == (["landlock", "seccomp"], {"supply": "open"})
    assert read(body(entry, **PLACE)) == record


def test_a_text_is_committed_to_under_a_salt_of_its_own() -> None:
    one, two = commit({"sql": "SELECT 1", "purpose": "SELECT 1"})
    assert (one.name, two.name) == ("purpose", "sql")
    assert len(one.salt) == len(two.salt) == SALT_BYTES == 32
    assert one.salt != two.salt
    assert one.commitment == hashlib.sha256(one.salt + b"SELECT 1").hexdigest()
    assert written(replace(READ, secrets=(one, two)))["commitments"] == {
        "purpose": one.commitment,
        "sql": two.commitment,
    }
    assert repr(two) == "Secret(sql)", "a text cannot print"


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True), st.text(st.characters()), max_size=3))
def test_any_text_can_be_committed_to_and_kept(texts: dict[str, str]) -> None:
    for secret in commit(texts):
        assert "\0" not in secret.text
        assert secret.text == texts[secret.name].replace("\0", "\\x00").encode(errors="backslashreplace").decode()
        assert len(secret.commitment) == 64


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)),  # noqa: DTZ001  # the zone is given beside
    st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours))),
)
def test_a_stamp_is_utc_cut_to_milliseconds(moment: datetime, zone: timezone) -> None:
    told = stamp(moment.replace(tzinfo=zone))
    again = datetime.fromisoformat(told.zfill(24))
    assert timedelta(0) <= moment.replace(tzinfo=zone) - again < timedelta(milliseconds=1)


def test_a_stamp_has_the_form_of_records() -> None:
    assert stamp(datetime(2026, 11, 23, 22, 4, 36, 7999, tzinfo=UTC)) == "2026-11-23T22:04:36.007Z"


FAULTS: dict[str, tuple[Entry, str]] = {
    "no kind": (replace(READ, kind="other"), "a log record of a kind that there is not"),  # type: ignore[arg-type]
    "a decision that decides nothing": (
        Entry(kind="decision", query_id="qry_1"),
        "a log record of a kind that there is not",
    ),
    "a charge that decides": (replace(CHARGE, decision="run"), "a log record of a kind that there is not"),
    "a charge of no query": (
        replace(CHARGE, query_id=None),
        "a log record of a query names the query, and no other record does",
    ),
    "a release of no query": (
        Entry(kind="release"),
        "a log record of a query names the query, and no other record does",
    ),
    "a failure of no query": (
        Entry(kind="failure"),
        "a log record of a query names the query, and no other record does",
    ),
    "a decision of no query": (
        Entry(kind="decision", decision="run"),
        "a log record of a query names the query, and no other record does",
    ),
    "a reading of a query": (
        replace(READ, query_id="qry_1"),
        "a log record of a query names the query, and no other record does",
    ),
    "an act of a query": (
        Entry(kind="admin", query_id="qry_1"),
        "a log record of a query names the query, and no other record does",
    ),
    "a genesis of a query": (
        Entry(kind="genesis", query_id="qry_1"),
        "a log record of a query names the query, and no other record does",
    ),
    "a name in capitals": (replace(READ, hashes=(("Key", HASH),)), "a commitment needs a plain name"),
    "a name that is long": (replace(READ, hashes=(("k" * 33, HASH),)), "a commitment needs a plain name"),
    "a text without a name": (replace(READ, secrets=commit({"": "x"})), "a commitment needs a plain name"),
    "a short commitment": (replace(READ, hashes=(("key", HASH[1:]),)), "a commitment is 64 hex digits"),
    "a commitment in capitals": (replace(READ, hashes=(("key", HASH.upper()),)), "a commitment is 64 hex digits"),
    "two of one name": (
        replace(READ, hashes=(("sql", HASH),), secrets=commit({"sql": "x"})),
        "a log record with two commitments of one name",
    ),
    "layers out of order": (
        replace(READ, degraded=("seccomp", "landlock")),
        "isolation layers have plain names, in order",
    ),
    "layers twice": (replace(READ, degraded=("landlock", "landlock")), "isolation layers have plain names, in order"),
    "a layer with a name of its own": (
        replace(READ, degraded=("Landlock",)),
        "isolation layers have plain names, in order",
    ),
    "a charge without an amount": (
        replace(CHARGE, charges=({"scope": "x", "rho": "1", "epsilon": "1"},)),
        "a charge names its scope and three amounts",
    ),
    "a charge with more": (
        replace(CHARGE, charges=(LINE, {**LINE, "more": "1"})),
        "a charge names its scope and three amounts",
    ),
    "half a character": (replace(READ, actor="\ud800"), "a log record that has no canonical form"),
    "a large number": (replace(READ, terms={"number": 2**60}), "a log record that has no canonical form"),
    "too much": (replace(READ, code="x" * RECORD_BYTES_MAX), "a log record beyond its limit"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_no_record_may_be_is_a_fault(name: str) -> None:
    entry, why = FAULTS[name]
    with pytest.raises(Fault, match=f"^{why}$"):
        body(entry, **PLACE)


def test_a_record_may_be_as_long_as_its_limit() -> None:
    most = RECORD_BYTES_MAX - len(body(replace(READ, code=""), **PLACE))
    assert len(body(replace(READ, code="x" * most), **PLACE)) == RECORD_BYTES_MAX
    with pytest.raises(Fault, match=r"^a log record beyond its limit$"):
        body(replace(READ, code="x" * (most + 1)), **PLACE)


def test_a_name_and_a_layer_may_be_as_long_as_their_limit() -> None:
    name = "k" * 32
    assert written(replace(READ, hashes=((name, HASH),), degraded=(name,)))["commitments"] == {name: HASH}


def without(name: str) -> bytes:
    return canonical({key: value for key, value in written(READ).items() if key != name})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        without("v"),
        without("licence"),
        without("suite"),
        canonical({**written(READ), "more": None}),
        canonical({**written(READ), "v": 1}),
        body(READ, **PLACE) + b"\n",
        json.dumps(written(READ)).encode(),
    ],
)
def test_stored_bytes_that_are_no_record_are_a_fault(content: bytes) -> None:
    with pytest.raises(Fault, match=r"a stored log record is (unreadable|not in canonical form)"):
        read(content)


def test_a_record_of_version_1_is_read_with_the_fields_that_it_had() -> None:
    old = {name: value for name, value in written(READ).items() if name in FIELDS_BEFORE}
    assert read(canonical({**old, "v": 1})) == {**old, "v": 1}
    with pytest.raises(Fault, match="not in canonical form"):
        read(canonical(old))


@given(
    st.fixed_dictionaries(
        {name: st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6) for name in FIELDS[4:9]}
    ),
    st.integers(0, 2**52),
)
def test_both_spellings_of_canonical_json_are_one(fields: dict[str, Any], seq: int) -> None:
    """Of the writer, by its library, and of the verifier, by its own few lines."""
    record = {**written(READ), **fields, "seq": seq}
    assert canonical(record) == second_canonical(record)
