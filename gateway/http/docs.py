"""The page at /docs: our own, self-contained, so that it works without any outside host and under a strict policy."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import Final


def _source(page: str, tag: str) -> str:
    """The policy's word for the one inline <tag> of the page: the hash of what is between its marks."""
    inner = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    if len(inner) != 1:
        raise ValueError(f"the page has {len(inner)} inline {tag} elements")
    return f"'sha256-{base64.b64encode(hashlib.sha256(inner[0].encode()).digest()).decode()}'"


PAGE: Final = (files("gateway.http") / "docs.html").read_text(encoding="utf-8")
POLICY: Final = (
    f"default-src 'none'; script-src {_source(PAGE, 'script')}; style-src {_source(PAGE, 'style')}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
