"""Every finding a doctor can make, and the facts that a computer without a radio really gives."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner

from beacon_gateway.__main__ import main
from beacon_gateway.agent import boot_id
from beacon_gateway.checks import CHECKS, examine
from beacon_gateway.doctor import lines
from beacon_gateway.facts import AdapterFact, Facts
from beacon_gateway.probing import facts, in_memory
from beacon_gateway.settings import Settings
from tests.beacon_gateway.test_calibrate import OTHER, TAG, heard, write

BUILT_IN = AdapterFact(name="hci0", address="DC:A6:32:00:00:01", powered=True)
DONGLE = AdapterFact(name="hci1", address="00:1A:7D:DA:71:13", powered=False)
WELL = Facts(
    adapters=(DONGLE, BUILT_IN),
    bluez="5.66",
    listened_s=16.0,
    per_s=120.0,
    radios=31,
    per_beacon=(1.9, 2.0),
    throttled=False,
    enrolled=40,
    place="shoes",
    clock_offset_s=0.0,
    rtc=True,
    free_bytes=10**10,
    spool_bytes=500_000,
    spool_limit=100_000_000,
    health_age_s=4.0,
    in_memory=True,
)


def find(check: str, **changed: object) -> tuple[str, str]:
    finding = examine(msgspec.structs.replace(WELL, **changed))[check]
    assert (finding.verdict == "ok") == (finding.mend == "")
    return finding.verdict, f"{finding.says} {finding.mend}"


def test_a_trace_that_cannot_be_used_is_a_fault() -> None:
    verdict, text = find("adapter", simulated=True, radio_error="site.toml: line 1: no record")
    assert verdict == "fault"
    assert "site.toml: line 1" in text


def test_a_gateway_that_is_well() -> None:
    found = examine(WELL)
    assert found.keys() == CHECKS.keys()
    assert {finding.verdict for finding in found.values()} == {"ok"}


def test_every_check_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "gateways.md").read_text()
    assert [check for check in CHECKS if f"| `{check}` |" not in page] == []


@pytest.mark.parametrize(
    ("check", "changed", "verdict", "says"),
    [
        ("adapter", {"adapters": ()}, "fault", "plug one in"),
        ("adapter", {"adapters": (DONGLE,)}, "fault", "rfkill unblock"),
        ("adapter", {"wanted": ("00:1A:7D:DA:71:13",)}, "fault", "has no power"),
        ("adapter", {"wanted": ("AA:AA:AA:AA:AA:AA",)}, "fault", "there: 00:1A:7D"),
        ("adapter", {"wanted": (BUILT_IN.address,)}, "ok", "DC:A6:32:00:00:01 (hci0)"),
        ("adapter", {"radio_error": "no daemon: start it"}, "fault", "no daemon start it"),
        ("adapter", {"radio_error": "broken"}, "fault", "journalctl"),
        ("adapter", {"platform": "darwin"}, "warning", "keeps iBeacon frames"),
        ("adapter", {"platform": "win32"}, "ok", "no adapters"),
        ("adapter", {"simulated": True}, "ok", "a trace stands in"),
        (
            "adapter",
            {"adapters": (msgspec.structs.replace(BUILT_IN, central=False),)},
            "fault",
            "version 4.0",
        ),
        ("bluez", {"bluez": None}, "warning", "5.55 or later"),
        ("bluez", {"bluez": "5.50"}, "fault", "too old"),
        ("bluez", {"bluez": "5.55", "passive": True}, "fault", "too old"),
        ("bluez", {"passive": True}, "warning", "by 8 dB"),
        ("bluez", {"bluez": "5.88"}, "ok", "every level"),
        ("rate", {"per_s": 0.0}, "fault", "nothing was heard in 16 s"),
        ("beacons", {"per_beacon": (0.4, 2.0)}, "warning", "1 of 2 enrolled beacons"),
        ("beacons", {"per_beacon": ()}, "warning", "no enrolled beacon"),
        ("beacons", {"unlisted": 7}, "ok", "7 beacons that are not enrolled"),
        ("levels", {"throttled": True}, "warning", "steps of 8 dB"),
        ("levels", {"throttled": None}, "ok", "too little"),
        ("server", {"server_error": "cannot be reached"}, "fault", "/readyz"),
        ("token", {"token_error": "refused"}, "fault", "proximity gateway pair"),
        ("token", {"token_open": True}, "warning", "in the clear"),
        ("token", {"token_readable": True}, "warning", "chmod 600"),
        ("list", {"enrolled": 0, "place": None}, "warning", "proximity beacon enrol"),
        ("clock", {"clock_offset_s": 90.0}, "warning", "90 s behind the server's"),
        ("clock", {"clock_offset_s": -90_000.0}, "warning", "signed by the server's time"),
        ("battery clock", {"rtc": False}, "ok", "re-dates"),
        ("data folder", {"data_error": "/x cannot be written"}, "fault", "--data"),
        ("data folder", {"free_bytes": 10**6}, "warning", "1 MB are free"),
        ("spool", {"dropped": 12345}, "warning", "12,345 sightings were dropped"),
        ("spool", {"spool_bytes": 90_000_000}, "warning", "nearly full"),
        ("agent", {"health_age_s": None}, "warning", "beacon-gateway run"),
        ("agent", {"health_age_s": 4000.0}, "warning", "4,000 s ago"),
        ("agent", {"health_age_s": -3600.0}, "warning", "3,600 s from now"),
        ("agent", {"stopped": True}, "warning", "has stopped, 4 s ago"),
        ("agent", {"trouble": "refused"}, "fault", "tells nothing: the server: refused"),
        ("agent", {"list_trouble": "refused"}, "warning", "gets no list"),
        ("spool", {"waiting": 1001}, "warning", "1,001 sightings wait"),
        ("spool", {"waiting": 3, "trouble": "refused"}, "warning", "3 sightings wait"),
        ("beacons", {"listed": False, "per_beacon": ()}, "warning", "not known without a list"),
        ("passers-by", {"in_memory": False}, "warning", "install-service"),
    ],
)
def test_what_is_wrong_is_said_with_its_mend(
    check: str, changed: dict[str, object], verdict: str, says: str
) -> None:
    assert find(check, **changed)[0] == verdict
    assert says in find(check, **changed)[1]


def test_what_cannot_be_told_is_left_out() -> None:
    assert examine(Facts()).keys() == {
        "adapter",
        "bluez",
        "server",
        "token",
        "data folder",
        "agent",
    }
    assert "server" not in examine(msgspec.structs.replace(WELL, token_error="refused"))
    assert "token" not in examine(msgspec.structs.replace(WELL, server_error="away"))
    assert "agent" not in examine(msgspec.structs.replace(WELL, data_error="none"))
    deaf = msgspec.structs.replace(WELL, radio_error="no daemon: start it", per_s=0.0)
    assert not {"rate", "beacons", "levels"} & examine(deaf).keys()


def test_each_finding_is_a_line_with_its_mend_below() -> None:
    assert lines(examine(Facts(server_error="cannot be reached")))[4:6] == [
        "server        FAULT    cannot be reached",
        "                       -> check --server, the network and the server's /readyz",
    ]


DISK = "/dev/mmcblk0p2 / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n"


@pytest.mark.parametrize(
    ("more", "adapters", "memory"),
    [
        ("", ["AA:BB"], False),
        ("tmpfs /var/lib/bluetooth tmpfs rw 0 0\n", ["AA:BB"], True),
        ("tmpfs /var tmpfs rw 0 0\n", [], True),
        ("tmpfs /var tmpfs rw 0 0\n/dev/sda /var/lib/bluetooth ext4 rw 0 0\n", ["AA:BB"], False),
        ("tmpfs /var/lib/bluetooth/AA:BB/cache tmpfs rw 0 0\n", ["AA:BB"], True),
        ("tmpfs /var/lib/bluetooth/AA:BB/cache tmpfs rw 0 0\n", ["AA:BB", "CC:DD"], False),
        ("", [], False),
        ("nonsense\n", [], False),
    ],
)
def test_where_bluetooth_remembers_names(more: str, adapters: list[str], memory: bool) -> None:
    assert in_memory(DISK + more, adapters) is memory


class Engine:
    """The route of the server that a gateway asks; what it answers is set by the test."""

    def __init__(self) -> None:
        self.status, self.code = 200, None
        self.off_s = 0.0
        self.asked: list[str] = []

    async def config(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers.get("Authorization", ""))
        headers = {"Date": formatdate(time.time() + self.off_s, usegmt=True)}
        if self.status != 200:
            problem = {"status": self.status, "code": self.code}
            return web.json_response(
                problem, status=self.status, headers=headers,
                content_type="application/problem+json",
            )  # fmt: skip
        beacons = [msgspec.to_builtins(TAG)]
        document = {"gateway": "gw-1", "place": "shoes", "beacons": beacons}
        return web.json_response(document, headers=headers)


@pytest.fixture
async def engine() -> AsyncIterator[tuple[Engine, str]]:
    there = Engine()
    app = web.Application()
    app.router.add_get("/v1/gateways/{id}/config", there.config)
    async with TestServer(app) as server:
        yield there, str(server.make_url("/"))


def told(server: str, tmp_path: Path, **more: object) -> Settings:
    token = tmp_path / "token"
    token.write_text("px_secret\n")
    token.chmod(0o600)
    return Settings(server=server, data=tmp_path / "data", token_file=token, gateway="gw-1", **more)


async def test_the_server_is_asked_as_the_agent_asks(
    engine: tuple[Engine, str], tmp_path: Path
) -> None:
    there, url = engine
    trace = write(tmp_path / "t.jsonl", heard("gw-1", -60.0), heard("gw-1", -70.0, tag=OTHER))
    settings = told(url, tmp_path, simulate=trace, speed=300.0)
    found = await facts(settings, 5.0, tmp_path)
    assert there.asked == ["Bearer px_secret"]
    assert (found.enrolled, found.place, found.clock_offset_s) == (1, "shoes", 0.0)
    assert (found.server_error, found.token_error, found.token_open) == (None, None, False)
    assert len(found.per_beacon) == 1
    assert found.per_beacon[0] == pytest.approx(2, abs=0.5)
    assert found.unlisted == 1
    assert found.data_error is None
    assert not (tmp_path / "data").exists()

    there.off_s = -500.0
    found = await facts(settings, 0.0, tmp_path)
    assert found.clock_offset_s == pytest.approx(-500, abs=2)
    assert examine(found)["clock"].verdict == "warning"

    there.status, there.code = 401, "unknown"
    found = await facts(settings, 0.0, tmp_path)
    assert examine(found)["token"].verdict == "fault"
    assert examine(found)["server"].verdict == "ok", "it answered, though it refused"
    assert examine(found)["clock"].verdict == "warning"
    found = await facts(msgspec.structs.replace(settings, simulate=trace), 1.0, tmp_path)
    assert "not known without a list" in examine(found)["beacons"].says
    there.status, there.code = 403, None
    assert examine(await facts(settings, 0.0, tmp_path))["token"].verdict == "fault"

    there.status, there.code = 500, None
    assert examine(await facts(settings, 0.0, tmp_path))["server"].verdict == "fault"


async def test_a_server_that_is_away_and_tokens_that_are_none(tmp_path: Path) -> None:
    settings = told("http://127.0.0.1:9", tmp_path, simulate=tmp_path / "absent")
    found = await facts(settings, 1.0, tmp_path)
    assert "cannot be reached" in (found.server_error or "")
    assert "absent" in (found.radio_error or "")
    (tmp_path / "token").write_text("two words")
    assert "holds no token" in ((await facts(settings, 0.0, tmp_path)).token_error or "")
    (tmp_path / "token").chmod(0o644)
    without = msgspec.structs.replace(settings, token_file=None)
    assert "no token file" in ((await facts(without, 0.0, tmp_path)).token_error or "")
    abroad = msgspec.structs.replace(settings, ca_file=tmp_path / "absent.pem")
    (tmp_path / "token").write_text("px_secret")
    found = await facts(abroad, 0.0, tmp_path)
    assert "absent.pem" in (found.server_error or "")
    assert found.token_readable
    broker = msgspec.structs.replace(settings, server="mqtt://127.0.0.1:9")
    assert "broker" in ((await facts(broker, 0.0, tmp_path)).server_error or "")


async def test_what_the_agent_left_in_its_folder(
    engine: tuple[Engine, str], tmp_path: Path
) -> None:
    settings = told(engine[1], tmp_path)
    settings.data.mkdir()
    (settings.data / "spool.sqlite").write_bytes(bytes(4096))
    health = settings.data / "health.json"
    health.write_text('{"dropped": {"full": 3, "old": 4}, "beacons": 2}')
    os.utime(health, (time.time() - 100, time.time() - 100))
    (tmp_path / "sys/class/rtc/rtc0").mkdir(parents=True)
    (tmp_path / "var/lib/bluetooth").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mounts").write_text(DISK)
    found = await facts(settings, 0.0, tmp_path)
    assert (found.spool_bytes, found.dropped) == (4096, 7)
    assert found.health_age_s == pytest.approx(100, abs=5)
    assert (found.rtc, found.in_memory) == (True, False)
    machine, dash, _ = boot_id().partition("-")
    for agent, age_s in (
        # By the clock that never jumps, whatever the file's date says.
        ({"boot": f"{machine}{dash}1", "mono_s": time.monotonic() - 7}, 7 if dash else 100),
        ({"boot": "another-1", "mono_s": time.monotonic() - 7}, 100),
        # The agent's clock was 30 s behind the server's; ours agrees with it.
        ({"boot": "another-1", "clock_offset_s": 30.0}, 70),
    ):
        trouble = {"trouble": "away", "configuration": "refused"}
        health.write_text(
            json.dumps({**agent, "stopped": True, "uplink": trouble, "spool": {"waiting": 9}})
        )
        os.utime(health, (time.time() - 100, time.time() - 100))
        found = await facts(settings, 0.0, tmp_path)
        assert found.health_age_s == pytest.approx(age_s, abs=5)
        assert (found.stopped, found.waiting) == (True, 9)
        assert (found.trouble, found.list_trouble) == ("away", "refused")
    health.write_text("nonsense")
    assert (await facts(settings, 0.0, tmp_path)).dropped == 0
    blocked = msgspec.structs.replace(settings, data=tmp_path / "token")
    assert "cannot be written" in ((await facts(blocked, 0.0, tmp_path)).data_error or "")


def test_the_command_ends_with_1_where_something_does_not_work(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("px_secret")
    words = ["doctor", "--server", "http://127.0.0.1:9", "--token-file", str(token), "--data",
             str(tmp_path / "data"), "--gateway", "gw-1", "--seconds", "0"]  # fmt: skip
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "server        FAULT" in result.stdout
    result = CliRunner().invoke(main, [*words, "--json"])
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert {row["check"]: row["verdict"] for row in found}["server"] == "fault"
    assert all(row.keys() == {"check", "verdict", "says", "mend"} for row in found)
    assert "px_secret" not in result.output
    result = CliRunner().invoke(main, ["doctor"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 2
