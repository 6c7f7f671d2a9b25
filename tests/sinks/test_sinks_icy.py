"""ICY metadata: players that take the blocks out again have the sound as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ambient.sinks.icy import INTERVAL, IcyBody, metadata_block


def taken_apart(data: bytes) -> tuple[bytes, list[str]]:
    """Sound and titles, as a player has them."""
    sound, titles, at = b"", [], 0
    while at < len(data):
        sound += data[at : at + INTERVAL]
        at += INTERVAL
        if at < len(data):
            size = 16 * data[at]
            if size:
                titles.append(data[at + 1 : at + 1 + size].rstrip(b"\0").decode())
            at += 1 + size
    return sound, titles


@given(st.lists(st.integers(1, 40_000), max_size=12))
def test_the_sound_is_whole_and_every_title_is_told_once(sizes):
    pieces = [bytes([i + 1]) * size for i, size in enumerate(sizes)]
    titles = iter([f"forest: {i // 3}" for i in range(1000)])
    asked = []

    def title() -> str:
        asked.append(next(titles))
        return asked[-1]

    body = IcyBody(title)
    sound, told = taken_apart(b"".join(body(piece) for piece in pieces))
    assert sound == b"".join(pieces)
    assert told == [f"StreamTitle='{t}';" for t in dict.fromkeys(asked)]
    assert len(asked) == sum(sizes) // INTERVAL


@given(st.text(max_size=2000))
def test_any_title_fits(title):
    block = metadata_block(title)
    assert len(block) == 1 + 16 * block[0]
    text = block[1:].rstrip(b"\0").decode()
    assert text.startswith("StreamTitle='") and text.endswith("';") and text.count("'") == 2
