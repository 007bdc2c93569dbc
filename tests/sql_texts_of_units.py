"""The same with what looks at units one by one: subqueries on the unit, windows, unions; and windows over the answer.

Only what has one answer is written: ranks by a total order, or with ties that share a rank. Sums that are not released
are written `sum(`, for `SUM(` is read as 0 of nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests import sql_texts
from tests.sql_scalars import TABLES, Named
from tests.sql_texts import Text

Relation = tuple[str, list[Named], str]
"""(FROM clause, columns in sight, the unit column)."""
_UNITS = ("people", "visits")
_COUNT = "COUNT(*)"


@dataclass
class Writer(sql_texts.Writer):
    """Half of its questions are about units."""

    about_units: bool = False

    def source(self, depth: int = 1) -> Relation:
        self.about_units = self.dice.random() < 0.5
        if not self.about_units:
            return super().source(depth)
        shape = self.dice.choice(
            [self._each_unit, self._each_unit, self._distinct, self._ranked, self._beside, self._union]
        )
        clause, columns, unit = shape()
        beside = clause.startswith("(") and self.dice.random() < 0.4
        return self._joined(clause, columns, unit) if beside else (clause, columns, unit)

    def _joined(self, clause: str, columns: list[Named], unit: str) -> Relation:
        """People beside the subquery: all of them, or those that it has rows of."""
        kind = self.dice.choice(["JOIN", "LEFT JOIN"])
        people = [Named(f"p.{column.text}", column.kind, column.bins) for column in TABLES["people"]]
        return f"people p {kind} {clause} ON p.pid = {unit}", people + columns, "p.pid"

    def _twice(self) -> Relation:
        """A table with itself: on the unit, or on a link that both lead along."""
        table, on, unit = self.dice.choice(
            [("visits", "pid", "a.pid"), ("items", "vid", ""), ("people", "pid", "b.pid")]
        )
        columns = [Named(f"{alias}.{column.text}", column.kind) for alias in "ab" for column in TABLES[table]]
        narrow = self.dice.choice(["", f" AND {self.condition(columns, 0)}"])
        return f"{table} a JOIN {table} b ON a.{on} = b.{on}{narrow}", columns, unit

    def _table(self) -> tuple[str, list[Named], str]:
        """A table of rows of units, the columns of it, and its WHERE."""
        table = self.dice.choice(_UNITS)
        columns = list(TABLES[table])
        where = f" WHERE {self.condition(columns, 1)}" if self.dice.random() < 0.4 else ""
        return table, columns, where

    # -- one row for each unit ----------------------------------------------------------------------------------

    def _each_unit(self) -> Relation:
        table, columns, where = self._table()
        key = self.pick(columns, "text", "boolean") if self.dice.random() < 0.3 else None
        measures = [self._measure(columns) for _ in range(self.dice.choice([1, 1, 2, 3]))]
        items = ["pid AS who"] + ([f"{key.text} AS k"] if key else [])
        items += [f"{text} AS m{place}" for place, (text, _) in enumerate(measures)]
        group = self.dice.choice([f"pid, {key.text}", "1, 2"]) if key else self.dice.choice(["pid", "1", "who"])
        having = ""
        if self.dice.random() < 0.3:
            about = self.dice.choice([_COUNT, *(text for text, kind in measures if kind != "date")])
            having = f" HAVING {about} {self.dice.choice(['>', '<=', '<>'])} {self.dice.choice(['1', '2', '3'])}"
        text = f"(SELECT {', '.join(items)} FROM {table}{where} GROUP BY {group}{having}) AS u"
        found = [Named(f"u.m{place}", kind) for place, (_, kind) in enumerate(measures)]
        return text, found + ([Named("u.k", key.kind)] if key else []), "u.who"

    def _measure(self, columns: list[Named]) -> tuple[str, str]:
        """An aggregate within a unit, and the kind of its result."""
        number, day = self.pick(columns, "whole", "big", "number"), self.pick(columns, "date")
        column, flag = self.dice.choice(columns), self.condition(columns, 1)
        forms = [
            (_COUNT, "whole"),
            (_COUNT, "whole"),
            (f"COUNT({column.text})", "whole"),
            (f"COUNT(DISTINCT {column.text})", "whole"),
            (f"COUNT(*) FILTER (WHERE {flag})", "whole"),
            (f"COUNT(CASE WHEN {flag} THEN {column.text} END)", "whole"),
        ]
        if number is not None:
            x = self.dice.choice([number.text, f"{number.text} * 2", f"COALESCE({number.text}, 1)"])
            forms += [
                (f"sum({x})", "number"),
                (f"sum({x}) FILTER (WHERE {flag})", "number"),
                (f"AVG({x})", "number"),
                (f"MIN({x})", "number"),
                (f"MAX({x})", "number"),
                (f"sum({x}) / COUNT(*)", "number"),
                (f"COALESCE(MAX({x}), 0) - COUNT(*)", "number"),
            ]
        forms += [(f"MIN({day.text})", "date"), (f"MAX({day.text})", "date")] if day is not None else []
        return self.dice.choice(forms)

    def _distinct(self) -> Relation:
        table, columns, where = self._table()
        kept = self.dice.sample(columns, self.dice.choice([1, 2, 2]))
        items = [f"{column.text} AS d{place}" for place, column in enumerate(kept)]
        items.insert(self.dice.randint(0, len(items)), "pid AS who")
        clause = f"(SELECT DISTINCT {', '.join(items)} FROM {table}{where}) AS u"
        return clause, [Named(f"u.d{place}", column.kind) for place, column in enumerate(kept)], "u.who"

    # -- windows within a unit ----------------------------------------------------------------------------------

    def _ranked(self) -> Relation:
        """Rows by their rank: a column of a subquery, or QUALIFY."""
        more, down = (
            self.dice.choice(["", ", kind"]),
            self.dice.choice(["", " DESC", " DESC NULLS FIRST", " NULLS LAST"]),
        )
        rank = self.dice.choice(["RANK()", "DENSE_RANK()", "ROW_NUMBER()"])
        order = f"seen{down}, vid" if rank == "ROW_NUMBER()" else self.dice.choice([f"seen{down}", f"cost{down}, kind"])
        window = f"{rank} OVER (PARTITION BY pid{more} ORDER BY {order})"
        where = f" WHERE {self.condition(list(TABLES['visits']), 1)}" if self.dice.random() < 0.3 else ""
        columns = [Named(f"u.{column.text}", column.kind, column.bins) for column in TABLES["visits"]]
        if self.dice.random() < 0.5:
            sign = self.dice.choice(["= 1", "<= 2", "> 1"])
            return f"(SELECT * FROM visits{where} QUALIFY {window} {sign}) AS u", columns, "u.pid"
        clause = f"(SELECT *, {window} AS r FROM visits{where}) AS u"
        return clause, [*columns, Named("u.r", "whole"), Named("u.r", "whole")], "u.pid"

    def _beside(self) -> Relation:
        """Beside each row something of the unit's other rows."""
        function = self.dice.choice(
            [
                "COUNT(*) OVER w",
                "COUNT(kind) OVER w",
                "sum(cost) OVER w",
                "avg(cost) OVER w",
                "MIN(cost) OVER (PARTITION BY kind, pid)",
                "MAX(cost) OVER w",
                "cost - avg(cost) OVER w",
                "LAG(cost) OVER (PARTITION BY pid ORDER BY seen, vid)",
                "LEAD(cost, 2) OVER (PARTITION BY pid ORDER BY seen DESC, vid)",
                "seen - LAG(seen) OVER (PARTITION BY pid ORDER BY seen, vid)",
            ]
        )
        clause = f"(SELECT pid AS who, kind, seen, {function} AS b FROM visits"
        clause += " WINDOW w AS (PARTITION BY pid)) AS u" if " w" in function else ") AS u"
        return clause, [Named("u.kind", "text"), Named("u.seen", "date"), Named("u.b", "number")], "u.who"

    # -- unions -------------------------------------------------------------------------------------------------

    def _union(self) -> Relation:
        if self.dice.random() < 0.2:
            return self._binned()
        parts = ["SELECT pid AS who, sex AS k, income AS x, born AS d FROM people"]
        parts += self.dice.sample(
            [
                "SELECT pid, kind, cost, seen FROM visits",
                f"SELECT pid, diagnosis, 2, born FROM people WHERE {self.condition(list(TABLES['people']), 1)}",
                f"SELECT v.pid, 'F', price, seen FROM visits v JOIN items i USING (vid) WHERE drug > {self.number()}",
            ],
            self.dice.choice([1, 1, 2]),
        )
        self.dice.shuffle(parts)
        if not parts[0].startswith("SELECT pid AS who"):
            parts = sorted(parts, key=lambda part: not part.startswith("SELECT pid AS who"))
        columns = [Named("u.k", "text"), Named("u.x", "number"), Named("u.d", "date")]
        return f"({' UNION ALL '.join(parts)}) AS u", columns, "u.who"

    def _binned(self) -> Relation:
        """Numbers of one column, whose bins are theirs too."""
        inner = [Named(column.text, column.kind) for column in TABLES["visits"]]
        parts = [
            f"SELECT pid AS who, cost, kind FROM visits WHERE {self.condition(inner, 1)}",
            "SELECT v.pid, v.cost, 'F' FROM visits v JOIN hospitals h ON v.hospital = h.id",
        ]
        columns = [Named("u.cost", "number", bins=True), Named("u.kind", "text")]
        return f"({' UNION ALL '.join(parts)}) AS u", columns, "u.who"

    # -- subqueries on the unit ---------------------------------------------------------------------------------

    def where(self, columns: list[Named], unit: str) -> list[str]:
        found = super().where(columns, unit)
        if unit and "." in unit and self.dice.random() < 0.35:
            found += [self._on_unit(columns, unit) for _ in range(self.dice.choice([1, 1, 2]))]
        self.dice.shuffle(found)
        return found

    def _on_unit(self, columns: list[Named], unit: str) -> str:
        inner = [Named(f"s.{column.text}", column.kind) for column in TABLES["visits"]]
        condition = self.condition(inner, 1)
        seen, text = self.pick(columns, "date"), self.pick(columns, "text")
        tied = f"FROM visits s WHERE s.pid = {unit}"
        forms = [
            f"{unit} IN (SELECT s.pid FROM visits s WHERE {condition})",
            f"{unit} NOT IN (SELECT DISTINCT s.pid FROM visits s WHERE {condition})",
            f"{unit} IN (SELECT s.pid FROM visits s GROUP BY s.pid HAVING COUNT(*) > {self.dice.choice('123')})",
            f"EXISTS (SELECT 1 {tied} AND {condition})",
            f"NOT EXISTS (SELECT * {tied} AND {condition})",
            f"(SELECT COUNT(*) {tied}) {self.dice.choice(['>', '<=', '='])} {self.dice.choice('0123')}",
            f"(SELECT COUNT(*) {tied} AND {condition}) < 2",
            f"(SELECT sum(s.cost) / COUNT(s.cost) {tied}) > {self.number()}",
            f"(SELECT MAX(s.cost) {tied} AND {condition}) IS NULL",
            f"(EXISTS (SELECT 1 {tied} AND {condition}) OR {self.condition(columns, 0)})",
        ]
        if seen is not None:
            forms.append(f"{seen.text} <= (SELECT MAX(s.seen) {tied})")
        if text is not None:
            forms.append(f"NOT EXISTS (SELECT 1 {tied} AND s.kind = {text.text})")
        return self.dice.choice(forms)

    # -- above the release --------------------------------------------------------------------------------------

    def above(self, keys: list[str]) -> list[str]:
        if self.dice.random() < 0.6:
            return []
        order = f"ORDER BY {', '.join(keys)}{self.dice.choice(['', ' DESC', ' NULLS FIRST'])}"
        forms = [
            f"RANK() OVER (ORDER BY COUNT(*){self.dice.choice(['', ' DESC'])})",
            "DENSE_RANK() OVER (ORDER BY COUNT(*))",
            f"ROW_NUMBER() OVER ({order})",
            "COUNT(*) / sum(COUNT(*)) OVER ()",
            "COUNT(*) - MAX(COUNT(*)) OVER ()",
            f"AVG(COUNT(*)) OVER (PARTITION BY {keys[0]})",
            f"LAG(COUNT(*)) OVER ({order})",
            f"COALESCE(LEAD(COUNT(*), 2) OVER ({order}), -1)",
            f"RANK() OVER (PARTITION BY {keys[-1]} ORDER BY COUNT(*), {keys[0]})",
        ]
        return [self.dice.choice(forms)]

    def grouping(self, terms: list[str]) -> str:
        plain = ", ".join(terms)
        if self.dice.random() > 0.1:
            return plain
        forms = [f"ROLLUP ({plain})", f"CUBE ({plain})", f"GROUPING SETS (({plain}), ())"]
        forms += [f"{terms[0]}, ROLLUP ({', '.join(terms[1:])})"] if len(terms) > 1 else []
        return self.dice.choice(forms) if terms else plain

    def aggregate(self, columns: list[Named], unit: str) -> str:
        if unit and "." in unit and self.dice.random() < 0.1:
            function, inner = (
                self.dice.choice(["AVG", "SUM"]),
                self.dice.choice([_COUNT, "COUNT(s.cost)", "MAX(s.cost)"]),
            )
            value = f"(SELECT {inner} FROM visits s WHERE s.pid = {unit})"
            return f"{function}({self.dice.choice([value, f'COALESCE({value}, 1)', f'{value} * 2'])})"
        return super().aggregate(columns, unit)


def random_text(dice: random.Random) -> Text:
    return Writer(dice).question()
