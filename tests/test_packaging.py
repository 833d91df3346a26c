"""What the wheel and the source archive hold, built here and now without a network."""

from __future__ import annotations

import email
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("geofences", "beacon_gateway", "proximity", "simulator")
EXTRAS = {
    "engine",
    "gateway",
    "eid",
    "gis",
    "parquet",
    "postgres",
    "nats",
    "mqtt",
    "push",
    "email",
    "analysis",
    "all",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source archive, and the wheel from it: what the archive lacks, the wheel lacks."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_four_packages_whole_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    written = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    written |= {
        f"proximity/street/{path.name}" for path in (ROOT / "examples" / "street").iterdir()
    }
    held = {held for held in wheel.namelist() if ".dist-info/" not in held}
    assert held == written
    assert {f"{package}/py.typed" for package in PACKAGES} <= held


def test_the_wheel_says_who_it_is(wheel: zipfile.ZipFile) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (metadata,) = [name for name in wheel.namelist() if name.endswith("dist-info/METADATA")]
    said = email.message_from_bytes(wheel.read(metadata))
    assert said["Name"] == "proximity-engine"
    assert said["Version"] == project["version"]
    assert said["License-Expression"] == "Apache-2.0"
    assert set(said.get_all("Provides-Extra", [])) == EXTRAS
    licence = metadata.replace("METADATA", "licenses/LICENSE")
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_brings_a_command_for_each_package(wheel: zipfile.ZipFile) -> None:
    (points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    text = wheel.read(points).decode()
    for package in PACKAGES:
        assert f"{package.replace('_', '-')} = {package}.__main__:main" in text


def test_the_source_archive_can_test_itself(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "LICENSE", "README.md", "tests/conftest.py"} <= held
    assert not [name for name in held if "__pycache__" in name or name.startswith(".venv")]
