"""What processes that are killed while they save leave on the disk: nothing that was saved is lost, or all of it, by the way of saving."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
from parlab.ddp import checkpoints, savers

SCRIPT = """
import random, sys
from functools import partial
from pathlib import Path
from parlab import forked
from parlab.ddp import savers
draw = random.Random(0)
for number in range(10):
    for save in (savers.atomic, savers.in_place):
        folder = Path(sys.argv[1]) / f"{save.__name__} {number}"
        folder.mkdir()
        print(forked.run(1, partial(savers.save_until_killed, save, folder, draw.uniform(0.001, 0.03)), 30))
"""


def test_killed_at_any_moment_what_was_acknowledged_can_be_loaded(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines() == ["[-14]"] * 20, done.stderr
    atomic, in_place = ([savers.left(tmp_path / f"{way} {n}") for n in range(10)] for way in ("atomic", "in_place"))
    assert all(left.loaded in (left.acknowledged, left.acknowledged + 1) for left in atomic)
    assert any(left.cut for left in atomic)  # else the kills came too early or too late
    assert any(left.loaded < left.acknowledged for left in in_place)


def test_what_is_left_is_read_as_it_is(tmp_path: Path) -> None:
    assert savers.left(tmp_path) == (0, 0, False)
    savers.atomic(tmp_path, 3)
    assert savers.left(tmp_path) == (0, 3, False)
    (tmp_path / savers.ACKNOWLEDGED).write_bytes(b"       3")
    checkpoints.write_shard(tmp_path, 4, 0, 0, savers.state(4))  # no manifest
    assert savers.left(tmp_path) == (3, 3, True)
    savers.in_place(tmp_path, 5)
    assert savers.left(tmp_path) == (3, 5, False)
    whole = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(whole[: len(whole) // 2])
    assert savers.left(tmp_path) == (3, 0, True)
