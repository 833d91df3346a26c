"""Real servers that tests start on this machine alone: a broker, a message bus.

Each is found on PATH or where ``fetch.sh`` unpacked it; each gets a folder and a port or socket of
its own, and is stopped when its test is over.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

UNPACKED = Path(sys.prefix) / "servers"
STARTED_WITHIN_S = 20.0


def find(name: str) -> str:
    """Give the path of a program; skip the test where it is absent, fail where CI must have it."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin"]
    places += [str(UNPACKED / folder) for folder in ("usr/bin", "usr/sbin", "bin", "sbin")]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is not None:
        return found
    reason = f"{name} is neither installed nor in {UNPACKED.name}: `make test` fetches it by apt"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def libraries() -> dict[str, str]:
    """Give the environment in which an unpacked program finds its unpacked libraries."""
    folders = {str(path.parent) for path in UNPACKED.glob("**/lib/**/*.so*")}
    known = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join([*sorted(folders), *filter(None, [known])])}  # fmt: skip


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server(ABC):
    """One program that runs until it is stopped; it can be started again on the same address."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self._command, self._log, self._env = command, log, env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env
            )
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not self.answers():
            assert self._process.poll() is None, self._log.read_text(errors="replace")
            assert time.monotonic() < deadline, f"{self._command[0]} does not answer"
            time.sleep(0.01)

    @abstractmethod
    def answers(self) -> bool:
        """Whether somebody can connect by now."""

    def stop(self, *, kill: bool = False) -> None:
        if self._process is None:
            return
        if kill:
            self._process.kill()
        else:
            self._process.terminate()
        self._process.wait(STARTED_WITHIN_S)
        self._process = None


class Mosquitto(Server):
    """An MQTT broker on a loopback port, which keeps sessions in its folder over a restart.

    ``users`` maps names to passwords; without any, anybody may connect. ``tls`` is its certificate
    and its key.
    """

    def __init__(
        self,
        folder: Path,
        users: Mapping[str, str] | None = None,
        *,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        program = find("mosquitto")
        self.port = free_port()
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if users else 'true'}",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_on_changes true",
            "autosave_interval 1",
            "max_queued_messages 0",
            "max_inflight_messages 20",
            f"pid_file {folder}/mosquitto.pid",
        ]
        if os.getuid() == 0:
            lines.append("user root")  # its folder is the test's own
        if tls is not None:
            lines += [f"certfile {tls[0]}", f"keyfile {tls[1]}"]
        if users:
            path = folder / "passwords"
            path.write_text("".join(f"{name}:{word}\n" for name, word in users.items()))
            path.chmod(0o600)
            subprocess.run([find("mosquitto_passwd"), "-U", str(path)], check=True, env=libraries())
            lines.append(f"password_file {path}")
        config = folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        super().__init__([program, "-c", str(config)], folder / "mosquitto.log", libraries())

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True


BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_type="method_return"/>
    <allow send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="signal"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
  </policy>
</busconfig>
"""


class DbusDaemon(Server):
    """A message bus on a socket of its own; give ``address`` as ``DBUS_SYSTEM_BUS_ADDRESS``."""

    def __init__(self, folder: Path) -> None:
        program = find("dbus-daemon")
        self._socket = folder / "bus"
        config = folder / "bus.conf"
        config.write_text(BUS.format(socket=self._socket))
        command = [program, f"--config-file={config}", "--nofork", "--nopidfile", "--nosyslog"]
        super().__init__(command, folder / "bus.log", libraries())

    @property
    def address(self) -> str:
        return f"unix:path={self._socket}"

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(str(self._socket))
            except OSError:
                return False
        return True
