"""Labs of GPUs on machines with and without one: what is missing is said, predictions and recorded runs are labelled, faults end a run."""

import ctypes
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parlab import gpus, launch, results
from parlab.catalogue import RECORDED, labs
from parlab.errors import BAD_REQUEST, DONE, FAILED
from parlab.records import Fault, Measurement, Row, Run, Skip

ROOT = Path(__file__).resolve().parents[1]
TOML = """
[topics]
cuda = "scratch"

[[lab]]
id = "scratch"
topic = "cuda"
question = "?"
question_zh = "?"
needs = ["gpu"]
gpus = 1
workers = [1]
columns = "way"
"""
LAB = """
'''A scratch lab.'''
from parlab.bench import Bench
from parlab.start import lab

def main(bench):
{main}

def predict(bench):
    bench.row({{"predicted for": "a named device", "time": "1 s"}})

if __name__ == "__main__":
    lab("scratch", main, predict)
"""
FAULTY = """
    import cupy
    from parlab.cuda import device
    for team in bench.gpus(device):
        bench.row({"before": "the fault"})
        kernel = cupy.RawKernel('extern "C" __global__ void bad(int* p) { *p = 1; }', "bad")
        kernel((1,), (1,), (cupy.uint64(8),))
        cupy.cuda.runtime.deviceSynchronize()
"""


class Driver:
    """A driver as ctypes sees it: what cuInit answers, how many devices, which CUDA it knows."""

    def __init__(self, init: int = 0, devices: int = 1, version: int = 13000) -> None:
        self.init, self.devices, self.version = init, devices, version

    def cuInit(self, flags: int) -> int:
        assert flags == 0
        return self.init

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.devices
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self.version
        return 0


def missing_with(
    monkeypatch: pytest.MonkeyPatch, driver: Driver | None, count: int = 1, cupy: str = "cupy-cuda13x"
) -> str | None:
    monkeypatch.setattr(gpus, "_driver", lambda: driver)
    monkeypatch.setattr(gpus, "find_spec", lambda name: object() if cupy else None)
    distribution = type("Distribution", (), {"metadata": {"Name": cupy}})()
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [distribution])
    gpus.driver_missing.cache_clear()
    try:
        return gpus.missing(count)
    finally:
        gpus.driver_missing.cache_clear()


@pytest.mark.parametrize(
    ("driver", "count", "cupy", "told"),
    [
        (None, 1, "", "no CUDA device (there is no NVIDIA driver)"),
        (Driver(init=100), 1, "cupy-cuda13x", "the NVIDIA driver sees no GPU"),
        (Driver(devices=0), 1, "cupy-cuda13x", "the NVIDIA driver sees no GPU"),
        (Driver(init=999), 1, "cupy-cuda13x", "cuInit gives error 999"),
        (Driver(), 1, "", "CuPy is not installed: pip install -e '.[cuda]'"),
        (
            Driver(version=12040),
            1,
            "cupy-cuda13x",
            "the driver knows CUDA 12.4, CuPy was built for CUDA 13: update the driver",
        ),
        (Driver(), 2, "cupy-cuda13x", "2 CUDA devices needed, 1 here"),
    ],
)
def test_what_is_missing_is_said(
    driver: Driver | None, count: int, cupy: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told in str(missing_with(monkeypatch, driver, count, cupy))


def test_nothing_is_missing_where_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_with(monkeypatch, Driver(devices=2), 2) is None
    assert (
        missing_with(monkeypatch, Driver(version=13020), 1, "cupy-cuda12x") is None
    )  # a newer driver runs older programs


def run(folder: Path, main: str, *arguments: str, hidden: bool) -> tuple[subprocess.CompletedProcess[str], Run]:
    """Run the scratch lab, with the machine's GPUs hidden or not."""
    (folder / "labs.toml").write_text(TOML)
    (folder / "scratch.py").write_text(LAB.format(main=main or "    raise AssertionError('there is no GPU')"))
    env = {**os.environ, "PARLAB_LABS": str(folder)} | ({"CUDA_VISIBLE_DEVICES": ""} if hidden else {})
    command = [sys.executable, "-m", "parlab", "run", "scratch", "--out", "out", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    return done, results.read(folder / "out")


def test_without_a_gpu_a_lab_predicts_and_the_run_is_done(tmp_path: Path) -> None:
    done, kept = run(tmp_path, "", hidden=True)
    assert done.returncode == DONE, done.stdout + done.stderr
    (skip,) = (r for r in kept.records if isinstance(r, Skip))
    assert skip.skipped.startswith("no CUDA device")
    (row,) = (r for r in kept.records if isinstance(r, Row))
    assert row.row["predicted for"] == "a named device"
    assert not [r for r in kept.records if isinstance(r, Measurement | Fault)]
    assert "skipped: no CUDA device" in done.stdout


def test_a_missing_gpu_is_listed(tmp_path: Path) -> None:
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-m", "parlab", "list", "--json"], env=env, capture_output=True, text=True)
    told = {entry["id"]: entry["missing"] for entry in json.loads(done.stdout) if entry["topic"] == "cuda"}
    assert len(told) == 7
    assert all(reason.startswith("no CUDA device") for reason in told.values())


@pytest.mark.parametrize("lab", [lab for lab in labs().values() if lab.gpus], ids=lambda lab: str(lab.id))
def test_without_a_gpu_every_lab_shows_its_prediction_and_a_recorded_run_labelled_as_such(
    lab: Any, tmp_path: Path
) -> None:
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}
    command = [sys.executable, "-m", "parlab", "run", lab.id, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == DONE, done.stdout + done.stderr
    kept = results.read(tmp_path / "out").of(lab.id)
    rows = [r.row for r in kept if isinstance(r, Row)]
    assert rows
    assert all(row.get("predicted for") for row in rows)
    assert not [r for r in kept if isinstance(r, Measurement)]
    here, _, recorded = done.stdout.partition("recorded on ")
    assert "skipped: no CUDA device" in here
    assert "not measured here" in recorded
    assert lab.question in recorded
    assert [r for r in results.read(RECORDED / lab.recorded).of(lab.id) if isinstance(r, Measurement)]


def test_of_a_lab_that_was_not_asked_for_by_name_the_recorded_conclusions_are_enough() -> None:
    from parlab import table

    lab = labs()["copy_limits"]
    with table.console.capture() as brief:
        table.show_recorded(lab, whole=False)
    with table.console.capture() as whole:
        table.show_recorded(lab, whole=True)
    assert "not measured here" in brief.get()
    assert brief.get().count("holds: ") == whole.get().count("holds: ") > 5
    assert len(brief.get().splitlines()) < 0.5 * len(whole.get().splitlines())


def test_the_command_line_of_a_gpu() -> None:
    command = launch.process(["lab.py", "--seed", "1"])
    assert command.argv == [sys.executable, "lab.py", "--seed", "1"]
    assert command.env == {"CUDA_DEVICE_MAX_CONNECTIONS": "32", "CUDA_MODULE_LOADING": "EAGER"}


def test_neighbours_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who else uses a GPU is noise: it stands in the machine's facts and in the heading."""
    from parlab import machine, table

    fake = tmp_path / "nvidia-smi"
    fake.write_text(
        "#!/bin/sh\ncase $1 in --query-compute*) echo '4711, python3, 512 MiB';; *) echo 'GPU X, 1 MiB, 1.0';; esac\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert gpus.neighbours() == ["4711, python3, 512 MiB"]
    known = machine.facts()
    assert known["gpus_used_by"] == ["4711, python3, 512 MiB"]
    with table.console.capture() as told:
        table.heading({"machine": known, "noise_before": {}})
    assert "another process uses a GPU: 4711, python3, 512 MiB - NOISY" in told.get()


def test_a_gpu_lab_is_refused_where_the_device_cannot_be_used(tmp_path: Path) -> None:
    main = """
    class Broken:
        def refused(self, count):
            return "the GPU cannot be used: it is broken"
    for team in bench.gpus(Broken()):
        raise AssertionError("it must not come here")
"""
    script = f"from parlab import gpus, catalogue; gpus.missing = lambda count: None; exec({LAB.format(main=main)!r})"
    (tmp_path / "labs.toml").write_text(TOML)
    out = tmp_path / "out"
    results.Writer(out).begin({"machine": {}})
    env = {**os.environ, "PARLAB_LABS": str(tmp_path), "PARLAB_RUN": str(out)}
    command = [sys.executable, "-c", script, "--workers", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == BAD_REQUEST
    assert done.stderr.strip() == "scratch: the GPU cannot be used: it is broken"


def test_a_problem_that_does_not_fit_is_refused_with_the_number_that_would(tmp_path: Path) -> None:
    """On the stand-in, whose memory is as small as one likes."""
    env = {**os.environ, "STANDIN_MEMORY": "1000", "PARLAB_RUN": str(tmp_path)}
    command = [
        sys.executable,
        str(ROOT / "tests/standin/run.py"),
        str(ROOT / "labs/overlap_killers.py"),
        "--budget",
        "smoke",
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == BAD_REQUEST, done.stderr
    assert re.search(
        r"^overlap_killers: not enough memory: \d+ bytes of the GPU's memory are needed, \d+ would fit",
        done.stderr,
        re.M,
    )
    assert "Traceback" not in done.stderr


def test_memory_that_the_system_does_not_lock_is_told() -> None:
    script = """
import cupy
from parlab.cuda.buffers import pinned
def refuse(size, flags=0):
    raise cupy.cuda.runtime.CUDARuntimeError(2)
cupy.cuda.PinnedMemory = refuse
try:
    pinned(1000)
except MemoryError as error:
    print(error)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/standin"), str(ROOT / "labs")])}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert "does not lock 4000 bytes of the host's memory" in done.stdout, done.stderr


@pytest.mark.parametrize("gone", ["import cupy", "cupy.RawModule = broken"])
def test_a_cupy_that_cannot_compile_is_told(gone: str) -> None:
    """Without NVRTC the first kernel raises; a CuPy that works is not refused."""
    script = f"""
import cupy
def broken(**asked):
    raise RuntimeError("Failure finding libnvrtc.so")
{gone}
from parlab.cuda import device
print(device.refused(1))
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/standin"), str(ROOT / "labs")])}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    if "compiler" in done.stdout + done.stderr:
        pytest.skip("no C++ compiler")
    broken = "brings NVRTC (Failure finding libnvrtc.so)"
    assert (broken in done.stdout) == ("broken" in gone), done.stdout + done.stderr


@pytest.mark.gpu
def test_a_kernel_that_faults_ends_the_run_and_what_was_recorded_is_kept(gpu: None, tmp_path: Path) -> None:
    done, kept = run(tmp_path, FAULTY, hidden=False)
    assert done.returncode == FAILED
    assert {"before": "the fault"} in [r.row for r in kept.records if isinstance(r, Row)]
    (fault,) = (r for r in kept.records if isinstance(r, Fault))
    assert "cudaErrorIllegalAddress" in fault.fault
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.gpu
def test_the_gate_lets_go_of_a_host_that_waits(gpu: None) -> None:
    """A synchronisation behind the closed gate ends by the gate's own limit, and is told."""
    from parlab.cuda import device, streams

    with pytest.raises(RuntimeError, match="the gate had to open by itself"):
        device.behind_gate(lambda: streams.main().synchronize(), 1)
    assert device.behind_gate(lambda: None, 1) >= 0


@pytest.mark.gpu
def test_the_facts_of_a_gpu_name_its_link_and_clocks(gpu: None) -> None:
    from parlab.cuda import device

    assert device.refused(1) is None
    assert {"name", "copy engines", "clocks now", "link now"} <= set(device.facts(0))
    assert ctypes.CDLL("libcuda.so.1")
