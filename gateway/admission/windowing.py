"""What a window within a unit may be partitioned and ordered by: it decides which of a unit's rows count."""

from __future__ import annotations

from gateway.admission.aggregating import require_unit_measure
from gateway.admission.filtering import require_decides
from gateway.admission.grouping import require_groupable
from gateway.admission.lineage import Lineage
from gateway.errors import Refusal
from sandbox.relational.expressions import Expression
from sandbox.relational.nodes import UnitMeasure, WindowColumn


def require_window(column: WindowColumn, lineage: Lineage) -> None:
    """Raises Refusal column_not_filterable, aggregate_not_allowed. A shifted column is judged where it is used."""
    traced = [lineage.traced(part) for part in column.partition]
    for ways in traced:
        for i, part in enumerate(ways):
            if not lineage.tells_unit(part, [each[i] for each in traced if len(each) == len(ways)]):
                _require_decides(part, lineage)
    for term in lineage.ways(*(term for term, _, _ in column.order)):
        _require_decides(term, lineage)
    match column.function:
        case "count_rows" | "count" | "sum" | "avg" | "min" | "max" as same:
            require_unit_measure(UnitMeasure(same, column.argument, column.at), lineage)
        case "row_number" | "rank" | "dense_rank" | "lag" | "lead":
            pass


def _require_decides(expression: Expression, lineage: Lineage) -> None:
    try:
        require_groupable(expression, lineage)
    except Refusal:
        require_decides(expression, lineage, equality=False)
