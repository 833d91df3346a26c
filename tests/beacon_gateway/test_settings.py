"""Three places say the same keys; the later overrules, and everything wrong is told at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from beacon_gateway.model import Beacon
from beacon_gateway.settings import KEYS, NOWHERE, PREFIX, Settings, SettingsError, load

LEAST = {"server": "https://engine.example", "data": "kept"}


def problems(
    options: dict[str, object] | None = None,
    environment: dict[str, str] | None = None,
    file: Path | None = None,
) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load({**LEAST, **(options or {})}, environment or {}, file)
    assert "\n".join(refused.value.problems) == str(refused.value)
    return list(refused.value.problems)


def test_every_field_is_a_key_and_says_what_it_is_for() -> None:
    fields = {field.name for field in msgspec.structs.fields(Settings)}
    assert fields == KEYS.keys()
    assert all(key.purpose for key in KEYS.values())


def test_every_key_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "gateways.md").read_text()
    assert [key for key in KEYS if f"`{key}`" not in page] == []


def test_defaults_fill_what_nobody_said() -> None:
    assert load(LEAST, {}) == Settings(server="https://engine.example", data=Path("kept"))


def test_the_command_line_overrules_the_environment_and_that_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        'server = "http://file.example/"\ndata = "file"\ngateway = "gw-file"\npassive = true\n'
        'adapters = ["00-1a-7d-da-71-13"]\nspool_bytes = 5_000_000\ntoken_file = "/etc/token"\n'
    )
    environment = {
        f"{PREFIX}GATEWAY": "gw-environment",
        f"{PREFIX}DATA": "environment",
        f"{PREFIX}SPEED": "60",
        f"{PREFIX}CANARY": " F7826DA64FA24E988024BC5B71E0893E/1/65535 ",
        f"{PREFIX}ADAPTERS": "00:1A:7D:DA:71:13, 00:1A:7D:DA:71:14",
        "BEACON_GATEWAY": "another program's",
    }
    settings = load({"data": Path("typed"), "passive": False, "adapters": ()}, environment, file)
    assert settings == Settings(
        server="http://file.example",
        data=Path("typed"),
        token_file=Path("/etc/token"),
        gateway="gw-environment",
        adapters=("00:1A:7D:DA:71:13", "00:1A:7D:DA:71:14"),
        passive=True,
        canary=Beacon(
            format="ibeacon", uuid="f7826da6-4fa2-4e98-8024-bc5b71e0893e", major=1, minor=65535
        ),
        speed=60.0,
        spool_bytes=5_000_000,
    )


def test_a_scheme_in_capitals_is_the_same() -> None:
    for said, meant in (
        ("MQTTS://broker.example:1/", "mqtts://broker.example:1"),
        ("HTTPS://Engine.example/a", "https://Engine.example/a"),
    ):
        assert load({"server": said, "data": "d"}, {}).server == meant


def test_this_folder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for said in (".", Path()):
        assert load({"server": "http://engine", "data": said}, {}).data == tmp_path
    assert load({}, {}, needs=()).data == NOWHERE


def test_paths_of_a_file_are_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('server = "http://s"\ndata = "kept"\ntoken_file = "token"\n')
    settings = load({}, {}, file)
    assert settings.data == tmp_path / "kept"
    assert settings.token_file == tmp_path / "token"


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('servr = "http://s"\npassive = "perhaps"\n')
    with pytest.raises(SettingsError) as refused:
        load({"speed": 0.0001}, {f"{PREFIX}ADAPTER": "hci0", f"{PREFIX}SPOOL_AGE_S": "nan"}, file)
    assert refused.value.problems == (
        f"{file}: servr: there is no such key: did you mean server?",
        f"{file}: passive: must be true or false, without quotes",
        "environment: adapter: there is no such key: did you mean adapters?",
        "environment: BEACON_GATEWAY__SPOOL_AGE_S: must be a number from 60 to 31,622,400 s",
        "command line: --speed: must be a number from 0.01 to 100,000 times",
        (
            f"server is not set: {KEYS['server'].purpose}: give --server, BEACON_GATEWAY__SERVER or "
            "server in a settings file"
        ),
        (
            f"data is not set: {KEYS['data'].purpose}: give --data, BEACON_GATEWAY__DATA or data in a "
            "settings file"
        ),
    )


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("server", "engine.example", "must be a URL such as"),
        ("server", "ftp://engine.example", "must be a URL such as"),
        ("server", "http://", "must be a URL such as"),
        ("server", "http://[::1", "must be a URL such as"),
        ("server", "http://engine.example:99999", "must be a URL such as"),
        ("server", "https://me:secret@engine.example:99999", "must be a URL such as"),
        ("server", "https://me:secret@engine.example", "no name or password"),
        ("server", "https://engine.example/?token=x", "nothing after ? or #"),
        ("server", "   ", "not empty"),
        ("server", 7, "not empty"),
        ("data", "a\0b", "name of a file or folder"),
        ("gateway", "g" * 129, "1 to 128 characters"),
        ("server", "mqtt://broker.example/shops", "a broker has no paths"),
        ("adapters", ["hci0"], "bluetoothctl list"),
        ("adapters", ["hci0", "00:1A:7D:DA:71:13", "hci1"], "'HCI0', 'HCI1': not an adapter"),
        ("adapters", ["00:1A:7D:DA:71:13"] * 2, "twice"),
        ("adapters", 5, "list of addresses"),
        ("adapters", [5], "list of addresses"),
        ("passive", 1.5, "true or false"),
        ("canary", 7, "UUID/MAJOR/MINOR of an iBeacon"),
        ("canary", "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "UUID/MAJOR/MINOR of an iBeacon"),
        ("canary", "f7826da6-4fa2-4e98-8024-bc5b71e0893e/1/65536", "UUID/MAJOR/MINOR"),
        ("canary", "f7826da6-4fa2-4e98-8024-bc5b71e0893e/-1/7", "UUID/MAJOR/MINOR"),
        ("canary", "f7826da6-4fa2-4e98-8024-bc5b71e089/1/7", "UUID/MAJOR/MINOR"),
        ("canary", "somewhere near the till------------/1/7", "UUID/MAJOR/MINOR"),
        ("canary", "f7826da6-4fa2-4e98-8024-bc5b71e0893e/1/" + "9" * 5000, "UUID/MAJOR/MINOR"),
        ("speed", "fast", "must be a number"),
        ("speed", True, "must be a number"),
        ("spool_bytes", 10, "1,000,000 to 1,000,000,000,000 bytes"),
        ("radio", "x", "the keys are server"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(key: str, value: object, says: str) -> None:
    (problem,) = problems({key: value})
    assert says in problem
    assert "me:secret" not in problem


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"server = http", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"# " + b"x" * 70_000, "no settings"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_bytes(content)
    (problem,) = problems(file=file)
    assert problem.startswith(f"{file}: ")
    assert says in problem
    (problem,) = problems(file=tmp_path)
    assert "cannot be read" in problem


def test_a_file_that_cannot_be_read_is_not_said_to_leave_keys_out(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('server = "http://s\n')
    with pytest.raises(SettingsError) as refused:
        load({}, {}, file)
    (problem,) = refused.value.problems
    assert "is not TOML" in problem


def test_a_fault_names_the_option_as_it_is_typed(tmp_path: Path) -> None:
    typed = {"server": "http://x y", "data": tmp_path, "adapters": ("hci0",)}
    with pytest.raises(SettingsError) as refused:
        load(typed, {})
    server, adapter = refused.value.problems
    assert server.startswith("command line: --server: must be a URL")
    assert adapter.startswith("command line: --adapter: ")
    file = tmp_path / "gateway.toml"
    file.write_text('passive = "yes"\n')
    with pytest.raises(SettingsError, match="without quotes"):
        load({"server": "http://s", "data": tmp_path}, {}, file)
    told = load({"server": "http://s", "data": tmp_path}, {f"{PREFIX}PASSIVE": "yes"})
    assert told.passive


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('server = "https://engine.example"\ndata = "here"\n', "utf-8-sig")
    assert load({}, {}, file).server == "https://engine.example"
