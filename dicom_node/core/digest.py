"""The digest of a received object: says whether the same bytes came again. BLAKE3, since SHA-256 takes longer than receiving."""

from __future__ import annotations

from blake3 import blake3

#: In front of every value: which function made it. Rows of schema 1 have ``sha256:``, and equal none of these.
PREFIX = "blake3:"


class Digest:
    """A digest that grows with the bytes. One thread a digest."""

    def __init__(self) -> None:
        self._hash = blake3()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes; the interpreter is free meanwhile."""
        self._hash.update(data)

    @property
    def text(self) -> str:
        """``blake3:`` and 64 hexadecimal digits, over what was added so far."""
        return PREFIX + self._hash.hexdigest()


def digest_of(data: bytes | bytearray | memoryview) -> str:
    """Return the digest of bytes that are in memory."""
    return PREFIX + blake3(data).hexdigest()
