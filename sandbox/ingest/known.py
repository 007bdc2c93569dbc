"""The block of every unit that was ever served, beside the tally: `blocks/<dataset>.duckdb`.

A unit whose block was forgotten could be given another one, and lose in both. So this lies where restored backups of
the state do not take it back, and only grows.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sandbox.domain import Domain
from sandbox.ingest import snapshot as snapshots
from sandbox.ingest.job import KNOWN, KNOWN_BEFORE
from sandbox.ingest.refused import IngestRefused
from sandbox.release import tally
from sandbox.synced import sync


def path_of(domain: Domain, dataset: str) -> Path:
    return domain.tally.parent / "blocks" / f"{dataset}.duckdb"


def lay_out(domain: Domain, dataset: str, build: Path) -> bool:
    """Puts what is known into the build folder, by a link; False where no unit was ever served in a block.

    Raises IngestRefused where some were, and nothing says in which.
    """
    file = path_of(domain, dataset)
    if file.is_file():
        (build / KNOWN_BEFORE).symlink_to(file.resolve())
        return True
    try:
        spent = tally.read(domain.tally)
    except tally.TallyUnreadable as error:
        raise IngestRefused(str(error)) from error
    charged = spent is not None and any(name.startswith(f"{dataset}#") for name, _ in spent.spent)
    if charged or units_min(domain, dataset):
        raise IngestRefused(
            f"nothing says in which block each unit of `{dataset}` lies for life: put back `{file}`; where it is lost "
            "for good, the data can be served as another dataset, with a budget of its own, by the custodian's decision"
        )
    return False


def units_min(domain: Domain, dataset: str) -> int:
    """Of how many units the block was known when some snapshot was built: the most of all that there were."""
    every = (sum(units for _, units in each.units_known) for each in snapshots.manifests(domain.state, dataset))
    return max(every, default=0)


def keep(domain: Domain, dataset: str, build: Path) -> None:
    """Puts what the build knows in the place of what was known, durably. Raises IngestRefused, OSError."""
    made, file = build / KNOWN, path_of(domain, dataset)
    if not snapshots.is_plain_file(made) or (build / f"{KNOWN}.wal").exists():
        raise IngestRefused("reading the data files failed: the confined reader left no blocks")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    shutil.copyfile(made, new)
    new.chmod(0o600)
    sync(new)
    new.replace(file)
    sync(file.parent)
    sync(file.parent.parent)
