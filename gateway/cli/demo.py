"""demo: a home with real data, served, asked, and its audit log verified."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.options import HomeOption, JsonOption, print_json

if TYPE_CHECKING:
    from gateway.cli.client import Client, Reply
    from gateway.home import Home

OPERATOR: Final = "demo-operator"
PEOPLE: Final = 20_000
READY_S: Final = 120.0
PATIENT_S: Final = 8
"""Of the second try of a question that was late."""
QUESTIONS: Final = (
    (
        "How many tax units, and how many households?",
        "SELECT COUNT(*) AS tax_units, COUNT(DISTINCT household) AS households FROM tax_units",
    ),
    (
        "Wages by filing status",
        "SELECT filing_status, COUNT(*) AS n, AVG(wages) AS mean_wages FROM tax_units "
        "GROUP BY filing_status ORDER BY n DESC",
    ),
    (
        "Mean wages by region, through a public table",
        "SELECT s.region, AVG(t.wages) AS mean_wages FROM tax_units t "
        "JOIN states s ON t.state = s.code GROUP BY s.region",
    ),
    ("各区县的人数和平均年收入", "SELECT 区县, COUNT(*) AS 人数, AVG(年收入) AS 平均年收入 FROM 居民 GROUP BY 区县"),
    (
        "常见诊断 (rare ones stay back)",
        "SELECT 诊断, COUNT(*) AS 次数 FROM 就诊 GROUP BY 诊断 ORDER BY 次数 DESC LIMIT 5",
    ),
)
EXACT: Final = (
    "同样的数据,精确的数字 (mode `aggregate`: no noise; small groups are withheld, and what would give them away)",
    "SELECT decade(出生日期) AS 年代, COUNT(*) AS 人数, AVG(年收入) AS 平均年收入 FROM 居民 "
    "WHERE 区县 = '石岭县' GROUP BY ROLLUP(1) ORDER BY 1",
)
OPEN: Final = (
    "医院名录,照原样 (mode `open`: hospitals are about nobody, so their rows leave as they are)",
    "SELECT 名称, 等级 FROM 医院 ORDER BY 编号 LIMIT 4",
)
REFUSED: Final = ("Somebody's name?", "SELECT 姓名 FROM 居民")


def add(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    home: HomeOption = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 is any that is free.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the gateway running, and print tokens.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a home with real data, serve it, ask it as an operator, and verify the audit log."""
    begin = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends through `finally`, so that no gateway is left behind
    made = demo_home(home)
    with _served(made, port) as url:
        if keep:
            _print_access(made, url, as_json)
            _wait_for_the_end()
        elif as_json:
            _print_replies(made, url)
        else:
            _tour(made, url, begin)


def demo_home(wanted: Path | None) -> Home:
    """The demo's home: kept between runs, made anew when what it is made of has changed."""
    from gateway.errors import Misconfigured
    from gateway.home import open_home

    base = wanted or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "baopingkou"
    root = wanted or base / f"demo-{_version()}"
    if (root / "demo.json").is_file():
        return open_home(root)
    if root.exists() and any(root.iterdir()):
        raise Misconfigured(f"{root}: is there, but is no home of the demo; name an empty folder with --home")
    typer.echo(f"making a home at {root}", err=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        _fill(beside / "home")
        if root.exists():
            root.rmdir()
        (beside / "home").rename(root)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return open_home(root)


def _fill(root: Path) -> None:
    """A home as policies/examples/README.md describes it."""
    from gateway.home import init
    from policies.examples.clinic.generate import generate

    init(root)
    with as_file(files("policies.examples")) as examples:
        for dataset in ("income", "clinic"):
            (root / "policies" / dataset).mkdir()
            for name in ("policy.toml", "cases.toml"):
                shutil.copyfile(examples / dataset / name, root / "policies" / dataset / name)
            (root / "data" / dataset).mkdir()
        for licence in sorted((examples / "licences").glob("*.toml")):
            shutil.copyfile(licence, root / "policies" / "licences" / licence.name)
        for name in ("tax_units.parquet", "states.csv"):
            shutil.copyfile(examples / "income" / name, root / "data" / "income" / name)
        domain = (examples / "domain.toml").read_text(encoding="utf-8")
    generate(root / "data" / "clinic", people=PEOPLE, seed=1)
    (root / "domain.toml").write_text(_degraded(domain), encoding="utf-8")
    (root / "demo.json").write_text(json.dumps({"version": _version()}), encoding="utf-8")


def _degraded(domain: str) -> str:
    """macOS has no isolation of this kind: the demo does without it, in writing, and says so."""
    if sys.platform != "darwin":
        return domain
    from gateway.cli.doctor import isolation

    missing = [each["name"] for each in isolation() if each["required"] and not each["active"]]
    typer.echo("this system has no isolation for the worker; the demo does without: " + ", ".join(missing), err=True)
    return domain.replace("allow_degraded = []", f"allow_degraded = {json.dumps(missing)}")


def _version() -> str:
    """Changes when the examples do."""
    seen = hashlib.sha256(str(PEOPLE).encode())
    with as_file(files("policies.examples")) as examples:
        for file in sorted(path for path in examples.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            seen.update(file.relative_to(examples).as_posix().encode() + b"\0" + file.read_bytes())
    return seen.hexdigest()[:12]


@contextmanager
def _served(home: Home, port: int) -> Iterator[str]:
    """The demo's gateway, ready, for as long as the block lasts."""
    from gateway.errors import Misconfigured

    if (already := _running(home)) is not None:
        yield already
        return
    log = home.root / "serve.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "gateway", "serve", "--home", str(home.root), "--port", str(port)]
        command += ["--follow", str(os.getpid())]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=out, start_new_session=True)
    try:
        assert process.stdout is not None  # noqa: S101  # it was asked for
        first = process.stdout.readline().decode().split()
        if len(first) < 2:
            raise Misconfigured(f"the demo's gateway did not start:\n{_tail(log)}")
        _wait_until_ready(first[1], process, log)
        yield first[1]
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _running(home: Home) -> str | None:
    """The address of a gateway that serves this home already, such as that of a `bpk demo --keep`."""
    from gateway.cli.client import Client
    from gateway.errors import Fault

    try:
        url = str(json.loads(home.address_file.read_text(encoding="utf-8"))["url"])
        return url if Client(url, None).call("GET", "/readyz").ok else None
    except (OSError, ValueError, KeyError, Fault):
        return None


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    from gateway.cli.client import Client
    from gateway.errors import Misconfigured

    give_up = time.monotonic() + READY_S
    while time.monotonic() < give_up:
        reply = Client(url, None).call("GET", "/readyz")
        if reply.ok:
            return
        hopeless = _hopeless(reply.body)
        if hopeless or process.poll() is not None:
            raise Misconfigured(f"the demo's gateway does not answer: {'; '.join(hopeless)}\n{_tail(log)}")
        time.sleep(0.1)
    raise Misconfigured(f"the demo's gateway is not ready after {READY_S:.0f} s\n{_tail(log)}")


def _hopeless(readyz: dict[str, Any]) -> list[str]:
    """What no waiting mends: a ledger without room, walls that are required and missing, refused datasets."""
    store = [] if readyz.get("store") in (None, "ready") else [f"the ledger {readyz['store']}"]
    degraded = readyz.get("degraded", [])
    walls = [
        f"the isolation layer {layer['name']} is required and missing: {layer['reason']}"
        for layer in readyz.get("isolation", [])
        if layer["required"] and not layer["active"] and layer["name"] not in degraded
    ]
    datasets = readyz.get("datasets", [])
    return store + walls + [f"{each['name']}: {each['reason']}" for each in datasets if each["state"] == "refused"]


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])


def _token(home: Home, subject: str, role: Any) -> str:
    from gateway.cli.tokens import issue_token

    return issue_token(home, subject, (role,), timedelta(hours=12))


def _tour(home: Home, url: str, begin: float) -> None:
    from gateway.cli import show
    from gateway.cli.client import Client

    client = Client(url, _token(home, OPERATOR, "operator"))
    show.CONSOLE.print(f"\nserving {url}; asking as {OPERATOR}")
    for place, (title, sql) in enumerate(QUESTIONS):
        _ask(client, title, sql)
        if place == 0:
            show.CONSOLE.print(f"first answer after {time.perf_counter() - begin:.1f} s")
    _ask(client, *EXACT, mode="aggregate")
    _ask(client, *OPEN, mode="open")
    _refused(client)
    show.CONSOLE.print("\nWhat is left")
    body = client.call("GET", "/v1/budgets").body
    rows = [[each["scope"], each["cap"]["epsilon"], show.shorter(each["epsilon_left"])] for each in body["budgets"]]
    show.table(["budget", "epsilon for life", "largest query left"], rows, frozenset({1, 2}))
    show.cells(body["cells"])
    _verify(home)


def _ask(client: Client, title: str, sql: str, mode: str = "dp") -> None:
    from gateway.cli import show
    from gateway.errors import Fault

    show.CONSOLE.print(f"\n{title}\n  {sql}", style="bold")
    reply = _asked(client, sql, mode)
    if reply.ok and reply.body["status"] == "failed":
        show.CONSOLE.print("it was not ready at its deadline: is the machine busy? asked again, with more time")
        reply = _asked(client, sql, mode, deadline_s=PATIENT_S)
    if reply.ok and reply.body["status"] == "answered":
        show.answer(reply.body)
        return
    show.problem(reply.body, sql)
    raise Fault("a question of the demo was not answered; this is a bug of ours")


def _asked(client: Client, sql: str, mode: str, **more: Any) -> Reply:
    return client.call("POST", "/v1/queries", _body(sql, mode) | more)


def _body(sql: str, mode: str) -> dict[str, str]:
    return {"sql": sql, "purpose": "research", "mode": mode} | ({"epsilon": "0.5"} if mode == "dp" else {})


def _refused(client: Client) -> None:
    from gateway.cli import show
    from gateway.errors import Fault

    title, sql = REFUSED
    show.CONSOLE.print(f"\n{title}\n  {sql}", style="bold")
    reply = client.call("POST", "/v1/queries", {"sql": sql, "purpose": "research"})
    show.problem(reply.body, sql)
    if reply.status != 403:
        raise Fault("a question of the demo was not refused; this is a bug of ours")


def _verify(home: Home) -> None:
    """Exports the log and verifies it, as an auditor would, with the commands of the command line."""
    from gateway.cli import show
    from gateway.errors import Fault

    export = home.root / "audit.ndjson"
    show.CONSOLE.print("\nThe audit log, exported and verified offline")
    for arguments in (["export", "--home", str(home.root), "--output", str(export)], ["verify", str(export)]):
        show.CONSOLE.print(f"  bpk audit {' '.join(arguments)}", style="bold")
        if subprocess.run([sys.executable, "-m", "gateway", "audit", *arguments], check=False).returncode:
            raise Fault("the audit log of the demo does not verify; this is a bug of ours")


def _print_replies(home: Home, url: str) -> None:
    """The demo's questions and what came back, for programs."""
    from gateway.cli.client import Client

    client = Client(url, _token(home, OPERATOR, "operator"))
    replies = []
    asked = [*((sql, "dp") for _, sql in QUESTIONS), (EXACT[1], "aggregate"), (OPEN[1], "open"), (REFUSED[1], "dp")]
    for sql, mode in asked:
        replies.append({"sql": sql, "reply": _asked(client, sql, mode).body})
    print_json({"url": url, "replies": replies, "budgets": client.call("GET", "/v1/budgets").body["budgets"]})


def _print_access(home: Home, url: str, as_json: bool) -> None:
    from gateway.identity.roles import MATRIX

    subjects = {role: OPERATOR if role == "operator" else f"demo-{role.replace('_', '-')}" for role in MATRIX}
    tokens = {role: _token(home, subject, role) for role, subject in subjects.items()}
    if as_json:
        print_json({"url": url, "docs": f"{url}/docs", "home": str(home.root), "tokens": tokens})
        return
    typer.echo(f"serving   {url}\ndocs      {url}/docs\nhome      {home.root}\n")
    for role, subject in subjects.items():
        typer.echo(f"{role} ({subject})\n  {tokens[role]}\n")
    typer.echo("Ctrl-C ends it")


def _wait_for_the_end() -> None:
    stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.append(True))
    while not stop:
        time.sleep(0.2)
