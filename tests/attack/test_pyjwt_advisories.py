"""Each published advisory of PyJWT that could touch a gateway, tried on ours: the library under it is not the wall."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.errors import Refusal
from gateway.identity.fetch import NotFetched, fetcher
from gateway.identity.issuer import ASK_S, Issuer, KeyRing
from gateway.identity.jwk import jwk_of, key_set
from gateway.identity.jws import Bad
from gateway.identity.token import Verifier
from gateway.settings import ALGORITHMS, Jwks, Tokens
from tests.attack.test_tokens import CLAIMS, ED, HEADER, RSA, VERIFIER, b64, compact, dump
from tests.stub_issuer import StubIssuer, private_key, published, stub_issuer

ED_PUBLIC = ED.public_key()
PEM = ED_PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = ED_PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
JWK = dump(jwk_of(ED_PUBLIC))


@pytest.fixture
def stub() -> Iterator[StubIssuer]:
    with stub_issuer() as found:
        found.publish(one="EdDSA")
        yield found


def refused(token: str) -> bool:
    assert VERIFIER.caller(compact(HEADER, CLAIMS)).subject == "op-a"  # the twin
    try:
        VERIFIER.caller(token)
    except Refusal as refusal:
        return refusal.code == "token_invalid"
    return False


def signed_with(secret: bytes) -> str:
    return compact({**HEADER, "alg": "HS256"}, CLAIMS, lambda text: hmac.new(secret, text, hashlib.sha256).digest())


@pytest.mark.parametrize(
    ("advisory", "secret"),
    [
        ("CVE-2017-11424", b"-----BEGIN RSA PUBLIC KEY-----\n" + PEM.split(b"\n", 1)[1]),
        ("CVE-2022-29217 / GHSA-ffqj-6fqr-9h24", ED_PUBLIC.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)),
        ("GHSA-xgmm-8j9v-c9wx (CVE-2026-48526)", JWK),
        ("GHSA-r6x4-923q-g947", dump({"keys": [jwk_of(ED_PUBLIC)]})),
        ("GHSA-ffc3-869f-jxw9", dump([jwk_of(ED_PUBLIC)])),
        ("GHSA-p4g4-x82p-q773", b"\xef\xbb\xbf" + PEM),
        ("GHSA-w2cx-738m-mc7w", DER),
        ("GHSA-w2cx-738m-mc7w, base64", base64.b64encode(DER)),
        ("GHSA-pxh4-856f-4h89", b""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_public_key_in_any_writing_is_a_secret(advisory: str, secret: bytes) -> None:
    assert refused(signed_with(secret)), advisory


def test_cve_2026_48526_a_secret_in_a_set_of_keys_is_no_key() -> None:
    secret = {"kty": "oct", "kid": "ed", "alg": "HS256", "k": b64(b"s" * 32)}
    assert key_set(dump({"keys": [secret, {**secret, "k": ""}]}), ALGORITHMS).keys == {}


def test_ghsa_jq35_a_key_that_names_an_algorithm_has_no_other() -> None:
    keys = key_set(dump({"keys": [published("k", RSA, "PS256")]}), ALGORITHMS).keys
    verifier = replace(VERIFIER, keys=keys)
    for algorithm, lets_in in (("PS256", True), ("RS256", False), ("PS384", False)):
        token = jwt.encode(CLAIMS, RSA, algorithm, headers={"kid": "k", "typ": "at+jwt"})
        try:
            passed = verifier.caller(token).subject == "op-a"
        except Refusal:
            passed = False
        assert passed is lets_in, algorithm


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "jar", "gopher"])
def test_ghsa_993g_keys_come_by_https_and_nothing_else(scheme: str) -> None:
    with pytest.raises(NotFetched):
        fetcher(1)(f"{scheme}:///keys.json")
    with pytest.raises(ValueError, match="https"):
        Jwks(url=f"{scheme}:///keys.json")


def test_ghsa_fhv5_a_failed_fetch_keeps_the_keys(stub: StubIssuer) -> None:
    issuer = Issuer(Tokens(issuer=stub.url, jwks=Jwks(discovery=True)), fetcher(2))
    issuer.refresh()
    stub.replies["/keys"] = (500, {}, b"")
    issuer.refresh()
    assert issuer.get("one") is not None


def test_ghsa_9v7f_a_redirect_leads_to_no_keys(stub: StubIssuer) -> None:
    thief = published("one", private_key("EdDSA"))
    stub.replies["/elsewhere"] = {"keys": [thief]}
    stub.replies["/keys"] = (302, {"Location": f"{stub.url}/elsewhere"}, b"")
    issuer = Issuer(Tokens(issuer=stub.url, jwks=Jwks(discovery=True)), fetcher(2))
    issuer.refresh()
    assert issuer.look().state == "none"
    assert "/elsewhere" not in stub.asked


def test_ghsa_2gx3_unknown_keys_do_not_fetch_again_and_again(stub: StubIssuer) -> None:
    now = [0.0]
    issuer = Issuer(Tokens(issuer=stub.url, jwks=Jwks(discovery=True)), fetcher(2), lambda: now[0])
    assert issuer.ask() is not None
    issuer._flight = None
    asked = 0
    for _ in range(1000):
        now[0] += ASK_S / 1000
        asked += issuer.ask() is not None
        issuer._flight = None
    assert asked <= 1


@pytest.mark.parametrize("part", ["header", "claims", "key set"])
def test_ghsa_8wjv_deep_nesting_is_refused_and_breaks_nothing(part: str) -> None:
    deep = b"[" * 3000 + b"]" * 3000
    if part == "key set":
        with pytest.raises(Bad):
            key_set(b'{"keys": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ALGORITHMS)
        return
    header = dump(HEADER)[:-1] + b', "typ": ' + deep + b"}" if part == "header" else dump(HEADER)
    claims = dump(CLAIMS)[:-1] + b', "n": ' + deep + b"}" if part == "claims" else dump(CLAIMS)
    assert refused(compact(header, claims))


@pytest.mark.parametrize("broken", [None, 5, [], "x", {"kty": None}, {"kty": "EC", "crv": "P-256", "x": 5, "kid": "b"}])
def test_ghsa_w6j9_one_malformed_key_does_not_take_the_others_with_it(broken: object) -> None:
    assert set(key_set(dump({"keys": [broken, published("k", private_key("EdDSA"))]}), ALGORITHMS).keys) == {"k"}


@pytest.mark.parametrize(
    "change", [lambda t: t + "=", lambda t: t + "==", lambda t: t.replace(".", "=.", 1), lambda t: t + "\n"]
)
def test_ghsa_hxm8_a_token_has_one_spelling_also_without_padding(change: Callable[[str], str]) -> None:
    """2.15.1 lets trailing padding in again; we do not."""
    assert refused(change(compact(HEADER, CLAIMS)))


def test_ghsa_w7vc_nothing_is_read_of_a_payload_that_is_not_encoded() -> None:
    assert refused(compact({**HEADER, "b64": False, "crit": ["b64"]}, CLAIMS))
    head = b64(json.dumps({**HEADER, "b64": False, "crit": ["b64"]}).encode())
    assert refused(f"{head}..{b64(ED.sign(head.encode() + b'.' + dump(CLAIMS)))}")


def test_37b54877_a_payload_beside_the_token_is_not_looked_at() -> None:
    head, _, signature = compact(HEADER, CLAIMS).split(".")
    assert refused(f"{head}..{signature}")


@pytest.mark.parametrize("critical", [["exp"], ["x"], [], "exp", None])
def test_ghsa_752w_cve_2026_32597_an_extension_that_is_critical_is_refused(critical: object) -> None:
    assert refused(compact({**HEADER, "crit": critical, "x": 1}, CLAIMS))
    assert refused(compact({**HEADER, "crit": critical}, CLAIMS))


@pytest.mark.parametrize(
    "issuer", ["https://issuer", "https://issuer.example/", "issuer.example", "", ["https://issuer.example"]]
)
def test_ghsa_75c5_cve_2024_53861_a_part_of_the_issuer_is_not_the_issuer(issuer: object) -> None:
    assert refused(compact(HEADER, {**CLAIMS, "iss": issuer}))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_alg_none_is_no_algorithm(algorithm: str) -> None:
    head, body, _ = compact({**HEADER, "alg": algorithm}, CLAIMS).split(".")
    assert refused(f"{head}.{body}.")
    assert refused(f"{head}.{body}.AAAA")


def test_planted_a_verifier_that_takes_hmac_accepts_the_public_key_as_a_secret() -> None:
    """What these tests would see of a gateway that handed the choice to the library as it once was."""
    token = signed_with(JWK)
    head, body, signature = token.split(".")
    made = hmac.new(JWK, f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert b64(made) == signature
    with pytest.raises(jwt.PyJWTError):  # and the library itself refuses that key now
        jwt.decode(token, JWK, algorithms=["HS256"], audience="baopingkou")


def test_planted_a_verifier_without_our_strictness_takes_padding(stub: StubIssuer) -> None:
    token = compact(HEADER, CLAIMS) + "=="
    jwt.PyJWS(algorithms=["EdDSA"]).decode(token, ED_PUBLIC, algorithms=["EdDSA"])
    assert refused(token)
    issuer = Issuer(Tokens(issuer=stub.url, jwks=Jwks(discovery=True)), fetcher(2))
    issuer.refresh()
    settings = Tokens(issuer=stub.url, jwks=Jwks(discovery=True))
    verifier = Verifier(settings, KeyRing({}, issuer))
    good = stub.token("one")
    assert verifier.caller(good).subject == "op-a"
    with pytest.raises(Refusal):
        verifier.caller(good + "==")
