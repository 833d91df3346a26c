"""Whether what is installed here is whole, and ours alone.

Called first by the ``proximity`` and ``simulator`` commands. It must import nothing beyond the
standard library: where the answer is "no", nothing else of the project may work either.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import distributions
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DISTRIBUTION = "proximity-engine"
PACKAGES = ("geofences", "beacon_gateway", "proximity", "simulator")

# Which extra brings an optional library; keys are import names, values extras of pyproject.toml.
EXTRA_OF = {
    "alembic": "engine",
    "babel": "engine",
    "holidays": "engine",
    "liquid": "engine",
    "numpy": "engine",
    "prometheus_client": "engine",
    "pyproj": "engine",
    "rich": "engine",
    "rtree": "engine",
    "shapely": "engine",
    "sqlalchemy": "engine",
    "standardwebhooks": "engine",
    "tzdata": "engine",
    "tzfpy": "engine",
    "bleak": "gateway",
    "cryptography": "eid",
    "geopandas": "gis",
    "pyogrio": "gis",
    "psycopg": "postgres",
    "pyarrow": "parquet",
    "nats": "nats",
    "aiomqtt": "mqtt",
    "google": "push",
    "h2": "push",
    "http_ece": "push",
    "py_vapid": "push",
    "aiosmtplib": "email",
    "idna": "email",
    "matplotlib": "analysis",
    "scipy": "analysis",
}


def collision(owners: Mapping[str, Sequence[str]]) -> str | None:
    """Say which other distribution owns one of our packages, and what to do; None where none does.

    ``owners`` maps an importable name to the distributions that install it. pip mixes the files of
    two such distributions in one folder without a word, so whichever came last has won.
    """
    for package in PACKAGES:
        others = sorted({name for name in owners.get(package, ()) if _normal(name) != DISTRIBUTION})
        if others:
            return (
                f"the distribution {', '.join(others)} is installed here too and mixes its files "
                f"into our package {package}: install {DISTRIBUTION} in an environment of its own "
                f"(python -m venv), or pip uninstall {' '.join(others)} and then "
                f"pip install --force-reinstall {DISTRIBUTION}"
            )
    return None


def refuse_collision() -> None:
    """End the process with status 2 and one sentence where another distribution owns a package."""
    sentence = collision(_owners())
    if sentence is not None:
        _refuse(sentence)


def _owners() -> dict[str, list[str]]:
    """Map each of our packages to the distributions that say they install it.

    The standard library's ``packages_distributions`` tells the same of every package there is, and
    takes a tenth of a second over it at each start: here only who names one of ours is looked into.
    """
    owners: dict[str, list[str]] = {}
    for distribution in distributions():
        declared = distribution.read_text("top_level.txt")
        record = "\n" + ("" if declared else distribution.read_text("RECORD") or "")
        for package in PACKAGES:
            if package in (declared or "").split() or f"\n{package}/" in record:
                owners.setdefault(package, []).append(distribution.metadata["Name"])
    return owners


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """Name the extra that brings the module an import did not find; None where no extra does."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(module)
    if extra is None:
        return None
    return f"this needs {module}, which is not installed: pip install '{DISTRIBUTION}[{extra}]'"


def refuse_missing(error: ModuleNotFoundError) -> NoReturn:
    """End the process with status 2 and the pip line for an absent extra.

    Raises ``error`` itself where no extra would mend it: that is a fault of ours.
    """
    sentence = missing_extra(error)
    if sentence is None:
        raise error
    _refuse(sentence)


def _refuse(sentence: str) -> NoReturn:
    sys.stderr.write(f"error: {sentence}\n")
    sys.exit(2)


def _normal(distribution: str) -> str:
    """Spell a distribution's name as the packaging standards compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
