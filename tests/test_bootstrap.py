"""Set-up: done once, taken up again after an interrupt, renewed when its inputs change, mended when it is broken."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parlab import bootstrap

RUN = bootstrap.run
PIP = """\
Processing /home/parlab
Collecting numpy
  Downloading numpy-2.4.6-cp312-linux.whl.metadata (6.6 kB)
  Downloading torch-2.13.0-cp312-linux.whl (180.3 MB)
Installing collected packages: numpy, torch
""".splitlines(keepends=True)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with nothing set up, in which the commands of the set-up only leave traces."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", ".venv", "openmpi"])
    monkeypatch.setattr(shutil, "which", lambda name: None)

    def run(command: list[str], home: Path, progress: bootstrap.Progress) -> None:
        if "venv" in command:
            assert "--clear" in command
            (home / "bin").mkdir(parents=True, exist_ok=True)
            (home / "bin" / "python").write_text("#!/bin/sh\nexit 0\n")
            (home / "bin" / "python").chmod(0o755)
            done(tmp_path, "venv")
        elif "--dry-run" in command:
            plan(command, "torch")
            done(tmp_path, "plan")
        else:
            done(tmp_path, command[-1].partition("[")[2].rstrip("]"))

    monkeypatch.setattr(bootstrap, "run", run)
    return tmp_path


def plan(command: list[str], *names: str) -> None:
    """Write what pip reports that it would install."""
    report = Path(command[command.index("--report") + 1])
    report.write_text(json.dumps({"install": [{"metadata": {"name": name}} for name in names]}))


def done(clone: Path, what: str) -> None:
    with (clone / "done").open("a") as file:
        file.write(what + "\n")


def steps(clone: Path) -> list[str]:
    """What was done since the last look."""
    path = clone / "done"
    told = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return told


def test_a_fresh_clone_is_set_up_once(clone: Path) -> None:
    assert bootstrap.main() == 0
    assert steps(clone) == ["venv", "plan", "dev,openmpi,ddp"]
    assert bootstrap.main() == 0
    assert steps(clone) == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_it_is_renewed_in_place_when_its_inputs_change(clone: Path, name: str) -> None:
    bootstrap.main()
    steps(clone)
    (clone / name).touch()
    assert bootstrap.main() == 0
    assert steps(clone) == []  # the same content
    (clone / name).write_text("# other\n")
    assert bootstrap.main() == 0
    assert steps(clone) == ["plan", "dev,openmpi,ddp"]


@pytest.mark.parametrize("when", ["venv", "pip"])
def test_an_interrupt_is_told_and_the_next_call_starts_afresh(
    clone: Path, when: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = bootstrap.run

    def interrupted(command: list[str], home: Path, progress: bootstrap.Progress) -> None:
        if when in command:
            raise KeyboardInterrupt
        plain(command, home, progress)

    with monkeypatch.context() as now:
        now.setattr(bootstrap, "run", interrupted)
        assert bootstrap.main() == 130
    assert "takes it up again" in capsys.readouterr().out
    steps(clone)
    assert bootstrap.main() == 0
    assert steps(clone)[0] == "venv"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("WARNING: Retrying (Retry(total=4)) after ...\nERROR: No matching distribution found for torch", "a network?"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "the disk is full: "),
        ("The virtual environment was not created successfully because ensurepip is not available.", "python3-venv"),
        ("ERROR: No matching distribution found for numba==0.68.1", "has no numba==0.68.1 for this Python"),
        ("building ...\nerror: command 'gcc' failed\nsee above", "command 'gcc' failed"),
        ("", "it said nothing"),
    ],
)
def test_a_failed_step_is_told_by_its_meaning_and_tried_again(
    clone: Path, said: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = RUN

    def fails(command: list[str], home: Path, progress: bootstrap.Progress) -> None:
        plain([sys.executable, "-c", f"print({said!r}); exit(1)"], home, progress)

    with monkeypatch.context() as now:
        now.setattr(bootstrap, "run", fails)
        assert bootstrap.main() == 1
    assert told in capsys.readouterr().out
    assert bootstrap.main() == 0
    assert "dev,openmpi,ddp" in steps(clone)


@pytest.mark.parametrize("terminal", [False, True])
def test_what_pip_does_is_told_in_one_line(
    clone: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    progress = bootstrap.Progress(3)
    progress.step("creating")
    progress.step("installing")
    heard = bootstrap.Heard(clone, clone)
    (clone / "unpack").mkdir()
    (clone / "lib/python3.12/site-packages/pip-26.dist-info").mkdir(parents=True)
    seen = []
    for line in PIP:
        heard.line(line)
        (clone / "unpack" / "torch-2.13.0-cp312-linux.whl").write_bytes(bytes(1 << 20))
        seen.append(heard.now())
        progress.tell(seen[-1])
    (clone / "lib/python3.12/site-packages/numpy-2.dist-info").mkdir()
    assert [words.partition(" MB")[0] for words in seen] == [
        "found parlab, package 1",
        "found numpy, package 2",
        "found numpy, package 2",
        "fetching torch 2.13.0: 1 of 180",
        "0 of 2 packages are in place",
    ]
    assert heard.now() == "1 of 2 packages are in place"
    told = capsys.readouterr().out
    assert told.startswith("\r" if terminal else "[1 of 3]   0 s  creating\n[2 of 3]   0 s  installing\n")
    assert told.count("\n") == (0 if terminal else 2)  # elsewhere than on a terminal: now and then


@pytest.mark.parametrize("damage", ["missing", "failing", "not a program"])
def test_a_broken_environment_is_rebuilt(clone: Path, damage: str) -> None:
    bootstrap.main()
    steps(clone)
    python = clone / ".venv" / "bin" / "python"
    if damage == "missing":
        python.unlink()
    else:
        python.write_text("#!/bin/sh\nexit 1\n" if damage == "failing" else "\0")
    assert bootstrap.main() == 0
    assert steps(clone)[0] == "venv"


def test_pytorch_is_left_out_where_it_would_bring_cuda(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = bootstrap.run

    def with_cuda(command: list[str], home: Path, progress: bootstrap.Progress) -> None:
        plain(command, home, progress)
        if "--dry-run" in command:
            plan(command, "torch", "nvidia-cublas-cu13")

    monkeypatch.setattr(bootstrap, "run", with_cuda)
    assert bootstrap.main() == 0
    assert steps(clone)[-1] == "dev,openmpi"
    assert "PyTorch is left out" in capsys.readouterr().out


def test_pytorch_is_left_out_where_there_is_none_for_this_python(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = bootstrap.run

    def without(command: list[str], home: Path, progress: bootstrap.Progress) -> None:
        if "--dry-run" in command:
            raise bootstrap.Failed(bootstrap.meaning("ERROR: No matching distribution found for torch==2.13.0", home))
        plain(command, home, progress)

    monkeypatch.setattr(bootstrap, "run", without)
    assert bootstrap.main() == 0
    assert steps(clone)[-1] == "dev,openmpi"
    assert "PyTorch is left out: the package index has no torch==2.13.0" in capsys.readouterr().out


def test_with_a_gpu_pytorch_and_cupy_come_along(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    bootstrap.main()
    assert steps(clone)[-1] == "dev,openmpi,cuda,ddp"


def test_another_mpi_is_another_environment_and_an_unknown_one_is_refused(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", ".venv-mpich", "mpich"])
    assert bootstrap.main() == 0
    assert "dev,mpich,ddp" in steps(clone)
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", ".venv", "lam"])
    assert bootstrap.main() == 2
    assert "MPI=openmpi" in capsys.readouterr().out


def test_an_old_python_gets_as_far_as_the_words_that_it_is_too_old() -> None:
    ast.parse(Path(bootstrap.__file__).read_text(), feature_version=(3, 8))
    assert bootstrap.install.__annotations__["home"] == "Path"  # not evaluated: an old one does not know `str | None`


def test_bootstrap_runs_on_the_standard_library_alone() -> None:
    code = f"import runpy; runpy.run_path({bootstrap.__file__!r})"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0
