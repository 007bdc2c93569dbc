"""The clinic's policy as a steward writes it, and ways to spoil it."""
# ruff: noqa: E501  # inline tables of TOML cannot be broken into lines

from __future__ import annotations

CLINIC = """
format = 1
dataset = "clinic"
version = "2026.11"
title = { en = "Outpatient visits", zh = "门诊就诊" }
owner = "Municipal Health Commission"
supply = "authorised"
grade = "general-3"
purposes = ["public-health", "actuarial"]

[unit]
name = "person"
column = "people.pid"
count_max = 2000000
count_about = 280000

[release]
modes = ["dp"]
reuse_across_operators = true
[release.dp]
accountant = "zcdp"
epsilon = 8
delta = 1e-9
epsilon_per_query = 0.5
epsilon_per_query_max = 1
delta_per_query = 5e-13
groups_per_unit_max = 8
units_min = 10
[release.aggregate]
units_min = 10
dominance = { units = 2, share = 0.85 }
p_percent = 10
rounding = 5
difference_units_min = 10

[tables.people]
[tables.people.columns]
pid        = { type = "integer",       role = "unit" }
name       = { type = "text",          role = "hidden" }
sex        = { type = "text",          role = "dimension", values = ["F", "M"] }
district   = { type = "text",          role = "dimension", values = ["North", "South"] }
birth_date = { type = "date", role = "dimension", range = [1920-01-01, 2026-12-31], via = ["year", "decade"] }
diagnosis  = { type = "text",          role = "dimension", sensitive = true }
income = { type = "decimal(12,2)", role = "measure", range = [0, 200000], step = 1, aggregates = ["count", "sum", "avg"] }

[tables.visits]
link = { column = "pid", to = "people.pid" }
rows_per_unit_max = 50
[tables.visits.columns]
visit_id   = { type = "integer",       role = "key" }
pid        = { type = "integer",       role = "unit", nullable = true }
hospital   = { type = "integer",       role = "key", joins = ["hospitals.id"] }
cost       = { type = "decimal(10,2)", role = "measure", range = [0, 20000], bins = [0, 100, 1000, 20000] }
visit_date = { type = "date",          role = "dimension", range = [2020-01-01, 2026-12-31] }

[tables.drugs]
link = { column = "visit", to = "visits.visit_id" }
rows_per_unit_max = 200
[tables.drugs.columns]
visit      = { type = "integer",       role = "hidden" }
grams      = { type = "double",        role = "measure", range = [0, 50] }
given_at = { type = "timestamp", role = "dimension", via = ["month"], range = [2020-01-01T00:00:00, 2026-12-31T23:59:59] }
doses      = { type = "bigint",        role = "measure", range = [0, 9] }
paid       = { type = "boolean",       role = "dimension" }

[tables.hospitals]
public = true
[tables.hospitals.columns]
id         = { type = "integer",       role = "key" }
level      = { type = "text",          role = "dimension" }
"""

OPEN = """
format = 1
dataset = "parks"
version = "1"
title = { en = "Parks" }
owner = "City Gardens"
supply = "open"
purposes = ["any"]
[release]
modes = ["open"]
[tables.parks]
public = true
key = "id"
fan_out = { area = 40 }
[tables.parks.columns]
id = { type = "integer", role = "key" }
area = { type = "text", role = "key" }
benches = { type = "integer", role = "measure" }
"""


def changed(*pairs: tuple[str, str], text: str = CLINIC) -> str:
    """`text` with each old passage replaced by the new one; every old passage must stand there exactly once."""
    for old, new in pairs:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    return text
