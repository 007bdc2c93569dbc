"""SM2, verified: by published vectors, against OpenSSL both ways, and against another implementation."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit import public_key, sm2
from gateway.audit.public_key import PublicKey
from gateway.errors import Misconfigured
from tests import second_sm2
from tests.sm2_world import needs_openssl, new_key, openssl_holds, openssl_sign, pem

SECRET = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
K = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21
PUBLIC = bytes.fromhex(
    "0409F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
)
SIGNATURE = bytes.fromhex(
    "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
    "B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA"
)
TEXT = b"message digest"


def judged(public: bytes, signature: bytes, content: bytes) -> bool:
    """By both implementations, which must agree."""
    good = sm2.holds(public, signature, content)
    assert good == second_sm2.good(public, signature, content)
    return good


def pair(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_the_example_of_the_standard_holds() -> None:
    """GB/T 32918.5-2017, A.2: key, k, signature."""
    assert judged(PUBLIC, SIGNATURE, TEXT)
    assert second_sm2.public_of(SECRET) == PUBLIC
    assert second_sm2.sign(SECRET, TEXT, K) == SIGNATURE
    assert not judged(PUBLIC, SIGNATURE, b"message digesu")


def test_z_is_that_of_the_example() -> None:
    z = "b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3"
    assert sm2._about(PUBLIC, sm2.ID).hex() == z
    assert not sm2.holds(PUBLIC, SIGNATURE, TEXT, b"ALICE123@YAHOO.COM")


def test_no_flipped_bit_of_signature_key_or_text_holds() -> None:
    dice = random.Random(5)
    for place in [*range(0, 512, 19), *(dice.randrange(512) for _ in range(8))]:
        flipped = bytearray(SIGNATURE)
        flipped[place // 8] ^= 1 << place % 8
        assert not judged(PUBLIC, bytes(flipped), TEXT), place
    for place in range(len(TEXT)):
        assert not judged(PUBLIC, SIGNATURE, TEXT[:place] + b"x" + TEXT[place + 1 :])
    assert not judged(second_sm2.public_of(SECRET + 1), SIGNATURE, TEXT)
    assert not judged(PUBLIC, SIGNATURE[32:] + SIGNATURE[:32], TEXT)


def test_both_agree_on_signatures_of_many_keys() -> None:
    dice = random.Random(6)
    for _ in range(6):
        secret, content = dice.randrange(1, sm2.N - 1), dice.randbytes(dice.randrange(200))
        public = second_sm2.public_of(secret)
        assert judged(public, second_sm2.sign(secret, content), content)
    for secret in (1, 2, sm2.N - 2):  # the generator, its double, and one whose first sum is the point at infinity
        public = second_sm2.public_of(secret)
        assert judged(public, second_sm2.sign(secret, TEXT), TEXT)


def out_of_range() -> dict[str, bytes]:
    r, s = int.from_bytes(SIGNATURE[:32], "big"), int.from_bytes(SIGNATURE[32:], "big")
    return {
        "nothing": b"",
        "all zero": bytes(64),
        "r is 0": pair(0, s),
        "s is 0": pair(r, 0),
        "r is n": pair(sm2.N, s),
        "s is n": pair(r, sm2.N),
        "r is the largest": pair(2**256 - 1, s),
        "s is the largest": pair(r, 2**256 - 1),
        "r and s are n together": pair(r, sm2.N - r),
        "shorter": SIGNATURE[:-1],
        "longer": SIGNATURE + b"\0",
        "s is its opposite": pair(r, sm2.N - s),
    }


@pytest.mark.parametrize("name", out_of_range())
def test_numbers_out_of_range_are_refused(name: str) -> None:
    assert not judged(PUBLIC, out_of_range()[name], TEXT)


def a_small_one() -> tuple[int, bytes, bytes]:
    """A hash, a key, and a signature so small that n can be added to its numbers: the same ones to a verifier that does
    not look at their range."""
    r, s, point = 5, 777, second_sm2.times(12345, second_sm2.G)
    end = second_sm2.add(second_sm2.times(s, second_sm2.G), second_sm2.times(r + s, point))
    assert end is not None
    return (r - end[0]) % sm2.N, second_sm2.public_of(12345), pair(r, s)


def test_a_signature_has_one_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash is bent to what is needed, since no text can be found for it."""
    hashed, public, small = a_small_one()
    monkeypatch.setattr(sm2, "sm3", lambda content: hashed.to_bytes(32, "big"))
    monkeypatch.setattr(second_sm2, "digest", lambda public, content: hashed)
    assert judged(public, small, TEXT)
    for r, s in ((5 + sm2.N, 777), (5, 777 + sm2.N)):
        assert not judged(public, pair(r, s), TEXT)
    for spelling in (small[:32] + small[-2:], small[:32] + b"\0" + small[32:], b"\0" + small):
        assert not judged(public, spelling, TEXT)


def test_a_signature_that_leaves_the_key_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """r + s = n: then the key is taken zero times, and anybody's would do."""
    end = second_sm2.times(777, second_sm2.G)
    assert end is not None
    hashed = (-777 - end[0]) % sm2.N
    monkeypatch.setattr(sm2, "sm3", lambda content: hashed.to_bytes(32, "big"))
    monkeypatch.setattr(second_sm2, "digest", lambda public, content: hashed)
    assert not judged(PUBLIC, pair(sm2.N - 777, 777), TEXT)


def at_infinity() -> bytes:
    """By whoever has the key: s·G + t·P is the point at infinity, which has no x to compare with."""
    e = second_sm2.digest(PUBLIC, TEXT) % sm2.N
    return pair(e, -e * SECRET * pow(1 + SECRET, -1, sm2.N) % sm2.N)


def test_a_sum_at_infinity_is_refused() -> None:
    assert not judged(PUBLIC, at_infinity(), TEXT)


def test_a_verifier_that_takes_infinity_for_a_point_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sm2._sum_of_multiples

    def forgetful(*given: object) -> tuple[int, int, int]:
        found = real(*given)  # type: ignore[arg-type]
        return found if found[2] else (0, 1, 1)

    monkeypatch.setattr(sm2, "_sum_of_multiples", forgetful)
    with pytest.raises(AssertionError):
        test_a_sum_at_infinity_is_refused()


def test_verifiers_that_leave_a_rule_out_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(sm2, "read_point", lambda public: (int.from_bytes(public[1:33]), int.from_bytes(public[33:])))
        with pytest.raises(pytest.fail.Exception):
            test_what_is_no_point_is_no_key("not on the curve")
    with monkeypatch.context() as planted:
        planted.setattr(sm2, "_about", lambda public, identity: b"")
        with pytest.raises(AssertionError):
            test_the_example_of_the_standard_holds()


NO_POINTS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "infinity": lambda: b"\0",
    "compressed": lambda: b"\3" + PUBLIC[1:33],
    "hybrid": lambda: b"\7" + PUBLIC[1:],
    "without its first byte": lambda: PUBLIC[1:] + b"\0",
    "all zero": lambda: b"\4" + bytes(64),
    "not on the curve": lambda: PUBLIC[:-1] + b"\x12",
    "x beyond the field": lambda: (
        b"\4" + sm2.P.to_bytes(32, "big") + pow(sm2.B, (sm2.P + 1) // 4, sm2.P).to_bytes(32, "big")
    ),
    "y beyond the field": lambda: PUBLIC[:33] + (2**256 - 1).to_bytes(32, "big"),
    "longer": lambda: PUBLIC + b"\0",
}


@pytest.mark.parametrize("name", NO_POINTS)
def test_what_is_no_point_is_no_key(name: str) -> None:
    public = NO_POINTS[name]()
    with pytest.raises(ValueError, match="SM2"):
        sm2.holds(public, SIGNATURE, TEXT)
    assert not second_sm2.is_point(public)


# OpenSSL


@needs_openssl
def test_what_openssl_signs_holds_and_it_agrees_on_ours(tmp_path: Path) -> None:
    key = public_key.read(new_key(tmp_path / "keys"))
    private = tmp_path / "keys" / f"{key.fingerprint}.pem"
    dice = random.Random(7)
    for size in (0, 1, 64, 300):
        content = dice.randbytes(size)
        signature = openssl_sign(private, content)
        assert judged(key.raw, signature, content)
        assert openssl_holds(key, signature, content, tmp_path)
        bent = bytearray(signature)
        bent[dice.randrange(64)] ^= 1 << dice.randrange(8)
        assert not judged(key.raw, bytes(bent), content)
        assert not openssl_holds(key, bytes(bent), content, tmp_path)


@needs_openssl
def test_openssl_finds_the_same_of_signatures_of_the_other_implementation(tmp_path: Path) -> None:
    key = PublicKey("sm2", PUBLIC)
    signature = second_sm2.sign(SECRET, TEXT)
    assert judged(PUBLIC, signature, TEXT)
    assert openssl_holds(key, signature, TEXT, tmp_path)
    assert openssl_holds(key, SIGNATURE, TEXT, tmp_path)
    for name, refused in out_of_range().items():
        if len(refused) == 64:
            assert not openssl_holds(key, refused, TEXT, tmp_path), name
    assert not openssl_holds(key, at_infinity(), TEXT, tmp_path)


# public keys in files


@needs_openssl
@pytest.mark.parametrize("algorithm", ["sm2", "ed25519"])
def test_public_keys_are_read_as_openssl_writes_them(algorithm: str, tmp_path: Path) -> None:
    file = new_key(tmp_path / "keys", algorithm)
    key = public_key.read(file)
    assert key.algorithm == algorithm
    assert pem(key) == file.read_bytes()
    assert (tmp_path / "keys" / f"{key.fingerprint}.pem").exists()


def test_what_is_no_public_key_is_refused(tmp_path: Path) -> None:
    good = pem(PublicKey("sm2", PUBLIC))
    spoilt = {
        "nothing": b"",
        "no PEM": b"x",
        "cut off": good[:-30],
        "not base64": good.replace(b"\nM", b"\n!"),
        "another curve": good.replace(b"MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0D", b"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD"),
        "not on the curve": pem(PublicKey("sm2", PUBLIC[:-1] + b"\x12")),
        "not text": b"\xff" * 100,
        "too long": b"\n" * 20_000 + good,
    }
    for content in spoilt.values():
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(Misconfigured, match="public key"):
            public_key.read(tmp_path / "key")
    with pytest.raises(Misconfigured, match="cannot be read"):
        public_key.read(tmp_path / "none")
