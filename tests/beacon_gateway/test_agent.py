from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import signal
import sqlite3
import sys
import time
import uuid as uuids
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import msgspec
import pytest
import structlog

from beacon_gateway.agent import Agent, boot_id, open_link, open_source, run, stop_on_signals
from beacon_gateway.configuring import Configuring
from beacon_gateway.credentials import Credentials
from beacon_gateway.folder import CONFIG as CONFIG_FILE
from beacon_gateway.folder import HEALTH, SPOOL
from beacon_gateway.frames import EDDYSTONE_UUID, frame
from beacon_gateway.health import Health
from beacon_gateway.model import Beacon, GatewayError
from beacon_gateway.radio import Radio
from beacon_gateway.scanner import Clock, Heard, Take
from beacon_gateway.settings import Settings
from tests.beacon_gateway.listener import CONFIG, UUID, Listener, problem

TLM = bytes.fromhex("20000bb81900000001000000 0200")


def ibeacon(minor: int = 7, uuid: str = UUID) -> Beacon:
    return Beacon(format="ibeacon", uuid=uuid, major=1, minor=minor, power_dbm=-59)


def heard(beacon: Beacon, address: str, rssi_dbm: int = -60) -> Heard:
    written = frame(beacon)
    assert written is not None
    return Heard(address, rssi_dbm, time.time(), time.monotonic(), *written, "00:11:22:33:44:55")


async def wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "it did not come to this"
        await asyncio.sleep(0.02)


class Air:
    """A source that says what it was given, some at a time, and is silent after it."""

    def __init__(self, said: Iterable[Callable[[], Heard]], pause_s: float = 0.0) -> None:
        self.said, self.pause_s = said, pause_s
        self.over = asyncio.Event()

    async def run(self, take: Take) -> None:
        for number, say in enumerate(self.said):
            take(say())
            if number % 500 == 0 or self.pause_s:
                await asyncio.sleep(self.pause_s)
        self.over.set()
        await asyncio.Event().wait()


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listener = Listener()
        self.stop = asyncio.Event()

    async def work(self, air: Air, until: Callable[[], bool]) -> int:
        """Run a whole agent on this air until something holds; its exit status."""
        (self.folder / "token").write_text("px_token")
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        url = f"http://127.0.0.1:{self.listener.port}"
        settings = Settings(server=url, data=data, token_file=self.folder / "token")
        credentials = Credentials(self.folder / "token", data)
        link, clock, health = open_link(settings, credentials, Clock()), Clock(), Health()
        configuring = Configuring(link, credentials, data, None)
        configuring.recall()
        await configuring.begin()
        self.stop = asyncio.Event()
        self.agent = await Agent.open(settings, air, link, configuring, clock, health)
        working = asyncio.create_task(self.agent.run(self.stop))
        try:
            await wait(lambda: working.done() or until())
        finally:
            self.stop.set()
            status = await working
            await link.close()
        return status


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    await made.listener.start()
    yield made
    await made.listener.stop()


async def test_a_beacon_that_is_enrolled_is_told_twice_a_second_at_most(rig: Rig) -> None:
    air = Air([lambda: heard(ibeacon(), "C0:00:00:00:00:01")] * 60, pause_s=0.05)
    assert await rig.work(air, air.over.is_set) == 0
    told = list(rig.listener.taken.values())
    assert 6 <= len(told) <= 9
    assert {record["beacon"]["minor"] for record in told} == {7}
    assert [record["seq"] for record in told] == list(range(len(told)))
    assert all(record["id"] == f"{record['boot']}:{record['seq']}" for record in told)
    # A slot's end, the way there: what is live is told within a second.
    assert max(rig.listener.latest) < 1.0
    assert not rig.listener.doubled


async def test_telemetry_travels_with_the_beacon_it_speaks_for_and_no_other(rig: Rig) -> None:
    def telemetry(address: str) -> Heard:
        return Heard(
            address, -55, time.time(), time.monotonic(), {}, {EDDYSTONE_UUID: TLM}, "adapter"
        )

    tag = Beacon(format="eddystone-uid", namespace="00" * 10, instance="11" * 6, power_dbm=-59)
    rig.listener.config["beacons"] = [{"format": "eddystone-uid", "namespace": "00" * 10}]
    said = [
        lambda: heard(tag, "C0:00:00:00:00:01"),
        lambda: telemetry("C0:00:00:00:00:02"),
        lambda: telemetry("C0:00:00:00:00:01"),
    ]
    await rig.work(Air(said), lambda: len(rig.listener.taken) == 1)
    (record,) = rig.listener.taken.values()
    assert record["beacon"]["battery_mv"] == 3000
    assert record["beacon"]["instance"] == "11" * 6


async def test_health_lies_in_the_folder_and_at_the_server(rig: Rig) -> None:
    air = Air([lambda: heard(ibeacon(), "C0:00:00:00:00:01")] * 10, pause_s=0.1)
    await rig.work(air, air.over.is_set)
    told = json.loads((rig.folder / "data" / HEALTH).read_text())
    for health in (told, rig.listener.health[0]):
        assert health.keys() >= {
            "advertisements_per_s", "beacons", "last_s", "restarts", "unlisted", "shared",
            "rssi_throttled", "bluez", "adapters", "spool", "dropped", "clock_offset_s", "uplink",
            "gateway", "boot", "mono_s", "at", "listed",
        }  # fmt: skip
    assert (told["beacons"], told["listed"], told["gateway"]) == (1, 1, "gw-1")
    assert (rig.listener.health[0]["stopped"], told["stopped"]) == (False, True)
    assert told["uplink"]["told"] == len(rig.listener.taken)
    assert told["spool"]["waiting"] == 0


async def test_a_list_that_changes_takes_effect_without_a_restart(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beacon_gateway.configuring.EVERY_S", 0.1)

    def swap() -> Heard:
        rig.listener.config["beacons"] = [{"uuid": UUID, "minor": 8}]
        return heard(ibeacon(8), "C0:00:00:00:00:01")

    said = [swap] + [lambda: heard(ibeacon(8), "C0:00:00:00:00:01")] * 20
    rig.listener.config["beacons"] = [{"uuid": UUID, "minor": 7}]
    await rig.work(Air(said, pause_s=0.1), lambda: len(rig.listener.taken) > 0)
    assert {record["beacon"]["minor"] for record in rig.listener.taken.values()} == {8}


async def test_a_radio_that_is_beyond_help_ends_the_process_for_its_supervisor(rig: Rig) -> None:
    class Broken(Air):
        async def run(self, take: Take) -> None:
            take(heard(ibeacon(), "C0:00:00:00:00:01"))
            raise GatewayError("every remedy has failed")

    with structlog.testing.capture_logs() as logs:
        assert await rig.work(Broken([]), lambda: False) == 1
    assert any(line["log_level"] == "error" for line in logs)
    assert len(rig.listener.taken) == 1, "what was heard before is not lost"


def test_a_fault_of_the_program_is_one_line_without_what_was_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trace(tmp_path / "trace.jsonl", 1, 1)
    (tmp_path / "token").write_text("px_token")
    data = tmp_path / "data"
    data.mkdir()
    (data / CONFIG_FILE).write_text(json.dumps(CONFIG))
    settings = Settings(
        server="http://127.0.0.1:9", data=data, token_file=tmp_path / "token",
        simulate=tmp_path / "trace.jsonl",
    )  # fmt: skip
    monkeypatch.setattr(Agent, "_known", lambda *_: {}["02:aa:bb"])
    assert run(settings) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "02:aa:bb" not in err
    assert '"kind": "KeyError"' in err.splitlines()[-1]


def test_the_radio_knows_the_beacon_that_always_lies_in_the_shop(tmp_path: Path) -> None:
    told = Settings(server="http://s", data=tmp_path, canary=ibeacon(7))
    radio, _, _ = open_source(told)
    assert isinstance(radio, Radio)
    assert radio.canary is not None
    # Its level at one metre is no part of who it is; a neighbour's number and other bytes are not it.
    quieter = msgspec.structs.replace(ibeacon(7), power_dbm=-70)
    assert radio.canary(heard(quieter, "C0:00:00:00:00:01"))
    assert not radio.canary(heard(ibeacon(8), "C0:00:00:00:00:01"))
    nobody = heard(ibeacon(7), "C0:00:00:00:00:01")._replace(manufacturer={0x4C: b"\x10\x05"})
    assert not radio.canary(nobody)
    radio, _, _ = open_source(msgspec.structs.replace(told, canary=None))
    assert isinstance(radio, Radio)
    assert radio.canary is None


async def test_a_stop_is_heard_where_loops_know_no_signals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", unknown)
    stop = asyncio.Event()
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop_on_signals(stop)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 10.0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_each_start_has_a_name_of_its_own() -> None:
    assert boot_id() == boot_id()
    assert 8 <= len(boot_id()) <= 40


# -- bystanders ---------------------------------------------------------------------------------

MACS, UNLISTED = 100_000, 1_000


class Bystanders:
    """A crowd with radios: their addresses, and beacons that nobody enrolled here."""

    def __init__(self, seed: int = 5) -> None:
        draw = random.Random(seed)
        self.macs = [draw.randbytes(6) for _ in range(MACS)]
        self.uuids = [uuids.UUID(bytes=draw.randbytes(16), version=4) for _ in range(UNLISTED)]
        self.draw = draw

    def said(self) -> Iterable[Callable[[], Heard]]:
        """Everybody once, a beacon of most kinds among them, and now and then one of ours."""
        for number, mac in enumerate(self.macs):
            address = mac.hex(":").upper()
            uuid = self.uuids[number % UNLISTED]
            yield lambda address=address, uuid=uuid, number=number: self.one(address, uuid, number)
            if number % 1000 == 0:
                yield lambda: heard(ibeacon(), "C0:00:00:00:00:01")

    def one(self, address: str, uuid: uuids.UUID, number: int) -> Heard:
        kinds = (
            ibeacon(7, str(uuid)),
            Beacon(format="altbeacon", id1=str(uuid), id2=1, id3=7),
            Beacon(
                format="eddystone-uid", namespace=uuid.bytes[:10].hex(),
                instance=uuid.bytes[10:].hex(),
            ),
            Beacon(format="eddystone-eid", eid=uuid.bytes[:8].hex()),
            Beacon(format="eddystone-url", url=f"https://{uuid.bytes[:5].hex()}.com/"),
        )  # fmt: skip
        if number % 7 == 6:
            named = {0x004C: b"\x10\x05" + uuid.bytes}
            return Heard(address, -70, time.time(), time.monotonic(), named, {}, "adapter")
        return heard(kinds[number % 7 % 5], address, -50 - number % 40)

    def found_in(self, content: bytes) -> list[bytes]:
        """Look for every address and every identity, as bytes and as people write them."""
        plain = content.lower()
        found = []
        for names, width in (
            ({mac.hex(":").encode() for mac in self.macs}, 17),
            ({mac.hex().encode() for mac in self.macs}, 12),
            (set(self.macs), 6),
            ({str(uuid).encode() for uuid in self.uuids}, 36),
            ({uuid.bytes.hex().encode() for uuid in self.uuids}, 32),
            ({uuid.bytes for uuid in self.uuids}, 16),
            ({uuid.bytes[:8].hex().encode() for uuid in self.uuids}, 16),
            ({uuid.bytes[:5].hex().encode() for uuid in self.uuids}, 10),
            ({uuid.bytes[10:].hex().encode() for uuid in self.uuids}, 12),
        ):
            for text in {plain, content}:
                found += names & {text[at : at + width] for at in range(len(text) - width + 1)}
        return found


def folder_content(folder: Path) -> bytes:
    """Everything in a folder but the ballast, which is noise."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return b"\n".join(
        path.name.encode() + path.read_bytes() for path in files if path.suffix != ".ballast"
    )


@pytest.fixture
def everything_logged() -> Iterable[Callable[[], bytes]]:
    """Keep what is logged at any level by anybody."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    keep = Keep(logging.NOTSET)
    root = logging.getLogger()
    level = root.level
    root.addHandler(keep)
    root.setLevel(logging.NOTSET)
    structlog.configure(
        processors=[lambda _logger, _name, event: lines.append(repr(event)) or repr(event)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
    )
    yield lambda: "\n".join(lines).encode()
    root.removeHandler(keep)
    root.setLevel(level)


@pytest.mark.slow
async def test_bystanders_are_in_no_file_no_packet_and_no_log(
    rig: Rig, everything_logged: Callable[[], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    crowd = Bystanders()
    # First with a server that takes nothing, so that the spool is written; then with one that does.
    rig.listener.answer = lambda *_: problem(503)
    air = Air(crowd.said())
    await rig.work(air, lambda: air.over.is_set() and rig.agent._spool._file.rows > 0)
    files = folder_content(rig.folder / "data")
    rig.listener.answer = lambda *_: None
    again = Air(crowd.said())
    await rig.work(again, lambda: again.over.is_set() and rig.agent._spool.waiting == 0)
    files += folder_content(rig.folder / "data")
    health = json.loads((rig.folder / "data" / HEALTH).read_text())
    assert health["unlisted"] >= UNLISTED, "they were heard, and are a number"
    assert len(rig.listener.taken) > 1
    packets = b"\n".join(rig.listener.raw)
    out, err = capfd.readouterr()
    logs = everything_logged() + out.encode() + err.encode()
    assert crowd.found_in(files) == []
    assert crowd.found_in(packets) == []
    assert crowd.found_in(logs) == []
    # The search finds what is there: our own tag's identity, which may be.
    crowd.uuids, crowd.macs = [uuids.UUID(UUID)], [bytes(6)]
    assert crowd.found_in(files)
    assert crowd.found_in(packets)


# -- the whole process --------------------------------------------------------------------------


def write_trace(path: Path, seconds: float, tags: int, step_s: float = 0.5) -> None:
    with path.open("w") as file:
        for step in range(int(seconds / step_s)):
            for tag in range(tags):
                beacon = {"format": "ibeacon", "uuid": UUID, "major": 1, "minor": tag}
                record = {
                    "type": "sighting", "beacon": beacon, "at": 1_700_000_000 + step * step_s,
                    "rssi_dbm": -60, "gateway": "gw-1",
                }  # fmt: skip
                file.write(json.dumps(record) + "\n")


class Process:
    """`beacon-gateway run` on a trace, started and killed as often as one likes."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        (folder / "token").write_text("px_token")

    async def start(self, trace: Path, *more: str) -> asyncio.subprocess.Process:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "beacon_gateway", "run", "--server", self.url,
            "--token-file", self.folder / "token", "--data", self.folder / "data",
            "--simulate", trace, *more,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return self.process

    def on_disk(self) -> set[str]:
        """Read which records are on disk, beside a process that may live or not."""
        copy = self.folder / "copy.sqlite"
        for tail in ("", "-wal"):
            source = self.folder / "data" / (SPOOL + tail)
            copy.with_name(copy.name + tail).unlink(missing_ok=True)
            if source.exists():
                copy.with_name(copy.name + tail).write_bytes(source.read_bytes())
        with contextlib.closing(sqlite3.connect(copy)) as db:
            asked = db.execute(
                "SELECT s.boot || ':' || r.seq FROM records r JOIN senders s ON s.id = r.sender"
            )
            return {name for (name,) in asked}


async def test_a_trace_is_told_to_the_end_and_then_the_process_ends(tmp_path: Path) -> None:
    listener = Listener()
    process = Process(tmp_path, await listener.start())
    write_trace(tmp_path / "trace.jsonl", 5, 4)
    running = await process.start(tmp_path / "trace.jsonl")
    _, err = await asyncio.wait_for(running.communicate(), 30)
    assert running.returncode == 0, err
    assert len(listener.taken) == 40
    assert not listener.doubled
    for line in err.decode().splitlines():
        shown = json.loads(line)
        assert shown["level"] in {"info", "warning"}
        assert UUID not in line
        assert "gw-1" not in line
        assert "px_token" not in line
    await listener.stop()


async def test_a_terminate_under_way_is_a_clean_stop(tmp_path: Path) -> None:
    listener = Listener()
    process = Process(tmp_path, await listener.start())
    write_trace(tmp_path / "trace.jsonl", 600, 4)
    running = await process.start(tmp_path / "trace.jsonl")
    await wait(lambda: len(listener.taken) >= 8)
    running.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(running.wait(), 10) == 0
    assert process.on_disk() == set(), "all that was heard is told"
    await listener.stop()


@pytest.mark.slow
async def test_kills_in_the_middle_lose_nothing_that_was_kept_and_double_nothing(
    tmp_path: Path,
) -> None:
    listener = Listener()
    process = Process(tmp_path, await listener.start())
    write_trace(tmp_path / "trace.jsonl", 3600, 10)
    draw = random.Random(3)
    kept: set[str] = set()
    for turn in range(6):
        away = turn % 2 == 0
        listener.answer = (lambda *_: problem(503)) if away else (lambda *_: None)
        running = await process.start(tmp_path / "trace.jsonl", "--speed", "20")
        before = len(listener.raw)
        await wait(lambda before=before: len(listener.raw) >= before + 4)  # type: ignore[misc]
        await asyncio.sleep(1.5 + draw.random())
        running.kill()
        await running.wait()
        await asyncio.sleep(0.1)  # what was on its way arrives
        kept |= process.on_disk()
        assert turn > 0 or len(kept) > 50
    listener.answer = lambda *_: None
    write_trace(tmp_path / "short.jsonl", 1, 1)
    running = await process.start(tmp_path / "short.jsonl")
    assert await asyncio.wait_for(running.wait(), 30) == 0
    assert kept <= listener.taken.keys(), "what was on disk is told, whatever happened"
    assert process.on_disk() == set()
    # A receipt lost in a kill makes a record come twice over the wire; its id makes it one.
    by_boot: dict[str, set[int]] = {}
    for record in listener.taken.values():
        by_boot.setdefault(record["boot"], set()).add(record["seq"])
    assert len(by_boot) == 7, "each start counts for itself"
    await listener.stop()


async def test_a_start_without_network_listens_for_what_it_did_before(tmp_path: Path) -> None:
    listener = Listener()
    process = Process(tmp_path, await listener.start())
    write_trace(tmp_path / "trace.jsonl", 2, 3)
    running = await process.start(tmp_path / "trace.jsonl")
    assert await asyncio.wait_for(running.wait(), 30) == 0
    assert len(listener.taken) == 12
    await listener.stop()
    running = await process.start(tmp_path / "trace.jsonl")
    await wait(lambda: bool(process.on_disk()))
    await listener.start(listener.port)
    assert await asyncio.wait_for(running.wait(), 60) == 0
    assert len(listener.taken) == 24
    assert not listener.doubled
    await listener.stop()


async def test_bad_settings_are_one_line_and_status_2(tmp_path: Path) -> None:
    for break_it in ("token", "trace.jsonl"):
        write_trace(tmp_path / "trace.jsonl", 1, 1)
        process = Process(tmp_path, "http://127.0.0.1:9")
        (tmp_path / break_it).unlink()
        running = await process.start(tmp_path / "trace.jsonl")
        _, err = await asyncio.wait_for(running.communicate(), 30)
        assert running.returncode == 2
        assert len(err.decode().splitlines()) == 1
        assert break_it.encode() in err


async def test_a_trace_of_other_gateways_is_no_success(tmp_path: Path) -> None:
    listener = Listener()
    listener.config["gateway"] = "gw-9"
    process = Process(tmp_path, await listener.start())
    write_trace(tmp_path / "trace.jsonl", 1, 1)
    running = await process.start(tmp_path / "trace.jsonl")
    _, err = await asyncio.wait_for(running.communicate(), 30)
    assert running.returncode == 1
    assert "holds nothing that this gateway heard" in err.decode()
    (tmp_path / "trace.jsonl").write_text('[[gateway]]\nid = "gw-9"\n')
    running = await process.start(tmp_path / "trace.jsonl")
    _, err = await asyncio.wait_for(running.communicate(), 30)
    assert running.returncode == 2
    assert "trace.jsonl: line 1: is no record of a trace" in err.decode()
    await listener.stop()
