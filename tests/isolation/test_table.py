"""The table of what each layer stops alone, and the verdict of the command that prints it."""

from __future__ import annotations

import pytest

from sandbox.lockdown.walls import WALLS
from tests.isolation import __main__ as command

NAMES = {wall.name for wall in WALLS}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> object:
    """The command over attacks whose ends are made up: `held` is what all layers together stop."""

    def made(held: dict[str, bool], *arguments: str) -> tuple[int, str]:
        said: list[str] = []
        monkeypatch.setattr(command, "in_python", lambda column, uid: {"a": column != "nothing", "b": True})
        monkeypatch.setattr(command, "in_sql", lambda column, uid: held if column == "all" else {"c": False})
        monkeypatch.setattr(command, "probe", tuple)
        return command.main(list(arguments), said.append), "\n".join(said)

    return made


def test_all_layers_together_stop_everything_or_the_command_fails(run: object) -> None:
    code, text = run({"c": True})
    assert code == 0
    assert "| Python, as" in text
    code, _ = run({"c": False})
    assert code == 1


def test_every_attack_can_be_named(run: object) -> None:
    _, text = run({"c": False}, "--each")
    assert "    c: by none" in text
    assert "    b: nothing, namespaces" in text


def test_a_column_that_there_is_not_is_wrong_usage(run: object) -> None:
    with pytest.raises(SystemExit):
        run({"c": True}, "--columns", "walls")


def test_every_wall_that_a_process_can_raise_for_itself_has_a_column_of_its_own() -> None:
    assert set(command.NAMES) == NAMES - {"cgroup", "own_uid"}
    assert set(command.NAMES) <= set(command.ALONE)
    assert set(command._without("all")) == {"cgroup", "own_uid"}
    assert set(command._without("nothing")) == NAMES
