"""Keys of SM2 for tests: some whose private half is in this process, and `openssl` as another opinion of signatures."""

from __future__ import annotations

import base64
import functools
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gateway.audit.checkpoint import Signer
from gateway.audit.public_key import PublicKey
from gateway.audit.suites import SM3_SM2
from gateway.errors import NotReady
from gateway.home import Home, open_home
from tests import second_sm2
from tests.ledger_world import SIGNER

SCRIPT = Path(__file__).parents[1] / "deploy" / "signer" / "openssl-signer"
ID = ("-digest", "sm3", "-pkeyopt", "distid:1234567812345678")


@dataclass
class Inside:
    """A plugged key, plugged to nothing but a number; `broken` says why it does not sign."""

    secret: int
    broken: str | None = None
    asked: list[bytes] = field(default_factory=list)

    @functools.cached_property
    def public(self) -> bytes:
        return second_sm2.public_of(self.secret)

    def sign(self, content: bytes) -> bytes:
        self.asked.append(content)
        if self.broken:
            raise NotReady(self.broken)
        return second_sm2.sign(self.secret, content)

    def unready(self, content: bytes) -> str | None:
        return self.broken


def sm2_signer(secret: int = 7**80) -> Signer:
    return Signer(SIGNER.origin, Inside(secret), SM3_SM2)


@functools.cache
def openssl_has_sm2() -> bool:
    try:
        done = subprocess.run(["openssl", "genpkey", "-algorithm", "SM2"], capture_output=True, check=False)
        helps = subprocess.run(["openssl", "pkeyutl", "-help"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and b"-rawin" in helps.stdout + helps.stderr


needs_openssl = pytest.mark.skipif(not openssl_has_sm2(), reason="there is no `openssl` with SM2 here (version 3)")


def new_key(folder: Path, algorithm: str = "sm2") -> Path:
    """Makes a key in `folder` by the script that is shipped; where its public half is."""
    folder.mkdir(mode=0o700, exist_ok=True)
    made = subprocess.run([SCRIPT, folder, "new", algorithm], capture_output=True, check=True)
    public = folder / f"{len(list(folder.iterdir()))}.pub"
    public.write_bytes(made.stdout)
    return public


def pem(key: PublicKey) -> bytes:
    text = base64.b64encode(key.der).decode()
    lines = "".join(f"{text[at : at + 64]}\n" for at in range(0, len(text), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n".encode()


def openssl_sign(private: Path, content: bytes) -> bytes:
    """r and s, 32 bytes each."""
    command = ["openssl", "pkeyutl", "-sign", "-rawin", *ID, "-inkey", private]
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    return b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(done.stdout))


def openssl_holds(key: PublicKey, signature: bytes, content: bytes, folder: Path) -> bool:
    public, file = folder / "asked.pub", folder / "asked.sig"
    public.write_bytes(pem(key))
    file.write_bytes(encode_dss_signature(*(int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))))
    command = ["openssl", "pkeyutl", "-verify", "-rawin", *ID, "-pubin", "-inkey", public, "-sigfile", file]
    return subprocess.run(command, input=content, capture_output=True, check=False).returncode == 0


def script(folder: Path, name: str, body: str) -> Path:
    """A program of the shell."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    os.chmod(file, 0o700)
    return file


def plug(home: Home, public: Path, command: list[str | Path], suite: str = SM3_SM2) -> Home:
    """The home, whose log is not begun yet, with its key outside."""
    home.log_key.unlink()
    shutil.copy(public, home.log_key.with_suffix(".pub"))
    file = home.root / "gateway.toml"
    text = file.read_text("utf-8").replace('suite = "sha256-ed25519"', f'suite = "{suite}"')
    words = json.dumps([str(word) for word in command])
    file.write_text(f"{text}\n[audit.signer]\ncommand = {words}\ntimeout_s = 60\n", encoding="utf-8")
    return open_home(home.root)


class Moody:
    """A signer by the script that is shipped, which does whatever else it is told to: a line of the shell."""

    def __init__(self, folder: Path, algorithm: str = "sm2") -> None:
        folder.mkdir(exist_ok=True)
        self.keys, self._mood = folder / "keys", folder / "mood"
        self.public = new_key(self.keys, algorithm)
        self.told("")
        self.program = script(folder, "signer", f'. "{self._mood}"\nexec "{SCRIPT}" "$@"')

    def told(self, line: str) -> None:
        """What it does before it signs, if it comes to that."""
        self._mood.write_text(f"{line}\n", encoding="utf-8")

    @property
    def command(self) -> list[str | Path]:
        return [self.program, self.keys]
