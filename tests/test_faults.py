"""Every way in which a run can end badly: bounded in time, explained in one line with the rank that is to blame, and nothing lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from parlab import results
from parlab.errors import BAD_REQUEST, DONE, FAILED, INTERRUPTED, TIMED_OUT
from parlab.records import Fault, Skip, measured

ROOT = Path(__file__).resolve().parents[1]

NEEDS = "ranks"

WAYS = {
    "raise": "rank 1: ValueError: boom (faulty.py:",
    "exit 0": "rank 1: left by sys.exit(0)",
    "exit 3": "rank 1: left by sys.exit(3)",
    "_exit 0": "rank 1",
    "_exit 5": "rank 1",
    "SIGKILL": "rank 1",
    "SIGSEGV": "rank 1: Segmentation fault",
    "abort": "rank 1",
    "wrong": "liar is wrong on 1 workers; worker 1: 1 is not 2",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_rank_that_leaves_ends_the_run_with_its_name_and_reason(
    way: str, faulty: Callable[[str, float], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert faulty(way, 20) == FAILED
    run = results.read(tmp_path / "out")
    (fault,) = [r for r in run.records if isinstance(r, Fault)]
    assert WAYS[way] in fault.fault
    assert "limit" not in fault.fault  # none of them had to be waited for
    assert len(measured(run.records)) == 1  # what was measured before is kept
    shown = capsys.readouterr()
    assert "FAILED" in shown.out
    assert "Traceback" not in shown.out + shown.err


def test_a_hung_run_is_ended_at_its_limit_and_every_rank_says_where_it_stood(
    faulty: Callable[[str, float], int], tmp_path: Path
) -> None:
    start = time.monotonic()
    assert faulty("hang", 6) == TIMED_OUT
    # the limit, the promised 5 s, and the noise probes and imports around it
    assert time.monotonic() - start < 6 + 5 + 5
    (fault,) = [r for r in results.read(tmp_path / "out").records if isinstance(r, Fault)]
    assert "rank 0 stood in main (faulty.py:" in fault.fault
    assert "rank 1 stood in leave_mpi (faulty.py:" in fault.fault


def test_ctrl_c_keeps_the_records_and_leaves_no_rank_behind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "parlab",
        "run",
        "mpi_collectives",
        "--workers",
        "2",
        "--budget",
        "full",
        "--out",
        str(out),
    ]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (out / results.FILE).exists() and len((out / results.FILE).read_text().splitlines()) > 2)
    family = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(signal.SIGINT)
    told, complaints = child.communicate(timeout=30)
    assert child.returncode == INTERRUPTED
    assert "what was measured is kept" in told
    assert "Traceback" not in told + complaints
    assert measured(results.read(out).records)
    assert psutil.wait_procs(family, timeout=10)[1] == []


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "mpi_nothing"], "there is no lab or topic 'mpi_nothing': ask for all, mpi"),
        (["run", "mpi", "--workers", "0"], "0 workers cannot work"),
        (["run", "mpi", "--workers", "x"], "'x' is not a list of numbers such as 1,2,4"),
        (["run", "mpi_point_to_point", "--workers", "3"], "it runs on 2 workers, not on 3"),
        (["run", "mpi", "--seed", "-1"], "not a whole number"),
        (["run", "mpi", "--limit", "0"], "leaves no time"),
        (["run", "false_sharing", "--workers", "1,4096"], "4096 threads asked, but this process may use"),
        (["run", "mpi", "--budget", "huge"], "invalid choice: 'huge'"),
        (["run", "mpi", "--hosts", "/nowhere"], "cannot read the hostfile /nowhere"),
        (["run", "mpi", "--out", "/proc/none"], "cannot write to /proc/none"),
        (["show", "/nowhere"], "cannot read"),
        (["report", "/nowhere"], "cannot read"),
        ([], "required"),
    ],
)
def test_a_bad_request_gets_one_line_and_status_2(
    arguments: list[str], words: str, parlab: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert parlab(*arguments) == BAD_REQUEST
    told = capsys.readouterr().err
    assert words in told
    assert len(told.strip().splitlines()) == 1


def test_a_file_cut_in_half_is_shown_with_a_note_and_a_newer_one_refused(
    tmp_path: Path, parlab: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    writer = results.Writer(tmp_path)
    writer.begin({"machine": {}, "noise_before": {"0": 0.0}})
    writer.write(Skip("mpi_farm", "no mpirun"))
    writer.write(Skip("mpi_halo", "no mpirun"))
    whole = writer.path.read_bytes()
    writer.path.write_bytes(whole[:-12])
    assert parlab("show", str(tmp_path)) == DONE
    assert "the last line is cut" in capsys.readouterr().err
    writer.path.write_bytes(whole.replace(b'"v": 1', b'"v": 9'))
    assert parlab("show", str(tmp_path)) == BAD_REQUEST
    assert "update parlab" in capsys.readouterr().err


def test_without_an_mpirun_the_labs_are_skipped_with_the_reason(
    tmp_path: Path,
    parlab: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from parlab import launch
    from parlab.errors import BadRequest

    def nothing() -> None:
        raise BadRequest("no mpirun on PATH or beside Python")

    monkeypatch.setattr(launch, "find_mpi", nothing)
    assert parlab("run", "mpi_farm", "--out", str(tmp_path / "out")) == DONE
    assert "skipped: no mpirun" in capsys.readouterr().out
    assert [r for r in results.read(tmp_path / "out").records if isinstance(r, Skip)]


def test_two_mpi_libraries_mixed_are_told_in_one_line() -> None:
    """The other library's mpirun leaves its variables, and each process finds itself alone."""
    from parlab.launch import find_mpi

    prefix = "PMI" if find_mpi().name == "Open MPI" else "OMPI_COMM_WORLD"
    env = {**os.environ, **find_mpi().env, f"{prefix}_SIZE": "2", f"{prefix}_RANK": "0", "OMPI_MCA_btl": "self"}
    command = [sys.executable, "-m", "mpi4py", str(ROOT / "labs" / "mpi_farm.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == BAD_REQUEST
    assert "two MPI libraries are mixed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_ends_the_run_with_one_line_and_keeps_the_records(tmp_path: Path) -> None:
    """A small tmpfs where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        command = [
            sys.executable,
            "-m",
            "parlab",
            "run",
            "mpi_halo",
            "--workers",
            "2",
            "--budget",
            "smoke",
            "--limit",
            "60",
            "--out",
            str(disk / "out"),
        ]
        (disk / "filler").write_bytes(bytes(64 << 10))
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == FAILED
        assert "No space left on device" in " ".join((done.stdout + done.stderr).split())
        assert "Traceback" not in done.stdout + done.stderr
        assert results.read(disk / "out").header["budget"] == "smoke"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.usefixtures("faulty")
def test_a_topic_without_labs_says_so_and_does_not_fail(
    parlab: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert parlab("run", "empty") == DONE
    assert "no lab here yet" in capsys.readouterr().out
