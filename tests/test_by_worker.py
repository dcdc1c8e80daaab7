"""Labs of processes: how `parlab run` launches them, on the CPU and, where there are GPUs, a second time on these."""

import subprocess
import sys

import pytest

from parlab import cli, gpus
from parlab.errors import BAD_REQUEST, DONE

LAB = "graph_partition"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, here: int) -> int:
    pytest.importorskip("torch")
    monkeypatch.setattr(gpus, "count", lambda: here)
    monkeypatch.setattr(sys, "argv", ["parlab", "run", LAB, *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def launched(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *asked: str, here: int) -> list[str]:
    assert run(monkeypatch, "--dry-run", *asked, here=here) == DONE
    return capsys.readouterr().out.splitlines()


def test_without_a_gpu_one_launch_forks_the_workers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = launched(monkeypatch, capsys, "--workers", "1,2,3", here=0)
    assert "--workers 1,2,3" in line
    assert "--device cpu" in line
    assert "OMP_NUM_THREADS=1" in line
    assert "PARLAB_MORE" not in line  # it concludes


def test_with_gpus_a_second_launch_has_as_many_workers_as_there_are_and_concludes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = launched(monkeypatch, capsys, "--workers", "1,2,4", here=2)
    assert "--device cpu" in first
    assert "PARLAB_MORE=1" in first
    assert "--workers 1,2 " in second
    assert "--device gpu" in second
    assert "PARLAB_MORE" not in second


def test_a_lab_that_also_speaks_mpi_has_a_launch_of_ranks_before() -> None:
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "parlab", "run", "data_parallel", "--dry-run", "--device", "cpu"]
    by_mpi, forked = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "-m mpi4py" in by_mpi
    assert "PARLAB_MORE=1" in by_mpi
    assert "PARLAB_MORE" not in forked


def test_one_device_alone_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = launched(monkeypatch, capsys, "--device", "gpu", here=2)
    assert "--workers 1,2 " in line


def test_gpus_that_are_not_here_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--device", "gpu", here=0) == BAD_REQUEST
    told = f"{LAB}: asked for on GPUs: 0 are here: leave out --workers and --device, or name others"
    assert capsys.readouterr().err.strip() == f"parlab: {told}"
