"""Stamps outlive their writer; from them follow what a recovery consists of, and the timeline."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from parlab.lives import Stamps, lanes, process_start, read, recoveries


def two_lives(folder: Path) -> None:
    """Worker 1 dies after step 7; both come back at step 5. The times say who was the slowest."""
    for worker, late in ((0, 0.0), (1, 0.5)):
        first, second = Stamps(folder, worker, 0), Stamps(folder, worker, 1)
        for point, at in (("joined", 0), ("resumed 0", 1), ("step 6", 2), ("step 7", 3)):
            first.reached(point, at + late)
        if worker:
            first.reached("killed", 4.0)
        for point, at in (
            ("started", 5),
            ("imported", 7),
            ("joined", 8),
            ("resumed 5", 9),
            ("step 6", 11),
            ("step 7", 12),
        ):
            second.reached(point, at + late)


def test_a_recovery_is_told_by_its_parts_and_the_slowest_worker_counts(tmp_path: Path) -> None:
    two_lives(tmp_path)
    (found,) = recoveries(read(tmp_path))
    assert found.phases == {"notice, end, start": 1.5, "import": 2, "join": 1, "load": 1, "first step": 2}
    assert found.seconds == 7.5
    assert (found.killed, found.resumed, found.lost) == (7, 5, 2)


def test_a_timeline_has_a_lane_for_each_worker_over_all_its_lives(tmp_path: Path) -> None:
    two_lives(tmp_path)
    (name, spans), (_, others) = lanes(read(tmp_path))
    assert name == "worker 0"
    assert spans[:4] == [(0, 1, "load 0"), (1, 2, "step 6"), (2, 3, "step 7"), (3, 5, "gone after step 7")]
    assert [label for *_, label in spans[4:]] == ["start import", "start join", "load 5", "step 6", "step 7"]
    assert others[3] == (3.5, 5.5, "gone after step 7")


CHILD = "import os, signal, sys; from parlab.lives import Stamps, process_start; from pathlib import Path\n"
CHILD += "s = Stamps(Path(sys.argv[1]), 0, 0); s.reached('started', process_start()); s.reached('step 1')\n"
CHILD += "os.kill(os.getpid(), signal.SIGKILL)"


def test_stamps_outlive_a_kill_and_compare_over_processes(tmp_path: Path) -> None:
    before = time.perf_counter()
    assert subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)]).returncode == -signal.SIGKILL
    started, step = read(tmp_path)
    assert before - 0.02 <= started.at <= step.at <= time.perf_counter()
    assert process_start() < before


def test_without_a_kill_there_is_no_recovery(tmp_path: Path) -> None:
    Stamps(tmp_path, 0, 0).reached("step 1")
    assert list(recoveries(read(tmp_path))) == []
