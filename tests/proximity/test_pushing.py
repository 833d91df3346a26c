"""The commands that set up web push: its keys, and a link for a phone."""

from __future__ import annotations

import time
import urllib.parse
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proximity.__main__ import main
from proximity.channels.web_push import open_web_push
from proximity.server.auth import Role, Tokens, list_tokens
from proximity.store import Store
from proximity.store.folder import state_of


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_keys_are_made_for_their_owner_and_work(tmp_path: Path) -> None:
    file = tmp_path / "push.pem"
    made = run("push", "keys", "--out", file)
    assert made.exit_code == 0, made.output
    assert file.stat().st_mode & 0o777 == 0o600
    key = made.stdout.strip()
    assert len(key) == 87
    assert key.startswith("B"), "an uncompressed point"
    channel = open_web_push({"contact": "mailto:a@example.com", "key_file": file.name}, tmp_path)
    assert channel.public_key == key
    again = run("push", "keys", "--out", file)
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    assert "PRIVATE" not in made.output + again.output


def test_a_link_is_a_phone_s_token_behind_the_hash(tmp_path: Path) -> None:
    made = run(
        "client",
        "link",
        "--data",
        tmp_path / "data",
        "--subject",
        "ann's phone",
        "--url",
        "https://shop.example.com/",
    )
    assert made.exit_code == 0, made.output
    link = urllib.parse.urlsplit(made.stdout.strip())
    assert (link.scheme, link.netloc, link.path, link.query) == (
        "https",
        "shop.example.com",
        "/client/",
        "",
    )
    told = dict(urllib.parse.parse_qsl(link.fragment))
    assert told["subject"] == "ann's phone"
    with closing(Store.open(state_of(tmp_path / "data"))) as store:
        (row,) = store.read(list_tokens)
        assert (row.role, row.subject) == (Role.DEVICE, "ann's phone")
        tokens = Tokens(store)
        tokens.refresh()
        assert len(tokens._by_hash) == 1
        assert row.created_at <= time.time()


def test_http_is_warned_of_and_no_address_is_refused(tmp_path: Path) -> None:
    there = ("client", "link", "--data", tmp_path, "--subject", "ann")
    assert "neither push nor position" in run(*there, "--url", "http://192.168.1.5:8080").stderr
    assert run(*there, "--url", "http://localhost:8080").stderr == ""
    for bad in (
        "shop.example.com",
        "ftp://shop",
        "https://",
        "https://h/?x=1",
        "https://h/#x",
        "https://[h",
    ):
        refused = run(*there, "--url", bad)
        assert refused.exit_code == 2, bad
        assert "no address of a server" in refused.stderr
    refused = run(
        "client", "link", "--data", tmp_path, "--subject", "", "--url", "https://h.example"
    )
    assert refused.exit_code == 2
    assert "--subject" in refused.stderr


@pytest.mark.parametrize("words", [("push",), ("client",)])
def test_they_say_what_there_is(words: tuple[str, ...]) -> None:
    assert "Commands" in run(*words, "--help").output
