"""Many gateways into one server: does it keep up, and what does it cost?

``python -m benchmarks.gateways`` starts a server of its own and lets 50 gateways send 200 sightings
a second each, in signed batches, as agents do: each hears a hundred tags twice a second, and every
tag is heard by two gateways. Prints a JSON object: what was taken, how long a POST took, and the
server's share of a core. The sender is a process of its own (``--send``), so that only the server
is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from beacon_gateway import signing
from benchmarks.timing import Found, Row, Scale

# What one server is to take: fifty shops' receivers, and what each of them tells in a second.
GATEWAYS, RATE = 50, 200
# So many times the load of other parts: the journal is folded into a snapshot once on the way.
LONGER = 6.0
# What was refused is sent again after so long, s.
AGAIN_S = 0.5
UUID = "f7826da6-4fa2-4e98-8024-bc5b71e0893e"
TICKS = os.sysconf("SC_CLK_TCK")


def gateways(scale: Scale) -> Found:
    """Let many gateways tell one server; fewer of them where the scale is of a test."""
    count = min(GATEWAYS, scale.subjects // 10)
    seconds = LONGER * scale.load_s
    found = measure(count, RATE, seconds, alone=False)
    what = f"{count} gateways, {RATE} sightings a second each, signed"
    refused = f"; batches refused at first: {found['refused']}" if found["refused"] else ""
    through = (found["sightings_per_s"] * seconds - found["rows_waiting"]) / seconds
    return Found(
        rows=[
            Row(
                what=f"{what}: through the engine a second",
                against="",
                unit="/s",
                values=[through],
                # Nearly all: the last batches are under way when the time is over.
                least=0.95 * found["wanted_per_s"],
                note=f"every tag heard by two; {found['server_peak_mb']} MB at most{refused}",
            ),
            *(
                Row(
                    what=f"the same, a batch's acknowledgement, {name}",
                    against="",
                    unit="ms",
                    values=[found[f"answer_{name}_ms"]],
                    # A sighting of now is to be in the engine within a second, p95.
                    least=1000.0 if name == "p95" else None,
                    fewer=True,
                )
                for name in ("p50", "p95")
            ),
            Row(
                what="the same, the server's share of one core",
                against="",
                unit="%",
                values=[100.0 * found["server_cores"]],
                aim=80.0,
                fewer=True,
                note="below 100 is time to spare",
            ),
        ]
    )


def site(gateways: int, tags: int) -> str:
    """Write a site in which gateway n stands in zone n and tag n is carried by subject n."""
    rows = [f'[[place]]\nid = "zone-{n}"\n[[gateway]]\nid = "gw-{n}"\nplace = "zone-{n}"'
            for n in range(gateways)]  # fmt: skip
    rows += [f'[[beacon]]\nuuid = "{UUID}"\nmajor = {n // 1000}\nminor = {n % 1000}\n'
             f'subject = "tag-{n}"' for n in range(tags)]  # fmt: skip
    return "\n".join(rows)


def batch(
    job: dict[str, Any], gateway: int, second: int, now: float, rng: np.random.Generator
) -> bytes:
    """Write what one gateway heard in the second before ``now``, each tag twice.

    Half of the tags are its own and half next door's; where it hears ``alone``, all are its own.
    """
    gateways, rate = job["gateways"], job["rate"]
    heard = rate // 2
    own = heard if job["alone"] else heard // 2
    levels = rng.normal(0.0, 4.0, rate).round().astype(int).tolist()
    lines = []
    for number in range(rate):
        place = number % heard
        at = gateway if place < own else (gateway + 1) % gateways
        tag = at * own + place % own
        level = (-58 if place < own else -72) + levels[number]
        when = now - 1.0 + number / rate
        lines.append(
            f'{{"type":"sighting","beacon":{{"format":"ibeacon","uuid":"{UUID}",'
            f'"major":{tag // 1000},"minor":{tag % 1000},"power_dbm":-59}},"at":{when:.3f},'
            f'"rssi_dbm":{min(level, -20)},"gateway":"gw-{gateway}","boot":"boot",'
            f'"seq":{second * rate + number},"mono_s":{when % 100_000:.3f},'
            f'"id":"boot:{second * rate + number}"}}'
        )
    return "\n".join(lines).encode()


async def send(job: dict[str, Any]) -> dict[str, Any]:
    """Send a batch a second of each gateway for as long as the job says."""
    taken, answers = 0, []
    refused: Counter[str] = Counter()
    until = time.monotonic() + job["seconds"]
    rng = np.random.default_rng(20261122)

    async def post(gateway: int, key: bytes, body: bytes, session: aiohttp.ClientSession) -> bool:
        nonlocal taken
        headers = signing.headers(key, secrets.token_hex(16), int(time.time()), body)
        async with session.post(
            f"{job['url']}/v1/sightings", data=body, headers={**headers, "Gateway": f"gw-{gateway}"}
        ) as answer:
            told = await answer.json()
            if answer.status != 202:
                refused[f"{answer.status} {told.get('code', '')}".strip()] += 1
            taken += told.get("accepted", 0)
            return answer.status == 202

    async def one(gateway: int, session: aiohttp.ClientSession) -> None:
        key = signing.read_secret(job["secrets"][gateway])
        second = 0
        due = time.monotonic() + gateway / job["gateways"]
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            body = batch(job, gateway, second, time.time(), rng)
            # Refused is sent again, as agents do; it counts as late.
            began = time.perf_counter()
            while (  # noqa: ASYNC110 (what is awaited is another process)
                not await post(gateway, key, body, session) and time.monotonic() < until
            ):
                await asyncio.sleep(AGAIN_S)
            answers.append(1000.0 * (time.perf_counter() - began))
            second, due = second + 1, due + 1.0

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(one(gateway, session) for gateway in range(job["gateways"])))
    return {"taken": taken, "refused": refused, "answer_ms": answers}


def measure(gateways: int, rate: int, seconds: float, *, alone: bool) -> dict[str, Any]:
    """Start a server, pair the gateways, send, and look at what it cost."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "site.toml").write_text(site(gateways, gateways * rate // (2 if alone else 4)))
        proximity = [sys.executable, "-m", "proximity"]
        data = ["--data", str(folder / "data")]
        token = subprocess.run(
            [*proximity, "token", "create", "--role", "admin", *data],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        with subprocess.Popen(
            [*proximity, "serve", *data, "--site", str(folder / "site.toml"), "--port", "0",
             "--consent", "assumed"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as server:  # fmt: skip
            try:
                assert server.stdout is not None
                url = server.stdout.readline().removeprefix("listening on ").strip()
                keys = [_ask(url, token, "POST", f"/v1/gateways/gw-{n}/secrets")["secret"]
                        for n in range(gateways)]  # fmt: skip
                job = {"url": url, "gateways": gateways, "rate": rate, "seconds": seconds,
                       "secrets": keys, "alone": alone}  # fmt: skip
                before, began = _cpu_s(server.pid), time.monotonic()
                sender = subprocess.run(
                    [sys.executable, "-m", "benchmarks.gateways", "--send"],
                    input=json.dumps(job), check=True, capture_output=True, text=True,
                )  # fmt: skip
                took, used = time.monotonic() - began, _cpu_s(server.pid) - before
                waiting = _waiting(url, token)
                peak = Path(f"/proc/{server.pid}/status").read_text().split("VmHWM:")[1].split()[0]
            finally:
                server.terminate()
        found = json.loads(sender.stdout)
        answers = np.array(found["answer_ms"])
        return {
            "gateways": gateways,
            "sightings_per_s": round(found["taken"] / seconds),
            "wanted_per_s": gateways * rate,
            "refused": found["refused"],
            "answer_p50_ms": round(float(np.percentile(answers, 50)), 1),
            "answer_p95_ms": round(float(np.percentile(answers, 95)), 1),
            "answer_max_ms": round(float(answers.max()), 1),
            "server_cores": round(used / took, 2),
            "rows_waiting": waiting,
            "server_peak_mb": round(int(peak) / 1024),
        }


def _ask(url: str, token: str, method: str, path: str) -> dict[str, Any]:
    request = urllib.request.Request(
        url + path, method=method, headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _waiting(url: str, token: str) -> int:
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as answer:
        text = answer.read().decode()
    return int(float(text.split("\nproximity_journal_rows_waiting ")[1].split()[0]))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    """Measure, or be the sender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=GATEWAYS)
    parser.add_argument("--rate", type=int, default=RATE, help="sightings a second of each")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--alone", action="store_true", help="no tag is heard by two gateways")
    parser.add_argument("--send", action="store_true", help="be the sender: a job on stdin")
    options = parser.parse_args()
    if options.send:
        found = asyncio.run(send(json.load(sys.stdin)))
    else:
        found = measure(options.gateways, options.rate, options.seconds, alone=options.alone)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
