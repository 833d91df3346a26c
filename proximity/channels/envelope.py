"""The question: how is something told to another system as a CloudEvents 1.0 event.

One event, three ways to write it: whole as JSON (structured), its attributes as headers (binary),
several as a list (batch). Pure; it must not know connections, signatures or the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from proximity.model import format_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proximity.model import Offer

__all__ = [
    "BATCH", "DEFAULT_SOURCE", "OFFER", "STRUCTURED", "Envelope", "as_batch", "as_binary",
    "as_structured", "offer_envelope",
]  # fmt: skip

OFFER = "proximity.offer.v1"
DEFAULT_SOURCE = "urn:proximity-engine"
STRUCTURED = "application/cloudevents+json; charset=utf-8"
BATCH = "application/cloudevents-batch+json; charset=utf-8"
_PLAIN = "application/json"

# Printable ASCII but for the space, the quote and the percent sign stands in a header as it is
# (CloudEvents, HTTP binding, 3.1.3.2); all else is percent-encoded UTF-8.
_IN_HEADERS = "".join(chr(n) for n in range(0x21, 0x7F) if chr(n) not in '"%')


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event. ``source`` and ``id`` together name it for ever; ``data`` is what JSON can hold.

    ``time`` is RFC 3339, left out where it is not known. ``sequence`` puts the events of a source
    in order, compared as text (CloudEvents' extension of that name).
    """

    id: str
    source: str
    type: str
    data: Any
    time: str | None = None
    subject: str | None = None
    sequence: str | None = None

    def attributes(self) -> dict[str, str]:
        """Give the attributes by their names on the wire, those that are not there left out."""
        found = {
            "specversion": "1.0", "id": self.id, "source": self.source, "type": self.type,
            "subject": self.subject, "time": self.time, "sequence": self.sequence,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value}


def as_structured(event: Envelope) -> bytes:
    """Write an event as one JSON object."""
    return msgspec.json.encode(_whole(event))


def as_batch(events: Sequence[Envelope]) -> bytes:
    """Write events as a JSON list of whole events."""
    return msgspec.json.encode([_whole(event) for event in events])


def as_binary(event: Envelope) -> tuple[dict[str, str], bytes]:
    """Write an event as headers and its data as the body; the headers include the content type."""
    headers = {
        f"ce-{name}": quote(value, safe=_IN_HEADERS) for name, value in event.attributes().items()
    }
    return {"content-type": _PLAIN, **headers}, msgspec.json.encode(event.data)


def offer_envelope(offer: Offer, source: str = DEFAULT_SOURCE) -> Envelope:
    """Tell an offer; the event's ``id`` is the offer's key, so that a repeat is known as one."""
    more = {
        "links": offer.links or None, "withdraw": offer.withdraw, "title": offer.title,
        "terms": offer.terms, "receipt": offer.receipt,
    }  # fmt: skip
    return Envelope(
        id=offer.key,
        source=source,
        type=OFFER,
        subject=offer.campaign,
        time=format_time(offer.created_at),
        data={
            "key": offer.key,
            "campaign": offer.campaign,
            "purpose": offer.purpose,
            "person": offer.person,
            "subject": offer.subject,
            "place": offer.place,
            "language": offer.language,
            "text": offer.text,
            "link": offer.link,
            **{name: value for name, value in more.items() if value is not None},
            "expires_at": format_time(offer.expires_at),
        },
    )


def _whole(event: Envelope) -> dict[str, Any]:
    return {**event.attributes(), "datacontenttype": _PLAIN, "data": event.data}
