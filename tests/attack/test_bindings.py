"""Tokens that are bound to a key or a certificate, in the hands of somebody else. Over HTTP, each beside its twin."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.home import Home, open_home, read_private_key
from gateway.http import entry
from gateway.http.proxy import Ends, certificate_hash
from gateway.identity import possession, proof
from gateway.identity.jwk import jwk_of, thumbprint
from gateway.identity.jws import encoded
from gateway.identity.proof import LIVE_MAX, NONCE_S, NonceNeeded, Proofs, Requested
from tests.gateway_world import COUNT, GatewayWorld, gateway_world
from tests.served_home import make_home
from tests.stub_issuer import published

OURS, THEIRS = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
SECRET = "s3cret-" * 6
ROUTE = "/v1/budgets"
URL = f"https://gateway.example{ROUTE}"
JKT = thumbprint(jwk_of(OURS.public_key()))


def certificate() -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "op-a")])
    now = datetime.now(UTC)
    begun = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = begun.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return dated.serial_number(x509.random_serial_number()).sign(key, hashes.SHA256())


MINE, OTHER = certificate(), certificate()


def der(of: x509.Certificate) -> str:
    return base64.b64encode(of.public_bytes(Encoding.DER)).decode()


def x5t(of: x509.Certificate) -> str:
    return encoded(hashlib.sha256(of.public_bytes(Encoding.DER)).digest())


def home_with(root: Path, tokens: str = "", form: str = "rfc9440") -> Home:
    home = make_home(root)
    secret = home.root / "keys" / "proxy.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    proxy = (
        'url = "https://gateway.example"\n'
        '[server.proxy]\naddresses = ["127.0.0.1"]\nsecret_file = "keys/proxy.secret"\n'
        f'client_certificate = "Client-Cert"\ncertificate_format = "{form}"\n'
    )
    file = home.root / "gateway.toml"
    text = file.read_text(encoding="utf-8").replace("\n[tokens]\n", f"{proxy}\n[tokens]\n{tokens}\n")
    file.write_text(text, encoding="utf-8")
    return open_home(home.root)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    home = home_with(tmp_path_factory.mktemp("bindings") / "home")
    with gateway_world(home.root, home=home) as found:
        yield found


def token(world: GatewayWorld, **cnf: Any) -> str:
    tokens, now = world.home.settings.tokens, int(time.time())
    claims = {
        "iss": tokens.issuer,
        "aud": "baopingkou",
        "sub": "op-a",
        "iat": now,
        "exp": now + 600,
        "jti": uuid4().hex,
    }
    key = read_private_key(world.home.root / "keys/token.key")
    bound = {"cnf": {name.replace("x5t", "x5t#S256"): value for name, value in cnf.items()}} if cnf else {}
    roles = {"roles": ["operator"]}
    return jwt.encode(
        {**claims, **bound, **roles, "jti": uuid4().hex}, key, "EdDSA", headers={"kid": "home-1", "typ": "at+jwt"}
    )


@dataclass(frozen=True)
class Made:
    """A proof as it is made; the attacks change one thing of it."""

    token: str
    nonce: str
    key: Any = OURS
    alg: str = "EdDSA"
    claims: tuple[tuple[str, Any], ...] = ()
    header: tuple[tuple[str, Any], ...] = ()
    without: tuple[str, ...] = ()

    def text(self) -> str:
        said = {
            "jti": uuid4().hex,
            "htm": "GET",
            "htu": URL,
            "iat": int(time.time()),
            "ath": ath(self.token),
            "nonce": self.nonce,
            **dict(self.claims),
        }
        said = {name: value for name, value in said.items() if name not in self.without}
        head = {"typ": "dpop+jwt", "jwk": jwk_of(OURS.public_key()), **dict(self.header)}
        head = {name: value for name, value in head.items() if name not in self.without}
        return jwt.encode(said, self.key, self.alg, headers=head)


def ath(token: str) -> str:
    return encoded(hashlib.sha256(token.encode()).digest())


def call(
    world: GatewayWorld,
    token: str,
    proofs: list[str],
    scheme: str = "DPoP",
    *,
    more: list[tuple[str, str]] | None = None,
    peer: str = "127.0.0.1",
) -> httpx.Response:
    import asyncio

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=world.gateway.app, client=(peer, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            headers = [("Authorization", f"{scheme} {token}"), *(("DPoP", each) for each in proofs), *(more or [])]
            return await client.get(ROUTE, headers=headers)

    return asyncio.run(send())


def swap(monkeypatch: pytest.MonkeyPatch, world: GatewayWorld, **parts: Any) -> None:
    """Until the test ends, the gateway works with other parts."""
    monkeypatch.setitem(world.gateway.app.state._state, "service", replace(world.service, **parts))


def changed(jwt_text: str, place: int) -> str:
    letter = jwt_text[place]
    return jwt_text[:place] + ("A" if letter != "A" else "B") + jwt_text[place + 1 :]


Attack = Callable[[Made, GatewayWorld], list[str]]


def claim(**claims: Any) -> Attack:
    return lambda made, _: [replace(made, claims=tuple(claims.items())).text()]


def header(**members: Any) -> Attack:
    return lambda made, _: [replace(made, header=tuple(members.items())).text()]


def without(name: str) -> Attack:
    return lambda made, _: [replace(made, without=(name,)).text()]


def unsigned(made: Made, _: GatewayWorld) -> list[str]:
    head, body, _ = made.text().split(".")
    none = json.loads(base64.urlsafe_b64decode(head + "=="))
    return [f"{encoded(json.dumps({**none, 'alg': 'none'}).encode())}.{body}."]


def hmac_by_public_key(made: Made, _: GatewayWorld) -> list[str]:
    secret = hashlib.sha256(OURS.public_key().public_bytes_raw()).digest()
    return [replace(made, key=secret, alg="HS256").text()]


ATTACKS: dict[str, Attack] = {
    "no proof": lambda made, _: [],
    "two proofs": lambda made, _: [made.text(), made.text()],
    "the same proof twice in one request": lambda made, _: [made.text()] * 2,
    "nonsense": lambda made, _: ["nonsense"],
    "empty": lambda made, _: [""],
    "the token as its own proof": lambda made, _: [made.token],
    "the thief's own key": lambda made, _: [
        replace(made, key=THEIRS, header=(("jwk", jwk_of(THEIRS.public_key())),)).text()
    ],
    "signed by the thief, naming the victim's key": lambda made, _: [replace(made, key=THEIRS).text()],
    "signed by the victim, naming the thief's key": header(jwk=jwk_of(THEIRS.public_key())),
    "another kind of key": lambda made, _: [
        replace(made, key=P256, alg="ES256", header=(("jwk", jwk_of(P256.public_key())),)).text()
    ],
    "RSA": lambda made, _: [replace(made, key=RSA, alg="PS256", header=(("jwk", published("a", RSA)),)).text()],
    "not signed": unsigned,
    "signed with a public key as a secret": hmac_by_public_key,
    "signature changed": lambda made, _: [changed(made.text(), -5)],
    "claims changed": lambda made, _: [changed(made.text(), len(made.text()) // 2)],
    "private key shown": header(jwk={**jwk_of(OURS.public_key()), "d": "AAAA"}),
    "no key": without("jwk"),
    "key that is no object": header(jwk="x"),
    "empty key": header(jwk={}),
    "key of another curve": header(jwk={**jwk_of(OURS.public_key()), "crv": "X25519"}),
    "key with another algorithm": header(jwk={**jwk_of(OURS.public_key()), "alg": "ES256"}),
    "key spelt with padding": header(jwk={**jwk_of(OURS.public_key()), "x": jwk_of(OURS.public_key())["x"] + "="}),
    "typ of an access token": header(typ="at+jwt"),
    "typ JWT": header(typ="JWT"),
    "typ in capitals": header(typ="DPOP+JWT"),
    "no typ": lambda made, _: [replace(made, header=(("typ", None),)).text()],
    "kid beside the key": header(kid="home-1"),
    "jku": header(jku="https://evil.example/keys"),
    "crit": header(crit=["exp"]),
    "another method": claim(htm="POST"),
    "method in small letters": claim(htm="get"),
    "no method": without("htm"),
    "method that is no text": claim(htm=["GET"]),
    "another path": claim(htu="https://gateway.example/v1/queries"),
    "longer path": claim(htu=f"{URL}/"),
    "path in capitals": claim(htu="https://gateway.example/V1/budgets"),
    "dotted path": claim(htu="https://gateway.example/v1/x/../budgets"),
    "escaped path": claim(htu="https://gateway.example/v1/%62udgets"),
    "another host": claim(htu=f"https://evil.example{ROUTE}"),
    "a host that begins alike": claim(htu=f"https://gateway.example.evil.example{ROUTE}"),
    "another port": claim(htu=f"https://gateway.example:8443{ROUTE}"),
    "http for https": claim(htu=f"http://gateway.example{ROUTE}"),
    "the address by its Host": claim(htu=f"http://gateway{ROUTE}"),
    "user before the host": claim(htu=f"https://gateway.example@evil.example{ROUTE}"),
    "user before our host": claim(htu=f"https://u@gateway.example{ROUTE}"),
    "backslash": claim(htu=f"https://gateway.example\\@evil.example{ROUTE}"),
    "no address": without("htu"),
    "address that is no text": claim(htu=[URL]),
    "relative address": claim(htu=ROUTE),
    "a minute and more ago": claim(iat=int(time.time()) - 3600),
    "in the future": claim(iat=int(time.time()) + 3600),
    "no time": without("iat"),
    "time as text": claim(iat=str(int(time.time()))),
    "time as a fraction": claim(iat=time.time()),
    "time that is true": claim(iat=True),
    "for another token": lambda made, world: [replace(made, claims=(("ath", ath(token(world, jkt=JKT))),)).text()],
    "for no token": without("ath"),
    "empty hash": claim(ath=""),
    "hash in hex": lambda made, _: [
        replace(made, claims=(("ath", hashlib.sha256(made.token.encode()).hexdigest()),)).text()
    ],
    "no id": without("jti"),
    "empty id": claim(jti=""),
    "id that is no text": claim(jti=7),
    "id that is too long": claim(jti="x" * 201),
    "no nonce": without("nonce"),
    "empty nonce": claim(nonce=""),
    "nonce that is no text": claim(nonce=7),
    "nonce made up": claim(nonce=encoded(int(time.time()).to_bytes(8, "big") + b"x" * 16)),
    "nonce of another gateway": lambda made, _: [replace(made, nonce=Proofs(30).nonce()).text()],
    "nonce changed": lambda made, _: [replace(made, nonce=changed(made.nonce, 5)).text()],
    "nonce cut": lambda made, _: [replace(made, nonce=made.nonce[:-4]).text()],
    "old nonce": lambda made, world: [
        replace(made, nonce=old_nonce(world)).text(),
    ],
}  # fmt: skip


def old_nonce(world: GatewayWorld) -> str:
    proofs = world.service.proofs
    now, proofs._now = proofs._now, lambda: time.time() - NONCE_S - 2
    try:
        return proofs.nonce()
    finally:
        proofs._now = now


def made(world: GatewayWorld) -> Made:
    return Made(token(world, jkt=JKT), world.service.proofs.nonce())


def test_there_are_sixty_attacks_and_more() -> None:
    assert len(ATTACKS) + len(CERTIFICATE_ATTACKS) >= 80


@pytest.mark.parametrize("name", ATTACKS)
def test_a_stolen_token_without_its_key_opens_nothing(world: GatewayWorld, name: str) -> None:
    twin = made(world)
    assert call(world, twin.token, [twin.text()]).status_code == 200
    reply = call(world, twin.token, ATTACKS[name](twin, world))
    assert reply.status_code == 401, name
    assert reply.json()["code"] in ("proof_invalid", "proof_nonce")
    assert reply.headers["www-authenticate"].startswith("DPoP ")


def test_a_proof_is_good_once(world: GatewayWorld) -> None:
    twin = made(world)
    text = twin.text()
    assert call(world, twin.token, [text]).status_code == 200
    for _ in range(3):
        reply = call(world, twin.token, [text])
        assert (reply.status_code, reply.json()["code"]) == (401, "proof_invalid")


def test_a_proof_that_an_earlier_run_saw_is_worth_nothing_after_a_restart(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = made(world)
    text = twin.text()
    assert call(world, twin.token, [text]).status_code == 200
    swap(monkeypatch, world, proofs=Proofs(30))
    reply = call(world, twin.token, [text])
    assert (reply.status_code, reply.json()["code"]) == (401, "proof_nonce")


def test_a_nonce_is_told_to_whoever_has_none_and_the_next_try_is_let_in(world: GatewayWorld) -> None:
    twin = made(world)
    reply = call(world, twin.token, [replace(twin, without=("nonce",)).text()])
    assert (reply.status_code, reply.json()["code"]) == (401, "proof_nonce")
    assert 'error="use_dpop_nonce"' in reply.headers["www-authenticate"]
    again = replace(twin, nonce=reply.headers["dpop-nonce"])
    assert call(world, twin.token, [again.text()]).status_code == 200


def test_no_nonce_is_told_to_whoever_holds_another_key(world: GatewayWorld) -> None:
    twin = made(world)
    thief = replace(twin, key=THEIRS, header=(("jwk", jwk_of(THEIRS.public_key())),), without=("nonce",))
    reply = call(world, twin.token, [thief.text()])
    assert reply.json()["code"] == "proof_invalid"
    assert "dpop-nonce" not in reply.headers


def test_a_bound_token_is_no_bearer_token(world: GatewayWorld) -> None:
    twin = made(world)
    for proofs in ([], [twin.text()]):
        reply = call(world, twin.token, proofs, scheme="Bearer")
        assert (reply.status_code, reply.json()["code"]) == (401, "proof_invalid")


def test_a_bearer_token_gains_nothing_by_a_proof(world: GatewayWorld) -> None:
    plain = token(world)
    assert call(world, plain, [], scheme="Bearer").status_code == 200
    text = replace(made(world), token=plain).text()
    for scheme, proofs in (("DPoP", [text]), ("DPoP", []), ("Bearer", [text])):
        assert call(world, plain, proofs, scheme=scheme).status_code == 401


@pytest.mark.parametrize(
    "written", [f"{URL}?x=1", f"{URL}#x", f"HTTPS://Gateway.Example{ROUTE}", f"https://gateway.example:443{ROUTE}"]
)
def test_one_address_in_its_legal_spellings_is_one_address(world: GatewayWorld, written: str) -> None:
    twin = made(world)
    assert call(world, twin.token, [replace(twin, claims=(("htu", written),)).text()]).status_code == 200


def test_p256_proves_as_well(world: GatewayWorld) -> None:
    bound = token(world, jkt=thumbprint(jwk_of(P256.public_key())))
    proof = Made(bound, world.service.proofs.nonce(), P256, "ES256", header=(("jwk", jwk_of(P256.public_key())),))
    assert call(world, bound, [proof.text()]).status_code == 200


def test_without_an_url_the_address_is_that_of_the_socket_whatever_host_says(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap(monkeypatch, world, url=None)
    twin = made(world)
    ours = replace(twin, claims=(("htu", f"http://gateway{ROUTE}"),))
    assert call(world, twin.token, [ours.text()], more=[("Host", "gateway")]).status_code == 200
    relayed = replace(twin, claims=(("htu", f"http://evil.example{ROUTE}"),))
    assert call(world, twin.token, [relayed.text()], more=[("Host", "evil.example")]).status_code == 401


# Certificates

FROM_PROXY = [("X-Proxy-Secret", SECRET)]


def shown(of: x509.Certificate) -> tuple[str, str]:
    return ("Client-Cert", f":{der(of)}:")


CERTIFICATE_ATTACKS: dict[str, tuple[list[tuple[str, str]], str]] = {
    "no certificate": (FROM_PROXY, "127.0.0.1"),
    "another certificate": ([*FROM_PROXY, shown(OTHER)], "127.0.0.1"),
    "the victim's, without the proxy's secret": ([shown(MINE)], "127.0.0.1"),
    "the victim's, with a guessed secret": ([("X-Proxy-Secret", "s3cret"), shown(MINE)], "127.0.0.1"),
    "the victim's, with an empty secret": ([("X-Proxy-Secret", ""), shown(MINE)], "127.0.0.1"),
    "the victim's, with the secret twice": ([*FROM_PROXY, *FROM_PROXY, shown(MINE)], "127.0.0.1"),
    "the victim's, secret in other letters": ([("X-Proxy-Secret", SECRET.upper()), shown(MINE)], "127.0.0.1"),
    "the victim's, from elsewhere with the secret": ([*FROM_PROXY, shown(MINE)], "203.0.113.9"),
    "the victim's, from elsewhere": ([shown(MINE)], "203.0.113.9"),
    "from elsewhere, saying it was forwarded": (
        [*FROM_PROXY, shown(MINE), ("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=127.0.0.1")],
        "203.0.113.9",
    ),
    "both certificates": ([*FROM_PROXY, shown(MINE), shown(OTHER)], "127.0.0.1"),
    "both, the other way": ([*FROM_PROXY, shown(OTHER), shown(MINE)], "127.0.0.1"),
    "the same twice": ([*FROM_PROXY, shown(MINE), shown(MINE)], "127.0.0.1"),
    "both in one header": ([*FROM_PROXY, ("Client-Cert", f":{der(MINE)}:, :{der(OTHER)}:")], "127.0.0.1"),
    "base64 without colons": ([*FROM_PROXY, ("Client-Cert", der(MINE))], "127.0.0.1"),
    "its hash": ([*FROM_PROXY, ("Client-Cert", x5t(MINE))], "127.0.0.1"),
    "leading bytes": ([*FROM_PROXY, ("Client-Cert", f":MDAwMDAwMDAw{der(MINE)}:")], "127.0.0.1"),
    "nonsense": ([*FROM_PROXY, ("Client-Cert", ":AAAA:")], "127.0.0.1"),
    "empty": ([*FROM_PROXY, ("Client-Cert", "")], "127.0.0.1"),
    "another header": ([*FROM_PROXY, ("X-Client-Cert", f":{der(MINE)}:")], "127.0.0.1"),
}  # fmt: skip


@pytest.mark.parametrize("name", CERTIFICATE_ATTACKS)
def test_a_stolen_token_without_its_certificate_opens_nothing(world: GatewayWorld, name: str) -> None:
    bound = token(world, x5t=x5t(MINE))
    assert call(world, bound, [], scheme="Bearer", more=[*FROM_PROXY, shown(MINE)]).status_code == 200
    more, peer = CERTIFICATE_ATTACKS[name]
    reply = call(world, bound, [], scheme="Bearer", more=more, peer=peer)
    assert (reply.status_code, reply.json()["code"]) == (401, "proof_invalid")


def test_a_token_that_is_bound_to_both_takes_both(world: GatewayWorld) -> None:
    bound = token(world, x5t=x5t(MINE), jkt=JKT)

    def status(proofs: bool, of: x509.Certificate | None) -> int:
        text = [Made(bound, world.service.proofs.nonce()).text()] if proofs else []
        more = [*FROM_PROXY, *([shown(of)] if of else [])]
        return call(world, bound, text, "DPoP" if proofs else "Bearer", more=more).status_code

    assert status(proofs=True, of=MINE) == 200
    assert {status(proofs=False, of=MINE), status(proofs=True, of=None), status(proofs=True, of=OTHER)} == {401}


@pytest.mark.parametrize("form", ["rfc9440", "pem", "der"])
def test_a_certificate_is_read_as_the_proxy_writes_it_and_in_no_other_way(form: str) -> None:
    pem = quote(MINE.public_bytes(Encoding.PEM).decode())
    written = {"rfc9440": f":{der(MINE)}:", "pem": pem, "der": der(MINE)}
    assert {kind: certificate_hash([text], form) for kind, text in written.items()} == {
        kind: x5t(MINE) if kind == form else None for kind in written
    }
    two = quote((MINE.public_bytes(Encoding.PEM) + OTHER.public_bytes(Encoding.PEM)).decode())
    for bad in ("", "x", "%ff", ":::", "::", two, "A" * 20_000, "é", der(MINE)[:-8]):
        assert certificate_hash([bad], form) is None
    assert certificate_hash([], form) is None


def test_without_a_proxy_in_the_settings_no_header_is_a_certificate(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap(monkeypatch, world, ends=Ends(None))
    bound = token(world, x5t=x5t(MINE))
    assert call(world, bound, [], scheme="Bearer", more=[*FROM_PROXY, shown(MINE)]).status_code == 401


# Where binding is required


@pytest.mark.parametrize(
    ("bound", "spends", "reads"), [("optional", 200, 200), ("spending", 403, 200), ("always", 403, 403)]
)
def test_tokens_are_bound_where_the_settings_ask_for_it(tmp_path: Path, bound: str, spends: int, reads: int) -> None:
    home = home_with(tmp_path / "home", f'bound = "{bound}"')
    with gateway_world(home.root, home=home) as world:
        plain = f"Bearer {token(world)}"
        asked = world.call("POST", "/v1/queries", {"sql": COUNT, "purpose": "research"}, Authorization=plain)
        read = world.call("GET", ROUTE, Authorization=plain)
        assert (asked.status_code, read.status_code) == (spends, reads)
        if spends == 403:
            assert asked.json()["code"] == "token_unbound"
            last = world.records()[-1]
            assert (last["kind"], last["decision"], last["code"]) == ("decision", "refused", "token_unbound")
        holder = made(world)
        assert call(world, holder.token, [holder.text()]).status_code == 200


# The memory of proofs


def requested(subject: str = "op-a") -> Requested:
    return Requested("GET", (URL,), "t", subject)


def test_the_memory_of_proofs_is_bounded_and_full_for_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "LIVE_MAX", 20)
    proofs = Proofs(30)

    def prove(subject: str) -> str | None:
        try:
            proofs.require(Made("t", proofs.nonce()).text(), JKT, requested(subject))
        except proof.Refusal as refusal:
            return refusal.code
        return None

    assert [prove("greedy") for _ in range(21)] == [None] * 20 + ["rate_limited"]
    assert prove("op-a") is None
    assert LIVE_MAX > 20


def test_a_proof_is_remembered_as_long_as_its_nonce_is_good() -> None:
    clock = [float(int(time.time()))]
    proofs = Proofs(30, lambda: clock[0])
    text = Made("t", proofs.nonce()).text()
    proofs.require(text, JKT, requested())
    for later in range(1, NONCE_S + 1, 7):
        clock[0] += 7
        proofs.require(Made("t", proofs.nonce()).text(), JKT, requested())
        with pytest.raises((possession.Bad, NonceNeeded)):
            proofs.require(text, JKT, requested())
        assert later
    clock[0] += 3 * NONCE_S
    with pytest.raises((possession.Bad, NonceNeeded)):
        proofs.require(text, JKT, requested())
    assert sum(map(len, proofs._seen.values())) <= NONCE_S


# The defences, planted broken


def test_planted_without_a_memory_a_proof_is_good_twice(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Proofs, "_remember", lambda *_: None)
    twin = made(world)
    text = twin.text()
    assert [call(world, twin.token, [text]).status_code for _ in range(2)] == [200, 200]


def test_planted_without_the_thumbprint_any_key_will_do(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "thumbprint", lambda _: JKT)
    twin = made(world)
    assert call(world, twin.token, ATTACKS["the thief's own key"](twin, world)).status_code == 200


def test_planted_without_the_method_address_and_token_any_proof_will_do(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_about", lambda claims, _: str(claims["jti"]))
    for name in ("another method", "another host", "another path", "for another token", "for no token"):
        twin = made(world)
        assert call(world, twin.token, ATTACKS[name](twin, world)).status_code == 200, name


def test_planted_an_address_taken_from_host_lets_a_relay_in(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "_addresses", lambda request: (str(request.url),))
    twin = made(world)
    relayed = replace(twin, claims=(("htu", f"http://evil.example{ROUTE}"),))
    assert call(world, twin.token, [relayed.text()], more=[("Host", "evil.example")]).status_code == 200


def test_planted_nonces_that_outlive_the_process_let_old_proofs_in(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = made(world)
    text = twin.text()
    assert call(world, twin.token, [text]).status_code == 200
    fresh = Proofs(30)
    fresh._secret = world.service.proofs._secret
    swap(monkeypatch, world, proofs=fresh)
    assert call(world, twin.token, [text]).status_code == 200


def test_planted_a_proxy_that_is_believed_for_its_address_alone_lets_a_neighbour_in(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ends, "_is_proxy", lambda *_: True)
    bound = token(world, x5t=x5t(MINE))
    assert call(world, bound, [], scheme="Bearer", more=[shown(MINE)]).status_code == 200


def test_planted_a_binding_that_nobody_holds_to_is_noticed(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "require_holder", lambda *_: None)
    assert call(world, token(world, jkt=JKT), [], scheme="Bearer").status_code == 200
