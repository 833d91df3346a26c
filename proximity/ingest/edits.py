"""What does an edit of the fences change, and may it?

Pure: fences as text go in, changes as the journal keeps them come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

import geofences
from proximity.model import ProximityError, digest
from proximity.store.journal import FenceChange, StoredFence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal

    from geofences import Fence
    from proximity.site.registry import Site

decode_changes = msgspec.msgpack.Decoder(list[FenceChange]).decode


class FenceFixed(ProximityError):  # noqa: N818 - it says what the fence is
    """The fence comes from a file that the server was started with: change it there."""


class FenceEdit(msgspec.Struct, frozen=True):
    """What a row of kind ``fences`` changes, and the fences that it puts, read."""

    changes: Sequence[FenceChange]
    puts: Sequence[Fence]


def read_edit(changes: Sequence[FenceChange]) -> FenceEdit:
    """Read the fences that changes put, from the very text that the journal keeps of them."""
    puts = read_features(change.after.feature for change in changes if change.after is not None)
    return FenceEdit(changes, puts)


def plan_edit(
    fences: Mapping[str, StoredFence],
    puts: Sequence[Fence],
    removals: Sequence[str],
    source: Literal["file", "http"],
) -> tuple[FenceEdit, bytes, str]:
    """Say what an edit of ``fences`` changes, what is so already left out.

    Gives the edit, its row's payload, and the hash of the fences after it. Takes seconds where
    the fences are many, so it belongs in a thread.
    """
    after: dict[str, StoredFence | None] = {
        fence.id: StoredFence(msgspec.json.encode(fence.to_feature()).decode(), source)
        for fence in puts
    }
    after.update(dict.fromkeys(removals))
    changes = [
        FenceChange(fence_id, fences.get(fence_id), now)
        for fence_id, now in after.items()
        if now != fences.get(fence_id)
    ]
    # Read again from what was written: running and recovering must judge by the very same shapes.
    edit = read_edit(changes)
    upcoming = {**fences, **{one.id: one.after for one in changes}}
    there = {fence_id: one for fence_id, one in upcoming.items() if one is not None}
    return edit, msgspec.msgpack.encode(changes), hash_fences(there)


def hash_fences(fences: Mapping[str, StoredFence]) -> str:
    """Give one hash of all fences."""
    return digest(*(f"{fence_id} {one.etag}" for fence_id, one in sorted(fences.items())))


def refuse_fixed(fences: Mapping[str, StoredFence], site: Site, ids: Iterable[str]) -> None:
    """Raise FenceFixed where a file that the server was started with names one of the ids."""
    for fence_id in ids:
        known = fences.get(fence_id)
        if known is not None and known.source == "file":
            raise FenceFixed(
                f"fence {fence_id!r} comes from a file that the server was started with: "
                "change it there"
            )
        if known is None and fence_id in site.places:
            raise FenceFixed(
                f"place {fence_id!r} is named by the site file that the server was started "
                "with: change it there, or give the fence another id"
            )


def read_features(features: Iterable[str]) -> list[Fence]:
    """Read stored features: one by one, since all together may exceed what one file may hold."""
    return [fence for feature in features for fence in geofences.loads(feature).fences]
