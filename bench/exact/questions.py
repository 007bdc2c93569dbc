"""Normal questions of three datasets, as an analyst asks them one after the other."""

from __future__ import annotations

from typing import Final

QUESTIONS: Final = {
    "nafld": (
        "SELECT COUNT(*) FROM people",
        "SELECT male, COUNT(*), AVG(bmi), AVG(weight) FROM people GROUP BY male",
        "SELECT male, status, COUNT(*) FROM people GROUP BY ROLLUP(male, status)",
        "SELECT age, COUNT(*) FROM people GROUP BY age",
        "SELECT age // 10 AS decade, male, COUNT(*), AVG(bmi) FROM people WHERE age BETWEEN 18 AND 99 GROUP BY 1, 2",
        "SELECT test, COUNT(*), COUNT(DISTINCT id), AVG(value) FROM measurements GROUP BY test",
        "SELECT male, test, AVG(value) FROM people JOIN measurements ON people.id = measurements.id GROUP BY 1, 2",
        "SELECT event, COUNT(DISTINCT id) FROM events GROUP BY event",
        "SELECT event, male, COUNT(*) FROM events JOIN people ON people.id = events.id GROUP BY 1, 2",
        "SELECT COUNT(*) FROM (SELECT id, COUNT(*) AS n FROM measurements GROUP BY id) WHERE n > 50",
    ),
    "income": (
        "SELECT COUNT(*), COUNT(DISTINCT household) FROM tax_units",
        "SELECT filing_status, COUNT(*), AVG(wages), SUM(wages) FROM tax_units GROUP BY filing_status",
        "SELECT s.region, AVG(t.wages) FROM tax_units t JOIN states s ON t.state = s.code GROUP BY s.region",
        "SELECT state_fips, COUNT(*), AVG(wages) FROM tax_units GROUP BY state_fips",
        "SELECT state_fips, filing_status, COUNT(*), SUM(snap) FROM tax_units GROUP BY ROLLUP(1, 2)",
        "SELECT children, COUNT(*), AVG(snap) FROM tax_units GROUP BY children",
        "SELECT bin(age_head) AS age, filing_status, COUNT(*), AVG(social_security) FROM tax_units GROUP BY 1, 2",
        "SELECT COUNT(*), SUM(unemployment) FROM tax_units WHERE unemployment > 0",
        "SELECT persons, COUNT(*) FROM tax_units WHERE wages > 100000 GROUP BY persons",
        "SELECT filing_status, SUM(interest + dividends), AVG(interest) FROM tax_units GROUP BY filing_status",
    ),
    "flights": (
        "SELECT COUNT(*), COUNT(DISTINCT tailnum) FROM flights",
        "SELECT carrier, COUNT(*), AVG(dep_delay) FROM flights GROUP BY carrier",
        "SELECT month, origin, COUNT(*), AVG(dep_delay) FROM flights GROUP BY CUBE(1, 2)",
        "SELECT carrier, origin, COUNT(DISTINCT tailnum), SUM(distance) FROM flights GROUP BY 1, 2",
        "SELECT tzone, COUNT(*), AVG(air_time) FROM flights JOIN airports ON dest = faa GROUP BY tzone",
        "SELECT hour, COUNT(*) FILTER (WHERE dep_delay > 60), COUNT(*) FROM flights GROUP BY hour",
        "SELECT manufacturer, COUNT(*) FROM planes GROUP BY manufacturer",
        "SELECT engines, COUNT(*), AVG(seats) FROM planes GROUP BY engines",
        "SELECT manufacturer, COUNT(*), AVG(distance) FROM planes JOIN flights ON planes.tailnum = flights.tailnum "
        "GROUP BY manufacturer",
        "SELECT carrier, month, COUNT(*) FROM flights GROUP BY 1, 2",
    ),
}
