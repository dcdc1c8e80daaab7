"""Every way in which a worker of a training lab can end badly: bounded in time, told in one line with rank and place, and nothing lost."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from parlab import results
from parlab.errors import BAD_REQUEST, FAILED, TIMED_OUT
from parlab.records import Fault, measured

NEEDS = "processes"

# What the fault says, as a regular expression: who, why, and where in the program that was.
WAYS = {
    "raise": r"rank 1: ValueError: boom \(faulty.py:\d+, step 3\)",
    "exit 0": r"rank 1: left by sys.exit\(0\) while the others still worked \(faulty.py:\d+, step 3\)",
    "SIGKILL": r"rank 1 ended without a word \(killed, or left by os._exit\); rank 0 stood in ",
    "memory": r"you tried to allocate 4503599627370496 bytes. Error code 12 \(Cannot allocate memory\) \(faulty.py:\d+, step 3\)",
    "wrong": r"liar is wrong on 1 workers; worker 1: 1 is not 2",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_leaves_ends_the_run_with_its_rank_the_reason_and_the_place(
    way: str, faulty: Callable[[str, float], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert faulty(way, 40) == FAILED
    found = results.read(tmp_path / "out")
    (fault,) = [r for r in found.records if isinstance(r, Fault)]
    assert re.search(WAYS[way], fault.fault)
    assert "limit" not in fault.fault  # none of them had to be waited for
    assert len(measured(found.records)) == 1  # what was measured before is kept
    shown = capsys.readouterr()
    assert "FAILED" in shown.out
    assert "Traceback" not in shown.out + shown.err


def test_a_hung_worker_is_ended_at_the_limit_and_all_say_where_they_stood(
    faulty: Callable[[str, float], int], tmp_path: Path
) -> None:
    assert faulty("hang", 9) == TIMED_OUT
    (fault,) = [r for r in results.read(tmp_path / "out").records if isinstance(r, Fault)]
    stood = r"rank 0 stood in main \(faulty.py:\d+\), rank 1 stood in leave_torch \(faulty.py:\d+\)"
    assert re.search(stood, fault.fault)


@pytest.mark.usefixtures("faulty")
def test_more_workers_than_torchrun_started_are_refused_in_one_line(tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--monitor-interval", "0.1"]
    asked = ["--budget", "smoke", "--workers", "1,4", "--out", str(tmp_path / "out")]
    command = [sys.executable, *torchrun, str(tmp_path / "faulty.py"), *asked]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode
    told = [line for line in done.stderr.splitlines() if line.startswith("faulty: ")]
    assert told == [
        "faulty: faulty on 4 workers needs torchrun --nproc-per-node 4, this is torchrun --nproc-per-node 2"
    ]
    assert f"exitcode  : {BAD_REQUEST}" in done.stderr  # torchrun's own is 1, whatever its workers'
    assert not (tmp_path / "out").exists()
