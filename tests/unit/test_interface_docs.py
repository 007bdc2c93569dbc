"""The reference pages name every route, every command and every role."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import click
import pytest
import typer.main
from pydantic import BaseModel

from gateway.cli.command import app
from gateway.http.examples import EXAMPLES
from gateway.identity.roles import MATRIX
from gateway.settings import Settings

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


def settings(model: type[BaseModel], place: str = "") -> list[str]:
    """The keys of gateway.toml under their headings."""
    found = []
    for name, field in model.model_fields.items():
        named = (field.annotation, *get_args(field.annotation))
        inner = [each for each in named if isinstance(each, type)]
        section = next((each for each in inner if issubclass(each, BaseModel)), None)
        here = f"{place}.{name}".lstrip(".")
        found += [f"{place}: {name}"] if section is None else settings(section, here)
    return found


@pytest.mark.parametrize("setting", settings(Settings))
def test_the_page_of_gateway_toml_names_the_setting_under_its_heading(setting: str) -> None:
    place, name = setting.split(": ")
    page = (REFERENCE / "gateway-settings.md").read_text(encoding="utf-8")
    section = re.split(r"\n#+ ", page[re.search(rf"^#+ \[+{re.escape(place)}\]+$", page, re.MULTILINE).end() :])[0]  # type: ignore[union-attr]
    assert f"\n| `{name}` |" in section
