"""Command lines: what is started, with which environment, in each of the three places; and what is refused."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parlab import launch
from parlab.errors import BadRequest
from parlab.launch import Command, Mpi, find_mpi, ranks

OPEN_MPI = Mpi("Open MPI", (5, 0, 11), "/opt/mpi/bin/mpirun", {})
OLD_OPEN_MPI = Mpi("Open MPI", (4, 1, 6), "/usr/bin/mpirun", {"MPI4PY_LIBMPI": "/usr/lib/libmpi.so.40"})
MPICH = Mpi("MPICH", (5, 0, 2), "/opt/mpich/bin/mpirun", {})
PYTHON = [sys.executable, "-m", "mpi4py", "lab.py"]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "cores", lambda: 2)


def here(count: int, mpi: Mpi) -> Command:
    return ranks(count, ["lab.py"], environ={}, mpi=mpi)


def test_here_ranks_that_fit_the_cores_are_bound_and_spin() -> None:
    command = here(2, OPEN_MPI)
    assert command.argv == ["/opt/mpi/bin/mpirun", "--bind-to", "core", "-n", "2", *PYTHON]
    assert command.env["OMPI_MCA_btl"] == "self,sm"
    assert "OMPI_MCA_mpi_yield_when_idle" not in command.env


def test_here_more_ranks_than_cores_share_them_and_yield() -> None:
    command = here(3, OPEN_MPI)
    assert command.argv == ["/opt/mpi/bin/mpirun", "--oversubscribe", "--bind-to", "none", "-n", "3", *PYTHON]
    assert command.env["OMPI_MCA_mpi_yield_when_idle"] == "1"


def test_an_older_open_mpi_names_shared_memory_otherwise_and_its_library_goes_along() -> None:
    command = here(2, OLD_OPEN_MPI)
    assert command.env["OMPI_MCA_btl"] == "self,vader"
    assert command.env["MPI4PY_LIBMPI"] == "/usr/lib/libmpi.so.40"


def test_mpich_is_started_without_open_mpis_settings() -> None:
    assert here(2, MPICH).argv == ["/opt/mpich/bin/mpirun", "-bind-to", "core", "-n", "2", *PYTHON]
    assert here(3, MPICH).argv == ["/opt/mpich/bin/mpirun", "-n", "3", *PYTHON]
    assert not [name for name in here(3, MPICH).env if name.startswith("OMPI")]


@pytest.mark.parametrize(("user", "allowed"), [(0, True), (1000, False)])
def test_root_is_allowed_only_when_it_is_root(monkeypatch: pytest.MonkeyPatch, user: int, allowed: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    names = {f"{prefix}_ALLOW_RUN_AS_ROOT{end}" for prefix in ("OMPI", "PRTE") for end in ("", "_CONFIRM")}
    assert (names <= set(here(2, OPEN_MPI).env)) is allowed
    assert (not names & set(here(2, OPEN_MPI).env)) is not allowed


def slurm(monkeypatch: pytest.MonkeyPatch, count: int, mpi: Mpi) -> Command:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return ranks(
        count, ["lab.py"], environ={"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4", "SLURM_JOB_NUM_NODES": "2"}, mpi=mpi
    )


def test_inside_a_slurm_allocation_srun_starts_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    command = slurm(monkeypatch, 8, OPEN_MPI)
    assert command.argv == ["srun", "--mpi=pmix", "--kill-on-bad-exit=1", "-n", "8", *PYTHON]
    assert "OMPI_MCA_btl" not in command.env  # the network is needed there
    assert slurm(monkeypatch, 9, OPEN_MPI).argv[3] == "--overcommit"
    assert slurm(monkeypatch, 8, MPICH).argv[1] == "--mpi=pmi2"


def test_a_hostfile_names_the_hosts_and_carries_the_environment(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("n0 slots=2\nn1 slots=2  # the second\n\n")
    command = ranks(4, ["lab.py"], hosts=hosts, environ={}, mpi=OLD_OPEN_MPI)
    assert command.argv[:5] == ["/usr/bin/mpirun", "--hostfile", str(hosts), "--bind-to", "core"]
    assert [command.argv[i + 1] for i, part in enumerate(command.argv) if part == "-x"][:2] == [
        "OMP_NUM_THREADS",
        "MPI4PY_LIBMPI",
    ]
    assert "OMPI_MCA_btl" not in command.env
    assert ranks(4, ["lab.py"], hosts=hosts, environ={}, mpi=MPICH).argv[1:3] == ["-f", str(hosts)]


@pytest.mark.parametrize(
    ("text", "words"),
    [("n0 slots=1\nn1 slots=2\n", "holds 3 slots"), ("# nobody\n", "names no host"), (None, "cannot read")],
)
def test_a_hostfile_that_cannot_serve_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    hosts = tmp_path / "hosts"
    if text is not None:
        hosts.write_text(text)
    with pytest.raises(BadRequest, match=words):
        ranks(4, ["lab.py"], hosts=hosts, environ={}, mpi=OPEN_MPI)


def fake_mpirun(folder: Path, says: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mpirun").write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    (folder / "mpirun").chmod(0o755)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine on which nothing is installed: only what a test puts into the folder that is returned, and /bin."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MPI4PY_LIBMPI", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, path=None: found(name, path=path or str(tmp_path / "bin")))
    find_mpi.cache_clear()
    yield tmp_path
    find_mpi.cache_clear()


def test_the_mpirun_beside_python_is_found_without_a_path(alone: Path) -> None:
    fake_mpirun(alone / "venv" / "bin", "mpirun (Open MPI) 5.0.11")
    assert find_mpi() == Mpi("Open MPI", (5, 0, 11), str(alone / "venv" / "bin" / "mpirun"), {})


def test_a_system_mpi_first_on_path_comes_with_its_library(alone: Path) -> None:
    fake_mpirun(alone / "venv" / "bin", "mpirun (Open MPI) 5.0.11")
    fake_mpirun(alone / "bin", "mpirun (Open MPI) 4.1.4")
    (alone / "lib").mkdir()
    (alone / "lib" / "libmpi.so.40").touch()
    assert find_mpi().version == (4, 1, 4)
    assert find_mpi().env == {"MPI4PY_LIBMPI": str(alone / "lib" / "libmpi.so.40")}


def test_debians_name_of_the_mpich_library_gets_the_name_that_mpi4py_asks_for(alone: Path) -> None:
    fake_mpirun(alone / "bin", "HYDRA build details:\n    Version:                                 4.0.2\n")
    (alone / "lib").mkdir()
    (alone / "lib" / "libmpich.so.12").touch()
    assert find_mpi().name == "MPICH"
    alias = Path(find_mpi().env["MPI4PY_LIBMPI"])
    assert alias.name == "libmpi.so.12"
    assert alias.resolve() == alone / "lib" / "libmpich.so.12"
    assert find_mpi().env["LD_LIBRARY_PATH"].startswith(str(alias.parent))


def test_no_mpirun_and_an_unknown_one_are_refused(alone: Path) -> None:
    with pytest.raises(BadRequest, match="no mpirun on PATH or beside Python"):
        find_mpi()
    fake_mpirun(alone / "bin", "mpirun (Another MPI) 1.0")
    with pytest.raises(BadRequest, match="neither Open MPI nor MPICH"):
        find_mpi()


def test_the_line_can_be_typed_into_a_shell() -> None:
    line = Command(["mpirun", "-n", "2", "a b.py"], {"NAME": "x y"}).line()
    assert line == "NAME='x y' mpirun -n 2 'a b.py'"


def test_the_mpi_of_this_environment_is_found() -> None:
    assert find_mpi().name in ("Open MPI", "MPICH")
