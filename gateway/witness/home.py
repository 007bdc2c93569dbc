"""A witness's own folder: settings, key, memory. On another machine than the logs that it watches, in other hands."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.audit.note import LOG_KEY, parse_key
from gateway.errors import Misconfigured
from gateway.home import read_private_key, write_key_pair
from gateway.witness.cosigner import Cosigner

FILE: Final = "witness.toml"


class Settings(BaseModel):
    """All of `witness.toml`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    name: Annotated[str, Field(pattern=r"^[\x21-\x2a\x2c-\x7e]{1,200}$")]
    host: Annotated[str, Field(min_length=1, max_length=200)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8090
    key: str = "keys/witness.key"
    memory: str = "state/witness.sqlite"
    logs: list[str] = []
    """Verifier keys of the logs that it cosigns."""


@dataclass(frozen=True, slots=True)
class WitnessHome:
    root: Path
    settings: Settings
    cosigner: Cosigner
    logs: dict[str, str]
    """Origin -> verifier key."""

    @property
    def memory_file(self) -> Path:
        return self.root / self.settings.memory


def open_home(root: Path) -> WitnessHome:
    """Raises Misconfigured, naming what is wrong."""
    root = root.expanduser().resolve()
    file = root / FILE
    try:
        settings = Settings.model_validate(tomllib.loads(file.read_bytes().decode()))
    except OSError as error:
        raise Misconfigured(
            f"{file}: cannot be read ({error.strerror}); `bpk witness init {root}` makes one"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"{file}: not TOML: {error}") from error
    except ValidationError as error:
        told = "; ".join(f"`{'.'.join(map(str, item['loc']))}`: {item['msg']}" for item in error.errors())
        raise Misconfigured(f"{file}: {told}") from error
    logs: dict[str, str] = {}
    for vkey in settings.logs:
        try:
            key = parse_key(vkey)
        except (ValueError, UnicodeError) as error:
            raise Misconfigured(f"{file}: `{vkey[:100]}` is no verifier key") from error
        if key.kind != LOG_KEY or key.name in logs:
            raise Misconfigured(f"{file}: `{key.name}` is no log's key, or named twice")
        logs[key.name] = vkey
    return WitnessHome(root, settings, Cosigner(settings.name, read_private_key(root / settings.key)), logs)


def init(root: Path, name: str, logs: list[str]) -> WitnessHome:
    """A new witness with a key of its own. Raises Misconfigured where something is in the way."""
    root = root.expanduser().absolute()
    if (root / FILE).exists():
        raise Misconfigured(f"{root}: there is a witness already")
    text = (files("gateway") / "template" / FILE).read_text(encoding="utf-8")
    listed = "".join(f'    "{vkey}",\n' for vkey in logs)
    try:
        for folder in ("", "keys", "state"):
            (root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        write_key_pair(root / "keys", "witness")
        (root / FILE).write_text(text.replace("@NAME@", name).replace("@LOGS@", listed), encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"{root}: cannot be written ({error.strerror})") from error
    return open_home(root)
