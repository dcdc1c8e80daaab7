"""Make or mend the virtual environment:  python3 -I labs/parlab/bootstrap.py .venv openmpi      (standard library only)

The environment carries a stamp with the digest of pyproject.toml, constraints.txt and the chosen MPI, written last of all. Where it is
missing the set-up was cut short and starts afresh; where it differs the packages are brought up to date; where it fits and the
interpreter answers, nothing is done. What pip says is boiled down to one line, or to its meaning where it failed.
"""

from __future__ import annotations  # an older Python must get as far as the line that says that it is too old

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAMP = ".parlab-ready"
EVERY = 10.0  # seconds between two lines where the output is no terminal
FOUND = re.compile(r"(?:Collecting|Processing) (?:\S*/)?([A-Za-z0-9_.]+)")
FETCHED = re.compile(
    r"\s+Downloading (?:\S*/)?(\w+)-([^-\s]+)-\S+\.whl \(([\d.]+) MB\)$"
)  # not its .metadata; kB need no word
MEANING = (  # of what venv and pip say when they fail
    (
        r"No space left on device",
        "the disk is full: {free:.1f} GB are free; parlab takes about 2 GB, with a GPU about 12 GB",
    ),
    (
        r"ensurepip",
        "this Python cannot make environments: install its venv module (Debian, Ubuntu: apt install python3-venv)",
    ),
    (
        r"Retrying \(|Connection ?[Ee]rror|name resolution|timed out",
        "the package index cannot be reached: is there a network? `pip config list` says which index is asked",
    ),
    (r"No matching distribution found for (\S+)", "the package index has no {name} for this Python and this system"),
)


class Failed(Exception):
    """A step failed; the message is what the reader is told."""


def main() -> int:
    """Set up the environment named on the command line; return the exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this has not installed anything yet
        here = sys.version.split()[0]
        print(f"parlab needs Python 3.11 or newer, this is {here}: name another with `make PYTHON=python3.12`")
        return 2
    home, mpi = ROOT / sys.argv[1], sys.argv[2]
    if mpi not in ("openmpi", "mpich", "none"):
        print(f"MPI={mpi} is not known: MPI=openmpi, MPI=mpich, or MPI=none where the system's own is used")
        return 2
    wanted = digest(mpi)
    with (ROOT / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second waits, then finds the work done
        if stamp(home) == wanted and answers(home):
            return 0
        try:
            install(home, mpi)
            (home / STAMP).write_text(wanted)
        except KeyboardInterrupt:
            print("\nset-up interrupted; the next make takes it up again")
            return 130
        except (Failed, OSError) as error:
            print(f"\nset-up failed: {error}\nthe next make tries again")
            return 1
    return 0


def digest(mpi: str) -> str:
    """Return what the environment depends on, as one digest."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join([*parts, mpi.encode(), sys.version.encode()])).hexdigest()


def stamp(home: Path) -> str | None:
    """Return the digest of a finished set-up."""
    return (home / STAMP).read_text() if (home / STAMP).exists() else None


def answers(home: Path) -> bool:
    """Say whether the interpreter starts and finds parlab with what it needs to measure."""
    try:
        probe = [str(home / "bin" / "python"), "-c", "import parlab, numpy, mpi4py, rich"]
        return subprocess.run(probe, capture_output=True, timeout=60, cwd="/").returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def install(home: Path, mpi: str) -> None:
    """Create the environment and install parlab with what this machine can use. Raises Failed."""
    fresh = stamp(home) is None or not answers(home)
    (home / STAMP).unlink(missing_ok=True)
    gpu = shutil.which("nvidia-smi") is not None
    print(f"setting up {home.name}: once; it takes a minute or two, and what fetching the packages takes", flush=True)
    progress = Progress(1 + fresh + (not gpu))
    if fresh:
        progress.step("creating the environment")
        run([sys.executable, "-m", "venv", "--clear", str(home)], home, progress)
    extras = ["dev", *([mpi] if mpi != "none" else []), *(["cuda"] if gpu else [])]
    if reason := None if gpu else unfit(home, progress):
        progress.note(f"PyTorch is left out: {reason}")
    else:
        extras.append("ddp")
    progress.step(f"installing parlab[{','.join(extras)}]")
    pip(home, progress, "--editable", f"{ROOT}[{','.join(extras)}]")
    progress.note(f"{home.name} is ready")


def unfit(home: Path, progress: Progress) -> str | None:
    """Say why PyTorch is not for a machine without a GPU: pip would bring CUDA packages with it, or there is none for this Python."""
    progress.step("looking what PyTorch would bring")
    with tempfile.NamedTemporaryFile() as report:
        try:
            pip(home, progress, "--dry-run", "--ignore-installed", "--report", report.name, "torch")
        except Failed as error:
            if "has no torch" in str(error):
                return str(error)
            raise
        names = [item["metadata"]["name"].lower() for item in json.load(report)["install"]]
    bringing = any(name.startswith(("nvidia", "cuda-", "triton")) for name in names)
    return "here it would bring CUDA packages; `make torch` installs its CPU build" if bringing else None


def pip(home: Path, progress: Progress, *arguments: str) -> None:
    """Let pip of the environment install something under the constraints. Raises Failed."""
    command = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-color", "install"]
    constraints = ["--progress-bar", "off", "--constraint", str(ROOT / "constraints.txt")]
    run([*command, *constraints, *arguments], home, progress)


def run(command: list[str], home: Path, progress: Progress) -> None:
    """Run a command, and say several times a second how far it is. Raises Failed, with the meaning of what it printed."""
    said, ended = [], threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        heard = Heard(home, Path(folder))

        def tick() -> None:
            while not ended.wait(0.2):
                progress.tell(heard.now())

        ticker = threading.Thread(target=tick)
        ticker.start()
        child = subprocess.Popen(
            command,
            env={**os.environ, "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            for line in child.stdout or ():
                said.append(line)
                heard.line(line)
        except BaseException:
            child.terminate()
            raise
        finally:
            ended.set()
            ticker.join()
            status = child.wait()
    if status:
        raise Failed(meaning("".join(said), home))


def meaning(said: str, home: Path) -> str:
    """Say what went wrong, from what a failed command printed."""
    for pattern, words in MEANING:
        if told := re.search(pattern, said):
            name = told[1] if told.groups() else ""
            return words.format(name=name, free=shutil.disk_usage(home.parent).free / 1e9)
    errors = [line.strip() for line in said.splitlines() if "error" in line.lower()]
    return (errors or said.strip().splitlines() or ["it said nothing"])[-1]


class Heard:
    """What pip is doing, as told by the lines that it prints, by the file that it fetches into `folder`, and by the packages in `home`."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home, self.folder, self.words = home, folder, ""
        self.found = self.installing = self.before = 0
        self.file, self.size, self.since = "", 0.0, 0.0

    def line(self, line: str) -> None:
        """Take in the next line."""
        if told := FOUND.match(line):
            self.found, self.file = self.found + 1, ""
            self.words = f"found {told[1]}, package {self.found}"
        elif told := FETCHED.match(line.rstrip()):
            self.words, self.file = f"fetching {told[1]} {told[2]}", f"{told[1]}-{told[2]}-*.whl"
            self.size, self.since = float(told[3]), time.monotonic()
        elif told := re.match(r"Installing collected packages: (.*)", line):
            self.file, self.installing, self.before = "", told[1].count(",") + 1, self._installed()

    def now(self) -> str:
        """Say how far it is."""
        if self.installing:
            return f"{max(0, self._installed() - self.before)} of {self.installing} packages are in place"
        here = sum(path.stat().st_size for path in self.folder.glob(f"*/{self.file}")) / 1e6 if self.file else 0.0
        if not 0 < here < self.size:
            return self.words
        left = (self.size / here - 1) * (time.monotonic() - self.since)
        return f"{self.words}: {here:.0f} of {self.size:.0f} MB, {left:.0f} s left of it"

    def _installed(self) -> int:
        return sum(1 for _ in self.home.glob("lib/python*/site-packages/*.dist-info"))


class Progress:
    """Says which step of how many is done, for how long, and how far it is: on a terminal in one line that is written over.

    Elsewhere in a line when a step begins, and in one now and then.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.done, self.what, self.start, self.last = steps, 0, "", time.monotonic(), 0.0

    def step(self, what: str) -> None:
        """Go on to the next step."""
        self.done, self.what, self.last = self.done + 1, what, 0.0
        self.tell("")

    def tell(self, far: str) -> None:
        """Say how far the step is."""
        now = time.monotonic()
        line = f"[{self.done} of {self.steps}] {now - self.start:3.0f} s  {self.what}{': ' if far else ''}{far}"
        if sys.stdout.isatty():
            print("\r\033[K" + line[: shutil.get_terminal_size().columns - 1], end="", flush=True)
        elif now - self.last > EVERY:
            self.last = now
            print(line, flush=True)

    def note(self, words: str) -> None:
        """Say something that stays."""
        print(("\r\033[K" if sys.stdout.isatty() else "") + words, flush=True)


if __name__ == "__main__":
    sys.exit(main())
