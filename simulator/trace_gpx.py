"""GPX 1.0 and 1.1: the points of its tracks are fixes.

Routes are plans and waypoints are marks on a map: neither says that somebody was there, so they are
counted and left. A track point without a time cannot be replayed and is left likewise; a file
without any timed track point is refused. The parser streams, and a document type is refused before
any entity of it could unfold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.parsers import expat

from proximity.feeds.units import HDOP_M, known, moment, number, position
from proximity.model import Fix
from simulator.reading import TraceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proximity.model import Record
    from simulator.reading import Reading

#: Deepest nesting: GPX with extensions has some ten levels.
DEEPEST = 100

#: The longest stretch without an end of tag. The parser looks at it again with each block, so a
#: tag without end would otherwise cost the square of its length.
LONGEST_TAG = 1024 * 1024

#: What a track point says that a fix has, in GPX 1.0, 1.1 and common extensions.
POINT_FIELDS = {"time", "ele", "speed", "course", "hdop", "accuracy"}

#: Longest text of one of them that is kept.
LONGEST_FIELD = 100


class _Points:
    """What the parser has met and nobody has taken yet."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.found: list[tuple[int, dict[str, str]]] = []
        self.tracked = self.routed = self.marked = 0
        self.depth = 0
        self._point: dict[str, str] | None = None
        self._field: str | None = None
        self._line = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _refusal(self, what: str, mend: str) -> TraceError:
        return self.reading.refusal(self.parser.CurrentLineNumber, what, mend)

    def _doctype(self, *_: object) -> None:
        raise self._refusal("it has a document type, which GPX has not", "remove <!DOCTYPE …>")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if self.depth == 0 and name != "gpx":
            raise self._refusal(f"it is XML, but of <{name[:40]}>, not <gpx>", "give a GPX file")
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._refusal(f"tags nest more than {DEEPEST} deep", "give a GPX file")
        if name == "trkpt":
            self.tracked += 1
            self._point = {key: attributes.get(key, "") for key in ("lon", "lat")}
            self._line = self.parser.CurrentLineNumber
        elif name == "rtept":
            self.routed += 1
        elif name == "wpt":
            self.marked += 1
        self._field = name if self._point is not None and name in POINT_FIELDS else None

    def _end(self, tag: str) -> None:
        self.depth -= 1
        self._field = None
        if tag.rpartition(":")[2] == "trkpt" and self._point is not None:
            self.found.append((self._line, self._point))
            self._point = None

    def _text(self, text: str) -> None:
        if self._field is not None and self._point is not None:
            held = self._point.get(self._field, "")
            self._point[self._field] = (held + text)[:LONGEST_FIELD]

    def feed(self, block: bytes, *, last: bool = False) -> list[tuple[int, dict[str, str]]]:
        """Parse on; give the track points, each with its line, that are now complete."""
        try:
            self.parser.Parse(block, last)
        except expat.ExpatError as problem:
            raise self.reading.refusal(
                problem.lineno,
                f"the XML is broken ({expat.ErrorString(problem.code)})",
                "export it again",
            ) from None
        except (ValueError, LookupError) as problem:
            raise self._refusal(
                f"the text cannot be decoded ({problem})", "save as UTF-8"
            ) from None
        found, self.found = self.found, []
        return found


def read_gpx(reading: Reading) -> Iterator[Sequence[Record]]:
    """Read the timed track points of a GPX file, in its order; the subject is the file's stem.

    Times without a zone are UTC, which GPX prescribes. Raises TraceError.
    """
    points = _Points(reading)
    timed = fed = 0
    for block, last in _blocks(reading):
        fed += len(block)
        for line, fields in points.feed(block, last=last):
            try:
                fix = _fix(fields, reading.stem)
            except ValueError as problem:
                timed += 1
                reading.bad(line, str(problem))
                continue
            timed += fix is not None
            yield reading.keep(fix)
        if fed - max(points.parser.CurrentByteIndex, 0) > LONGEST_TAG and not last:
            raise reading.refusal(
                points.parser.CurrentLineNumber,
                f"a tag or a text of more than {LONGEST_TAG} bytes",
                "give a GPX file",
            )
    if not timed:
        what = (
            f"none of its {points.tracked} track points has a time since 1970"
            if points.tracked
            else f"it holds no track ({points.routed} route points, {points.marked} waypoints)"
        )
        raise reading.refusal(None, what, "export a recorded track, with times")
    reading.counts["ignored"] += points.routed + points.marked


def _blocks(reading: Reading) -> Iterator[tuple[bytes, bool]]:
    started = False
    for block in reading.blocks():
        # A declaration must come first, and files in the wild begin with blank lines.
        yield block if started else block.lstrip(), False
        started = True
    yield b"", True


def _fix(fields: dict[str, str], subject: str) -> Fix | None:
    at = moment(fields.get("time"))
    place = position(fields["lon"], fields["lat"])
    if place is None:
        raise ValueError("the track point has no lon and lat")
    if at is None or at < 0.0:  # receivers without a clock write 1901
        return None
    return Fix(
        subject=subject,
        at=at,
        lon=place[0],
        lat=place[1],
        accuracy_m=known(fields.get("accuracy")) or known(fields.get("hdop"), HDOP_M),
        altitude_m=number(fields.get("ele")),
        speed_mps=known(fields.get("speed")),
        course_deg=known(fields.get("course")),
    )
