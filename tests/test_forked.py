"""Forked copies of a process: what they end with, and that nothing stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from parlab import forked


def test_each_gets_its_rank_and_all_statuses_come_back() -> None:
    assert forked.run(3, lambda rank: 0) == [0, 0, 0]
    assert sorted(forked.run(3, lambda rank: 7)) == [7, 7, 7]  # all fail alike: each is left time to say so


def test_one_that_fails_ends_those_that_would_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "FOLLOW_SECONDS", 0.01)

    def body(rank: int) -> int:
        if rank == 1:
            raise ValueError("boom")
        signal.pause()
        return 0

    assert forked.run(3, body) == [-signal.SIGTERM, 1, -signal.SIGTERM]


def test_who_does_not_heed_the_request_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr(forked, "GRACE_SECONDS", 0.1)
    ready, tell = os.pipe()

    def body(rank: int) -> int:
        if rank == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(tell, b"x")
            while True:
                signal.pause()
        os.read(ready, 1)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert forked.run(2, body) == [-signal.SIGKILL, -signal.SIGKILL]


def test_the_limit_ends_all() -> None:
    def body(rank: int) -> int:
        signal.pause()
        return 0

    assert forked.run(2, body, limit=0.2) == [-signal.SIGTERM, -signal.SIGTERM]


def test_workers_die_with_the_process_that_forked_them(tmp_path: Path) -> None:
    code = "import os, signal; from parlab import forked\n"
    code += f"forked.run(2, lambda rank: open(r'{tmp_path}/%d' % os.getpid(), 'w').close() or signal.pause() or 0)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 60
    while len(pids := [int(path.name) for path in tmp_path.iterdir()]) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    family = [psutil.Process(pid) for pid in pids]
    parent.kill()
    parent.wait()
    assert psutil.wait_procs(family, timeout=30)[1] == []
