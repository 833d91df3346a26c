"""From a fix to a mailbox and back by one click: a whole server and a mail server."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.proximity.channels.mailboxes import TLS, Mailboxes, mailboxes
from tests.proximity.server.rig import CAMPAIGNS, Rig, fix, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RULES = """
public_url = "https://shop.example.test"

[channel.email]
host = "localhost"
port = {port}
from = "Shop <offers@shop.example.test>"
allow = ["127.0.0.1", "::1"]
ca_file = "{ca}"
"""


@asynccontextmanager
async def anna_in_the_shop(folder: Path, boxes: Mailboxes) -> AsyncIterator[tuple[Rig, Any]]:
    """Let somebody with an address, who agreed to it, come to the shop; give the first delivery."""
    rules = RULES.format(port=boxes.port, ca=TLS / "cert.pem") + CAMPAIGNS.replace(
        'channels = ["console"]', 'channels = ["email"]'
    )
    (folder / "by_mail.toml").write_text(rules)
    async with running(folder, campaigns=folder / "by_mail.toml") as rig:
        person = {
            "subjects": ["phone-1"],
            "endpoints": [{"channel": "email", "address": "anna@example.test"}],
        }
        put = await rig.ask("PUT", "/v1/people/anna", body=person)
        assert put.status in {200, 201}, put.body
        await rig.consent("anna")
        now = rig.parts.clock()
        for back in (3, 2, 1):
            await rig.ask("POST", "/v1/fixes", body=fix(at=now - back))
        (delivery,) = await rig.until("/v1/deliveries", 1)
        yield rig, delivery


async def test_an_offer_by_mail_and_its_one_click(tmp_path: Path) -> None:
    async with mailboxes() as boxes, anna_in_the_shop(tmp_path, boxes) as (rig, delivery):
        assert (delivery["channel"], delivery["outcome"]) == ("email", "accepted")
        assert "anna@example.test" not in str(delivery)
        (message,) = boxes.messages
        assert message["To"] == "anna@example.test"
        assert message["Message-ID"] == f"<{delivery['key']}@shop.example.test>"
        found = re.fullmatch(
            r"<https://shop\.example\.test(/withdraw/\S+)>", message["List-Unsubscribe"]
        )
        assert found is not None
        # What a mail program does when its own button is pressed (RFC 8058).
        answer = await rig.ask(
            "POST", found[1], role=None, raw=b"List-Unsubscribe=One-Click",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        assert answer.status == 200, answer.body
        said = (await rig.ask("GET", "/v1/consents?person=anna")).json["items"]
        assert said[-1]["until"] is not None


async def test_an_address_that_is_gone_leaves_the_person_s_record(tmp_path: Path) -> None:
    async with mailboxes() as boxes:
        boxes.says["rcpt"] = "550 5.1.1 nobody here"
        async with anna_in_the_shop(tmp_path, boxes) as (rig, delivery):
            assert delivery["outcome"] == "dead_endpoint"
            record = (await rig.ask("GET", "/v1/people/anna")).json
            assert not record.get("endpoints")
