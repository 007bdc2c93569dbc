"""The one way in which taking data in ends without a snapshot."""

from __future__ import annotations


class IngestRefused(Exception):
    """The data files do not match the policy, or cannot be read. For the custodian: names and counts, never values."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
