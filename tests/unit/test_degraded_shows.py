"""A layer that the custodian does without shows everywhere: in `/readyz`, in `doctor`, in every record of the log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.ask import NotAnswered
from gateway.audit import export
from gateway.audit.anchors import Anchors
from gateway.audit.log import Log
from gateway.audit.older import canonical
from gateway.audit.record import body
from gateway.audit.verify import verify
from gateway.domain import Domain, Unreachable
from gateway.errors import Fault
from sandbox.lockdown.walls import LAYERS
from sandbox.protocol import Status
from tests.attack.test_export_mutations import sign
from tests.gateway_world import GatewayWorld, gateway_world
from tests.ledger_world import SIGNER, World
from tests.second_verifier import sound
from tests.served_home import make_home

WITHOUT = ("landlock", "seccomp")


def degraded_records(root: Path) -> list[dict[str, Any]]:
    """Records of every kind that a gateway writes, from the moment on when the data domain has told."""
    with gateway_world(root) as world:
        first = len(world.records())
        world.domain.degraded = WITHOUT
        say_something(world)
        lines = world.export()
        assert verify(lines).ok, verify(lines).text()
        assert sound(lines)
        return [json.loads(line) for line in lines[first:-1]]


def say_something(world: GatewayWorld) -> None:
    begun = world.pipeline.ask(world.asking(key="k"))
    world.gateway.running.join()
    world.pipeline.ask(world.asking(key="k"))
    with pytest.raises(NotAnswered):
        world.pipeline.ask(world.asking("SELECT 1 FROM nothing"))
    assert begun.id
    with world.service.store.transaction() as tx:
        world.service.log.note_read(tx, "auditor", "records")


def missing_in(records: list[dict[str, Any]]) -> set[str]:
    return {
        f"{each['kind']} {each['decision'] or ''}".strip() for each in records if each.get("degraded") != [*WITHOUT]
    }


def test_every_record_names_the_layers_that_the_custodian_does_without(tmp_path: Path) -> None:
    records = degraded_records(tmp_path)
    kinds = {(each["kind"], each["decision"]) for each in records}
    assert {("decision", "run"), ("decision", "refused"), ("decision", "repeated"), ("charge", None)} <= kinds
    assert {("failure", None), ("read", None)} <= kinds
    assert missing_in(records) == set()


def test_a_log_that_forgets_to_name_them_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: records of charges are written without."""
    written = Log._write

    def forget(self: Log, tx: Any, entry: Any, right: Any = None) -> int:
        if entry.kind == "charge":
            self._degraded, before = tuple, self._degraded
            try:
                return written(self, tx, entry, right)
            finally:
                self._degraded = before
        return written(self, tx, entry, right)

    monkeypatch.setattr(Log, "_write", forget)
    assert missing_in(degraded_records(tmp_path)) == {"charge"}


def test_readyz_names_them_and_stays_ready(tmp_path: Path) -> None:
    with gateway_world(tmp_path) as world:
        world.domain.degraded = WITHOUT
        assert world.service.readiness.look().body["degraded"] == [*WITHOUT]
        assert world.call("GET", "/readyz").json()["degraded"] == [*WITHOUT]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_doctor_names_every_one(tmp_path: Path, layer: str) -> None:
    from sandbox.__main__ import _checked

    (tmp_path / "domain.toml").write_text(f'[isolation]\nallow_degraded = ["{layer}"]\n', encoding="utf-8")
    assert _checked(tmp_path)["detail"].endswith(f"can be served, without {layer}")


def test_a_process_that_was_not_told_yet_says_what_the_record_before_says(tmp_path: Path) -> None:
    told: list[tuple[str, ...] | None] = [None, ("landlock",), None, (), None]
    world = World(tmp_path)
    found = []
    for each in told:
        log = Log(
            world.store,
            SIGNER,
            Anchors(world.path.with_suffix(".checkpoint")),
            world.clock,
            degraded=lambda each=each: each,
        )
        with world.store.transaction() as tx:
            log.note_read(tx, None, "records")
        found.append(world.records()[-1].get("degraded"))
    assert found == [None, ["landlock"], ["landlock"], None, None]


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.clear(),
        lambda found: found.reverse(),
        lambda found: found.append("seccomp"),
        lambda found: found.append("zz top"),
        lambda found: found.append(1),
        lambda found: found.append(None),
    ],
)
def test_there_is_one_way_to_name_them(tmp_path: Path, change: Callable[[list[Any]], None]) -> None:
    world = World(tmp_path)
    log = Log(
        world.store, SIGNER, Anchors(world.path.with_suffix(".checkpoint")), world.clock, degraded=lambda: WITHOUT
    )
    with world.store.transaction() as tx:
        log.note_read(tx, None, "records")
    lines = list(export.lines(log))
    assert verify(lines).degraded == {"landlock": 1, "seccomp": 1}
    assert "did without `landlock`" in verify(lines).text()
    records = [json.loads(line) for line in lines[:-1]]
    change(records[-1]["degraded"])
    forged = sign([canonical(record) + b"\n" for record in records])
    assert not verify(forged).ok
    assert not sound(forged)


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a"), ("A",), ("",), ("a b",)])
def test_a_record_takes_plain_names_in_order_only(names: tuple[str, ...]) -> None:
    from gateway.audit.record import Entry

    with pytest.raises(Fault):
        body(Entry(kind="read", code="records", degraded=names), ledger="l", seq=1, time="t")


@pytest.mark.parametrize("names", [("x" * 40,), ("a\nb",), tuple(f"layer_{n}x" for n in range(40))])
def test_a_data_domain_that_names_what_is_no_layer_is_not_believed(tmp_path: Path, names: tuple[str, ...]) -> None:
    domain = Domain(tmp_path / "door", make_key(tmp_path), prepare_s_max=1, run_s_max=1)
    domain._ask = lambda *_: Status(ready=True, datasets=(), layers=(), degraded=names)
    with pytest.raises(Unreachable):
        domain.status()
    assert domain.degraded is None
    domain._ask = lambda *_: Status(ready=True, datasets=(), layers=(), degraded=("seccomp", "landlock"))
    domain.status()
    assert domain.degraded == WITHOUT
    domain.close()


def make_key(tmp_path: Path) -> Any:
    from gateway.home import read_private_key

    home = make_home(tmp_path)
    return read_private_key(home.path(home.settings.domain.ticket_key))


def test_the_real_service_tells_what_its_file_says(tmp_path: Path) -> None:
    """From domain.toml to the reply of the door, which is all that the gateway hears."""
    from sandbox.domain import Domain as Settings
    from sandbox.service import _pool_settings

    (tmp_path / "domain.toml").write_text('[isolation]\nallow_degraded = ["seccomp", "landlock"]\n', encoding="utf-8")
    assert _pool_settings(Settings.load(tmp_path)).allow_degraded == set(WITHOUT)
    said = subprocess.run(
        [sys.executable, "-m", "sandbox", "doctor", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert "without landlock, seccomp" in said
