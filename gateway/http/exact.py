"""What the members of a request's body are made of: numbers and literals exactly as written, and nothing unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

NUMBER_TEXT_MAX: Final = 40


def _number(value: object) -> Decimal:
    """A JSON number or a decimal string, exactly as written."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ValueError("must be a number or a decimal string")
    text = str(value)
    if len(text) > NUMBER_TEXT_MAX or not _PLAIN.issuperset(text):
        raise ValueError("must be a number or a decimal string")
    try:
        number = Decimal(text)
    except ArithmeticError as error:
        raise ValueError("must be a number or a decimal string") from error
    if not number.is_finite() or abs(number.adjusted()) > 100:
        raise ValueError("must be a number of an ordinary size")
    return number


def _seconds(value: object) -> Decimal:
    """A JSON number alone: nobody needs a duration to more digits than it holds."""
    if isinstance(value, str):
        raise ValueError("must be a number")
    return _number(value)


def _literal(value: object) -> object:
    """A parameter's value: text, whole number, decimal, true or false. A null matches nothing, and is refused."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and abs(value) < 10**38:
        return value
    if isinstance(value, Decimal):
        return _number(value)
    raise ValueError("must be text, a number, true or false; for null write IS NULL in the query")


_PLAIN: Final = frozenset("0123456789+-.eE")
Number = Annotated[
    Any,
    BeforeValidator(_number),
    Field(
        json_schema_extra={"type": ["number", "string"], "description": "A number or a decimal string, taken exactly."}
    ),
]
Seconds = Annotated[
    Any, BeforeValidator(_seconds), Field(json_schema_extra={"type": "number", "minimum": 0, "maximum": 60})
]
Scalar = Annotated[
    Any,
    BeforeValidator(_literal),
    Field(json_schema_extra={"type": ["string", "number", "boolean"]}),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
