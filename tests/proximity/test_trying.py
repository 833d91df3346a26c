"""``push try``: one message to one device, judged or handed over, and what came of it in words."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from proximity.__main__ import main
from tests.proximity.channels import apple, google

if TYPE_CHECKING:
    from pathlib import Path


def toml(name: str, table: dict[str, Any]) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join([f"[channel.{name}]", *lines, ""])


async def run(*words: object, stdin: str = "") -> Result:
    """In a thread, for the receiver is in this one's loop."""
    return await asyncio.to_thread(
        CliRunner().invoke, main, ["push", "try", *map(str, words)], input=stdin
    )


async def test_fcm_judges_and_nothing_is_handed_over(tmp_path: Path) -> None:
    file = tmp_path / "campaigns.toml"
    async with google.google() as one:
        file.write_text(toml("fcm", google.settings(tmp_path, one.url)))
        done = await run(file, "--channel", "fcm", stdin=google.DEVICE + "\n")
        assert (done.exit_code, done.stdout) == (
            0, "accepted: taken by FCM (Firebase, FCM REST ErrorCode) [status 200]\n",
        )  # fmt: skip
        assert [sent["validateOnly"] for sent in one.sent] == [True]
        assert one.sent[0]["message"]["token"] == google.DEVICE
        done = await run(
            file, "--channel", "fcm", "--platform", "android", "--send", "--text", "Hello",
            stdin=google.DEVICE,
        )  # fmt: skip
        assert done.exit_code == 0
        assert "validateOnly" not in one.sent[1]
        assert one.sent[1]["message"]["notification"] == {"body": "Hello"}


async def test_what_is_refused_is_said_in_words_and_with_status_1(tmp_path: Path) -> None:
    file = tmp_path / "campaigns.toml"
    async with google.google() as one:
        file.write_text(toml("fcm", google.settings(tmp_path, one.url)))
        one.says = (404, google.refusal(404, "NOT_FOUND", name="UNREGISTERED"))
        done = await run(file, "--channel", "fcm", "--json", stdin=google.DEVICE)
        assert done.exit_code == 1
        assert json.loads(done.stdout) == {
            "outcome": "dead_endpoint",
            "reply": {"code": "UNREGISTERED", "status": 404},
            "what": "the app is gone from the device",
            "source": "Firebase, FCM REST ErrorCode",
        }
        one.grants = (400, {"error": "invalid_grant"})
        done = await run(file, "--channel", "fcm", stdin=google.DEVICE)
        assert done.exit_code == 1
        assert done.stdout.startswith("config_error: the key is revoked, or this clock is wrong (")
        assert google.DEVICE not in done.output
    done = await run(file, "--channel", "fcm", stdin=google.DEVICE)
    assert (done.exit_code, done.stdout) == (
        1, "retry [error ClientConnectorError, at token]\n",
    )  # fmt: skip


async def test_apple_judges_nothing_without_handing_it_over(tmp_path: Path) -> None:
    file = tmp_path / "campaigns.toml"
    async with apple.apple(tmp_path) as one:
        file.write_text(toml("apns", apple.settings(tmp_path, one.url)))
        done = await run(file, "--channel", "apns", stdin=apple.DEVICE)
        assert done.exit_code == 2
        assert "with --send the device shows it" in done.stderr
        assert one.pushes == []
        done = await run(file, "--channel", "apns", "--send", stdin=apple.DEVICE)
        assert (done.exit_code, len(one.pushes)) == (0, 1)
        assert one.pushes[0].payload["aps"]["alert"] == {"body": "It works."}


@pytest.mark.parametrize(
    ("words", "stdin", "problem"),
    [
        (["--channel", "fcm"], "", "the device's address is missing"),
        (["--channel", "fcm"], "x" * 5000, "the device's address is missing"),
        (["--channel", "fmc"], "token", "there is no [channel.fmc]; did you mean 'fcm'?"),
        (["--channel", "fcm"], "token", "account_file 'absent' cannot be read"),
        (["--channel", "hook"], "token", "hands over to no device"),
        (["--channel", "fcm", "--platform", "a\nb"], "token", "the device: platform"),
    ],
)
async def test_what_cannot_be_tried_is_said(
    tmp_path: Path, words: list[str], stdin: str, problem: str
) -> None:
    file = tmp_path / "campaigns.toml"
    (tmp_path / "secret").write_text("whsec_" + "A" * 40)
    file.write_text(toml("fcm", {"account_file": "absent"}) + toml("hook", {"kind": "console"}))
    done = await run(file, *words, stdin=stdin)
    assert done.exit_code == 2
    assert problem in done.stderr
    assert "Traceback" not in done.output
