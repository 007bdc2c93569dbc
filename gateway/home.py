"""The home directory: where everything of a deployment lies, and how a new one is made."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from gateway import settings
from gateway.errors import Misconfigured
from gateway.settings import Settings, Suite

KEY_BYTES_MAX = 10_000
_SIGNER: Final = """\
# [audit.signer]                   # the log's key is outside: checkpoint_key's public half (.pub) names it, this signs
# command = ["/usr/local/bin/openssl-signer", "/etc/baopingkou/log-keys"]   # gets what is to be signed; no shell
# timeout_s = 10"""


@dataclass(frozen=True, slots=True)
class Home:
    """A complete home. `open_home` is the only maker, apart from `init`."""

    root: Path
    settings: Settings

    @property
    def policies(self) -> Path:
        return self.root / "policies"

    @property
    def ledger_file(self) -> Path:
        return self.root / "state" / "gateway" / "ledger.sqlite"

    @property
    def anchors(self) -> tuple[Path, Path | None]:
        """The last checkpoint that this gateway has signed, outside the database, and where witnessed ones lie."""
        audit = self.settings.audit
        own = self.ledger_file.with_suffix(".checkpoint")
        if audit.witnessed is not None:
            return own, self.path(audit.witnessed)
        return own, self.ledger_file.with_name("witnessed") if audit.witnesses else None

    @property
    def log_key(self) -> Path:
        """What the log's checkpoints are signed with; where there is no such file, the signer has the key whose public
        half is in the file beside it."""
        return self.path(self.settings.audit.checkpoint_key)

    @property
    def next_log_key(self) -> Path:
        """What they will be signed with once the log has gone over to it, if one is prepared."""
        return self.log_key.with_name(f"{self.log_key.stem}-next{self.log_key.suffix}")

    @property
    def old_log_keys(self) -> Path:
        """The public keys that the log had before, one a line."""
        return self.log_key.with_suffix(".keys")

    @property
    def address_file(self) -> Path:
        return self.root / "state" / "gateway" / "address.json"

    def path(self, written: str) -> Path:
        """A path of the settings: relative to the home, or absolute."""
        return self.root / written


def open_home(root: Path) -> Home:
    """Raises Misconfigured, telling all that is missing and the way out."""
    root = root.expanduser().resolve()
    if not root.is_dir():
        raise Misconfigured(f"{root}: no such folder; `bpk init {root}` makes a home there")
    if not (root / "gateway.toml").is_file():
        raise Misconfigured(
            f"{root}: not a home, `gateway.toml` is missing; `bpk init` makes a new home in an empty folder"
        )
    read = settings.load(root / "gateway.toml")
    home = Home(root, read)
    needed = [
        root / "domain.toml",
        home.policies,
        _log_key_of(home),
        home.path(read.domain.ticket_key),
        *(home.path(key.file) for key in read.tokens.keys),
        *(home.path(approver.file) for approver in read.caps.approvers),
        *([home.path(read.server.proxy.secret_file)] if read.server.proxy is not None else []),
        *([home.path(ca)] if read.tokens.jwks is not None and (ca := read.tokens.jwks.ca_file) is not None else []),
    ]
    if read.domain.tls is not None:
        needed += [
            home.path(file) for file in (read.domain.tls.certificate, read.domain.tls.key, read.domain.tls.authority)
        ]
    if read.domain.elsewhere:  # the data domain is somewhere else, and so is its file
        needed.pop(0)
    if missing := [str(path) for path in needed if not path.exists()]:
        listed = "\n".join(f"  {path}" for path in missing)
        raise Misconfigured(
            f"{root}: this home is incomplete, it has no\n{listed}\n"
            "put them back from a copy, name other places in gateway.toml, or make a new home with `bpk init`"
        )
    return home


def _log_key_of(home: Home) -> Path:
    outside = home.settings.audit.signer is not None and not home.log_key.exists()
    return home.log_key.with_suffix(".pub") if outside else home.log_key


@dataclass(frozen=True, slots=True)
class Outside:
    """A new log's key that lies outside of the home: its public half (PEM), and the command that signs with it."""

    public: Path
    command: Sequence[str]


def init(root: Path, suite: Suite = "sha256-ed25519", outside: Outside | None = None) -> Home:
    """A new home at `root`: built beside it and moved there in one step, so nothing is ever half-written.

    Raises Misconfigured where something is in the way. An existing complete home is left as it is.
    `suite` is that of its log, and `outside` its key, where the home is not to make one.
    """
    root = root.expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise Misconfigured(f"{root}: is a file; name a folder that is empty or does not exist")
    if root.is_dir() and any(root.iterdir()):
        if (root / "gateway.toml").exists():
            return open_home(root)
        raise Misconfigured(
            f"{root}: holds other files and is not a home; name a folder that is empty or does not exist"
        )
    beside: Path | None = None
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
        _write(beside, suite, outside)
        if root.is_symlink():
            root = root.resolve()
        os.rename(beside, root)  # replaces an empty folder, and only an empty one
    except OSError as error:
        raise Misconfigured(f"{root}: cannot be written ({error.strerror})") from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
    return open_home(root)


def _write(root: Path, suite: Suite, outside: Outside | None) -> None:
    root.chmod(0o700)
    for folder in ("keys", "state", "state/gateway", "state/domain"):
        (root / folder).mkdir(mode=0o700)
    for folder in ("policies", "policies/licences", "data"):
        (root / folder).mkdir(mode=0o755)
    name = uuid4().hex[:12]
    fill = {"@ISSUER@": f"urn:baopingkou:home:{name}", "@ORIGIN@": f"baopingkou/{name}", "@SUITE@": suite}
    fill["@SIGNER@"] = _SIGNER if outside is None else _signer(outside)
    for source, target in (
        ("gateway.toml", "gateway.toml"),
        ("domain.toml", "domain.toml"),
        ("policies.md", "policies/README.md"),
    ):
        text = (files("gateway") / "template" / source).read_text(encoding="utf-8")
        for mark, value in fill.items():
            text = text.replace(mark, value)
        (root / target).write_text(text, encoding="utf-8")
    for key in ("token", "ticket", *(("log",) if outside is None else ())):
        write_key_pair(root / "keys", key)
    if outside is not None:
        shutil.copyfile(outside.public, root / "keys" / "log.pub")


def _signer(outside: Outside) -> str:
    """A string of JSON without control characters is one of TOML."""
    return f"[audit.signer]\ncommand = {json.dumps(list(outside.command), ensure_ascii=False)}"


def write_key_pair(folder: Path, name: str) -> None:
    key = write_private_key(folder / f"{name}.key")
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write_new(folder / f"{name}.pub", public)


def write_private_key(file: Path) -> Ed25519PrivateKey:
    """A new Ed25519 key in a new file of mode 0600. Raises OSError, also where something is there already."""
    key = Ed25519PrivateKey.generate()
    _write_new(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def _write_new(file: Path, content: bytes) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(content)


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """An Ed25519 private key in PEM (PKCS#8). Raises Misconfigured, also when others may read the file."""
    try:
        if file.stat().st_mode & 0o077:
            raise Misconfigured(f"{file}: others may read this private key; `chmod 600` it")
        content = file.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be read ({error.strerror})") from error
    try:
        if len(content) > KEY_BYTES_MAX:
            raise ValueError("too long")
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"{file}: not a private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"{file}: not an Ed25519 key")
    return key
