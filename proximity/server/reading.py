"""How is a request read without trusting it? Bodies, ids and queries, bounded in size and time.

Raises Problem where something is too large, too slow, or unreadable; knows no resource.
"""

from __future__ import annotations

import asyncio
import difflib
import re
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web

from beacon_gateway.model import check_id
from proximity.model import parse_time
from proximity.server.problems import Problem
from proximity.server.routes import Param

if TYPE_CHECKING:
    from collections.abc import Callable

    from proximity.server.routes import Route
    from proximity.server.signing import Signed

T = TypeVar("T")

# A batch of records. Overland's largest setting (1,000 points) is about 400 kB; the native feed's
# bound of 100,000 records fits in this.
RECORDS_LIMIT = 16 * 2**20
# Fences: a ring of 200,000 vertices written out in full is 9 MB.
FENCES_LIMIT = 16 * 2**20
# People, consents: a thousand records with attributes.
SMALL_LIMIT = 2**20
# A whole request must have arrived within this. A phone on a poor connection sends 400 kB in 10 s;
# a client that dribbles a byte every few seconds only wants to hold the connection.
BODY_DEADLINE_S = 15.0
# How a body may be compressed: aiohttp undoes these without another library.
ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})
# What editors on Windows put before UTF-8 text; it says nothing.
BOM = b"\xef\xbb\xbf"
# Above this many bytes reading a body takes more than about a millisecond: it leaves the event
# loop, which others wait for.
INLINE_LIMIT = 32 * 2**10


class Asked(web.Request):
    """A request, the id that its path names (empty where it names none), and who signed it.

    ``whole`` is its body where that was read to check the signature, ``signed`` what that said.
    """

    named = ""
    whole: bytes | None = None
    signed: Signed | None = None


async def read_body(request: web.Request, limit: int) -> bytes:
    """Read a whole body of at most ``limit`` bytes, compressed or not.

    Raises Problem: 413 too large, 408 too slow, 400 cut short or wrongly compressed, 415
    compressed in an unknown way.
    """
    _check_encoding(request)
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    content = request.content
    if content.is_eof():
        # The hot path: a small body arrived with its headers and nothing need be waited for.
        chunk = content.read_nowait(-1)
        if not chunk and isinstance(request, Asked) and request.whole is not None:
            chunk = request.whole
        if len(chunk) > limit:
            raise _too_large(limit)
        return chunk
    if request.headers.get("Expect", "").lower() == "100-continue":
        # Whoever was refused before this line need not send a body that nobody reads.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            while chunk := await content.readany():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        if request.content_length is not None and content.total_raw_bytes == request.content_length:
            raise cut_short() from None  # it arrived, and what is packed in it has no end
        raise Problem(
            408,
            f"The body did not arrive within {BODY_DEADLINE_S:g} s.",
            headers={"Connection": "close"},
        ) from None
    except (web.HTTPException, OSError):
        raise
    except Exception as error:
        if isinstance(error, Problem):
            raise
        raise cut_short() from None
    return b"".join(chunks)


def _check_encoding(request: web.Request) -> None:
    """Refuse a body that is compressed in a way nobody here undoes. Raises Problem 415."""
    said = request.headers.get("Content-Encoding")
    if said is not None and said.strip().lower() not in ENCODINGS:
        raise unknown_encoding()


def unknown_encoding() -> Problem:
    """Make the problem of a body that is compressed in a way nobody here undoes."""
    return Problem(
        415,
        "Content-Encoding: send the body as it is, or compressed with gzip or deflate.",
        headers={"Accept-Encoding": "gzip, deflate", "Connection": "close"},
    )


def cut_short() -> Problem:
    """Make the problem of a body that does not unpack.

    What comes after it cannot be told from it: this connection is over.
    """
    return Problem(
        400, "The body is cut short or wrongly encoded.", headers={"Connection": "close"}
    )


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        f"The body is larger than {limit} bytes: send it in parts.",
        headers={"Connection": "close"},
    )


async def off_loop(size: int, work: Callable[[], T]) -> T:
    """Do ``work`` here where its input is small, in a thread where it could hold up the loop."""
    if size <= INLINE_LIMIT:
        return work()
    return await asyncio.to_thread(work)


def parse_json(body: bytes, kind: type[T]) -> T:
    """Read a JSON body as ``kind``. Raises Problem 400 with the place and the reason."""
    try:
        return msgspec.json.decode(body.removeprefix(BOM), type=kind)
    except RecursionError:
        raise Problem(400, "The body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"The body cannot be read: {fault_of(error, kind)}") from None


def fault_of(error: Exception, kind: Any) -> str:
    """Say what is wrong with a body; where a word is none of those of a key, which there are."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    key = _NO_SUCH_WORD.search(str(error))
    if key is None:
        return str(error)
    words = [word for one in _parts(kind) for word in _parts(get_type_hints(one).get(key[1]))]
    said = ", ".join(dict.fromkeys(word for word in words if isinstance(word, str)))
    return f"{error}; it is one of {said}" if said else str(error)


_NO_SUCH_WORD = re.compile(r"^Invalid enum value .* - at `\$(?:\[[^]]*\])?\.(\w+)`$", re.DOTALL)


def _parts(hint: Any) -> list[Any]:
    """List what a type is made of: the structs of a union or a list, the words of a Literal."""
    if isinstance(hint, str) or (isinstance(hint, type) and issubclass(hint, msgspec.Struct)):
        return [hint]
    return [part for one in get_args(hint) for part in _parts(one)]


def read_id(request: web.Request) -> str:
    """Read the id in the path; a ``/`` in it travels as ``%2F``. Raises Problem 400."""
    assert isinstance(request, Asked)
    check_escapes(request, "The id in the path")
    return query_id(request.named, "The id in the path")


def query_id(text: str, what: str) -> str:
    """Check an id. Raises Problem 400."""
    try:
        check_id(text, "it")
        text.encode()
    except UnicodeEncodeError:
        raise Problem(400, f"{what}: it must be UTF-8") from None
    except ValueError as error:
        raise Problem(400, f"{what}: {error}") from None
    return text


def parse_lines(body: bytes, kind: type[T], what: str) -> list[T]:
    """Read one JSON object, an array of them, or one a line (NDJSON), as ``kind``.

    Raises Problem 422 that names every line with a fault, 400 where it is no JSON at all.
    """
    found, problems = numbered_lines(body, kind, what)
    if problems:
        raise Problem(422, f"Nothing was changed: {problems[0]}", problems=problems)
    return [one for _, one in found]


def numbered_lines(body: bytes, kind: type[T], what: str) -> tuple[list[tuple[int, T]], list[str]]:
    """Read what ``parse_lines`` does: each with its line, and what is wrong with the others.

    Lines are those of the body, and items of an array are counted; both from 1. Raises Problem 400
    where it is no JSON at all.
    """
    text = body.removeprefix(BOM)
    first = 1 + text[: len(text) - len(text.lstrip())].count(b"\n")
    text = text.strip()
    try:
        if text.startswith(b"["):
            first = 1
            parts = [bytes(raw) for raw in msgspec.json.decode(text, type=list[msgspec.Raw])]
        else:
            try:
                parts = [bytes(msgspec.json.decode(text, type=msgspec.Raw))]
            except msgspec.DecodeError:
                parts = text.split(b"\n")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"The body cannot be read: {fault_of(error, kind)}") from None
    if len(parts) > MOST_ITEMS:
        raise Problem(413, f"{len(parts)} {what} are more than {MOST_ITEMS}: send them in parts.")
    found: list[tuple[int, T]] = []
    problems: list[str] = []
    for number, part in enumerate(parts, start=first):
        if not part.strip():
            continue
        try:
            found.append((number, msgspec.json.decode(part, type=kind)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            problems.append(f"line {number}: {fault_of(error, kind)}")
    return found, problems


def known_query(request: web.Request, route: Route) -> None:
    """Refuse query parameters that the route does not know, and such as are there twice.

    A misspelt filter that is ignored would answer with everybody's records instead of one's; of
    two values one would go unheard. Raises Problem 400 that names every fault.
    """
    check_escapes(request, "The query")
    problems: list[str] = []
    for name in dict.fromkeys(request.query):
        if len(problems) == MOST_TOLD:
            break
        if name not in route.names:
            near = difflib.get_close_matches(name[:64], route.names, 1)
            hint = f": did you mean {near[0]}?" if near else "."
            problems.append(f"There is no query parameter {name[:64]!r} here{hint}")
        elif len(request.query.getall(name)) > 1:
            problems.append(f"The query parameter {name} is there more than once: send it once.")
    if problems:
        raise Problem(400, problems[0], problems=problems if len(problems) > 1 else ())


def check_escapes(request: web.Request, what: str) -> None:
    """Refuse an address with a % that escapes nothing, or escapes that spell no UTF-8.

    Read leniently they would name somebody else, or nobody. Raises Problem 400.
    """
    address = request.raw_path
    if "%" not in address:
        return
    if _NO_ESCAPE.search(address):
        raise Problem(400, f"{what}: a % stands before two hexadecimal digits; write %25 for one.")
    try:
        unquote_to_bytes(address).decode()
    except UnicodeDecodeError:
        raise Problem(400, f"{what}: what is escaped with % must be UTF-8.") from None


_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


def _read_id_text(text: str) -> str:
    check_id(text, "it")
    text.encode()
    return text


def _read_cursor(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError("a cursor is what an earlier answer gave as `cursor`")
    return int(text)


def _read_time(text: str) -> float:
    try:
        return parse_time(float(text))
    except ValueError:
        # In a query an unescaped "+" of a zone arrives as a space.
        return parse_time(text.replace(" ", "+"))


def _read_limit(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_ITEMS:
        return int(text)
    raise ValueError(f"it must be 1 to {MOST_ITEMS}")


MOST_TOLD = 10
"""Faults of one query that are told: what is nearest to a name is searched for, and an address has
room for thousands."""
MOST_ITEMS = 1000
"""Items in one page: at about 1 kB each, a page stays a small answer."""

ID_SCHEMA: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 128}


def id_param(name: str, meaning: str, *, required: bool = False) -> Param:
    """Make a parameter that names something by its id."""
    return Param(
        name=name, schema=ID_SCHEMA, meaning=meaning, read=_read_id_text, required=required
    )


AFTER = Param(
    name="after",
    schema={"type": "string", "pattern": "^[0-9]{1,18}$"},
    meaning="the cursor of an earlier answer: only what came after it",
    read=_read_cursor,
    default=0,
)
AFTER_ID = Param(
    name="after",
    schema=ID_SCHEMA,
    meaning="the cursor of an earlier answer: only the ids that sort after it",
    read=_read_id_text,
    default="",
)
LIMIT = Param(
    name="limit",
    schema={"type": "integer", "minimum": 1, "maximum": MOST_ITEMS, "default": 100},
    meaning=f"how many items at most, 1 to {MOST_ITEMS}",
    read=_read_limit,
    default=100,
)
SUBJECT = id_param("subject", "only this subject's")
PLACE = id_param("place", "only at this place")
AT = Param(
    name="at",
    schema={"type": "string"},
    meaning="a time: RFC 3339 or Unix seconds; now, where absent",
    read=_read_time,
)
