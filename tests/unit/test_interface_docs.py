"""The reference pages name every route, every command and every role."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import typer.main

from gateway.cli.command import app
from gateway.http.examples import EXAMPLES
from gateway.identity.roles import MATRIX

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def commands() -> list[str]:
    def leaves(command: click.Command, path: str) -> list[str]:
        inner = getattr(command, "commands", None)
        if inner is None:
            return [path]
        return [leaf for name, each in inner.items() for leaf in leaves(each, f"{path} {name}")]

    return leaves(typer.main.get_command(app), "bpk")


@pytest.mark.parametrize("route", sorted({example.route for example in EXAMPLES}), ids=" ".join)
def test_the_page_of_http_names_the_route(route: tuple[str, str]) -> None:
    assert f"`{route[0]} {route[1]}`" in (REFERENCE / "http.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", commands())
def test_the_page_of_the_command_line_names_the_command(command: str) -> None:
    assert f"`{command}" in (REFERENCE / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("role", MATRIX)
def test_the_page_of_http_names_the_role(role: str) -> None:
    assert f"| `{role}` |" in (REFERENCE / "http.md").read_text(encoding="utf-8")
