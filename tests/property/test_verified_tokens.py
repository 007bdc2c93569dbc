"""A verifier that remembers tokens says what one without memory says, whatever keys, clock and tokens do in between."""

from __future__ import annotations

import json
import os
import random
import threading
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import NotReady, Refusal
from gateway.identity import jws, verified
from gateway.identity.fetch import NotFetched
from gateway.identity.issuer import Issuer, KeyRing
from gateway.identity.keys import VerifyingKey
from gateway.identity.token import Accepted, NotAccepted, Verifier, _Said
from gateway.identity.verified import TOKENS_MAX, Verified
from gateway.settings import Jwks, TokenKey, Tokens
from tests.stub_issuer import published

EXAMPLES: Final = 3000 if os.environ.get("BPK_LONG") else 80
NOW: Final = 1_800_000_000
SETTINGS: Final = Tokens(
    issuer="https://issuer.example",
    keys=[TokenKey(kid="home", alg="EdDSA", file="home.pub")],
    jwks=Jwks(url="https://issuer.example/keys", stale_s_max=3600),
)
HOME, ONE, ONE_NEXT, TWO, FOREIGN = (Ed25519PrivateKey.generate() for _ in range(5))
PUBLISHED: Final[tuple[dict[str, Ed25519PrivateKey], ...]] = (
    {"one": ONE},
    {"one": ONE, "two": TWO},
    {"two": TWO},
    {"one": ONE_NEXT},
    {"one": TWO, "two": ONE},
)
TIMES: Final[tuple[dict[str, int], ...]] = (
    {"iat": NOW, "exp": NOW + 3000},
    {"iat": NOW - 500, "exp": NOW + 60},
    {"iat": NOW, "nbf": NOW + 600, "exp": NOW + 5000},
    {"iat": NOW, "exp": NOW + 10**6},
)
PAUSES_S: Final = (0, 1, 29, 31, 90, 601, 2000)


def part(value: object) -> str:
    return jws.encoded(json.dumps(value).encode())


def token(key: Ed25519PrivateKey, kid: str, number: int = 0, **claims: Any) -> str:
    said = {"iss": SETTINGS.issuer, "aud": SETTINGS.audience, "sub": "op-a", "jti": f"t-{number}", **claims}
    text = f"{part({'alg': 'EdDSA', 'kid': kid, 'typ': 'at+jwt'})}.{part(said)}"
    return f"{text}.{jws.encoded(key.sign(text.encode()))}"


def twins(good: str, other: str) -> list[str]:
    """Tokens that are almost `good`, and no tokens at all."""
    head, body, sign = good.split(".")
    changed = {**json.loads(jws.decoded(body)), "sub": "op-b"}
    return [
        f"{head}.{part(changed)}.{sign}",
        f"{head}.{body}.{other.split('.')[2]}",
        f"{head}.{body}.{sign[:10]}{'A' if sign[10] != 'A' else 'B'}{sign[11:]}",
        f"{part({'alg': 'none', 'kid': 'one', 'typ': 'at+jwt'})}.{body}.{sign}",
        f"{good}=",
        f"{good} ",
        good.upper(),
    ]


def every_token() -> list[str]:
    signers = (("home", HOME), ("one", ONE), ("one", ONE_NEXT), ("two", TWO), ("two", FOREIGN))
    good = [token(key, kid, number, **times) for kid, key in signers for number, times in enumerate(TIMES)]
    return [*good, *twins(good[0], good[1]), *twins(good[4], good[5]), "", "é", "\ud800"]


TOKENS: Final = every_token()
SIGNED: Final = 5 * len(TIMES)
"""So many come first that are whole."""


@dataclass
class World:
    """An issuer whose keys come and go, and a clock."""

    verifier_class: type[Verifier] = Verifier
    clock: float = float(NOW)
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=lambda: PUBLISHED[0])

    def __post_init__(self) -> None:
        self.issuer = Issuer(SETTINGS, self.fetch, lambda: self.clock)
        self.ring = KeyRing({"home": VerifyingKey("home", "EdDSA", HOME.public_key())}, self.issuer)
        self.verifier = self.verifier_class(SETTINGS, self.ring, lambda: self.clock)

    def fetch(self, _: str) -> bytes:
        if not self.keys:
            raise NotFetched("away")
        return json.dumps({"keys": [published(kid, key) for kid, key in self.keys.items()]}).encode()

    def publish(self, keys: dict[str, Ed25519PrivateKey]) -> None:
        self.keys = keys
        self.issuer.refresh()

    def fresh(self) -> Verifier:
        """Without anything to remember."""
        return Verifier(SETTINGS, self.ring, lambda: self.clock)


def said(verifier: Verifier, text: str) -> Accepted | tuple[str, ...]:
    try:
        return verifier.accept(text)
    except NotAccepted as refusal:
        return (refusal.code, refusal.reason, str(refusal.unknown_key))
    except Refusal as refusal:
        return (refusal.code,)
    except NotReady as error:
        return ("not ready", str(error))


def disagreement(verifier_class: type[Verifier], seed: int) -> tuple[object, object] | None:
    """What the verifier said, and what one without memory says, where that is something else."""
    dice, world = random.Random(seed), World(verifier_class)
    world.publish(PUBLISHED[0])
    favourites = [*dice.sample(TOKENS[:SIGNED], 4), *dice.sample(TOKENS, 2)]
    for _ in range(40):
        act = dice.randrange(10)
        if act == 0:
            world.publish(dice.choice((*PUBLISHED, {})))
        elif act == 1:
            world.clock += dice.choice(PAUSES_S)
        else:
            text = dice.choice(favourites)
            remembered, afresh = said(world.verifier, text), said(world.fresh(), text)
            if remembered != afresh:
                return remembered, afresh
    return None


class Timeless(Verifier):
    """What was accepted once is accepted for ever."""

    def accept(self, text: str) -> Accepted:
        found = self._verified.find(text)
        return super().accept(text) if found is None or not self.holds(found) else found.accepted

    def holds(self, found: _Said) -> bool:
        return self.keys.get(found.kid) is found.key


class Ringless(Timeless):
    """Asks the clock, and not whether the key is still one of ours."""

    def holds(self, found: _Said) -> bool:
        return found.times.starts - 30 <= self.now() < found.times.expires + 30


class ByName(Timeless):
    """Asks whether there is a key of this name, and not which."""

    def holds(self, found: _Said) -> bool:
        return Ringless.holds(self, found) and self.keys.get(found.kid) is not None  # type: ignore[arg-type]


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_it_says_what_a_verifier_without_memory_says(seed: int) -> None:
    assert disagreement(Verifier, seed) is None


def test_the_histories_present_tokens_that_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else they would show nothing."""
    found: list[object] = []
    find = Verified.find

    def finding(memory: Verified[Any], text: str) -> object:
        found.append(find(memory, text))
        return found[-1]

    monkeypatch.setattr(Verified, "find", finding)
    for seed in range(60):
        disagreement(Verifier, seed)
    assert sum(each is not None for each in found) > 100


@pytest.mark.parametrize("planted", [Timeless, Ringless, ByName])
def test_a_memory_that_asks_too_little_is_noticed(planted: type[Verifier]) -> None:
    assert any(disagreement(planted, seed) is not None for seed in range(300))


def test_a_memory_that_knows_tokens_without_their_signature_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "_name", lambda text: text.rpartition(".")[0].encode(errors="surrogatepass"))
    assert any(disagreement(Verifier, seed) is not None for seed in range(300))


@pytest.fixture
def signatures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signatures were looked at."""
    looked: list[str] = []
    verify = jws.verify

    def looking(compact: jws.Compact, key: VerifyingKey) -> None:
        looked.append(compact.text)
        verify(compact, key)

    monkeypatch.setattr(jws, "verify", looking)
    return looked


@pytest.fixture
def world() -> World:
    made = World()
    made.publish({"one": ONE, "two": TWO})
    return made


GOOD: Final = token(ONE, "one", **TIMES[0])


def test_a_signature_is_looked_at_once(world: World, signatures: list[str]) -> None:
    assert len({id(world.verifier.accept(GOOD)) for _ in range(5)}) == 1
    assert signatures == [GOOD]


def test_a_key_that_is_fetched_anew_is_a_new_key(world: World, signatures: list[str]) -> None:
    for _ in range(2):
        world.publish({"one": ONE})
        for _ in range(2):
            world.verifier.accept(GOOD)
    assert signatures == [GOOD, GOOD]


def test_what_is_remembered_expires_and_ends_with_its_key(world: World) -> None:
    world.verifier.accept(GOOD)
    world.publish({"two": TWO})
    assert said(world.verifier, GOOD)[0] == "token_invalid"  # type: ignore[index]
    world.publish({"one": ONE_NEXT})
    assert said(world.verifier, GOOD)[:2] == ("token_invalid", "not signed by its key")  # type: ignore[index]
    world.publish({"one": ONE})
    world.verifier.accept(GOOD)
    world.clock = NOW + 3031.0
    assert said(world.verifier, GOOD) == ("token_expired",)
    world.clock = NOW - 31.0
    assert said(world.verifier, GOOD)[:2] == ("token_invalid", "not valid yet")  # type: ignore[index]


def test_without_keys_that_serve_nobody_is_remembered(world: World) -> None:
    world.verifier.accept(GOOD)
    world.clock += 3601
    assert said(world.verifier, GOOD)[0] == "not ready"  # type: ignore[index]


def test_other_settings_remember_nothing_of_these(world: World) -> None:
    world.verifier.accept(GOOD)
    other = replace(world.verifier, settings=SETTINGS.model_copy(update={"audience": "another"}))
    assert said(other, GOOD)[:2] == ("token_invalid", "not for this audience alone")  # type: ignore[index]


def test_strangers_leave_nothing_behind(world: World) -> None:
    for text in [
        *twins(GOOD, TOKENS[0]),
        token(FOREIGN, "one"),
        token(FOREIGN, "three"),
        token(ONE, "one", **TIMES[3]),
    ]:
        with pytest.raises(Refusal):
            world.verifier.accept(text)
    assert len(world.verifier._verified) == 0


def test_it_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    memory: Verified[int] = Verified()
    for number in range(TOKENS_MAX):
        memory.keep(f"token {number}", number)
    assert memory.find("token 0") == 0
    memory.keep("one more", -1)
    assert len(memory) == TOKENS_MAX
    assert (memory.find("token 0"), memory.find("token 1"), memory.find("one more")) == (0, None, -1)


def test_neither_a_token_nor_what_it_says_can_be_printed(world: World) -> None:
    world.verifier.accept(GOOD)
    assert GOOD not in repr(vars(world.verifier._verified))
    assert "op-a" not in repr(world.verifier)


def test_threads_may_use_it_at_once(world: World) -> None:
    wrong: list[object] = []

    def present(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(200):
            text = dice.choice(TOKENS)
            if said(world.verifier, text) != said(world.fresh(), text):
                wrong.append(text)

    threads = [threading.Thread(target=present, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
