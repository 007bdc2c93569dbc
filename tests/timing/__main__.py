"""`make test-timing`: whether the clock, or anything besides released numbers, tells neighbouring data apart.

    python -m tests.timing                         2 pairs x 2 plans x 300 requests, deadlines on and off
    python -m tests.timing --pair 7 --plan 5 --requests 2000        one part of the long target
    python -m tests.timing --pair 11               a control: two homes with the same data

With deadlines on nothing may be told apart; off, the same test has to see the first pair, or it proves nothing.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.served_home import serving
from tests.timing.compare import T_MAX, Compared, Sample
from tests.timing.pairs import PAIRS, PLANS, Pair, home

OFF_REQUESTS: Final = 60
Plans = tuple[tuple[str, str], ...]


def main() -> int:
    """0 when deadlines hide what is seen without them, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.timing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=300, help="to each side, for each pair and plan")
    parser.add_argument("--starts", type=int, default=10, help="of both homes, over which the requests are spread")
    parser.add_argument("--deadline", type=float, default=0.5, help="seconds after which every answer comes")
    parser.add_argument("--pair", type=int, help=f"one of 1 to {len(PAIRS)}; the first two by default")
    parser.add_argument("--plan", type=int, help=f"one of 1 to {len(PLANS)}; the first two by default")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pairs = PAIRS[:2] if options.pair is None else PAIRS[options.pair - 1 : options.pair]
    plans = PLANS[:2] if options.plan is None else PLANS[options.plan - 1 : options.plan]
    print("| deadlines | pair | plan | with ms | without ms | t | AUC | AUC at most | differences |", flush=True)
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    hidden, seen = [], []
    for pair in pairs:
        hidden += _asked(pair, plans, f"[{options.deadline}]", options, options.requests)
        seen += _asked(pair, plans, '"off"', options, min(options.requests, OFF_REQUESTS))
    told = [each for each in hidden if each.told_apart or each.differences]
    for each in told:
        print(f"told apart: t {each.t:.2f}; {'; '.join(each.differences[:5])}")
    visible = any(each.told_apart for each in seen)
    print(f"\ndeadlines on: {len(told)} of {len(hidden)} told apart (|t| of {T_MAX} and more, or any difference)")
    print(f"deadlines off: {sum(each.told_apart for each in seen)} of {len(seen)} told apart by time")
    return 0 if not told and (visible or options.pair is not None) else 1


def _asked(pair: Pair, plans: Plans, deadlines: str, options: argparse.Namespace, requests: int) -> list[Compared]:
    """Of each plan, over so many starts of both homes, every second time in the other order."""
    samples = [Sample(sql, random.Random(f"{options.seed} {name}")) for name, sql in plans]
    with tempfile.TemporaryDirectory(prefix="bpk-timing-") as folder:
        homes = [home(Path(folder) / str(side), pair, deadlines, whole=side == 0) for side in (0, 1)]
        for start in range(options.starts):
            with ExitStack() as stack:
                first, second = start % 2, 1 - start % 2
                served = {side: stack.enter_context(serving(homes[side])) for side in (first, second)}
                for sample in samples:
                    share = requests * (start + 1) // options.starts - requests * start // options.starts
                    sample.ask((served[0], served[1]), share)
    found = [sample.compared() for sample in samples]
    shown = "off" if deadlines == '"off"' else "on"
    for (name, _), each in zip(plans, found, strict=True):
        figures = f"{each.with_ms:.1f} | {each.without_ms:.1f} | {each.t:.2f} | {each.auc:.3f} | {each.auc_upper:.3f}"
        print(f"| {shown} | {pair.name} | {name} | {figures} | {len(each.differences)} |", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
