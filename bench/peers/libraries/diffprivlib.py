"""diffprivlib over NumPy: no privacy unit, no joins, no private keys.

Thirty rows a customer are paid for by group privacy, epsilon / 30 a row; nothing enforces thirty, so what it promises
holds only for data that happens to obey. Group keys are given.
"""

from __future__ import annotations

from typing import Final

import pyarrow.compute as pc
import pyarrow.parquet as pq
from diffprivlib import tools

from bench.peers.libraries.measure import Ask, Job, NotExpressible, Row, main
from bench.peers.questions import EPSILON, ORDERS_MAX, PRICE_MAX

EACH: Final = EPSILON / ORDERS_MAX
MEDIAN_MAX: Final = 600_000


def prepare(job: Job) -> Ask:
    name = job.question.name
    if name in "def" or (job.question.keys and name not in "bc"):
        raise NotExpressible("it has neither joins nor distinct units nor dates")
    if job.question.keys and job.keys == "private":
        raise NotExpressible("it cannot find group keys")
    table = pq.read_table(job.parquet("orders"), columns=["o_orderstatus", "o_orderpriority", "o_totalprice"])
    price = pc.cast(table["o_totalprice"], "double").to_numpy()
    status, priority = table["o_orderstatus"].to_numpy(), table["o_orderpriority"].to_numpy()
    priorities = sorted(set(priority))

    def ask() -> list[Row]:
        match name:
            case "a":
                return [(tools.count_nonzero(price, epsilon=EACH),)]
            case "b":
                return [(key, tools.count_nonzero(priority == key, epsilon=EACH)) for key in priorities]
            case "c":
                bounds = (0, PRICE_MAX)
                return [
                    (
                        key,
                        tools.sum(price[status == key], epsilon=EACH / 2, bounds=bounds),
                        tools.mean(price[status == key], epsilon=EACH / 2, bounds=bounds),
                    )
                    for key in "FOP"
                ]
            case _:
                return [(tools.median(price, epsilon=EACH, bounds=(0, MEDIAN_MAX)),)]

    return ask


if __name__ == "__main__":
    main(prepare, "diffprivlib", "scikit-learn", "numpy")
