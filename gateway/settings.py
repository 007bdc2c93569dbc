"""The gateway's settings: `gateway.toml`, read once and strictly: what is unknown or of a wrong type is named."""

from __future__ import annotations

import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from gateway.errors import Misconfigured
from sandbox import tls

Algorithm = Literal["EdDSA", "ES256", "PS256", "RS256"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
Name = Annotated[str, Field(min_length=1, max_length=200)]
RelativePath = Annotated[str, Field(min_length=1, max_length=1000)]
"""A path as written in the file: relative to the home, or absolute."""
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")]
Claim = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:/.-]{1,100}$")]


def require_safe(address: str) -> None:
    """Raises ValueError unless nobody on the way can change what comes from there: https, or this machine itself."""
    try:
        parts = urlsplit(address)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        plain = bool(parts.hostname) and not (parts.username or parts.password or parts.fragment) and parts.port != 0
    except ValueError:
        safe = plain = False
    if not safe or not plain or not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError(f"`{address}` is no address with https (http is for this machine alone)")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Proxy(_Section):
    """The proxy that speaks TLS in front. What it says of callers is believed from its addresses, with its secret."""

    addresses: Annotated[list[Name], Field(min_length=1, max_length=50)]
    """Where it connects from: addresses, or networks as `10.0.0.0/24`."""
    secret_file: RelativePath
    """At least 32 characters, which it sends in the header `X-Proxy-Secret`."""
    client_address: HeaderName | None = "X-Forwarded-For"
    client_certificate: HeaderName | None = None
    certificate_format: Literal["rfc9440", "pem", "der"] = "rfc9440"
    """`:base64 of DER:` between colons; PEM with percent escapes; base64 of DER."""

    @model_validator(mode="after")
    def _addresses_are_networks(self) -> Proxy:
        for address in self.addresses:
            ip_network(address)
        return self


class Server(_Section):
    host: Name = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    notice_s: Annotated[int, Field(ge=0, le=60)] = 0
    """How long it goes on at the order to stop, with `/readyz` at 503, so that load balancers look elsewhere first."""
    url: Name | None = None
    """What callers call this gateway, where that is not the address that it listens on: `https://gateway.example`."""
    proxy: Proxy | None = None

    @model_validator(mode="after")
    def _url_is_one(self) -> Server:
        if self.url is not None:
            parts = urlsplit(self.url)
            if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
                raise ValueError("`url` is no address with https or http")
        return self


class TokenKey(_Section):
    """A key that tokens may be signed with, and the one algorithm it is for."""

    kid: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
    alg: Algorithm
    file: RelativePath


class Jwks(_Section):
    """Where the issuer publishes its keys, and what is done while it does not answer."""

    discovery: bool = False
    """The issuer's `/.well-known/openid-configuration` names the address, on the issuer's own host."""
    url: Name | None = None
    algorithms: Annotated[list[Algorithm], Field(min_length=1, max_length=4)] = ["EdDSA", "ES256"]
    """What a published key may sign by. A key has one; what a token says of it counts for nothing."""
    refresh_s: Annotated[int, Field(ge=30, le=86_400)] = 300
    stale_s_max: Annotated[int, Field(ge=60, le=604_800)] = 86_400
    """How long the last keys serve on when newer ones cannot be had; then nobody is let in."""
    timeout_s: Annotated[int, Field(ge=1, le=30)] = 5
    ca_file: RelativePath | None = None
    """Certificates (PEM) that vouch for the issuer's, in place of the public ones."""

    @model_validator(mode="after")
    def _one_address(self) -> Jwks:
        if self.discovery == (self.url is not None):
            raise ValueError("give either `discovery = true` or `url`")
        if self.url is not None:
            require_safe(self.url)
        if self.stale_s_max < self.refresh_s:
            raise ValueError("`stale_s_max` is shorter than `refresh_s`")
        return self


class Tokens(_Section):
    issuer: Name
    audience: Name = "baopingkou"
    type: Literal["at+jwt", "jwt"] = "at+jwt"
    """What the header's `typ` must say. `jwt` also lets plain JWTs in, for issuers that mark nothing."""
    roles_claim: Annotated[str, Field(pattern=r"^[A-Za-z0-9_:/-]+(\.[A-Za-z0-9_:/-]+){0,4}$")] = "roles"
    """Dotted where the issuer nests its roles: `realm_access.roles`."""
    bound: Literal["optional", "spending", "always"] = "optional"
    """Where a token has to be bound to a key or a certificate. One that is bound is held to it everywhere."""
    subject_claim: Claim = "sub"
    id_claim: Claim = "jti"
    leeway_s: Annotated[int, Field(ge=0, le=300)] = 30
    lifetime_s_max: Annotated[int, Field(ge=60, le=31_622_400)] = 86_400
    keys: Annotated[list[TokenKey], Field(max_length=50)] = []
    jwks: Jwks | None = None

    @model_validator(mode="after")
    def _somebody_can_sign(self) -> Tokens:
        kids = [key.kid for key in self.keys]
        if len(set(kids)) != len(kids):
            raise ValueError("two keys have the same `kid`")
        if not kids and self.jwks is None:
            raise ValueError("nobody can sign: give `tokens.keys` or `tokens.jwks`")
        if self.jwks is not None and self.jwks.discovery:
            require_safe(self.issuer)
        return self


class Limits(_Section):
    sql_bytes_max: Annotated[int, Field(ge=100, le=1_000_000)] = 20_000
    body_bytes_max: Annotated[int, Field(ge=1_000, le=10_000_000)] = 65_536
    running_max: Annotated[int, Field(ge=1, le=256)] = 16
    """Queries that are worked on at once, or as many as the data domain has workers, if those are fewer."""
    open_running_max: Annotated[int, Field(ge=1, le=256)] = 2
    """Of these, questions of mode `open`, which cost nothing: the others are kept for those that do."""
    waiting_max: Annotated[int, Field(ge=0, le=1024)] = 64
    """Questions that wait for their turn; the next one is refused as `busy`. Of mode `open`: half as many."""
    waiting_per_operator_max: Annotated[int, Field(ge=0, le=1024)] = 8
    turn_wait_s_max: Annotated[int, Field(ge=0, le=300)] = 30
    """How long a question waits for its turn, before it is refused as `busy`."""
    turn_about_s: Annotated[int, Field(ge=1, le=60)] = 2
    """How long a question holds its place, about: for `Retry-After` alone."""
    connections_max: Annotated[int, Field(ge=8, le=65_536)] = 512
    """Connections at once. The one that has been idle for longest makes room for a new one."""
    requests_per_minute_max: Annotated[int, Field(ge=1, le=10_000_000)] = 30_000
    """Per caller. The budget is what limits questions; this limits load."""
    strangers_per_minute_max: Annotated[int, Field(ge=1, le=10_000_000)] = 300
    """Per address: requests whose token is not accepted. Those with a good one are not held up."""
    refusals_max: Annotated[int, Field(ge=10, le=1_000_000)] = 1_000
    """Questions of one caller that may be refused in ten minutes; one more, and it is locked out."""
    lock_out_s: Annotated[int, Field(ge=1, le=3600)] = 300


class Store(_Section):
    """Where ledger and log lie: without an address in one SQLite file of the home, else in PostgreSQL, which several
    gateways may share."""

    url: SecretStr | None = None
    """`postgresql://host/database`. A password is better kept in a `passfile`."""

    @field_validator("url")
    @classmethod
    def _is_of_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with `postgresql://`")
        return url


class Witness(_Section):
    """Somebody who cosigns the log's checkpoints: where it is asked, and its verifier key (`bpk witness key`)."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=1000)]
    key: Annotated[str, Field(max_length=400)]


Suite = Literal["sha256-ed25519", "sm3-ed25519", "sm3-sm2"]
Word = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,1000}$")]


class LogSigner(_Section):
    """A command that signs with the log's key where that lies outside of the home. It is given what is to be signed,
    and told the algorithm and the key."""

    command: Annotated[list[Word], Field(min_length=1, max_length=16)]
    """The program, a path as any other, and its first arguments. No shell reads them."""
    timeout_s: Annotated[int, Field(ge=1, le=60)] = 10


class Timestamps(_Section):
    """An authority that stamps the log's checkpoints with its time (RFC 3161)."""

    url: Annotated[str, Field(max_length=1000)]
    certificates: RelativePath
    """Its root certificate and those between (PEM), by which its stamps are judged before they are kept."""
    every_s: Annotated[int, Field(ge=60, le=604_800)] = 3600
    """How often it is asked, while the log grows."""
    timeout_s: Annotated[int, Field(ge=1, le=60)] = 10

    @field_validator("url")
    @classmethod
    def _is_safe(cls, address: str) -> str:
        require_safe(address)
        return address


class Audit(_Section):
    checkpoint_key: RelativePath = "keys/log.key"
    """Its private half; where there is no such file, the signer has it, and the public half is beside it (`.pub`)."""
    signer: LogSigner | None = None
    origin: Annotated[str, Field(pattern=r"^[\x21-\x2a\x2c-\x7e]{1,200}$")] = "baopingkou/home"
    """The name in the checkpoint's first line and of its signer."""
    suite: Suite = "sha256-ed25519"
    """What the log is hashed with, which it keeps, and what its first key is."""
    retention_days: Annotated[int, Field(ge=180, le=36_500)] = 1095
    """How long the texts behind records are kept, SQL and parameters; records stay for ever."""
    witnesses: Annotated[list[Witness], Field(max_length=16)] = []
    witness_every_s: Annotated[int, Field(ge=1, le=86_400)] = 10
    """How often a checkpoint goes to the witnesses, while the log grows."""
    witnessed: RelativePath | None = None
    """A signed checkpoint that is kept elsewhere, or a folder of them: the log must extend each."""
    timestamps: Timestamps | None = None

    @model_validator(mode="after")
    def _somebody_signs(self) -> Audit:
        if self.suite == "sm3-sm2" and self.signer is None:
            raise ValueError("the suite `sm3-sm2` needs `[audit.signer]`: the gateway itself does not sign with SM2")
        return self


class Approver(_Section):
    """Somebody who may sign for a raised cap, and the file of their public key (`bpk caps key` makes one)."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._@-]{0,63}$")]
    file: RelativePath


class Caps(_Section):
    """Who decides on caps. Read at the first start with approvers; from then on those on record are in force."""

    quorum: Annotated[int, Field(ge=2, le=16)] = 2
    """How many of them have to sign."""
    approvers: Annotated[list[Approver], Field(max_length=16)] = []

    @model_validator(mode="after")
    def _enough_can_sign(self) -> Caps:
        names = [each.name for each in self.approvers]
        if len(set(names)) != len(names):
            raise ValueError("two approvers have the same name")
        if names and len(names) < self.quorum:
            raise ValueError(f"{len(names)} approvers cannot give {self.quorum} signatures")
        return self


class Tls(_Section):
    """A data domain on another machine: where it listens, what this gateway shows, and what has to be shown to it."""

    address: Name
    certificate: RelativePath
    key: RelativePath
    authority: RelativePath
    server: Name
    """The name in the data domain's certificate."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, text: str) -> str:
        tls.address(text)
        return text

    @field_validator("server")
    @classmethod
    def _is_a_name(cls, text: str) -> str:
        return tls.name(text)


class Domain(_Section):
    ticket_key: RelativePath = "keys/ticket.key"
    socket: RelativePath | None = None
    """Where a sandbox service that is started elsewhere listens; without it `bpk serve` starts its own."""
    tls: Tls | None = None
    """Likewise, where it is on another machine."""
    prepare_s_max: Annotated[int, Field(ge=1, le=120)] = 10
    run_s_max: Annotated[int, Field(ge=1, le=3600)] = 120

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Domain:
        if self.socket is not None and self.tls is not None:
            raise ValueError("`socket` and `tls` are two places; name one")
        return self

    @property
    def elsewhere(self) -> bool:
        """Whether it is not started by `bpk serve`."""
        return self.socket is not None or self.tls is not None


class Telemetry(_Section):
    """Where spans go, over HTTP in OTLP. Without this section there are none."""

    endpoint: Name = "http://127.0.0.1:4318/v1/traces"
    sample_percent: Annotated[int, Field(ge=0, le=100)] = 100
    """Of the traces that begin here; what a caller's `traceparent` says of sampling is followed."""

    @field_validator("endpoint")
    @classmethod
    def _endpoint_is_safe(cls, address: str) -> str:
        require_safe(address)
        return address


class Settings(_Section):
    """All of `gateway.toml`. Paths are resolved by `gateway.home.Home`."""

    server: Server = Server()
    tokens: Tokens
    limits: Limits = Limits()
    store: Store = Store()
    audit: Audit = Audit()
    caps: Caps = Caps()
    domain: Domain = Domain()
    telemetry: Telemetry | None = None


def load(file: Path) -> Settings:
    """Raises Misconfigured, naming the file, the key and what is wrong with it."""
    try:
        text = file.read_bytes().decode("utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"{file}: not TOML: {error}") from error
    except RecursionError as error:
        raise Misconfigured(f"{file}: nested too deeply") from error
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise Misconfigured("\n".join(f"{file}: {_in_words(problem)}" for problem in error.errors())) from error


def _in_words(problem: object) -> str:
    if not isinstance(problem, dict):  # pragma: no cover - pydantic's errors are mappings
        raise TypeError("not a problem of pydantic")
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key `{place}`"
    if kind == "missing":
        return f"`{place}` is missing"
    if kind == "value_error":
        return f"`{place}`: {context['error']}"
    text = str(problem["msg"])
    return f"`{place}`: {text[:1].lower()}{text[1:]}"
