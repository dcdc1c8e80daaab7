"""Set-up: done once, taken up again after an interrupt, renewed when its inputs change, mended when it is broken."""

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from parlab import bootstrap


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with nothing set up, in which venv and pip only leave traces."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", ".venv", "openmpi"])
    monkeypatch.setattr(shutil, "which", lambda name: None)

    def create(folder: Path, clear: bool, with_pip: bool) -> None:
        assert clear
        assert with_pip
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "bin" / "python").write_text("#!/bin/sh\nexit 0\n")
        (folder / "bin" / "python").chmod(0o755)
        done(tmp_path, "venv")

    def pip(folder: Path, *arguments: str, capture: bool = False) -> str:
        done(tmp_path, "plan" if capture else arguments[-1].partition("[")[2].rstrip("]"))
        return json.dumps({"install": [{"metadata": {"name": "torch"}}]})

    monkeypatch.setattr(venv, "create", create)
    monkeypatch.setattr(bootstrap, "pip", pip)
    return tmp_path


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
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as now:
        now.setattr(*((bootstrap, "pip") if when == "pip" else (venv, "create")), interrupted)
        assert bootstrap.main() == 130
    assert "takes it up again" in capsys.readouterr().out
    steps(clone)
    assert bootstrap.main() == 0
    assert steps(clone)[0] == "venv"


def test_a_failed_install_is_told_and_tried_again(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any, **options: Any) -> str:
        raise subprocess.CalledProcessError(1, "pip")

    with monkeypatch.context() as now:
        now.setattr(bootstrap, "pip", fails)
        assert bootstrap.main() == 1
    assert bootstrap.main() == 0
    assert "dev,openmpi,ddp" in steps(clone)


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
    plain = bootstrap.pip

    def with_cuda(folder: Path, *arguments: str, capture: bool = False) -> str:
        plain(folder, *arguments, capture=capture)
        return json.dumps({"install": [{"metadata": {"name": name}} for name in ("torch", "nvidia-cublas-cu13")]})

    monkeypatch.setattr(bootstrap, "pip", with_cuda)
    assert bootstrap.main() == 0
    assert steps(clone)[-1] == "dev,openmpi"
    assert "PyTorch is left out" in capsys.readouterr().out


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


def test_bootstrap_runs_on_the_standard_library_alone() -> None:
    code = f"import runpy; runpy.run_path({bootstrap.__file__!r})"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0
