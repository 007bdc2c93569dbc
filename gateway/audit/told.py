"""What an answer tells, as the text that its record commits to, and whether an answer is the one that was recorded.

Part of the offline verifier: standard library only. The writer makes its text here too; tests hold it against another
implementation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from gateway.audit.broken import Broken
from gateway.audit.suites import DIGESTS, Digest, suite_of

COMMITMENT: Final = "answer"
"""The name of the commitment in the record that an answer rests on."""
TOLD: Final = ("columns", "confidence", "intervals", "notes", "rows")
"""The fields of an answer that it covers."""
OPENING: Final = "opening"
"""The field beside them: the salt, in hex."""
UNPROVEN: Final = "unproven"
"""The code where nothing speaks against the numbers, and nothing for them."""
_TOKEN: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?\d++(?:\.\d++)?(?:e[+-]\d++)?')
"""Of JSON as Python writes it: a string or a number, each tried in one way only, whatever its length. All else is the
same in both."""


def told_text(answer: Mapping[str, Any]) -> str:
    """RFC 8785, and whole numbers of any size in all their digits. Raises ValueError for what JSON cannot say."""
    fields = {name: answer[name] for name in TOLD}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return _TOKEN.sub(_written, text)


def require_told(answer: Mapping[str, Any], record: Mapping[str, Any], digest: Digest) -> bool:
    """Whether the record commits to what it answered at all; those of older versions do not.

    Raises Broken where it does and `answer` is not that, ValueError for what is unreadable.
    """
    committed = (record["commitments"] or {}).get(COMMITMENT)
    if committed is None:
        return False
    if answer.get(OPENING) is None:
        raise Broken(UNPROVEN, "the numbers come without their opening: it was erased, or taken away")
    if digest(bytes.fromhex(answer[OPENING]) + told_text(answer).encode()).hex() != committed:
        raise Broken("answer_differs", "the numbers are not those that the record commits to")
    return True


@dataclass(slots=True)
class Commitments:
    """Those of a log's answers: once a record has one, every later one of its kinds has one too."""

    begun: bool = False

    def take(self, record: Mapping[str, Any]) -> None:
        """The next record that an answer rests on. Raises Broken."""
        if COMMITMENT in record["commitments"]:
            self.begun = True
        elif self.begun:
            raise Broken("answer_missing", "does not commit to what was answered, as an earlier record does")


def is_answer(value: Any) -> bool:
    """Whether it says anything that the record of an answer would have to prove."""
    return isinstance(value, dict) and not value.keys().isdisjoint((*TOLD, OPENING))


def not_covered(answer: Mapping[str, Any]) -> list[str]:
    """The fields of an answer of which its record proves nothing."""
    return sorted(answer.keys() - {*TOLD, OPENING, "id", "receipt"})


def rests_on(record: Mapping[str, Any]) -> bool:
    """Whether it is a record that an answer comes with: its release, or the decision that a stored one answers."""
    return record["kind"] == "release" or (record["kind"], record["decision"]) == ("decision", "reused")


def verify_numbers(answer: Mapping[str, Any], record: Mapping[str, Any]) -> Broken | None:
    """Why the record does not prove the numbers of the answer that its receipt came with; None: it does."""
    try:
        _require_own(answer, record)
        if not require_told(answer, record, DIGESTS[suite_of(record)]):
            return Broken(UNPROVEN, "the record is of an older version, which commits to no numbers")
    except Broken as broken:
        return broken
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return Broken("answer_unreadable", "the answer is unreadable")
    return None


def _require_own(answer: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Raises Broken for the receipt of any record but the one that this answer rests on."""
    if not rests_on(record):
        raise Broken("receipt_differs", "the receipt is of a record that no answer rests on")
    if answer["id"] != record["query_id"]:
        raise Broken("receipt_differs", "the receipt is that of another query")


def _written(token: re.Match[str]) -> str:
    """A string or whole number as it is, and a double as ECMAScript writes it: with the fewest digits that are it."""
    text = token[0]
    if text[0] == '"':
        return text
    if "e" in text:
        return _double(float(text))
    return "0" if text == "-0.0" else text.removesuffix(".0")


def _double(value: float) -> str:
    """One that Python writes with an exponent."""
    sign, figures, exponent = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, figures)).rstrip("0")
    point = len(figures) + int(exponent)
    return "-" * sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    """0.`digits` times ten to the power `point`."""
    if len(digits) <= point <= 21:
        return digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    behind = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{behind}e{point - 1:+d}"
