"""Mail against aiosmtpd: TLS, signing in, refusals at every step, and connections that break."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from proximity.channels import mail as mail_module
from proximity.channels.mail import Mail, open_email
from proximity.model import Endpoint, ProximityError
from tests.proximity.channels.mailboxes import PASSWORD, TLS, Mailboxes, mailboxes
from tests.proximity.given import offer

if TYPE_CHECKING:
    from pathlib import Path

ANNA = Endpoint(channel="email", address="anna@example.test")


def config(boxes: Mailboxes, **changes: Any) -> dict[str, Any]:
    found = {
        "host": "localhost", "port": boxes.port, "from": "Café du Nord <offers@shop.test>",
        "allow": ["127.0.0.1", "::1"], "ca_file": str(TLS / "cert.pem"),
    } | changes  # fmt: skip
    return {key: value for key, value in found.items() if value is not None}


def opened(boxes: Mailboxes, folder: Path, **changes: Any) -> Mail:
    return open_email(config(boxes, **changes), folder)


async def test_a_mail_arrives_encrypted_with_all_that_it_must_have(tmp_path: Path) -> None:
    async with mailboxes() as boxes:
        channel = opened(boxes, tmp_path, feedback="shop7")
        reply = await channel.send(
            offer(channel="email", title="Coffee", withdraw="https://shop.test/withdraw/x"), ANNA
        )
        await channel.close()
    assert (reply.outcome, reply.reply) == ("accepted", {"status": 250})
    assert boxes.tls == [True]
    name, sender, receivers, _ = boxes.got[0]
    assert (name, sender, receivers) == ("shop.test", "offers@shop.test", ["anna@example.test"])
    (message,) = boxes.messages
    assert message["Message-ID"] == "<k1@shop.test>"
    assert message["Subject"] == "Coffee"
    assert message["List-Unsubscribe"] == "<https://shop.test/withdraw/x>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Feedback-ID"] == "coffee:marketing:email:shop7"


async def test_tls_from_the_first_byte(tmp_path: Path) -> None:
    async with mailboxes(tls="tls") as boxes:
        channel = opened(boxes, tmp_path, tls="tls")
        assert (await channel.send(offer(), ANNA)).outcome == "accepted"
        await channel.close()
    assert boxes.tls == [True]


async def test_plain_only_to_a_listed_address(tmp_path: Path) -> None:
    async with mailboxes(tls="none") as boxes:
        channel = opened(boxes, tmp_path, tls="none", host="127.0.0.1")
        assert (await channel.send(offer(), ANNA)).outcome == "accepted"
        await channel.close()
        for host in ("localhost", "relay.example.test"):
            with pytest.raises(ProximityError, match='tls = "none" is for an address that allow'):
                opened(boxes, tmp_path, tls="none", host=host)
    assert boxes.tls == [False]


async def test_nothing_is_said_to_a_relay_without_tls(tmp_path: Path) -> None:
    async with mailboxes(tls="none") as boxes:
        channel = opened(boxes, tmp_path)
        reply = await channel.send(offer(), ANNA)
        await channel.close()
    assert reply.outcome == "config_error"
    assert boxes.got == []


async def test_a_certificate_that_nobody_vouches_for_is_a_config_error(tmp_path: Path) -> None:
    for tls in ("starttls", "tls"):
        async with mailboxes(tls=tls) as boxes:
            channel = opened(boxes, tmp_path, tls=tls, ca_file=None)
            reply = await channel.send(offer(), ANNA)
            await channel.close()
            assert (reply.outcome, reply.reply) == ("config_error", {"error": "certificate"})
            assert boxes.got == []


async def test_an_address_that_is_not_public_is_refused_unless_listed(tmp_path: Path) -> None:
    async with mailboxes() as boxes:
        channel = opened(boxes, tmp_path, allow=None)
        reply = await channel.send(offer(), ANNA)
        await channel.close()
    assert reply.outcome == "config_error"
    assert reply.reply == {"error": "refused", "why": "an address that is not public"}
    assert boxes.connections == []


async def test_it_signs_in_and_a_wrong_password_is_a_config_error(tmp_path: Path) -> None:
    file = tmp_path / "password"
    async with mailboxes(sign_in=True) as boxes:
        for password, outcome in ((PASSWORD, "accepted"), ("canary-wrong", "config_error")):
            file.write_text(password + "\n")
            file.chmod(0o600)
            channel = opened(boxes, tmp_path, username="shop", password_file="password")
            reply = await channel.send(offer(), ANNA)
            await channel.close()
            assert reply.outcome == outcome
            assert "canary" not in repr(reply) + repr(channel._peer)
        channel = opened(boxes, tmp_path)
        assert (await channel.send(offer(), ANNA)).outcome == "config_error"
        await channel.close()
    assert len(boxes.got) == 1


@pytest.mark.parametrize(
    ("step", "says", "outcome", "reply"),
    [
        (
            "rcpt",
            "550 5.1.1 no such user canary",
            "dead_endpoint",
            {"status": 550, "code": "5.1.1"},
        ),
        ("rcpt", "550 5.2.1 disabled", "dead_endpoint", {"status": 550, "code": "5.2.1"}),
        ("rcpt", "550 5.1.10 null MX", "dead_endpoint", {"status": 550, "code": "5.1.10"}),
        ("rcpt", "552 5.2.2 full", "failed", {"status": 552, "code": "5.2.2"}),
        ("rcpt", "550 no", "failed", {"status": 550}),
        ("rcpt", "451 4.3.0 greylisted", "retry", {"status": 451, "code": "4.3.0"}),
        ("rcpt", "450 later", "retry", {"status": 450}),
        ("data", "550 5.7.26 unauthenticated", "config_error", {"status": 550, "code": "5.7.26"}),
        ("data", "554 5.7.1 spam", "failed", {"status": 554, "code": "5.7.1"}),
        ("data", "452 4.3.1 disk full", "retry", {"status": 452, "code": "4.3.1"}),
        # Whatever is refused of the sender is ours to mend, and no receiver's end.
        ("mail", "553 5.1.8 sender", "config_error", {"status": 553, "code": "5.1.8"}),
        ("mail", "550 5.1.1 sender", "config_error", {"status": 550, "code": "5.1.1"}),
        ("mail", "450 4.7.1 slow down", "retry", {"status": 450, "code": "4.7.1"}),
    ],
)
async def test_what_the_relay_says_at_each_step(
    step: str, says: str, outcome: str, reply: dict[str, Any], tmp_path: Path
) -> None:
    name = {"mail": "sender", "rcpt": "receiver", "data": "data"}[step]
    async with mailboxes() as boxes:
        channel = opened(boxes, tmp_path)
        boxes.says[step] = says
        found = await channel.send(offer(), ANNA)
        assert (found.outcome, found.reply) == (outcome, reply | {"step": name})
        assert not found.unsure
        assert "canary" not in repr(found)
        # The connection is as good as before.
        boxes.says.clear()
        assert (await channel.send(offer(), ANNA)).outcome == "accepted"
        await channel.close()
    assert len(boxes.connections) == 1


async def test_one_connection_serves_many_and_few_serve_many_at_once(tmp_path: Path) -> None:
    async with mailboxes() as boxes:
        channel = opened(boxes, tmp_path)
        for n in range(20):
            assert (await channel.send(offer(key=f"k{n}"), ANNA)).outcome == "accepted"
        assert len(boxes.connections) == 1
        replies = await asyncio.gather(*(channel.send(offer(key=f"m{n}"), ANNA) for n in range(40)))
        assert {one.outcome for one in replies} == {"accepted"}
        assert len(boxes.connections) <= mail_module.CONNECTIONS
        await channel.close()
    assert len(boxes.got) == 60


async def test_a_connection_that_the_relay_closed_meanwhile_is_replaced(tmp_path: Path) -> None:
    async with mailboxes() as boxes:
        channel = opened(boxes, tmp_path)
        assert (await channel.send(offer(), ANNA)).outcome == "accepted"
        boxes.connections[0].transport.abort()
        assert (await channel.send(offer(), ANNA)).outcome == "accepted"
        assert len(boxes.connections) == 2
        boxes.says["once"] = "421 4.4.2 idle for too long"
        assert (await channel.send(offer(), ANNA)).outcome == "accepted"
        assert len(boxes.connections) == 3
        boxes.says["mail"] = "421 4.3.2 shutting down"
        reply = await channel.send(offer(), ANNA)
        assert (reply.outcome, reply.unsure) == ("retry", False)
        await channel.close()


async def test_a_relay_that_does_not_answer_the_message_is_unsure(tmp_path: Path) -> None:
    async with mailboxes() as boxes:
        boxes.answers.clear()
        channel = opened(boxes, tmp_path)
        channel._timeout_s = 0.5
        reply = await channel.send(offer(), ANNA)
        boxes.answers.set()
        await channel.close()
    assert (reply.outcome, reply.unsure) == ("retry", True)
    assert reply.reply == {"error": "timeout", "step": "data"}


async def test_a_connection_lost_after_the_message_is_unsure(tmp_path: Path) -> None:
    async with mailboxes() as boxes:
        boxes.hang_up_after_data = True
        channel = opened(boxes, tmp_path)
        reply = await channel.send(offer(), ANNA)
        await channel.close()
    assert len(boxes.got) == 1
    assert (reply.outcome, reply.unsure) == ("retry", True)
    assert reply.reply == {"error": "connection", "step": "data"}


async def test_nobody_there_and_nobody_of_that_name_are_retries(tmp_path: Path) -> None:
    async with mailboxes() as boxes:
        pass
    for host in ("localhost", "nowhere.invalid"):
        channel = opened(boxes, tmp_path, host=host)
        reply = await channel.send(offer(), ANNA)
        await channel.close()
        assert (reply.outcome, reply.unsure) == ("retry", False)


@pytest.mark.parametrize(
    ("drip", "unsure"),
    [
        (b"2", False),  # a greeting that never ends
        (b"220-still\r\n", False),
        (b"x" * 4096, False),
        (b"nonsense\r\n", False),
    ],
)
async def test_a_relay_that_dribbles_holds_nobody_up(
    drip: bytes, unsure: bool, tmp_path: Path
) -> None:
    async def dribble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(drip)
                await writer.drain()
                await asyncio.sleep(0.005)
        except (ConnectionError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(dribble, "127.0.0.1", 0)
    boxes = Mailboxes()
    boxes.port = server.sockets[0].getsockname()[1]
    channel = opened(boxes, tmp_path)
    channel._timeout_s = 0.3
    reply = await channel.send(offer(), ANNA)
    await channel.close()
    server.close()
    assert (reply.outcome, reply.unsure) == ("retry", unsure)


async def test_addresses_beyond_ascii(tmp_path: Path) -> None:
    names = Endpoint(channel="email", address="аня@пример.test")
    domain = Endpoint(channel="email", address="anna@Пример.test")
    async with mailboxes() as boxes:
        channel = opened(boxes, tmp_path)
        for one in (names, domain):
            assert (await channel.send(offer(), one)).outcome == "accepted"
        await channel.close()
    assert [receivers for _, _, receivers, _ in boxes.got] == [
        ["аня@xn--e1afmkfd.test"], ["anna@xn--e1afmkfd.test"],
    ]  # fmt: skip
    async with mailboxes(smtputf8=False) as boxes:
        channel = opened(boxes, tmp_path)
        assert (await channel.send(offer(), names)).outcome == "config_error"
        assert (await channel.send(offer(), domain)).outcome == "accepted"
        await channel.close()


async def test_what_is_no_address_is_no_endpoint(tmp_path: Path) -> None:
    async with mailboxes() as boxes:
        channel = opened(boxes, tmp_path)
        for address in ("anna", "a b@example.test", "a@b", "a@example.test\r\nRCPT TO:<x@y.test>"):
            reply = await channel.send(offer(), at(address))
            assert (reply.outcome, reply.reply) == ("dead_endpoint", {"error": "address"})
        assert (await channel.send(offer())).outcome == "failed"
        await channel.close()
    assert boxes.connections == []


def at(address: str) -> Endpoint:
    return Endpoint(channel="email", address=address)


# -- configuration -------------------------------------------------------------------------------

GOOD = {"host": "relay.example.test", "from": "Shop <offers@shop.test>"}


def test_opened_with_the_least_that_it_needs(tmp_path: Path) -> None:
    peer = open_email(GOOD, tmp_path)._peer
    assert (peer.host, peer.port, peer.tls) == ("relay.example.test", 587, "starttls")
    assert open_email(GOOD | {"tls": "tls"}, tmp_path)._peer.port == 465
    assert "canary" not in repr(dataclasses.replace(peer, password="canary"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"host": None}, "host is missing"),
        ({"host": "relay.example.test/x"}, "host: write a name or an address alone"),
        ({"host": "10.0.0.1"}, "host: the host is an address that is not public"),
        ({"host": "2130706433"}, "host: the host is a number in an odd spelling"),
        ({"port": 0}, "port must be a number from 1 to 65535"),
        ({"tls": "ssl"}, "tls is 'ssl'; "),
        ({"from": None}, "from is missing"),
        ({"from": "nobody"}, "from: 'nobody' is no sender"),
        ({"from": "Shop\nBcc: x@y.test <offers@shop>"}, "from: "),
        ({"return_path": "x"}, "return_path: 'x' is no sender"),
        ({"username": "shop"}, "username and password_file (or password_env) go together"),
        ({"username": "a", "password_env": "NOT_SET"}, "password_env 'NOT_SET' is empty"),
        ({"username": "a", "password_file": "absent"}, "password_file 'absent' cannot be read"),
        ({"password": "canary"}, "unknown key 'password'"),
        ({"ca_file": "absent"}, "ca_file 'absent' cannot be read"),
        ({"allow": ["internal"]}, "allow: 'internal' is no address or network"),
        ({"feedback": "a:b"}, "feedback: write 5 to 15"),
        ({"helo": "x"}, "unknown key 'helo'"),
    ],
)
def test_faults_of_the_table_are_named(
    change: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    config = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(ProximityError) as caught:
        open_email(config, tmp_path)
    assert any(one.startswith(f"channel.email: {problem}") for one in caught.value.problems)
    assert "canary" not in str(caught.value)


# -- secrets -------------------------------------------------------------------------------------


async def test_no_address_and_no_password_is_in_any_log_or_reply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    hidden = Endpoint(channel="email", address="canary-anna@example.test")
    said = ""
    async with mailboxes(sign_in=True) as boxes:
        channel = opened(boxes, tmp_path, username="shop", password_file="password")
        for step, says in (
            ("", ""), ("rcpt", "550 5.1.1 <canary-anna@example.test> is unknown"),
            ("mail", "553 canary-anna"), ("data", "554 canary-anna"), ("rcpt", "421 canary-anna"),
        ):  # fmt: skip
            boxes.says = {step: says}
            said += repr(await channel.send(offer(text="canary-text"), hidden)) + repr(channel)
        boxes.says = {}
        boxes.hang_up_after_data = True
        said += repr(await channel.send(offer(text="canary-text"), hidden))
        await channel.close()
    theirs = {"mail.log", "mail.debug"}  # aiosmtpd's, who was told
    said += "".join(one.getMessage() for one in caplog.records if one.name not in theirs)
    assert "canary" not in said
