"""What the grammar accepts besides functions: windows, subqueries, unions, joins, ranks, quantiles, roll-ups.

Each text has places for columns as a form has, and is asked over the rows of both homes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.alike.asked import Question
from tests.alike.forms import filled

_WINDOWS: Final = (
    "SELECT COUNT(*) AS n FROM (SELECT pid, {x} AS v, rank() OVER (PARTITION BY pid ORDER BY {x} DESC NULLS LAST) AS r "
    "FROM odd) AS w WHERE r <= 2",
    "SELECT letter, COUNT(v) AS n FROM (SELECT letter, lead({x}, 2) OVER w AS v FROM odd "
    "WINDOW w AS (PARTITION BY pid ORDER BY {n})) AS t GROUP BY letter",
    "SELECT SUM(s) AS a, SUM(a) AS b, SUM(c) AS c, SUM(low) AS d FROM (SELECT SUM({n}) OVER (PARTITION BY pid) AS s, "
    "AVG({n}) OVER (PARTITION BY pid, {x}) AS a, COUNT({x}) OVER (PARTITION BY pid) AS c, "
    "MIN({m}) OVER (PARTITION BY pid) AS low FROM odd) AS w",
    "SELECT COUNT(*) AS n FROM (SELECT {n} FROM odd QUALIFY row_number() OVER (PARTITION BY pid ORDER BY {x}) = 1) w",
    "SELECT SUM({n} - v) AS s FROM (SELECT {n}, lag({n}, 1) OVER (PARTITION BY pid ORDER BY {d}) AS v FROM odd) AS w",
)
_UNITS: Final = (
    "WITH totals AS (SELECT pid, SUM({n}) AS s, AVG({m}) AS a, COUNT(DISTINCT {x}) AS many FROM odd GROUP BY pid) "
    "SELECT SUM(s) AS a, AVG(a) AS b, SUM(many) AS c, COUNT(*) AS n FROM totals WHERE many > 1",
    "SELECT many, COUNT(*) AS n FROM (SELECT pid, COUNT(DISTINCT {x}) AS many FROM odd GROUP BY pid) t GROUP BY many",
    "SELECT COUNT(*) AS n FROM (SELECT pid, {x} AS v FROM odd GROUP BY pid, {x} HAVING SUM({n}) > 1) AS t",
    "SELECT COUNT(DISTINCT pid) AS n FROM odd WHERE {n} > 1 AND {x} IS NOT NULL",
    "SELECT COUNT(*) AS n FROM (SELECT DISTINCT pid, {x} FROM odd) AS t",
    "SELECT COUNT(*) AS n FROM odd AS o WHERE o.{n} > (SELECT AVG(i.{n}) FROM odd AS i WHERE i.pid = o.pid)",
    "SELECT COUNT(*) AS n FROM odd AS o WHERE EXISTS (SELECT 1 FROM odd AS i WHERE i.pid = o.pid AND i.{n} > 1)",
    "SELECT COUNT(*) AS n FROM odd WHERE pid NOT IN (SELECT pid FROM odd WHERE {x} IS NULL)",
)
_JOINS: Final = (
    "SELECT c.level, COUNT(o.{x}) AS n, SUM(o.{n}) AS s FROM odd AS o LEFT JOIN codes AS c ON o.code = c.id "
    "GROUP BY c.level",
    "SELECT COUNT(a.{x}) AS n, SUM(a.{n} * b.{m}) AS s FROM odd AS a JOIN odd AS b USING (pid)",
    "SELECT COUNT(*) AS n FROM clinic.odd AS o JOIN (SELECT pid, MAX({n}) AS top FROM odd GROUP BY pid) AS t "
    "ON o.pid = t.pid WHERE o.{n} = t.top",
    "SELECT COUNT(*) AS n, SUM(v) AS s FROM (SELECT pid, {n} AS v FROM odd UNION ALL SELECT pid, {m} FROM odd) "
    "AS u (pid, v)",
    "SELECT COUNT(*) AS n FROM odd AS a INNER JOIN (WITH q AS (SELECT pid, {n} AS v FROM odd) SELECT pid, v FROM q "
    "UNION ALL SELECT pid, v FROM q) AS b USING (pid) WHERE b.v > 1",
    "SELECT COUNT(*) AS n FROM odd WHERE code IN (SELECT id FROM codes WHERE \"level\" = 'x')",
)
_AGGREGATES: Final = (
    "SELECT VAR_SAMP({n}) AS a, VAR_POP({n}) AS b, STDDEV_SAMP({n}) AS c, STDDEV_POP({n}) AS d FROM odd",
    "SELECT COVAR_POP({n}, {m}) AS a, COVAR_SAMP({n}, {m}) AS b, CORR({n}, {m}) AS c FROM odd",
    "SELECT REGR_SLOPE({n}, {m}) AS a, REGR_INTERCEPT({n}, {m}) AS b FROM odd",
    "SELECT letter, QUANTILE_CONT({n}, 0.9) AS a, PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY {n}) AS b FROM odd "
    "GROUP BY letter",
    "SELECT flag, SUM({n}) FILTER (WHERE {x} IS NULL) AS a, COUNT(*) FILTER (WHERE {b}) AS b FROM odd GROUP BY flag",
    "SELECT MEAN({n}) AS a, COUNT_IF({n} > 1) AS b, MEDIAN({d}) AS c FROM odd",
)
_ABOVE: Final = (
    "SELECT letter, flag, SUM({n}) AS s, GROUPING(letter) AS g, GROUPING_ID(letter, flag) AS h FROM odd "
    "GROUP BY ROLLUP (letter, flag)",
    "SELECT letter, flag, COUNT({x}) AS n FROM odd GROUP BY CUBE (letter, flag)",
    "SELECT letter, flag, COUNT({x}) AS n FROM odd GROUP BY GROUPING SETS ((letter), (flag), (letter, flag), ())",
    "SELECT letter, COUNT({x}) AS n FROM odd GROUP BY ALL HAVING COUNT({x}) > 10 ORDER BY n DESC, letter NULLS FIRST "
    "LIMIT 2 OFFSET 1",
    "SELECT letter, SUM({n}) AS s, rank() OVER (ORDER BY SUM({n})) AS r FROM odd GROUP BY letter",
    "SELECT letter, SUM({n}) / COUNT(*) AS a, 1 / (COUNT(*) - COUNT(*)) AS z FROM odd GROUP BY letter",
)
_SPELLINGS: Final = (
    "SELECT COUNT(*) AS n FROM odd WHERE {t} NOT ILIKE 'a%' AND NOT starts_with({t}, 'x') AND NOT contains({t}, 'y')",
    "SELECT COUNT(*) AS n FROM odd WHERE weekofyear({d}) > 5 AND dayofmonth({d}) < 20 AND NOT ends_with({t}, 'z')",
    "SELECT COUNT(*) AS n FROM odd WHERE date_trunc('month', CAST({s} AS DATE)) = DATE '2000-02-01' OR {t} ^@ 'a'",
    "SELECT quantile({n}, 0.1) AS a FROM odd",
    "SELECT COUNT(*) AS n FROM odd WHERE trim({t}, ' ') = 'a'",
)
WITH_PARAMETERS: Final = ("SELECT COUNT(*) AS n FROM odd WHERE {t} = $word AND {n} > $number AND {d} < $day",)
PARAMETERS: Final[dict[str, Any]] = {"word": "a", "number": 0.5, "day": "2001-01-01"}
TEXTS: Final = (*_WINDOWS, *_UNITS, *_JOINS, *_AGGREGATES, *_ABOVE, *_SPELLINGS, *WITH_PARAMETERS)


def structures(turn: int) -> Iterator[Question]:
    """Every text once; which columns stand in it goes round with `turn`."""
    for number, text in enumerate(TEXTS):
        body: dict[str, Any] = {"sql": filled(text, turn + number), "purpose": "research", "mode": "dp"}
        if text in WITH_PARAMETERS:
            body["parameters"] = PARAMETERS
        yield Question("structure", "everywhere", body)
