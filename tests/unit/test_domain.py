"""domain.toml: what is read, and how a mistake in it is told."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from sandbox.domain import Domain, DomainError
from sandbox.engine.snapshot import probe_engine
from sandbox.lockdown import probe

MINIMAL = '[datasets.clinic]\nengine = "duckdb"\ntables = { people = "data/people.csv" }\nsnapshot = "1"\n'


def load(home: Path, text: str) -> Domain:
    (home / "domain.toml").write_text(text, encoding="utf-8")
    return Domain.load(home)


def refusal(home: Path, text: str) -> str:
    with pytest.raises(DomainError) as caught:
        load(home, text)
    message = str(caught.value)
    assert str(home / "domain.toml") in message
    return message


def test_a_file_without_optional_sections_gets_the_defaults(tmp_path: Path) -> None:
    domain = load(tmp_path, MINIMAL)
    source = domain.datasets["clinic"]
    assert source.tables == {"people": ("data/people.csv",)}
    assert (source.snapshot, source.ceiling.epsilon, source.ceiling.delta) == ("1", None, None)
    assert domain.allow_degraded == frozenset()
    assert domain.ticket_key == tmp_path / "keys" / "ticket.pub"
    assert domain.worker.max >= domain.worker.warm >= 1
    assert domain.state == tmp_path / "state" / "domain"


def test_every_key_is_read(tmp_path: Path) -> None:
    text = MINIMAL.replace('"data/people.csv"', '["a.csv", "b/*.csv"]') + (
        "ceiling = { epsilon = 8, delta = 1e-9 }\n"
        '[isolation]\nallow_degraded = ["landlock"]\n[gateway]\nticket_key = "/elsewhere/ticket.pub"\n'
        "[worker]\nthreads = 1\nmemory_mb = 512\nwall_s = 9\nwarm = 1\nmax = 3\n"
    )
    domain = load(tmp_path, text)
    assert domain.datasets["clinic"].tables["people"] == ("a.csv", "b/*.csv")
    assert domain.datasets["clinic"].ceiling.epsilon == Decimal(8)
    assert domain.datasets["clinic"].ceiling.delta == Decimal("1e-9")
    assert domain.allow_degraded == {"landlock"}
    assert domain.ticket_key == Path("/elsewhere/ticket.pub")
    assert (domain.worker.threads, domain.worker.memory_mb, domain.worker.wall_s) == (1, 512, 9)


def test_a_home_without_datasets_is_a_home(tmp_path: Path) -> None:
    assert load(tmp_path, "").datasets == {}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (MINIMAL + 'shoe = "x"\n', "datasets.clinic.shoe"),
        ("[isolation]\nallow_degrade = []\n", "isolation.allow_degrade"),
        ('[datasets.clinic]\ntables = { people = "x.csv" }\n', "datasets.clinic.snapshot"),
        (MINIMAL.replace('"1"', "2026-11-01"), "datasets.clinic.snapshot"),
        (MINIMAL.replace('"duckdb"', '"postgres"'), "datasets.clinic.engine"),
        (MINIMAL + "ceiling = { epsilon = -1 }\n", "datasets.clinic.ceiling.epsilon"),
        (MINIMAL + 'ceiling = { epsilon = "8" }\n', "datasets.clinic.ceiling.epsilon"),
        (MINIMAL + "ceiling = { epsilon = nan }\n", "datasets.clinic.ceiling.epsilon"),
        ("[worker]\nthreads = 0\n", "worker.threads"),
        ('[datasets."../../x"]\ntables = { a = "b" }\nsnapshot = "1"\n', "datasets"),
        (MINIMAL.replace('{ people = "data/people.csv" }', "{}"), "datasets.clinic.tables"),
        ('[isolation]\nallow_degraded = ["landlock", "foo"]\n', "isolation.allow_degraded`: there is no layer `foo"),
        ('[isolation]\nallow_degraded = ["Landlock"]\n', "isolation.allow_degraded`: there is no layer `Landlock"),
    ],
)
def test_a_mistake_is_told_with_file_and_key(tmp_path: Path, text: str, key: str) -> None:
    assert f"`{key}" in refusal(tmp_path, text)


def test_every_layer_that_a_worker_reports_may_be_done_without_by_name(tmp_path: Path) -> None:
    reported = [layer.name for layer in (*probe(), probe_engine())]
    domain = load(tmp_path, f"[isolation]\nallow_degraded = {json.dumps(reported)}\n")
    assert domain.allow_degraded == set(reported)
    unknown = refusal(tmp_path, '[isolation]\nallow_degraded = ["foo"]\n')
    assert all(name in unknown for name in reported)


def test_what_is_not_toml_is_told_as_that(tmp_path: Path) -> None:
    assert "not TOML" in refusal(tmp_path, "[datasets")


def test_bytes_that_are_no_text_are_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "domain.toml").write_bytes(b'x = "\xff"')
    with pytest.raises(DomainError, match="not UTF-8"):
        Domain.load(tmp_path)


def test_a_missing_file_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="no such file"):
        Domain.load(tmp_path)


def test_the_examples_domain_is_read() -> None:
    examples = Path(__file__).parents[2] / "policies" / "examples"
    assert set(Domain.load(examples).datasets) == {"income", "clinic"}
