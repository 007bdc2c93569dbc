"""Published keys: read strictly, fetched seldom, kept when fetching fails, never chosen by a token."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.errors import Misconfigured, NotReady, Refusal
from gateway.identity.fetch import BYTES_MAX, NotFetched, fetcher
from gateway.identity.issuer import ASK_S, Issuer, KeyRing, address_in
from gateway.identity.jwk import jwk_of, key_set, public_key, thumbprint
from gateway.identity.jws import Bad
from gateway.identity.token import NotAccepted, Verifier
from gateway.settings import ALGORITHMS, Algorithm, Jwks, Tokens
from tests.stub_issuer import StubIssuer, octets, private_key, published, stub_issuer

SAFE: tuple[Algorithm, ...] = ("EdDSA", "ES256")


@pytest.fixture
def stub() -> Iterator[StubIssuer]:
    with stub_issuer() as found:
        found.publish(one="EdDSA")
        yield found


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tokens(stub: StubIssuer, **more: Any) -> Tokens:
    return Tokens(issuer=stub.url, jwks=Jwks(**({"discovery": True} | more)))


def issuer(stub: StubIssuer, clock: Clock | None = None, timeout_s: float = 2, **more: Any) -> Issuer:
    return Issuer(tokens(stub, **more), fetcher(timeout_s), clock or Clock())


def document(*entries: Any) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


# The documents


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("named", [True, False])
def test_a_published_key_signs_by_its_one_algorithm(algorithm: Algorithm, named: bool) -> None:
    key = private_key(algorithm)
    allowed = (*SAFE, algorithm) if algorithm not in SAFE else SAFE
    found = key_set(document(published("k", key, algorithm if named else None)), allowed)
    assert found.keys["k"].algorithm == algorithm
    assert found.keys["k"].key == key.public_key()


def test_rsa_counts_for_nothing_unless_it_is_named() -> None:
    entry = published("k", private_key("PS256"), "PS256")
    assert key_set(document(entry), SAFE).keys == {}
    assert key_set(document(entry), (*SAFE, "RS256")).keys == {}
    assert set(key_set(document(entry), (*SAFE, "PS256")).keys) == {"k"}


def test_an_rsa_key_without_an_algorithm_is_no_key_where_a_token_could_choose_one() -> None:
    entry = published("k", private_key("PS256"))
    assert key_set(document(entry), ALGORITHMS).keys == {}
    assert key_set(document(entry), ("RS256",)).keys["k"].algorithm == "RS256"


@cache
def unsound() -> dict[str, dict[str, Any]]:
    ed, p256 = published("k", private_key("EdDSA")), published("k", private_key("ES256"))
    key = rsa.generate_private_key(65537, 2048)
    big, numbers = published("k", key), key.public_key().public_numbers()
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    small = rsa.generate_private_key(65537, 1024).public_key().public_numbers()  # noqa: S505
    found = {
        "a secret": {"kty": "oct", "kid": "k", "k": "c2VjcmV0", "alg": "HS256"},
        "private Ed25519": {**ed, "d": ed["x"]},
        "private P-256": {**p256, "d": p256["x"]},
        "private RSA": {**big, "d": big["n"]},
        "no id": {name: value for name, value in ed.items() if name != "kid"},
        "id that is no text": {**ed, "kid": 1},
        "empty id": {**ed, "kid": ""},
        "for encryption": {**ed, "use": "enc"},
        "only for signing": {**ed, "key_ops": ["sign"]},
        "operations that are no list": {**ed, "key_ops": "verify"},
        "HS256": {**ed, "alg": "HS256"},
        "none": {**ed, "alg": "none"},
        "algorithm of another kind": {**ed, "alg": "ES256"},
        "algorithm that is no text": {**ed, "alg": ["EdDSA"]},
        "another curve": {**ed, "crv": "X25519"},
        "Ed448": {**ed, "crv": "Ed448"},
        "short": {**ed, "x": ed["x"][:-3]},
        "padded": {**ed, "x": ed["x"] + "="},
        "number for text": {**ed, "x": 7},
        "no x": {name: value for name, value in ed.items() if name != "x"},
        "not on the curve": {**p256, "y": p256["x"]},
        "zero": {**p256, "x": octets(0, 32), "y": octets(0, 32)},
        "beyond the field": {**p256, "x": octets(2**256 - 1, 32)},
        "P-384": {**p256, "crv": "P-384", "x": octets(p384.x, 48), "y": octets(p384.y, 48)},
        "P-384 as P-256": {**p256, "x": octets(p384.x, 48), "y": octets(p384.y, 48)},
        "secp256k1": {**p256, "crv": "secp256k1"},
        "RSA of 1024 bits": {**big, "n": octets(small.n)},
        "exponent 1": {**big, "e": octets(1)},
        "exponent 3": {**big, "e": octets(3)},
        "even modulus": {**big, "n": octets(numbers.n + 1)},
        "leading zeros": {**big, "n": octets(numbers.n, 257)},
        "RSA with a curve": {**big, "crv": "P-256"},
        "ROCA": {**big, "n": octets(roca())},
        "kind that is none": {**ed, "kty": "XYZ"},
        "kind that is no text": {**ed, "kty": ["OKP"]},
    }
    return {
        name: entry if "RSA" not in str(entry.get("kty")) else {"alg": "PS256", **entry}
        for name, entry in found.items()
    }


def roca() -> int:
    """A number of 2048 bits with the mark of CVE-2017-15361: a power of 65537 modulo the first primes."""
    product = 2 * 3 * 5 * 7
    for prime in (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107,
                  109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167):  # fmt: skip
        product *= prime
    return pow(65537, 12345, product) + product * ((1 << 2047) // product + 1)


@pytest.mark.parametrize("name", unsound())
def test_an_unsound_key_is_never_used_and_hides_no_sound_one(name: str) -> None:
    beside = published("sound", private_key("EdDSA"))
    found = key_set(document(unsound()[name], beside), ALGORITHMS)
    assert set(found.keys) == {"sound"}
    assert found.passed_over == 1


def test_an_id_that_two_keys_share_is_nobodys() -> None:
    twice = [published("k", private_key("EdDSA")), published("k", private_key("ES256"))]
    assert set(key_set(document(*twice, published("other", private_key("EdDSA"))), SAFE).keys) == {"other"}


def test_planted_where_the_last_of_two_keys_wins_an_id_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may add a key to the issuer's set would sign in the name of another's."""
    monkeypatch.setattr("gateway.identity.jwk.Counter", lambda ids: dict.fromkeys(ids, 1))
    theirs = published("k", private_key("EdDSA"))
    found = key_set(document(published("k", private_key("EdDSA")), theirs), SAFE)
    assert found.keys["k"].key == public_key(theirs, "EdDSA")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{}", b'{"keys": {}}', b'{"keys": null}', b"\xff", b'{"keys": [], "keys": []}', b"[" * 9999,
     json.dumps({"keys": [{}] * 101}).encode()],
    ids=lambda content: repr(content[:30]),
)  # fmt: skip
def test_a_document_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(Bad):
        key_set(content, SAFE)


def test_the_thumbprint_of_a_key_is_that_of_rfc_8037_and_of_its_spelling_alone() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert thumbprint({**jwk, "kid": "a", "use": "sig"}) == thumbprint(jwk)
    for algorithm in SAFE:
        key = private_key(algorithm).public_key()
        assert public_key(jwk_of(key), algorithm) == key
    with pytest.raises(Bad):
        thumbprint({"kty": "RSA", "n": "AQ", "e": "AQ"})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"issuer": "https://id.example/realms/other"}, "another issuer"),
        ({"issuer": "https://id.example/realms/bpk/"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"jwks_uri": None}, "names no keys"),
        ({"jwks_uri": 5}, "names no keys"),
        ({"jwks_uri": "https://evil.example/keys"}, "another host"),
        ({"jwks_uri": "https://id.example.evil.example/keys"}, "another host"),
        ({"jwks_uri": "https://id.example:8443/keys"}, "another host"),
        ({"jwks_uri": "https://id.example@evil.example/keys"}, "not safe"),
        ({"jwks_uri": "http://id.example/keys"}, "not safe"),
        ({"jwks_uri": "file:///etc/passwd"}, "not safe"),
        ({"jwks_uri": "http://127.0.0.1/keys"}, "another host"),
    ],
    ids=str,
)
def test_a_discovery_document_leads_to_its_own_host_alone(change: dict[str, Any], why: str) -> None:
    name = "https://id.example/realms/bpk"
    good = {"issuer": name, "jwks_uri": "https://id.example/realms/bpk/keys"}
    assert address_in(json.dumps(good).encode(), name) == good["jwks_uri"]
    with pytest.raises(Bad, match=why):
        address_in(json.dumps({**good, **change}).encode(), name)


# The fetch


def test_a_document_is_fetched_whole(stub: StubIssuer) -> None:
    assert json.loads(fetcher(2)(f"{stub.url}/keys")) == stub.replies["/keys"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(stub: StubIssuer, status: int) -> None:
    stub.replies["/moved"] = (status, {"Location": f"{stub.url}/keys"}, b"")
    with pytest.raises(NotFetched, match=str(status)):
        fetcher(2)(f"{stub.url}/moved")
    assert stub.asked == ["/moved"]


@pytest.mark.parametrize("status", [201, 204, 400, 404, 500, 503])
def test_another_status_is_no_document(stub: StubIssuer, status: int) -> None:
    stub.replies["/keys"] = (status, {}, b"")
    with pytest.raises(NotFetched, match=str(status)):
        fetcher(2)(f"{stub.url}/keys")


def test_a_document_that_is_too_long_or_packed_or_too_slow_is_left(stub: StubIssuer) -> None:
    stub.replies["/long"] = b" " * (BYTES_MAX + 1)
    stub.replies["/packed"] = (200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 10_000_000))
    for path, why in (("/long", "longer"), ("/packed", "packed")):
        with pytest.raises(NotFetched, match=why):
            fetcher(2)(stub.url + path)
    stub.drip_s = 0.02
    with pytest.raises(NotFetched, match="took longer"):
        fetcher(0.3)(f"{stub.url}/keys")


@pytest.mark.parametrize(
    "address",
    [
        "http://id.example/keys",
        "ftp://id.example/",
        "file:///etc/passwd",
        "//id.example",
        "https://",
        "http://127.0.0.1.evil.example/",
        "http://2130706433/",
        "https://a@b/",
        "https://a/#b",
        "https://a/ b",
    ],
)
def test_only_https_is_fetched_but_from_this_machine(address: str) -> None:
    with pytest.raises(NotFetched, match="no address with https"):
        fetcher(1)(address)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(Misconfigured, match=r"ca\.pem"):
        fetcher(1, tmp_path / "ca.pem")


# The cache


def test_keys_are_served_from_memory(stub: StubIssuer) -> None:
    found = issuer(stub)
    found.refresh()
    for _ in range(50):
        assert found.get("one") is not None
        assert found.get("two") is None
    assert stub.asked == ["/.well-known/openid-configuration", "/keys"]


def test_without_keys_nobody_is_let_in_and_nobody_is_called_a_forger(stub: StubIssuer) -> None:
    verifier = Verifier(tokens(stub), KeyRing({}, issuer(stub)))
    with pytest.raises(NotReady):
        verifier.accept(stub.token("one"))


def test_an_overlapping_rotation_is_followed(stub: StubIssuer) -> None:
    found = issuer(stub)
    verifier = Verifier(tokens(stub), KeyRing({}, found))
    found.refresh()
    old = stub.token("one")
    stub.publish(one="EdDSA", two="ES256")
    found.refresh()
    assert verifier.caller(old).subject == verifier.caller(stub.token("two")).subject == "op-a"
    stub.publish(two="ES256")
    found.refresh()
    with pytest.raises(Refusal):
        verifier.caller(old)
    assert verifier.caller(stub.token("two")).subject == "op-a"


@pytest.mark.parametrize(
    "broken", [(503, {}, b""), b"", {"keys": []}, {"keys": "none"}, b"\xff", b"[" * 9999], ids=lambda it: str(it)[:20]
)
def test_the_old_keys_serve_while_fetching_fails_but_not_for_ever(stub: StubIssuer, broken: Any) -> None:
    clock = Clock()
    found = issuer(stub, clock, stale_s_max=3600)
    found.refresh()
    assert found.look().state == "ready"
    stub.replies["/keys"] = broken
    clock.now += 3600
    found.refresh()
    assert found.get("one") is not None
    assert (found.look().state, found.look().age_s) == ("stale", 3600)
    assert found.look().reason
    clock.now += 1
    assert found.look().state == "none"
    with pytest.raises(NotReady):
        found.get("one")
    stub.publish(one="EdDSA")
    found.refresh()
    assert found.get("one") is not None
    assert found.look().reason == ""


def test_planted_without_a_bound_stale_keys_would_serve_for_ever(stub: StubIssuer) -> None:
    class Endless(Issuer):
        def _serving(self) -> bool:
            return self._fetched is not None

    clock = Clock()
    found = Endless(tokens(stub, stale_s_max=3600), fetcher(2), clock)
    found.refresh()
    clock.now += 10**9
    assert found.get("one") is not None


def test_when_the_keys_are_not_found_their_address_is_looked_up_again(stub: StubIssuer) -> None:
    found = issuer(stub)
    found.refresh()
    stub.replies["/elsewhere"] = stub.replies.pop("/keys")
    stub.replies["/.well-known/openid-configuration"] = {"issuer": stub.url, "jwks_uri": f"{stub.url}/elsewhere"}
    found.refresh()
    assert found.look().state == "stale"
    found.refresh()
    assert found.look().state == "ready"


def test_unknown_keys_ask_for_one_fetch_at_a_time_and_one_in_half_a_minute(stub: StubIssuer) -> None:
    clock = Clock()
    found = issuer(stub, clock)
    flights = [found.ask() for _ in range(1000)]
    assert len({id(flight) for flight in flights}) == 1
    found._flight = None  # it has landed
    clock.now += ASK_S - 1
    assert found.ask() is None
    clock.now += 2
    assert found.ask() is not None


def test_the_thread_fetches_when_it_is_asked(stub: StubIssuer) -> None:
    found = issuer(stub)
    found.start()
    try:
        flight = found.ask()
        assert flight is not None
        flight.result(10)
        assert found.get("one") is not None
        stub.publish(one="EdDSA", two="EdDSA")
        found._asked = float("-inf")
        flight = found.ask()
        assert flight is not None
        flight.result(10)
        assert found.get("two") is not None
    finally:
        found.stop()
    assert not found._thread.is_alive()


# Tokens of such an issuer


def test_a_token_cannot_choose_its_algorithm(stub: StubIssuer) -> None:
    stub.publish(rsa="PS256")
    found = issuer(stub, algorithms=["PS256"])
    found.refresh()
    verifier = Verifier(tokens(stub), KeyRing({}, found))
    assert verifier.caller(stub.token("rsa")).subject == "op-a"
    stub.keys["rsa"] = (stub.keys["rsa"][0], "RS256")
    with pytest.raises(NotAccepted) as caught:
        verifier.caller(stub.token("rsa"))
    assert caught.value.reason == "another algorithm than its key's"
    assert not caught.value.unknown_key


def test_roles_are_found_where_keycloak_and_entra_write_them(stub: StubIssuer) -> None:
    found = issuer(stub)
    found.refresh()

    def roles(claim: str, **claims: Any) -> set[str]:
        settings = tokens(stub).model_copy(update={"roles_claim": claim})
        return set(Verifier(settings, KeyRing({}, found)).caller(stub.token("one", **claims)).roles)

    keycloak = {"realm_access": {"roles": ["auditor"]}, "resource_access": {"bpk": {"roles": ["operator", "x"]}}}
    assert roles("resource_access.bpk.roles", **keycloak) == {"operator"}
    assert roles("realm_access.roles", **keycloak) == {"auditor"}
    assert roles("resource_access.other.roles", **keycloak) == set()
    assert roles("roles", roles=["auditor", "Directory.Read"]) == {"auditor"}
    assert roles("https://bpk.example/roles", **{"https://bpk.example/roles": ["operator"]}) == {"operator"}


@pytest.mark.parametrize(
    "marked",
    [
        {"sub": "etl", "client_id": "etl"},
        {"idtyp": "app"},
        {"preferred_username": "service-account-etl", "client_id": "etl"},
    ],
    ids=str,
)
def test_a_program_holds_the_roles_that_are_for_programs(stub: StubIssuer, marked: dict[str, Any]) -> None:
    found = issuer(stub)
    found.refresh()
    verifier = Verifier(tokens(stub), KeyRing({}, found))
    every = ["operator", "auditor", "policy_author", "custodian"]
    person = verifier.caller(stub.token("one", roles=every, client_id="web-app"))
    program = verifier.caller(stub.token("one", roles=every, **marked))
    assert (person.service, person.roles) == (False, set(every))
    assert (program.service, program.roles) == (True, {"operator", "auditor"})


def test_entras_claims_name_subject_and_token(stub: StubIssuer) -> None:
    stub.publish(rsa="RS256")
    found = issuer(stub, algorithms=["RS256"])
    found.refresh()
    settings = tokens(stub).model_copy(update={"subject_claim": "oid", "id_claim": "uti", "type": "jwt"})
    token = stub.token("rsa", typ="JWT", sub="pairwise", oid="0f-object", uti="u-1", jti=None, roles=["operator"])
    accepted = Verifier(settings, KeyRing({}, found)).accept(token)
    assert (accepted.caller.subject, accepted.id) == ("0f-object", "u-1")
