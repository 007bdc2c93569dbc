"""The schema that editors use is the one that the loader obeys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from policies.fields import identifier
from policies.schema import FILE, cases_schema, licence_schema, policy_schema, schema_text


def tables_of(schema: Any) -> Iterator[dict[str, Any]]:
    yield schema
    yield from schema.get("$defs", {}).values()


def test_the_schema_that_ships_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == schema_text(), "run `python -m policies.schema`"


@pytest.mark.parametrize("make", [policy_schema, cases_schema, licence_schema])
def test_every_table_is_closed_and_every_key_is_explained(make: Any) -> None:
    for table in tables_of(make()):
        assert table["additionalProperties"] is False
        assert table["description"]
        for name, key in table["properties"].items():
            assert key.get("description"), name
            assert key.get("title") or "$ref" in key, name


@pytest.mark.parametrize("make", [policy_schema, cases_schema, licence_schema])
def test_no_key_may_be_null_for_toml_has_none(make: Any) -> None:
    assert "'null'" not in str(make())
    assert "None" not in str(make())


@pytest.mark.parametrize(
    ("name", "sound"),
    [("people", True), ("居民", True), ("_x1", True), ("a.b", False), ("1a", False), ("a b", False), ("a'", False)],
)
def test_editors_tell_names_by_the_loaders_rule(name: str, sound: bool) -> None:
    tables = policy_schema()["properties"]["tables"]
    assert tables["additionalProperties"] is False
    (pattern,) = tables["patternProperties"]
    assert bool(re.search(pattern, name)) is sound
    try:
        assert (identifier(name) == name) is sound
    except ValueError:
        assert not sound


def test_licences_use_the_documents_own_words() -> None:
    valid = licence_schema()["$defs"]["ValidDocument"]["properties"]
    assert list(valid) == ["from", "until"]
