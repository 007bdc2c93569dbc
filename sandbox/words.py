"""The plan in words: what `check` tells an operator will happen, one step each. Functions of plan and policy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from policies import privacy_loss
from sandbox.disclosure.plan import ProtectedPlan
from sandbox.relational.nodes import (
    BlockScan,
    Distinct,
    Filter,
    Join,
    Limit,
    Output,
    Project,
    Public,
    Relation,
    Release,
    Scan,
    Sort,
    UnionAll,
    Window,
    sources,
    walk,
)
from sandbox.relational.plan import KeyPlan
from sandbox.relational.statistics import LEVELS_WORTH, DistinctCount, Quantiles, Statistic, Vector
from sandbox.release import noise
from sandbox.release.make import Job, for_keys

_MEASURES = {
    "count_rows": "count rows",
    "count": "count rows with a value",
    "count_units": "count {unit}s",
    "sum": "sum",
    "avg": "average",
    "count_distinct": "count distinct values",
    "var_pop": "variance",
    "var_samp": "variance",
    "stddev_pop": "standard deviation",
    "stddev_samp": "standard deviation",
    "covar_pop": "covariance",
    "covar_samp": "covariance",
    "corr": "correlation",
    "regr_slope": "slope",
    "regr_intercept": "intercept",
    "quantile": "quantile",
    "min": "a low quantile for the minimum",
    "max": "a high quantile for the maximum",
}


_MEASURES_OF_ROWS = {**_MEASURES, "min": "minimum", "max": "maximum"}


def steps(job: Job, plan: Output) -> tuple[str, ...]:
    """The steps of a priced plan, in order."""
    return (*_reading(job), *_grouping(job), *_releasing(job), *_after(plan))


def _reading(job: Job) -> Iterator[str]:
    for node in reversed(list(walk(job.plan.release.source))):
        match node:
            case BlockScan(table=table, blocks=blocks):
                named = ", ".join(f"`{block}`" for block in blocks)
                yield f"read `{table}` of units of {named} alone, {_rows(job, table)}"
            case Scan(table=table):
                yield f"read `{table}`, {_rows(job, table)}"
            case Public(table=table):
                yield f"read the public table `{table}`"
            case Filter():
                yield "keep the rows that meet the conditions"
            case Join(kind=kind):
                yield f"join ({kind}), rows of one {_unit(job)} with rows of the same {_unit(job)} only"
            case Project():
                yield "compute columns row by row"


def exact_steps(plan: ProtectedPlan, question: Output) -> tuple[str, ...]:
    """The steps of a question that is answered exactly, or not at all."""
    read = [node for node in reversed(list(walk(plan.release.source))) if isinstance(node, Scan | Public)]
    rules = plan.rules
    return (
        *(f"read `{node.table}`" for node in read),
        *(f"group by {key.label}" for key in plan.keys),
        *dict.fromkeys(_MEASURES[figure.measure.function].format(unit="unit") for figure in plan.figures),
        f"withhold numbers with fewer than {rules.units_min} units behind them, or that few of them make up",
        f"withhold numbers that differ from one said before in fewer than {rules.difference_units_min} units",
        "withhold what would let a withheld number be reckoned from the others and from all that was said before",
        *([f"round counts to {rules.rounding}, sums and means to match"] if rules.rounding else []),
        *_after(question),
    )


def open_steps(plan: Output) -> tuple[str, ...]:
    """The steps of a question about open rows."""
    return tuple(_open_steps(plan.source))


def _open_steps(node: Relation) -> Iterator[str]:
    for below in sources(node):
        yield from _open_steps(below)
    match node:
        case Public(table=table):
            yield f"read the public table `{table}`"
        case Join(kind=kind):
            yield f"join ({kind}) where columns are equal"
        case Release(keys=keys, measures=measures):
            made = ", ".join(dict.fromkeys(_MEASURES_OF_ROWS.get(m.function, m.function) for m in measures))
            yield (f"group the rows; {made}" if keys else made) or "group the rows"
        case UnionAll():
            yield "put the rows one after the other"
        case Limit(count=count, offset=offset):
            most = "all rows" if count is None else f"at most {count} rows"
            yield f"show {most}" + (f", from row {offset + 1} on" if offset else "")
        case Filter():
            yield "keep the rows that meet the conditions"
        case Sort():
            yield "sort the rows"
        case Project():
            yield "compute columns row by row"
        case Distinct():
            yield "show equal rows once"
        case Window():
            yield "look over the rows around each"
        case _:
            pass


def _unit(job: Job) -> str:
    unit = job.schema.policy.unit
    return unit.name if unit else "unit"


def _rows(job: Job, table: str) -> str:
    most = job.schema.policy.tables[table].rows_per_unit_max or 1
    return f"at most {most} row{'s' if most > 1 else ''} per {_unit(job)} counting in full"


def _grouping(job: Job) -> Iterator[str]:
    for key in job.plan.keys:
        yield _key(job, key)


def _key(job: Job, key: KeyPlan) -> str:
    if key.keys is not None:
        return f"group by {key.label}: {len(key.keys)} public groups, all of them answered"
    limit = noise.threshold_for(job.plan.shape.groups, for_keys(job.budget, job.dp)).value + job.dp.units_min - 1
    share = "a quarter of the epsilon" if job.plan.statistics else "all of the epsilon"
    return (
        f"group by {key.label}: groups are private, and shown only where a noisy number of {_unit(job)}s reaches "
        f"{limit} ({share}, delta {privacy_loss.text(job.budget.delta, privacy_loss.DELTA_UNIT)})"
    )


def _releasing(job: Job) -> Iterator[str]:
    noise = "discrete Gaussian" if job.dp.accountant == "zcdp" else "discrete Laplace"
    for i, statistic in enumerate(job.plan.statistics):
        figures = [f.measure.function for f in job.plan.figures if f.statistic == i]
        names = " and ".join(dict.fromkeys(_MEASURES[function].format(unit=_unit(job)) for function in figures))
        yield f"{names}, {_mechanism(job, statistic, noise)}"


def _mechanism(job: Job, statistic: Statistic, noise: str) -> str:
    match statistic:
        case Vector():
            said = f"with {noise} noise sized for one whole {_unit(job)}"
        case DistinctCount():
            said = f"with {noise} noise sized for {statistic.pairs} values of one {_unit(job)}"
        case Quantiles():
            said = f"chosen among {statistic.cells} candidates in two passes"
        case _:
            assert_never(statistic)
    chosen = " and ".join(_chosen(job, statistic))
    return f"{said}; {chosen}, chosen first for a part of the price" if chosen else said


def _chosen(job: Job, statistic: Statistic) -> Iterator[str]:
    """What is chosen from the data, privately, because the declared bounds are wide."""
    if not isinstance(statistic, DistinctCount) and statistic.ranged:
        yield "the range of values"
    if isinstance(statistic, Vector) and statistic.loose:
        yield f"the most that one {_unit(job)} counts for"
    if isinstance(statistic, Quantiles) and statistic.rows >= LEVELS_WORTH:
        yield f"the rows that one {_unit(job)} counts with"


_AFTER = {
    Filter: "filter the released rows",
    Sort: "sort the released rows",
    Limit: "limit the released rows",
    Project: "compute with the released rows",
    Distinct: "show equal released rows once",
    Window: "look over the released rows around each",
}


def _after(plan: Output) -> Iterator[str]:
    node: Relation = plan.source
    found = []
    while isinstance(node, Filter | Sort | Limit | Project | Distinct | Window | Join):
        if isinstance(node, Join):
            tables = ", ".join(f"`{each.table}`" for each in walk(node.right) if isinstance(each, Public))
            found.append(f"join the released rows with the public table {tables}")
            node = node.left
        else:
            found.append(_AFTER[type(node)])
            node = node.source
    yield from reversed(found)
