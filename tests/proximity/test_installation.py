from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from proximity.installation import (
    EXTRA_OF,
    PACKAGES,
    collision,
    missing_extra,
    refuse_collision,
    refuse_missing,
)

ROOT = Path(__file__).resolve().parents[2]


def install_namesake(folder: Path, package: str = "proximity") -> None:
    """Lay down what pip would: another distribution that owns ``package``."""
    (folder / f"{package}-3.0.0.dist-info").mkdir()
    (folder / f"{package}-3.0.0.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: 3.0.0\n"
    )
    (folder / f"{package}-3.0.0.dist-info" / "RECORD").write_text(f"{package}/mesh.py,,\n")
    (folder / package).mkdir()
    (folder / package / "mesh.py").write_text("")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_namesake_on_the_path_is_refused_in_one_sentence(
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install_namesake(tmp_path, package)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        refuse_collision()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"pip uninstall {package} " in said


def test_this_environment_is_ours_alone() -> None:
    refuse_collision()


@pytest.mark.parametrize("name", ["proximity-engine", "proximity_engine", "Proximity.Engine"])
def test_our_own_name_is_no_collision_however_it_is_spelt(name: str) -> None:
    assert collision({"proximity": [name, name]}) is None


@pytest.mark.parametrize(
    "arguments", [["proximity", "token", "list", "--data", "nowhere"], ["simulator", "replay", "x"]]
)
def test_the_commands_refuse_before_anything_else(arguments: list[str], tmp_path: Path) -> None:
    install_namesake(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "pip uninstall proximity " in ended.stderr


def test_every_optional_library_names_its_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        name: [line for line in lines if not line.startswith("proximity-engine")]
        for name, lines in project["optional-dependencies"].items()
    }
    # Import names differ from distribution names in case and dashes, and these wholly.
    known = {"google-auth": "google", "nats-py": "nats", "python-liquid": "liquid"}
    for extra, lines in extras.items():
        for line in lines:
            distribution = line.split(">=")[0].split("[")[0]
            module = known.get(distribution, distribution.replace("-", "_"))
            assert EXTRA_OF[module] == extra
    assert set(EXTRA_OF.values()) == {name for name, lines in extras.items() if lines}


def test_a_missing_extra_is_one_sentence_with_the_pip_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        refuse_missing(ModuleNotFoundError("No module", name="pyogrio.raw"))
    assert ended.value.code == 2
    assert "pip install 'proximity-engine[gis]'" in capsys.readouterr().err


def test_a_fault_of_ours_is_not_blamed_on_the_installation() -> None:
    fault = ModuleNotFoundError("No module", name="proximity.engine.nowhere")
    assert missing_extra(fault) is None
    with pytest.raises(ModuleNotFoundError):
        refuse_missing(fault)
