"""Random scalar SQL over the columns of `tests.exact_world`: numbers, parts of dates, conditions."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Named:
    """A column in sight: how it is written, its kind, and whether it may be binned or is a small set of keys."""

    text: str
    kind: str
    bins: bool = False


TABLES: dict[str, tuple[Named, ...]] = {
    "people": (
        Named("sex", "text"),
        Named("age", "whole"),
        Named("income", "big"),
        Named("weight", "number", bins=True),
        Named("score", "number"),
        Named("diagnosis", "text"),
        Named("born", "date"),
        Named("joined", "time"),
        Named("active", "boolean"),
    ),
    "visits": (Named("cost", "number", bins=True), Named("kind", "text"), Named("seen", "date")),
    "items": (Named("price", "number"), Named("drug", "open")),
    "hospitals": (Named("level", "text"), Named("beds", "big")),
    "codes": (Named("code", "text"),),
}
_WORDS = ("'F'", "'M'", "'flu'", "'Flu'", "''", "'in'", "'city'", "'a'", "'it''s'")
_PATTERNS = ("'%u%'", "'f__'", "'F%'", "'%'", "''", "'a_b\\%'", "'_'", "'%''%'")
_DAYS = ("'2000-02-29'", "'1999-12-31'", "'2021-01-01'", "'2020-06-15'", "'2022-12-31'")
_TIMES = ("'2020-01-01'", "'2020-01-20 12:00:00'", "'2020-02-01 00:00'")
_BITS = ("'F'", "'u'", "'a'", "''", "'fl'", "'F '")
_STRICT = {"date": "DATE '2000-03-31'", "time": "TIMESTAMP '2020-01-31 06:00:00'"}
SIGNS = ("=", "<>", "<", "<=", ">", ">=", "!=")
_PARTS = ("year", "quarter", "month", "week", "day")


@dataclass
class Scalars:
    dice: random.Random
    parameters: dict[str, object] = field(default_factory=dict)
    unit: str = "pid"

    # -- constants ----------------------------------------------------------------------------------------------

    def number(self) -> str:
        written = self.dice.choice(["0", "1", "20", "2.5", "-3", "100", "0.25", "22", "1e2", "-0.75", ".5"])
        return self.given(float(written), written) if self.dice.random() < 0.1 else written

    def given(self, value: object, written: str) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = int(value) if isinstance(value, float) and value.is_integer() else value
        return f"${name}" if written else ""

    def word(self) -> str:
        written = self.dice.choice(_WORDS)
        if self.dice.random() < 0.1:
            return self.given(written[1:-1].replace("''", "'"), written)
        return written

    def day(self, kind: str) -> str:
        written = self.dice.choice(_DAYS if kind == "date" else _TIMES)
        prefix = self.dice.choice(["", "", "DATE " if kind == "date" else "TIMESTAMP "])
        return f"CAST({written} AS DATE)" if kind == "date" and self.dice.random() < 0.1 else prefix + written

    # -- scalars over rows --------------------------------------------------------------------------------------

    def pick(self, columns: list[Named], *kinds: str) -> Named | None:
        found = [c for c in columns if c.kind in kinds]
        return self.dice.choice(found) if found else None

    def numeric(self, columns: list[Named], depth: int = 2) -> str:
        """A number with declared bounds; exact in binary but for divisions."""
        column = self.pick(columns, "whole", "big", "number")
        if column is None or self.dice.random() < 0.05:
            return self.dice.choice(["1", "2.5", "-3"])
        if depth == 0 or self.dice.random() < 0.4:
            return column.text
        a, b = self.numeric(columns, depth - 1), self.numeric(columns, depth - 1)
        day, flag = self.pick(columns, "date", "time"), self.condition(columns, 1)
        forms = [
            f"{a} + {b}",
            f"({a} - {b})",
            f"({a}) * 2",
            f"-{column.text}",
            f"({a}) / 4",
            f"({a}) / 0",
            f"({a} + {b}) / -0.5",
            f"COALESCE({a}, 2)",
            f"coalesce({a}, {b}, 0)",
            f"ABS({a})",
            f"floor({a})",
            f"CEIL({a})",
            f"ceiling({a})",
            f"round({a})",
            f"ROUND({a}, 1)",
            f"least({a}, {b})",
            f"GREATEST({a}, 7)",
            f"greatest({a}, {b})",
            f"CASE WHEN {flag} THEN {a} ELSE 0 END",
            f"CASE WHEN {flag} THEN {a} WHEN {column.text} > 1 THEN {b} END",
            f"CASE {column.text} WHEN 20 THEN 1 WHEN 0 THEN 2 ELSE 3 END",
            f"IF({flag}, {a}, {b})",
            f"NULLIF({column.text}, 0)",
            f"+{column.text}",
            f"sign({a})",
            f"sqrt(ABS({a}))",
            f"least(ABS({a}), 30) ** 2",
            f"CAST({column.text} AS DOUBLE)",
        ]
        whole = self.pick(columns, "whole")
        if whole is not None:
            forms += [
                f"{whole.text} % 7",
                f"mod({whole.text}, 4)",
                f"{whole.text} // 4",
                f"CAST({whole.text} AS BIGINT)",
            ]
        forms += [self.part(day)] if day else []
        return self.dice.choice(forms)

    def part(self, day: Named) -> str:
        part = self.dice.choice(_PARTS)
        other = self.dice.choice(["dayofweek", "isodow", "dayofyear", *(["hour", "minute"] * (day.kind == "time"))])
        if self.dice.random() < 0.25:
            name = {"dayofweek": "dow", "dayofyear": "doy"}.get(other, other)
            return self.dice.choice([f"{other}({day.text})", f"date_part('{name}', {day.text})"])
        return self.dice.choice(
            [
                f"{part}({day.text})",
                f"date_part('{part}', {day.text})",
                f"EXTRACT({part} FROM {day.text})",
                f"decade({day.text})",
            ]
        )

    def truncated(self, day: Named) -> str:
        return f"date_trunc('{self.dice.choice((*_PARTS, 'decade'))}', {day.text})"

    def condition(self, columns: list[Named], depth: int = 2) -> str:
        if depth and self.dice.random() < 0.35:
            a, b = self.condition(columns, depth - 1), self.condition(columns, depth - 1)
            return self.dice.choice([f"({a} AND {b})", f"({a} OR {b})", f"NOT ({a})", f"NOT {a}", f"({a} or not {b})"])
        column = self.dice.choice(columns)
        match column.kind:
            case "text":
                return self._about_text(column, columns)
            case "date" | "time":
                return self._about_time(column, columns)
            case "boolean":
                return self.dice.choice(
                    [
                        column.text,
                        f"NOT {column.text}",
                        f"{column.text} = true",
                        f"{column.text} <> FALSE",
                        f"{column.text} IS NULL",
                        f"COALESCE({column.text}, false)",
                    ]
                )
        return self._about_number(column, columns)

    def _about_text(self, column: Named, columns: list[Named]) -> str:
        x, other = column.text, self.pick(columns, "text") or column
        return self.dice.choice(
            [
                f"{x} {self.dice.choice(SIGNS)} {self.word()}",
                f"{self.word()} = {x}",
                f"{x} {self.dice.choice(SIGNS)} {other.text}",
                f"{x} LIKE {self.dice.choice(_PATTERNS)}",
                f"{x} NOT LIKE {self.dice.choice(_PATTERNS)}",
                f"{x} IN ({self.word()}, {self.word()}, {self.word()})",
                f"{x} NOT IN ({self.word()}, {self.word()})",
                f"{x} IS NULL",
                f"{x} IS NOT NULL",
                f"{x} BETWEEN {self.word()} AND {self.word()}",
                f"COALESCE({x}, {self.word()}) = {self.word()}",
                f"CASE WHEN {x} = {self.word()} THEN {other.text} ELSE {x} END = {self.word()}",
                f"{x} {self.dice.choice(['', 'NOT '])}ILIKE {self.dice.choice(_PATTERNS)}",
                f"{self.dice.choice(['upper', 'lower', 'trim', 'ltrim'])}({x}) = {self.word()}",
                f"{self.dice.choice(['starts_with', 'contains', 'ends_with'])}({x}, {self.dice.choice(_BITS)})",
                f"left({x}, 1) = {self.dice.choice(_BITS)}",
                f"substring({x}, 2, 1) {self.dice.choice(SIGNS)} {self.dice.choice(_BITS)}",
                f"{x} || {self.dice.choice(_BITS)} = {self.word()}",
                f"concat({x}, {other.text}) = {self.word()}",
                f"{x} IS {self.dice.choice(['', 'NOT '])}DISTINCT FROM {self.dice.choice([self.word(), other.text])}",
                f"length({x}) > 2",
            ]
        )

    def _about_time(self, column: Named, columns: list[Named]) -> str:
        x, kind = column.text, column.kind
        other = self.pick(columns, kind) or column
        return self.dice.choice(
            [
                f"{x} {self.dice.choice(SIGNS)} {self.day(kind)}",
                f"{self.day(kind)} < {x}",
                f"{x} BETWEEN {self.day(kind)} AND {self.day(kind)}",
                f"{x} NOT BETWEEN {self.day(kind)} AND {self.day(kind)}",
                f"{x} IN ({self.day(kind)}, {self.day(kind)})",
                f"{x} >= {other.text}",
                f"{self.part(column)} {self.dice.choice(SIGNS)} {self.dice.choice(['1', '2', '10', '2000', '2020'])}",
                f"{self.truncated(column)} = {self.day(kind)}",
                f"{x} IS NOT NULL",
                f"COALESCE({x}, {self.day(kind)}) > {self.day(kind)}",
                f"{x} + INTERVAL {self.dice.choice(['1 MONTH', '10 DAY', '1 YEAR', '2 WEEK'])} > {self.day(kind)}",
                f"{x} < {_STRICT[kind]} - INTERVAL 3 MONTH",
                f"date_diff('{self.dice.choice(_PARTS[:3])}', {x}, {_STRICT[kind]}) > {self.dice.choice('02')}",
                f"CAST({x} AS DATE) <> {self.day('date')}",
            ]
        )

    def _about_number(self, column: Named, columns: list[Named]) -> str:
        x = column.text if self.dice.random() < 0.6 else self.numeric(columns, 1)
        x = column.text if column.kind == "open" else x
        return self.dice.choice(
            [
                f"{x} {self.dice.choice(SIGNS)} {self.number()}",
                f"{self.number()} {self.dice.choice(SIGNS)} {x}",
                f"{x} {self.dice.choice(SIGNS)} {column.text}",
                f"{x} BETWEEN {self.number()} AND {self.number()}",
                f"{x} IN ({self.number()}, {self.number()}, 20)",
                f"{x} NOT IN ({self.number()}, 1)",
                f"{x} IS NULL",
                f"{x} IS NOT NULL",
                f"least({x}, 5) > {self.number()}",
            ]
        )
