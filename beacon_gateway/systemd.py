"""The question: how does a gateway start with the computer, stay up, and touch nothing else.

Text of systemd units, and where they go. It starts and stops nothing: the two commands that do are
told, so that whoever installs sees what happens. It must not know what the gateway hears.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from beacon_gateway.around import named
from beacon_gateway.model import GatewayError
from beacon_gateway.options import asked, told
from beacon_gateway.settings import NOWHERE, Settings

UNITS = "etc/systemd/system"
RULES = "etc/udev/rules.d/60-beacon-gateway.rules"
NAME = "beacon-gateway"
# How often the agent must say that it is well; it does so several times in this time. Longer than
# its own watchdog's rungs of some seconds, shorter than a shopkeeper's patience.
WATCHDOG_S = 60
# What Bluetooth's daemon remembers of everyone who passes: names by address. It belongs to nobody's
# disk. The whole folder, since the adapters' own folders come and go with the adapters.
REMEMBERED = "/var/lib/bluetooth"
MOUNT = "var-lib-bluetooth.mount"

AGENT = """\
[Unit]
Description=Beacon gateway: tells the engine which enrolled beacons are heard here
Wants=network-online.target bluetooth.service
After=network-online.target bluetooth.service
# It never gives up: a shop's router may be off for a week.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
Restart=always
RestartSec=5
WatchdogSec={watchdog}
TimeoutStopSec=20

# A user of its own that exists while it runs, and one folder: /var/lib/{name}.
DynamicUser=yes
User={name}
SupplementaryGroups=bluetooth
StateDirectory={name}
StateDirectoryMode=0700
UMask=0077
{credentials}
# Everything else is read-only, hidden or forbidden.
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
NoNewPrivileges=yes
# What is left: restarting a Bluetooth controller that hangs, built in or on USB.
CapabilityBoundingSet=CAP_NET_ADMIN
AmbientCapabilities=CAP_NET_ADMIN
DevicePolicy=closed
DeviceAllow=char-usb_device rw
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_BLUETOOTH
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
# Several times what it takes; what grows beyond is a fault, and a new start mends it.
MemoryMax=256M
TasksMax=64

[Install]
WantedBy=multi-user.target
"""

MEMORY = """\
[Unit]
Description=What Bluetooth remembers of passers-by: in memory, gone with the power
Before=bluetooth.service

[Mount]
What=tmpfs
Where={where}
Type=tmpfs
Options=mode=0700,size=16m,nosuid,nodev,noexec

[Install]
WantedBy=local-fs.target
RequiredBy=bluetooth.service
"""

DONGLES = """\
# A hung USB dongle may be reset by who may use Bluetooth: devices with a Bluetooth interface.
SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ENV{ID_USB_INTERFACES}=="*:e00101:*", \\
  GROUP="bluetooth", MODE="0664"
"""


def units(settings: Settings, config: Path | None, command: Path) -> dict[str, str]:
    """Write what is installed: text by the file's name below the root of the system.

    ``command`` is the program to start. The token, the settings file and the certificate are
    handed over by systemd, so that they may belong to root alone.
    """
    handed = {"token": settings.token_file, "settings": config, "ca": settings.ca_file}
    files = {name: file.absolute() for name, file in handed.items() if file is not None}
    words = [_quoted(str(command)), "run"]
    words += ["--config", "%d/settings"] if config is not None else []
    words += ["--server", _quoted(settings.server), "--data", f"/var/lib/{NAME}"]
    words += ["--gateway", _quoted(settings.gateway)] if settings.gateway is not None else []
    words += ["--token-file", "%d/token"] if settings.token_file is not None else []
    words += ["--ca-file", "%d/ca"] if settings.ca_file is not None else []
    for mac in settings.adapters:
        words += ["--adapter", mac]
    words += ["--passive"] if settings.passive else []
    words += ["--canary", named(settings.canary)] if settings.canary is not None else []
    agent = AGENT.format(
        name=NAME,
        command=" ".join(words),
        credentials="".join(
            f"LoadCredential={name}:{_plain(str(file))}\n" for name, file in files.items()
        ),
        watchdog=WATCHDOG_S,
        home="read-only" if command.is_relative_to("/home") else "yes",
    )
    return {
        f"{UNITS}/{NAME}.service": agent,
        f"{UNITS}/{MOUNT}": MEMORY.format(where=REMEMBERED),
        RULES: DONGLES,
    }


def write(texts: dict[str, str], root: Path) -> list[Path]:
    """Put the files where they belong below ``root``; those that were written.

    Raises GatewayError where that is not possible.
    """
    written = []
    for name, text in texts.items():
        file = root / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        except OSError as error:
            raise GatewayError(
                f"{file}: cannot be written ({error.strerror}): run it with sudo, "
                "or with --dry-run to see the text"
            ) from None
        written.append(file)
    return written


@click.command("install-service")
@asked("server", "token_file", "gateway", "ca_file", "adapters", "passive", "canary")
@click.option("--dry-run", is_flag=True, help="Print the units and write nothing.")
@click.option(
    # A mistyped folder, or a card that is not mounted, must not be made.
    "--root", type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("/"), metavar="DIR",
    help="Where the system's files begin, such as a mounted card.",
)  # fmt: skip
def command(config: Path | None, dry_run: bool, root: Path, **options: object) -> None:
    """Start the gateway with the computer (systemd), and keep it up.

    Writes two units and a rule: the gateway, under a user of its own that may do nothing but this,
    started again whenever it ends or hangs; a folder in memory for what Bluetooth's daemon
    remembers of passers-by, which forgets its pairings at each start; the right to reset a USB
    dongle that hangs. What is typed here is what will be run.
    """
    settings = told(config, dict(options), needs=("server",))
    for name, file in (("token-file", settings.token_file), ("ca-file", settings.ca_file)):
        if file is not None and not file.exists():
            raise GatewayError(
                f"{file}: there is no such file: give --{name} as it is on this computer"
            )
    if settings.data not in {NOWHERE, Path("/var/lib") / NAME}:
        click.echo(f"its data will be in /var/lib/{NAME}, not in {settings.data}", err=True)
    texts = units(settings, config, _program())
    if dry_run:
        for name, text in texts.items():
            click.echo(f"# {root / name}\n{text}")
        return
    for file in write(texts, root):
        click.echo(f"written: {file}")
    click.echo(
        "what Bluetooth has remembered so far stays on the disk until you remove it; then start:\n"
        f"  sudo find {REMEMBERED} -path '*/cache/*' -delete\n"
        "  sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=usb\n"
        "  sudo systemctl daemon-reload\n"
        f"  sudo systemctl enable --now {MOUNT} {NAME}.service\n"
        "  sudo systemctl restart bluetooth"
    )


def _program() -> Path:
    """Find the program that systemd is to start: the one beside this Python, else on the path."""
    beside = Path(sys.executable).with_name(NAME)
    found = str(beside) if beside.exists() else shutil.which(NAME)
    if found is None:
        raise GatewayError(
            f"the program {NAME} is neither beside {sys.executable} nor on the path: "
            "install proximity-engine[gateway] there"
        )
    return Path(found).absolute()


def _plain(text: str) -> str:
    """Write text so that systemd takes its per cent signs as they are."""
    if any(ord(letter) < 32 for letter in text):
        raise GatewayError(f"{text!r}: a unit cannot hold control characters: rename it")
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """Write one word of a command line as systemd reads it."""
    word = _plain(word).replace("$", "$$").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{word}"' if not word or any(letter in word for letter in " \t'\";") else word
