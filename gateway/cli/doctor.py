"""doctor: what holds here, and what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gateway.cli.options import HomeOption, JsonOption, print_json

if TYPE_CHECKING:
    from gateway.home import Home
    from gateway.line import Place, Remote

if TYPE_CHECKING:
    from gateway.home import Home


def add(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say which isolation layers hold on this machine, and whether a home is complete."""
    said = _domains_doctor(home)
    layers = said["layers"]
    checks = [] if home is None else _home_checks(home, said["domain"])
    missing = [each for each in layers if each["required"] and not each["active"]]
    ok = not missing and all(each["ok"] for each in checks)
    if as_json:
        print_json({"ok": ok, "isolation": layers, "home": checks})
    else:
        for each in layers:
            need = "required" if each["required"] else "optional"
            typer.echo(f"{'on ' if each['active'] else 'OFF'}  {each['name']:<18} {need:<9} {each['reason']}")
        for each in checks:
            typer.echo(f"{'ok ' if each['ok'] else 'BAD'}  {each['name']:<18} {each['detail']}")
        if missing:
            typer.echo("without a required layer no question is answered, unless domain.toml does without it by name")
    if not ok:
        raise typer.Exit(1)


def isolation() -> list[dict[str, Any]]:
    """The layers as the data domain's own doctor finds them. Raises Misconfigured."""
    layers: list[dict[str, Any]] = _domains_doctor(None)["layers"]
    return layers


def _domains_doctor(home: Path | None) -> dict[str, Any]:
    """What the data domain's doctor says: `layers`, and of a home whether its `domain` can be served."""
    from gateway.errors import Misconfigured

    named = [] if home is None else ["--home", str(home)]
    command = [sys.executable, "-m", "sandbox", "doctor", "--json", *named]
    done = subprocess.run(command, capture_output=True, check=False)
    try:
        said: dict[str, Any] = json.loads(done.stdout)
        said["layers"], said["domain"]
    except (ValueError, KeyError, TypeError) as error:
        raise Misconfigured("the data domain's doctor does not answer; is the installation complete?") from error
    return said


def _valid(place: Remote) -> str:
    from gateway.errors import Misconfigured
    from sandbox import tls

    try:
        until = tls.inspect(place.files, "gateway")
    except tls.CertificateError as error:
        raise Misconfigured(str(error)) from error
    return f"valid until {until:%Y-%m-%d}"


def _reached(home: Home, place: Place) -> str:
    """Raises Fault in words that say what to mend."""
    from gateway.domain_door import open_domain

    with closing(open_domain(home, place)) as domain:
        status = domain.status()
    ready = sum(each.state == "ready" for each in status.datasets)
    return f"answers; {ready} of {len(status.datasets)} datasets are ready"


def _home_checks(root: Path, domain: dict[str, Any]) -> list[dict[str, Any]]:
    from gateway.catalog import Catalog
    from gateway.domain_door import elsewhere
    from gateway.errors import Fault
    from gateway.home import open_home, read_private_key
    from gateway.identity.keys import load_keys
    from gateway.line import Remote

    def tried(name: str, act: Any) -> dict[str, Any]:
        try:
            return {"name": name, "ok": True, "detail": str(act())}
        except Fault as fault:
            return {"name": name, "ok": False, "detail": str(fault)}

    found = [tried("home", lambda: open_home(root).root)]
    if not found[0]["ok"]:
        return found
    home = open_home(root)
    settings = home.settings
    if not settings.domain.elsewhere:  # else its file may be on another machine
        found.append({"name": "domain", **domain})
    own = home.log_key.exists()
    private = (*((settings.audit.checkpoint_key,) if own else ()), settings.domain.ticket_key)
    if (place := elsewhere(home)) is not None:
        if isinstance(place, Remote):
            found.append(tried("certificates", lambda: _valid(place)))
        if found[-1]["ok"]:
            found.append(tried("data domain", lambda: _reached(home, place)))
    if settings.telemetry is not None:
        found.append(tried("telemetry", lambda: _spans_go(home)))
    found.append(tried("policies", lambda: f"{len(Catalog.load(home.policies).policies)} datasets"))
    if settings.store.url is not None or home.ledger_file.exists():
        found.append(tried("caps", lambda: _caps(home)))
        found.append(tried("blocks", lambda: _blocks(home)))
    found.append(tried("token keys", lambda: f"{len(load_keys(settings.tokens.keys, home.path))} accepted"))
    if settings.tokens.jwks is not None:
        found.append(tried("issuer", lambda: _issuers_keys(home)))
    found.append(
        tried("private keys", lambda: f"{len([read_private_key(home.path(key)) for key in private])} readable")
    )
    if settings.audit.signer is not None:
        found.append(tried("log signer", lambda: _signs(home, home.next_log_key if own else home.log_key)))
    return found


def _signs(home: Home, file: Path) -> str:
    """Asked for a signature now, over no records, which every log extends. Raises Misconfigured, NotReady."""
    from gateway.audit.plugged import SignerFailed
    from gateway.audit.suites import DIGESTS
    from gateway.errors import NotReady
    from gateway.log_key import signer_at

    signer = signer_at(home, file)
    if signer is None:
        raise NotReady(f"{file.with_suffix('.pub')}: is not there, which names the signer's key")
    try:
        signer.sign(0, DIGESTS[signer.suite](b""))
    except SignerFailed as failed:
        raise NotReady(f"{failed}{': ' * bool(failed.said)}{failed.said}") from failed
    return f"signs as {signer.vkey}"


def _caps(home: Home) -> str:
    """Who signs for a raise, and what waits. Raises Misconfigured, NotReady."""
    from datetime import UTC, datetime

    from gateway.cli.caps import opened

    with opened(home) as (store, caps), store.reading() as view:
        return caps.judged(view, datetime.now(UTC).date())


def _blocks(home: Home) -> str:
    """Raises Misconfigured where a policy cuts blocks in another way than its dataset was charged."""
    from gateway.budget.blocks import at_odds
    from gateway.cli.caps import opened
    from gateway.errors import Misconfigured

    with opened(home) as (store, caps), store.reading() as view:
        for name, policy in caps.catalog.policies.items():
            if (why := at_odds(view, policy)) is not None:
                raise Misconfigured(f"{name}: {why}")
        return f"{sum(bool(policy.blocks) for policy in caps.catalog.policies.values())} datasets have blocks"


def _spans_go(home: Home) -> str:
    """Raises Misconfigured where the extra is not installed."""
    from gateway import spans

    telemetry = home.settings.telemetry
    spans.start(telemetry)()
    return "off" if telemetry is None else f"spans go to {telemetry.endpoint}"


def _issuers_keys(home: Home) -> str:
    """Fetched now. Raises Misconfigured, NotReady."""
    from gateway.app import open_issuer
    from gateway.errors import NotReady

    issuer = open_issuer(home)
    if issuer is None:
        return "publishes no keys"
    issuer.refresh()
    seen = issuer.look()
    if seen.state != "ready":
        raise NotReady(f"{home.settings.tokens.issuer}: {seen.reason}")
    return f"{seen.keys} keys published"
