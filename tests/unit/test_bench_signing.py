"""`make bench-signing` signs by the keys that it says it signs by, and shares signatures among those who wait."""

from __future__ import annotations

import sys

import pytest

from bench import signing
from tests.sm2_world import needs_openssl


@needs_openssl
def test_it_measures_each_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["signing", "--times", "2", "--seconds", "0.3"])
    signing.main()
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line[:26].strip() for line in lines] == [
        "Ed25519, of the home",
        "Ed25519, openssl outside",
        "SM2, openssl outside",
    ]
    assert all(" signatures)" in line for line in lines)
