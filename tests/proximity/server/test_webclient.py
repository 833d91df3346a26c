"""The web client as the engine serves it: these files, these headers, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from proximity.model import ProximityError
from proximity.server import webclient
from proximity.server.webclient import MEDIA, read_client
from tests.proximity.server.rig import running

CLIENT = Path(__file__).resolve().parent.parent.parent.parent / "examples" / "web-client"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "client"
    made.mkdir()
    (made / "index.html").write_text("<!doctype html><title>x</title>")
    (made / "sw.js").write_text("1")
    (made / "README.md").write_text("not served")
    (made / ".hidden.js").write_text("secret")
    (made / "sub").mkdir()
    (made / "sub" / "page.js").write_text("secret")
    (tmp_path / "secret.js").write_text("secret")
    return made


async def test_its_files_are_served_to_anybody(tmp_path: Path, folder: Path) -> None:
    async with running(tmp_path, client=folder) as rig:
        front = await rig.ask("GET", "/client/", role=None)
        assert (front.status, front.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert front.body.startswith(b"<!doctype html>")
        script = await rig.ask("GET", "/client/sw.js", role=None)
        assert (script.status, script.headers["Content-Type"]) == (
            200,
            "text/javascript; charset=utf-8",
        )
        policy = script.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert script.headers["X-Content-Type-Options"] == "nosniff"
        assert script.headers["Cache-Control"] == "no-cache"
        same = await rig.ask(
            "GET", "/client/sw.js", role=None, headers={"If-None-Match": script.headers["ETag"]}
        )
        assert (same.status, same.body) == (304, b"")
        assert (await rig.ask("HEAD", "/client/sw.js", role=None)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "README.md", ".hidden.js", "sub/page.js", "sub%2Fpage.js", "../secret.js", "..%2Fsecret.js",
        "%2e%2e%2fsecret.js", "..%252Fsecret.js", "sw.js%00", "SW.JS", "sw.js/", "/etc/passwd",
        "..\\secret.js", "engine.db",
    ],
)  # fmt: skip
async def test_nothing_else_is(tmp_path: Path, folder: Path, path: str) -> None:
    async with running(tmp_path, client=folder) as rig:
        answer = await rig.ask("GET", f"/client/{path}", role=None)
        assert answer.status in {400, 401, 404}, path
        assert b"secret" not in answer.body.replace(b"secret.js", b"")
        assert b"not served" not in answer.body


async def test_without_a_client_there_is_none(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        for path in ("/client/", "/client/sw.js"):
            assert (await rig.ask("GET", path, role=None)).status == 404


def test_a_folder_that_is_no_client_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ProximityError, match=r"no index\.html"):
        read_client(tmp_path)
    with pytest.raises(ProximityError, match="cannot be read"):
        read_client(tmp_path / "gone")
    with pytest.raises(ProximityError, match="cannot be read"):
        read_client(folder / "sw.js")
    (folder / "way-out.js").symlink_to(tmp_path / "secret.js")
    with pytest.raises(ProximityError, match="a link is not served"):
        read_client(folder)


def test_a_folder_that_is_too_much_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webclient, "MOST_FILES", 1)
    with pytest.raises(ProximityError, match="more than 1 files"):
        read_client(folder)
    monkeypatch.undo()
    monkeypatch.setattr(webclient, "MOST_BYTES", 10)
    with pytest.raises(ProximityError, match="10 bytes"):
        read_client(folder)


def test_the_example_is_served_whole_but_for_its_papers() -> None:
    served = read_client(CLIENT)
    there = {path.name for path in CLIENT.iterdir()}
    assert there - set(served) == {one for one in there if Path(one).suffix not in MEDIA}
    assert {"index.html", "page.js", "sw.js", "app.webmanifest", "icon.png"} <= set(served)
