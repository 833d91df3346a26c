from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from proximity.channels.console import Console, open_console
from proximity.model import ProximityError
from tests.proximity.given import offer


async def test_an_offer_is_one_line_of_json() -> None:
    stream = io.StringIO()
    reply = await Console(stream).send(offer())
    assert reply.outcome == "accepted"
    assert stream.getvalue().count("\n") == 1
    line = json.loads(stream.getvalue())
    assert line == {
        "offer": "Un café au Café du Nord", "link": "https://example.test/coffee",
        "campaign": "coffee", "person": "anna", "place": "cafe-1",
        "expires_at": "2026-01-06T11:02:00.000Z", "key": "k1",
    }  # fmt: skip


async def test_the_line_is_safe_for_a_terminal() -> None:
    stream = io.StringIO()
    await Console(stream).send(offer(text="\x1b[2J\x9b31m\n\u202eevil", place="a\nb"))
    assert stream.getvalue().isascii()
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


async def test_it_speaks_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    await Console().send(offer())
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["key"] == "k1"


async def test_a_stream_that_is_gone_is_a_failure() -> None:
    stream = io.StringIO()
    stream.close()
    reply = await Console(stream).send(offer())
    assert (reply.outcome, reply.reply) == ("failed", {"error": "ValueError"})


def test_it_has_no_keys() -> None:
    assert open_console({}, Path()).name == "console"
    with pytest.raises(ProximityError, match=r"channel.console: unknown key 'color'; nothing can"):
        open_console({"color": True}, Path())
