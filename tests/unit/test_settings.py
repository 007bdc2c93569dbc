"""gateway.toml and the home directory: what is wrong is named, nothing is half-written."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from gateway.errors import Misconfigured
from gateway.home import init, open_home, read_private_key
from gateway.settings import Settings, load

GOOD = """
[tokens]
issuer = "urn:x"
[[tokens.keys]]
kid = "a"
alg = "EdDSA"
file = "a.pub"
"""


def read(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "gateway.toml"
    file.write_text(text, encoding="utf-8")
    return load(file)


def test_a_short_file_has_safe_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD)
    assert settings.server.host == "127.0.0.1"
    assert settings.limits.sql_bytes_max == 20_000


def test_the_address_of_a_store_does_not_show_its_password(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD + '[store]\nurl = "postgresql://gateway:hunter2@db.example/ledger"')
    assert settings.store.url is not None
    assert "hunter2" in settings.store.url.get_secret_value()
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["tokens", "missing"]),
        ("[tokens", ["not TOML"]),
        (GOOD + "[shoe]\nsize = 3", ["unknown key `shoe`"]),
        (GOOD + "[server]\nports = 3", ["unknown key `server.ports`"]),
        (GOOD + '[server]\nport = "80"', ["`server.port`"]),
        (GOOD + "[server]\nport = 70000", ["`server.port`", "65535"]),
        (GOOD + "[limits]\nsql_bytes_max = 1.5", ["`limits.sql_bytes_max`"]),
        (GOOD.replace("EdDSA", "HS256"), ["`tokens.keys[0].alg`", "EdDSA"]),
        (GOOD.replace("EdDSA", "none"), ["`tokens.keys[0].alg`"]),
        (GOOD.replace('kid = "a"', ""), ["`tokens.keys[0].kid` is missing"]),
        (GOOD + GOOD.split("\n", 3)[3], ["same `kid`"]),
        (GOOD.replace('issuer = "urn:x"', 'issuer = ""'), ["`tokens.issuer`"]),
        ('[tokens]\nissuer = "urn:x"\nkeys = []', ["`tokens.keys`"]),
        (GOOD + "[audit]\norigin = 'a b'", ["`audit.origin`"]),
        (GOOD + "[store]\nurl = 'mysql://db.example/x'", ["`store.url`", "postgresql://"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(Misconfigured) as caught:
        read(tmp_path, text)
    assert "gateway.toml" in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        load(tmp_path / "nothing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Misconfigured, match="not TOML"):
        load(tmp_path / "binary.toml")


def test_a_new_home_is_complete_and_its_keys_are_private(tmp_path: Path) -> None:
    home = init(tmp_path / "deep" / "home")
    assert open_home(home.root).settings == home.settings
    for key in (home.root / "keys").iterdir():
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["home"]
    assert (home.root / "domain.toml").read_text().count("[datasets.clinic]") == 1


def test_two_homes_share_no_key_and_no_issuer(tmp_path: Path) -> None:
    one, two = init(tmp_path / "one"), init(tmp_path / "two")
    assert one.settings.tokens.issuer != two.settings.tokens.issuer
    for name in ("token", "ticket", "log"):
        assert (one.root / f"keys/{name}.key").read_bytes() != (two.root / f"keys/{name}.key").read_bytes()


def test_init_takes_an_empty_folder_and_leaves_a_home_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    home = init(tmp_path / "home")
    before = (home.root / "keys/log.key").read_bytes()
    assert init(tmp_path / "home").root == home.root
    assert (home.root / "keys/log.key").read_bytes() == before


def test_init_refuses_a_folder_with_other_files_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(Misconfigured, match="not a home"):
        init(tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(Misconfigured, match="is a file"):
        init(tmp_path / "mine" / "letter.txt")


@pytest.mark.parametrize("gone", ["domain.toml", "keys/token.pub", "keys/log.key", "keys/ticket.key", "policies"])
def test_a_home_that_is_half_there_says_what_is_missing_and_the_way_out(tmp_path: Path, gone: str) -> None:
    home = init(tmp_path / "home")
    path = home.root / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    for again in (open_home, init):
        with pytest.raises(Misconfigured) as caught:
            again(home.root)
        assert str(path) in str(caught.value)
        assert "bpk init" in str(caught.value)


def test_a_folder_that_is_no_home_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="not a home"):
        open_home(tmp_path)
    with pytest.raises(Misconfigured, match="no such folder"):
        open_home(tmp_path / "nowhere")


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    key = init(tmp_path / "home").root / "keys/log.key"
    read_private_key(key)
    key.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        read_private_key(key)
    key.chmod(0o600)
    key.write_text("nonsense")
    with pytest.raises(Misconfigured, match="not a private key"):
        read_private_key(key)
