"""Forged and mutated tokens. Each is a twin of one that is accepted, so nothing is refused for another reason."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.errors import Refusal
from gateway.identity.keys import VerifyingKey
from gateway.identity.token import Verifier
from gateway.settings import TokenKey, Tokens

NOW = 1_800_000_000
ED = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
EC = ec.generate_private_key(ec.SECP256R1())
EC_OTHER = ec.generate_private_key(ec.SECP256R1())
EC_384 = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)
SETTINGS = Tokens(
    issuer="https://issuer.example",
    audience="baopingkou",
    type="jwt",
    keys=[TokenKey(kid="ed", alg="EdDSA", file="ed.pub"), TokenKey(kid="ec", alg="ES256", file="ec.pub")],
)
VERIFIER = Verifier(
    SETTINGS,
    {"ed": VerifyingKey("ed", "EdDSA", ED.public_key()), "ec": VerifyingKey("ec", "ES256", EC.public_key())},
    now=lambda: float(NOW),
)
CLAIMS: dict[str, Any] = {
    "iss": "https://issuer.example",
    "aud": "baopingkou",
    "sub": "op-a",
    "iat": NOW - 10,
    "exp": NOW + 600,
    "jti": "t-1",
    "roles": ["operator"],
}
HEADER: dict[str, Any] = {"alg": "EdDSA", "kid": "ed", "typ": "at+jwt"}


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def dump(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def ed_sign(text: bytes) -> bytes:
    return ED.sign(text)


def ec_raw(key: ec.EllipticCurvePrivateKey, text: bytes) -> bytes:
    der = key.sign(text, ec.ECDSA(hashes.SHA256()))
    return jwt.utils.der_to_raw_signature(der, key.curve)


def compact(header: object, claims: object, sign: Callable[[bytes], bytes] = ed_sign) -> str:
    text = f"{b64(dump(header))}.{b64(dump(claims))}"
    return f"{text}.{b64(sign(text.encode()))}"


def es(claims: object = None, sign: Callable[[bytes], bytes] | None = None, **header: object) -> str:
    head = {"alg": "ES256", "kid": "ec", "typ": "JWT", **header}
    return compact(head, claims or CLAIMS, sign or (lambda text: ec_raw(EC, text)))


def without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in claims.items() if key != name}


def accepted() -> Iterator[tuple[str, str]]:
    yield "EdDSA", compact(HEADER, CLAIMS)
    yield "ES256", es()
    yield "no typ", compact(without(HEADER, "typ"), CLAIMS)
    yield "typ in capitals", compact({**HEADER, "typ": "JWT"}, CLAIMS)
    yield "no roles", compact(HEADER, without(CLAIMS, "roles"))
    yield "one audience in a list", compact(HEADER, {**CLAIMS, "aud": ["baopingkou"]})
    yield "bound to a key", compact(HEADER, {**CLAIMS, "cnf": {"jkt": "A" * 43}})
    yield "other claims", compact(HEADER, {**CLAIMS, "azp": "client", "nested": {"a": [1, 2.5, None]}})
    yield "nbf in the past", compact(HEADER, {**CLAIMS, "nbf": NOW - 5})
    yield "within the leeway", compact(HEADER, {**CLAIMS, "iat": NOW + 20})


def headers() -> Iterator[tuple[str, object]]:
    for alg in ("none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "RS256", "PS256", "ES256", "ES384"):
        yield f"alg {alg!r}", {**HEADER, "alg": alg}
    for alg in ("eddsa", "EDDSA", "Ed25519", "Ed448", "EdDSA ", "PBES2-HS256+A128KW", "dir", None, 1, ["EdDSA"], {}):
        yield f"alg {alg!r}", {**HEADER, "alg": alg}
    for kid in ("", "ec", "ED", "ed ", "../ed", "keys/ed.pub", "' OR 1=1 --", "http://x/k", "ed\u0000", "éd", "home-1"):
        yield f"kid {kid!r}", {**HEADER, "kid": kid}
    for kid in (None, 1, True, ["ed"], {"kid": "ed"}, "ed" * 1000):
        yield f"kid {str(kid)[:20]!r}", {**HEADER, "kid": kid}
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(OTHER.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))}
    for name, value in [
        ("jwk", jwk),
        ("jku", "https://evil.example/jwks"),
        ("x5u", "https://evil.example/cert"),
        ("x5c", ["MIIB"]),
        ("x5t", "AAAA"),
        ("x5t#S256", "AAAA"),
        ("crit", ["exp"]),
        ("crit", []),
        ("b64", False),
        ("b64", True),
        ("zip", "DEF"),
        ("enc", "A128GCM"),
        ("cty", "JWT"),
        ("p2c", 2_000_000_000),
        ("epk", {}),
        ("shoe", 1),
    ]:
        yield f"header member {name}={value!r}"[:56], {**HEADER, name: value}
    for typ in ("JOSE", "dpop+jwt", "logout+jwt", "id_token", "", "at+jwt ", 1, None, ["JWT"], "application/jwt2"):
        yield f"typ {typ!r}", {**HEADER, "typ": typ}
    yield "no alg", without(HEADER, "alg")
    yield "no kid", without(HEADER, "kid")
    yield "empty header", {}
    for content in (b"", b"[]", b"null", b"1", b'"x"', b"{", b"\xff\xfe", b"\xef\xbb\xbf{}"):
        yield f"header {content!r}", content
    yield "alg twice", b'{"alg":"none","alg":"EdDSA","kid":"ed"}'
    yield "kid twice", b'{"alg":"EdDSA","kid":"ec","kid":"ed"}'
    yield "byte order mark", b"\xef\xbb\xbf" + dump(HEADER)
    yield "utf-16", json.dumps(HEADER).encode("utf-16")
    yield "deep header", b'{"alg":"EdDSA","kid":"ed","typ":' + b"[" * 2000 + b"]" * 2000 + b"}"


def claims() -> Iterator[tuple[str, object]]:  # noqa: PLR0912  # one loop a claim
    for name in ("iss", "aud", "sub", "iat", "exp", "jti"):
        yield f"no {name}", without(CLAIMS, name)
        for value in (None, True, 1.5, [], {}, [None], "", -1):
            yield f"{name} {value!r}", {**CLAIMS, name: value}
    for iss in (
        "https://issuer.example/",
        "https://issuer",
        "https://issuer.example.evil",
        ["https://issuer.example"],
        1,
    ):
        yield f"iss {iss!r}", {**CLAIMS, "iss": iss}
    for aud in ("Baopingkou", "baopingkou ", "other", ["baopingkou", "other"], ["other"], ["baopingkou"] * 2, {"a": 1}):
        yield f"aud {aud!r}", {**CLAIMS, "aud": aud}
    for sub in (" ", "a\nb", "a\x00", " a", "a ", "a" * 201, 7, ["op-a"], "\u0085", "a\ud800b"):
        yield f"sub {str(sub)[:20]!r}", {**CLAIMS, "sub": sub}
    for jti in (7, ["t"], "j" * 201):
        yield f"jti {str(jti)[:20]!r}", {**CLAIMS, "jti": jti}
    for value in ("1800000600", NOW + 600.0, 10**30, 0, "never", NOW + 10**8):
        yield f"exp {value!r}", {**CLAIMS, "exp": value}
    for value in (NOW + 60, str(NOW), NOW - 0.5, NOW - 10**7):
        yield f"iat {value!r}", {**CLAIMS, "iat": value}
    for value in (NOW + 60, None, "0", 1.5, True, [], -1):
        yield f"nbf {value!r}", {**CLAIMS, "nbf": value}
    yield "exp before iat", {**CLAIMS, "iat": NOW, "exp": NOW}
    for roles in (1, {"operator": True}, [1], [["operator"]], None, True, ["operator"] * 201):
        yield f"roles {str(roles)[:20]!r}", {**CLAIMS, "roles": roles}
    for cnf in (None, {}, [], "x", {"jwk": {}}, {"kid": "a"}, {"jkt": 1}, {"jkt": "A" * 42}, {"jkt": "A" * 44}):
        yield f"cnf {cnf!r}", {**CLAIMS, "cnf": cnf}
    for cnf in ({"x5t": "A" * 43}, {"jkt": "B" * 43}, {"jkt": "A" * 43, "jwk": {}}, {"x5t#S256": "A" * 42 + "="}):
        yield f"cnf {cnf!r}", {**CLAIMS, "cnf": cnf}
    for content in (b"", b"[]", b"null", b"{", b"\xff"):
        yield f"claims {content!r}", content
    text = json.dumps(CLAIMS)
    yield "sub twice", (text[:-1] + ', "sub": "op-b"}').encode()
    yield "nested member twice", (text[:-1] + ', "n": {"a": 1, "a": 2}}').encode()
    yield "NaN", (text[:-1] + ', "n": NaN}').encode()
    yield "trailing bytes", text.encode() + b"{}"
    yield "deep claims", (text[:-1] + ', "n": ' + "[" * 2500 + "]" * 2500 + "}").encode()
    yield "huge claims", {**CLAIMS, "pad": "x" * 9000}


def shapes() -> Iterator[tuple[str, str]]:
    good = compact(HEADER, CLAIMS)
    head, body, sign = good.split(".")
    yield from [
        ("empty", ""),
        ("words", "nonsense"),
        ("two parts", f"{head}.{body}"),
        ("no signature", f"{head}.{body}."),
        ("four parts", f"{good}.{sign}"),
        ("five parts, as JWE", f"{head}.{body}.{sign}.{sign}.{sign}"),
        ("detached", f"{head}..{sign}"),
        ("no header", f".{body}.{sign}"),
        ("padding", f"{good}=="),
        ("padding inside", f"{head}=.{body}.{sign}"),
        ("space", f"{good} "),
        ("leading space", f" {good}"),
        ("line feed", f"{good}\n"),
        ("inner line feed", f"{head}.{body}\n.{sign}"),
        ("standard alphabet", good.replace("-", "+").replace("_", "/") + "+"),
        ("percent", f"{good}%3D"),
        ("zero", f"{good}\x00"),
        ("other letters", f"{head}.{body}.{sign[:-1]}é"),
        ("short signature", f"{head}.{body}.{sign[:-4]}"),
        ("long signature", f"{head}.{body}.{sign}AAAA"),
        ("zero signature", f"{head}.{body}.{b64(bytes(64))}"),
        ("JSON serialisation", json.dumps({"protected": head, "payload": body, "signature": sign})),
        ("twice", f"{good}, {good}"),
        ("huge", "A" * 100_000),
        ("scheme inside", f"Bearer {good}"),
    ]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    yield "stray bits in the signature", good[:-1] + alphabet[alphabet.index(good[-1]) ^ 1]
    for place in range(0, len(good), 7):
        if good[place] != ".":
            changed = "A" if good[place] != "A" else "B"
            yield f"letter {place} changed", good[:place] + changed + good[place + 1 :]


def forgeries() -> Iterator[tuple[str, str]]:
    yield "another key's signature", compact(HEADER, CLAIMS, OTHER.sign)
    public = ED.public_key()
    secrets = {
        "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "raw": public.public_bytes(Encoding.Raw, PublicFormat.Raw),
        "SSH": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "JWK": json.dumps({"kty": "OKP", "crv": "Ed25519"}).encode(),
        "nothing": b"",
    }
    for name, secret in secrets.items():
        for alg in ("HS256", "EdDSA"):

            def mac(text: bytes, secret: bytes = secret) -> bytes:
                return hmac.new(secret, text, hashlib.sha256).digest()

            yield f"HMAC by the public key as {name}, alg {alg}", compact({**HEADER, "alg": alg}, CLAIMS, mac)
    yield "ES256 by another key", es(sign=lambda text: ec_raw(EC_OTHER, text))
    yield "ES256 on another curve", es(sign=lambda text: ec_raw(EC_384, text))
    yield "ES256 in DER", es(sign=lambda text: EC.sign(text, ec.ECDSA(hashes.SHA256())))
    yield "ES256 with zeros", es(sign=lambda _: bytes(64))
    yield "ES256 with r = 0", es(sign=lambda text: bytes(32) + ec_raw(EC, text)[32:])
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    yield "ES256 with r = s = n", es(sign=lambda _: order.to_bytes(32, "big") * 2)
    yield "ES256 empty", es(sign=lambda _: b"")
    yield "ES256 token with the Ed25519 kid", es(kid="ed")
    yield "EdDSA token with the P-256 kid", compact({**HEADER, "kid": "ec"}, CLAIMS)
    yield "EdDSA signature, alg ES256", compact({"alg": "ES256", "kid": "ec"}, CLAIMS)
    yield (
        "claims of one, signature of another",
        ".".join([*compact(HEADER, {**CLAIMS, "sub": "op-b"}).split(".")[:2], compact(HEADER, CLAIMS).split(".")[2]]),
    )
    yield (
        "header of one, signature of another",
        ".".join([b64(dump({**HEADER, "typ": "JWT"})), *compact(HEADER, CLAIMS).split(".")[1:]]),
    )


REFUSED: dict[str, str] = {
    **{f"header: {name}": compact(header, CLAIMS) for name, header in headers()},
    **{
        f"ES256 header: {name}": es(None, None, **header)
        for name, header in headers()
        if isinstance(header, dict) and header.get("kid") == "ed" and header.get("alg") == "EdDSA"
    },
    **{f"claims: {name}": compact(HEADER, body) for name, body in claims()},
    **{f"shape: {name}": token for name, token in shapes()},
    **{f"forged: {name}": token for name, token in forgeries()},
}


@pytest.mark.parametrize(("name", "token"), list(accepted()), ids=lambda value: str(value)[:30])
def test_the_twins_are_accepted(name: str, token: str) -> None:
    assert VERIFIER.caller(token).subject == "op-a", name


def test_where_access_tokens_have_to_be_marked_only_those_that_are_get_in() -> None:
    strict = replace(VERIFIER, settings=SETTINGS.model_copy(update={"type": "at+jwt"}))
    for kind in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert strict.caller(compact({**HEADER, "typ": kind}, CLAIMS)).subject == "op-a"
    for header in (without(HEADER, "typ"), {**HEADER, "typ": "JWT"}, {**HEADER, "typ": "jwt"}):
        assert VERIFIER.caller(compact(header, CLAIMS)).subject == "op-a"  # the twin: it is refused for nothing else
        with pytest.raises(Refusal):
            strict.caller(compact(header, CLAIMS))


def test_there_are_enough_mutants() -> None:
    assert len(REFUSED) >= 300
    assert not set(REFUSED.values()) & {token for _, token in accepted()}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mutated_token_is_refused_in_the_same_words(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        VERIFIER.caller(REFUSED[name])
    assert caught.value.code == "token_invalid", name
    assert caught.value.message == "the bearer token is not accepted"


def test_an_expired_token_is_told_so_but_a_forged_expired_one_is_not() -> None:
    expired = {**CLAIMS, "iat": NOW - 700, "exp": NOW - 60}
    with pytest.raises(Refusal) as caught:
        VERIFIER.caller(compact(HEADER, expired))
    assert caught.value.code == "token_expired"
    with pytest.raises(Refusal) as caught:
        VERIFIER.caller(compact(HEADER, expired, OTHER.sign))
    assert caught.value.code == "token_invalid"


def test_refusing_the_largest_token_costs_little() -> None:
    """In processor time, whatever else the machine does: no work that grows with the square of a length."""
    begin = time.thread_time()
    for _ in range(200):
        with pytest.raises(Refusal):
            VERIFIER.caller("A" * 7_999)
    assert time.thread_time() - begin < 2


def test_the_twin_verifier_that_trusts_the_header_is_caught() -> None:
    """The defence planted broken: a verifier that takes the algorithm from the token accepts forgeries of this list."""

    def trusting(token: str) -> bool:
        header = jwt.get_unverified_header(token)
        if header["alg"] == "none":
            return True
        if header["alg"] == "HS256":
            head, body, sign = token.split(".")
            secret = ED.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            return b64(hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()) == sign
        return False

    forged = ("header: alg 'none'", "forged: HMAC by the public key as PEM, alg HS256")
    assert all(trusting(REFUSED[name]) for name in forged)


def test_a_verifier_that_forgets_the_leeway_bound_would_be_noticed() -> None:
    """The defence planted broken: with a clock that stands still long ago, the expired token passes."""
    stale = replace(VERIFIER, now=lambda: float(NOW - 650))
    expired = compact(HEADER, {**CLAIMS, "iat": NOW - 700, "exp": NOW - 60})
    assert stale.caller(expired).subject == "op-a"


@pytest.mark.parametrize(
    "content",
    [
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        EC_384.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ED.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ED.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        b'{"kty": "oct", "k": "c2VjcmV0"}',
        b"secret",
        b"",
        b"-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n",
        b"x" * 20_000,
    ],
    ids=["rsa", "p384", "p256 as EdDSA", "private", "ssh", "oct jwk", "secret", "empty", "broken", "huge"],
)
def test_a_key_of_another_kind_is_refused_at_load(tmp_path: Any, content: bytes) -> None:
    from gateway.errors import Misconfigured
    from gateway.identity.keys import load_keys

    (tmp_path / "k.pub").write_bytes(content)
    with pytest.raises(Misconfigured, match=r"k\.pub"):
        load_keys([TokenKey(kid="k", alg="EdDSA", file="k.pub")], lambda name: tmp_path / name)
