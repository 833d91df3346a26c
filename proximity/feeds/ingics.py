"""What Ingics' gateways (iGS01 to iGS03) say: lines of text, as they are or in JSON's ``data``.

``$GPRP,TAG,GATEWAY,RSSI,HEX[,SECONDS]``: what was heard, where, how loud, its bytes, and the
gateway's time where one is set.
"""

from __future__ import annotations

from proximity.feeds.model import MOST_ITEMS, Decoded, Incoming, gather, poison, read_json
from proximity.feeds.receivers import gateway_of, heard, octets, receiver_format
from proximity.feeds.units import fields_of
from proximity.model import Record

#: Reports of adverts: Bluetooth 4, and 5 at long range or at 1 Mbit/s. Scan responses and the
#: gateway's own position ($RSPR, $LRSR, $1MSR, $GPSR) say nothing of a beacon.
ADVERTS = {"$GPRP", "$LRAD", "$1MAD"}
FIELDS = 5


def decode(message: Incoming) -> Decoded:
    """Read lines; blank ones are nothing."""
    body = message.body.strip()
    if body[:1] in {b"{", b"["}:
        try:
            found = read_json(body)
        except ValueError as problem:
            return poison(problem)
        lines = found if isinstance(found, list) else fields_of(found).get("data")
        if not isinstance(lines, list):
            return poison("the message has no list of lines")
    elif body.count(b"\n") > MOST_ITEMS:
        return poison(f"more than {MOST_ITEMS} lines in a message")
    else:
        lines = body.decode(errors="replace").splitlines()
    return gather(lines, lambda line: _read(line, message))


def _read(line: object, message: Incoming) -> Record | None:
    fields = [field.strip() for field in str(line).split(",", FIELDS + 1)]
    if fields[0] not in ADVERTS:
        if not fields[0] or fields[0].startswith("$"):
            return None
        raise ValueError("a report is a line that begins with $GPRP or its like")
    if len(fields) < FIELDS:
        raise ValueError(f"a report has {FIELDS} fields, not {len(fields)}")
    at = fields[FIELDS].lstrip("*") if len(fields) > FIELDS else None
    gateway = gateway_of(message, fields[2])
    return heard(message, gateway, octets(fields[4]), fields[3], at or None)


INGICS = receiver_format("ingics", decode)
