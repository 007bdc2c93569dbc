"""query, check, datasets, budget: what an operator does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.options import HomeOption, JsonOption, KeyOption, PurposeOption, TokenOption, UrlOption, print_json

if TYPE_CHECKING:
    from gateway.cli.client import Client

MAGNITUDE_MAX: Final = 30
"""Digits before or after the point of a number on the command line."""
Sql = Annotated[str, typer.Argument(help="One SELECT, or - to read it from standard input.")]
Mode = Annotated[str | None, typer.Option("--mode", help="dp, aggregate or open; the policy's first by default.")]
Epsilon = Annotated[str | None, typer.Option("--epsilon", help="What it may cost; the policy's by default.")]
Accuracy = Annotated[
    str | None,
    typer.Option("--accuracy", help="In place of --epsilon: how close, as 5% of each number or 100 in its own unit."),
]
Confidence = Annotated[
    str | None, typer.Option("--confidence", help="How often it is to be so close: 0.5 to 0.999, or 95%.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Rows of a page, in mode open; 1000 by default.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="The next page, in mode open: what the one before named.")]
Blocks = Annotated[
    str | None, typer.Option("--blocks", help="As 2024,2025: the policy's blocks that are asked, and charged; or all.")
]
Deadline = Annotated[
    float | None,
    typer.Option("--deadline", min=0, help="Seconds: more time for the question; the answer comes no sooner."),
]
Parameter = Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE for $NAME in the SQL; may repeat.")]


def add(app: typer.Typer) -> None:
    for command in (query, check, datasets, budget):
        app.command()(command)


def query(
    sql: Sql,
    url: UrlOption = None,
    home: HomeOption = None,
    token_file: TokenOption = None,
    dpop_key: KeyOption = None,
    purpose: PurposeOption = None,
    mode: Mode = None,
    epsilon: Epsilon = None,
    accuracy: Accuracy = None,
    confidence: Confidence = None,
    param: Parameter = None,
    blocks: Blocks = None,
    limit: Limit = None,
    cursor: Cursor = None,
    deadline: Deadline = None,
    wait: Annotated[float, typer.Option("--wait", min=0, max=60, help="Seconds to wait for the answer.")] = 30,
    key: Annotated[str | None, typer.Option("--key", help="Idempotency key: the same request again is free.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a question and print the protected answer."""
    from gateway.cli.client import connect

    text = _text(sql)
    body = _body(text, purpose, mode, epsilon, accuracy_asked(accuracy, confidence), param)
    body |= _page(limit, cursor) | _blocks(blocks) | _deadline(deadline) | {"wait_s": wait}
    headers = {} if key is None else {"Idempotency_Key": key}
    reply = connect(url, home, token_file, dpop_key).call("POST", "/v1/queries", body, **headers)
    if as_json:
        print_json(reply.body)
    else:
        from gateway.cli import show

        show.answer(reply.body) if reply.ok else show.problem(reply.body, text)
    if not reply.ok or reply.body["status"] not in ("answered", "running"):
        raise typer.Exit(1)


def check(
    sql: Sql,
    url: UrlOption = None,
    home: HomeOption = None,
    token_file: TokenOption = None,
    dpop_key: KeyOption = None,
    purpose: PurposeOption = None,
    mode: Mode = None,
    epsilon: Epsilon = None,
    accuracy: Accuracy = None,
    confidence: Confidence = None,
    param: Parameter = None,
    blocks: Blocks = None,
    limit: Limit = None,
    cursor: Cursor = None,
    deadline: Deadline = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a question would cost and give, without asking it: free."""
    from gateway.cli.client import connect

    text = _text(sql)
    body = _body(text, purpose, mode, epsilon, accuracy_asked(accuracy, confidence), param)
    body |= _page(limit, cursor) | _blocks(blocks) | _deadline(deadline)
    reply = connect(url, home, token_file, dpop_key).call("POST", "/v1/queries/check", body)
    if as_json:
        print_json(reply.body)
    else:
        from gateway.cli import show

        show.check(reply.body, text) if reply.ok else show.problem(reply.body, text)
    if not reply.ok or reply.body["verdict"] != "answer":
        raise typer.Exit(1)


def datasets(
    name: Annotated[str | None, typer.Argument(help="One dataset, with its columns.")] = None,
    url: UrlOption = None,
    home: HomeOption = None,
    token_file: TokenOption = None,
    dpop_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the datasets you may ask, or the columns of one."""
    from urllib.parse import quote

    from gateway.cli.client import connect

    route = "/v1/datasets" if name is None else f"/v1/datasets/{quote(name, safe='')}"
    body = _get(route, connect(url, home, token_file, dpop_key), as_json)
    if as_json:
        return
    from gateway.cli import show

    if name is None:
        rows = [
            [each["name"], each["title"].get("en", ""), each["version"], each["state"]] for each in body["datasets"]
        ]
        show.table(["dataset", "title", "version", "state"], rows)
        return
    if blocks := (body["unit"] or {}).get("blocks"):
        show.CONSOLE.print(show.plain(f"blocks by {blocks['column']}: {', '.join(blocks['names'])}"))
    for table in body["tables"]:
        show.CONSOLE.print(show.plain(_heading(table, body["unit"])))
        columns = [[c["name"], c.get("type", ""), c["use"], _domain(c)] for c in table["columns"]]
        show.table(["column", "type", "use", "domain"], columns)


def budget(
    url: UrlOption = None,
    home: HomeOption = None,
    token_file: TokenOption = None,
    dpop_key: KeyOption = None,
    over_time: Annotated[bool, typer.Option("--over-time", help="What was spent when, and what came of it.")] = False,
    by: Annotated[str | None, typer.Option("--by", help="With --over-time: day, week or month.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="With --over-time: one dataset alone.")] = None,
    operator: Annotated[
        str | None, typer.Option("--operator", help="With --over-time, for auditors: one alone.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="With --over-time: a day, included.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="With --over-time: a day, not included.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show caps, what is spent and what is left, now or over time."""
    from urllib.parse import urlencode

    from gateway.cli.client import connect

    given = {"by": by, "dataset": dataset, "operator": operator, "since": since, "until": until}
    wanted = {name: text for name, text in given.items() if text is not None}
    if wanted and not over_time:
        raise typer.BadParameter("goes with --over-time", param_hint=f"--{next(iter(wanted))}")
    route = f"/v1/budgets/history?{urlencode(wanted)}" if over_time else "/v1/budgets"
    body = _get(route, connect(url, home, token_file, dpop_key), as_json)
    if as_json:
        return
    from gateway.cli import show

    if over_time:
        from gateway.cli.over_time import picture

        picture(body)
        return

    rows = [row for each in body["budgets"] for row in _rows(each)]
    if rows or not body["cells"]:
        show.table(["budget", "epsilon for life", "spent", "largest query left"], rows, frozenset({1, 2, 3}))
    for each in body["budgets"]:
        if each["cap_waiting"] is not None:
            waits = f"{each['scope']}: epsilon {each['cap_waiting']['epsilon']} waits for the approvers of caps"
            show.CONSOLE.print(show.plain(waits))
    show.cells(body["cells"])


def _rows(budget: dict[str, Any]) -> list[list[str]]:
    """A line, and one for each block that something was spent on; the others are counted."""
    from gateway.cli import show

    def line(name: str, told: dict[str, Any]) -> list[str]:
        spent, left = show.shorter(told["spent"]["epsilon"]), show.shorter(told["epsilon_left"])
        return [name, budget["cap"]["epsilon"], spent, left]

    blocks = budget.get("blocks") or []
    if not blocks:
        return [line(budget["scope"], budget)]
    spent = [each for each in blocks if each["spent"] != dict.fromkeys(each["spent"], "0")]
    fresh = [each for each in blocks if each not in spent]
    told = [line(f"  {each['name']}", each) for each in spent]
    if fresh:
        names = (
            fresh[0]["name"] if len(fresh) == 1 else f"{len(fresh)} blocks, {fresh[0]['name']} to {fresh[-1]['name']}"
        )
        told.append(line(f"  {names}", fresh[0]))
    return [[budget["scope"], "in each block:", "", ""], *told]


def _get(route: str, client: Client, as_json: bool) -> Any:
    reply = client.call("GET", route)
    if as_json:
        print_json(reply.body)
    elif not reply.ok:
        from gateway.cli import show

        show.problem(reply.body)
    if not reply.ok:
        raise typer.Exit(1)
    return reply.body


def _text(sql: str) -> str:
    return sys.stdin.read() if sql == "-" else sql


def _body(
    sql: str,
    purpose: str | None,
    mode: str | None,
    epsilon: str | None,
    accuracy: dict[str, str] | None,
    param: list[str] | None,
) -> dict[str, Any]:
    """The question as the gateway takes it. Raises BadParameter for what is wrong whatever the policy says."""
    from typing import get_args

    from policies.model import Mode as Modes

    if mode is not None and mode not in get_args(Modes):
        raise typer.BadParameter(f"`{mode}` is none of {', '.join(get_args(Modes))}", param_hint="--mode")
    given = {
        "purpose": purpose,
        "mode": mode,
        "epsilon": None if epsilon is None else _number(epsilon, epsilon, "--epsilon"),
        "accuracy": accuracy,
        "parameters": _parameters(param),
    }
    return {"sql": sql} | {name: value for name, value in given.items() if value is not None}


def _deadline(seconds: float | None) -> dict[str, Any]:
    return {} if seconds is None else {"deadline_s": seconds}


def _blocks(named: str | None) -> dict[str, Any]:
    return {} if named is None else {"blocks": [name.strip() for name in named.split(",")]}


def _page(limit: int | None, cursor: str | None) -> dict[str, Any]:
    given = {"limit": limit, "cursor": cursor}
    return {name: value for name, value in given.items() if value is not None}


def accuracy_asked(accuracy: str | None, confidence: str | None) -> dict[str, str] | None:
    """`5%` is a part of each number, `100` is in its own unit. The gateway judges the numbers. Raises BadParameter."""
    if accuracy is None:
        if confidence is not None:
            raise typer.BadParameter("goes with --accuracy", param_hint="--confidence")
        return None
    kind = "relative" if accuracy.strip().endswith("%") else "absolute"
    found = {kind: _part(accuracy, "--accuracy")}
    return found if confidence is None else found | {"confidence": _part(confidence, "--confidence")}


def _part(text: str, option: str) -> str:
    """A number, where `5%` is 0.05. Raises BadParameter."""
    from decimal import Decimal

    bare = text.strip()
    number = Decimal(_number(bare.removesuffix("%"), text, option))
    return format(number.scaleb(-2) if bare.endswith("%") else number, "f")


def _number(bare: str, text: str, option: str) -> str:
    """A number as the gateway reads it; `text` is what was written. Raises BadParameter."""
    from decimal import Decimal

    try:
        number = Decimal(bare.strip())
    except ArithmeticError:
        raise typer.BadParameter(f"`{text}` is no number", param_hint=option) from None
    if not number.is_finite() or abs(number.adjusted()) > MAGNITUDE_MAX:
        raise typer.BadParameter(f"`{text}` is no number", param_hint=option)
    return format(number, "f")


def _parameters(given: list[str] | None) -> dict[str, Any] | None:
    """Whole numbers, decimals, true and false as such; everything else is text, as is what stands in quotes."""
    import json

    found: dict[str, Any] = {}
    for each in given or []:
        name, equals, text = each.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"`{each}` is not NAME=VALUE", param_hint="--param")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found[name] = text if isinstance(value, dict | list) else value
    return found or None


def _heading(table: dict[str, Any], unit: dict[str, Any] | None) -> str:
    """A table's name, how it hangs together with the others, and how many rows of one unit count in full."""
    if table["public"] or unit is None:
        key = table.get("key")
        return f"{table['name']} (public" + (f", key {' AND '.join(key)})" if isinstance(key, list) else ")")
    link = f", {table['link']}" if table["link"] else ""
    most = table["rows_per_unit_max"]
    return f"{table['name']} (at most {most} {'row' if most == 1 else 'rows'} per {unit['name']}{link})"


def _domain(column: dict[str, Any]) -> str:
    parts = []
    if "values" in column:
        values = [str(value) for value in column["values"]]
        parts.append(", ".join(values[:8]) + (f", … ({len(values)})" if len(values) > 8 else ""))
    elif "range" in column:
        parts.append(f"{column['range'][0]} to {column['range'][1]}")
    for name, words in (("bins", "bins at"), ("via", "as"), ("joins", "joins")):
        if name in column:
            parts.append(f"{words} {', '.join(column[name])}")
    return "; ".join(parts)
