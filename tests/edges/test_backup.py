"""A copy taken under load, carried away, and brought back: whole up to its mark."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.edges.shop import PROXIMITY, Books, Senders, Shop, nothing_lost, one_effect_each, until

pytestmark = pytest.mark.slow


def proximity(*words: object) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in (*PROXIMITY, *words)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


async def test_a_backup_under_load_restores_whole_up_to_its_mark(tmp_path: Path) -> None:
    shop, copies = Shop(tmp_path / "shop"), tmp_path / "copies"
    copies.mkdir()
    assert await shop.open()
    senders = Senders(shop, 500.0)
    try:
        for number in range(3):
            taken = len(senders.taken)
            await until(lambda least=taken: len(senders.taken) >= least + 400)
            before = set(senders.taken)
            copy = copies / f"copy-{number}.db"
            made = await asyncio.to_thread(proximity, "backup", "--data", shop.data, copy, "--json")
            assert made.returncode == 0, made.stderr
            told = json.loads(made.stdout)
            assert stat.S_IMODE(copy.stat().st_mode) == 0o600
            assert not copy.with_name(f"{copy.name}.new").exists()
            books = Books(copy)
            books.whole()
            assert books.ask("SELECT max(position) FROM journal") == [(told["position"],)]
            assert before <= books.fixes().keys(), "acknowledged before, and not in it"
            copy_of = books.fixes().keys()
        assert await shop.end(signal.SIGKILL) == -signal.SIGKILL

        # The shop burns down; another opens from the copy, and the phones report again.
        shop.data = tmp_path / "restored"
        done = await asyncio.to_thread(proximity, "restore", "--data", shop.data, copy)
        assert done.returncode == 0, done.stderr
        assert f"journal row {told['position']}" in done.stdout
        assert shop.books.fixes().keys() == copy_of
        assert await shop.open()
        await senders.stop()
        nothing_lost(shop, {one for one in senders.taken if one in copy_of})
        await one_effect_each(shop, {subject for subject, _ in copy_of})
        assert await shop.end(signal.SIGTERM) == 0
    finally:
        await senders.close()
        await shop.server.gone()
    refused = proximity("restore", "--data", shop.data, copy)
    assert refused.returncode == 2
    assert "is there already, and is not overwritten" in refused.stderr
