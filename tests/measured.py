"""The modules whose tests are themselves measured: the ledger, the log, and what turns (epsilon, delta) into prices.

`make coverage` asks whether their tests take every branch, `make mutation` whether they notice a changed one. A wrong
step in one of these gives budget back, lets a record be rewritten, or promises a privacy that is not held; everything
else leans on them. Stores are not in it: of what they do most is SQL, which their schema's own fences and the contract
test on both of them hold, and PostgreSQL is not there on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class Area:
    """Modules, and the tests that concern them: fast ones, of single functions and of whole small worlds."""

    name: str
    why: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]

    def files(self) -> list[str]:
        """Every module, but the empty `__init__`."""
        found = sorted(file for pattern in self.modules for file in ROOT.glob(pattern) if file.name != "__init__.py")
        return [file.relative_to(ROOT).as_posix() for file in found]


ACCOUNTING: Final = Area(
    "accounting",
    "what an epsilon costs, and how much of it a data domain has spent whatever the gateway says",
    ("policies/privacy_loss.py", "sandbox/release/tally.py", "sandbox/release/store.py", "sandbox/release/durable.py"),
    ("unit/test_privacy_loss.py", "unit/test_tally.py", "unit/test_domain_store.py"),
)
LEDGER: Final = Area(
    "ledger",
    "what was charged, and what is left",
    ("gateway/budget/*.py",),
    (
        "unit/test_ledger.py",
        "unit/test_ledger_recovery.py",
        "unit/test_purposes.py",
        "unit/test_ledger_store.py",
        "unit/test_audit_decisions.py",
        "unit/test_block_budgets.py",
        "unit/test_caps.py",
        "unit/test_charges_in_doubt.py",
        "unit/test_cells.py",
        "unit/test_seats.py",
        "unit/test_spend_over_time.py",
        "unit/test_backup.py",
        "unit/test_store_contract.py",
        "attack/test_bugs_of_others_in_accounts.py",
    ),
)
LOG: Final = Area(
    "log",
    "what happened, and the proof that nobody rewrote it",
    ("gateway/audit/*.py",),
    (
        "unit/test_anchors.py",
        "unit/test_audit_*.py",
        "unit/test_backup.py",
        "unit/test_degraded_shows.py",
        "unit/test_erasing.py",
        "unit/test_caps.py",
        "unit/test_ledger_recovery.py",
        "unit/test_purposes.py",
        "unit/test_log_key_outside.py",
        "unit/test_log_keys.py",
        "unit/test_oversight.py",
        "unit/test_replicas.py",
        "unit/test_signed_notes.py",
        "unit/test_signer_command.py",
        "unit/test_sm2.py",
        "unit/test_sm2_log.py",
        "unit/test_stamps_kept.py",
        "unit/test_suites.py",
        "unit/test_time_stamps.py",
        "unit/test_told.py",
        "unit/test_witness_replies.py",
        "unit/test_witnessing.py",
        "attack/test_export_mutations.py",
    ),
)
AREAS: Final = (ACCOUNTING, LEDGER, LOG)


def modules(areas: Iterable[Area] = AREAS) -> list[str]:
    return [file for area in areas for file in area.files()]


def tests_of(areas: Iterable[Area]) -> list[str]:
    found = {file for area in areas for pattern in area.tests for file in (ROOT / "tests").glob(pattern)}
    return sorted(file.relative_to(ROOT).as_posix() for file in found)
