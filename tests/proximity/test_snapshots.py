"""The pieces of a snapshot are MessagePack like the rest of it."""

from __future__ import annotations

import msgspec
import pytest

from proximity.engine.snapshots import _length


@pytest.mark.parametrize("count", [0, 1, 15, 16, 255, 65_535, 65_536, 70_000])
def test_an_array_begins_as_the_encoder_begins_it(count: int) -> None:
    assert msgspec.msgpack.encode([None] * count) == _length(count) + b"\xc0" * count
