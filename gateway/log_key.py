"""A log's key as a home holds it: its private half in a file, or its public half and a signer outside."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.audit import public_key
from gateway.audit.checkpoint import Signer
from gateway.audit.command import Command
from gateway.audit.plugged import PluggedKey
from gateway.audit.suites import DIGESTS, digest_name
from gateway.errors import Misconfigured
from gateway.home import Home, read_private_key


def signer_at(home: Home, file: Path) -> Signer | None:
    """The key in `file`; without that, the signer's key whose public half is beside it; None where there is neither.

    Raises Misconfigured.
    """
    if file.exists():
        return own_signer(home, file)
    public = file.with_suffix(".pub")
    if home.settings.audit.signer is None or not public.exists():
        return None
    key = public_key.read(public)
    return Signer(home.settings.audit.origin, PluggedKey(key, _command(home)), _suite(home, key.algorithm, public))


def own_signer(home: Home, file: Path) -> Signer:
    """The private key in `file`. Raises Misconfigured."""
    return Signer(home.settings.audit.origin, read_private_key(file), _suite(home, "ed25519", file))


def _suite(home: Home, algorithm: str, file: Path) -> str:
    """The digest is the log's, the signature that of the key."""
    digest = digest_name(home.settings.audit.suite)
    suite = f"{digest}-{algorithm}"
    if suite not in DIGESTS:
        raise Misconfigured(f"{file}: a key of `{algorithm}` signs no log that is hashed with `{digest}`")
    return suite


def _command(home: Home) -> Command:
    signer = home.settings.audit.signer
    if signer is None:
        raise Misconfigured(f"{home.root / 'gateway.toml'}: names no signer")
    program = home.path(signer.command[0])
    if not program.is_file() or not os.access(program, os.X_OK):
        raise Misconfigured(f"{program}: the signer of `[audit.signer]` is no program that may be run here")
    return Command((str(program), *signer.command[1:]), signer.timeout_s)
