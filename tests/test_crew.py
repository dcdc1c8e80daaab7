"""Labs of threads, from the command line to the record: launched once for each layer, refused or ended with one clear line."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from parlab import launch, results
from parlab.errors import BAD_REQUEST, DONE, FAILED, TIMED_OUT
from parlab.machine import cores
from parlab.records import PROOF, Conclusion, Fault, Lanes, Row, Skip, compared, measured

TOML = """
[topics]
openmp_like = "x"
[[lab]]
id = "scratch"
topic = "openmp_like"
question = "?"
question_zh = "?"
needs = ["threads"]
columns = "way"
layers = {layers}
"""

SCRIPT = """
import os, signal, time
import numba, numpy as np
from parlab.bench import Case
from parlab.start import lab
from parlab.openmp_like import threads

def main(bench):
    way = os.environ.get("PARLAB_TEST_WAY")
    if way == "raise": raise ValueError("boom")
    if way == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if way == "hang": time.sleep(100)
    for team in bench.threads(threads):
        assert numba.get_num_threads() == team.size
        cases = {"one": Case(lambda: sum(range(1000)), busy=1), "two": Case(lambda: sum(range(1000)))}
        if way == "wrong": cases["liar"] = Case(lambda: None, lambda: "1 is not 2")
        bench.contrast(team, {"layer": bench.layer}, "way", cases, against="one")
        bench.lanes(team, {"layer": bench.layer}, [("thread 0", [(0, 1.5, "a")])])
    bench.conclude(lambda records: [(f"{len(records)} records", True)])

if __name__ == "__main__":
    lab("scratch", main)
"""


def run(folder: Path, *arguments: str, layers: bool = False, **env: str) -> subprocess.CompletedProcess[str]:
    (folder / "labs.toml").write_text(TOML.format(layers=str(layers).lower()))
    (folder / "scratch.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-m", "parlab", "run", "scratch", "--budget", "smoke", "--out", "out", *arguments]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")} | {"PARLAB_LABS": str(folder)}
    return subprocess.run(command, cwd=folder, env=environ | env, capture_output=True, text=True, timeout=120)


def test_a_lab_of_threads_proves_its_cores_and_keeps_its_records(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == DONE, done.stdout + done.stderr
    records = results.read(tmp_path / "out").of("scratch")
    teams = {m.workers for m in measured(records)}
    assert max(teams) == cores()
    for p in teams - {1}:
        assert len([c for c in compared(records, p, work="together") if PROOF in c.faster]) == 2  # before and after
    assert {m.kind for m in measured(records)} == {"threads"}
    assert all(m.how["layer"] == "omp" for m in measured(records)) or not omp_here()
    assert next(r for r in records if isinstance(r, Row)).row["cores allowed"] == str(cores())
    (first, *_) = (r for r in records if isinstance(r, Lanes))
    assert first.lanes == [("thread 0", [(0, 1.5, "a")])]
    assert (tmp_path / "out" / "scratch-timeline.svg").exists() is False  # smoke draws nothing
    assert f"{len(records) - 1} records" in done.stdout


def omp_here() -> bool:
    import ctypes

    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return False
    return True


def test_a_lab_may_run_on_every_layer_and_concludes_once(tmp_path: Path) -> None:
    done = run(tmp_path, "--workers", "1", layers=True)
    assert done.returncode == DONE, done.stdout + done.stderr
    records = results.read(tmp_path / "out").of("scratch")
    skipped = {r.skipped.split("'")[1] for r in records if isinstance(r, Skip)}
    assert {str(m.case["layer"]) for m in measured(records, way="one")} == {"tbb", "omp", "workqueue"} - skipped
    assert len([r for r in records if isinstance(r, Conclusion)]) == 1


@pytest.mark.parametrize(
    ("way", "status", "words"),
    [
        ("raise", FAILED, "ValueError: boom (scratch.py:"),
        ("wrong", FAILED, "scratch: liar is wrong on 1 workers; worker 0: 1 is not 2"),
        ("kill", FAILED, "it ended without a word (killed"),
        ("hang", TIMED_OUT, "it stood in main (scratch.py:"),
    ],
)
def test_a_lab_of_threads_that_fails_says_why(way: str, status: int, words: str, tmp_path: Path) -> None:
    done = run(tmp_path, "--workers", "1", "--limit", "8", PARLAB_TEST_WAY=way)
    assert done.returncode == status, done.stdout + done.stderr
    (fault,) = [r for r in results.read(tmp_path / "out").records if isinstance(r, Fault)]
    assert words in fault.fault
    assert "Traceback" not in done.stdout + done.stderr


def test_a_layer_that_is_not_here_is_named_with_what_would_help(tmp_path: Path) -> None:
    done = run(tmp_path, "--workers", "1", NUMBA_THREADING_LAYER="tbb", LD_LIBRARY_PATH="")
    ours = run(tmp_path, "--workers", "1", "--out", "b", NUMBA_THREADING_LAYER="none")
    assert ours.returncode == BAD_REQUEST
    assert "Numba's threading layer 'none' is not here: choose tbb, omp or workqueue" in ours.stdout.replace("\n", " ")
    assert done.returncode == (DONE if (Path(sys.prefix) / "lib" / "libtbb.so.12").exists() else BAD_REQUEST)


def test_more_threads_than_cores_are_refused_by_name_and_left_out_of_all(tmp_path: Path) -> None:
    workers = f"1,{cores() + 1}"
    done = run(tmp_path, "--workers", workers)
    assert done.returncode == BAD_REQUEST
    assert done.stderr.strip().splitlines() == [
        f"parlab: scratch: {cores() + 1} threads asked, but this process may use {cores()} cores: ask for --workers "
        + ",".join(map(str, sorted({2**k for k in range(10) if 2**k <= cores()} | {cores()})))
    ]
    assert not (tmp_path / "out").exists()
    environ = {**os.environ, "PARLAB_LABS": str(tmp_path)}
    command = [sys.executable, "-m", "parlab", "run", "all", "--workers", workers, "--budget", "smoke", "--out", "out"]
    assert subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, timeout=120).returncode == DONE
    records = results.read(tmp_path / "out").records
    assert f"{cores() + 1} threads: this process may use {cores()} cores" in [
        r.skipped for r in records if isinstance(r, Skip)
    ]
    assert {m.workers for m in measured(records)} == {1}


def test_a_lab_of_threads_is_not_for_mpirun(tmp_path: Path) -> None:
    done = run(tmp_path, "--dry-run")
    assert done.returncode == DONE
    env = {**os.environ, "PARLAB_LABS": str(tmp_path), "OMPI_COMM_WORLD_SIZE": "2"}
    command = [sys.executable, str(tmp_path / "scratch.py")]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == BAD_REQUEST
    assert done.stderr.strip() == "scratch: it runs in one process: start it as `python labs/scratch.py`"


def test_the_command_line_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    plain = launch.threads(2, ["lab.py"], environ={})
    assert plain.argv == [sys.executable, "lab.py"]
    assert plain.env["NUMBA_NUM_THREADS"] == "2"
    assert plain.env["OMP_PROC_BIND"] == "false"  # else the first region narrows the main thread's mask for good
    assert "NUMBA_THREADING_LAYER" not in plain.env
    assert "LD_LIBRARY_PATH" not in plain.env
    assert (
        launch.threads(2, [], layer="tbb", environ={"NUMBA_THREADING_LAYER": "omp"}).env["NUMBA_THREADING_LAYER"]
        == "tbb"
    )
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libtbb.so.12").touch()
    found = launch.threads(2, [], environ={"LD_LIBRARY_PATH": "/opt/lib"}).env
    assert found["LD_LIBRARY_PATH"] == f"{tmp_path}/lib:/opt/lib"  # a tbb from pip is found without the user's help
    assert Path(found["NUMBA_CACHE_DIR"]).is_dir()
