"""What a gateway brings to a small computer: nothing of the engine, in any of its files."""

from __future__ import annotations

import subprocess
import sys

HEAVY = [
    "numpy", "shapely", "sqlalchemy", "alembic", "rtree", "pyproj", "pandas", "geopandas",
    "geofences", "proximity", "simulator", "rich",
]  # fmt: skip


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_file_imports_what_only_the_engine_needs() -> None:
    code = (
        "import importlib, pkgutil, sys, beacon_gateway\n"
        f"heavy = {HEAVY}\n"
        "sys.modules.update(dict.fromkeys(heavy))\n"  # importing any of them now fails
        "names = [each.name for each in pkgutil.walk_packages(beacon_gateway.__path__, 'beacon_gateway.')]\n"
        "for name in names:\n"
        "    importlib.import_module(name)\n"
        "print(len(names))\n"
    )
    assert int(run(code)) > 20


def test_the_pure_files_import_nothing_that_hears_or_tells() -> None:
    code = (
        "import importlib, sys\n"
        "sys.modules.update(dict.fromkeys(['aiohttp', 'bleak', 'dbus_fast', 'sqlite3', 'cryptography']))\n"
        "for name in ['model', 'adverts', 'frames', 'ranging', 'around', 'telemetry', 'eid', 'checks',\n"
        "             'thinning', 'settings', 'allowlist', 'recording', 'calibration']:\n"
        "    importlib.import_module('beacon_gateway.' + name)\n"
    )
    assert run(code) == ""
