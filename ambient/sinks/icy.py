"""ICY metadata: what a radio shows as the title, between the bytes of the sound, for players that ask for it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["INTERVAL", "IcyBody", "metadata_block"]

INTERVAL = 16_000
"""Bytes of sound between two blocks of metadata."""
LONGEST_TITLE = 1000


def metadata_block(title: str) -> bytes:
    """A length in units of 16 bytes, and the text, padded with zeros. At most 1,000 bytes of the title are told."""
    told = title.replace("'", "’").replace(";", ",").encode()[:LONGEST_TITLE].decode(errors="ignore").encode()
    text = b"StreamTitle='%b';" % told
    units = -(-len(text) // 16)
    return bytes([units]) + text.ljust(16 * units, b"\0")


class IcyBody:
    """Puts a block after every ``INTERVAL`` bytes: the title where it has changed, nothing where it has not."""

    def __init__(self, title: Callable[[], str]) -> None:
        self._title = title
        self._told: str | None = None
        self._left = INTERVAL

    def __call__(self, data: bytes) -> bytes:
        """The next bytes of sound, with what belongs between them."""
        parts = []
        while len(data) >= self._left:
            parts += [data[: self._left], self._block()]
            data, self._left = data[self._left :], INTERVAL
        self._left -= len(data)
        return b"".join([*parts, data])

    def _block(self) -> bytes:
        title = self._title()
        if title == self._told:
            return b"\0"
        self._told = title
        return metadata_block(title)
