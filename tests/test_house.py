"""The house rules that a machine can check; CONTRIBUTING.md says why each exists."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("geofences", "beacon_gateway", "proximity", "simulator")
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 100

# Longer on purpose: "path" or "path:function" -> why it reads better whole.
EXCEPTIONS = {
    "proximity/store/migrations/versions/0001_baseline.py:upgrade": (
        "a migration is a list of tables, written once and never edited"
    ),
    "tests/proximity/test_ingest.py": "one rig, from a batch to its consequences and back",
    "tests/proximity/test_dispatch.py": "one rig, from a trigger to its delivery",
}

# Written in two halves, so that this file does not find itself.
PRIVATE_PATHS = [
    "/" + "work/",
    "/" + "root/",
    "/" + "home/",
    "/" + "opt/",
    "/" + "Users/",
    "C:" + "\\Users",
]
REGISTRY_HOSTS = ["pypi" + ".org", "pythonhosted" + ".org", "index" + "-url", "find" + "-links"]
AVOIDED = re.compile(r"Manager|Handler|Processor|Helper|Utils?\b|Service", re.IGNORECASE)
UNFINISHED = re.compile("TO" + "DO|FIX" + "ME|XX" + "X|NotImplemented" + "Error")


def sources(*folders: str) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts
    )


CODE = sources(*PACKAGES, "tests", "benchmarks", "examples")


def texts() -> list[Path]:
    """Every file of the project that a person wrote, as far as it is text."""
    kinds = {".py", ".md", ".toml", ".txt", ".json", ".jsonl", ".geojson", ".sql", ".ini", ".mako"}
    folders = [*PACKAGES, "tests", "benchmarks", "examples", "docs"]
    inside = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds and not {"__pycache__", "node_modules"} & {*path.parts}
    ]
    beside = [path for path in ROOT.iterdir() if path.is_file() and path.suffix in kinds]
    return [*inside, *beside, ROOT / "Makefile", ROOT / ".ci" / "run"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_outgrows_its_question() -> None:
    long = {name(path): len(path.read_text().splitlines()) for path in CODE}
    over = {at: lines for at, lines in long.items() if lines > MAX_FILE_LINES}
    assert over.keys() == {at for at in EXCEPTIONS if ":" not in at}, over


def test_no_function_outgrows_a_screen_or_two() -> None:
    over = {}
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    over[f"{name(path)}:{node.name}"] = lines
    assert over.keys() == {at for at in EXCEPTIONS if ":" in at}, over


def test_names_come_from_the_vocabulary() -> None:
    found = [
        f"{name(path)}: {node.name}"
        for path in sources(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and AVOIDED.search(node.name)
    ]
    found += [name(path) for path in sources(*PACKAGES) if AVOIDED.search(path.stem)]
    assert found == []


def test_every_module_says_which_question_it_answers() -> None:
    silent = [
        name(path)
        for path in sources(*PACKAGES)
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed_and_has_its_command(package: str) -> None:
    for file in ("__init__.py", "__main__.py", "py.typed"):
        assert (ROOT / package / file).is_file(), file
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[package.replace("_", "-")] == f"{package}.__main__:main"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_front_holds_public_names_and_nothing_else(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    kinds = {type(node).__name__ for node in tree.body}
    # A function is allowed for one purpose: __getattr__, which loads a heavy name when asked for.
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert functions <= {"__getattr__", "__dir__"}
    allowed = {"Expr", "Import", "ImportFrom", "Assign", "AnnAssign", "If", "FunctionDef"}
    assert kinds <= allowed
    named = any(
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for node in tree.body
    )
    assert named or kinds == {"Expr"}, "what it imports is public, so __all__ names it"


def test_the_changelog_and_the_package_agree_on_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    heads = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == version


def test_nothing_is_left_unfinished() -> None:
    found = [name(path) for path in CODE if UNFINISHED.search(path.read_text())]
    assert found == []


@pytest.mark.parametrize("words", [PRIVATE_PATHS, REGISTRY_HOSTS], ids=["paths", "hosts"])
def test_nothing_names_the_machine_it_was_written_on(words: list[str]) -> None:
    found = [
        f"{name(path)}: {word}"
        for path in texts()
        for word in words
        if word in path.read_text(errors="replace")
    ]
    assert found == []


def test_the_commands_of_the_house_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "lint", "bench", "setup"} <= targets
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


def test_every_pin_names_a_version_and_no_address() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", line), line


def test_every_requirement_is_pinned() -> None:
    def normal(text: str) -> str:
        return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ;]", text)[0]).lower()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = {
        normal(line)
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    extras = project["project"]["optional-dependencies"]
    # What `make` installs; the other extras are the user's to choose.
    wanted = [
        *project["project"]["dependencies"],
        *extras["engine"],
        *extras["gateway"],
        *extras["eid"],
        *extras["mqtt"],
        *extras["gis"],
        *extras["postgres"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    assert {normal(line) for line in wanted} - {"proximity-engine"} <= pins
