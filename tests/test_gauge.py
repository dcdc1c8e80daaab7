"""The scheduler's own account of threads that were ready to run and had no core."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from parlab import gauge
from parlab.measure import Alone, interleave


@pytest.fixture(autouse=True)
def fresh() -> None:
    gauge.waiting_gauge.cache_clear()


def test_two_threads_on_one_core_wait_for_each_other() -> None:
    read = gauge.waiting_gauge()
    if read is None:
        pytest.skip("this system does not count waiting")
    before, end = read(), time.process_time() + 0.2  # CPU time, so that a busy machine changes nothing
    core, block = {min(os.sched_getaffinity(0))}, bytes(1 << 20)
    finished, leave = threading.Semaphore(0), threading.Event()

    def work() -> None:
        os.sched_setaffinity(0, core)
        while time.process_time() < end:
            hashlib.sha256(block).digest()  # without the GIL
        finished.release()
        leave.wait()  # what a thread waited is known as long as it lives

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        finished.acquire()
    waited = read() - before
    leave.set()
    for thread in threads:
        thread.join()
    assert waited > 0.05


def test_a_system_that_does_not_count_has_no_gauge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauge, "TASKS", tmp_path / "nowhere")
    assert gauge.waiting_gauge() is None
    gauge.waiting_gauge.cache_clear()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text("0 0 0")  # a kernel without the counters
    monkeypatch.setattr(gauge, "TASKS", tmp_path)
    assert gauge.waiting_gauge() is None


def test_what_the_gauge_says_decides_which_trials_are_dropped() -> None:
    waited = 0.0
    calls = 0

    def run() -> None:
        nonlocal waited, calls
        calls += 1
        time.sleep(1e-3)
        waited += 1e-2 if calls % 3 == 0 else 0.0

    trials = interleave({"a": run}, Alone(2), limit=0.5, seed=0, busy={"a": 2}, gauge=lambda: waited)["a"]
    assert trials.disturbed == trials.dropped
    assert 0 < trials.disturbed < len(trials.samples)
