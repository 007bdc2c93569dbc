"""Answers and refusals for people."""

from __future__ import annotations

import sys
from typing import Any, Final
from unicodedata import category

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sandbox.notes import WORDS

MARKS: Final = "*†‡§‖¶"
LEGENDS: Final = {str(name): words.legend for name, words in WORDS.items()}
PLAIN_WIDTH: Final = 140
"""Columns where nobody looks at a terminal: a file or a pipe."""
_NUMBERS: Final = frozenset({"integer", "bigint", "double", "decimal"})
_STEERING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of control characters, invisible ones among them, and of line ends."""
CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)


def plain(text: str) -> Text:
    """`text` as it may go to a terminal: what would steer it, or turn the reading order, is shown as its number.

    Released keys are a data owner's words and aliases a caller's; neither may move a cursor or forge a line.
    """
    return Text("".join(f"\\u{ord(each):04x}" if category(each) in _STEERING else each for each in text))


def table(columns: list[str], rows: list[list[str]], numbers: frozenset[int] = frozenset()) -> None:
    """`numbers` are the places of the columns to be set flush right."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(columns):
        shown.add_column(plain(name), justify="right" if place in numbers else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(plain(cell) for cell in row))
    CONSOLE.print(shown)


def answer(body: dict[str, Any]) -> None:
    """A finished, running or failed query."""
    if body["status"] == "failed":
        ERRORS.print(
            "the query failed after its charge; nothing more is said, so that failures tell nothing of the data"
        )
        return
    if body["status"] != "answered":
        CONSOLE.print(f"{body['id']} is {body['status']}")
        return
    noisy = frozenset(place for place, column in enumerate(body["columns"]) if column["kind"] != "key")
    notes = sorted({note for line in body["notes"] for cell in line for note in cell or ()})
    rows = [
        [
            _cell(value, body["intervals"][line][place], body["notes"][line][place], notes)
            if place in noisy or type(value) is not int
            else str(value)
            for place, value in enumerate(row)
        ]
        for line, row in enumerate(body["rows"])
    ]
    if body.get("mode") == "open":
        _open(body)
        return
    table([column["name"] for column in body["columns"]], rows, noisy)
    if body.get("mode") == "dp" and noisy:
        CONSOLE.print(f"in brackets: {float(body['confidence']):.0%} intervals over the noise")
    for mark, note in enumerate(notes, start=1):
        CONSOLE.print(f"{_mark(mark)} {LEGENDS.get(note, note)}")
    if body.get("mode") == "aggregate":
        _exact(body)
    cost = f"cost: {_cost(body)}{_blocks(body)}; {left(body['budget'])}"
    CONSOLE.print(plain(f"{cost}; record {body['receipt']['index']} of the audit log"))


def _open(body: dict[str, Any]) -> None:
    """Rows as they are: a number may be a name, so none is rounded or set apart by thousands."""
    numbers = frozenset(
        place for place, column in enumerate(body["columns"]) if column["type"].partition("(")[0] in _NUMBERS
    )
    rows = [["null" if value is None else str(value) for value in row] for row in body["rows"]]
    table([column["name"] for column in body["columns"]], rows, numbers)
    if body["cursor"] is not None:
        CONSOLE.print(plain(f"there are more rows: --limit {max(1, len(rows))} --cursor {body['cursor']}"))
    CONSOLE.print(f"open data; record {body['receipt']['index']} of the audit log")


def _exact(body: dict[str, Any]) -> None:
    """What was kept back, and by which rules what is shown was let through."""
    withheld = sum("withheld" in (cell or ()) for line in body["notes"] for cell in line)
    shown = sum(column["kind"] != "key" for column in body["columns"]) * len(body["rows"]) - withheld
    CONSOLE.print(f"{shown} exact numbers shown, {withheld} withheld, under these rules:")
    _rules(body)


def _rules(body: dict[str, Any]) -> None:
    for rule in body.get("rules") or []:
        CONSOLE.print(plain(f"- {rule['text']}"))


def _cost(body: dict[str, Any]) -> str:
    if body.get("reused"):
        return "free, it was answered before"
    return f"epsilon {body['cost']['epsilon']}" if body.get("mode") == "dp" else "no epsilon"


def _blocks(body: dict[str, Any]) -> str:
    """Where there are blocks: those that were asked."""
    names = body.get("blocks") or ()
    if not names:
        return ""
    return f" on each of {', '.join(names)}" if len(names) <= 4 else f" on each of {len(names)} blocks"


def _cell(value: Any, interval: list[Any] | None, notes: list[str] | None, known: list[str]) -> str:
    text = ("withheld" if "withheld" in (notes or ()) else "null") if value is None else number(value)
    if interval is not None:
        text += f"  [{number(interval[0])}, {number(interval[1])}]"
    return text + "".join(_mark(known.index(note) + 1) for note in notes or ())


def _mark(place: int) -> str:
    """The marks of footnotes in their old order, then each of them twice."""
    turn, sign = divmod(place - 1, len(MARKS))
    return MARKS[sign] * (turn + 1)


def number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4g}"


def left(budget: dict[str, Any] | None) -> str:
    if budget and (cells := budget.get("cells")):
        return f"left to you: {cells['cells_left']:,} exact numbers, {cells['withheld_left']:,} withheld ones"
    if not budget or "operator" not in budget:
        return "no budget is counted"
    where = " on the fullest block" if len(budget["operator"].get("blocks") or ()) > 1 else ""
    told = [f"left to you{where}: {_more(budget['operator'])} more such answers"]
    told += [f"for {each['name']}: {_more(each)}" for each in budget.get("purposes") or ()]
    return "; ".join(told)


def _more(left: dict[str, Any]) -> str:
    return f"epsilon {shorter(left['epsilon_left'])}, {left['answers_left']:,}"


def cells(found: list[dict[str, Any]]) -> None:
    """What exact answers have told, where a dataset gives any."""
    if not found:
        return
    rows = [
        [each["dataset"], *(f"{each['spent'][kind]:,} of {each['cap'][kind]:,}" for kind in ("released", "withheld"))]
        for each in found
    ]
    table(["exact answers of", "numbers shown to you", "withheld from you"], rows, frozenset({1, 2}))


def shorter(amount: str) -> str:
    """At most four digits after the point, cut, never rounded up."""
    whole, point, part = amount.partition(".")
    part = part[:4].rstrip("0")
    return whole + (point + part if part else "")


def problem(body: dict[str, Any], sql: str | None = None) -> None:
    """A refusal: its code, its words, where, and the way out."""
    ERRORS.print(plain(f"refused ({body.get('code', 'unknown')}): {body.get('detail', '')}"))
    if sql and (at := body.get("position")):
        lines = sql.splitlines() or [""]
        if 1 <= at["line"] <= len(lines):
            ERRORS.print(plain(f"  {lines[at['line'] - 1]}".replace("\t", " ")))
            ERRORS.print(plain("  " + " " * (at["column"] - 1) + "^" * max(1, at["length"])))
    if hint := body.get("hint"):
        ERRORS.print(plain(f"  {hint}"))
    for other in body.get("alternatives") or []:
        ERRORS.print(plain(f"  instead: {other['sql']}  ({other['why']})"))


def _expected(width: Any, value: Any) -> tuple[str, str, str]:
    """Half-width, the number that it is held against, and the one as a part of the other."""
    if width is None:
        return "", "", ""
    if value is None or not float(value):
        return f"± {number(width)}", "", ""
    return f"± {number(width)}", number(value), _percent(abs(float(width) / float(value)))


def _percent(part: float) -> str:
    """Two digits, or whole percents."""
    return f"± {100 * part:,.0f} %" if part >= 0.1 else f"± {100 * part:.2g} %"


def check(body: dict[str, Any], sql: str) -> None:
    if body["verdict"] == "refuse":
        problem(body["problem"], sql)
        return
    for number_, step in enumerate(body["plan"], start=1):
        CONSOLE.print(plain(f"{number_}. {step}"))
    if body.get("mode") != "dp":
        _check_exact(body)
        return
    widths, values = body["intervals_expected"], body["values_expected"]
    rows = [
        [column["name"], column["type"], column["kind"], *_expected(width, value)]
        for column, width, value in zip(body["columns"], widths, values, strict=True)
    ]
    table(["column", "type", "kind", "at 95 %", "of about", "relative"], rows, frozenset({3, 4, 5}))
    if any(value is not None for value in values):
        CONSOLE.print("numbers to expect come from the policy's counts and ranges alone, never from data")
    _would_cost(body)


def _check_exact(body: dict[str, Any]) -> None:
    """Nothing is to be expected but the exact numbers, as far as the rules let them through."""
    table(["column", "type", "kind"], [[column["name"], column["type"], column["kind"]] for column in body["columns"]])
    if body.get("mode") == "open":
        CONSOLE.print("open data: rows would be shown as they are, at no cost")
        return
    CONSOLE.print("numbers would be shown under these rules, and withheld otherwise:")
    _rules(body)
    _would_cost(body)


def _would_cost(body: dict[str, Any]) -> None:
    after = body.get("deadline_s")
    when = "" if after is None or body["reused"] else f"; the answer would come after {after:g} s"
    CONSOLE.print(plain(f"would cost: {_cost(body)}{_blocks(body)}; {left(body['budget'])}{when}"))
