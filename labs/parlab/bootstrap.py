"""Make or mend the virtual environment:  python3 -I labs/parlab/bootstrap.py .venv openmpi      (standard library only)

The environment carries a stamp with the digest of pyproject.toml, constraints.txt and the chosen MPI, written last of all. Where it is
missing the set-up was cut short and starts afresh; where it differs the packages are brought up to date; where it fits and the
interpreter answers, nothing is done.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAMP = ".parlab-ready"


def main() -> int:
    """Set up the environment named on the command line; return the exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this has not installed anything yet
        print(
            f"parlab needs Python 3.11 or newer, this is {sys.version.split()[0]}: name another with `make PYTHON=python3.12`"
        )
        return 2
    folder, mpi = ROOT / sys.argv[1], sys.argv[2]
    if mpi not in ("openmpi", "mpich", "none"):
        print(f"MPI={mpi} is not known: MPI=openmpi, MPI=mpich, or MPI=none where the system's own is used")
        return 2
    wanted = digest(mpi)
    with (ROOT / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second waits, then finds the work done
        if stamp(folder) == wanted and answers(folder):
            return 0
        try:
            install(folder, mpi)
        except KeyboardInterrupt:
            print("\nset-up interrupted; the next make takes it up again")
            return 130
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"set-up failed: {error}\nthe next make tries again")
            return 1
        (folder / STAMP).write_text(wanted)
    return 0


def digest(mpi: str) -> str:
    """Return what the environment depends on, as one digest."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join([*parts, mpi.encode(), sys.version.encode()])).hexdigest()


def stamp(folder: Path) -> str | None:
    """Return the digest of a finished set-up."""
    return (folder / STAMP).read_text() if (folder / STAMP).exists() else None


def answers(folder: Path) -> bool:
    """Say whether the interpreter starts and finds parlab with what it needs to measure."""
    try:
        probe = [str(folder / "bin" / "python"), "-c", "import parlab, numpy, mpi4py, rich"]
        return subprocess.run(probe, capture_output=True, timeout=60, cwd="/").returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def install(folder: Path, mpi: str) -> None:
    """Create the environment and install parlab with what this machine can use."""
    fresh = stamp(folder) is None or not answers(folder)
    (folder / STAMP).unlink(missing_ok=True)
    if fresh:
        print(f"creating {folder.name}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
    extras = ["dev", *([mpi] if mpi != "none" else [])]
    gpu = shutil.which("nvidia-smi") is not None
    extras += ["cuda"] if gpu else []
    if gpu or fits_without_cuda(folder):
        extras.append("ddp")
    else:
        print(
            "PyTorch is left out: here it would bring CUDA packages; README.md, 'PyTorch without a GPU', names the way"
        )
    print(f"installing parlab[{','.join(extras)}] (once; takes a minute or two)", flush=True)
    pip(folder, "install", "--quiet", "--editable", f"{ROOT}[{','.join(extras)}]")


def fits_without_cuda(folder: Path) -> bool:
    """Ask pip what it would install for PyTorch: on a machine without a GPU no CUDA package may be among it."""
    command = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-", "torch"]
    try:
        plan = json.loads(pip(folder, *command, capture=True))
    except (subprocess.CalledProcessError, json.JSONDecodeError):
        return False
    names = [item["metadata"]["name"].lower() for item in plan["install"]]
    return not any(name.startswith(("nvidia", "cuda-", "triton")) for name in names)


def pip(folder: Path, *arguments: str, capture: bool = False) -> str:
    """Run pip of the environment under the constraints."""
    action, *rest = arguments
    command = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        action,
        "--constraint",
        str(ROOT / "constraints.txt"),
        *rest,
    ]
    done = subprocess.run(
        command,
        check=True,
        text=True,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.DEVNULL if capture else None,
    )
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())
