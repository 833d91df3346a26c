"""A run's files are whole, or an earlier run's stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from proximity.model import ProximityError
from simulator.expect import Expectations
from simulator.files import Written

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
@pytest.mark.parametrize("records", [1, 10_000])
def test_a_full_disk_is_one_problem_and_leaves_the_earlier_run(
    tmp_path: Path, records: int
) -> None:
    for name in ("transitions", "decisions", "deliveries"):
        (tmp_path / f"{name}.jsonl").write_text("of an earlier run\n", "utf-8")
    (tmp_path / ".decisions.jsonl.part").symlink_to(FULL)
    with (  # noqa: PT012 - a disk may be full at any record, or when a file is closed
        pytest.raises(ProximityError, match="cannot be written: No space left on device: make"),
        Written(tmp_path, Expectations()) as written,
    ):
        for number in range(records):
            written("transitions", {"kind": "enter", "number": number})
            written("decisions", {"decision": "send", "number": number})
        written.keep()
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == {
        f"{name}.jsonl": "of an earlier run\n"
        for name in ("transitions", "decisions", "deliveries")
    }
