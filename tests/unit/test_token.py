"""Roles, and tokens of the home's own key."""

from __future__ import annotations

import typing
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import Refusal
from gateway.home import Home, init, read_private_key
from gateway.identity.keys import load_keys
from gateway.identity.roles import MATRIX, Act, Caller, Role, known_roles
from gateway.identity.token import Grant, Verifier, issue
from gateway.settings import Tokens

ACTS: tuple[Act, ...] = typing.get_args(Act)
ROLES: tuple[Role, ...] = typing.get_args(Role)
MAY = {
    ("operator", "ask"),
    ("operator", "see budgets"),
    ("operator", "see spend over time"),
    ("auditor", "see spend over time"),
    ("auditor", "read the audit log"),
    *((role, "see the catalogue") for role in ROLES),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return init(tmp_path_factory.mktemp("token") / "home")


def verifier(home: Home, tokens: Tokens | None = None) -> Verifier:
    return Verifier(tokens or home.settings.tokens, load_keys(home.settings.tokens.keys, home.path))


def token(home: Home, *roles: Role, tokens: Tokens | None = None, subject: str = "op-a") -> str:
    key = read_private_key(home.root / "keys/token.key")
    return issue(key, "home-1", tokens or home.settings.tokens, Grant(subject, roles, timedelta(hours=1)))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("act", ACTS)
def test_a_role_opens_exactly_what_the_matrix_says(role: Role, act: Act) -> None:
    caller = Caller("x", frozenset({role}))
    assert caller.may(act) is ((role, act) in MAY)
    if not caller.may(act):
        with pytest.raises(Refusal) as caught:
            caller.require(act)
        assert caught.value.code == "role_missing"


def test_the_matrix_knows_every_role() -> None:
    assert set(MATRIX) == set(ROLES)


def test_a_caller_without_a_role_sees_the_catalogue_alone() -> None:
    assert {act for act in ACTS if Caller("x", frozenset()).may(act)} == {"see the catalogue"}


def test_unknown_roles_count_for_nothing() -> None:
    assert known_roles(("admin", "Operator", "operator ", "root")) == frozenset()
    assert known_roles(("admin", "auditor")) == {"auditor"}


def test_a_token_of_the_home_names_its_subject_and_roles(home: Home) -> None:
    caller = verifier(home).caller(token(home, "operator", "auditor"))
    assert caller == Caller("op-a", frozenset({"operator", "auditor"}))
    assert verifier(home).caller(token(home)).roles == frozenset()


def test_roles_may_be_nested_in_the_token(home: Home) -> None:
    tokens = home.settings.tokens.model_copy(update={"roles_claim": "realm_access.roles"})
    assert verifier(home, tokens).caller(token(home, "auditor", tokens=tokens)).roles == {"auditor"}
    assert verifier(home, tokens).caller(token(home, "auditor")).roles == frozenset()


def test_another_homes_token_is_refused(home: Home, tmp_path: Path) -> None:
    other = init(tmp_path / "other")
    with pytest.raises(Refusal):
        verifier(home).caller(token(other, "operator"))


@pytest.mark.parametrize("subject", ["", " a", "a\n", "x" * 201])
def test_a_subject_that_would_not_be_accepted_is_not_issued(home: Home, subject: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        token(home, "operator", subject=subject)


def test_a_token_does_not_live_longer_than_the_settings_allow(home: Home) -> None:
    key = read_private_key(home.root / "keys/token.key")
    with pytest.raises(ValueError, match="lives at most"):
        issue(key, "home-1", home.settings.tokens, Grant("a", (), timedelta(days=2)))
