"""`python -m tests.isolation`: what each layer stops alone. Attacks in Python and in SQL, in processes of their own.

    python -m tests.isolation             a table, for the account that runs it; as root for an ordinary one beside it
    python -m tests.isolation --each      every attack by its name, and which layers stop it alone

Exit code 1 when all layers together let anything through.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.lockdown import probe
from sandbox.lockdown.walls import WALLS
from tests.isolation.confined import NOBODY, attack
from tests.isolation.conftest import open_folder
from tests.isolation.questioned import STOPPED, question
from tests.isolation.sql_attacks import attacks as sql_attacks

NAMES = tuple(wall.name for wall in WALLS if wall.name not in ("cgroup", "own_uid"))
ALONE: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "namespaces": ("namespaces",),
    "files_hidden": ("namespaces", "files_hidden"),
    "no_new_privs": ("no_new_privs",),
    "capabilities": ("capabilities",),
    "rlimits": ("rlimits",),
    "landlock": ("no_new_privs", "landlock"),
    "seccomp": ("no_new_privs", "seccomp"),
    "engine": (),
    "no namespaces": tuple(name for name in NAMES if name not in ("namespaces", "files_hidden")),
    "all": NAMES,
}
"""Column -> the walls that stand. Some cannot stand without another; `engine` is the settings of DuckDB alone."""
AT_ONCE = 4
"""An engine as it comes waits between its tries to reach the network."""
_HARDENED = ("engine", "no namespaces", "all")
Ends = dict[str, bool]
"""Attack -> whether it was stopped."""


def in_python(column: str, uid: int) -> Ends:
    with open_folder() as folder:
        ends = attack(Path(folder), uid=uid, broken=_without(column)).outcome
    return {name: end == "stopped" for name, end in ends.items() if name != "read the data"}


def in_sql(column: str, uid: int) -> Ends:
    with open_folder() as folder:
        found = question(Path(folder), uid=uid, broken=_without(column), plain=column not in _HARDENED)
    return {each.sql: found.outcome[each.sql] in STOPPED for each in sql_attacks() if each.holds == "walls"}


def _without(column: str) -> list[str]:
    return [wall.name for wall in WALLS if wall.name not in ALONE[column]]


def tables(columns: list[str], *, each: bool) -> Iterator[tuple[str, bool]]:
    """Texts to print, and whether all layers together held."""
    accounts = [("root", 0), ("an ordinary account", NOBODY)] if os.geteuid() == 0 else [("this account", 0)]
    yield "| attacks stopped | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns), True
    for kind, run in (("Python", in_python), ("SQL", in_sql)):
        for account, uid in accounts:
            with ThreadPoolExecutor(AT_ONCE) as several:
                ends = several.map(run, columns, [uid] * len(columns))
                found = dict(zip(columns, ends, strict=True))
            whole = all(found["all"].values()) if "all" in found else True
            counts = " | ".join(str(sum(ends.values())) for ends in found.values())
            yield f"| {kind}, as {account}: {len(found[columns[0]])} | {counts} |", whole
            if each:
                yield from ((text, True) for text in _each(found))


def _each(found: dict[str, Ends]) -> Iterator[str]:
    for name in next(iter(found.values())):
        yield f"    {name}: " + (", ".join(column for column, ends in found.items() if ends[name]) or "by none")


def main(arguments: list[str], say: Callable[[str], None]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.isolation", description="What each layer stops alone.")
    parser.add_argument("--each", action="store_true", help="name every attack")
    parser.add_argument("--columns", help="only these, by commas: " + ",".join(ALONE))
    chosen = parser.parse_args(arguments)
    columns = chosen.columns.split(",") if chosen.columns else list(ALONE)
    if not set(columns) <= set(ALONE):
        parser.error("there is no such column")
    if sys.platform != "linux":
        say("the walls (Landlock, seccomp, ...) are Linux's own")
        return 1
    for layer in probe():
        say(f"{'on ' if layer.active else 'OFF'} {layer.name:<14} {layer.reason}")
    say("")
    held = True
    for text, whole in tables(columns, each=chosen.each):
        say(text)
        held = held and whole
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], lambda text: print(text, flush=True)))
