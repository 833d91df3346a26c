"""Recordings with a known truth, and the numbers that must come out."""

from __future__ import annotations

import random
import time
import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from beacon_gateway.__main__ import main
from beacon_gateway.calibration import confusion, near, offsets, turned
from beacon_gateway.model import Beacon, GatewayError, Sighting
from beacon_gateway.recording import made, read

TAG = Beacon(format="ibeacon", uuid="f7826da6-4fa2-4e98-8024-bc5b71e0893e", major=1, minor=7)
OTHER = Beacon(format="ibeacon", uuid="f7826da6-4fa2-4e98-8024-bc5b71e0893e", major=1, minor=8)
BEGAN = 1_777_629_600.0


def heard(
    gateway: str, dbm: float | list[float], *, seconds: float = 30.0, per_s: float = 2.0,
    seed: int = 1, tag: Beacon = TAG,
) -> list[Sighting]:  # fmt: skip
    """Half a minute at one gateway, with fading; several levels are headings in turn."""
    dice = random.Random(seed)
    levels = dbm if isinstance(dbm, list) else [dbm]
    count = int(seconds * per_s)
    return [
        Sighting(
            beacon=tag,
            gateway=gateway,
            at=BEGAN + number / per_s,
            rssi_dbm=round(levels[number * len(levels) // count] + dice.gauss(0, 3)),
        )
        for number in range(count)
    ]


def write(path: Path, *parts: list[Sighting]) -> Path:
    lines = sorted((one for part in parts for one in part), key=lambda one: one.at)
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in lines))
    return path


def calibrate(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["calibrate", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def test_a_ring_gives_the_level_in_the_middle_of_its_headings() -> None:
    found = near([made("ring", heard("gw-1", [-66.0, -70.0, -74.0, -70.0]))], {})
    assert found.near_dbm == pytest.approx(-70, abs=2)
    front, side, behind, _ = found.headings
    assert front > side > behind
    assert found.inside[-3] > found.inside[0] > found.inside[3]
    assert found.inside[0] == pytest.approx(0.5, abs=0.15)
    assert turned(found) is None
    hidden = near([made("ring", heard("gw-1", [-60.0, -75.0, -85.0, -75.0]))], {})
    assert "hides the tag" in (turned(hidden) or "")


def test_of_several_gateways_the_loudest_counts_with_its_offset() -> None:
    both = made("ring", heard("gw-1", -80.0) + heard("gw-2", -70.0, seed=2))
    assert near([both], {}).near_dbm == pytest.approx(-70, abs=1.5)
    from beacon_gateway.calibration import Gateway

    shifted = {"gw-2": Gateway(id="gw-2", offset_db=-6.0)}
    assert near([both], shifted).near_dbm == pytest.approx(-76, abs=1.5)


def test_offsets_make_gateways_agree_and_keep_the_middle() -> None:
    turns = [
        made("a", heard("gw-a", -50.0) + heard("gw-b", -75.0, seed=2)),
        made("b", heard("gw-b", -56.0, seed=3)),
        made("c", heard("gw-c", -53.0, seed=4)),
    ]
    found = offsets(turns)
    assert found["gw-c"] == 0
    assert found["gw-a"] == pytest.approx(-3, abs=1)
    assert found["gw-b"] == pytest.approx(3, abs=1)
    with pytest.raises(GatewayError, match="offsets compare gateways"):
        offsets(turns[:1])


def test_zones_recorded_together_or_one_gateway_at_a_time() -> None:
    together = [
        ("shoes", made("1", heard("gw-1", -60.0) + heard("gw-2", -78.0, seed=2))),
        ("hats", made("2", heard("gw-1", -78.0, seed=3) + heard("gw-2", -60.0, seed=4))),
    ]
    apart = [
        ("shoes", made("1", heard("gw-1", -60.0))),
        ("shoes", made("2", heard("gw-2", -78.0, seed=2))),
        ("hats", made("3", heard("gw-1", -78.0, seed=3))),
        ("hats", made("4", heard("gw-2", -60.0, seed=4))),
    ]
    for recordings in (together, apart):
        found = confusion(recordings, {})
        assert found["shoes"]["shoes"] / found["shoes"].total() > 0.95
        assert found["hats"]["hats"] / found["hats"].total() > 0.95


def test_the_commands_print_a_fragment_of_the_site(tmp_path: Path) -> None:
    ring = write(tmp_path / "ring.jsonl", heard("gw-1", -70.0))
    status, out, err = calibrate("near", ring, "--place", 'shoes "new"')
    assert status == 0
    (place,) = tomllib.loads(out)["place"]
    assert place["id"] == 'shoes "new"'
    assert place["near_dbm"] == pytest.approx(-70, abs=2)
    assert "by gw-1" in err

    site = tmp_path / "site.toml"
    site.write_text('[[gateway]]\nid = "gw-1"\nplace = "shoes"\noffset_db = 2\n')
    _, out, _ = calibrate("near", ring, "--site", site)
    assert tomllib.loads(out)["place"][0]["id"] == "shoes"

    at_2 = write(tmp_path / "at-2.jsonl", heard("gw-2", -60.0))
    status, out, _ = calibrate("offsets", ring, at_2, "--site", site)
    first, second = tomllib.loads(out)["gateway"]
    assert (status, first["place"]) == (0, "shoes")
    assert first["offset_db"] == -second["offset_db"] == pytest.approx(5, abs=1)


def test_places_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    near_1 = write(tmp_path / "1", heard("gw-1", -60.0), heard("gw-2", -75.0, seed=2))
    between = write(tmp_path / "2", heard("gw-1", -66.0, seed=3), heard("gw-2", -66.0, seed=4))
    site = tmp_path / "site.toml"
    site.write_text(
        '[[gateway]]\nid = "gw-1"\nplace = "shoes"\n[[gateway]]\nid = "gw-2"\nplace = "hats"\n'
    )
    status, out, err = calibrate("zones", f"shoes={near_1}", f"hats={between}", "--site", site)
    assert status == 1
    assert "hats: recognised" in err
    assert "else taken for shoes" in err
    assert {row["place"] for row in tomllib.loads(out)["gateway"]} == {"shoes", "hats"}
    assert out.startswith("# stood in")
    far = write(tmp_path / "3", heard("gw-1", -80.0, seed=3), heard("gw-2", -60.0, seed=4))
    status, _, err = calibrate("zones", f"shoes={near_1}", f"hats={far}", "--site", site)
    assert (status, "warning" in err) == (0, False)


def test_a_recording_from_a_trace_in_place_of_a_radio(tmp_path: Path) -> None:
    trace = write(
        tmp_path / "trace.jsonl",
        heard("gw-1", -60.0),
        heard("gw-1", -50.0, tag=OTHER),
        heard("gw-2", -90.0, seed=5),
    )
    out = tmp_path / "out.jsonl"
    status, _, err = calibrate(
        "record", "--out", out, "--simulate", trace, "--speed", 300, "--gateway", "gw-1",
        "--beacon", "1/7",
    )  # fmt: skip
    assert status == 0, err
    assert "begin now" in err
    found = read(out)
    assert found.beacon.endswith("/1/7")
    assert found.gateways.keys() == {"gw-1"}
    assert found.gateways["gw-1"].middle_dbm == pytest.approx(-60, abs=2)
    status, shown, _ = calibrate(
        "near", "--simulate", trace, "--speed", 300, "--gateway", "gw-1", "--place", "shoes"
    )
    assert status == 0
    assert tomllib.loads(shown)["place"][0]["near_dbm"] == pytest.approx(-50, abs=2)


def test_few_readings_are_weak_evidence(tmp_path: Path) -> None:
    slow = write(tmp_path / "slow.jsonl", heard("gw-1", -70.0, per_s=0.3))
    status, _, err = calibrate("near", slow, "--place", "shoes")
    assert status == 0
    assert "are few: set the tag to report" in err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no sighting"),
        (b'{"type":"fix","subject":"s"}\n\n', "has no sighting"),
        (b'{"type":"sighting"}\n', "line 1: is no record"),
        (b"nonsense\n", "line 1: is no record"),
        (b"[" * 60_000, "line 1: is no record"),
        (b"{" + b" " * 70_000 + b"}", "line 1: too long"),
    ],
)
def test_a_file_that_is_no_recording_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "recording.jsonl"
    file.write_bytes(content)
    for words in (["near", file, "--place", "p"], ["offsets", file], ["zones", f"p={file}"]):
        status, out, err = calibrate(*words)
        assert (status, out) == (2, "")
        assert str(file) in err
        assert says in err
        assert len(err.splitlines()) == 1


def test_a_recording_to_standard_output_and_to_a_full_disk(tmp_path: Path) -> None:
    trace = write(tmp_path / "trace.jsonl", heard("gw-1", -60.0))
    # Longer than the trace: at this speed its last reading comes a millisecond before its end.
    words = ["record", "--simulate", trace, "--speed", 300, "--seconds", 600, "--gateway", "gw-1"]
    words.append("--out")
    status, out, _ = calibrate(*words, "-")
    assert status == 0
    assert len([msgspec.json.decode(line, type=Sighting) for line in out.splitlines()]) == 60
    assert not Path("-").exists()
    status, out, err = calibrate(*words, "/dev/full")
    assert (status, out) == (2, "")
    assert "/dev/full: cannot be written (No space left on device)" in err
    assert Path("/dev/full").exists()
    folder = tmp_path / "absent"
    assert calibrate(*words, folder / "out.jsonl")[0] == 2
    assert not folder.exists()


def test_a_flood_of_names_and_receivers_is_read_at_once() -> None:
    flood = [
        Sighting(
            beacon=msgspec.structs.replace(TAG, minor=number % 30_000),
            gateway=f"gw-{number % 60_000}",
            at=BEGAN + number * 0.7,
            rssi_dbm=-60,
        )
        for number in range(100_000)
    ]
    began = time.monotonic()
    found = made("flood", [*flood, *heard("gw-1", -60.0, seconds=6.0)])
    assert found.beacon.endswith(f"/{TAG.minor}")
    many = [msgspec.structs.replace(one, beacon=TAG) for one in flood]
    made("receivers", many)
    assert time.monotonic() - began < 60.0


def test_a_place_that_the_site_does_not_know_is_refused(tmp_path: Path) -> None:
    ring = write(tmp_path / "ring.jsonl", heard("gw-1", -70.0))
    site = tmp_path / "site.toml"
    site.write_text(
        '[[place]]\nid = "hats"\nparent = "shop"\n[[gateway]]\nid = "gw-1"\nplace = "shoes"\n'
    )
    for place in ("hats", "shop", "shoes"):
        assert calibrate("near", ring, "--place", place, "--site", site)[0] == 0
    for place, hint in (("nowhere", "there are hats, shoes, shop"), ("shose", "mean shoes?")):
        status, out, err = calibrate("near", ring, "--place", place, "--site", site)
        assert (status, out) == (2, "")
        assert f"knows no place '{place}'" in err
        assert hint in err


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As where there is a radio; without one, that is what is missing first.
    monkeypatch.setattr("beacon_gateway.calibrate.need_radio", lambda _: None)
    ring = write(tmp_path / "ring.jsonl", heard("gw-1", -70.0))
    for words, says in (
        (["near", ring], "say --place"),
        (["near", ring, "--place", "p", "--beacon", "9/9"], "ends with 9/9 (there are"),
        (["near", tmp_path / "absent", "--place", "p"], "cannot be read"),
        (["zones", "shoes"], "write PLACE=RECORDING"),
        (["near", "--simulate", ring, "--place", "p"], "--gateway"),
        (["near", "--gateway", "g", "--place", "p"], "no list of enrolled beacons"),
        (["record"], "--out"),
        ([], "Missing command"),
    ):
        status, out, err = calibrate(*words)
        assert (status, out) == (2, ""), words
        assert says in err
        assert len(err.splitlines()) == 1


def test_a_recording_may_be_standard_input_once(tmp_path: Path) -> None:
    lines = write(tmp_path / "edge.jsonl", heard("gw-1", -70.0)).read_bytes()
    result = CliRunner().invoke(
        main, ["calibrate", "near", "-", "--place", "p"], input=b"\xef\xbb\xbf" + lines
    )
    assert result.exit_code == 0
    assert "standard input: " in result.stderr
    assert tomllib.loads(result.stdout)["place"][0]["near_dbm"] == pytest.approx(-70, abs=2)
    for words in (("offsets", "-", "-"), ("near", "-", "-"), ("zones", "a=-", "b=-")):
        status, _, error = calibrate(*words)
        assert status == 2
        assert error.startswith("only one recording can be standard input")


def test_every_recording_that_is_none_is_told(tmp_path: Path) -> None:
    fine, broken = write(tmp_path / "fine.jsonl", heard("gw-1", -70.0)), tmp_path / "broken.jsonl"
    broken.write_text("{")
    for words in (
        ("offsets", fine, tmp_path / "none", broken),
        ("near", fine, tmp_path / "none", broken, "--place", "p"),
        ("zones", f"a={fine}", f"b={tmp_path / 'none'}", f"c={broken}"),
    ):
        status, _, error = calibrate(*words)
        assert status == 2
        first, second = error.splitlines()
        assert first.startswith(f"{tmp_path / 'none'}: cannot be read")
        assert second.startswith(f"{broken}: line 1: ")


def test_a_zone_that_the_site_does_not_know_is_refused(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[[gateway]]\nid = "gw-1"\nplace = "shoes"\n', "utf-8-sig")
    fine = write(tmp_path / "fine.jsonl", heard("gw-1", -70.0))
    status, _, error = calibrate("zones", f"shoos={fine}", "--site", site)
    assert status == 2
    assert "knows no place 'shoos': did you mean shoes?" in error
    assert calibrate("zones", f"shoes={fine}", "--site", site)[0] == 0


def test_every_zone_that_is_wrong_is_told(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('[[place]]\nid = "bags"\n')
    site = tmp_path / "site.toml"
    status, out, err = calibrate("zones", "--site", site, "shoes=a", "c=", "bags=b", "=d", "hats=e")
    assert (status, out) == (2, "")
    told = err.splitlines()
    assert len(told) == 4
    for word, line in zip(("'c='", "'=d'", "'shoes'", "'hats'"), told, strict=True):
        assert word in line


def test_nobody_stands_still_for_a_folder_that_is_not_there(tmp_path: Path) -> None:
    trace = write(tmp_path / "t.jsonl", heard("gw-1", -70.0))
    out = tmp_path / "none" / "edge.jsonl"
    status, _, error = calibrate(
        "record", "--simulate", trace, "--gateway", "gw-1", "--out", out, "--speed", "1000"
    )
    assert status == 2
    assert error == f"{out}: cannot be written (its folder is not there): make it first\n"


def test_a_clock_that_was_put_right_meanwhile_is_told_and_not_waited_out(tmp_path: Path) -> None:
    jumped = heard("gw-1", -70.0)
    jumped[0] = msgspec.structs.replace(jumped[0], at=5.0)
    status, out, error = calibrate("near", write(tmp_path / "jumped.jsonl", jumped), "--place", "p")
    assert (status, out) == (2, "")
    (line,) = error.splitlines()
    assert "jumped.jsonl: holds sightings 20,574 days apart: record again once" in line
