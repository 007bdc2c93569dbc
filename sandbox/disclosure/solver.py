"""Linear programs, solved by HiGHS."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import Integers

Floats = NDArray[np.float64]
INFINITE = float(highspy.kHighsInf)
STEPS_MAX = 20_000
"""Of one program. A bound in seconds would let the load of the machine decide what is withheld."""


def _greeted() -> None:
    """The library greets on the standard output when it is first used in a process: here, where nobody listens, and not
    at a moment that says something of the rows."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        sys.stdout.flush()
        os.dup2(nowhere, 1)
        highspy.Highs()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


_greeted()


class TooHard(Exception):
    """A program that was not solved within its bounds."""


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Least cost x with low <= x <= high, and for each row: low <= sum of factor x over its columns <= high."""

    cost: Floats
    low: Floats
    high: Floats
    rows: Sequence[tuple[Integers, Floats, float, float]]
    """(columns, factors, low, high)"""


def least(program: Program) -> Floats | None:
    """An optimal x, or None where there is none. Raises TooHard."""
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("simplex_iteration_limit", STEPS_MAX)
    solver.passModel(_model(program))
    solver.run()
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kOptimal:
        return np.array(solver.getSolution().col_value)
    if status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible):
        return None
    raise TooHard


def _model(program: Program) -> highspy.HighsLp:
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(program.cost), len(program.rows)
    model.col_cost_, model.col_lower_, model.col_upper_ = program.cost, program.low, program.high
    model.row_lower_ = np.array([low for _, _, low, _ in program.rows])
    model.row_upper_ = np.array([high for _, _, _, high in program.rows])
    starts = np.cumsum([0, *(len(columns) for columns, _, _, _ in program.rows)])
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = starts.astype(np.int32)
    empty = np.empty(0)
    model.a_matrix_.index_ = np.concatenate([empty, *(columns for columns, _, _, _ in program.rows)]).astype(np.int32)
    model.a_matrix_.value_ = np.concatenate([empty, *(factors for _, factors, _, _ in program.rows)])
    return model
