"""A run of several labs in the terminal: where it stands, how it ends, how it is interrupted; and what a lab is told of its share."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parlab import catalogue, results, runner
from parlab.errors import INTERRUPTED
from parlab.launch import Command
from parlab.pace import Pace, Usual
from parlab.progress import Progress
from parlab.records import Row, Skip

SCRIPT = """
import time
from pathlib import Path
from parlab.start import lab

def main(bench):
    bench.row({"lab": bench.lab})
    if bench.lab == "second":
        while Path("wait").exists():
            time.sleep(0.02)

lab(Path(__file__).stem, main, main)
"""
TIMES = r"\d+:\d\d gone, about \d+:\d\d left"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a catalogue of three labs that take no time: they predict what they would do on 99 GPUs."""
    entries = ['[topics]\nquick = ""\n']
    for name in ("first", "second", "third"):
        (tmp_path / f"{name}.py").write_text(SCRIPT)
        told = f'id = "{name}"\ntopic = "quick"\nquestion = "{name}?"\nquestion_zh = "?"\ncolumns = "case"'
        entries.append(f'[[lab]]\n{told}\nneeds = ["gpu"]\ngpus = 99\nworkers = [1]\n')
    (tmp_path / "labs.toml").write_text("".join(entries))
    return tmp_path


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "parlab", "run", "all", "--budget", "smoke", "--out", "out", *words]
    env = os.environ | {"PARLAB_LABS": str(folder)}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def rows(folder: Path) -> list[str]:
    """Return the labs that have found something."""
    if not (folder / "out" / results.FILE).exists():
        return []
    return [r.lab for r in results.read(folder / "out").records if isinstance(r, Row)]


def test_elsewhere_than_on_a_terminal_each_lab_has_a_line_at_its_begin_and_one_at_its_end(folder: Path) -> None:
    told, _ = start(folder).communicate(timeout=60)
    lines = [line for line in told.splitlines() if re.search(TIMES, line)]
    begins = [rf"\[{i} of 3\] {name}  {TIMES}" for i, name in enumerate(("first", "second", "third"), 1)]
    ends = [rf"{name} took 0:\d\d; {TIMES}" for name in ("first", "second", "third")]
    assert len(lines) == 6
    for line, pattern in zip(lines, [words for pair in zip(begins, ends, strict=True) for words in pair], strict=True):
        assert re.fullmatch(pattern, line)
    assert "3 labs, about 0:05" in told
    assert "\r" not in told
    assert "\x1b" not in told
    assert rows(folder) == ["first", "second", "third"]


def test_an_interrupt_in_the_midst_keeps_what_was_measured_and_says_how_to_see_it(folder: Path) -> None:
    (folder / "wait").touch()
    child = start(folder)
    end = time.monotonic() + 60
    while "second" not in rows(folder):
        assert time.monotonic() < end
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    told, _ = child.communicate(timeout=30)
    assert child.returncode == INTERRUPTED
    assert "interrupted in lab 2 of 3: what was measured is kept" in told
    assert "`parlab show out` shows it, `parlab report out` makes its page" in told
    assert "records: out/results.jsonl" in told
    assert "Traceback" not in told
    assert "[3 of 3]" not in told
    assert rows(folder) == ["first", "second"]
    assert results.read(folder / "out").header


def test_labs_for_which_no_time_is_left_are_left_out_with_the_command_that_runs_them(folder: Path) -> None:
    child = start(folder, "--minutes", "0.001")
    told, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert "[1 of 3] first  left out: no time for it" in told
    skips = [r.skipped for r in results.read(folder / "out").records if isinstance(r, Skip) and "time" in r.skipped]
    assert skips == [
        f"no time was left of 0.001 minutes: `parlab run {lab}` takes its own" for lab in ("first", "second", "third")
    ]
    assert rows(folder) == []


@pytest.mark.parametrize(("share", "added"), [(1.0, []), (0.25, ["--minutes", "0.0833"])])
def test_a_lab_is_told_how_long_it_may_take_where_that_is_less_than_its_time(
    share: float, added: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def follow(lab: Any, commands: list[Command], *others: Any) -> int:
        seen.extend(command.argv for command in commands)
        return 0

    monkeypatch.setattr(runner, "follow", follow)
    progress = SimpleNamespace(begin=lambda name: share, end=lambda name: None)
    options = SimpleNamespace(budget="quick", minutes=6.0)
    lab = catalogue.labs()["mpi_halo"]
    runner._in_time(lab, [Command(["mpirun", "a"]), Command(["mpirun", "b"])], options, None, progress)  # type: ignore[arg-type]
    assert seen == [["mpirun", "a", *added], ["mpirun", "b", *added]]


def test_a_lab_that_is_too_long_is_left_out_and_a_shorter_one_after_it_runs() -> None:
    progress = Progress(Pace([Usual(100, 0), Usual(1, 1)], limit=50))
    assert progress.begin("long") is None
    assert progress.begin("short") == 1
