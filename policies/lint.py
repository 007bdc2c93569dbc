"""What is allowed in a policy, and yet probably not meant. Messages are for data stewards, not programmers."""

from __future__ import annotations

from typing import Final

from policies.findings import Finding, Severity
from policies.lint_columns import lint_column
from policies.lint_release import lint_release
from policies.model import Policy

_RANK: Final[dict[Severity, int]] = {"error": 0, "warning": 1, "note": 2}


def lint(policy: Policy) -> tuple[Finding, ...]:
    """Everything worth saying of `policy`, the gravest first. A policy with an `error` cannot be served."""
    found = list(lint_release(policy))
    for table in policy.tables.values():
        for column in table.columns.values():
            found += lint_column(policy, table, column)
    return tuple(sorted(found, key=lambda finding: _RANK[finding.severity]))
