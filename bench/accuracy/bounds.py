"""The policies that each question is asked under: bounds that fit, ten times too wide, and none."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from bench import variants
from bench.accuracy.questions import UnitName
from policies.model import Accountant

Bounds = Literal["good", "loose", "none", "no ranges"]
BOUNDS: Final[dict[Bounds, str]] = {
    "good": "good bounds",
    "loose": "10× too wide",
    "none": "none",
    "no ranges": "no ranges either",
}
"""`none`: rows and groups at the format's largest, no totals; ranges of single values stay, 10× too wide."""
GROUPS: Final = {"good": 32, "loose": 320, "none": 10_000, "no ranges": 10_000}
"""Of private keys, a unit's: a customer has as many orders, each with a clerk."""
LOOSE: Final = 10
FILES: Final[dict[UnitName, str]] = {"customer": "policy.toml", "orders": "orders.toml", "supplier": "supplier.toml"}
HOLDING: Final[dict[UnitName, dict[str, dict[str, object]]]] = {
    "customer": {
        "orders": {"rows_per_unit_max": 48},
        "orders.o_totalprice": {"total_per_unit_max": 8_000_000},
        "lineitem": {"rows_per_unit_max": 192},
        "lineitem.l_quantity": {"total_per_unit_max": 5_000},
        "lineitem.l_extendedprice": {"total_per_unit_max": 8_000_000},
    },
    "orders": {},
    "supplier": {},
}
"""What the policies bound at less than some unit has, at a round number that holds for every one: good bounds are those
of somebody who knows the tables."""
FOLDER: Final = Path(__file__).resolve().parent.parent / "tpch"


def policy(unit: UnitName, bounds: Bounds, accountant: Accountant) -> variants.Document:
    document = variants.with_facts(variants.read(FOLDER / FILES[unit]), HOLDING[unit])
    match bounds:
        case "good":
            pass
        case "loose":
            document = variants.wider(document, LOOSE)
        case "none":
            document = variants.unbounded(variants.wider(document, LOOSE), ranges=True)
        case "no ranges":
            document = variants.unbounded(document, ranges=False)
    return variants.released(document, accountant=accountant, groups_per_unit_max=GROUPS[bounds])
