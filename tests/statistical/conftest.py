"""What statistical tests share."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise library looks for numpy on the disk at every call, which takes longer than the noise."""
    monkeypatch.setitem(sys.modules, "numpy", None)
