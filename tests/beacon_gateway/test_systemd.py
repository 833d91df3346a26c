"""Units that systemd itself accepts, and that say what was typed."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from beacon_gateway.__main__ import main
from beacon_gateway.model import GatewayError
from beacon_gateway.settings import Settings
from beacon_gateway.systemd import MOUNT, NAME, RULES, UNITS, units
from tests.servers import find, libraries

CANARY = "f7826da6-4fa2-4e98-8024-bc5b71e0893e/1/7"
TOLD = Settings(server="https://engine.example", data=Path("/var/lib/x"), token_file=Path("/etc/t"))


def install(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["install-service", *words])
    return result.exit_code, result.stdout, result.stderr


def read(text: str) -> configparser.RawConfigParser:
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(text)
    return unit


def test_it_writes_what_was_typed_and_starts_nothing(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("px_x")
    status, out, err = install(
        "--server", "https://engine.example", "--token-file", str(token), "--gateway", "gw 1",
        "--adapter", "00:1A:7D:DA:71:13", "--passive", "--canary", CANARY, "--root", str(tmp_path),
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "systemctl enable --now" in out
    unit = read((tmp_path / UNITS / f"{NAME}.service").read_text())
    agent = unit["Service"]
    assert agent["ExecStart"].endswith(
        "beacon-gateway run --server https://engine.example --data /var/lib/beacon-gateway "
        '--gateway "gw 1" --token-file %d/token --adapter 00:1A:7D:DA:71:13 --passive '
        f"--canary {CANARY}"
    )
    assert agent["LoadCredential"] == f"token:{token}"
    assert (agent["Type"], agent["Restart"], agent["WatchdogSec"]) == ("notify", "always", "60")
    assert (agent["DynamicUser"], agent["ProtectSystem"]) == ("yes", "strict")
    assert agent["SupplementaryGroups"] == "bluetooth"
    mount = read((tmp_path / UNITS / MOUNT).read_text())
    assert mount["Mount"]["Type"] == "tmpfs"
    assert mount["Mount"]["Where"] == "/var/lib/bluetooth"
    assert mount["Install"]["RequiredBy"] == "bluetooth.service"
    assert 'GROUP="bluetooth"' in (tmp_path / RULES).read_text()


def test_a_dry_run_prints_and_writes_nothing(tmp_path: Path) -> None:
    status, out, _ = install("--server", "http://s", "--root", str(tmp_path), "--dry-run")
    assert status == 0
    assert f"# {tmp_path / UNITS / NAME}.service" in out
    assert "Type=tmpfs" in out
    assert "LoadCredential" not in out
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words in (
        ["--server", "http://s", "--root", str(tmp_path / "file")],
        ["--server", "http://s", "--token-file", str(tmp_path / "absent"), "--dry-run"],
        ["--dry-run"],
    ):
        status, out, err = install(*words)
        assert (status, out) == (2, "")
        assert len(err.splitlines()) == 1


def test_systemd_reads_names_as_they_are() -> None:
    odd = Settings(
        server="https://engine.example",
        data=Path("/x"),
        gateway='100% "sure" $HOME \\ end',
        token_file=Path("/etc/50%/t"),
    )
    text = units(odd, Path("/etc/a 5%.toml"), Path("/usr/local/p/bin/beacon-gateway"))[
        f"{UNITS}/{NAME}.service"
    ]
    assert '"100%% \\"sure\\" $$HOME \\\\ end"' in text
    assert "--config %d/settings" in text
    assert "LoadCredential=settings:/etc/a 5%%.toml" in text
    assert "LoadCredential=token:/etc/50%%/t" in text
    with pytest.raises(GatewayError, match="control characters"):
        units(odd, Path("/etc/a\nb.toml"), Path("/usr/local/p/bin/beacon-gateway"))


def test_what_pairing_writes_is_what_the_service_is_given(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        'server = "https://engine.example"\ngateway = "gw-1"\ntoken_file = "token"\n'
        'data = "/var/lib/beacon-gateway"\nca_file = "ca.pem"\n'
    )
    for name in ("token", "ca.pem"):
        (tmp_path / name).touch()
    status, out, err = install("--config", str(settings), "--dry-run")
    assert (status, err) == (0, "")
    for name, file in (("settings", "settings.toml"), ("token", "token"), ("ca", "ca.pem")):
        assert f"LoadCredential={name}:{tmp_path / file}\n" in out
    assert "--token-file %d/token --ca-file %d/ca" in out


def test_a_program_in_somebodys_home_can_be_read() -> None:
    somebodys = Path("/home", "pi", "v", "bin", "beacon-gateway")
    for program, home in ((somebodys, "read-only"), (Path("/usr/local/b/bin/b"), "yes")):
        text = units(TOLD, None, program)[f"{UNITS}/{NAME}.service"]
        assert read(text)["Service"]["ProtectHome"] == home


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = find("systemd-analyze")
    for name, text in units(TOLD, None, Path(shutil.which("true") or "/bin/true")).items():
        (tmp_path / Path(name).name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(tmp_path / name for name in (f"{NAME}.service", MOUNT))],
        capture_output=True, text=True, check=False, env=libraries(),
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if NAME in line or "bluetooth.mount" in line]
    assert (done.returncode, ours) == (0, [])


def test_a_card_that_is_not_mounted_is_not_made(tmp_path: Path) -> None:
    token, root = tmp_path / "token", tmp_path / "card"
    token.write_text("secret")
    words = ["--server", "http://s", "--token-file", str(token), "--root", str(root)]
    status, out, err = install(*words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "does not exist" in err
    assert not root.exists()
    root.mkdir()
    assert install(*words)[0] == 0
