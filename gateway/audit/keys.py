"""Which key of a log is good for which of its checkpoints: the log itself says when it goes over to another one.

Part of the offline verifier: standard library and `cryptography`, nothing of the writer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from gateway.audit.broken import Broken
from gateway.audit.climbing import climb, leaf_hash
from gateway.audit.note import LOG_KEY, Checkpoint, key_hash, parse_checkpoint, parse_key, signed_by
from gateway.audit.shapes import canonical, check_fields, check_shape, shape_of
from gateway.audit.suites import DIGESTS, Digest, digest_name

SHAPE: Final = "log_key"
"""Of the records that hand a log over: also their `code`."""
CHANGES_MAX: Final = 64
"""All of them stand in the last line of an export and in every receipt, which readers limit."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one log in order, each with the size from which on it signs.

    The checkpoint of just that size, over the record that names the new key, is signed by the old key and the new one.
    No key is good for a larger checkpoint once it was handed over: whoever steals it later cannot go on with the log.
    """

    chain: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, vkey: str) -> Keys:
        """Raises ValueError for what is no key of a log."""
        if parse_key(vkey).kind != LOG_KEY:
            raise ValueError("not a log's key")
        return cls(((0, vkey),))

    @property
    def vkeys(self) -> tuple[str, ...]:
        return tuple(vkey for _, vkey in self.chain)

    @property
    def suite(self) -> str:
        """Of the log's newest key, which names it. No change of the key changes the digest."""
        return parse_key(self.newest).suite

    @property
    def digest(self) -> Digest:
        return DIGESTS[self.suite]

    @property
    def newest(self) -> str:
        return self.chain[-1][1]

    def at(self, size: int) -> str:
        """The key that signs checkpoints of this size; of two, the newer."""
        return next(vkey for start, vkey in reversed(self.chain) if start <= size)

    def signed(self, checkpoint: Checkpoint) -> bool:
        """Whether a key that is good for its size has signed the checkpoint."""
        ends = [start for start, _ in self.chain[1:]] + [checkpoint.size]
        return any(
            start <= checkpoint.size <= end and signed_by(checkpoint, vkey)
            for (start, vkey), end in zip(self.chain, ends, strict=True)
        )

    def named(self, record: dict[str, Any]) -> Keys:
        """With the key that the record hands the log over to. Raises Broken; the signatures are another question."""
        old, new = _terms(record)
        size = record["seq"] + 1
        if len(self.chain) > CHANGES_MAX:
            raise Broken("log_key", "hands the log over more often than any log is")
        if old != self.newest or size <= self.chain[-1][0]:
            raise Broken("log_key", "hands over a key that is not the log's")
        if digest_name(parse_key(new).suite) != digest_name(self.suite):
            raise Broken("log_key", "hands the log over to a key for another digest")
        if any(key_hash(new) == key_hash(vkey) for vkey in self.vkeys):
            raise Broken("log_key", "goes back to a key that the log had before")
        return Keys((*self.chain, (size, new)))

    def handed_over(self, checkpoint: Checkpoint, root: bytes | None) -> bool:
        """Whether this is the checkpoint under which the newest key took over: of its size, with the tree's own root,
        signed by both."""
        (_, old), (size, new) = self.chain[-2:]
        fits = checkpoint.size == size and checkpoint.root == root
        return fits and signed_by(checkpoint, old) and signed_by(checkpoint, new)


def first_key(record: dict[str, Any]) -> str:
    """The key that signed before this first hand-over. Raises Broken."""
    return _terms(record)[0]


def following(vkey: str, links: Iterable[Any]) -> Keys:
    """The key that one expects and those that took over from it, as far as `links` prove it.

    A link is `{record, proof, checkpoint}`: the record that names the next key, and its audit path to the checkpoint
    that both have signed. Links before the expected key are passed over. Raises ValueError for one that proves nothing.
    """
    keys = Keys.of(vkey)
    try:
        for link in links:
            record = link["record"]
            if len(keys.chain) == 1 and _terms(record)[0] != vkey:
                continue
            keys = _proven(keys, record, link)
    except (Broken, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("a change of the log's key is not proven") from error
    return keys


def _proven(keys: Keys, record: Any, link: Any) -> Keys:
    check_fields(record)
    check_shape(record, shape_of(record))
    longer = keys.named(record)
    proof = [bytes.fromhex(step) for step in link["proof"]]
    root = climb(record["seq"], record["seq"] + 1, leaf_hash(canonical(record), keys.digest), proof, keys.digest)
    if not longer.handed_over(parse_checkpoint(str(link["checkpoint"])), root):
        raise ValueError("not signed by both")
    return longer


def _terms(record: dict[str, Any]) -> tuple[str, str]:
    terms = record["terms"]
    if type(terms) is not dict or set(terms) != {"from", "to"} or not all(type(each) is str for each in terms.values()):
        raise Broken("terms", "hands the log over and does not name both keys")
    try:
        keys = [parse_key(vkey) for vkey in (terms["from"], terms["to"])]
    except (ValueError, UnicodeError) as error:
        raise Broken("terms", "hands the log over and names what is no key") from error
    if shape_of(record) != SHAPE or any(key.kind != LOG_KEY or key.name != record["ledger"] for key in keys):
        raise Broken("log_key", "hands the log over to a key of something else")
    return terms["from"], terms["to"]
