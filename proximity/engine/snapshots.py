"""How is an engine's state written down, at once or in steps while it goes on changing?

The format, and what is kept of a state until all of it is written. Pure; what the fields mean is
the engine's to know.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from heapq import merge
from typing import Literal

import msgspec

from proximity.engine.history import Subject
from proximity.engine.intake import Packed
from proximity.engine.sharing import Sharing
from proximity.model import ProximityError

# One step of a snapshot, in bytes: some 250 MB a second are encoded (measured), so that a step is
# about a millisecond, which everybody else waits for.
STEP = 250_000
# What a subject costs apart from its bytes, in bytes.
EACH = 250

_encode = msgspec.msgpack.Encoder().encode


class State(msgspec.Struct, array_like=True, kw_only=True):
    """The fields of an engine, as they are packed; times are Unix seconds.

    ``sweep_at`` is None where nobody is to be forgotten yet, ``intake`` where refusing repeats is
    done elsewhere; ``edited`` holds the places of each edit that is remembered, None for any.
    """

    format: Literal[3] = 3
    decide: Literal["robust", "point"]
    late_s: float
    now: float
    sweep_at: float | None
    counts: list[tuple[str, int]]
    intake: Packed | None
    edits: int
    edited: list[list[str] | None]
    subjects: list[tuple[str, Subject | bytes]] = []
    sharing: Sharing = msgspec.field(default_factory=Sharing)


class Taking(MutableMapping[str, Subject | bytes]):
    """A snapshot that is being taken; until it is, the engine reaches its subjects through it.

    ``state`` is all but the subjects, as of the beginning. A subject that is asked for may change,
    so that it is written down first: what is taken is the state at the beginning, whatever happens
    between the steps.
    """

    def __init__(self, state: State, subjects: MutableMapping[str, Subject | bytes]) -> None:
        self.subjects = subjects
        # Before the subjects, and after them: there is an empty list in their place.
        whole, self._tail = _encode(state), _encode(state.sharing)
        self._head = whole[: -len(self._tail) - 1]
        self._names = iter(list(subjects))
        # None for who came after the beginning. A subject that is not in here has not changed.
        self._taken: dict[str, bytes | None] = {}
        # Sorted a step at a time: sorting a million at once would be a long wait, too.
        self._sorted: list[list[str]] = []

    def step(self, size: int = STEP) -> bool:
        """Write down some ``size`` bytes of subjects; False once there are no more."""
        names: list[str] = []
        for name in self._names:
            names.append(name)
            size -= EACH + self._take(name)
            if size <= 0:
                break
        names.sort()
        self._sorted.append(names)
        return size <= 0

    def pieces(self, size: int) -> Iterator[bytes]:
        """Give the snapshot in pieces of ``size`` bytes and a little more, the last one shorter.

        Once, after the last step and the end of the snapshot: what was given is kept no longer.
        """
        count = sum(len(names) for names in self._sorted)
        piece, length = [self._head, _length(count)], len(self._head)
        for name in merge(*self._sorted):
            subject = self._taken.pop(name) or b""
            piece.append(subject)
            length += len(subject)
            if length >= size:
                yield b"".join(piece)
                piece, length = [], 0
        yield b"".join([*piece, self._tail])

    def _take(self, name: str) -> int:
        """Write a subject down, unless it is or came later; give how many bytes that were."""
        if name in self._taken:
            return 0
        piece = self._taken[name] = _piece(name, self.subjects[name])
        return len(piece)

    def __getitem__(self, name: str) -> Subject | bytes:
        known = self.subjects[name]
        self._take(name)
        return known

    def __setitem__(self, name: str, known: Subject | bytes) -> None:
        if name in self.subjects:
            self._take(name)
        else:
            self._taken.setdefault(name, None)
        self.subjects[name] = known

    def __delitem__(self, name: str) -> None:
        self._take(name)
        del self.subjects[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.subjects)

    def __len__(self) -> int:
        return len(self.subjects)


def decode(packed: bytes) -> State:
    """Read a snapshot. Raises ProximityError where the bytes are none of this format."""
    try:
        return msgspec.msgpack.decode(packed, type=State)
    except msgspec.MsgspecError as error:
        raise ProximityError(
            f"the engine snapshot cannot be read ({error}): start from the journal"
        ) from None


def _piece(name: str, known: Subject | bytes) -> bytes:
    if isinstance(known, Subject):
        known.enter_told()
    return _encode((name, known))


def _length(count: int) -> bytes:
    """Begin an array of MessagePack in the shortest way, as the encoder does."""
    if count < 16:
        return bytes([0x90 | count])
    if count < 2**16:
        return b"\xdc" + count.to_bytes(2)
    return b"\xdd" + count.to_bytes(4)
