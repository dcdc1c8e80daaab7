"""Build the command line that starts ranks where we are (this machine, a Slurm allocation, a hostfile), or a process with threads.

A `Command` is only an argument list and the environment it needs; `line()` is what the reader can type. parlab.process runs it.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from parlab.errors import BadRequest
from parlab.machine import cores


@dataclass(frozen=True)
class Command:
    """An argument list, and the variables to set for it."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """Return the command as one line for a shell."""
        return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in self.env.items()), shlex.join(self.argv)])


@dataclass(frozen=True)
class Mpi:
    """An MPI as found: its launcher, and the variables by which Python's mpi4py loads the library that belongs to it."""

    name: str  # "Open MPI" or "MPICH"
    version: tuple[int, ...]
    mpirun: str
    env: dict[str, str]

    def __str__(self) -> str:
        """Return name and version."""
        return f"{self.name} {'.'.join(map(str, self.version))}"


@cache
def find_mpi() -> Mpi:
    """Find the mpirun that is first on PATH, else the one beside this Python. Raises BadRequest where there is none."""
    beside = str(Path(sys.executable).parent)
    mpirun = shutil.which("mpirun") or shutil.which("mpirun", path=beside)
    if mpirun is None:
        raise BadRequest(
            "no mpirun on PATH or beside Python: `make labs` installs one from PyPI, or install Open MPI or MPICH"
        )
    told = subprocess.run([mpirun, "--version"], capture_output=True, text=True, timeout=30).stdout
    if match := re.search(r"\(Open MPI\) (\d+(?:\.\d+)*)", told):
        name, names = "Open MPI", ["libmpi.so.40", "libmpi.so", "libmpi.dylib"]
    elif match := re.search(r"(?:HYDRA[\s\S]*?Version:\s+|MPICH Version:\s+)(\d+(?:\.\d+)*)", told):
        name, names = "MPICH", ["libmpi.so.12", "libmpich.so.12", "libmpi.so", "libmpi.dylib"]
    else:
        raise BadRequest(f"{mpirun} is neither Open MPI nor MPICH: put one of them first on PATH")
    version = tuple(int(part) for part in match[1].split("."))
    return Mpi(name, version, mpirun, _library(Path(mpirun), names))


def _library(mpirun: Path, names: Sequence[str]) -> dict[str, str]:
    """Point mpi4py to the library of a launcher outside this Python's environment, so that the two are not mixed."""
    if mpirun.parent == Path(sys.executable).parent or "MPI4PY_LIBMPI" in os.environ:
        return {}
    prefix = mpirun.resolve().parent.parent
    folders = [prefix / folder for folder in ("lib", "lib64", f"lib/{sysconfig.get_config_var('MULTIARCH')}")]
    found = [folder / name for folder in folders for name in names if (folder / name).exists()]
    if not found:
        return {}
    library = found[0]
    if (
        library.name == "libmpich.so.12"
    ):  # Debian's name; mpi4py asks the loader for the name that the MPICH ABI agreed on
        alias = Path.home() / ".cache" / "parlab" / "mpich" / "libmpi.so.12"
        alias.parent.mkdir(parents=True, exist_ok=True)
        alias.unlink(missing_ok=True)
        alias.symlink_to(library)
        searched = os.pathsep.join(filter(None, [str(alias.parent), os.environ.get("LD_LIBRARY_PATH")]))
        return {"MPI4PY_LIBMPI": str(alias), "LD_LIBRARY_PATH": searched}
    return {"MPI4PY_LIBMPI": str(library)}


def ranks(
    count: int,
    program: Sequence[str],
    *,
    hosts: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    mpi: Mpi | None = None,
) -> Command:
    """Start `count` ranks of a Python program (a script with its arguments, or `-m module ...`).

    Inside a Slurm allocation srun starts them, over `hosts` or on this machine mpirun does. Always under `-m mpi4py`: a rank that
    raises then ends all, where the others would otherwise wait for it for ever.
    """
    mpi = mpi or find_mpi()
    python = [sys.executable, "-m", "mpi4py", *program]
    env = {"OMP_NUM_THREADS": "1"} | mpi.env  # one core a rank: a threaded library must not ask for more
    if mpi.name == "Open MPI" and os.geteuid() == 0:
        for prefix in ("OMPI", "PRTE"):
            env |= {f"{prefix}_ALLOW_RUN_AS_ROOT": "1", f"{prefix}_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    if hosts is not None:
        return _over_hosts(count, python, env, hosts, mpi)
    if "SLURM_JOB_ID" in environ and shutil.which("srun"):
        return _in_slurm(count, python, env, environ, mpi)
    return _here(count, python, env, mpi)


def threads(
    count: int,
    program: Sequence[str],
    *,
    layer: str | None = None,
    gpus: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Command:
    """Start one process of a Python program that may run up to `count` threads. gpus: it uses GPUs too.

    layer: Numba's threading layer; None: the one that the environment names, else the first that is here of omp, tbb, workqueue (omp
    starts its threads at once, and gcc's OpenMP shares them). The threads are not bound: the program binds them while it measures.
    """
    env = {
        "NUMBA_NUM_THREADS": str(count),
        "OMP_PROC_BIND": "false",
        "NUMBA_THREADING_LAYER_PRIORITY": "omp tbb workqueue",
    }
    if layer or "NUMBA_THREADING_LAYER" in environ:
        env["NUMBA_THREADING_LAYER"] = layer or environ["NUMBA_THREADING_LAYER"]
    libraries = Path(sys.prefix) / "lib"
    if (libraries / "libtbb.so.12").exists():  # pip puts it there, where the loader does not look
        env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(libraries), environ.get("LD_LIBRARY_PATH")]))
    if cached := _compiled():
        env["NUMBA_CACHE_DIR"] = str(cached)
    return Command([sys.executable, *program], env | (process([]).env if gpus else {}))


def process(program: Sequence[str]) -> Command:
    """Start one process of a Python program that uses GPUs.

    Each of up to 32 streams gets a queue of its own to the device, where 8 would be shared; kernels are loaded when they are compiled, not
    when first launched, which would wait for all that runs.
    """
    return Command([sys.executable, *program], {"CUDA_DEVICE_MAX_CONNECTIONS": "32", "CUDA_MODULE_LOADING": "EAGER"})


def workers(program: Sequence[str]) -> Command:
    """Start the process of a Python program that forks workers, or starts them by torchrun: one core for each."""
    return Command([sys.executable, *program], {"OMP_NUM_THREADS": "1"})


def _compiled() -> Path | None:
    """Return the folder for compiled kernels, one for each state of their sources: Numba does not see a change in another file."""
    root = Path(__file__).resolve().parents[2]
    sources = sorted(source for topic in ("mpi", "openmp_like") for source in (root / topic).glob("*.py"))
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    folder = Path.home() / ".cache" / "parlab" / f"numba-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None  # then Numba looks for a place by itself
    return folder


def _here(count: int, python: list[str], env: dict[str, str], mpi: Mpi) -> Command:
    crowded = count > cores()
    if mpi.name == "MPICH":
        return Command([mpi.mpirun, *([] if crowded else ["-bind-to", "core"]), "-n", str(count), *python], env)
    env["OMPI_MCA_btl"] = (
        "self,sm" if mpi.version >= (5,) else "self,vader"
    )  # no network to probe: 0.2 s to start, not 1.2 s
    if mpi.version < (5,):
        env["OMPI_MCA_coll_tuned_use_dynamic_rules"] = (
            "1"  # else a running program cannot choose the library's algorithm
        )
    env["OMPI_MCA_osc"] = (
        "^ucx"  # one-sided over UCX is of no use inside a host, and complains where it finds no network
    )
    if crowded:
        env["OMPI_MCA_mpi_yield_when_idle"] = "1"  # a rank that waits must leave its core to the rank it waits for
    placed = ["--oversubscribe", "--bind-to", "none"] if crowded else ["--bind-to", "core"]
    return Command([mpi.mpirun, *placed, "-n", str(count), *python], env)


def _in_slurm(count: int, python: list[str], env: dict[str, str], environ: Mapping[str, str], mpi: Mpi) -> Command:
    cpus = int(environ.get("SLURM_CPUS_ON_NODE", count)) * int(environ.get("SLURM_JOB_NUM_NODES", 1))
    crowded = count > cpus
    if crowded and mpi.name == "Open MPI":
        env["OMPI_MCA_mpi_yield_when_idle"] = "1"
    process_manager = "pmix" if mpi.name == "Open MPI" else "pmi2"
    options = [f"--mpi={process_manager}", "--kill-on-bad-exit=1", *(["--overcommit"] if crowded else [])]
    return Command(["srun", *options, "-n", str(count), *python], env)


def _over_hosts(count: int, python: list[str], env: dict[str, str], hosts: Path, mpi: Mpi) -> Command:
    try:
        lines = [line.split("#")[0].strip() for line in hosts.read_text().splitlines()]
    except OSError as error:
        raise BadRequest(f"cannot read the hostfile {hosts}: {error.strerror}") from None
    entries = [line for line in lines if line]
    if not entries:
        raise BadRequest(f"the hostfile {hosts} names no host: write one `name slots=N` a line")
    slots = [re.search(r"slots\s*=\s*(\d+)|:(\d+)\s*$", line) for line in entries]
    told = [int(match[1] or match[2]) for match in slots if match]
    if len(told) == len(entries) and count > sum(told):
        raise BadRequest(
            f"{count} ranks asked, but {hosts} holds {sum(told)} slots: raise slots= or ask for fewer --workers"
        )
    if mpi.name == "MPICH":
        return Command([mpi.mpirun, "-f", str(hosts), "-n", str(count), *python], env)
    # Open MPI carries OMPI_* to the other hosts by itself; the rest must be named.
    carried = [
        part
        for name in (*env, "PARLAB_RUN", "PYTHONPATH")
        if not name.startswith(("OMPI_", "PRTE_"))
        for part in ("-x", name)
    ]
    return Command(
        [mpi.mpirun, "--hostfile", str(hosts), "--bind-to", "core", *carried, "-n", str(count), *python], env
    )
