"""A channel that is not ours, and providers that are exchanged by the campaigns file alone."""

from __future__ import annotations

import base64
import json
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from proximity.campaigns.form import parse_campaigns
from proximity.channels import Channel, Reply, open_channels
from proximity.model import Endpoint, ProximityError
from tests.proximity.channels.mailboxes import TLS, Mailboxes, mailboxes
from tests.proximity.channels.receivers import Receiver, receiver
from tests.proximity.given import offer
from tests.proximity.server.rig import CAMPAIGNS, fix, running

if TYPE_CHECKING:
    from pathlib import Path

ANNA = Endpoint(channel="email", address="anna@example.test")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

PIGEONS = '''
"""A channel that somebody else wrote, and has installed beside the engine."""
import json
from pathlib import Path
from proximity.channels import Reply

class Pigeon:
    name = "pigeon"
    to_endpoints = False

    def __init__(self, loft):
        self.loft = loft

    async def send(self, offer, endpoint=None):
        with self.loft.open("a") as file:
            file.write(json.dumps({"key": offer.key, "text": offer.text}) + "\\n")
        return Reply(outcome="accepted", reply={"pigeons": 1})

    async def close(self):
        pass

def open_pigeon(config, folder):
    return Pigeon(folder / config["loft"])
'''
BY_PIGEON = CAMPAIGNS.replace('channels = ["console"]', 'channels = ["pigeon"]').replace(
    "[[campaign]]",
    '[channel.pigeon]\nkind = "pigeon_post:open_pigeon"\nloft = "loft.ndjson"\n\n[[campaign]]',
    1,
)


@pytest.fixture
def pigeon_post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "pigeon_post.py").write_text(PIGEONS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "pigeon_post", raising=False)
    return tmp_path


async def test_a_channel_of_somebody_else_s_carries_a_whole_server_s_offers(
    pigeon_post: Path,
) -> None:
    folder = pigeon_post / "data"
    folder.mkdir()
    (folder / "by_pigeon.toml").write_text(BY_PIGEON)
    async with running(folder, campaigns=folder / "by_pigeon.toml") as rig:
        await rig.consent("phone-1")
        now = rig.parts.clock()
        for back in (3, 2, 1):
            await rig.ask("POST", "/v1/fixes", body=fix(at=now - back))
        (delivery,) = await rig.until("/v1/deliveries", 1)
    assert (delivery["channel"], delivery["outcome"]) == ("pigeon", "accepted")
    assert delivery["reply"] == {"pigeons": 1}
    (line,) = (folder / "loft.ndjson").read_text().splitlines()
    assert json.loads(line)["key"] == delivery["key"]


def test_one_that_is_not_there_is_named_with_the_mend(tmp_path: Path) -> None:
    rules = parse_campaigns(BY_PIGEON.replace("pigeon_post:", "no_such_module:"))
    with pytest.raises(ProximityError, match=r"channel\.pigeon: kind 'no_such_module:open_pigeon'"):
        open_channels(rules, tmp_path / "campaigns.toml")


# -- providers -----------------------------------------------------------------------------------

MAIL = """
[channel.email]
from = "Shop <offers@shop.test>"
allow = ["127.0.0.1", "::1"]
ca_file = "{ca}"

[[channel.email.provider]]
host = "localhost"
port = {first}

[[channel.email.provider]]
host = "localhost"
port = {second}
"""
HOOKS = """
[channel.webhook]
allow = ["127.0.0.1"]
secret_file = "secret"

[[channel.webhook.provider]]
url = "http://127.0.0.1:{first}/a"

[[channel.webhook.provider]]
url = "http://127.0.0.1:{second}/b"
"""


class Mails:
    """Two relays; what each got, and how to have one refuse."""

    kind, text, endpoint = "email", MAIL, ANNA

    def __init__(self, *boxes: Mailboxes) -> None:
        self.boxes = boxes

    def got(self) -> list[list[str]]:
        return [[m["Message-ID"][1:].split("@")[0] for m in one.messages] for one in self.boxes]

    def refuse(self, number: int, *, config: bool) -> None:
        step, says = ("mail", "550 5.7.1 no") if config else ("rcpt", "451 4.3.0 later")
        self.boxes[number].says[step] = says

    def take(self, number: int) -> None:
        self.boxes[number].says.clear()


class Hooks:
    """Two receivers of webhooks, with the same face."""

    kind, text, endpoint = "webhook", HOOKS, None

    def __init__(self, *some: Receiver) -> None:
        self.boxes = some

    def got(self) -> list[list[str]]:
        return [[json.loads(body)["id"] for _, _, body in one.requests] for one in self.boxes]

    def refuse(self, number: int, *, config: bool) -> None:  # noqa: ARG002 - a hook only waits
        self.boxes[number].status = 503

    def take(self, number: int) -> None:
        self.boxes[number].status = 200


async def two(kind: str, stack: AsyncExitStack) -> Mails | Hooks:
    if kind == "email":
        return Mails(*[await stack.enter_async_context(mailboxes()) for _ in range(2)])
    some = [await stack.enter_async_context(receiver()) for _ in range(2)]
    return Hooks(*some)


def opened(pair: Mails | Hooks, folder: Path, *, swapped: bool = False) -> Channel:
    (folder / "secret").write_text(SECRET)
    ports = [one.port for one in pair.boxes]
    if swapped:
        ports.reverse()
    text = pair.text.format(first=ports[0], second=ports[1], ca=TLS / "cert.pem")
    return open_channels(parse_campaigns(text), folder / "campaigns.toml")[pair.kind]


def count(pair: Mails | Hooks) -> list[int]:
    if isinstance(pair, Hooks):
        return [len(one.requests) for one in pair.boxes]
    return [len(one) for one in pair.got()]


@pytest.mark.parametrize("kind", ["email", "webhook"])
@pytest.mark.parametrize("swapped", [False, True])
async def test_providers_are_exchanged_by_configuration(
    kind: str, swapped: bool, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        pair = await two(kind, stack)
        channel = opened(pair, tmp_path, swapped=swapped)
        first, second = (1, 0) if swapped else (0, 1)

        async def send(key: str) -> Reply:
            return await channel.send(offer(channel=kind, key=key), pair.endpoint)

        reply = await send("k1")
        assert (reply.outcome, reply.reply["provider"]) == ("accepted", 1)
        assert (count(pair)[first], count(pair)[second]) == (1, 0)
        for config in (False, True):
            pair.refuse(first, config=config)
            reply = await send("k2")
            assert (reply.outcome, reply.reply["provider"]) == ("accepted", 2)
            pair.take(first)
        assert count(pair)[second] == 2
        pair.refuse(first, config=False)
        pair.refuse(second, config=False)
        assert (await send("k3")).outcome == "retry"
        pair.take(first)
        pair.take(second)
        reply = await send("k4")
        assert (reply.outcome, reply.reply["provider"]) == ("accepted", 1)
        await channel.close()


async def test_a_mail_that_may_have_been_taken_goes_to_nobody_else(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        pair = await two("email", stack)
        assert isinstance(pair, Mails)
        channel = opened(pair, tmp_path)
        pair.boxes[0].hang_up_after_data = True
        reply = await channel.send(offer(channel="email"), ANNA)
        await channel.close()
    assert (reply.outcome, reply.unsure) == ("retry", True)
    assert [len(one) for one in pair.got()] == [1, 0]


async def test_what_is_wrong_with_a_provider_is_named_by_its_number(tmp_path: Path) -> None:
    text = MAIL.format(first=1, second=70000, ca=TLS / "cert.pem")
    with pytest.raises(ProximityError) as caught:
        open_channels(parse_campaigns(text), tmp_path / "campaigns.toml")
    problems: Any = caught.value.problems
    assert len(problems) == 1
    assert problems[0].startswith(
        "campaigns.toml: channel.email: provider 2: port must be a number"
    )
