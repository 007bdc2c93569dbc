"""The accuracy that a question asks for in place of naming a price, as it looks on the wire."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final

from pydantic import Field

from gateway.http.exact import Body, Number
from sandbox.protocol import CONFIDENCE_MAX, CONFIDENCE_MIN, Accuracy

CONFIDENCE: Final = Decimal("0.95")


class AccuracyBody(Body):
    """How close every number is to be: `relative` or `absolute`, one of the two."""

    relative: Annotated[
        Number | None, Field(description="A part of the number, above 0 and at most 1: 0.05 is 5 %.")
    ] = None
    absolute: Annotated[Number | None, Field(description="In the number's own unit, above 0.")] = None
    confidence: Annotated[
        Number | None, Field(description="How often it is to be so close, 0.5 to 0.999; 0.95 by default.")
    ] = None


def problems_of(body: AccuracyBody, *, with_epsilon: bool) -> list[dict[str, str]]:
    """Every place that is wrong, and what is wrong there."""
    found = []
    if with_epsilon:
        found.append(("accuracy", "takes the place of `epsilon`: name one of the two"))
    if (body.relative is None) == (body.absolute is None):
        found.append(("accuracy", "holds either `relative` or `absolute`"))
    if body.relative is not None and not 0 < body.relative <= 1:
        found.append(("accuracy.relative", "must be above 0 and at most 1"))
    if body.absolute is not None and body.absolute <= 0:
        found.append(("accuracy.absolute", "must be above 0"))
    if body.confidence is not None and not CONFIDENCE_MIN <= body.confidence <= CONFIDENCE_MAX:
        found.append(("accuracy.confidence", f"must be from {CONFIDENCE_MIN} to {CONFIDENCE_MAX}"))
    return [{"at": at, "problem": problem} for at, problem in found]


def accuracy_of(body: AccuracyBody | None) -> Accuracy | None:
    """What the data domain is asked; `body` has no problems."""
    if body is None:
        return None
    return Accuracy(body.relative, body.absolute, CONFIDENCE if body.confidence is None else body.confidence)
