"""Whether a ticket is the gateway's word for this very job: signature, audience, time, price, policy, snapshot."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sandbox.codec import dumps
from sandbox.protocol import TICKET_CONTEXT, TICKET_S, Price, Run
from sandbox.release.store import TicketRefused

CLOCK_SKEW_MS = 5_000


class TicketVerifier:
    """Holds the gateway's public key, and the one that follows it, if its key is being changed. Raises ValueError where
    a file is no Ed25519 public key.

    `audience` is drawn anew for every run of the service. A ticket names the run that it is for, so one that was given
    to an earlier run is dead, also where a restored store has forgotten that it was used.
    """

    def __init__(self, path: Path, following: Path | None = None) -> None:
        self._keys = tuple(_key(each) for each in (path, following) if each is not None)
        self.audience = secrets.token_hex(16)

    def verify(self, run: Run, price: Price, snapshot: str) -> None:
        """Holds `run` against what the domain derived itself. Raises TicketRefused; nothing was read or booked.

        Guarantee: a ticket buys only the question whose digest it names, at the price that this domain derives, under
        this domain's own policy and snapshot, from this very run of the service.
        """
        ticket, question = run.ticket, run.question
        if not any(_signed(key, run) for key in self._keys):
            raise TicketRefused("ticket_refused", "the ticket's signature does not verify")
        now = time.time_ns() // 1_000_000
        same = (
            ticket.dataset == question.dataset
            and ticket.plan_digest == question.plan_digest
            and ticket.policy_digest == question.policy_digest
            and ticket.mode == question.mode
        )
        if not same:
            raise TicketRefused("ticket_refused", "the ticket is for another question")
        if ticket.audience != self.audience:
            raise TicketRefused("ticket_refused", "the ticket is for another run of the data domain")
        if ticket.snapshot != snapshot:
            raise TicketRefused("ticket_refused", "the ticket is for another snapshot")
        if ticket.price != price:
            raise TicketRefused("ticket_refused", "the ticket's price is not the price of this question")
        if not ticket.issued - CLOCK_SKEW_MS <= now <= ticket.expires + CLOCK_SKEW_MS:
            raise TicketRefused("ticket_refused", "the ticket has expired")
        if ticket.expires - ticket.issued > TICKET_S * 1000:
            raise TicketRefused("ticket_refused", "the ticket is valid for too long")


def _key(path: Path) -> Ed25519PublicKey:
    way_out = "copy the gateway's `keys/ticket.pub` here"
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); {way_out}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{path}: not a public key in PEM; {way_out}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{path}: not an Ed25519 public key; {way_out}")
    return key


def _signed(key: Ed25519PublicKey, run: Run) -> bool:
    try:
        key.verify(bytes.fromhex(run.signature), TICKET_CONTEXT + dumps(run.ticket))
    except (InvalidSignature, ValueError):
        return False
    return True
