"""`make test-timing`: whether the clock, or anything besides released numbers, tells neighbouring data apart.

    python -m tests.timing                         2 pairs x 2 plans x 300 requests, deadlines on and off
    python -m tests.timing --pair 7 --plan 5 --requests 2000        one part of the long target

With deadlines on nothing may be told apart; off, the same test has to see the first pair, or it proves nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.served_home import serving
from tests.timing.compare import T_MAX, Compared, compare
from tests.timing.pairs import PAIRS, PLANS, Pair, home

OFF_REQUESTS: Final = 60


def main() -> int:
    """0 when deadlines hide what is seen without them, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.timing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=300, help="to each side, for each pair and plan")
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
        hidden += _asked(pair, plans, f"[{options.deadline}]", options.requests, options.seed)
        seen += _asked(pair, plans, '"off"', min(options.requests, OFF_REQUESTS), options.seed)
    told = [each for each in hidden if each.told_apart or each.differences]
    for each in told:
        print(f"told apart: t {each.t:.2f}; {'; '.join(each.differences[:5])}")
    visible = any(each.told_apart for each in seen)
    print(f"\ndeadlines on: {len(told)} of {len(hidden)} told apart (|t| of {T_MAX} and more, or any difference)")
    print(f"deadlines off: {sum(each.told_apart for each in seen)} of {len(seen)} told apart by time")
    return 0 if not told and (visible or options.pair is not None) else 1


def _asked(pair: Pair, plans: tuple[tuple[str, str], ...], deadlines: str, requests: int, seed: int) -> list[Compared]:
    found = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bpk-timing-")))
        homes = [home(folder / str(whole), pair, deadlines, whole=whole) for whole in (True, False)]
        one, other = (stack.enter_context(serving(each)) for each in homes)
        for name, sql in plans:
            each = compare((one, other), sql, requests, seed)
            found.append(each)
            figures = (
                f"{each.with_ms:.1f} | {each.without_ms:.1f} | {each.t:.2f} | {each.auc:.3f} | {each.auc_upper:.3f}"
            )
            shown = "off" if deadlines == '"off"' else "on"
            print(f"| {shown} | {pair.name} | {name} | {figures} | {len(each.differences)} |", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
