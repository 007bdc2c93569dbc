"""Random SQL text of the accepted language over the tables of `tests.exact_world`."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.sql_scalars import SIGNS, TABLES, Named, Scalars


@dataclass(frozen=True, slots=True)
class Text:
    """A question. `order` says how its last columns order its rows: (descending, nulls first) for each."""

    sql: str
    parameters: Mapping[str, object]
    keys: int
    """How many of the first columns are group keys."""
    rows_at: int
    """Which column is the number of rows of the group."""
    means: frozenset[int]
    """Which columns are bare means: of no number they are the middle of the range."""
    order: tuple[tuple[bool, bool], ...]
    limit: int | None
    offset: int
    unlimited: str
    """The same without LIMIT and OFFSET."""
    non_empty: bool
    """Whether HAVING leaves empty groups out."""


@dataclass(frozen=True, slots=True)
class _Places:
    keys: int
    rows_at: int
    means: frozenset[int]


_OF_NOTHING = ("AVG(", "VAR", "STDDEV", "COVAR", "CORR", "REGR", "MEDIAN", "QUANTILE", "PERCENTILE")
"""Aggregates that are null of nothing, where ours are numbers."""


@dataclass
class Writer(Scalars):
    # -- relations ----------------------------------------------------------------------------------------------

    def source(self, depth: int = 1) -> tuple[str, list[Named], str]:
        """(FROM clause, columns in sight, the unit column)."""
        shape = self.dice.choice([*_SHAPES, *_SHAPES[:3]])
        clause, tables, unit = shape
        if "{cond" in clause:
            alias = next(alias for alias, _ in reversed(tables))
            inner = [Named(f"{alias}.{c.text}", c.kind) for c in TABLES[dict(tables)[alias]]]
            clause = clause.format(cond=self.condition(inner, 1))
        columns = [Named(f"{alias}.{c.text}", c.kind, c.bins) for alias, table in tables for c in TABLES[table]]
        if depth and self.dice.random() < 0.25:
            return self._wrapped(clause, columns, unit)
        if self.dice.random() < 0.4:  # names are unique over all tables
            columns = [Named(c.text.split(".")[1], c.kind, c.bins) for c in columns]
        return clause, columns, unit

    def _wrapped(self, clause: str, columns: list[Named], unit: str) -> tuple[str, list[Named], str]:
        """A subquery that renames some columns and computes others."""
        kept = self.dice.sample(columns, min(len(columns), self.dice.randint(2, 5)))
        items, outer = [f"{unit} AS who"] if unit else [], []
        for i, column in enumerate(kept):
            name = column.text.split(".")[-1] if column.bins else f"c{i}"
            items.append(f"{column.text} AS {name}" if not column.bins else column.text)
            outer.append(Named(f"q.{name}", column.kind, column.bins))
        if self.dice.random() < 0.6:
            items.append(f"{self.numeric(columns)} AS made")
            outer.append(Named("q.made", "number"))
        where = f" WHERE {self.condition(columns)}" if self.dice.random() < 0.5 else ""
        return f"(SELECT {', '.join(items)} FROM {clause}{where}) AS q", outer, "q.who" if unit else ""

    # -- the question -------------------------------------------------------------------------------------------

    def key(self, columns: list[Named]) -> str | None:
        column = self.dice.choice(columns)
        match column.kind:
            case "text":
                options = [column.text, column.text, f"COALESCE({column.text}, '?')", f"{column.text} IS NULL"]
                options += [f"upper({column.text})", f"left({column.text}, 1)", f"{column.text} || '!'"]
            case "whole" | "open":
                options = [column.text, column.text, f"{column.text} > 20"]
                options += [f"floor({column.text} / 4) * 4", f"{column.text} % 3"] if column.kind == "whole" else []
            case "date" | "time":
                options = [self.part(column), self.truncated(column), f"{self.part(column)} = 2"]
            case "boolean":
                options = [column.text, f"COALESCE({column.text}, false)"]
            case _:
                options = [f"bin({column.text})"] if column.bins else []
        options.append(f"CASE WHEN {self.condition(columns, 1)} THEN 'yes' ELSE 'no' END")
        options.append(f"CASE WHEN {self.condition(columns, 1)} THEN 1 WHEN {self.condition(columns, 0)} THEN 2 END")
        return self.dice.choice(options)

    def where(self, columns: list[Named], unit: str) -> list[str]:
        return [self.condition(columns) for _ in range(self.dice.choice([0, 0, 0, 1, 1, 2, 3]))]

    def aggregate(self, columns: list[Named], unit: str) -> str:
        number = self.pick(columns, "whole")  # the exact spread of large numbers is coarser than what is compared
        if self.dice.random() < 0.15 and (found := self.spread(columns)):
            return found
        return self.dice.choice(
            [
                "COUNT(*)",
                f"COUNT({self.dice.choice(columns).text})",
                f"COUNT(DISTINCT {unit})" if unit else "COUNT(*)",
                f"COUNT({unit})" if unit else "COUNT(1)",
                f"COUNT({self.numeric(columns, 1)})",
                f"SUM({self.numeric(columns)})",
                f"SUM({self.numeric(columns)})",
                f"SUM(CASE WHEN {self.condition(columns)} THEN 1 ELSE 0 END)",
                f"SUM(CASE WHEN {self.condition(columns)} THEN 1 ELSE 0 END)",
                f"COUNT(CASE WHEN {self.condition(columns)} THEN 1 END)",
                f"AVG({self.numeric(columns)})",
                f"AVG({self.numeric(columns)})",
                f"COUNT(*) FILTER (WHERE {self.condition(columns)})",
                f"COUNT(DISTINCT {unit}) FILTER (WHERE {self.condition(columns)})" if unit else "COUNT(*)",
                f"COALESCE(sum({self.numeric(columns)}) FILTER (WHERE {self.condition(columns)}), 0)",
                f"AVG({self.numeric(columns)}) FILTER (WHERE {self.condition(columns)})",
                f"COUNT(DISTINCT {self.dice.choice(columns).text})",
                *(f"{name}({number.text})" for name in ("VAR_POP", "STDDEV", "VARIANCE", "STDDEV_POP") if number),
            ]
        )

    def spread(self, columns: list[Named]) -> str | None:
        """A quantile, or how two numbers go together."""
        ordered, number = self.pick(columns, "whole", "big", "date"), self.pick(columns, "whole")
        when = f" FILTER (WHERE {self.condition(columns, 1)})" if self.dice.random() < 0.3 else ""
        forms = []
        if ordered is not None:
            fraction = self.dice.choice(["0.1", "0.25", "0.5", "0.9"])
            forms += [
                f"MEDIAN({ordered.text}){when}",
                f"QUANTILE_CONT({ordered.text}, {fraction}){when}",
                f"PERCENTILE_CONT({fraction}) WITHIN GROUP (ORDER BY {ordered.text}){when}",
            ]
        if number is not None:
            other = self.dice.choice([f"{number.text} % 3", f"{number.text} // 2", f"COALESCE({number.text}, 20)"])
            names = ("COVAR_POP", "COVAR_SAMP", "CORR", "REGR_SLOPE", "REGR_INTERCEPT")
            forms += [f"{name}({number.text}, {other}){when}" for name in names]
            forms += [f"{name}({other}, {number.text}){when}" for name in names]
        return self.dice.choice(forms) if forms else None

    def computed(self, columns: list[Named], unit: str) -> str:
        """Arithmetic over aggregates; none that is null where a group has rows."""
        number = self.pick(columns, "whole", "big", "number")
        x = f"SUM({number.text})" if number else "COUNT(*)"
        y = f"COUNT({self.dice.choice(columns).text})"
        mean = f"AVG(COALESCE({number.text}, 0))" if number else "COUNT(*)"
        return self.dice.choice(
            [
                f"{x} / COUNT(*)",
                f"{x} / {y}",
                f"{y} / {x}",
                f"COUNT(*) * 2 + {y}",
                f"({y} - COUNT(*))",
                f"-{x}",
                f"COUNT(DISTINCT {unit}) + 0.5" if unit else "COUNT(*) + 0.5",
                f"ROUND({x}, 1)",
                f"FLOOR({x} / 3)",
                f"ABS({x} - 100)",
                f"GREATEST({y}, 2)",
                f"CASE WHEN {y} > 2 THEN 'many' WHEN {x} < 0 THEN 'low' ELSE 'few' END",
                f"CASE WHEN COUNT(*) > 3 THEN {x} END",
                f"COALESCE({x} / NULLIF({y}, 0), -1)",
                f"{mean} * 2",
                f"{mean} > 3",
                f"{y} = COUNT(*)",
            ]
        )

    def question(self) -> Text:
        clause, columns, unit = self.source()
        where = self.where(columns, unit)
        keys = [k for k in (self.key(columns) for _ in range(self.dice.choice([0, 0, 1, 1, 1, 2]))) if k]
        where += [f"{k[4:-1]} IS NOT NULL" for k in keys if k.startswith("bin(")]
        keys = list(dict.fromkeys(keys))
        simple = self.dice.random() < 0.6
        measures = [self.aggregate(columns, unit) for _ in range(self.dice.choice([1, 1, 2]))]
        measures += [] if simple else [self.computed(columns, unit) for _ in range(self.dice.choice([1, 2]))]
        having = "" if simple else self._having(columns, unit)
        grouping = self.grouping([self._group_term(i, k) for i, k in enumerate(keys)])
        rolled = re.search("ROLLUP|CUBE|SETS", grouping)  # a rolled-up key is null, as others are: no order is total
        measures += self.above(keys) if having and keys and not rolled else []
        terms = [] if simple or self.dice.random() < 0.3 else self._order(columns, unit, keys)
        items = [f"{k} AS g{i}" for i, k in enumerate(keys)]
        items += [f"{m}{self.dice.choice([' AS ', ' '])}a{i}" for i, m in enumerate(measures)]
        items += ["COUNT(*) AS n"] + [f"{t} AS o{i}" for i, (t, _, _) in enumerate(terms)]
        select = f"SELECT {', '.join(items)} FROM {clause}"
        select += f" WHERE {' AND '.join(where)}" if where else ""
        select += f" GROUP BY {grouping}" if keys else ""
        select += f" HAVING {having}" if having else ""
        outer = not simple and self.dice.random() < 0.3
        if outer:
            select, terms, keys = self._outer(select, items, terms, keys)
        means = frozenset(i for i, item in enumerate(items) if item.startswith(_OF_NOTHING))
        places = _Places(len(keys), items.index("COUNT(*) AS n"), means)
        return self._finish(select, terms, places, non_empty=bool(having), simple=simple, outer=outer)

    def _having(self, columns: list[Named], unit: str) -> str:
        more = [
            "",
            f" AND COUNT({self.dice.choice(columns).text}) {self.dice.choice(SIGNS)} 2",
            f" AND COUNT(DISTINCT {unit}) > 1" if unit else "",
            f" AND {self.computed(columns, unit)} IS NOT NULL",
            " AND n BETWEEN 1 AND 9",
            " AND (n > 1 OR NOT n IS NULL)",
        ]
        return f"COUNT(*) > 0{self.dice.choice(more)}"

    def above(self, keys: list[str]) -> list[str]:
        """What is asked of the rows of the answer."""
        return []

    def grouping(self, terms: list[str]) -> str:
        return ", ".join(terms)

    def _group_term(self, place: int, key: str) -> str:
        return self.dice.choice([key, f"g{place}", str(place + 1)])

    def _order(self, columns: list[Named], unit: str, keys: list[str]) -> list[tuple[str, bool, bool]]:
        found = []
        for _ in range(self.dice.choice([1, 1, 2])):
            term = self.dice.choice([*keys, self.computed(columns, unit), "COUNT(*)", "-COUNT(*)"])
            found.append((term, self.dice.random() < 0.5, self.dice.random() < 0.5))
        return found

    def _outer(
        self, select: str, items: list[str], terms: list[tuple[str, bool, bool]], keys: list[str]
    ) -> tuple[str, list[tuple[str, bool, bool]], list[str]]:
        """The same under an outer SELECT, as a subquery or a CTE."""
        names = [item.rsplit(" ", 1)[1] for item in items]
        extra = self.dice.choice(["n * 2", "n + 1", "CASE WHEN n > 3 THEN 1 ELSE 0 END", "n / 4"])
        chosen = [n for n in names if not n.startswith("o")]
        shown = [n if self.dice.random() < 0.7 else f"z.{n} AS {n}" for n in chosen]
        shown += [f"{extra} AS extra"] + [f"o{i}" for i in range(len(terms))]
        condition = self.dice.choice(["", " WHERE n > 1", " WHERE n IS NOT NULL AND n <> 3"])
        if self.dice.random() < 0.5:
            text = f"SELECT {', '.join(shown)} FROM ({select}) AS z{condition}"
        else:
            text = f"WITH z AS ({select}) SELECT {', '.join(shown)} FROM z{condition}"
        return text, [(f"o{i}", down, first) for i, (_, down, first) in enumerate(terms)], keys

    def _finish(
        self,
        select: str,
        terms: list[tuple[str, bool, bool]],
        places: _Places,
        *,
        non_empty: bool,
        simple: bool,
        outer: bool,
    ) -> Text:
        order, directions = "", []
        if terms:
            written = []
            for i, (term, down, first) in enumerate(terms):
                direction = self.dice.choice([" DESC" if down else "", " desc" if down else " ASC"])
                nulls = "" if self.dice.random() < 0.4 else " NULLS FIRST" if first else " NULLS LAST"
                named = self.dice.choice([term, f"o{i}"]) if not outer else f"o{i}"
                written.append(f"{named}{direction}{nulls}")
                directions.append((down, first and nulls != ""))
            order = f" ORDER BY {', '.join(written)}"
        limit = None if simple or self.dice.random() < 0.6 else self.dice.choice([0, 1, 2, 5])
        offset = 0 if simple or self.dice.random() < 0.8 else self.dice.choice([1, 2, 30])
        cut = (f" LIMIT {limit}" if limit is not None else "") + (f" OFFSET {offset}" if offset else "")
        return Text(
            select + order + cut,
            {k: v for k, v in self.parameters.items() if re.search(rf"\${k}\b", select + order)},
            places.keys,
            places.rows_at,
            places.means,
            tuple(directions),
            limit,
            offset,
            select + order,
            non_empty,
        )


_Shape = tuple[str, tuple[tuple[str, str], ...], str]
_SHAPES: tuple[_Shape, ...] = (
    ("people AS p", (("p", "people"),), "p.pid"),
    ("visits v", (("v", "visits"),), "v.pid"),
    ("visits v JOIN people p ON v.pid = p.pid", (("v", "visits"), ("p", "people")), "p.pid"),
    ("items i", (("i", "items"),), ""),
    ("clinic.people p", (("p", "people"),), "p.pid"),
    ("people p INNER JOIN visits v USING (pid)", (("p", "people"), ("v", "visits")), "pid"),
    ("people p LEFT JOIN visits v ON v.pid = p.pid", (("p", "people"), ("v", "visits")), "p.pid"),
    (
        "people p LEFT OUTER JOIN visits v ON p.pid = v.pid AND {cond}",
        (("p", "people"), ("v", "visits")),
        "p.pid",
    ),
    ("visits v JOIN people p ON v.pid = p.pid AND {cond}", (("v", "visits"), ("p", "people")), "v.pid"),
    ("visits v JOIN hospitals h ON v.hospital = h.id", (("v", "visits"), ("h", "hospitals")), "v.pid"),
    ("hospitals h JOIN visits v ON v.hospital = h.id", (("v", "visits"), ("h", "hospitals")), "v.pid"),
    ("visits v LEFT JOIN hospitals h ON v.hospital = h.id", (("v", "visits"), ("h", "hospitals")), "v.pid"),
    (
        "visits v LEFT JOIN hospitals h ON v.hospital = h.id AND {cond}",
        (("v", "visits"), ("h", "hospitals")),
        "v.pid",
    ),
    ("visits v JOIN codes c ON c.hospital = v.hospital", (("v", "visits"), ("c", "codes")), "v.pid"),
    ("visits v LEFT JOIN codes c USING (hospital)", (("v", "visits"), ("c", "codes")), "v.pid"),
    ("items i JOIN visits v USING (vid)", (("i", "items"), ("v", "visits")), "v.pid"),
    ("visits v LEFT JOIN items i ON i.vid = v.vid AND {cond}", (("v", "visits"), ("i", "items")), "v.pid"),
    (
        "items i JOIN visits v ON i.vid = v.vid JOIN people p ON p.pid = v.pid "
        "LEFT JOIN hospitals h ON v.hospital = h.id",
        (("i", "items"), ("v", "visits"), ("p", "people"), ("h", "hospitals")),
        "p.pid",
    ),
    (
        "people p LEFT JOIN (SELECT pid AS who, kind, seen, cost FROM visits WHERE kind = 'out') v ON v.who = p.pid",
        (("p", "people"), ("v", "visits")),
        "p.pid",
    ),
)


def random_text(dice: random.Random) -> Text:
    return Writer(dice).question()
