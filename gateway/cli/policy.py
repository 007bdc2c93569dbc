"""policy lint, test, schema: what an author does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gateway.cli.options import HomeOption, JsonOption, home_of, print_json

if TYPE_CHECKING:
    from gateway.cases import Outcome
    from gateway.catalog import Catalog
    from gateway.domain import Domain
    from gateway.home import Home

group = typer.Typer(help="Policies: lint, test, schema.", no_args_is_help=True)
WAIT_S = 600.0


@group.command()
def lint(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Policies, examples, licences, or folders of them; else all files of --home."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with policies, examples and licences, and what deserves a second look. Errors exit with 1."""
    from gateway.policy_files import judge_home, judge_path

    if files:
        found = [told for file in files for told in judge_path(file)]
    else:
        found = list(judge_home(home_of(home).policies).told)
    if as_json:
        print_json({"findings": [asdict(told) for told in found]})
    else:
        for told in found:
            typer.echo(told.line)
        if not found:
            typer.echo("nothing to say: all is in order")
    if any(told.severity == "error" for told in found):
        raise typer.Exit(1)


@group.command()
def schema(which: Annotated[str, typer.Argument(help="policy, cases or licence")] = "policy") -> None:
    """Print the JSON schema of a document, for editors."""
    from policies.schema import cases_schema, licence_schema, policy_schema

    made = {"policy": policy_schema, "cases": cases_schema, "licence": licence_schema}
    if which not in made:
        raise typer.BadParameter(f"`{which}` is none of {', '.join(made)}")
    print_json(made[which]())


@group.command("test")
def run_cases(
    datasets: Annotated[list[str] | None, typer.Argument(help="Names of datasets; all by default.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the examples of policies through the steps of a query, up to the price. No data is read, nothing charged."""
    from gateway.cases import Attempt, run
    from gateway.catalog import Catalog

    opened = home_of(home)
    catalog = Catalog.load(opened.policies)
    chosen = datasets or sorted(catalog.policies)
    for name in chosen:
        if name not in catalog.policies:
            raise typer.BadParameter(f"there is no dataset `{name}` in this home")
    with _domain(opened) as domain:
        depths: dict[str, str] = {name: _wait(domain, catalog, name) for name in chosen}
        results = {}
        for name, depth in depths.items():
            attempt = Attempt(catalog.policies, domain if depth == "priced" else None)
            results[name] = run(name, catalog.cases[name], attempt)
    failed = any(outcome.problem for outcomes in results.values() for outcome in outcomes)
    if as_json:
        print_json({"failed": failed, "datasets": {name: _outcomes(results[name], depths[name]) for name in chosen}})
    else:
        _print(results, depths)
    if failed:
        raise typer.Exit(1)


def _print(results: dict[str, tuple[Outcome, ...]], depths: dict[str, str]) -> None:
    for name, outcomes in results.items():
        note = "" if depths[name] == "priced" else " (up to admission only: the data domain does not hold it)"
        typer.echo(f"{name}{note}")
        for each in outcomes:
            typer.echo(
                f"  {'FAIL' if each.problem else 'ok  '} {each.case.name}{': ' + each.problem if each.problem else ''}"
            )


def _outcomes(outcomes: tuple[Outcome, ...], depth: str) -> dict[str, Any]:
    return {
        "depth": depth,
        "cases": [{"name": each.case.name, "code": each.code, "problem": each.problem} for each in outcomes],
    }


@contextmanager
def _domain(home: Home) -> Iterator[Domain]:
    """The data domain of the home: the one that is served now, or one for this test alone."""
    from gateway.domain_door import own_domain, served_door

    door = served_door(home)
    if door is not None:
        yield door
        return
    with own_domain(home) as domain:
        yield domain


def _wait(domain: Domain, catalog: Catalog, name: str) -> Literal["priced", "admitted"]:
    """Whether the data domain can price the dataset's questions. Waits while it takes the data in."""
    import time

    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        found = next((each for each in domain.status().datasets if each.dataset == name), None)
        if found is None or found.state == "refused" or found.policy_digest != catalog.policies[name].digest:
            return "admitted"
        if found.state == "ready":
            return "priced"
        time.sleep(0.1)
    return "admitted"
