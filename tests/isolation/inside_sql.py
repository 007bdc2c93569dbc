"""A confined process that opens a snapshot and is then given hostile SQL, with nothing of ours in between.

    python -I inside_sql.py ROOT CONFIG      CONFIG: JSON with places, the walls to plant as broken, `plain` for an
                                             engine as it comes

Prints JSON: {"layers": [...], "outcome": {sql: "refused" | "nothing" | "answered" | "connected"}, "said": [answers]}.
Descriptor 0 gets a byte for every connection that reached the listener.
"""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path
from typing import Any

STOPPED = ("refused", "nothing")
"""A file that is not there has no rows, for some readers, and is no error."""
LEAVES_SOMETHING = ("settings", "other databases", "code and network", "writes", "state", "several statements")
"""What got through may have changed the connection: the next attack gets another."""


def main() -> None:
    sys.path[:0] = [sys.argv[1]]
    import duckdb

    from sandbox.engine import snapshot
    from sandbox.lockdown.confinement import Confinement
    from sandbox.lockdown.walls import confine
    from tests.isolation.inside import become, plant
    from tests.isolation.sql_attacks import attacks, filled

    config = json.loads(sys.argv[2])
    if config.get("uid"):
        become(config["uid"])
    plant(config)
    places = config["places"]
    os.set_blocking(0, False)
    space = Confinement(
        read=(Path(places["data"]),),
        write=(Path(places["spill"]),),
        memory_bytes=1 << 30,
        file_bytes=64 << 20,
        cpu_s=120,
        open_files=64,
        limits=snapshot.NEEDED_FILES,
    )
    layers = [layer.name for layer in confine(space) if layer.active]
    outcome, said = {}, []
    connection = None
    for attack in attacks():
        if connection is None:
            connection = opened(duckdb, snapshot, places, plain=config.get("plain", False))
        reached(attack.group)  # what came late for the one before
        local_python_table = connection  # what a replacement scan would find
        try:
            result = local_python_table.execute(filled(attack.sql, places))
            rows = [] if result is None else result.fetchmany(1000)  # a comment is no statement
            told = attack.group != "files" or any(value is not None for row in rows for value in row)
            outcome[attack.sql] = "answered" if told else "nothing"
            said.append(repr(rows)[:100_000])
        except duckdb.Error as error:
            outcome[attack.sql] = "connected" if reached(attack.group) else "refused"
            said.append(str(error))
        if outcome[attack.sql] not in STOPPED and attack.group in LEAVES_SOMETHING:
            connection.close()
            connection = None
    print(json.dumps({"layers": layers, "outcome": outcome, "said": said}))


def opened(duckdb: Any, snapshot: Any, places: dict[str, Any], *, plain: bool) -> Any:
    path, spill = Path(places["data"]), Path(places["spill"])
    if not plain:
        return snapshot.open_snapshot(path, threads=1, memory_mb=128, wall_ms=5000, spill=spill)
    # Whatever it fetches, it fetches from us: nothing here leaves the machine.
    us = f"http://127.0.0.1:{places['port']}"
    settings = {"extension_directory": f"{spill}/extensions", "home_directory": str(spill), "threads": "1"}
    settings |= {"custom_extension_repository": us, "autoinstall_extension_repository": us}
    return duckdb.connect(str(path), read_only=True, config={**settings, "max_execution_time": "5000"})


def reached(group: str) -> bool:
    """Whether somebody came to the listener. Where it matters, with a moment for that to be told."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.poll(50 if group in ("code and network", "other databases") else 0)
    try:
        return bool(os.read(0, 4096))
    except BlockingIOError:
        return False


if __name__ == "__main__":
    main()
