"""Every way in which a worker of a training lab can end badly: bounded in time, told in one line with rank and place, and nothing lost."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

from parlab import catalogue, cli, results
from parlab.errors import BAD_REQUEST, FAILED, TIMED_OUT
from parlab.records import Fault, measured

# A lab in which worker 1 of 2 leaves in a way of our choice while worker 0 waits for it.
SCRIPT = """
import os, signal, sys
import torch, torch.distributed as dist
from parlab import witness
from parlab.bench import Case
from parlab.start import lab

def leave(team, way):
    witness.reached("step 3")
    if way == "raise": raise ValueError("boom")
    if way == "exit 0": sys.exit(0)
    if way == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if way == "memory": torch.empty(2**50)
    if way == "hang": dist.recv(torch.empty(1), group=team.group, group_src=0)

def main(bench):
    for team in bench.groups():
        check = lambda: "1 is not 2" if os.environ["PARLAB_TEST_WAY"] == "wrong" and team.rank else None
        bench.contrast(team, {}, "case", {"barrier": Case(team.barrier)})
        bench.contrast(team, {}, "case", {"liar": Case(team.barrier, check)})
        if team.rank == 1:
            leave(team, os.environ["PARLAB_TEST_WAY"])
        team.barrier()

if __name__ == "__main__":
    lab("faulty", main)
"""

TOML = """
[topics]
ddp = "x"
[[lab]]
id = "faulty"
topic = "ddp"
question = "?"
question_zh = "?"
needs = ["processes"]
columns = "case"
"""

# What the fault says: who, why, and where in the program that was.
WAYS = {
    "raise": "rank 1: ValueError: boom (faulty.py:10, step 3)",
    "exit 0": "rank 1: left by sys.exit(0) while the others still worked (faulty.py:11, step 3)",
    "kill": "rank 1 ended without a word (killed, or left by os._exit); rank 0 stood in ",
    "memory": "you tried to allocate 4503599627370496 bytes. Error code 12 (Cannot allocate memory) (faulty.py:13, step 3)",
    "wrong": "liar is wrong on 1 workers; worker 1: 1 is not 2",
}


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A catalogue that holds the faulty lab alone; gives the folder for the records."""
    (tmp_path / "labs.toml").write_text(TOML)
    (tmp_path / "faulty.py").write_text(textwrap.dedent(SCRIPT))
    monkeypatch.setattr(catalogue, "HERE", tmp_path)
    monkeypatch.setenv("PARLAB_LABS", str(tmp_path))
    catalogue.labs.cache_clear()
    catalogue.topics.cache_clear()
    yield tmp_path / "out"
    catalogue.labs.cache_clear()
    catalogue.topics.cache_clear()


def run(monkeypatch: pytest.MonkeyPatch, out: Path, way: str, limit: float) -> int:
    arguments = ["--workers", "2", "--budget", "smoke", "--limit", str(limit), "--out", str(out)]
    monkeypatch.setenv("PARLAB_TEST_WAY", way)
    monkeypatch.setattr(sys, "argv", ["parlab", "run", "faulty", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_leaves_ends_the_run_with_its_rank_the_reason_and_the_place(
    way: str, faulty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, faulty, way, limit=40) == FAILED
    found = results.read(faulty)
    (fault,) = [r for r in found.records if isinstance(r, Fault)]
    assert WAYS[way] in fault.fault
    assert "limit" not in fault.fault  # none of them had to be waited for
    assert len(measured(found.records)) == (1 if way == "wrong" else 2)  # what was measured before is kept
    shown = capsys.readouterr()
    assert "FAILED" in shown.out
    assert "Traceback" not in shown.out + shown.err


def test_a_hung_worker_is_ended_at_the_limit_and_all_say_where_they_stood(
    faulty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, faulty, "hang", limit=9) == TIMED_OUT
    (fault,) = [r for r in results.read(faulty).records if isinstance(r, Fault)]
    assert "rank 0 stood in main (faulty.py:23), rank 1 stood in leave (faulty.py:14)" in fault.fault


def test_more_workers_than_torchrun_started_are_refused_in_one_line(faulty: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--monitor-interval", "0.1"]
    script = str(faulty.parent / "faulty.py")
    command = [sys.executable, *torchrun, script, "--budget", "smoke", "--workers", "1,4", "--out", str(faulty)]
    env = {**os.environ, "PARLAB_TEST_WAY": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode
    told = [line for line in done.stderr.splitlines() if line.startswith("faulty: ")]
    assert told == [
        "faulty: faulty on 4 workers needs torchrun --nproc-per-node 4, this is torchrun --nproc-per-node 2"
    ]
    assert f"exitcode  : {BAD_REQUEST}" in done.stderr  # torchrun's own is 1, whatever its workers'
    assert not faulty.exists()
