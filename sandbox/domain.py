"""The data domain's own settings (`domain.toml`): where each table lies, ceilings, worker limits, required isolation.

Only the sandbox service reads it. Paths in the file are relative to the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sandbox import tls
from sandbox.deadlines import DEADLINES_MS, Deadlines
from sandbox.lockdown.walls import LAYERS

FILE_NAME = "domain.toml"
FILE_BYTES_MAX = 1_000_000


class DomainError(ValueError):
    """A `domain.toml` that cannot be served. The text names the file, the key and what would do."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that the domain releases of a dataset for life, whatever the gateway says. None: the policy's cap."""

    epsilon: Decimal | None
    delta: Decimal | None


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """Where a dataset's tables lie, and what the custodian calls this state of them."""

    name: str
    engine: Literal["duckdb"]
    tables: Mapping[str, tuple[str, ...]]
    """table -> paths or globs, as written in the file."""
    snapshot: str
    ceiling: Ceiling
    deadlines: Deadlines


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    threads: int
    memory_mb: int
    wall_s: int
    warm: int
    """Workers that stand ready per dataset."""
    max: int
    """Workers at a time, over all datasets."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a gateway on another machine is let in: by TLS, with a certificate of the authority for just this name."""

    listen: tuple[str, int]
    files: tls.Files
    client: str


@dataclass(frozen=True, slots=True)
class Domain:
    home: Path
    datasets: Mapping[str, DatasetSource]
    allow_degraded: frozenset[str]
    """Isolation layers that the custodian does without, by name."""
    ticket_key: Path
    tally: Path
    """The second memory of what was spent, which should not lie where backups of the state are restored."""
    worker: WorkerLimits
    remote: Remote | None = None
    ingest_wall_s: int = 21_600
    """How long the files of one dataset may take to be read."""
    ticket_key_next: Path | None = None
    """Also believed, while the gateway's key is being changed."""

    @property
    def state(self) -> Path:
        """The domain's own state: snapshots, releases, tickets."""
        return self.home / "state" / "domain"

    @classmethod
    def load(cls, home: Path) -> Domain:
        """Reads `home/domain.toml`. Raises DomainError."""
        home = home.absolute()
        file = home / FILE_NAME
        document = _parse(file)
        datasets = {name: _source(file, name, entry) for name, entry in document.datasets.items()}
        return cls(
            home=home,
            datasets=datasets,
            allow_degraded=_layers(file, document.isolation.allow_degraded),
            ticket_key=home / document.gateway.ticket_key,
            ticket_key_next=None if (more := document.gateway.ticket_key_next) is None else home / more,
            tally=home / document.store.tally,
            worker=WorkerLimits(**document.worker.model_dump()),
            ingest_wall_s=document.ingest.wall_s,
            remote=_remote(home, document.gateway.tls),
        )


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$", max_length=100)]
"""A dataset's name also names a folder of the state: no separators, no leading dot."""
_Path = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
_Seconds = Annotated[int | Decimal, Field(ge=Decimal("0.1"), le=3600, allow_inf_nan=False)]


def _listened(text: str) -> str:
    tls.address(text)
    return text


class _Ceiling(_Part):
    epsilon: Decimal | None = Field(default=None, gt=0, allow_inf_nan=False)
    delta: Decimal | None = Field(default=None, ge=0, lt=1, allow_inf_nan=False)


class _Dataset(_Part):
    engine: Literal["duckdb"] = "duckdb"
    tables: dict[str, _Path | list[_Path]] = Field(min_length=1)
    snapshot: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    ceiling: _Ceiling = _Ceiling()
    deadlines_s: Literal["off"] | Annotated[list[_Seconds], Field(min_length=1, max_length=8)] | None = None
    rows_about: dict[str, Annotated[int, Field(ge=0, le=10**12)]] = {}


class _Isolation(_Part):
    allow_degraded: list[str] = []


class _Tls(_Part):
    listen: Annotated[str, AfterValidator(_listened)]
    certificate: _Path
    key: _Path
    authority: _Path
    client: Annotated[str, AfterValidator(tls.name)]


class _Gateway(_Part):
    ticket_key: _Path = "keys/ticket.pub"
    ticket_key_next: _Path | None = None
    tls: _Tls | None = None


class _Store(_Part):
    tally: _Path = "state/domain/domain.tally"


class _Worker(_Part):
    threads: int = Field(default=2, ge=1, le=256)
    memory_mb: int = Field(default=1024, ge=128)
    wall_s: int = Field(default=60, ge=1, le=86_400)
    warm: int = Field(default=2, ge=0, le=64)
    max: int = Field(default=4, ge=1, le=256)


class _Ingest(_Part):
    wall_s: int = Field(default=21_600, ge=1, le=604_800)


class _Document(_Part):
    datasets: dict[_Name, _Dataset] = {}
    isolation: _Isolation = _Isolation()
    gateway: _Gateway = _Gateway()
    store: _Store = _Store()
    worker: _Worker = _Worker()
    ingest: _Ingest = _Ingest()


def _parse(file: Path) -> _Document:
    try:
        with file.open("rb") as stream:
            text = stream.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise DomainError(f"{file}: there is no such file; `bpk init` writes one") from None
    except OSError as error:
        raise DomainError(f"{file}: cannot be read ({error.strerror})") from error
    if len(text) > FILE_BYTES_MAX:
        raise DomainError(f"{file}: larger than {FILE_BYTES_MAX} bytes")
    try:
        plain = tomllib.loads(text.decode(), parse_float=Decimal)
    except UnicodeDecodeError as error:
        raise DomainError(f"{file}: not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DomainError(f"{file}: not TOML: {error}") from error
    return _validate(file, plain)


def _validate(file: Path, plain: dict[str, object]) -> _Document:
    try:
        return _Document.model_validate(_whole_numbers_as_decimals(plain))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise DomainError(f"{file}: `{key}`: {_words(first['type'], first['msg'])}") from error


def _whole_numbers_as_decimals(plain: dict[str, object]) -> dict[str, object]:
    """`ceiling = { epsilon = 8 }` is an exact decimal too; the strict model would refuse the integer."""
    datasets = plain.get("datasets")
    for entry in datasets.values() if isinstance(datasets, dict) else ():
        ceiling = entry.get("ceiling") if isinstance(entry, dict) else None
        if isinstance(ceiling, dict):
            exact = {key: Decimal(value) if type(value) is int else value for key, value in ceiling.items()}
            entry["ceiling"] = exact
    return plain


def _words(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such key"
    if kind == "missing":
        return "is missing"
    if kind == "string_pattern_mismatch":
        return "names are letters, digits, `_`, `-` and dots"
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _layers(file: Path, names: list[str]) -> frozenset[str]:
    """A word for a layer that does not exist would be no word for the one that was meant."""
    for name in names:
        if name not in LAYERS:
            known = ", ".join(LAYERS)
            raise DomainError(f"{file}: `isolation.allow_degraded`: there is no layer `{name}`; the layers are {known}")
    return frozenset(names)


def _remote(home: Path, found: _Tls | None) -> Remote | None:
    if found is None:
        return None
    files = tls.Files(home / found.certificate, home / found.key, home / found.authority)
    return Remote(tls.address(found.listen), files, found.client)


def _source(file: Path, name: str, entry: _Dataset) -> DatasetSource:
    tables = {table: (paths,) if isinstance(paths, str) else tuple(paths) for table, paths in entry.tables.items()}
    ceiling = Ceiling(entry.ceiling.epsilon, entry.ceiling.delta)
    for table in entry.rows_about:
        if table not in tables:
            raise DomainError(f"{file}: `datasets.{name}.rows_about`: there is no table `{table}` in `tables`")
    deadlines = Deadlines(_deadlines(file, name, entry), entry.rows_about)
    return DatasetSource(name, entry.engine, tables, entry.snapshot, ceiling, deadlines)


def _deadlines(file: Path, name: str, entry: _Dataset) -> tuple[int, ...]:
    """In ms, ascending; none where the custodian switched them off."""
    if entry.deadlines_s is None:
        return DEADLINES_MS
    if isinstance(entry.deadlines_s, str):
        return ()
    found = tuple(int(each * 1000) for each in entry.deadlines_s)
    if list(found) != sorted(set(found)):
        raise DomainError(f"{file}: `datasets.{name}.deadlines_s`: each must be longer than the one before it")
    return found
