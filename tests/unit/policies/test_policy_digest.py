"""The digest says which policy is meant, not how it is written."""

from __future__ import annotations

import pytest
from clinic_text import CLINIC, changed

from policies import digest as digests
from policies.load import load_text

SAME = [
    ("epsilon = 8\n", "epsilon = 8.00 # for life\n"),
    ("epsilon_per_query = 0.5\n", "epsilon_per_query = 5e-1\n"),
    ("count_max = 2000000", "count_max = 2_000_000"),
    ("[tables.hospitals]\npublic = true", "[tables.hospitals]\n\n\n  public=true"),
    ('type = "text",          role = "hidden"', 'role = "hidden", type = "text"'),
    ('"Outpatient visits"', "'Outpatient visits'"),
]
OTHER = [
    ("epsilon = 8\n", "epsilon = 8.01\n"),
    ("count_max = 2000000", "count_max = 2000001"),
    ('values = ["F", "M"]', 'values = ["M", "F"]'),
    ("via = [", "sensitive = true, via = ["),
    ('"Outpatient visits"', '"Outpatient  visits"'),
    ("2026-12-31]", "2026-12-30]"),
    ('modes = ["dp"]', 'modes = ["dp", "aggregate"]'),
]


def digest_of(text: str) -> str:
    return load_text(text, "clinic").digest


@pytest.mark.parametrize(("old", "new"), SAME)
def test_layout_comments_order_of_keys_and_spelling_of_numbers_do_not_count(old: str, new: str) -> None:
    assert digest_of(changed((old, new))) == digest_of(CLINIC)


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_meaning_counts(old: str, new: str) -> None:
    text = CLINIC.replace(old, new, 1)
    assert text != CLINIC
    assert digest_of(text) != digest_of(CLINIC)


def test_a_digest_is_hex_sha256_and_never_changes_for_a_document() -> None:
    assert digest_of(CLINIC) == "b2edd310256ef515a886e781c75123c481931356e62d96b2139136de296cc72f"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": 1}, {"a": "1"}),
        ({"a": True}, {"a": 1}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": {"b": 1}}, {"a.b": 1}),
    ],
)
def test_values_of_different_kind_stay_apart(left: dict[str, object], right: dict[str, object]) -> None:
    assert digests.digest(left) != digests.digest(right)


def test_spelling_would_count_if_numbers_were_planted_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "plain_number", str)
    assert digest_of(changed(("epsilon = 8\n", "epsilon = 8.00\n"))) != digest_of(CLINIC)
