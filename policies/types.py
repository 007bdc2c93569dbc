"""Column types, shared by policies, the relational model and the wire."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, get_args

Kind = Literal["integer", "bigint", "double", "decimal", "text", "boolean", "date", "timestamp"]
Value = None | bool | int | float | Decimal | str | date | datetime
"""A value of a column: also a group key, a literal, a released number."""

_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")
DECIMAL_PRECISION_MAX = 38


@dataclass(frozen=True, slots=True)
class Type:
    """A column type. `precision` and `scale` are set for `decimal` alone."""

    kind: Kind
    precision: int | None = None
    scale: int | None = None

    @classmethod
    def parse(cls, text: str) -> Type:
        """Reads `integer`, `decimal(12,2)` and their like. Raises ValueError in the author's words."""
        if text in get_args(Kind) and text != "decimal":
            return cls(text)  # type: ignore[arg-type]  # narrowed by the membership test
        if match := _DECIMAL.fullmatch(text):
            precision, scale = int(match[1]), int(match[2])
            if 1 <= precision <= DECIMAL_PRECISION_MAX and scale <= precision:
                return cls("decimal", precision, scale)
        known = ", ".join(kind if kind != "decimal" else "decimal(p,s)" for kind in get_args(Kind))
        raise ValueError(f"`{text}` is not a type; types are {known}")

    def __str__(self) -> str:
        return f"decimal({self.precision},{self.scale})" if self.kind == "decimal" else self.kind

    @property
    def numeric(self) -> bool:
        return self.kind in ("integer", "bigint", "double", "decimal")

    @property
    def whole(self) -> bool:
        return self.kind in ("integer", "bigint")

    @property
    def temporal(self) -> bool:
        return self.kind in ("date", "timestamp")


INTEGER = Type("integer")
BIGINT = Type("bigint")
DOUBLE = Type("double")
TEXT = Type("text")
BOOLEAN = Type("boolean")
DATE = Type("date")
TIMESTAMP = Type("timestamp")
